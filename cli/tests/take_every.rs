//! `dipc-cli take --every`: a command for message after message, and what happens to a message that always
//! fails.

use std::io::{BufRead, BufReader};
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use dipc_testkit::port::Port;
use dipc_testkit::process::{Outcome, finish, first_line, signal, wait_for_end};
use dipc_testkit::program;
use dipc_testkit::server::Server;
use dipc_testkit::terminal::Terminal;
use dipc_testkit::wait::wait_until;
use nix::sys::signal::Signal;

const GIVEN_BACK: &str = "message 1 of mailbox 1 was given back: the command exited with 7";

/// Prints the message, and fails if it is `bad`.
const FAILS_FOR_BAD: &str = "m=$(cat); echo \"$m $DIPC_TRIES\"; [ $m != bad ] || exit 7";

/// The words of a worker for mailbox 1 with these options.
fn words<'a>(options: &[&'a str], script: &'a str) -> Vec<&'a str> {
    [&["take", "1", "--every"], options, &["--", "sh", "-c", script]].concat()
}

/// Runs a worker until no message is left, or until it ends.
#[track_caller]
fn work(server: &Server, options: &[&str], script: &str) -> Outcome {
    server.run(&words(&[&["--wait", "0"], options].concat(), script))
}

/// Starts a worker that waits for messages without end.
#[track_caller]
fn working(server: &Server, options: &[&str], script: &str) -> Child {
    server.cli(&words(options, script)).stdin(Stdio::piped()).spawn().expect("dipc-cli runs")
}

/// Waits for the end of a worker.
#[track_caller]
fn end(worker: &mut Child) -> ExitStatus {
    wait_for_end(worker);
    worker.wait().expect("the process has ended")
}

#[track_caller]
fn put(server: &Server, mailbox: &str, messages: &[&str]) {
    for message in messages {
        assert_eq!(server.run(&["put", mailbox, message]).code, Some(0));
    }
}

#[test]
fn a_command_runs_for_message_after_message() {
    let server = Server::start("4 64 0 8");
    put(&server, "1", &["one", "two", "three"]);
    work(&server, &[], "echo \"$DIPC_BOX $DIPC_VERSION $(cat)\"").expect(0, "1 1 one\n1 2 two\n1 3 three\n");
    assert_eq!(server.stat_json(&["1"], "messages"), 0);
    // It waits for the next message.
    let mut worker = working(&server, &[], "cat");
    for text in ["four\n", "five\n"] {
        wait_until("the worker waits", || server.stat_json(&["1"], "aside") == 1);
        put(&server, "1", &[text]);
        assert_eq!(first_line(&mut worker), text);
    }
    wait_until("the worker waits", || server.stat_json(&["1"], "aside") == 1);
    signal(worker.id(), Signal::SIGTERM);
    assert_eq!(end(&mut worker).signal(), Some(Signal::SIGTERM as i32));
}

/// The pauses are 0.1, 0.2 and 0.4 seconds.
#[test]
fn a_message_that_fails_is_tried_again_after_pauses() {
    let server = Server::start("4 64 0 8");
    put(&server, "1", &["x", "y"]);
    let began = Instant::now();
    let ran = work(&server, &[], "echo $DIPC_VERSION; [ $DIPC_VERSION$DIPC_TRIES -gt 13 ] || exit 7");
    ran.expect(0, "1\n1\n1\n1\n2\n");
    assert!(began.elapsed() >= Duration::from_millis(700), "{:?}", began.elapsed());
    assert_eq!(ran.stderr.matches(GIVEN_BACK).count(), 3, "{ran:?}");
}

#[test]
fn a_message_that_always_fails_ends_the_worker() {
    let server = Server::start("4 64 0 8");
    put(&server, "1", &["good", "bad", "good"]);
    let ran = work(&server, &["--max-tries", "2"], FAILS_FOR_BAD);
    ran.expect(7, "good 1\nbad 1\nbad 2\n");
    let last = "message 2 of mailbox 1 was given back: the command exited with 7 in try 2 of 2";
    assert!(ran.stderr.contains(last), "{ran:?}");
    // Another worker does not try it again.
    work(&server, &["--max-tries", "2"], FAILS_FOR_BAD)
        .expect_failure(1, "message 2 of mailbox 1 was given back: handed out 3 times, --max-tries is 2");
    assert_eq!(server.stat_json(&["1"], "messages"), 2);
}

#[test]
fn a_message_that_always_fails_is_moved_to_another_mailbox() {
    let server = Server::start("4 64 0 8");
    put(&server, "1", &["good", "bad", "good"]);
    let ran = work(&server, &["--max-tries", "2", "--failed", "3"], FAILS_FOR_BAD);
    ran.expect(0, "good 1\nbad 1\nbad 2\ngood 1\n");
    let note = "message 2 of mailbox 1 was moved to mailbox 3: the command exited with 7 in try 2 of 2";
    assert!(ran.stderr.contains(note), "{ran:?}");
    server.run(&["take", "3"]).expect(0, "bad");
    assert_eq!(server.stat_json(&["1"], "messages"), 0);
    // Without --every too. The exit code is that of the command.
    put(&server, "1", &["bad"]);
    let once = ["take", "1", "--max-tries", "1", "--failed", "3", "--", "sh", "-c", FAILS_FOR_BAD];
    server.run(&once).expect(7, "bad 1\n");
    server.run(&["take", "3"]).expect(0, "bad");
}

/// The command has ended before the signal arrives, and the removal of its message waits.
#[test]
fn a_signal_while_a_message_is_removed_ends_the_worker() {
    let server = Server::start("4 64 0 8");
    put(&server, "1", &["one"]);
    let script = "echo up; \"$0\" take 2 --wait inf";
    let words = [&words(&[], script)[..], &[program::dipc_cli()]].concat();
    let mut worker = server.cli(&words).spawn().expect("dipc-cli runs");
    assert_eq!(first_line(&mut worker), "up\n");
    let mut holder = server.connect();
    holder.lock("lock 1\n");
    put(&server, "2", &["go"]);
    wait_until("the removal waits", || server.stat_json(&["1"], "waiting") == 1);
    signal(worker.id(), Signal::SIGTERM);
    holder.ask("unlock 1\n", "OK\n");
    assert_eq!(end(&mut worker).code(), Some(143));
    assert_eq!(server.stat_json(&["1"], "messages"), 0);
}

/// A message that kills its worker fails too.
#[test]
fn a_message_that_a_killed_worker_had_is_not_tried_too_often() {
    let server = Server::start("4 64 0 8");
    put(&server, "1", &["bad", "good"]);
    let options = ["--max-tries", "1", "--failed", "3"];
    let mut worker = working(&server, &options, "echo up; exec sleep 1000");
    assert_eq!(first_line(&mut worker), "up\n");
    signal(worker.id(), Signal::SIGKILL);
    end(&mut worker);
    wait_until("the message is back", || server.stat_json(&["1"], "in_hand") == 0);
    let ran = work(&server, &options, FAILS_FOR_BAD);
    ran.expect(0, "good 1\n");
    assert!(ran.stderr.contains("moved to mailbox 3: handed out 2 times, --max-tries is 1"), "{ran:?}");
    server.run(&["take", "3"]).expect(0, "bad");
}

#[test]
fn a_message_that_cannot_be_moved_is_given_back() {
    let server = Server::start("4 64 0 8 --wait 0.1");
    for size in [8192, 64, 1] {
        while server.run_with(&["put", "3", "--wait", "0"], vec![b'x'; size]).code == Some(0) {}
    }
    put(&server, "1", &["bad"]);
    let ran = work(&server, &["--max-tries", "1", "--failed", "3"], FAILS_FOR_BAD);
    ran.expect(1, "bad 1\n");
    let note = "message 1 of mailbox 1 was given back: it could not be put into mailbox 3\ndipc-cli: full";
    assert!(ran.stderr.contains(note), "{ran:?}");
    server.run(&["take", "1"]).expect(0, "bad");
}

#[test]
fn a_program_that_does_not_exist_moves_no_message() {
    let server = Server::start("4 64 0 8");
    put(&server, "1", &["one", "two"]);
    let options = ["take", "1", "--every", "--max-tries", "1", "--failed", "3", "--", "/no/such/program"];
    server.run(&options).expect_failure(127, "cannot run");
    assert_eq!(server.stat_json(&["1"], "messages"), 2);
}

#[test]
fn options_without_meaning_are_refused() {
    let server = Server::start("4 64 0 8");
    for (line, reason) in [
        ("take 1 --every", "<COMMAND>"),
        ("take 1 --max-tries 2", "<COMMAND>"),
        ("take 1 --max-tries 0 -- true", "0"),
        ("take 1 --failed 2 -- true", "--max-tries"),
        ("take 1 --retry 2 -- true", "--every"),
        ("take 1 --max-tries 2 --failed 1 -- true", "another mailbox"),
        ("take 1 --max-tries 2 --failed 9 -- true", "no mailbox 9; this server has 0 to 3"),
    ] {
        let words: Vec<_> = line.split(' ').collect();
        server.run(&words).expect_failure(2, reason);
    }
}

#[test]
fn a_signal_ends_the_worker_with_its_command() {
    let server = Server::start("4 64 0 8");
    put(&server, "1", &["one", "two"]);
    let script = "trap 'exit 0' TERM; echo up; while :; do sleep 0.01; done";
    let mut worker = working(&server, &["--max-tries", "1", "--failed", "3"], script);
    assert_eq!(first_line(&mut worker), "up\n");
    signal(worker.id(), Signal::SIGTERM);
    finish(worker, b"").expect(143, "");
    assert_eq!(server.stat_json(&["1"], "messages"), 2);
}

/// The pause after the sixth failure is 3.2 seconds.
#[test]
fn a_signal_ends_the_pause_after_a_failure() {
    let server = Server::start("4 64 0 8");
    put(&server, "1", &["x"]);
    let mut worker = working(&server, &[], "exit 7");
    let stderr = BufReader::new(worker.stderr.take().expect("piped"));
    let mut lines = stderr.lines().map(|line| line.expect("text"));
    for _ in 0..6 {
        assert_eq!(lines.next(), Some(format!("dipc-cli: {GIVEN_BACK}")));
    }
    let sent = Instant::now();
    signal(worker.id(), Signal::SIGTERM);
    assert_eq!(end(&mut worker).code(), Some(143));
    assert!(sent.elapsed() < Duration::from_secs(3), "{:?}", sent.elapsed());
    assert_eq!(lines.next(), None);
}

#[test]
fn a_signal_that_asks_for_no_end_has_no_effect_between_messages() {
    let server = Server::start("4 64 0 8");
    let mut worker = working(&server, &[], "cat");
    wait_until("the worker waits", || server.stat_json(&["1"], "aside") == 1);
    signal(worker.id(), Signal::SIGUSR1);
    put(&server, "1", &["one\n"]);
    assert_eq!(first_line(&mut worker), "one\n");
    signal(worker.id(), Signal::SIGTERM);
    end(&mut worker);
}

#[test]
fn a_worker_goes_on_after_the_loss_of_a_message() {
    let server = Server::start("4 64 0 8");
    put(&server, "1", &["one"]);
    let script = "[ $DIPC_VERSION = 2 ] || { echo up; exec sleep 1000; }; cat";
    let mut worker = working(&server, &["--ttl", "1"], script);
    assert_eq!(first_line(&mut worker), "up\n");
    signal(worker.id(), Signal::SIGSTOP);
    server.run(&["take", "1"]).expect(0, "one");
    signal(worker.id(), Signal::SIGCONT);
    // The wait for the next message is longer than that for an answer while the command ran.
    wait_until("the worker waits", || server.stat_json(&["1"], "aside") == 1);
    server.run(&["take", "2", "--wait", "0.5"]).expect_failure(1, "empty");
    put(&server, "1", &["two\n"]);
    assert_eq!(first_line(&mut worker), "two\n");
    signal(worker.id(), Signal::SIGTERM);
    let ran = finish(worker, b"");
    assert!(ran.stderr.contains("message 1 of mailbox 1 is lost: the command is terminated"), "{ran:?}");
    assert!(ran.stderr.contains("lease: the message was given back"), "{ran:?}");
    assert!(!ran.stderr.contains("connecting again"), "{ran:?}");
}

#[test]
fn a_worker_goes_on_after_a_restart_of_the_server() {
    let port = Port::reserve();
    let arguments = format!("4 64 {} 8", port.number);
    let mut server = Server::start(&arguments);
    let script = "[ $(cat) = two ] || { echo up; exec sleep 1000; }; echo two $DIPC_TRIES";
    let mut worker = working(&server, &[], script);
    put(&server, "1", &["one"]);
    assert_eq!(first_line(&mut worker), "up\n");
    server.kill();
    server.restart(&arguments);
    // The message is there again.
    assert_eq!(first_line(&mut worker), "up\n");
    server.run(&["write", "1", "two"]).expect(0, "version 2\n");
    server.kill();
    server.restart(&arguments);
    assert_eq!(first_line(&mut worker), "two 1\n");
    signal(worker.id(), Signal::SIGTERM);
    let ran = finish(worker, b"");
    assert!(ran.stderr.contains("connecting again\ndipc-cli: connected again\n"), "{ran:?}");
}

#[test]
fn without_retry_a_worker_ends_with_the_connection() {
    let mut server = Server::start("4 64 0 8");
    let worker = working(&server, &["--retry", "0"], "true");
    wait_until("the worker waits", || server.stat_json(&["1"], "aside") == 1);
    server.kill();
    finish(worker, b"").expect_failure(3, "");
}

#[test]
fn ctrl_c_ends_a_worker_and_not_the_prompt() {
    let server = Server::start("4 64 0 8");
    let mut prompt = Terminal::start(&server, &[]);
    prompt.expect("dipc> ");
    prompt.press("put 1 one\r");
    prompt.expect("dipc> ");
    // While it waits, while its command runs, and in a pause.
    prompt.press("take 1 --every -- cat\r");
    prompt.expect("one");
    prompt.expect("waiting for a message in mailbox 1; Ctrl-C cancels");
    prompt.press("\x03");
    prompt.expect("cancelled and reconnected");
    prompt.expect("dipc> ");
    prompt.press("put 1 two\r");
    prompt.expect("dipc> ");
    prompt.press("take 1 --every -- sh -c 'echo u\"\"p; exec sleep 1000'\r");
    prompt.expect("up\r\n");
    prompt.press("\x03");
    prompt.expect("message 2 of mailbox 1 was given back: the command was ended by SIGINT");
    prompt.expect("dipc> ");
    prompt.press("take 1 --every -- sh -c 'exit 7'\r");
    for _ in 0..4 {
        prompt.expect("message 2 of mailbox 1 was given back: the command exited with 7");
    }
    prompt.press("\x03");
    prompt.expect("dipc> ");
    prompt.press("\x04");
    prompt.expect_end(0);
}
