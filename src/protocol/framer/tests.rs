//! Streams of requests, split at every position.

use super::*;
use crate::protocol::Names;
use crate::protocol::{LocalRequest, MailboxRequest};
use proptest::prelude::*;

const LIMITS: Limits = Limits { mailboxes: 4, capacity: 65536, packet: 16, names: Names::NONE };

/// Cuts requests from pieces of a stream as a connection does: passes unused bytes again. Returns each
/// request with its body.
fn feed<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> Vec<(Framed, Vec<u8>)> {
    let mut framer = Framer::default();
    let mut unused = Vec::new();
    let mut found = Vec::new();
    for piece in pieces {
        unused.extend_from_slice(piece);
        loop {
            let mut cut = Vec::new();
            let (used, missing) = framer.cut(&unused, &LIMITS, usize::MAX, &mut cut);
            let ended = missing == 0 && cut.is_empty();
            found.extend(cut.into_iter().map(|mut framed| {
                let data = unused[std::mem::take(&mut framed.body)].to_vec();
                (framed, data)
            }));
            unused.drain(..used);
            if ended {
                // The last request has closed the connection.
                return found;
            }
            if missing > 0 {
                break;
            }
        }
        assert!(unused.len() <= HEADER_MAX + 2 + 16 + 2, "{} bytes are unused", unused.len());
    }
    found
}

/// As [`feed`] with two pieces, of which the first one has `len` bytes. If a request is incomplete then, its
/// data is not passed to the framer, and neither are up to `after` bytes behind it.
fn feed_without_data(stream: &[u8], len: usize, after: usize) -> Vec<(Framed, Vec<u8>)> {
    let mut framer = Framer::default();
    let mut found = Vec::new();
    let (mut unused, mut rest) = (stream[..len].to_vec(), &stream[len..]);
    loop {
        let mut cut = Vec::new();
        let (used, missing) = framer.cut(&unused, &LIMITS, usize::MAX, &mut cut);
        let has_ended = missing == 0 && cut.is_empty();
        found.extend(cut.into_iter().map(|mut framed| {
            let data = unused[std::mem::take(&mut framed.body)].to_vec();
            (framed, data)
        }));
        unused.drain(..used);
        if has_ended || missing > rest.len() {
            return found;
        }
        if missing == 0 {
            continue;
        }
        if let Some(mut framed) = framer.incomplete(&unused, &LIMITS) {
            let body = std::mem::take(&mut framed.body);
            let (data, behind) = rest.split_at(body.end - unused.len());
            let after = &behind[..after.min(behind.len())];
            if let Some(end) = framer.end_data(after) {
                found.push((framed, [&unused[body.start..], data].concat()));
                unused = after[end..].to_vec();
                rest = &behind[after.len()..];
                continue;
            }
        }
        unused.extend_from_slice(rest);
        rest = &[];
    }
}

fn code(found: &(Framed, Vec<u8>)) -> &'static str {
    match &found.0.request {
        Request::Mailbox(MailboxRequest::Read { .. }) => "r",
        Request::Mailbox(MailboxRequest::Write { .. }) => "w",
        Request::Mailbox(MailboxRequest::Put { .. }) => "put",
        Request::Mailbox(MailboxRequest::Take { .. }) => "take",
        Request::Local(LocalRequest::Lock(_)) => "lock",
        Request::Local(LocalRequest::Unlock { .. }) => "unlock",
        Request::Local(LocalRequest::Watch { .. }) => "watch",
        Request::Local(LocalRequest::Unwatch { .. }) => "unwatch",
        Request::Local(LocalRequest::Stat(_)) => "stat",
        Request::Hello | Request::Local(LocalRequest::Hello { .. }) => "hello",
        Request::Quit => "q",
        Request::Foreign => "foreign",
        Request::Refused(refusal) => refusal.code(),
        Request::Telnet(_) => "telnet",
        _ => "other",
    }
}

fn codes(bytes: &[u8]) -> Vec<&'static str> {
    feed([bytes]).iter().map(code).collect()
}

const STREAMS: &[&[u8]] = &[
    b"w 3\nhello\nr 3\nq\nr 0\n",
    b"w 3\r\nhello\r\nr 3\r\nq\r\n",
    b"w 1 5\nhello\nw 1 5\r\na\r\nb\n\r\nr 1\n",
    b"w 99 5\nr 0\nx\nr 2\n",
    b"w 99\nr 0\nr 2\nr 1\n",
    b"w 3 five\nr 0\n",
    b"w 3 5\nhelloo\nr 0\n",
    b"w 3 5\nhell\nr 0\n",
    b"w 3 17\n0123456789abcdefg\nr 0\n",
    b"w 3\n0123456789abcdef\nr 0\n",
    b"w 3\n0123456789abcdef\r\nr 0\n",
    b"w 3\n0123456789abcdefg\nr 0\n",
    b"w 3 1048577\nr 0\n",
    b"w 3 99999999999999999999999\nr 0\n",
    b"\n\r\n  \nr 0\n\xff\xf4\xff\xfd\x06r 1\n\xff\xfa\x18\x00x\xff\xf0r 2\n",
    b"\xff\xfb\x1f\r\0w 3\r\0hello\r\0w 3 2\r\0a\0\r\0r 3\r\0w 3\r\x000123456789abcdefg\r\0r 0\r\n",
    b"r 0\r\0r 1\n",
    b"r 0\nGET / HTTP/1.1\nr 1\n",
    b"r 0\rr 1\nr 2\n",
    b"\x16\x03\x01 r 0\nr 1\n",
    b"*1\r\n$4\r\nPING\r\n",
    b"a\nb\nc\nd\ne\nf\ng\nh\nr 0\n",
    b"a\nb\nr 9\nd\ne\nf\ng\nh\nr 0\n",
    b"w\nx\nwrite 3 foo=1\nx\nw 3 2 3\nab\nw 3 \x01\nr 0\n",
    b"put 3\nhello\nput 1 5\na\r\nb\n\ntake 3\ntake 1 wait=0\n",
    b"put 3 2 full=drop\r\nab\r\nput 3 full=x\r\nr 0\r\ntake 3\r\n",
    b"put 99 5\nr 0\nx\nput\ntake 0\ntake 1\n",
    b"put 3 five\ntake 0\n",
    b"put 3 2\nabc\ntake 0\n",
    b"put 3 \x01\ntake 0\n",
    b"put 3 17\n0123456789abcdefg\ntake 0\n",
    b"put 3\n0123456789abcdefg\ntake 0\n",
    b"put 3 1048577\ntake 0\n",
    b"lock 3,1 r ttl=1\r\nw 1 1\r\nx\r\nunlock *\r\nunlock 3,1 grant=2\r\n",
    b"lock 3,\nlock 3,3\nlock\nunlock 0\nwatch 2,0 after=1\nunwatch *\n",
    b"stat\nstat box 3\nstat conns\nstat 9\nhello name=bot\nhello name=\n",
];

#[test]
fn requests_do_not_depend_on_where_the_stream_is_split() {
    for stream in STREAMS {
        let whole = feed([*stream]);
        for first in 0..=stream.len() {
            for second in first..=stream.len() {
                let (start, middle, end) = (&stream[..first], &stream[first..second], &stream[second..]);
                assert_eq!(feed([start, middle, end]), whole, "{} {first} {second}", stream.escape_ascii());
            }
        }
        assert_eq!(feed(stream.chunks(1)), whole, "{}", stream.escape_ascii());
    }
}

#[test]
fn each_stream_has_the_expected_requests() {
    let expected: &[&[&str]] = &[
        &["w", "r", "q"],
        &["w", "r", "q"],
        &["w", "w", "r"],
        &["box", "r"],
        &["box", "r", "r"],
        &["frame"],
        &["frame"],
        &["frame"],
        &["size", "r"],
        &["w", "r"],
        &["w", "r"],
        &["size", "r"],
        &["size"],
        &["size"],
        &["r", "telnet", "r", "r"],
        &["telnet", "w", "w", "r", "size", "r"],
        &["syntax"],
        &["r", "foreign"],
        &["syntax", "r"],
        &["frame"],
        &["foreign"],
        &["verb", "verb", "verb", "verb", "verb", "verb", "verb", "frame"],
        &["verb", "verb", "box", "verb", "verb", "verb", "verb", "verb", "r"],
        &["box", "syntax", "syntax", "frame"],
        &["put", "put", "take", "take"],
        &["put", "syntax", "take"],
        &["box", "box", "take"],
        &["frame"],
        &["frame"],
        &["frame"],
        &["size", "take"],
        &["size", "take"],
        &["size"],
        &["lock", "w", "unlock", "unlock"],
        &["box", "syntax", "box", "unlock", "watch", "unwatch"],
        &["stat", "stat", "stat", "box", "hello", "syntax"],
    ];
    for (stream, expected) in STREAMS.iter().zip(expected) {
        assert_eq!(codes(stream), *expected, "{}", stream.escape_ascii());
    }
    assert_eq!(STREAMS.len(), expected.len());
}

/// Every stream of writes, with `put` instead of `w`, has the same requests with the same data.
#[test]
fn a_put_is_cut_exactly_as_a_w() {
    let shape = |stream: &[u8]| -> Vec<_> {
        let found = feed([stream]);
        found.into_iter().map(|found| (code(&found).replace("put", "w"), found.0.style, found.1)).collect()
    };
    let streams = STREAMS.iter().filter_map(|stream| str::from_utf8(stream).ok());
    let mut compared = 0;
    for stream in streams.filter(|stream| stream.starts_with("w ")) {
        assert_eq!(shape(stream.replace("w ", "put ").as_bytes()), shape(stream.as_bytes()), "{stream:?}");
        compared += 1;
    }
    assert!(compared > 10, "{compared}");
}

#[test]
fn a_header_has_at_most_1024_bytes() {
    let line = |len: usize, end: &str| format!("r 0{}{end}", " ".repeat(len - 3)).into_bytes();
    assert_eq!(codes(&line(1024, "\n")), ["r"]);
    assert_eq!(codes(&line(1024, "\r\n")), ["r"]);
    assert_eq!(codes(&line(1025, "\n")), ["frame"]);
    assert_eq!(codes(&line(100_000, "")), ["frame"]);
    for len in [1024, 1025, 1026] {
        let bytes = line(len, "\r\nr 1\n");
        assert_eq!(feed(bytes.chunks(1)), feed([&bytes[..]]), "{len}");
    }
}

#[test]
fn an_endless_line_is_discarded_up_to_the_limit() {
    let mut stream = b"w 3\n".to_vec();
    stream.resize(4 + DISCARD_MAX as usize, b'x');
    let mut longest = stream.clone();
    longest.extend_from_slice(b"\nr 0\n");
    assert_eq!(codes(&longest), ["size", "r"]);
    stream.extend_from_slice(b"x\nr 0\n");
    assert_eq!(codes(&stream), ["size"]);
}

#[test]
fn a_refused_body_of_1_mib_is_discarded() {
    const MIB: usize = 1024 * 1024;
    let stream = |len: usize| [format!("w 3 {len}\n").as_bytes(), &vec![b'x'; len], b"\nr 0\n"].concat();
    assert_eq!(codes(&stream(MIB)), ["size", "r"]);
    assert_eq!(codes(&stream(MIB + 1)), ["size"]);
}

/// A regression test: one batch of long lists once took the reactor half a millisecond.
#[test]
fn a_cut_ends_after_4_kib_of_header_lines() {
    let line = format!("{:1000}\n", "r 3");
    let stream = line.repeat(20).into_bytes();
    let mut found = Vec::new();
    let (used, missing) = Framer::default().cut(&stream, &LIMITS, usize::MAX, &mut found);
    assert_eq!((used, missing, found.len()), (5 * line.len(), 0, 5));
    let body = format!("w 3 16\n{}\n", "x".repeat(16)).repeat(200).into_bytes();
    let (used, _) = Framer::default().cut(&body, &LIMITS, usize::MAX, &mut found);
    assert_eq!(used, body.len(), "data does not count");
}

#[test]
fn no_more_requests_are_cut_than_asked_for() {
    for stream in ["r 0\nr 1\nr 2\n", "ping\nping\nping\n"] {
        let mut found = Vec::new();
        let (used, missing) = Framer::default().cut(stream.as_bytes(), &LIMITS, 2, &mut found);
        assert_eq!((used, missing, found.len()), (stream.len() / 3 * 2, 0, 2), "{stream:?}");
    }
}

#[test]
fn frequent_requests_take_the_fast_path() {
    for (stream, body) in
        [("r 3\n", 0..0), ("r 3\r\n", 0..0), ("w 3 2\nab\n", 6..8), ("w 3 2\r\nab\r\n", 7..9)]
    {
        let (_, _, found, len) = Framer::default().fast_path(stream.as_bytes(), &LIMITS).expect(stream);
        assert_eq!((found, len), (body, stream.len()), "{stream:?}");
    }
}

fn completed(bytes: &[u8]) -> Option<Framed> {
    Framer::default().complete(&[bytes, b"\n"].concat(), &LIMITS)
}

#[test]
fn silence_completes_a_request_that_lacks_only_its_end_of_line() {
    for line in [
        "r 3",
        "take 3 wait=1",
        "lock 3,1 r",
        "unlock *",
        "watch 3,1",
        "unwatch *",
        "stat box 3",
        "hello",
        "ping",
        "help",
        "q",
        "lock 3,",
        "nonsense",
    ] {
        let whole = feed([format!("{line}\n").as_bytes()]);
        assert_eq!(completed(line.as_bytes()).as_ref(), Some(&whole[0].0), "{line}");
    }
    for verb in ["w", "put"] {
        for rest in ["3\nhello", "3 5\nhello", "3\r\nhello", "3 5\r\nhello"] {
            for blank in ["", "\n"] {
                let bytes = format!("{blank}{verb} {rest}");
                let framed = completed(bytes.as_bytes()).expect("complete");
                assert_eq!(&bytes[framed.body.clone()], "hello", "{bytes:?}");
            }
        }
        let empty = completed(format!("{verb} 3 0\n").as_bytes()).expect("complete");
        assert!(empty.body.is_empty());
    }
}

#[test]
fn silence_completes_no_other_bytes() {
    for bytes in [&b""[..], b"\n", b"\xff", b"  "] {
        assert_eq!(completed(bytes), None, "{}", bytes.escape_ascii());
    }
    for verb in ["w", "put"] {
        for rest in ["", " 3", " 3\n", " 3\r\n", " 3 5\n", " 3 5\nhell"] {
            let bytes = format!("{verb}{rest}");
            assert_eq!(completed(bytes.as_bytes()), None, "{bytes:?}");
        }
    }
}

#[test]
fn silence_completes_a_refused_write() {
    for header in [&b"w 99\n"[..], b"put 99\n"] {
        let mut framer = Framer::default();
        assert_eq!(framer.next(header, &LIMITS), Cut::Skip(header.len()));
        assert_eq!(framer.complete(b"\n", &LIMITS), None);
        assert_eq!(framer.next(b"hello", &LIMITS), Cut::Skip(5));
        let refused = framer.complete(b"\n", &LIMITS).expect("complete");
        assert_eq!(refused.request, Request::Refused(Refusal::Mailbox { given: Some(99), max: 3 }));
    }
}

#[test]
fn silence_completes_the_last_request_only() {
    assert_eq!(Framer::default().complete(b"r 0\nr 1\n", &LIMITS), None);
}

/// A framer that has cut all requests of a stream, and the bytes it has not used.
fn after(stream: &[u8]) -> (Framer, &[u8]) {
    let mut framer = Framer::default();
    let (used, _) = framer.cut(stream, &LIMITS, usize::MAX, &mut Vec::new());
    (framer, &stream[used..])
}

#[test]
fn silence_cannot_complete_a_body_that_is_shorter_than_its_length() {
    for (stream, may_complete) in [
        (&b"w 3 5\nhell"[..], false),
        (b"w 3 5\nhello", true),
        (b"w 3 5\r\nhell", false),
        (b"w 3 5\r\nhello", true),
        (b"w 3\nhel", true),
        (b"r 3", true),
        (b"w 99 5\nhe", true),
    ] {
        let (framer, unused) = after(stream);
        assert_eq!(framer.may_complete(unused, &LIMITS), may_complete, "{}", stream.escape_ascii());
    }
}

#[test]
fn a_body_with_a_length_is_awaited() {
    for (stream, awaits, discards) in [
        (&b"w 3 5\nhe"[..], true, false),
        (b"w 3 5", false, false),
        (b"w 3\nhe", false, false),
        (b"r 3", false, false),
        (b"w 99 5\nhe", true, true),
        (b"w 99\nhe", false, true),
        (b"q\nw 3 5\nhe", false, false),
    ] {
        let (framer, unused) = after(stream);
        let found = (framer.awaits_octets(unused, &LIMITS), framer.is_discarding());
        assert_eq!(found, (awaits, discards), "{}", stream.escape_ascii());
    }
}

#[test]
fn only_a_header_of_at_most_1024_bytes_announces_a_body() {
    let line = |len: usize| format!("w 3{}5\r\n", " ".repeat(len - 4)).into_bytes();
    assert!(Framer::default().awaits_octets(&line(HEADER_MAX), &LIMITS));
    assert!(!Framer::default().awaits_octets(&line(HEADER_MAX + 1), &LIMITS));
}

#[test]
fn the_number_of_missing_bytes_is_a_lower_bound() {
    for (stream, missing) in [
        (&b""[..], 1),
        (b"r 3", 1),
        (b"w 3 5\nhe", 4),
        (b"w 3 5\nhello", 1),
        (b"w 3 5\nhello\r", 1),
        (b"\xff\xfd", 1),
        (b"q\n", 0),
    ] {
        let found = Framer::default().cut(stream, &LIMITS, usize::MAX, &mut Vec::new()).1;
        assert_eq!(found, missing, "{}", stream.escape_ascii());
    }
}

#[test]
fn a_line_body_is_discarded_as_soon_as_it_is_too_long() {
    let stream = |len: usize| [b"w 3\n", &vec![b'x'; len][..]].concat();
    // A body of 16 bytes and the CR of its end may still be complete.
    let (longest, too_long) = (stream(17), stream(18));
    let (framer, unused) = after(&longest);
    assert_eq!((framer.is_discarding(), unused), (false, &longest[..]));
    assert!(after(&too_long).0.is_discarding());
}

#[test]
fn a_telnet_negotiation_without_end_is_refused_after_1024_bytes() {
    let stream = |len: usize| [b"\xff\xfa", &vec![b'x'; len - 2][..]].concat();
    assert!(codes(&stream(HEADER_MAX)).is_empty());
    assert_eq!(codes(&stream(HEADER_MAX + 1)), ["frame"]);
}

/// A line with any verb, valid or nearly valid.
const LINE: &str = "(w|r|q|put|take|lock|unlock|watch|unwatch|stat|stat box|hello)\
    ( [0-4](,[0-4]?){0,3}| \\*)?( [0-9]{1,2}| r| conns| locks)?\
    ( (if|off|len|wait|after|ttl|grant|full|name)=([0-9.]{1,3}|inf|drop|bot)){0,2}\r?\n";

proptest! {
    /// Parts of requests in any order, split at any positions.
    #[test]
    fn requests_of_random_streams_do_not_depend_on_the_splits(
        parts in prop::collection::vec(prop_oneof![
            prop::sample::select(STREAMS).prop_map(|stream| stream.to_vec()),
            LINE.prop_map(String::into_bytes),
            "[ -~]{0,20}\r?\n".prop_map(String::into_bytes),
            prop::collection::vec(any::<u8>(), 0..8),
        ], 1..8),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..6),
    ) {
        let stream = parts.concat();
        let mut at: Vec<usize> = cuts.iter().map(|cut| cut.index(stream.len() + 1)).collect();
        at.extend([0, stream.len()]);
        at.sort_unstable();
        let pieces = at.windows(2).map(|pair| &stream[pair[0]..pair[1]]);
        prop_assert_eq!(feed(pieces), feed([&stream[..]]));
    }

    /// The same streams. The data of a request is received apart.
    #[test]
    fn requests_do_not_depend_on_data_that_is_received_apart(
        parts in prop::collection::vec(prop_oneof![
            prop::sample::select(STREAMS).prop_map(|stream| stream.to_vec()),
            LINE.prop_map(String::into_bytes),
            "(w|put) [0-4] (1?[0-9])( wait=1)?\r?\n[a-c\n]{0,18}\r?\n".prop_map(String::into_bytes),
        ], 1..5),
        cut in any::<prop::sample::Index>(),
        after in 1..40usize,
    ) {
        let stream = parts.concat();
        let len = cut.index(stream.len() + 1);
        let expected = feed([&stream[..]]);
        // A last request that lacks bytes is not returned.
        prop_assert_eq!(feed_without_data(&stream, len, after), expected);
    }
}

proptest! {
    #[test]
    fn the_fast_path_cuts_exactly_as_the_general_one(
        bytes in "[rw] [0-5]{1,2}( [0-9]{1,2})?( |  wait=1)?\r?\n[a-r0-3 \n\r]{0,14}",
        bad_lines in 0..BAD_LINES_MAX,
    ) {
        let mut fast = Framer { bad_lines, ..Framer::default() };
        let mut general = fast.clone();
        if let Some((header, eol, body, len)) = fast.fast_path(bytes.as_bytes(), &LIMITS) {
            let framed = Framed { request: header.request(), style: eol.into(), body };
            prop_assert_eq!(general.next(bytes.as_bytes(), &LIMITS), Cut::Request(framed, len));
        }
        prop_assert_eq!(format!("{fast:?}"), format!("{general:?}"));
    }
}

const LARGE: Limits = Limits { packet: 8192, ..LIMITS };

/// The result of the general parser.
fn general_header(line: &str) -> Header {
    header::parse(line.as_bytes(), &LARGE).expect("not blank")
}

/// The result of the fast path, as a general header.
fn fast_header(line: &str) -> Option<Header> {
    let fast = FastHeader::parse(line.as_bytes(), &LARGE)?;
    let body = match fast {
        FastHeader::Read { .. } => Body::None,
        FastHeader::Write { len, .. } => Body::Length(len),
    };
    Some(Header { request: Ok(fast.request()), body })
}

#[test]
fn frequent_lines_take_the_fast_path() {
    for line in ["r 3", "r 0", "r 003", "w 3 0", "w 3 100", "w 3 8192", "w 3 007"] {
        assert_eq!(fast_header(line), Some(general_header(line)), "{line}");
    }
    for line in
        ["r", "r ", "r 4", "r  3", "r 3 ", "r 3 wait=1", "w 3", "w 3 8193", "w 3  5", "w 4 5", "w 3 +5"]
    {
        assert_eq!(fast_header(line), None, "{line}");
    }
}

proptest! {
    #[test]
    fn the_fast_path_parses_exactly_as_the_general_one(
        line in "[rw]? ?[0-9 =]{0,12}|[rw] [0-5] [0-9]{0,20}",
    ) {
        if let Some(fast) = fast_header(&line) {
            prop_assert_eq!(fast, general_header(&line));
        }
    }
}
