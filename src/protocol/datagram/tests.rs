//! Datagrams, and the requests they are parsed to.

use super::*;
use crate::protocol::Names;

const LIMITS: Limits = Limits { mailboxes: 4, capacity: 64, packet: 100, names: Names::NONE };

/// A short description of what a datagram means.
fn meaning(datagram: &str, stops: bool) -> String {
    let Parsed::Request(Datagram { request, data, eol }) = parse(datagram.as_bytes(), &LIMITS, stops) else {
        return "no request".into();
    };
    let eol = match eol {
        None => "",
        Some(Eol::Lf) => " LF",
        Some(Eol::CrLf) => " CRLF",
    };
    let data = &datagram[data];
    match request {
        Request::Mailbox(MailboxRequest::Read { mailbox, .. }) => format!("r {mailbox}{eol}"),
        Request::Mailbox(MailboxRequest::Write { mailbox, .. }) => format!("w {mailbox} {data:?}{eol}"),
        Request::Quit => "q".into(),
        Request::Say(text) => format!("{text:?}"),
        Request::Refused(refusal) => refusal.code().into(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn each_datagram_means_what_the_protocol_says() {
    for (datagram, expected) in [
        ("r 3", "r 3"),
        ("r 3\n", "r 3 LF"),
        ("r3\r\n", "r 3 CRLF"),
        ("  READ  2 \n\n", "r 2 LF"),
        ("R\t1", "r 1"),
        ("r 4", "box"),
        ("r 99999999999999999999", "box"),
        ("r 3 hello", "syntax"),
        ("r", "no request"),
        ("r three", "no request"),
        ("reading 3", "no request"),
        ("w 3", "w 3 \"\""),
        ("w 3\n", "w 3 \"\" LF"),
        ("w 3\nhello", "w 3 \"hello\" LF"),
        ("w3\r\nhello\r\n", "w 3 \"hello\\r\\n\" CRLF"),
        ("w 3 hello", "w 3 \"hello\""),
        ("w 3 hello\n", "w 3 \"hello\\n\" LF"),
        ("W 3   \nhello", "w 3 \"hello\" LF"),
        ("write 0\nw 1\neggs\n", "w 0 \"w 1\\neggs\\n\" LF"),
        ("w 3 if=5 id=x\nhello", "w 3 \"if=5 id=x\\nhello\" LF"),
        ("w3hello", "no request"),
        ("w 4\nhello", "box"),
        ("q", "q"),
        ("Quit 3\n", "q"),
        ("q 3 4", "no request"),
        ("quite\n", "no request"),
        ("help", "Help"),
        ("help me", "no request"),
        ("stop", "no request"),
        ("hello", "no request"),
        ("", "no request"),
        ("\n", "no request"),
    ] {
        assert_eq!(meaning(datagram, false), expected, "{datagram:?}");
    }
    assert_eq!((meaning("stop", true), meaning("HELP\n", true)), ("Closing".into(), "FrameHelp".into()));
    let large = format!("w 1\n{}", "x".repeat(65));
    assert_eq!(meaning(&large, false), "size");
    assert!(meaning(&large[..large.len() - 1], false).starts_with("w 1"));
}

#[test]
fn keys_follow_the_mailbox_over_udp_only() {
    for (datagram, expected, id, data) in [
        ("w 3 if=7 id=abc\nhello", Some(7), "abc", "hello"),
        ("w 3 id=abc hello", None, "abc", "hello"),
        ("w 3 if=x\nhello", None, "", "if=x\nhello"),
        ("w 3 if=1 if=2", Some(1), "", "if=2"),
        ("r 3 id=1\n", None, "1", ""),
        ("r 3 if=1\n", None, "", ""),
        ("q id=9", None, "9", ""),
    ] {
        let (parsed, keys) = parse_with_keys(datagram.as_bytes(), &LIMITS, false, true);
        let Parsed::Request(parsed) = parsed else { panic!("{datagram:?} is no request") };
        let found = keys.id.map_or("", |id| &datagram[id]);
        assert_eq!((keys.expected, found, &datagram[parsed.data]), (expected, id, data), "{datagram:?}");
    }
}

#[test]
fn a_line_is_complete_if_nothing_or_a_letter_follows() {
    for (bytes, len) in [
        ("r 3\n", Some(4)),
        ("r 3\nw 1\nx", Some(4)),
        ("r3\r\nq\n", Some(4)),
        ("q\n", Some(2)),
        ("help\nr 1\n", Some(5)),
        ("r 3\n5", None),
        ("r 3\n\n", None),
        ("r 3", None),
        ("w 3\n", None),
        ("r\n", None),
        ("rx 3\n", None),
    ] {
        assert_eq!(complete_line(bytes.as_bytes(), &LIMITS), len, "{bytes:?}");
    }
}

#[test]
fn more_follows_a_part_of_a_verb_and_a_write_without_data() {
    for unfinished in
        ["", " ", "r", "re", "rea", "read ", "w", "w ", "wri", "w 3", "w 3\n", "W 12 \r\n", "qui", "hel"]
    {
        assert!(is_unfinished(unfinished.as_bytes(), &LIMITS), "{unfinished:?}");
    }
    for finished in ["r 3", "r 3 x", "w 3 x", "w 3\nx", "q", "quit", "help", "hello", "x", "5", "rx"] {
        assert!(!is_unfinished(finished.as_bytes(), &LIMITS), "{finished:?}");
    }
}
