//! Where a request ends: however its bytes are cut into packets, the same requests come out, and what is data is never
//! read as a request. Silence completes nothing here, so that only the bytes decide.
#![allow(missing_docs)]

use std::io::Write;
use std::net::Shutdown;
use std::ops::RangeInclusive;

use dipc_testkit::client::{Client, tcp_stream};
use dipc_testkit::process::text;
use dipc_testkit::server::Server;
use dipc_testkit::wait::wait_until;

/// Bytes that one client sends, then closing its writing half.
struct Stream {
    bytes: Vec<u8>,
    /// All it gets, with versions counted from the start, and `..` for what an `ERR` tells a person.
    answers: String,
    /// The messages that it writes to mailbox 3.
    writes: Vec<&'static [u8]>,
}

fn stream(bytes: impl AsRef<[u8]>, answers: &str, writes: &[&'static [u8]]) -> Stream {
    Stream { bytes: bytes.as_ref().to_vec(), answers: answers.to_owned(), writes: writes.to_vec() }
}

/// A server, and a client that watches over what the streams leave in mailbox 3.
struct Bench {
    server: Server,
    watcher: Client,
    version: u64,
    content: Vec<u8>,
}

impl Bench {
    fn new() -> Self {
        Bench::of("4 64 0 8 --quiet-ms 0 --log-file /dev/null")
    }

    fn of(arguments: &str) -> Self {
        let server = Server::start(arguments);
        let watcher = server.connect();
        Bench { server, watcher, version: 0, content: Vec::new() }
    }

    /// Plays a stream, each piece a packet that the server has read before the next one comes. Returns the answers, and
    /// sees to it that exactly the stream's writes were done.
    #[track_caller]
    fn play(&mut self, stream: &Stream, cuts: &[usize]) -> String {
        let mut sender = tcp_stream(self.server.port);
        let mut client = Client::over(sender.try_clone().expect("cloned"));
        if !cuts.is_empty() {
            // The client has been let in before the next event of anybody.
            self.watcher.ask("ping\n", "OK\n");
        }
        let mut sent = 0;
        for &cut in cuts {
            // The server may have closed: the answers tell whether it should have.
            let _ = sender.write_all(&stream.bytes[sent..cut]);
            // Answered after whatever came before on any connection.
            self.watcher.ask("ping\n", "OK\n");
            sent = cut;
        }
        let _ = sender.write_all(&stream.bytes[sent..]);
        let _ = sender.shutdown(Shutdown::Write);
        let answers = relative(&client.read_to_end(), self.version);
        self.version += stream.writes.len() as u64;
        if let Some(last) = stream.writes.last() {
            self.content = last.to_vec();
        }
        self.expect_state(&stream.bytes, cuts);
        answers
    }

    #[track_caller]
    fn expect_state(&mut self, bytes: &[u8], cuts: &[usize]) {
        self.watcher.send("r 3\n");
        let (header, content) = self.watcher.data();
        let expected = format!("DATA {} v={}", self.content.len(), self.version);
        let what = || format!("written by {} cut at {cuts:?}", shown(bytes));
        assert!(header.starts_with(&format!("{expected} ")), "{header} is not {expected}, {}", what());
        assert!(content == self.content, "{} is not expected, {}", content.escape_ascii(), what());
    }
}

/// Answers with their versions counted from `version`.
fn relative(answers: &[u8], version: u64) -> String {
    let answers = answers.escape_ascii().to_string().replace("\\n", "\n").replace("\\r", "\r");
    let mut parts = answers.split("v=");
    let mut counted = parts.next().expect("a first part").to_owned();
    for part in parts {
        let end = part.find(|c: char| !c.is_ascii_digit()).unwrap_or(part.len());
        let number: i128 = part[..end].parse().expect("a version");
        counted += &format!("v={:+}{}", number - i128::from(version), &part[end..]);
    }
    counted
}

/// Answers without the words for a person, of which there have to be some.
fn wordless(answers: &str) -> String {
    let without = |line: &str| match line.split_once(" : ") {
        Some((code, words)) if code.starts_with("ERR ") && words.split_whitespace().count() > 2 => {
            format!("{code} ..{}", &words[words.trim_end().len()..])
        }
        _ => line.to_owned(),
    };
    answers.split_inclusive('\n').map(without).collect()
}

fn shown(bytes: &[u8]) -> String {
    let front = &bytes[..bytes.len().min(100)];
    format!("{} ({} bytes)", front.escape_ascii(), bytes.len())
}

fn good_streams() -> Vec<Stream> {
    let conflict = "w 3 5 if=18446744073709551615\nhello\nping\n";
    vec![
        stream("w 3\nhello\nr 3\nq\nw 3\nno\n", "OK v=+1\nDATA 5 v=+1 n=1\nhello\n", &[b"hello"]),
        stream("w 3\r\nhi\r\nr 3\r\nq\r\n", "OK v=+1\r\nDATA 2 v=+1 n=1\r\nhi\r\n", &[b"hi"]),
        stream("write 3 5\nhello\nread 3\nquit 3\n", "OK v=+1\nDATA 5 v=+1 n=1\nhello\n", &[b"hello"]),
        stream("w 3 5\r\na\r\nb\n\r\nr 3\n", "OK v=+1\r\nDATA 5 v=+1 n=1\na\r\nb\n\n", &[b"a\r\nb\n"]),
        stream("w 3 1\n\n\nw 3 1\r\n\r\r\n", "OK v=+1\nOK v=+2\r\n", &[b"\n", b"\r"]),
        stream("w 3 0\n\nw 3 0\r\n\r\nr 3\n", "OK v=+1\nOK v=+2\r\nDATA 0 v=+2 n=1\n\n", &[b"", b""]),
        stream("w 3 0005\nhello\nping\n", "OK v=+1\nOK\n", &[b"hello"]),
        stream("w 3\nhello\nw 3\nhi\nping\n", "OK v=+1\nOK v=+2\nOK\n", &[b"hello", b"hi"]),
        stream("w 3\n\nr 3\n", "OK v=+1\nDATA 0 v=+1 n=1\n\n", &[b""]),
        stream("w 3\na\rb\r\r\nping\n", "OK v=+1\nOK\n", &[b"a\rb\r"]),
        stream("w 3 6\nr 3\nq\n\nr 3\n", "OK v=+1\nDATA 6 v=+1 n=1\nr 3\nq\n\n", &[b"r 3\nq\n"]),
        stream("w 3\nr 3\nr 3\n", "OK v=+1\nDATA 3 v=+1 n=1\nr 3\n", &[b"r 3"]),
        stream(
            "w 3 2\r\nab\nr 3\nw 3 2\ncd\r\n",
            "OK v=+1\r\nDATA 2 v=+1 n=1\nab\nOK v=+2\n",
            &[b"ab", b"cd"],
        ),
        stream(b"w 3 4\n\0\xff\xf4\x80\nping\n", "OK v=+1\nOK\n", &[b"\0\xff\xf4\x80"]),
        stream(conflict, "NO conflict v=+0\nOK\n", &[]),
        stream("\n\r\n\nping\n\r\nping\r\n\n", "OK\nOK\r\n", &[]),
        stream(b"\xff\xfb\x1f\xff\xfd\x03ping\r\n\xff\xf4\xff\xfd\x06ping\r\n", "OK\r\nOK\r\n", &[]),
        stream(b"\xff\xfa\x18\0vt\n\xff\xf0w 3\r\nhi\r\n", "OK v=+1\r\n", &[b"hi"]),
        // The end of input completes a request that lacks nothing but its end of line.
        stream("ping", "OK\n", &[]),
        stream("w 3\nhello", "OK v=+1\n", &[b"hello"]),
        stream("w 3\r\nhello\r", "OK v=+1\r\n", &[b"hello"]),
        stream("w 3 5\nhello", "OK v=+1\n", &[b"hello"]),
        stream("w 3 6\nhello\n", "OK v=+1\n", &[b"hello\n"]),
        stream("w 99\nhello", "ERR box max=3 ..\n", &[]),
    ]
}

fn refused_streams() -> Vec<Stream> {
    let read = "r 9\nr 3 off=1 off=2\nraed 3\nping you\nr 3 off=x\nR 3\nping\n";
    let refused =
        "ERR box max=3 ..\nERR syntax ..\nERR verb ..\nERR syntax ..\nERR syntax ..\nERR verb ..\nOK\n";
    vec![
        stream(read, refused, &[]),
        stream("w 99 5\nping\n\nping\n", "ERR box max=3 ..\nOK\n", &[]),
        stream("w 99 4\r\nping\r\nping\n", "ERR box max=3 ..\r\nOK\n", &[]),
        stream("w 99 0\n\nping\n", "ERR box max=3 ..\nOK\n", &[]),
        stream("w 99\nping\nping\r\n", "ERR box max=3 ..\nOK\r\n", &[]),
        stream("w\nping\nping\n", "ERR box max=3 ..\nOK\n", &[]),
        stream("w 3 5 foo=1\nping\n\nping\n", "ERR syntax ..\nOK\n", &[]),
        stream("w 3 5 6\nping\n\nping\n", "ERR syntax ..\nOK\n", &[]),
        stream("w wait=x 3 5\nping\n\nping\n", "ERR syntax ..\nOK\n", &[]),
        stream("w foo=1 3\nping\nw 3\nhi\n", "ERR syntax ..\nOK v=+1\n", &[b"hi"]),
        stream(b"r \x01 3\nping\n", "ERR syntax ..\nOK\n", &[]),
    ]
}

fn closing_streams() -> Vec<Stream> {
    let seven = "ERR verb ..\n".repeat(7);
    let eight = format!("{seven}ERR frame ..\n");
    let recovered = format!("{seven}OK\nERR verb ..\nOK\n");
    vec![
        stream("w 3 five\nw 3\nno\n", "ERR frame ..\n", &[]),
        stream("w 3 -1\r\nw 3\r\nno\r\n", "ERR frame ..\r\n", &[]),
        stream("w 99 5x\nw 3\nno\n", "ERR frame ..\n", &[]),
        stream(b"w 3 \x01\nw 3\nno\n", "ERR frame ..\n", &[]),
        stream("w 3 5\nhelloo\nw 3\nno\n", "ERR frame ..\n", &[]),
        stream("w 3 5\nhell\nw 3\nno\n", "ERR frame ..\n", &[]),
        stream("w 3 5\r\nhello\rw 3\nno\n", "ERR frame ..\r\n", &[]),
        stream("w 3 0\nw 3\nno\n", "ERR frame ..\n", &[]),
        stream("w 99 5\nhelloo\nw 3\nno\n", "ERR frame ..\n", &[]),
        stream("w 3\nhi\nw 3 2\nhello\nw 3\nno\n", "OK v=+1\nERR frame ..\n", &[b"hi"]),
        stream("w 3 1048577\nw 3\nno\n", "ERR size max=8192 ..\n", &[]),
        stream("w 99 99999999999999999999\nw 3\nno\n", "ERR size max=8192 ..\n", &[]),
        stream("\rping\nw 3\nno\n", "ERR frame ..\n", &[]),
        stream("\tping\nw 3\nno\n", "ERR frame ..\n", &[]),
        stream(b"\0\nw 3\nno\n", "ERR frame ..\n", &[]),
        stream("a\nb\nc\nd\ne\nf\n\ng\nh\nw 3\nno\n", &eight, &[]),
        stream("a\nb\nc\nd\ne\nf\ng\nping\nh\nping\n", &recovered, &[]),
        stream("ping\nGET / HTTP/1.1\r\n\r\nw 3\nno\n", "OK\n", &[]),
        stream("Host: x\r\nw 3\nno\n", "", &[]),
        stream("SSH-2.0-x\r\nw 3\nno\n", "", &[]),
        stream("*1\r\n$4\r\nPING\r\nw 3\nno\n", "", &[]),
        stream(b"\x16\x03\x01\nw 3\nno\n", "ERR frame ..\n", &[]),
    ]
}

fn all_streams() -> Vec<Stream> {
    [good_streams(), refused_streams(), closing_streams()].into_iter().flatten().collect()
}

#[test]
fn each_stream_is_answered_as_the_protocol_says() {
    let mut bench = Bench::new();
    for stream in all_streams() {
        let answers = bench.play(&stream, &[]);
        assert_eq!(wordless(&answers), stream.answers, "{}", shown(&stream.bytes));
    }
    assert_eq!(bench.server.stat("err_internal"), 0);
    assert_eq!(bench.server.stat("foreign_protocols"), 4);
}

#[test]
fn a_cut_anywhere_changes_no_answer() {
    let mut bench = Bench::new();
    for stream in all_streams() {
        let whole = bench.play(&stream, &[]);
        for cut in 1..stream.bytes.len() {
            assert_eq!(bench.play(&stream, &[cut]), whole, "{} cut at {cut}", shown(&stream.bytes));
        }
    }
}

#[test]
fn two_cuts_anywhere_change_no_answer() {
    let mut bench = Bench::new();
    for stream in all_streams().iter().filter(|stream| stream.bytes.len() <= 32) {
        let whole = bench.play(stream, &[]);
        for second in 2..stream.bytes.len() {
            for first in 1..second {
                let answers = bench.play(stream, &[first, second]);
                assert_eq!(answers, whole, "{} cut at {first} and {second}", shown(&stream.bytes));
            }
        }
    }
}

#[test]
fn one_byte_at_a_time_is_as_good_as_all_at_once() {
    let mut bench = Bench::new();
    for stream in all_streams() {
        let whole = bench.play(&stream, &[]);
        let cuts: Vec<usize> = (1..stream.bytes.len()).collect();
        assert_eq!(bench.play(&stream, &cuts), whole, "{}", shown(&stream.bytes));
    }
}

#[test]
fn many_requests_in_one_packet_are_answered_in_order() {
    let mut bench = Bench::new();
    let (mut bytes, mut answers) = (Vec::new(), String::new());
    for number in 1..=2000 {
        bytes.extend_from_slice(format!("w 3 4\n{number:04}\nr 3\r\n").as_bytes());
        answers += &format!("OK v=+{number}\nDATA 4 v=+{number} n=1\r\n{number:04}\r\n");
    }
    let mut writes: Vec<&[u8]> = vec![b""; 1999];
    writes.push(b"2000");
    let stream = stream(bytes, &answers, &writes);
    let scattered: Vec<usize> = (1..stream.bytes.len()).step_by(997).collect();
    for cuts in [&[][..], &[20_001], &scattered] {
        assert!(bench.play(&stream, cuts) == stream.answers, "cut at {cuts:?}");
    }
    assert_eq!(bench.server.stat("overtakes"), 0);
}

#[test]
fn a_header_line_has_1024_bytes_and_not_one_more() {
    let mut bench = Bench::new();
    let line = |len: usize, end: &str| format!("w 3{}2{end}hi{end}ping\n", " ".repeat(len - 4));
    let fits = stream(line(1024, "\n"), "OK v=+1\nOK\n", &[b"hi"]);
    let fits_telnet = stream(line(1024, "\r\n"), "OK v=+1\r\nOK\n", &[b"hi"]);
    let over = stream(line(1025, "\n"), "ERR frame ..\n", &[]);
    let over_telnet = stream(line(1025, "\r\n"), "ERR frame ..\n", &[]);
    let endless = stream(" ".repeat(100_000), "ERR frame ..\n", &[]);
    for stream in [&fits, &fits_telnet, &over, &over_telnet, &endless] {
        assert_eq!(wordless(&bench.play(stream, &[])), stream.answers, "{}", shown(&stream.bytes));
        for cut in 1020..1030 {
            assert_eq!(wordless(&bench.play(stream, &[cut])), stream.answers, "cut at {cut}");
        }
    }
    for cut in 1..fits_telnet.bytes.len() {
        assert_eq!(bench.play(&fits_telnet, &[cut]), fits_telnet.answers, "cut at {cut}");
    }
}

#[test]
fn a_header_that_is_too_long_is_refused_before_it_ends() {
    let server = Server::start("4 64 0 8 --quiet-ms 0");
    for byte in ["r", " ", "x"] {
        let mut client = server.connect();
        client.send(byte.repeat(1027));
        assert!(client.line().starts_with("ERR frame : "));
        client.expect_end();
    }
}

#[test]
fn every_error_has_its_code_and_tells_a_person_what_to_do() {
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
        (&large, "ERR size max=8192", &["8192 bytes"]),
        ("w 3 2000000\n", "ERR size max=8192", &["8192 bytes"]),
        ("w 3 five\n", "ERR frame", &["length", "number", "w 3 5"]),
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
fn what_is_repeated_to_a_client_is_short_and_harmless() {
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

/// What comes of `w 3 LENGTH` with so many bytes behind it.
enum Length {
    /// Written.
    Good(usize),
    /// Swallowed, and refused.
    Swallowed(usize),
    /// Refused, and the end.
    TooMuch,
    /// Not a length, and the end.
    Unreadable,
}

#[test]
fn a_length_is_an_exact_decimal_number_up_to_the_packet_size() {
    use Length::{Good, Swallowed, TooMuch, Unreadable};
    let mut bench = Bench::new();
    let zeros = format!("{}5", "0".repeat(400));
    let nines = "9".repeat(400);
    for (word, length) in [
        ("0", Good(0)),
        ("1", Good(1)),
        ("8192", Good(8192)),
        ("00008192", Good(8192)),
        (&zeros, Good(5)),
        ("8193", Swallowed(8193)),
        ("1048576", Swallowed(1_048_576)),
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
            Swallowed(len) => (len, "ERR size max=8192 ..\nOK\n"),
            TooMuch => (5, "ERR size max=8192 ..\n"),
            Unreadable => (5, "ERR frame ..\n"),
        };
        let body = b"w 3\nno\n".iter().copied().cycle().take(len).collect::<Vec<u8>>();
        let mut bytes = format!("w 3 {word}\n").into_bytes();
        bytes.extend_from_slice(&body);
        bytes.extend_from_slice(b"\nping\n");
        let writes: &[&'static [u8]] = if matches!(length, Good(_)) { &[body.leak()] } else { &[] };
        let stream = stream(bytes, answers, writes);
        assert_eq!(wordless(&bench.play(&stream, &[])), answers, "w 3 {word}");
    }
}

#[test]
fn data_at_the_limit_is_cut_anywhere_near_its_ends() {
    let mut bench = Bench::new();
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
            assert_eq!(wordless(&bench.play(&stream, &[cut])), answers, "{head:?} cut at {cut}");
        }
        let halves: Vec<usize> = (1..stream.bytes.len()).step_by(511).collect();
        assert_eq!(wordless(&bench.play(&stream, &halves)), answers, "{head:?} in small pieces");
    }
}

#[test]
fn a_refused_body_is_swallowed_up_to_a_mebibyte_and_no_further() {
    let mut bench = Bench::new();
    let swallowed = b"w 3 2\nno\n".repeat(120_000);
    let mebibyte = &swallowed[..1 << 20];
    for (head, len, answers) in [
        ("w 3 1048576\n", 1 << 20, "ERR size max=8192 ..\nOK\n"),
        ("w 99 1048576\n", 1 << 20, "ERR box max=3 ..\nOK\n"),
        ("w 3 1048576 foo=1\n", 1 << 20, "ERR syntax ..\nOK\n"),
        ("w 3 1048576\n", (1 << 20) - 1, "ERR frame ..\n"),
        ("w 3 1048577\n", 1 << 20, "ERR size max=8192 ..\n"),
    ] {
        let mut bytes = [head.as_bytes(), &mebibyte[..len]].concat();
        bytes.extend_from_slice(b"\nping\n");
        assert_eq!(wordless(&bench.play(&stream(bytes, answers, &[]), &[])), answers, "{head:?} with {len}");
    }
    let line = |len: usize| [b"w 3\n", &vec![b'x'; len][..], b"\nping\n"].concat();
    let swallowed = stream(line(1 << 20), "ERR size max=8192 ..\nOK\n", &[]);
    assert_eq!(wordless(&bench.play(&swallowed, &[])), swallowed.answers);
    let endless = stream(line((1 << 20) + 1), "ERR size max=8192 ..\n", &[]);
    assert_eq!(wordless(&bench.play(&endless, &[])), endless.answers);
}

#[test]
fn a_mailbox_smaller_than_a_packet_is_the_limit() {
    let mut bench = Bench::of("4 4 0 8 --quiet-ms 0");
    let full: &'static [u8] = vec![b'x'; 4096].leak();
    let fits = [b"w 3 4096\n", full, b"\nping\n"].concat();
    assert_eq!(bench.play(&stream(fits, "", &[full]), &[]), "OK v=+1\nOK\n");
    for head in ["w 3 4097\n", "w 3\n"] {
        let over = [head.as_bytes(), full, b"y\nping\n"].concat();
        assert_eq!(wordless(&bench.play(&stream(over, "", &[]), &[])), "ERR size max=4096 ..\nOK\n");
    }
}

#[test]
fn a_mailbox_is_one_that_exists() {
    let server = Server::start("4 64 0 8 --quiet-ms 0");
    let mut client = server.connect();
    client.ask("w 0\nzero\nw 3\nthree\n", "OK v=1\nOK v=1\n");
    let expected = "ERR box max=3 : mailboxes are numbered 0 to 3\n";
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
        // The CR of a CR LF is not part of a line.
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

#[test]
fn a_line_starts_with_plain_text() {
    let mut bench = Bench::new();
    for byte in 0..=255u8 {
        let answers = match byte {
            b'\n' | b' ' => "OK\n",
            // The rest of a telnet command, and then a verb that lacks its first letter.
            255 => "ERR verb ..\n",
            b'!'..=b'~' => "ERR verb ..\n",
            _ => "ERR frame ..\n",
        };
        let after = if answers == "ERR frame ..\n" { "" } else { "OK v=+1\n" };
        let writes: &[&'static [u8]] = if after.is_empty() { &[] } else { &[b"hi"] };
        let stream = stream([&[byte], &b"ping\nw 3\nhi\n"[..]].concat(), "", writes);
        assert_eq!(wordless(&bench.play(&stream, &[])), format!("{answers}{after}"), "byte {byte}");
    }
}

#[test]
fn a_header_holds_printable_ascii_only() {
    let mut bench = Bench::new();
    for byte in (0..=31u8).chain(127..=255).filter(|byte| *byte != b'\n') {
        let read = stream([b"r ", &[byte][..], b"3\nping\n"].concat(), "", &[]);
        assert_eq!(wordless(&bench.play(&read, &[])), "ERR syntax ..\nOK\n", "byte {byte}");
        let write = stream([b"w 3 ", &[byte][..], b"4\nping\nping\n"].concat(), "", &[]);
        assert_eq!(wordless(&bench.play(&write, &[])), "ERR frame ..\n", "byte {byte}");
    }
}

#[test]
fn empty_lines_are_ignored_however_many() {
    let mut bench = Bench::new();
    for line in ["\n", "\r\n"] {
        let many = stream(line.repeat(100_000) + "ping\n", "OK\n", &[]);
        assert_eq!(bench.play(&many, &[]), many.answers);
        assert_eq!(bench.play(&many, &[1, 16_385, 99_999]), many.answers);
    }
}

#[test]
fn telnet_options_are_skipped_between_lines() {
    let mut bench = Bench::new();
    let long = [&b"\xff\xfa"[..], &[b'r'; 1000], b"\xff\xf0"].concat();
    let endless = [&b"\xff\xfa"[..], &[b'\n'; 5000]].concat();
    for (option, answers) in [
        (&b"\xff\xfd\x01"[..], "OK\r\nOK\r\n"),
        (b"\xff\xfb\n", "OK\r\nOK\r\n"),
        (b"\xff\xfc\x01\xff\xfe\x01", "OK\r\nOK\r\n"),
        (b"\xff\xf1", "OK\r\nOK\r\n"),
        (b"\xff\xff", "OK\r\nOK\r\n"),
        (b"\xff\xfa\x1f\0P\0\x18\xff\xf0", "OK\r\nOK\r\n"),
        (&long, "OK\r\nOK\r\n"),
        (&endless, "OK\r\nERR frame ..\n"),
    ] {
        let stream = stream([b"ping\r\n", option, b"ping\r\n"].concat(), answers, &[]);
        assert_eq!(wordless(&bench.play(&stream, &[])), answers, "{}", shown(option));
        for cut in 6..=(6 + option.len()).min(20) {
            assert_eq!(wordless(&bench.play(&stream, &[cut])), answers, "{} cut at {cut}", shown(option));
        }
    }
}

#[test]
fn a_body_that_the_end_of_input_cuts_short_is_never_executed() {
    let mut bench = Bench::new();
    bench.watcher.ask("ping\n", "OK\n");
    let descriptors = bench.server.descriptors();
    let length = b"w 3 5\nhello";
    for len in 0..length.len() {
        assert_eq!(bench.play(&stream(&length[..len], "", &[]), &[]), "", "{len} bytes");
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
        assert_eq!(bench.play(&stream(bytes, "", &[]), &[]), answers, "{bytes:?}");
    }
    let half = [b"w 3 8000\n", &[b'x'; 7999][..]].concat();
    assert_eq!(bench.play(&stream(&half, "", &[]), &[]), "");
    assert_eq!(bench.play(&stream(&half, "", &[]), &[3000, 6000]), "");
    assert_eq!(bench.watcher.stat("writes"), 0);
    wait_until("only the watcher is there", || bench.watcher.stat("connections") == 1);
    wait_until("the descriptors are back", || bench.server.descriptors() == descriptors);
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
    // By the time that another silence has completed a request, theirs are long over.
    server.connect().ask("ping", "OK\n");
    server.connect().ask("ping", "OK\n");
    assert_eq!(server.stat("completed_by_silence"), 2);
    assert_eq!(server.stat("writes"), 0);
    slow.ask("!\n", "OK v=1\n");
    refused.ask("!\n", "ERR box max=3 : mailboxes are numbered 0 to 3\n");
    header.ask("\nhello!\n", "OK v=2\n");
}

#[test]
fn silence_completes_only_what_came_first_after_the_last_answer() {
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

/// The first bytes that other programs send, each followed by what would be a good write.
const OTHERS: &[(&str, &[u8])] = &[
    ("a browser", b"GET / HTTP/1.1\r\nHost: localhost:5000\r\nAccept: */*\r\n\r\n"),
    ("a form", b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Type: text/plain\r\n\r\n"),
    ("an upload", b"PUT /x HTTP/1.1\r\n\r\n"),
    ("curl -I", b"HEAD / HTTP/1.0\r\n\r\n"),
    ("a preflight", b"OPTIONS * HTTP/1.1\r\n\r\n"),
    ("a deletion", b"DELETE /x HTTP/1.1\r\n\r\n"),
    ("a patch", b"PATCH /x HTTP/1.1\r\n\r\n"),
    ("a trace", b"TRACE / HTTP/1.1\r\n\r\n"),
    ("a proxy", b"CONNECT localhost:5000 HTTP/1.1\r\n\r\n"),
    ("HTTP/2", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
    ("the rest of HTTP", b"Host: localhost\r\n\r\n"),
    ("ssh", b"SSH-2.0-OpenSSH_9.6\r\n"),
    ("redis", b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$1\r\nv\r\n"),
    ("TLS", b"\x16\x03\x01\x00\xa5\x01\x00\x00\xa1\x03\x03\n"),
    ("memcached", b"\x80\x0b\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0"),
    ("postgres", b"\0\0\0\x08\x04\xd2\x16\x2f"),
    ("SMB", b"\0\0\0\x45\xffSMBr"),
    ("MQTT", b"\x10\x0c\0\x04MQTT\x04\x02\0\x3c\0\0"),
    ("SOCKS", b"\x05\x01\0"),
    ("UTF-16", b"\xfe\xffw\0 \x003\0\n"),
];

#[test]
fn other_protocols_are_shown_the_door_and_nothing_is_executed() {
    let mut bench = Bench::new();
    for (who, bytes) in OTHERS {
        let stream = stream([bytes, &b"w 3\nno\nr 3\n"[..]].concat(), "", &[]);
        let whole = wordless(&bench.play(&stream, &[]));
        assert!(matches!(&whole[..], "" | "ERR frame ..\n"), "{who}: {whole:?}");
        for cut in 1..stream.bytes.len() {
            assert_eq!(wordless(&bench.play(&stream, &[cut])), whole, "{who} cut at {cut}");
        }
    }
    assert_eq!(bench.watcher.stat("writes"), 0);
}

#[test]
fn other_protocols_are_closed_without_waiting_for_more() {
    let server = Server::start("4 64 0 8 --quiet-ms 0 --log-file /dev/null");
    for (who, bytes) in OTHERS {
        let mut client = server.connect();
        client.send(bytes);
        let answers = text(&client.read_to_end());
        assert!(answers.is_empty() || answers.starts_with("ERR frame : "), "{who}: {answers:?}");
    }
    let foreign = server.stat("foreign_protocols") + server.stat("err_frame");
    assert_eq!(foreign, OTHERS.len() as u64);
}

#[test]
fn what_follows_the_end_is_read_away_so_that_the_last_answer_arrives() {
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
