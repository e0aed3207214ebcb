//! The command that `dipc-cli take` runs: its success removes the message, everything else gives it back.

use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Stdio};

use dipc_testkit::process::{Outcome, finish, first_line, signal};
use dipc_testkit::program;
use dipc_testkit::server::Server;
use dipc_testkit::terminal::Terminal;
use dipc_testkit::wait::wait_until;
use nix::sys::signal::Signal;

/// A command that says when it runs and when it gets SIGTERM.
const TRAP_TERM: &str = "trap 'echo terminated; exit 5' TERM; echo up; while :; do sleep 0.01; done";

/// Runs `dipc-cli take 1` with these options and with a shell script as command.
#[track_caller]
fn take(server: &Server, options: &[&str], script: &str) -> Outcome {
    server.run(&[&["take", "1"], options, &["--", "sh", "-c", script]].concat())
}

/// Puts a message and starts to take it. Returns when the script has printed `up`.
#[track_caller]
fn taking(server: &Server, options: &[&str], script: &str) -> Child {
    server.run(&["put", "1", "x"]).expect(0, "version 1\ncount 1\n");
    let mut taking = server.cli(&[&["take", "1"], options, &["--", "sh", "-c", script]].concat());
    let mut taking = taking.stdin(Stdio::piped()).spawn().expect("dipc-cli runs");
    assert_eq!(first_line(&mut taking), "up\n");
    taking
}

/// Expects that the message is there, and that it was handed out this many times before.
#[track_caller]
fn expect_given_back(server: &Server, before: u64) {
    let expected = format!("{} x", before + 1);
    take(server, &["--wait", "5"], "printf \"$DIPC_TRIES $(cat)\"").expect(0, expected);
    expect_removed(server);
}

/// Expects that no message is left.
#[track_caller]
fn expect_removed(server: &Server) {
    assert_eq!(server.stat_json(&["1"], "messages"), 0);
}

#[test]
fn a_command_gets_the_oldest_message_and_its_success_removes_it() {
    let server = Server::start("4 64 0 8");
    for data in ["one", "two"] {
        server.run(&["put", "1", data]);
    }
    let ran = take(&server, &["-v"], "printf \"$DIPC_BOX $DIPC_VERSION $DIPC_TRIES $(cat)\"");
    ran.expect(0, "1 1 1 one");
    assert_eq!(ran.stderr, "dipc-cli: version 1, messages 2, tries 1\n");
    let ran = take(&server, &["-v", "--json"], "cat");
    ran.expect(0, "two");
    assert_eq!(ran.stderr, "");
    take(&server, &["--wait", "0"], "cat").expect_failure(1, "empty");
    server.run_with(&["put", "1"], b"any\x00bytes\xff").expect(0, "version 3\ncount 1\n");
    take(&server, &[], "cat").expect(0, b"any\x00bytes\xff");
    expect_removed(&server);
}

#[test]
fn a_command_that_fails_gives_the_message_back_and_its_exit_code_is_returned() {
    let server = Server::start("4 64 0 8");
    server.run(&["put", "1", "x"]).expect(0, "version 1\ncount 1\n");
    take(&server, &[], "exit 7")
        .expect_failure(7, "message 1 of mailbox 1 was given back: the command exited with 7");
    take(&server, &[], "kill -9 $$")
        .expect_failure(137, "message 1 of mailbox 1 was given back: the command was ended by SIGKILL");
    server.run(&["take", "1", "--", "/no/such/program"]).expect_failure(127, "cannot run");
    server.run(&["take", "1", "--", "/dev/null"]).expect_failure(126, "cannot run");
    server.run(&["take", "9", "--", "cat"]).expect_failure(2, "box");
    server.run(&["take", "1", "cat"]).expect_failure(2, "unexpected argument");
    server.run(&["take", "1", "--ttl", "0", "--", "cat"]).expect_failure(2, "more than 0 seconds");
    expect_given_back(&server, 4);
}

/// A pipe holds 64 kB. If the message were written to a pipe, dipc-cli would wait for the command to read it.
#[test]
fn a_command_need_not_read_a_large_message() {
    let server = Server::start("4 1024 0 512");
    server.run_with(&["put", "1"], vec![b'x'; 500_000]).expect(0, "version 1\ncount 1\n");
    take(&server, &[], "exit 1").expect(1, "");
    take(&server, &[], "wc -c").expect(0, "500000\n");
    server.run_with(&["put", "1"], vec![b'x'; 500_000]).expect(0, "version 2\ncount 1\n");
    take(&server, &[], "true").expect(0, "");
    expect_removed(&server);
}

#[test]
fn a_message_stays_in_hand_while_its_command_runs() {
    let server = Server::start("4 64 0 8");
    let script = "echo up; exec \"$0\" take 2 --wait inf";
    server.run(&["put", "1", "x"]).expect(0, "version 1\ncount 1\n");
    let words = ["take", "1", "--ttl", "2", "--", "sh", "-c", script, program::dipc_cli()];
    let mut worker = server.cli(&words).spawn().expect("dipc-cli runs");
    assert_eq!(first_line(&mut worker), "up\n");
    let names = server.run(&["stat", "conns"]).text();
    assert!(names.contains(":take:sh"), "{names}");
    // Without a renewal the message would be given back meanwhile.
    server.run(&["take", "1", "--wait", "3"]).expect_failure(1, "empty");
    server.run(&["put", "2", "go"]).expect(0, "version 1\ncount 1\n");
    finish(worker, b"").expect(0, "go");
    expect_removed(&server);
}

#[test]
fn a_command_whose_message_is_lost_gets_sigterm() {
    let server = Server::start("4 64 0 8");
    let worker = taking(&server, &["--ttl", "1"], TRAP_TERM);
    signal(worker.id(), Signal::SIGSTOP);
    // The message is given back as soon as the time in hand has ended.
    expect_given_back(&server, 1);
    signal(worker.id(), Signal::SIGCONT);
    let ran = finish(worker, b"");
    ran.expect(2, "terminated\n");
    assert!(ran.stderr.contains("message 1 of mailbox 1 is lost: the command is terminated"), "{ran:?}");
    assert!(ran.stderr.contains("lease: the message was given back"), "{ran:?}");
}

#[test]
fn a_command_does_not_begin_when_the_message_is_lost_already() {
    let server = Server::start("4 64 0 8");
    let words = ["take", "1", "--ttl", "1", "--wait", "inf", "--", "echo", "ran"];
    let worker = server.cli(&words).spawn().expect("dipc-cli runs");
    wait_until("the worker waits", || server.stat_json(&["1"], "aside") == 1);
    signal(worker.id(), Signal::SIGSTOP);
    server.run(&["put", "1", "x"]).expect(0, "version 1\ncount 1\n");
    expect_given_back(&server, 1);
    signal(worker.id(), Signal::SIGCONT);
    finish(worker, b"").expect_failure(2, "lease");
}

#[test]
fn a_command_ends_with_the_connection() {
    let mut server = Server::start("4 64 0 8");
    let worker = taking(&server, &[], TRAP_TERM);
    server.kill();
    finish(worker, b"").expect(3, "terminated\n");
}

#[test]
fn a_server_that_does_not_answer_ends_the_command() {
    let server = Server::start("4 64 0 8");
    let worker = taking(&server, &["--ttl", "1"], TRAP_TERM);
    server.halt();
    let ran = finish(worker, b"");
    server.signal(Signal::SIGCONT);
    ran.expect(3, "terminated\n");
    assert!(ran.stderr.contains("silent for too long"), "{ran:?}");
}

#[test]
fn a_kill_of_dipc_cli_kills_the_command_and_gives_the_message_back() {
    let server = Server::start("4 64 0 8");
    let worker = taking(&server, &[], "echo up; exec sleep 1000");
    signal(worker.id(), Signal::SIGKILL);
    // `finish` returns when the command has closed the output: then the command has ended.
    assert_eq!(finish(worker, b"").stdout, b"");
    expect_given_back(&server, 1);
}

#[test]
fn a_signal_goes_to_the_command_and_gives_the_message_back() {
    for (script, sent, code) in [
        (TRAP_TERM, Signal::SIGTERM, Some(5)),
        // The command handles the signal.
        ("trap 'exit 0' TERM; echo up; while :; do sleep 0.01; done", Signal::SIGTERM, Some(143)),
        ("echo up; exec sleep 1000", Signal::SIGHUP, Some(129)),
        ("echo up; exec sleep 1000", Signal::SIGINT, None),
    ] {
        let server = Server::start("4 64 0 8");
        let mut worker = taking(&server, &[], script);
        signal(worker.id(), sent);
        let end = worker.wait().expect("the process has ended");
        assert_eq!((end.code(), end.signal()), (code, code.is_none().then_some(sent as i32)), "{script}");
        expect_given_back(&server, 1);
    }
}

#[test]
fn a_signal_that_asks_for_no_end_goes_to_the_command() {
    let server = Server::start("4 64 0 8");
    let worker = taking(&server, &[], "trap 'echo got; exit 0' USR1; echo up; while :; do sleep 0.01; done");
    signal(worker.id(), Signal::SIGUSR1);
    finish(worker, b"").expect(0, "got\n");
    expect_removed(&server);
}

#[test]
fn a_second_signal_kills_a_command_that_ignores_the_first_one() {
    let server = Server::start("4 64 0 8");
    let script = "trap '' TERM; sleep 1000 & echo up; while :; do sleep 0.01; done";
    let mut worker = taking(&server, &[], script);
    wait_until("the command is killed", || {
        signal(worker.id(), Signal::SIGTERM);
        worker.try_wait().expect("our child").is_some()
    });
    // `finish` returns when the last process has closed the output. A third signal may end dipc-cli itself.
    let ran = finish(worker, b"");
    assert!(matches!(ran.code, None | Some(137)), "{ran:?}");
    expect_given_back(&server, 1);
}

#[test]
fn a_worker_that_waits_for_a_message_ends_by_a_signal() {
    let server = Server::start("4 64 0 8");
    let mut worker =
        server.cli(&["take", "1", "--wait", "inf", "--", "true"]).spawn().expect("dipc-cli runs");
    wait_until("the worker waits", || server.stat_json(&["1"], "aside") == 1);
    signal(worker.id(), Signal::SIGTERM);
    assert_eq!(worker.wait().expect("the process has ended").signal(), Some(Signal::SIGTERM as i32));
}

/// The command itself removes its message, so that the order is certain.
#[test]
fn a_message_that_is_gone_when_its_command_succeeds_is_an_error() {
    let server = Server::start("4 64 0 8");
    server.run(&["put", "1", "x"]).expect(0, "version 1\ncount 1\n");
    let ran = server.run(&["take", "1", "--", program::dipc_cli(), "write", "1", "y"]);
    ran.expect(2, "version 2\n");
    assert!(ran.stderr.contains("another worker may have got it"), "{ran:?}");
}

/// The default wait of the server is over twice before the mailbox is unlocked. It is longer than the time
/// for an answer while the command runs, a third of --ttl.
#[test]
fn the_end_of_a_command_waits_for_a_locked_mailbox() {
    for (script, code, messages) in [("exit 0", 0, 0), ("exit 7", 7, 1)] {
        let server = Server::start("4 64 0 8 --wait 0.7");
        let script = format!("echo up; \"$0\" take 2 --wait inf; {script}");
        server.run(&["put", "1", "x"]).expect(0, "version 1\ncount 1\n");
        let words = ["take", "1", "--ttl", "1.5", "--", "sh", "-c", &script, program::dipc_cli()];
        let mut worker = server.cli(&words).spawn().expect("dipc-cli runs");
        assert_eq!(first_line(&mut worker), "up\n");
        let mut holder = server.connect();
        holder.lock("lock 1\n");
        server.run(&["put", "2", "go"]).expect(0, "version 1\ncount 1\n");
        server.wait_for_stat("no_timeout", |timeouts| timeouts >= 2);
        holder.ask("unlock 1\n", "OK\n");
        finish(worker, b"").expect(code, "go");
        assert_eq!(server.stat_json(&["1"], "messages"), messages);
    }
}

/// Ctrl-C ends the command or the wait, and not the prompt.
#[test]
fn ctrl_c_ends_a_take_command_and_not_the_prompt() {
    let server = Server::start("4 64 0 8");
    let mut prompt = Terminal::start(&server, &[]);
    prompt.expect("dipc> ");
    prompt.press("put 1 x\r");
    prompt.expect("count 1\r\n");
    prompt.expect("dipc> ");
    prompt.press("take 1 -- sh -c 'echo u\"\"p; exec sleep 1000'\r");
    prompt.expect("up\r\n");
    prompt.press("\x03");
    prompt.expect("message 1 of mailbox 1 was given back: the command was ended by SIGINT");
    prompt.expect("dipc> ");
    prompt.press("take 1 -- sh -c 'echo tries $DIPC_TRIES'\r");
    prompt.expect("tries 2\r\n");
    prompt.expect("dipc> ");
    prompt.press("take 1 --wait inf -- cat\r");
    prompt.expect("waiting for a message in mailbox 1; Ctrl-C cancels");
    prompt.press("\x03");
    prompt.expect("cancelled and reconnected");
    prompt.expect("dipc> ");
    prompt.press("\x04");
    prompt.expect_end(0);
}
