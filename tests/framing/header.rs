//! Header lines: their length, their bytes, and the bytes between them.

use dipc_testkit::server::Server;

use crate::{Harness, shown, stream, wordless};

#[test]
fn a_header_line_has_at_most_1024_bytes() {
    let mut harness = Harness::new();
    let line = |len: usize, end: &str| format!("w 3{}2{end}hi{end}ping\n", " ".repeat(len - 4));
    let fits = stream(line(1024, "\n"), "OK v=+1\nOK\n", &[b"hi"]);
    let fits_telnet = stream(line(1024, "\r\n"), "OK v=+1\r\nOK\n", &[b"hi"]);
    let over = stream(line(1025, "\n"), "ERR frame ..\n", &[]);
    let over_telnet = stream(line(1025, "\r\n"), "ERR frame ..\n", &[]);
    let endless = stream(" ".repeat(100_000), "ERR frame ..\n", &[]);
    for stream in [&fits, &fits_telnet, &over, &over_telnet, &endless] {
        assert_eq!(wordless(&harness.play(stream, &[])), stream.answers, "{}", shown(&stream.bytes));
        for cut in 1020..1030 {
            assert_eq!(wordless(&harness.play(stream, &[cut])), stream.answers, "cut at {cut}");
        }
    }
    for cut in 1..fits_telnet.bytes.len() {
        assert_eq!(harness.play(&fits_telnet, &[cut]), fits_telnet.answers, "cut at {cut}");
    }
}

#[test]
fn a_header_that_is_too_long_is_refused_before_its_end() {
    let server = Server::start("4 64 0 8 --quiet-ms 0");
    for byte in ["r", " ", "x"] {
        let mut client = server.connect();
        client.send(byte.repeat(1027));
        assert!(client.line().starts_with("ERR frame : "));
        client.expect_end();
    }
}

#[test]
fn a_mailbox_number_names_an_existing_mailbox() {
    let server = Server::start("4 64 0 8 --quiet-ms 0");
    let mut client = server.connect();
    client.ask("w 0\nzero\nw 3\nthree\n", "OK v=1\nOK v=1\n");
    for word in [
        "4",
        "5",
        "-1",
        "+3",
        "3x",
        "0x3",
        "3.0",
        "4294967295",
        "4294967296",
        "4294967299",
        "18446744073709551616",
        "18446744073709551619",
        "three",
        "*",
        "",
    ] {
        // The answer repeats no number of more than 64 bits.
        let text = match word.parse::<u64>().is_ok() && !word.starts_with('+') {
            true => format!("no mailbox {word}; this server has 0 to 3"),
            false if word == "three" => "no mailbox has the name three; this server has 0 to 3".to_owned(),
            false => "mailboxes are numbered 0 to 3".to_owned(),
        };
        let expected = &format!("ERR box max=3 : {text}\n");
        client.ask(format!("r {word}\n"), expected);
        client.ask(format!("w {word}\nr 3\n"), expected);
        if !word.is_empty() {
            client.ask(format!("w {word} 4\nr 3\n\n"), expected);
        }
    }
    client.ask("r 003\nr 0\n", "DATA 5 v=1 n=1\nthree\nDATA 4 v=1 n=1\nzero\n");
    assert_eq!(client.stat("err_box"), 15 * 3 - 1);
    assert_eq!(client.stat("writes"), 2);
}

#[test]
fn a_line_starts_with_plain_text() {
    let mut harness = Harness::new();
    for byte in 0..=255u8 {
        let answers = match byte {
            b'\n' | b' ' => "OK\n",
            // The answer to Ctrl-D says how to leave.
            4 => "ERR syntax ..\nOK\n",
            // A telnet command takes the `p`, and the rest is no verb.
            255 => "ERR verb ..\n",
            b'!'..=b'~' => "ERR verb ..\n",
            _ => "ERR frame ..\n",
        };
        let after = if answers == "ERR frame ..\n" { "" } else { "OK v=+1\n" };
        let writes: &[&'static [u8]] = if after.is_empty() { &[] } else { &[b"hi"] };
        let stream = stream([&[byte], &b"ping\nw 3\nhi\n"[..]].concat(), "", writes);
        assert_eq!(wordless(&harness.play(&stream, &[])), format!("{answers}{after}"), "byte {byte}");
    }
}

#[test]
fn a_header_holds_printable_ascii_only() {
    let mut harness = Harness::new();
    for byte in (0..=31u8).chain(127..=255).filter(|byte| *byte != b'\n') {
        let read = stream([b"r ", &[byte][..], b"3\nping\n"].concat(), "", &[]);
        assert_eq!(wordless(&harness.play(&read, &[])), "ERR syntax ..\nOK\n", "byte {byte}");
        let write = stream([b"w 3 ", &[byte][..], b"4\nping\nping\n"].concat(), "", &[]);
        assert_eq!(wordless(&harness.play(&write, &[])), "ERR frame ..\n", "byte {byte}");
    }
}

#[test]
fn any_number_of_empty_lines_is_ignored() {
    let mut harness = Harness::new();
    for line in ["\n", "\r\n"] {
        let many = stream(line.repeat(100_000) + "ping\n", "OK\n", &[]);
        assert_eq!(harness.play(&many, &[]), many.answers);
        assert_eq!(harness.play(&many, &[1, 16_385, 99_999]), many.answers);
    }
}

#[test]
fn telnet_options_are_refused_or_skipped_between_lines() {
    let mut harness = Harness::new();
    let long = [&b"\xff\xfa"[..], &[b'r'; 1000], b"\xff\xf0"].concat();
    let endless = [&b"\xff\xfa"[..], &[b'\n'; 5000]].concat();
    for (option, answers) in [
        // Options are refused: IAC WONT, IAC DONT.
        (&b"\xff\xfd\x01"[..], "OK\r\n\\xff\\xfc\\x01OK\r\n"),
        (b"\xff\xfb\n", "OK\r\n\\xff\\xfe\nOK\r\n"),
        (b"\xff\xfc\x01\xff\xfe\x01", "OK\r\nOK\r\n"),
        (b"\xff\xf1", "OK\r\nOK\r\n"),
        (b"\xff\xff", "OK\r\nOK\r\n"),
        (b"\xff\xfa\x1f\0P\0\x18\xff\xf0", "OK\r\nOK\r\n"),
        (&long, "OK\r\nOK\r\n"),
        (&endless, "OK\r\nERR frame ..\n"),
    ] {
        let stream = stream([b"ping\r\n", option, b"ping\r\n"].concat(), answers, &[]);
        assert_eq!(wordless(&harness.play(&stream, &[])), answers, "{}", shown(option));
        for cut in 6..=(6 + option.len()).min(20) {
            assert_eq!(wordless(&harness.play(&stream, &[cut])), answers, "{} cut at {cut}", shown(option));
        }
    }
}
