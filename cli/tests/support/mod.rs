//! The real `dipc-cli`, and the real `dipc` it talks to. Whatever is waited for has a deadline; nothing sleeps.
#![allow(dead_code, reason = "each test file uses its part of this")]

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use serde_json::Value;

pub const CLI: &str = env!("CARGO_BIN_EXE_dipc-cli");

/// How long something may take before a test fails.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// A server in the foreground, on a free port, with an instance directory of its own. It ends with the test.
pub struct Server {
    pub port: u16,
    pub directory: PathBuf,
    child: Child,
}

impl Server {
    /// `arguments` as in `4 64 0 8 --wait 1`.
    pub fn start(arguments: &str) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let directory = Path::new("/dev/shm").join(format!("dipc-cli-test-{}-{number}", std::process::id()));
        fs::DirBuilder::new().mode(0o700).create(&directory).expect("a new directory");
        let mut child = Command::new(server())
            .args(arguments.split_whitespace())
            .args(["--foreground", "--log-level", "warn", "--dir"])
            .arg(&directory)
            .arg("--unix")
            .arg(directory.join("socket"))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the server starts");
        let mut line = String::new();
        BufReader::new(child.stdout.take().expect("piped")).read_line(&mut line).expect("a line");
        let port = line.split(" on 127.0.0.1:").nth(1).and_then(|rest| rest.split(' ').next());
        let port = port.unwrap_or_else(|| panic!("no port in {line:?}")).parse().expect("a port");
        Server { port, directory, child }
    }

    pub fn socket(&self) -> PathBuf {
        self.directory.join("socket")
    }

    /// `dipc-cli` of this server, with these words.
    pub fn cli(&self, words: &[&str]) -> Command {
        let mut command = Command::new(CLI);
        command.args(words).env("DIPC_URL", format!("dipc://127.0.0.1:{}", self.port));
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    /// Runs it to its end.
    #[track_caller]
    pub fn run(&self, words: &[&str]) -> Ran {
        finish(self.cli(words).spawn().expect("it runs"), b"")
    }

    /// Runs it with something on its standard input.
    #[track_caller]
    pub fn run_with(&self, words: &[&str], input: impl AsRef<[u8]>) -> Ran {
        finish(self.cli(words).stdin(Stdio::piped()).spawn().expect("it runs"), input.as_ref())
    }

    /// A figure of `stat`.
    pub fn stat(&self, topic: &[&str], name: &str) -> Value {
        let stat = self.run(&[&["stat", "--json"], topic].concat()).json();
        stat[name].clone()
    }

    pub fn signal(&self, signal: nix::sys::signal::Signal) {
        self::signal(self.child.id(), signal);
    }

    /// Kills it.
    pub fn kill(&mut self) {
        self.child.kill().expect("ours");
        self.child.wait().expect("ours");
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = fs::remove_dir_all(&self.directory);
    }
}

/// The server's program. Cargo tells a test only the programs of its own package; that of the other one lies beside it,
/// because `cargo test` (and `cargo test --workspace`) builds all programs of all members before any test runs. Who tests
/// this package alone (`-p dipc-cli`) has to say `cargo build` before.
fn server() -> PathBuf {
    let server = Path::new(CLI).with_file_name("dipc");
    assert!(server.exists(), "there is no {}: cargo build", server.display());
    server
}

/// How a program ended, and what it printed.
#[derive(Debug)]
pub struct Ran {
    pub code: Option<i32>,
    pub stdout: Vec<u8>,
    pub stderr: String,
}

impl Ran {
    #[track_caller]
    pub fn expect(&self, code: i32, stdout: impl AsRef<[u8]>) {
        let stdout = stdout.as_ref().escape_ascii().to_string();
        assert_eq!((self.code, self.stdout.escape_ascii().to_string()), (Some(code), stdout), "{self:?}");
    }

    /// A failure that says this.
    #[track_caller]
    pub fn expect_failure(&self, code: i32, says: &str) {
        self.expect(code, "");
        assert!(self.stderr.contains(says), "{self:?}");
    }

    #[track_caller]
    pub fn json(&self) -> Value {
        assert_eq!(self.code, Some(0), "{self:?}");
        serde_json::from_slice(&self.stdout).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }
}

/// Waits for the end of a program.
#[track_caller]
pub fn finish(mut child: Child, input: &[u8]) -> Ran {
    if let Some(mut stdin) = child.stdin.take() {
        // It may have ended without reading.
        let _ = stdin.write_all(input);
    }
    let (mut stdout, mut stderr) = (child.stdout.take().expect("piped"), child.stderr.take().expect("piped"));
    let pid = child.id();
    let (tell, told) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let aside = std::thread::spawn(move || {
            let mut bytes = Vec::new();
            stderr.read_to_end(&mut bytes).map(|_| bytes)
        });
        let mut bytes = Vec::new();
        stdout.read_to_end(&mut bytes).expect("its output");
        let stderr = aside.join().expect("no panic").expect("its complaints");
        let status = child.wait().expect("ours");
        let _ = tell.send(Output { status, stdout: bytes, stderr });
    });
    let output = told.recv_timeout(PATIENCE).unwrap_or_else(|_| panic!("process {pid} does not end"));
    Ran {
        code: output.status.code(),
        stdout: output.stdout,
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

/// Waits for something that is bound to become true.
#[track_caller]
pub fn wait_until(what: &str, mut true_now: impl FnMut() -> bool) {
    let started = Instant::now();
    while !true_now() {
        assert!(started.elapsed() < PATIENCE, "waited in vain: {what}");
        std::thread::yield_now();
    }
}

pub fn signal(pid: u32, signal: nix::sys::signal::Signal) {
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid.cast_signed()), signal).expect("it is there");
}
