//! Files of a running server lose their names: a cleaner of old files removes them, or the session of their
//! user ends.

use std::fs;

use dipc_testkit::directory::names;
use dipc_testkit::instance::{BaseDirectory, FILES, Instance};
use dipc_testkit::process::{has_ended, run, stat_fields};
use dipc_testkit::wait::wait_until;
use nix::sys::signal::Signal;

#[track_caller]
fn remove(base: &BaseDirectory, server: &Instance, names: &[&str]) {
    for name in names {
        fs::remove_file(base.join(server.port.to_string()).join(name)).expect("removed");
    }
}

/// Stops all threads of a server, so that it cannot restore a name.
fn halt(server: &Instance) {
    server.signal(Signal::SIGSTOP);
    wait_until("the server halts", || stat_fields(server.pid).is_some_and(|fields| fields[0] == "T"));
}

/// Cause: the lock file was the only sign of life, and the control socket the only way to a server.
#[test]
fn dipcrm_stops_a_server_whose_files_were_removed() {
    let lost: [&[&str]; 6] = [
        &["lock"],
        &["control.sock"],
        &["lock", "pid", "segment"],
        &["lock", "control.sock"],
        &["lock", "control.sock", "segment"],
        &FILES,
    ];
    for names in lost {
        let base = BaseDirectory::new();
        let server = base.start("4 64 0 8");
        let mut client = server.connect();
        client.ask("w 3\nhello\n", "OK v=1\n");
        remove(&base, &server, names);
        base.dipcrm(server.port).expect_success();
        assert!(has_ended(server.pid), "without {names:?}");
        client.expect_end();
        base.expect_nothing_left();
    }
}

/// Cause: dipcrm found no directory, and said that there was no server.
#[test]
fn dipcrm_stops_a_server_whose_directory_was_removed() {
    let base = BaseDirectory::new();
    let server = base.start("4 64 0 8");
    fs::remove_dir_all(base.join(server.port.to_string())).expect("removed");
    base.dipcrm(server.port).expect_success();
    assert!(has_ended(server.pid));
    base.expect_nothing_left();
}

/// Cause: only the lock file was locked, so a server that found none used the segment of another one.
#[test]
fn no_second_server_uses_a_segment() {
    for lost in [&["lock"][..], &["lock", "control.sock"]] {
        let base = BaseDirectory::new();
        let server = base.start("4 64 0 8");
        server.connect().ask("w 3\nfirst\n", "OK v=1\n");
        halt(&server);
        remove(&base, &server, lost);
        let left = base.files(server.port);
        for fresh in ["", " --fresh"] {
            let second = format!("4 64 {} 8 --bind 127.0.0.2{fresh}", server.port);
            run(&mut base.dipc(&second)).expect_failure(3, "a dipc runs in");
            assert_eq!(base.files(server.port), left, "a start that failed has left or removed something");
        }
        server.signal(Signal::SIGCONT);
        server.connect().ask("r 3\n", "DATA 5 v=1 n=1\nfirst\n");
        base.dipcrm(server.port).expect_success();
        base.expect_nothing_left();
    }
}

#[test]
fn lost_names_are_in_the_log_and_in_stat_and_are_restored() {
    let base = BaseDirectory::new();
    let log = base.join("log");
    let server = base.start(&format!("4 64 0 8 --log-file {}", log.display()));
    let mut client = server.connect();
    client.ask("w 3\nhello\n", "OK v=1\n");
    assert_eq!((client.stat("files_missing"), client.stat("files_restored")), (0, 0));
    remove(&base, &server, &["lock", "control.sock"]);
    wait_until("the names are restored", || client.stat("files_restored") == 2);
    assert_eq!(client.stat("files_missing"), 0);
    assert_eq!(base.files(server.port), FILES);
    fs::remove_dir_all(base.join(server.port.to_string())).expect("removed");
    // The segment has no name any more.
    wait_until("the other names are restored", || client.stat("files_missing") == 1);
    assert_eq!(base.files(server.port), ["control.sock", "lock", "pid"]);
    assert_eq!(base.pid_file(server.port), server.pid);
    client.ask("r 3\n", "DATA 5 v=1 n=1\nhello\n");
    wait_until("it is in the log", || {
        let log = fs::read_to_string(&log).expect("a log");
        log.contains("lost names: lock, control.sock") && log.contains("the mailboxes end with this server")
    });
    server.end(Signal::SIGTERM);
    assert_eq!(names(base.path()), ["log"], "files without a segment are left");
}

#[test]
fn a_name_that_another_server_has_taken_is_left_to_it() {
    let base = BaseDirectory::new();
    let first = base.start("4 64 0 8");
    halt(&first);
    fs::remove_dir_all(base.join(first.port.to_string())).expect("removed");
    let second = base.start(&format!("4 64 {} 8 --bind 127.0.0.2", first.port));
    let port = first.port.to_string();
    first.signal(Signal::SIGCONT);
    let mut client = first.connect();
    wait_until("the first server knows", || client.stat("files_missing") > 0);
    assert_eq!(base.pid_file(first.port), second.pid);
    first.end(Signal::SIGTERM);
    assert_eq!(names(&base.join(&port)), FILES);
    base.dipcrm(second.port).expect_success();
    assert!(has_ended(second.pid));
    base.expect_nothing_left();
}
