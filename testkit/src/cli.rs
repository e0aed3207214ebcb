//! `dipc-cli` connected to a server.

use std::process::{Command, Stdio};

use serde_json::Value;

use crate::process::{Outcome, finish};
use crate::program;
use crate::server::Server;

impl Server {
    /// `dipc-cli` of this server with these words. Its output and its messages go to pipes.
    pub fn cli(&self, words: &[&str]) -> Command {
        let mut command = Command::new(program::dipc_cli());
        command.args(words).env("DIPC_URL", format!("dipc://127.0.0.1:{}", self.port));
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    /// Runs `dipc-cli` to its end.
    #[track_caller]
    pub fn run(&self, words: &[&str]) -> Outcome {
        finish(self.cli(words).spawn().expect("dipc-cli runs"), b"")
    }

    /// Runs `dipc-cli` to its end with this standard input.
    #[track_caller]
    pub fn run_with(&self, words: &[&str], input: impl AsRef<[u8]>) -> Outcome {
        finish(self.cli(words).stdin(Stdio::piped()).spawn().expect("dipc-cli runs"), input.as_ref())
    }

    /// A value of `dipc-cli stat TOPIC --json`.
    #[track_caller]
    pub fn stat_json(&self, topic: &[&str], name: &str) -> Value {
        self.run(&[&["stat", "--json"], topic].concat()).json()[name].clone()
    }
}
