//! A command of `dipc-cli lock` that asks for the locked mailbox through another dipc-cli: its request would
//! wait for the lock, which ends only after the command.

use std::process::Stdio;

use dipc_testkit::process::{Outcome, finish, first_line};
use dipc_testkit::program;
use dipc_testkit::server::Server;

const IS_LOCKED: &str = "is locked by the dipc-cli that runs this command";

/// Runs dipc-cli with these words, under `dipc-cli lock` with those options.
#[track_caller]
fn under(server: &Server, lock: &[&str], words: &[&str]) -> Outcome {
    server.run(&[&["lock"], lock, &["--", program::dipc_cli()], words].concat())
}

/// Expects that the request fails although it has unlimited time.
#[track_caller]
fn expect_deadlock(ran: &Outcome, mailbox: u32) {
    ran.expect_failure(2, &format!("deadlock: mailbox {mailbox} {IS_LOCKED} and waits for its end"));
}

#[test]
fn a_request_for_a_mailbox_that_its_own_lock_command_locks_fails_at_once() {
    let server = Server::start("4 64 0 8");
    // What the message advises works.
    server.run_with(&[], "lock 3\nwrite 3 x\nunlock 3\n").expect(0, "grant 1\nversion 1\n");
    for words in [
        &["read", "3", "--wait", "inf"][..],
        &["write", "3", "--wait", "inf", "x"],
        &["put", "3", "--wait", "inf", "x"],
        &["take", "3", "--wait", "inf"],
        &["take", "3", "--wait", "inf", "--", "cat"],
        &["edit", "3", "--wait", "inf", "--", "cat"],
        &["lock", "1,3", "--wait", "inf", "-E", "9", "--", "true"],
        &["lock", "3", "--wait", "inf", "--shared", "--", "true"],
        &["chat", "3"],
    ] {
        expect_deadlock(&under(&server, &["2,3"], words), 3);
    }
    let json = under(&server, &["3"], &["write", "3", "x", "--json"]);
    json.expect_failure(2, "{\"error\":\"deadlock\",");
    // Other mailboxes, and requests for no mailbox.
    under(&server, &["2,3"], &["write", "1", "x"]).expect(0, "version 1\n");
    under(&server, &["2,3"], &["read", "9"]).expect_failure(2, "box");
    assert_eq!(under(&server, &["2,3"], &["stat", "3"]).code, Some(0));
}

/// Without a wait, the exit codes are the same for every lock.
#[test]
fn a_request_without_a_wait_is_refused_by_the_server_and_explained() {
    let server = Server::start("4 64 0 8");
    for (words, code, reason) in [
        (&["write", "3", "--wait", "0", "x"][..], 1, "timeout"),
        (&["lock", "3", "--wait", "0", "--", "true"], 75, "locked"),
        (&["lock", "3", "--wait", "0", "-E", "9", "--", "true"], 9, "locked"),
    ] {
        let ran = under(&server, &["3"], words);
        ran.expect_failure(code, &format!("dipc-cli: mailbox 3 {IS_LOCKED}\ndipc-cli: {reason}"));
    }
    let other = under(&server, &["3"], &["take", "1", "--wait", "0"]);
    assert_eq!((other.code, other.stderr.as_str()), (Some(1), "dipc-cli: empty\n"));
}

#[test]
fn a_shared_lock_admits_readers_among_its_commands() {
    let server = Server::start("4 64 0 8");
    server.run(&["write", "3", "hello"]).expect(0, "version 1\n");
    let shared = ["3", "--shared"];
    under(&server, &shared, &["read", "3", "--wait", "inf"]).expect(0, "hello");
    under(&server, &shared, &["lock", "3", "--shared", "--", "echo", "ran"]).expect(0, "ran\n");
    expect_deadlock(&under(&server, &shared, &["write", "3", "--wait", "inf", "x"]), 3);
    expect_deadlock(&under(&server, &shared, &["lock", "3", "--wait", "inf", "--", "true"]), 3);
}

/// The reader comes after the writer, and the writer after the lock.
#[test]
fn a_reader_behind_a_writer_that_waits_for_the_shared_lock_is_told_why() {
    let server = Server::start("4 64 0 8");
    let script = "echo up; read x; exec \"$0\" read 3 --wait 0.1";
    let mut held = server.cli(&["lock", "3", "--shared", "--", "sh", "-c", script, program::dipc_cli()]);
    let mut held = held.stdin(Stdio::piped()).spawn().expect("dipc-cli runs");
    assert_eq!(first_line(&mut held), "up\n");
    let _writer = server.enqueue("w 3 wait=inf\nx\n");
    finish(held, b"go\n").expect_failure(1, &format!("mailbox 3 {IS_LOCKED}\ndipc-cli: timeout"));
}

#[test]
fn nested_locks_accumulate() {
    let server = Server::start("4 64 0 8");
    let cli = program::dipc_cli();
    let nested = |words: &[&str]| under(&server, &["1"], &[&["lock", "2", "--", cli], words].concat());
    expect_deadlock(&nested(&["write", "1", "--wait", "inf", "x"]), 1);
    expect_deadlock(&nested(&["write", "2", "--wait", "inf", "x"]), 2);
    nested(&["write", "3", "x"]).expect(0, "version 1\n");
    // The watch has the variables of its message in the environment, and the locks too.
    server.run(&["write", "0", "x"]).expect(0, "version 1\n");
    let watch = ["watch", "0", "--after", "0", "-n", "1", "--", cli, "write", "1", "--wait", "inf", "x"];
    let ran = under(&server, &["1"], &watch);
    assert!(ran.stderr.contains(&format!("deadlock: mailbox 1 {IS_LOCKED}")), "{ran:?}");
}

#[test]
fn locks_of_the_prompt_are_known_to_the_commands_that_it_runs() {
    let server = Server::start("4 64 0 8");
    server.run(&["write", "0", "x"]).expect(0, "version 1\n");
    let request = format!("-- {} write 2 --wait inf x", program::dipc_cli());
    for line in ["lock 3", "edit 3", "take 0", "watch 0 --after 0 -n 1"] {
        let ran = server.run_with(&[], format!("lock 2\n{line} {request}\n"));
        assert!(ran.stderr.contains(&format!("deadlock: mailbox 2 {IS_LOCKED}")), "{line}: {ran:?}");
    }
    // A prompt under a lock. Each of its commands is checked.
    let ran = server.run_with(&["lock", "3", "--", program::dipc_cli()], "write 3\ntext\nwrite 1 x\n");
    ran.expect(2, "version 1\n");
    assert!(ran.stderr.contains(&format!("deadlock: mailbox 3 {IS_LOCKED}")), "{ran:?}");
}

#[test]
fn a_server_is_recognised_at_another_address() {
    let server = Server::start_with_socket("4 64 0 8");
    let socket = server.socket().display().to_string();
    expect_deadlock(&under(&server, &["3"], &["-s", &socket, "write", "3", "--wait", "inf", "x"]), 3);
    let other = Server::start("4 64 0 8");
    let port = other.port.to_string();
    under(&server, &["3"], &["-p", &port, "write", "3", "x"]).expect(0, "version 1\n");
    // A lock of the same mailbox and with the same number, but of another server.
    let mut client = other.connect();
    client.ask("lock 3\n", "OK grant=1\n");
    let server = Server::start("4 64 0 8");
    let ran = under(&server, &["3"], &["-p", &port, "write", "3", "--wait", "0.05", "x"]);
    assert_eq!((ran.code, ran.stderr.as_str()), (Some(1), "dipc-cli: timeout\n"));
}

/// A command that goes on in the background keeps its environment.
#[test]
fn a_lock_that_has_ended_has_no_effect() {
    let server = Server::start("4 64 0 8");
    let locks = server.run(&["lock", "3", "--", "sh", "-c", "printf \"$DIPC_LOCKS\""]).text();
    assert!(locks.ends_with(":3:1"), "{locks}");
    let write = |locks: &str| {
        let writing = server.cli(&["write", "3", "x"]).env("DIPC_LOCKS", locks).spawn();
        finish(writing.expect("dipc-cli runs"), b"")
    };
    write(&locks).expect(0, "version 1\n");
    write("other words").expect(0, "version 2\n");
    // The lock of another client is no reason to fail.
    let mut held = server.cli(&["lock", "3", "--", "cat"]).stdin(Stdio::piped()).spawn().expect("it runs");
    server.wait_for_stat("locks_held", |held| held == 1);
    let waiting = server.cli(&["write", "3", "x"]).env("DIPC_LOCKS", &locks).spawn().expect("it runs");
    server.wait_for_stat("waiting", |waiting| waiting == 1);
    drop(held.stdin.take());
    finish(held, b"").expect(0, "");
    finish(waiting, b"").expect(0, "version 3\n");
}

#[test]
fn a_watch_of_a_locked_mailbox_is_told_why_nothing_arrives() {
    // The watch ends when the lock is lost.
    let server = Server::start("4 64 0 8 --max-hold 0.5");
    let ran = under(&server, &["3"], &["watch", "3"]);
    ran.expect_failure(2, &format!("mailbox 3 {IS_LOCKED}: no message can arrive before the lock ends"));
}
