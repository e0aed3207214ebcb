//! Bodies: their length, their bytes, and bodies that are refused.

use std::ops::RangeInclusive;

use dipc_testkit::server::Server;

use crate::{Harness, stream, wordless};

/// How the server treats `w 3 LENGTH`. The number in a variant is that of the data bytes that are sent.
enum Length {
    /// The bytes are written.
    Good(usize),
    /// The bytes are discarded, and the request is refused.
    Discarded(usize),
    /// The request is refused, and the connection ends.
    TooMuch,
    /// The word is no length, and the connection ends.
    Unreadable,
}

#[test]
fn a_length_is_an_exact_decimal_number_up_to_the_packet_size() {
    use Length::{Discarded, Good, TooMuch, Unreadable};
    let mut harness = Harness::new();
    let zeros = format!("{}5", "0".repeat(400));
    let nines = "9".repeat(400);
    for (word, length) in [
        ("0", Good(0)),
        ("1", Good(1)),
        ("8192", Good(8192)),
        ("00008192", Good(8192)),
        (&zeros, Good(5)),
        ("8193", Discarded(8193)),
        ("1048576", Discarded(1_048_576)),
        ("1048577", TooMuch),
        ("2147483648", TooMuch),
        ("4294967295", TooMuch),
        ("4294967296", TooMuch),
        ("4294967301", TooMuch),
        ("9223372036854775808", TooMuch),
        ("18446744073709551615", TooMuch),
        ("18446744073709551616", TooMuch),
        ("18446744073709551621", TooMuch),
        (&nines, TooMuch),
        ("-1", Unreadable),
        ("+5", Unreadable),
        ("0x10", Unreadable),
        ("5.0", Unreadable),
        ("5,", Unreadable),
        ("1e3", Unreadable),
        ("five", Unreadable),
        ("\u{665}", Unreadable),
    ] {
        let (len, answers) = match length {
            Good(len) => (len, "OK v=+1\nOK\n"),
            Discarded(len) => (len, "ERR size max=8192 ..\nOK\n"),
            TooMuch => (5, "ERR size max=8192 ..\n"),
            Unreadable => (5, "ERR frame ..\n"),
        };
        let body = b"w 3\nno\n".iter().copied().cycle().take(len).collect::<Vec<u8>>();
        let mut bytes = format!("w 3 {word}\n").into_bytes();
        bytes.extend_from_slice(&body);
        bytes.extend_from_slice(b"\nping\n");
        let writes: &[&'static [u8]] = if matches!(length, Good(_)) { &[body.leak()] } else { &[] };
        let stream = stream(bytes, answers, writes);
        assert_eq!(wordless(&harness.play(&stream, &[])), answers, "w 3 {word}");
    }
}

#[test]
fn a_body_at_the_size_limit_is_cut_anywhere_near_its_ends() {
    let mut harness = Harness::new();
    let full: &'static [u8] = vec![b'x'; 8192].leak();
    let more = &[full, b"y"].concat()[..];
    for (head, body, end, answers, writes) in [
        ("w 3 8192\n", full, "\n", "OK v=+1\nOK\n", &[full][..]),
        ("w 3 8192\r\n", full, "\r\n", "OK v=+1\r\nOK\n", &[full]),
        ("w 3\n", full, "\n", "OK v=+1\nOK\n", &[full]),
        ("w 3\r\n", full, "\r\n", "OK v=+1\r\nOK\n", &[full]),
        ("w 3 8193\n", more, "\n", "ERR size max=8192 ..\nOK\n", &[]),
        ("w 3 8193\r\n", more, "\r\n", "ERR size max=8192 ..\r\nOK\n", &[]),
        ("w 3\n", more, "\n", "ERR size max=8192 ..\nOK\n", &[]),
        ("w 3\r\n", more, "\r\n", "ERR size max=8192 ..\r\nOK\n", &[]),
        ("w 3 8192\n", more, "\n", "ERR frame ..\n", &[]),
    ] {
        let stream = stream([head.as_bytes(), body, end.as_bytes(), b"ping\n"].concat(), answers, writes);
        let last = stream.bytes.len() - 1;
        let near: [RangeInclusive<usize>; 3] = [1..=12, 4090..=4110, last - 10..=last];
        for cut in near.into_iter().flatten() {
            assert_eq!(wordless(&harness.play(&stream, &[cut])), answers, "{head:?} cut at {cut}");
        }
        let halves: Vec<usize> = (1..stream.bytes.len()).step_by(511).collect();
        assert_eq!(wordless(&harness.play(&stream, &halves)), answers, "{head:?} in small pieces");
    }
}

#[test]
fn a_refused_body_is_discarded_up_to_a_mebibyte_and_no_further() {
    let mut harness = Harness::new();
    let refused = b"w 3 2\nno\n".repeat(120_000);
    let mebibyte = &refused[..1 << 20];
    for (head, len, answers) in [
        ("w 3 1048576\n", 1 << 20, "ERR size max=8192 ..\nOK\n"),
        ("w 99 1048576\n", 1 << 20, "ERR box max=3 ..\nOK\n"),
        ("w 3 1048576 foo=1\n", 1 << 20, "ERR syntax ..\nOK\n"),
        ("w 3 1048576\n", (1 << 20) - 1, "ERR frame ..\n"),
        ("w 3 1048577\n", 1 << 20, "ERR size max=8192 ..\n"),
    ] {
        let mut bytes = [head.as_bytes(), &mebibyte[..len]].concat();
        bytes.extend_from_slice(b"\nping\n");
        assert_eq!(
            wordless(&harness.play(&stream(bytes, answers, &[]), &[])),
            answers,
            "{head:?} with {len}"
        );
    }
    let line = |len: usize| [b"w 3\n", &vec![b'x'; len][..], b"\nping\n"].concat();
    let discarded = stream(line(1 << 20), "ERR size max=8192 ..\nOK\n", &[]);
    assert_eq!(wordless(&harness.play(&discarded, &[])), discarded.answers);
    let endless = stream(line((1 << 20) + 1), "ERR size max=8192 ..\n", &[]);
    assert_eq!(wordless(&harness.play(&endless, &[])), endless.answers);
}

#[test]
fn a_mailbox_smaller_than_a_packet_is_the_limit() {
    let mut harness = Harness::of("4 4 0 8 --quiet-ms 0");
    let full: &'static [u8] = vec![b'x'; 4096].leak();
    let fits = [b"w 3 4096\n", full, b"\nping\n"].concat();
    assert_eq!(harness.play(&stream(fits, "", &[full]), &[]), "OK v=+1\nOK\n");
    for head in ["w 3 4097\n", "w 3\n"] {
        let over = [head.as_bytes(), full, b"y\nping\n"].concat();
        assert_eq!(wordless(&harness.play(&stream(over, "", &[]), &[])), "ERR size max=4096 ..\nOK\n");
    }
}

#[test]
fn data_is_any_bytes() {
    let server = Server::start("4 64 0 8 --quiet-ms 0");
    let mut client = server.connect();
    let mut version = 0;
    for byte in 0..=255u8 {
        version += 1;
        client.send([b"w 3 3\n", &[byte; 3][..], b"\nr 3\n"].concat());
        client.expect(format!("OK v={version}\nDATA 3 v={version} n=1\n"));
        client.expect([byte, byte, byte, b'\n']);
        if byte == b'\n' {
            continue;
        }
        // A line does not include the CR of a CR LF.
        version += 1;
        client.send([b"w 3\n.", &[byte; 3][..], b".\nr 3\n"].concat());
        client.expect(format!("OK v={version}\nDATA 5 v={version} n=1\n"));
        client.expect([b'.', byte, byte, byte, b'.', b'\n']);
    }
    for odd in
        [&b"\xc0\xaf"[..], b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"\xef\xbb\xbf", b"\xff\xfb\x01", b" \t "]
    {
        version += 1;
        client.send([format!("w 3 {}\n", odd.len()).as_bytes(), odd, b"\nr 3\n"].concat());
        client.expect(format!("OK v={version}\nDATA {} v={version} n=1\n", odd.len()));
        client.expect([odd, b"\n"].concat());
    }
}
