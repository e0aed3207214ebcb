//! The path of the socket.

use std::fs::{self, File};
use std::os::unix::ffi::OsStrExt;

use dipc_testkit::client::Client;
use dipc_testkit::directory::{Directory, inode};
use dipc_testkit::instance::{BaseDirectory, start};
use dipc_testkit::port::port_in;
use dipc_testkit::process::{bare, run};
use dipc_testkit::program;
use dipc_testkit::server::Server;
use nix::sys::signal::Signal;

use crate::expect_refused;

/// The longest path that fits into a socket's address: sun_path has 108 bytes, the last one is NUL.
const PATH_MAX: usize = 107;

#[test]
fn a_relative_path_starts_at_the_directory_of_the_caller() {
    let base = BaseDirectory::new();
    let path = base.join("socket");
    for relative in ["socket", "./socket", "../socket"] {
        let inside = base.join("inside");
        fs::create_dir(&inside).expect("created");
        let from = if relative.starts_with("..") { &inside } else { base.path() };
        let start_here = || {
            let mut command = bare(program::dipc());
            command.args(["4", "64", "0", "8", "--unix", relative, "--dir"]).arg(base.path());
            start(command.current_dir(from))
        };

        let server = start_here();
        Client::unix(&path).ask("ping\n", "OK\n");
        server.end(Signal::SIGTERM);
        assert_eq!(inode(&path), None);
        base.dipcrm(server.port).expect_success();

        let server = start_here();
        base.dipcrm(server.port).expect_success();
        assert_eq!(inode(&path), None);

        let server = start_here();
        server.end(Signal::SIGKILL);
        base.dipcrm(server.port).expect_success();
        assert_eq!(inode(&path), None);
        fs::remove_dir(&inside).expect("nothing is left in it");
    }
}

#[test]
fn a_path_may_be_as_long_as_an_address_and_no_longer() {
    let directory = Directory::new();
    let room = PATH_MAX - directory.path().as_os_str().as_bytes().len() - 1;
    let (longest, longer) = ("s".repeat(room), "s".repeat(room + 1));
    let path = directory.path().join(&longest);
    let server = Server::start(&format!("4 64 0 8 --unix {}", path.display()));
    Client::unix(&path).ask("ping\n", "OK\n");
    drop(server);
    expect_refused(&directory.path().join(longer), 1, "must be shorter");
    expect_refused(&directory.path().join("s".repeat(250)), 1, "must be shorter");
}

#[test]
fn a_path_in_no_directory_is_an_error() {
    let directory = Directory::new();
    expect_refused(&directory.path().join("no/socket"), 1, "No such file");
    fs::write(directory.path().join("file"), "").expect("written");
    expect_refused(&directory.path().join("file/socket"), 1, "Not a directory");
}

#[test]
fn a_directory_locked_by_another_process_does_not_block_a_start() {
    let (base, directory) = (BaseDirectory::new(), Directory::new());
    let other = File::open(directory.path()).expect("opened");
    other.lock().expect("locked");
    let path = directory.path().join("socket");
    let outcome = run(base.dipc("4 64 0 8").arg("--unix").arg(&path));
    if let Some(port) = port_in(&outcome.text()) {
        Client::unix(&path).ask("ping\n", "OK\n");
        base.dipcrm(port).expect_success();
    } else {
        assert_ne!(outcome.code, Some(0));
        assert!(outcome.stderr.contains(&*path.to_string_lossy()), "{outcome:?}");
    }
}
