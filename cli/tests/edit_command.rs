//! The command that `dipc-cli edit` runs: its output replaces its input, unless another client was faster.

use std::io::{BufRead, BufReader};
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, Stdio};

use dipc_testkit::process::{Outcome, finish, signal};
use dipc_testkit::program;
use dipc_testkit::server::Server;
use nix::sys::signal::Signal;
use serde_json::json;

const COUNT: [&str; 3] = ["--", "awk", "{print $1+1}"];

/// Runs `dipc-cli edit` of a mailbox.
#[track_caller]
fn edit(server: &Server, mailbox: &str, words: &[&str]) -> Outcome {
    server.run(&[&["edit", mailbox], words].concat())
}

#[test]
fn the_output_of_a_command_replaces_its_input() {
    let server = Server::start("4 64 0 8");
    server.run(&["write", "0", "41"]).expect(0, "version 1\n");
    edit(&server, "0", &COUNT).expect(0, "version 2\n");
    // The newline that the command prints is part of the message.
    server.run(&["read", "0"]).expect(0, "42\n");
    edit(&server, "0", &COUNT).expect(0, "version 3\n");
    server.run(&["read", "0"]).expect(0, "43\n");
    // Any bytes, and nothing else.
    server.run_with(&["write", "1"], b"any\x00bytes\xff").expect(0, "version 1\n");
    edit(&server, "1", &["--", "cat"]).expect(0, "version 2\n");
    server.run(&["read", "1"]).expect(0, b"any\x00bytes\xff");
    let shown = edit(&server, "1", &["-v", "--json", "--", "sh", "-c", "printf \"$DIPC_BOX $DIPC_VERSION\""]);
    assert_eq!(shown.json(), json!({ "version": 3 }));
    server.run(&["read", "1"]).expect(0, "1 2");
    let shown = edit(&server, "1", &["-v", "--", "true"]);
    assert_eq!((shown.text().as_str(), shown.stderr.as_str()), ("version 4\n", "dipc-cli: version 4\n"));
    // The newest message is edited, and is the only one afterwards.
    for text in ["7", "8"] {
        server.run(&["put", "1", text]);
    }
    edit(&server, "1", &COUNT).expect(0, "version 7\n");
    server.run(&["take", "1"]).expect(0, "9\n");
    server.run(&["take", "1", "--wait", "0"]).expect_failure(1, "empty");
}

/// awk gets no line, so its first program prints nothing.
#[test]
fn an_empty_mailbox_is_an_empty_input() {
    let server = Server::start("4 64 0 8");
    edit(&server, "0", &COUNT).expect(0, "version 1\n");
    server
        .run(&["read", "0", "--json"])
        .expect(0, "{\"count\":1,\"data\":\"\",\"lost\":0,\"mailbox\":0,\"version\":1}\n");
    for number in 1..4 {
        edit(&server, "2", &["--", "awk", "END {print $1+1}"]).expect(0, format!("version {number}\n"));
        server.run(&["read", "2"]).expect(0, format!("{number}\n"));
    }
}

/// The command itself is the other client, so that the order is certain.
#[test]
fn a_command_runs_again_after_another_client_has_written() {
    let server = Server::start("4 64 0 8");
    server.run(&["write", "0", "1"]).expect(0, "version 1\n");
    let script = "read n; echo $n >&2; [ $n = 100 ] || \"$0\" write 0 100 >&2; echo $((n+1))";
    let with_rival = ["--", "sh", "-c", script, program::dipc_cli()];
    let ran = edit(&server, "0", &with_rival);
    ran.expect(0, "version 3\n");
    assert_eq!(ran.stderr, "1\nversion 2\n100\n");
    server.run(&["read", "0"]).expect(0, "101\n");
    // Without time for another attempt, the message of the other client remains too.
    let ran = edit(&server, "0", &[&["--wait", "0"][..], &with_rival].concat());
    ran.expect(1, "");
    assert!(ran.stderr.contains("conflict (version 4)"), "{ran:?}");
    server.run(&["read", "0"]).expect(0, "100");
}

#[test]
fn no_increment_of_several_clients_is_lost() {
    const CLIENTS: usize = 4;
    const EDITS: usize = 5;
    let server = Server::start("4 64 0 8");
    server.run(&["write", "0", "0"]).expect(0, "version 1\n");
    let script = format!("for i in $(seq {EDITS}); do \"$0\" edit 0 -- awk '{{print $1+1}}' || exit 1; done");
    let client = || {
        let mut shell = Command::new("sh");
        shell.args(["-c", &script, program::dipc_cli()]).stdin(Stdio::null()).stdout(Stdio::piped());
        shell.env("DIPC_URL", format!("dipc://127.0.0.1:{}", server.port)).stderr(Stdio::piped());
        shell.spawn().expect("sh runs")
    };
    let clients: Vec<_> = (0..CLIENTS).map(|_| client()).collect();
    for client in clients {
        let ran = finish(client, b"");
        assert_eq!((ran.code, ran.stderr.as_str()), (Some(0), ""));
    }
    server.run(&["read", "0"]).expect(0, format!("{}\n", CLIENTS * EDITS));
    server.run(&["read", "0", "--version"]).expect(0, format!("{}\n", 1 + CLIENTS * EDITS));
}

#[test]
fn a_command_that_fails_changes_nothing_and_its_exit_code_is_returned() {
    let server = Server::start("4 64 0 8");
    server.run(&["write", "0", "kept"]).expect(0, "version 1\n");
    edit(&server, "0", &["--", "sh", "-c", "echo new; exit 7"])
        .expect_failure(7, "mailbox 0 was not changed: the command exited with 7");
    edit(&server, "0", &["--", "sh", "-c", "echo new; kill -9 $$"])
        .expect_failure(137, "mailbox 0 was not changed: the command was ended by SIGKILL");
    edit(&server, "0", &["--", "/no/such/program"]).expect_failure(127, "cannot run");
    edit(&server, "0", &["--", "/dev/null"]).expect_failure(126, "cannot run");
    edit(&server, "9", &["--", "cat"]).expect_failure(2, "box");
    edit(&server, "0", &[]).expect_failure(2, "COMMAND");
    edit(&server, "0", &["cat"]).expect_failure(2, "<BOX> -- <COMMAND>");
    let mut client = server.connect();
    client.lock("lock 0\n");
    edit(&server, "0", &["--wait", "0", "--", "cat"]).expect_failure(1, "timeout");
    client.ask("unlock 0\n", "OK\n");
    server.run(&["read", "0", "--version"]).expect(0, "1\n");
    server.run(&["read", "0"]).expect(0, "kept");
}

#[test]
fn output_that_is_too_large_is_refused_and_an_endless_one_is_stopped() {
    let server = Server::start("4 64 0 8");
    let zeros = |count: &str| edit(&server, "0", &["--", "head", "-c", count, "/dev/zero"]);
    zeros("8192").expect(0, "version 1\n");
    zeros("8193").expect_failure(2, "message too large; the server's PACKET_KB allows 8192 bytes");
    edit(&server, "0", &["--", "yes"]).expect_failure(2, "message too large");
    server.run(&["read", "0", "--version"]).expect(0, "1\n");
}

#[test]
fn nothing_is_written_after_a_signal() {
    let server = Server::start("4 64 0 8");
    for (script, sent, code) in [
        ("echo up >&2; exec sleep 1000", Signal::SIGTERM, Some(143)),
        // The command handles the signal.
        ("trap 'exit 0' TERM; echo up >&2; while :; do sleep 0.01; done", Signal::SIGTERM, Some(143)),
        ("echo up >&2; exec sleep 1000", Signal::SIGINT, None),
    ] {
        let mut editing =
            server.cli(&["edit", "0", "--", "sh", "-c", script]).spawn().expect("dipc-cli runs");
        let stderr = BufReader::new(editing.stderr.take().expect("piped"));
        let mut lines = stderr.lines().map(|line| line.expect("text"));
        assert_eq!(lines.next().as_deref(), Some("up"));
        signal(editing.id(), sent);
        let end = editing.wait().expect("the process has ended");
        assert_eq!((end.code(), end.signal()), (code, code.is_none().then_some(sent as i32)), "{script}");
    }
    server.run(&["read", "0", "--version"]).expect(0, "0\n");
}
