//! The command that `dipc-cli watch` runs for each message: it gets the signals of the watch, and ends with
//! it.

use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Stdio};

use dipc_testkit::process::{finish, first_line, has_ended, signal};
use dipc_testkit::server::Server;
use dipc_testkit::wait::wait_until;
use nix::sys::signal::Signal;

/// Starts a watch of mailbox 2 that runs a script for each message, and puts a message. Returns the watch,
/// and the number that the script prints first.
#[track_caller]
fn watching(server: &Server, script: &str) -> (Child, i32) {
    let mut watch = server.cli(&["watch", "2", "--", "sh", "-c", script]);
    let mut watch = watch.stdin(Stdio::piped()).spawn().expect("dipc-cli runs");
    wait_until("the mailbox is watched", || server.stat_json(&["2"], "watchers") == 1);
    server.run(&["put", "2", "x"]);
    let pid = first_line(&mut watch).trim().parse().expect("a number");
    (watch, pid)
}

#[test]
fn a_command_runs_for_each_message() {
    let server = Server::start("4 64 0 8");
    for text in ["one", "two", "three"] {
        assert_eq!(server.run(&["put", "2", text]).code, Some(0));
    }
    server.run(&["take", "2"]).expect(0, "one");
    let script = "echo \"$DIPC_BOX $DIPC_VERSION $DIPC_LOST $(cat)\"; exit 9";
    let ran = server.run(&["watch", "2", "--after", "0", "-n", "2", "--", "sh", "-c", script]);
    ran.expect(0, "2 2 1 two\n2 3 0 three\n");
    // A command that reads nothing, and a command that does not exist.
    server.run_with(&["write", "2"], [b'x'; 8192]).expect(0, "version 4\n");
    server.run(&["watch", "2", "--after", "3", "-n", "1", "--", "true"]).expect(0, "");
    server
        .run(&["watch", "2", "--after", "3", "-n", "1", "--", "/no/such/program"])
        .expect_failure(2, "cannot run");
}

#[test]
fn a_watch_that_gets_a_signal_ends_with_its_command() {
    let server = Server::start("4 64 0 8");
    for sent in [Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP] {
        let (mut watch, command) = watching(&server, "echo $$; exec sleep 1000");
        signal(watch.id(), sent);
        assert_eq!(watch.wait().expect("the process has ended").signal(), Some(sent as i32));
        assert!(has_ended(command), "{command} outlives its watch after {sent}");
    }
}

#[test]
fn a_signal_goes_to_the_descendants_of_a_watch_command() {
    let server = Server::start("4 64 0 8");
    let (mut watch, descendant) = watching(&server, "setsid sleep 1000 & echo $!; wait");
    signal(watch.id(), Signal::SIGTERM);
    assert_eq!(watch.wait().expect("the process has ended").signal(), Some(Signal::SIGTERM as i32));
    wait_until("the descendant has ended", || has_ended(descendant));
}

#[test]
fn a_watch_waits_for_a_command_that_handles_the_signal() {
    let server = Server::start("4 64 0 8");
    let script = "trap 'echo saved; exit 5' TERM; echo $$; while :; do sleep 0.01; done";
    let (watch, _) = watching(&server, script);
    server.run(&["put", "2", "never seen"]);
    signal(watch.id(), Signal::SIGTERM);
    let ran = finish(watch, b"");
    assert_eq!((ran.code, ran.text().as_str()), (None, "saved\n"), "{ran:?}");
}

#[test]
fn other_signals_go_to_the_command_and_do_not_end_the_watch() {
    let server = Server::start("4 64 0 8");
    let script = "trap 'echo got; exit' USR1; echo $$; while :; do sleep 0.01; done";
    let (mut watch, command) = watching(&server, script);
    signal(watch.id(), Signal::SIGUSR1);
    assert_eq!(first_line(&mut watch), "got\n");
    wait_until("the command has ended", || has_ended(command));
    // Between two commands such a signal has no effect.
    signal(watch.id(), Signal::SIGUSR1);
    server.run(&["put", "2", "x"]);
    assert_ne!(first_line(&mut watch), "");
    signal(watch.id(), Signal::SIGTERM);
    assert_eq!(watch.wait().expect("the process has ended").signal(), Some(Signal::SIGTERM as i32));
}

#[test]
fn a_watch_without_a_message_ends_by_a_signal() {
    let server = Server::start("4 64 0 8");
    let mut watch = server.cli(&["watch", "2", "--", "true"]).spawn().expect("dipc-cli runs");
    wait_until("the mailbox is watched", || server.stat_json(&["2"], "watchers") == 1);
    signal(watch.id(), Signal::SIGTERM);
    assert_eq!(watch.wait().expect("the process has ended").signal(), Some(Signal::SIGTERM as i32));
}

#[test]
fn a_watch_command_is_killed_with_its_watch() {
    let server = Server::start("4 64 0 8");
    let (watch, command) = watching(&server, "echo $$; exec sleep 1000");
    signal(watch.id(), Signal::SIGKILL);
    // `finish` returns when the command has closed the output: then the command has ended.
    assert_eq!(finish(watch, b"").stdout, b"");
    wait_until("the command has ended", || has_ended(command));
}

/// A pipe holds 64 kB. If a larger message were written to a pipe, dipc-cli would wait for the command to
/// read it, and would not see a signal meanwhile.
#[test]
fn a_command_that_does_not_read_a_large_message_gets_signals() {
    let server = Server::start("4 1024 0 512");
    server.run_with(&["put", "2"], vec![b'x'; 500_000]).expect(0, "version 1\ncount 1\n");
    let words = ["watch", "2", "--after", "0", "--", "sh", "-c", "echo $$; exec sleep 1000"];
    let mut watch = server.cli(&words).spawn().expect("dipc-cli runs");
    let command = first_line(&mut watch).trim().parse().expect("a number");
    signal(watch.id(), Signal::SIGTERM);
    assert_eq!(watch.wait().expect("the process has ended").signal(), Some(Signal::SIGTERM as i32));
    assert!(has_ended(command), "{command} outlives its watch");
    let ran = server.run(&["watch", "2", "--after", "0", "-n", "1", "--", "wc", "-c"]);
    ran.expect(0, "500000\n");
}
