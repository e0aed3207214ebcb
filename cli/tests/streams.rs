//! Standard streams that are closed, full or endless: nothing is taken without a reader, and nothing is
//! changed if its input or output is missing.

use std::fs::File;
use std::io::{PipeReader, Write, pipe};
use std::process::{Child, Stdio};

use dipc_testkit::process::{Outcome, after, run, wait_for_end};
use dipc_testkit::program;
use dipc_testkit::server::Server;
use dipc_testkit::wait::wait_until;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use serde_json::json;

/// The exit code of an error of this machine.
const LOCAL: Option<i32> = Some(74);

/// Starts `dipc-cli` with a pipe as standard output. Returns its process and the reading end.
fn piped(server: &Server, words: &[&str]) -> (Child, PipeReader) {
    let (reader, writer) = pipe().expect("a pipe");
    (server.cli(words).stdout(writer).spawn().expect("dipc-cli runs"), reader)
}

/// Waits for the end of a process whose standard output is no pipe of this test.
#[track_caller]
fn end(mut child: Child) -> (Option<i32>, String) {
    let code = wait_for_end(&mut child);
    (code, std::io::read_to_string(child.stderr.take().expect("piped")).expect("text"))
}

/// Runs `dipc-cli` in a shell that has redirected its streams.
#[track_caller]
fn redirected(server: &Server, redirection: &str, words: &[&str]) -> Outcome {
    let mut command = std::process::Command::new(program::dipc_cli());
    command.args(["-p", &server.port.to_string()]).args(words);
    run(&mut after(&format!("exec {redirection}"), &command))
}

#[track_caller]
fn expect_one_message(server: &Server) {
    assert_eq!(server.stat_json(&["3"], "messages"), json!(1));
}

#[test]
fn a_waiting_take_gives_up_when_its_reader_has_gone() {
    let server = Server::start("4 64 0 8");
    let (take, reader) = piped(&server, &["take", "3", "--wait", "inf"]);
    wait_until("the taker waits", || server.stat_json(&["3"], "aside") == 1);
    drop(reader);
    let (code, says) = end(take);
    assert!(code == LOCAL && says.contains("nothing was taken"), "{code:?} {says}");
    server.run(&["put", "3", "job"]).expect(0, "version 1\ncount 1\n");
    expect_one_message(&server);
}

#[test]
fn a_take_without_a_reader_asks_for_nothing() {
    let server = Server::start("4 64 0 8");
    server.run(&["put", "3", "job"]);
    for words in [vec!["take", "3"], vec!["take", "3", "--json"]] {
        let (reader, writer) = pipe().expect("a pipe");
        drop(reader);
        let (code, says) = end(server.cli(&words).stdout(writer).spawn().expect("dipc-cli runs"));
        assert!(code == LOCAL && says.contains("nothing was taken"), "{code:?} {says}");
    }
    // At the prompt it ends the prompt: no later command could print anything either.
    let (reader, writer) = pipe().expect("a pipe");
    drop(reader);
    let mut prompt = server.cli(&[]).stdin(Stdio::piped()).stdout(writer).spawn().expect("dipc-cli runs");
    prompt.stdin.take().expect("piped").write_all(b"take 3\nwrite 3 x\n").expect("typed");
    assert_eq!(end(prompt).0, LOCAL);
    expect_one_message(&server);
}

#[test]
fn a_take_waits_until_its_output_has_room() {
    let server = Server::start("4 64 0 8");
    server.run(&["put", "3", "job"]);
    let (reader, mut writer) = pipe().expect("a pipe");
    let flags = OFlag::from_bits_retain(fcntl(&writer, FcntlArg::F_GETFL).expect("flags"));
    fcntl(&writer, FcntlArg::F_SETFL(flags | OFlag::O_NONBLOCK)).expect("set");
    while writer.write(&[b'x'; 4096]).is_ok() {}
    fcntl(&writer, FcntlArg::F_SETFL(flags)).expect("set");
    let take = server.cli(&["take", "3"]).stdout(writer).spawn().expect("dipc-cli runs");
    wait_until("dipc-cli is connected", || server.run(&["stat", "conns"]).text().lines().count() == 2);
    // The reader goes without having read anything.
    drop(reader);
    let (code, says) = end(take);
    assert!(code == LOCAL && says.contains("nothing was taken"), "{code:?} {says}");
    expect_one_message(&server);
}

/// Whether a full disk has room is known only after the message was written.
#[test]
fn a_taken_message_that_cannot_be_written_is_a_failure() {
    let server = Server::start("4 64 0 8");
    server.run(&["put", "3", "job"]);
    let full = File::options().write(true).open("/dev/full").expect("a device");
    let (code, says) = end(server.cli(&["take", "3"]).stdout(full).spawn().expect("dipc-cli runs"));
    assert!(code == LOCAL && says.contains("removed but could not be written"), "{code:?} {says}");
}

#[test]
fn a_read_or_a_watch_ends_without_an_error_when_its_reader_has_gone() {
    let server = Server::start("4 64 0 8");
    for (words, waits) in [
        (vec!["read", "3", "--after", "0", "--wait", "inf"], "aside"),
        (vec!["watch", "3"], "watchers"),
        (vec!["watch", "3", "--json"], "watchers"),
    ] {
        let (child, reader) = piped(&server, &words);
        wait_until("it waits", || server.stat_json(&["3"], waits) == 1);
        drop(reader);
        assert_eq!(end(child), (Some(0), String::new()), "{words:?}");
    }
    server.run(&["write", "3", "x"]);
    let (reader, writer) = pipe().expect("a pipe");
    drop(reader);
    let read = server.cli(&["read", "3"]).stdout(writer).spawn().expect("dipc-cli runs");
    assert_eq!(end(read), (Some(0), String::new()));
}

#[test]
fn a_chat_ends_when_its_reader_has_gone() {
    let server = Server::start("4 64 0 8");
    let (reader, writer) = pipe().expect("a pipe");
    let mut chat = server.cli(&["chat", "1", "--name", "bob"]);
    let mut chat = chat.stdin(Stdio::piped()).stdout(writer).spawn().expect("dipc-cli runs");
    wait_until("the chat has begun", || server.stat_json(&["1"], "version") == 1);
    drop(reader);
    assert_eq!(wait_for_end(&mut chat), Some(0));
}

#[test]
fn a_closed_stream_is_an_error_before_anything_is_changed() {
    let server = Server::start("4 64 0 8");
    for (redirection, says) in [
        (">&-", "standard output: not open for writing"),
        ("1</dev/null", "standard output: not open for writing"),
        // There is no stream for the message.
        ("2>&-", ""),
        ("2</dev/null", ""),
    ] {
        for words in
            [["write", "3", "x"].as_slice(), &["take", "3"], &["lock", "3", "--", "true"], &["--help"]]
        {
            let ran = redirected(&server, redirection, words);
            assert_eq!((ran.code, ran.text().as_str()), (LOCAL, ""), "{redirection} {words:?} {ran:?}");
            assert!(ran.stderr.contains(says), "{redirection} {words:?} {ran:?}");
        }
    }
    for redirection in ["<&-", "0>/dev/null"] {
        for words in [
            ["write", "3"].as_slice(),
            &["put", "3", "--file", "-"],
            &["chat", "3"],
            &["lock", "3", "--", "true"],
            &[],
        ] {
            let ran = redirected(&server, redirection, words);
            ran.expect(74, "");
            assert!(ran.stderr.contains("standard input: not open for reading"), "{words:?} {ran:?}");
        }
    }
    assert_eq!(server.stat_json(&["3"], "version"), json!(0));
    // A command that reads no input does not need it.
    redirected(&server, "<&-", &["write", "3", "x"]).expect(0, "version 1\n");
    redirected(&server, "</dev/null", &["write", "3"]).expect(0, "version 2\n");
}

#[test]
fn an_endless_input_is_read_up_to_the_packet_size() {
    let server = Server::start("4 64 0 8");
    for words in ["write 3 </dev/zero", "put 3 --file /dev/zero", "write 3 --file - </dev/zero"] {
        let script = format!("ulimit -v 1000000; exec \"$0\" -p {} {words}", server.port);
        let ran = run(std::process::Command::new("sh").args(["-c", &script, program::dipc_cli()]));
        ran.expect_failure(2, "message too large; the server's PACKET_KB allows 8192 bytes");
    }
    // The largest message is accepted.
    server.run_with(&["write", "3"], [b'x'; 8192]).expect(0, "version 1\n");
    let ran = server.run_with(&["write", "3", "--json"], [b'x'; 8193]);
    let error: serde_json::Value = serde_json::from_str(&ran.stderr).expect("JSON");
    assert_eq!((ran.code, &error["error"], &error["max"]), (Some(2), &json!("size"), &json!(8192)));
}

#[test]
fn a_line_of_the_prompt_that_is_too_long_does_not_end_it() {
    let server = Server::start("4 64 0 8");
    let lines =
        format!("write 3 {}\nwrite 3 {}\nwrite 3\n{}\nread 3\n", "x".repeat(100_000), "y", "z".repeat(8193));
    let ran = server.run_with(&[], lines);
    ran.expect(2, "version 1\ny\n");
    // dipc-cli refuses the first message, which is not kept, and the server the last one.
    let refused = ["message too large; ", "message too large (8193 bytes); "];
    assert_eq!(refused.map(|text| ran.stderr.matches(text).count()), [1, 1], "{ran:?}");
}

#[test]
fn a_line_of_a_chat_that_is_too_long_is_not_sent() {
    let server = Server::start("4 64 0 8");
    let ran = server.run_with(&["chat", "1", "--name", "bob"], "x".repeat(1_000_000) + "\nhi\n");
    ran.expect(0, "* bob joins\nbob: hi\n* bob leaves\n");
    assert_eq!(ran.stderr.matches("not sent: size").count(), 1, "{ran:?}");
}
