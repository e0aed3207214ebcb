//! The log file of a server, and when it is reopened.

use std::fs::{self, File};

use dipc_testkit::instance::{BaseDirectory, start};
use dipc_testkit::server::Server;
use dipc_testkit::wait::wait_until;
use nix::sys::signal::Signal;

#[test]
fn a_rotated_log_is_reopened() {
    let base = BaseDirectory::new();
    let server = start(base.dipc("4 64 0 8 --log-file log").current_dir(base.path()));
    let (log, rotated) = (base.join("log"), base.join("log.1"));
    wait_until("the log begins", || {
        fs::read_to_string(&log).is_ok_and(|log| log.contains("4 mailboxes of 64 kB"))
    });
    fs::rename(&log, &rotated).expect("renamed");
    server.signal(Signal::SIGHUP);
    wait_until("a new log", || log.exists());
    server.connect().ask("ping\n", "OK\n");
    server.end(Signal::SIGTERM);
    assert!(fs::read_to_string(&log).expect("a log").contains("stopped"));
    assert!(!fs::read_to_string(&rotated).expect("a log").contains("stopped"));
}

#[test]
fn if_a_log_cannot_be_reopened_the_server_writes_to_the_old_file() {
    let base = BaseDirectory::new();
    fs::create_dir(base.join("logs")).expect("created");
    let server = start(base.dipc("4 64 0 8 --log-file logs/log").current_dir(base.path()));
    let old = File::open(base.join("logs/log")).expect("a log");
    fs::remove_dir_all(base.join("logs")).expect("removed");
    server.signal(Signal::SIGHUP);
    let written = || std::io::read_to_string(&old).expect("read");
    let mut log = String::new();
    wait_until("an error in the log", || {
        log += &written();
        log.contains("cannot reopen")
    });
    server.connect().ask("ping\n", "OK\n");
    server.end(Signal::SIGTERM);
    log += &written();
    assert!(log.contains("stopped"), "{log}");
}

#[test]
fn sighup_does_not_end_a_server_without_a_log() {
    let mut server = Server::start("4 64 0 8");
    server.signal(Signal::SIGHUP);
    server.connect().ask("ping\n", "OK\n");
    server.signal(Signal::SIGTERM);
    assert_eq!(server.wait(), Some(0));
}
