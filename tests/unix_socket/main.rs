//! The Unix-domain socket: how it serves clients, and when its file is created, replaced and removed.

mod leftovers;
mod no_tcp;
mod path;
mod race;
mod removal;
mod serving;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use dipc_testkit::directory::Directory;
use dipc_testkit::process::run;
use dipc_testkit::program;
use dipc_testkit::server::Server;

fn serve() -> (Server, PathBuf) {
    serve_on(0)
}

fn serve_on(port: u16) -> (Server, PathBuf) {
    let server = Server::start_with_socket(&format!("4 64 {port} 8"));
    let path = server.socket();
    (server, path)
}

/// `dipc` with these arguments, its instance in `directory` and its socket at `path`.
fn dipc(directory: &Path, arguments: &str, path: &Path) -> Command {
    let mut command = Command::new(program::dipc());
    command.args(arguments.split_whitespace()).args(["--log-level", "warn"]);
    command.arg("--dir").arg(directory).arg("--unix").arg(path);
    command
}

/// Expects that a start fails for this reason, and leaves no instance.
#[track_caller]
fn expect_refused(path: &Path, code: i32, reason: &str) {
    let directory = Directory::new();
    let outcome = run(dipc(directory.path(), "4 64 0 8", path).arg("--foreground"));
    outcome.expect_failure(code, reason);
    outcome.expect_failure(code, &path.to_string_lossy());
    assert_eq!(fs::read_dir(directory.path()).expect("ours").count(), 0, "an instance is left");
}
