//! Header lines, and what they are understood as.

use std::time::Duration;

use super::*;
use crate::protocol::Wait;

const LIMITS: Limits = Limits { mailboxes: 4, capacity: 65536, packet: 8192 };

fn header(line: &str) -> Header {
    parse(line.as_bytes(), &LIMITS).expect("not blank")
}

fn code(line: &str) -> &'static str {
    header(line).request.expect_err("refused").code()
}

#[test]
fn a_length_is_accepted_exactly_up_to_the_packet() {
    for (word, expected) in [
        ("0", "ok"),
        ("8192", "ok"),
        ("008192", "ok"),
        ("8193", "size"),
        ("2147483648", "size"),
        ("4294967295", "size"),
        ("9223372036854775808", "size"),
        ("18446744073709551616", "size"),
        (&"9".repeat(400), "size"),
        ("-1", "frame"),
        ("+5", "frame"),
        ("0x10", "frame"),
        ("five", "frame"),
    ] {
        let header = header(&format!("w 3 {word}"));
        let found = header.request.as_ref().map_or_else(|refusal| refusal.code(), |_| "ok");
        assert_eq!(found, expected, "w 3 {word}");
    }
}

#[test]
fn a_mailbox_is_one_that_exists() {
    for word in ["4", "-1", "4294967296", "three", "", "99999999999999999999"] {
        assert_eq!(code(&format!("r {word}")), "box", "r {word}");
    }
    assert!(header("r 3").request.is_ok());
}

#[test]
fn unknown_and_repeated_keys_are_refused() {
    for line in ["r 3 foo=1", "r 3 off=1 off=2", "w 3 len=5", "ping x", "r 3 4", "stat a=b", "hello you"] {
        assert_eq!(code(line), "syntax", "{line}");
    }
}

#[test]
fn a_refused_write_still_has_its_body() {
    assert_eq!(header("w 99 5").body, Body::Length(5));
    assert_eq!(header("w 3 5 foo=1").body, Body::Length(5));
    assert_eq!(header("w 3 5 6 7").body, Body::Length(5));
    assert_eq!(header("w").body, Body::Line);
}

#[test]
fn waiting_is_measured_in_seconds_with_decimals() {
    let wait = |word: &str| match header(&format!("r 0 wait={word}")).request {
        Ok(Request::Read { wait, .. }) => Some(wait),
        _ => None,
    };
    assert_eq!(wait("0"), Some(Wait::For(Duration::ZERO)));
    assert_eq!(wait("2.5"), Some(Wait::For(Duration::from_millis(2500))));
    assert_eq!(wait(".25"), Some(Wait::For(Duration::from_millis(250))));
    assert_eq!(wait("0.0000000019"), Some(Wait::For(Duration::from_nanos(1))));
    assert_eq!(wait(&"9".repeat(40)), Some(Wait::For(Duration::from_secs(u64::MAX))));
    assert_eq!(wait("inf"), Some(Wait::Forever));
    for bad in ["", ".", "-1", "1e3", "1.5s", "NaN", "infinity", "1.2.3"] {
        assert_eq!(wait(bad), None, "wait={bad}");
    }
}

#[test]
fn what_is_repeated_to_a_client_is_short_and_printable() {
    let Err(refusal) = header(&"x".repeat(500)).request else { panic!("refused") };
    assert_eq!(refusal.to_string(), format!("unknown verb \"{}..\", try help", "x".repeat(32)));
}
