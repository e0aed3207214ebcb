//! The texts of errors.

use dipc_testkit::server::Server;

use crate::shown;

#[test]
fn every_error_has_its_code_and_a_text_with_a_hint() {
    let server = Server::start("4 64 0 8 --quiet-ms 0");
    let long = format!("r 3 {}\n", "x".repeat(2000));
    let large = format!("w 3 8193\n{}\n", "x".repeat(8193));
    let bad = "x\n".repeat(8);
    for (request, code, hints) in [
        ("r 9\n", "ERR box max=3", &["mailbox", "0 to 3"][..]),
        ("r three\n", "ERR box max=3", &["0 to 3"]),
        ("raed 3\n", "ERR verb", &["raed", "help"]),
        ("r 3 foo=1\n", "ERR syntax", &["foo", "help"]),
        ("w 3 len=5\nhello\n", "ERR syntax", &["len", "help"]),
        ("r 3 off=1 off=2\n", "ERR syntax", &["off", "twice"]),
        ("r 3 off=x\n", "ERR syntax", &["off=", "number"]),
        ("r 3 wait=soon\n", "ERR syntax", &["wait=", "seconds"]),
        ("r 3 4 5\n", "ERR syntax", &["too many", "help"]),
        ("r 3 \u{1}\n", "ERR syntax", &["ASCII"]),
        (&large, "ERR size max=8192", &["8193 bytes", "PACKET_KB allows 8192"]),
        ("w 3 2000000\n", "ERR size max=8192", &["2000000 bytes", "PACKET_KB allows 8192"]),
        ("w 3 five\n", "ERR frame", &["next line", "length", "w 3 5"]),
        ("w 3 5\nhelloo\n", "ERR frame", &["length", "bytes"]),
        ("w 3 \u{1}\n", "ERR frame", &["ASCII"]),
        ("\u{1}\n", "ERR frame", &["text", "help"]),
        (&long, "ERR frame", &["1024 bytes"]),
    ] {
        let mut client = server.connect();
        client.send(request);
        let answer = client.line();
        let (found, words) = answer.split_once(" : ").expect("a code and words");
        assert_eq!(found, code, "{}", shown(request.as_bytes()));
        assert!(hints.iter().all(|hint| words.contains(hint)), "{words:?} lacks one of {hints:?}");
        assert!(words.len() < 80 && words.bytes().all(|byte| matches!(byte, b' '..=b'~')), "{words:?}");
    }
    let mut client = server.connect();
    client.send(&bad);
    let lines: Vec<String> = (0..8).map(|_| client.line()).collect();
    assert!(lines[..7].iter().all(|line| line.starts_with("ERR verb : unknown verb \"x\"")), "{lines:?}");
    assert!(lines[7].starts_with("ERR frame : eight bad lines"), "{lines:?}");
    client.expect_end();
}

#[test]
fn words_repeated_in_errors_are_short_and_escaped() {
    let server = Server::start("4 64 0 8 --quiet-ms 0");
    let mut client = server.connect();
    client.send(format!("{}\n", "x".repeat(1000)));
    assert!(client.line().len() < 100);
    client.send(format!("r 3 {}=1\n", "k".repeat(1000)));
    assert!(client.line().len() < 100);
    client.send("r\u{1b}[2J 3\n");
    assert!(!client.line().contains('\u{1b}'));
    client.send("a\\b\"c 3\n");
    assert!(client.line().starts_with("ERR verb : "));
    client.ask("ping\n", "OK\n");
}
