//! Requests that the end of input, or silence, cuts short.

use std::io::Write;

use dipc_testkit::client::{Client, tcp_stream};
use dipc_testkit::process::text;
use dipc_testkit::server::Server;
use dipc_testkit::wait::wait_until;

use crate::{Harness, stream, wordless};

#[test]
fn a_body_that_the_end_of_input_cuts_short_is_never_executed() {
    let mut harness = Harness::new();
    harness.watcher.ask("ping\n", "OK\n");
    let descriptors = harness.server.descriptors();
    let length = b"w 3 5\nhello";
    for len in 0..length.len() {
        assert_eq!(harness.play(&stream(&length[..len], "", &[]), &[]), "", "{len} bytes");
    }
    for (bytes, answers) in [
        ("w 3\n", ""),
        ("w 3\r\n", ""),
        ("w 99 5\nhell", ""),
        ("w 3 8193\nhello", ""),
        ("ping\nw 3 5\nhell", "OK\n"),
        ("ping\r\nw 3\r\nhell", "OK\r\n"),
        ("ping\nping", "OK\n"),
        ("w 3 6\nhello", ""),
        ("w 3 7\nhello\n", ""),
    ] {
        assert_eq!(harness.play(&stream(bytes, "", &[]), &[]), answers, "{bytes:?}");
    }
    let half = [b"w 3 8000\n", &[b'x'; 7999][..]].concat();
    assert_eq!(harness.play(&stream(&half, "", &[]), &[]), "");
    assert_eq!(harness.play(&stream(&half, "", &[]), &[3000, 6000]), "");
    assert_eq!(harness.watcher.stat("writes"), 0);
    wait_until("only the watcher is there", || harness.watcher.stat("connections") == 1);
    wait_until("the descriptors are back", || harness.server.descriptors() == descriptors);
}

#[test]
fn silence_never_completes_a_body_of_known_length() {
    let server = Server::start("4 64 0 8 --quiet-ms 20");
    let mut slow = server.connect();
    slow.send("w 3 6\nhello");
    let mut refused = server.connect();
    refused.send("w 99 6\nhello");
    let mut header = server.connect();
    header.send("w 3 6");
    // The silences of these two clients begin later, and complete their requests.
    server.connect().ask("ping", "OK\n");
    server.connect().ask("ping", "OK\n");
    assert_eq!(server.stat("completed_by_silence"), 2);
    assert_eq!(server.stat("writes"), 0);
    slow.ask("!\n", "OK v=1\n");
    refused.ask("!\n", "ERR box max=3 : no mailbox 99; this server has 0 to 3\n");
    header.ask("\nhello!\n", "OK v=2\n");
}

#[test]
fn silence_completes_only_the_first_request_after_an_answer() {
    let server = Server::start("4 64 0 8 --quiet-ms 20");
    let mut pipelining = server.connect();
    pipelining.ask("ping\nw 3\nhel", "OK\n");
    server.connect().ask("ping", "OK\n");
    server.connect().ask("ping", "OK\n");
    assert_eq!(server.stat("writes"), 0);
    pipelining.ask("lo\n", "OK v=1\n");
    pipelining.ask("r 3", "DATA 5 v=1 n=1\nhello\n");
    assert_eq!(server.stat("completed_by_silence"), 3);
}

#[test]
fn bytes_after_the_end_are_discarded_so_that_the_last_answer_arrives() {
    let server = Server::start("4 64 0 8 --quiet-ms 0");
    let rest = b"w 3\nno\n".repeat(100_000);
    for (request, answer) in
        [("w 3 five\n", "ERR frame ..\n"), ("ping\nq\n", "OK\n"), ("\0\n", "ERR frame ..\n")]
    {
        let mut stream = tcp_stream(server.port);
        let mut client = Client::over(stream.try_clone().expect("cloned"));
        let _ = stream.write_all(&[request.as_bytes(), &rest].concat());
        assert_eq!(wordless(&text(&client.read_to_end())), answer, "{request:?}");
    }
    assert_eq!(server.stat("writes"), 0);
}
