use proptest::prelude::*;

use super::super::framing::{Completed, Framing};
use super::*;
use crate::protocol::Names;

const LIMITS: Limits = Limits { mailboxes: 4, capacity: 64, packet: 100, names: Names::NONE };

/// The requests of a connection: those that are cut from `bytes`, and the one that a silence completes.
fn requests(bytes: &[u8]) -> (Framing, Vec<(Request, Vec<u8>, Style)>) {
    let mut framing = Framing::classic();
    let mut found = Vec::new();
    let (used, _) = framing.cut(bytes, &LIMITS, usize::MAX, &mut found, true);
    let mut requests: Vec<_> = found.into_iter().map(|framed| with_body(framed, bytes)).collect();
    let rest = [&bytes[used..], b"\n"].concat();
    if let Completed::Request(framed) = framing.complete(&rest, &LIMITS) {
        requests.push(with_body(framed, &rest));
    }
    (framing, requests)
}

fn with_body(framed: Framed, bytes: &[u8]) -> (Request, Vec<u8>, Style) {
    (framed.request, bytes[framed.body].to_vec(), framed.style)
}

/// Short descriptions of requests.
fn meanings(requests: &[(Request, Vec<u8>, Style)]) -> Vec<String> {
    let meaning = |(request, body, _): &(Request, Vec<u8>, Style)| match request {
        Request::Mailbox(MailboxRequest::Read { mailbox, .. }) => format!("r{mailbox}"),
        Request::Mailbox(MailboxRequest::Write { mailbox, .. }) => {
            format!("w{mailbox} {}", body.escape_ascii())
        }
        Request::Refused(refusal) => refusal.code().into(),
        other => format!("{other:?}"),
    };
    requests.iter().map(meaning).collect()
}

fn frame(datagram: &[u8]) -> Vec<u8> {
    [&(datagram.len() as u32).to_be_bytes()[..], datagram].concat()
}

#[test]
fn the_first_bytes_decide_what_a_connection_speaks() {
    for (bytes, protocol) in [
        (&b"\0\0\0\x03r 1"[..], "frames"),
        (b"\0", "frames"),
        (b"GET / HTTP/1.1\r\n", "closed"),
        (b"SSH-2.0-x\r\n", "closed"),
        (b"\x16\x03\x01", "closed"),
        (b"hello name=x\n", "text"),
        (b"ping\r\n", "text"),
        (b"ping", "text"),
        (b"put 3\n", "text"),
        (b"version 1 v=3\n", "text"),
        (b"r 3 after=2\n", "text"),
        (b"r 3 wait=1 off=2\n", "text"),
        (b"r 3 nonsense=2\n", "datagrams"),
        (b"r 3\n", "datagrams"),
        (b"w 3 5\nhello\n", "datagrams"),
        (b"w 3 if=5\nhello\n", "datagrams"),
        (b"lo", "datagrams"),
        (b"\xff\xfb\x01", "datagrams"),
        (b"Put 3\n", "datagrams"),
    ] {
        let (framing, _) = requests(bytes);
        let found = match &framing {
            Framing::Text(_) => "text",
            Framing::Classic(classic) => match classic.state {
                State::Frames => "frames",
                State::Closed => "closed",
                State::Datagrams => "datagrams",
                State::Undecided | State::Discarding(_) => "undecided",
            },
        };
        assert_eq!(found, protocol, "{}", bytes.escape_ascii());
    }
}

#[test]
fn the_first_line_decides_wherever_it_is_cut() {
    for line in ["hello name=x\n", "r 3 after=2\n", "r 3\n", "w 3\nhello"] {
        let whole = requests(line.as_bytes()).1;
        for cut in 0..line.len() {
            let mut framing = Framing::classic();
            let mut found = Vec::new();
            let (used, _) = framing.cut(&line.as_bytes()[..cut], &LIMITS, usize::MAX, &mut found, true);
            assert!(used == 0 && found.is_empty(), "{:?} is a request", &line[..cut]);
            let _ = framing.cut(line.as_bytes(), &LIMITS, usize::MAX, &mut found, true);
            let ended = format!("{line}\n");
            let completed = match framing.complete(ended.as_bytes(), &LIMITS) {
                Completed::Request(framed) if found.is_empty() => Some(framed),
                _ => found.pop(),
            };
            let found = completed.map(|framed| with_body(framed, ended.as_bytes()));
            assert_eq!(found.as_ref(), whole.first(), "{line:?} cut at {cut}");
        }
    }
}

#[test]
fn each_stream_of_datagrams_has_the_requests_of_the_protocol() {
    let padded = |text: &str, byte: u8| {
        let mut packet = text.as_bytes().to_vec();
        packet.resize(100, byte);
        packet
    };
    let long = [b"w 1\n", &[b'x'; 200][..]].concat();
    for (bytes, expected) in [
        (b"r 1\nr 2\nw 3\nhello".to_vec(), &["r1", "r2", "w3 hello"][..]),
        (b"w 3\nShopping list:\nw 1\neggs\n".to_vec(), &["w3 Shopping list:\\nw 1\\neggs\\n"]),
        (b"\n\n\0r 1\n".to_vec(), &["r1"]),
        (b"w 1\nhello\0garbage".to_vec(), &["w1 hello"]),
        (padded("w 1\nhello", 0), &["w1 hello"]),
        (padded("w 1\nhello", b' '), &["w1 hello"]),
        (padded("r 1", 0), &["r1"]),
        (padded("w 1\nx", 0)[..99].to_vec(), &["w1 x"]),
        ([padded("w 1\nx", 0), padded("r 1", 0)].concat(), &["w1 x", "r1"]),
        (b" \0\0 ".to_vec(), &[]),
        (b"eggs\n".to_vec(), &["verb"]),
        (long, &["size"]),
        (b"q\nr 1\n".to_vec(), &["Quit"]),
        (b"\xff\xfd\x06r 1\n".to_vec(), &["Telnet([255, 252, 6])", "r1"]),
    ] {
        assert_eq!(meanings(&requests(&bytes).1), expected, "{}", bytes.escape_ascii());
    }
}

#[test]
fn the_datagram_after_a_write_without_data_is_its_data() {
    let complete = |framing: &mut Framing, bytes: &str| {
        let ended = format!("{bytes}\n");
        match framing.complete(ended.as_bytes(), &LIMITS) {
            Completed::Request(framed) => meanings(&[with_body(framed, ended.as_bytes())]).remove(0),
            other => panic!("{other:?}"),
        }
    };
    let mut framing = Framing::classic();
    assert_eq!(complete(&mut framing, "w 3\n"), "w3 ");
    assert_eq!(complete(&mut framing, "reading"), "w3 reading");
    assert_eq!(complete(&mut framing, "reading"), "verb");
    assert_eq!(complete(&mut framing, "w 3"), "w3 ");
    assert_eq!(complete(&mut framing, "r 1"), "r1");
    assert_eq!(complete(&mut framing, "more"), "verb");
}

#[test]
fn an_end_of_line_is_added_for_clients_that_send_ends_of_lines() {
    let ends_data = |bytes: &[u8]| match requests(bytes).1.pop() {
        Some((_, _, Style::Classic(classic))) => classic.ends_data,
        other => panic!("{other:?}"),
    };
    assert!(ends_data(b"r 1\n"));
    assert!(ends_data(b"r 1\r\nr 1\r\n"));
    assert!(!ends_data(b"r 1"));
    let mut framing = Framing::classic();
    assert!(matches!(framing.complete(b"w 1\nx\n", &LIMITS), Completed::Request(_)));
    let mut found = Vec::new();
    let _ = framing.cut(b"r 1\n", &LIMITS, 1, &mut found, true);
    assert!(matches!(found[0].style, Style::Classic(Classic { ends_data: false, .. })));
}

#[test]
fn a_frame_is_within_the_limit() {
    let max = (LIMITS.packet + FRAME_EXTRA) as usize;
    let largest = [b"w 1\n", &vec![b'x'; 64][..]].concat();
    assert_eq!(meanings(&requests(&frame(&largest)).1), [format!("w1 {}", "x".repeat(64))]);
    assert_eq!(meanings(&requests(&frame(&vec![b' '; max])).1), ["verb"]);
    for length in [max as u32 + 1, 1 << 24, u32::MAX] {
        // The first byte of the first frame decides that these are frames.
        let bytes = [&frame(b"r 1")[..], &length.to_be_bytes(), b"r 2"].concat();
        let (_, requests) = requests(&bytes);
        assert_eq!(meanings(&requests), ["r1", "size"]);
        let [.., (refused, _, style)] = &requests[..] else { panic!("no refusal") };
        assert!(refused.closes());
        assert!(matches!(style, Style::Classic(Classic { envelope: Envelope::Length, .. })));
    }
    assert_eq!(meanings(&requests(&frame(b"")).1), ["syntax"]);
    assert_eq!(meanings(&requests(&frame(b"stop")).1), ["Say(Closing)"]);
    assert_eq!(
        meanings(&requests(&frame(b"w 1\na\0b\n")).1),
        ["w1 a\\x00b\\n"],
        "frames are eight-bit clean"
    );
}

#[test]
fn a_frame_that_is_not_complete_awaits_its_bytes() {
    let mut framing = Framing::classic();
    let bytes = frame(b"w 1\nhello");
    for len in 1..bytes.len() {
        let mut found = Vec::new();
        let (used, missing) = framing.cut(&bytes[..len], &LIMITS, 9, &mut found, true);
        assert!(used == 0 && found.is_empty() && missing > 0 && missing <= bytes.len() - len);
        assert!(framing.awaits_octets(&bytes[..len], &LIMITS));
        assert_eq!(framing.silence(&bytes[..len], true, &LIMITS), Silence::Never);
    }
}

#[test]
fn a_packet_of_udp_is_one_request() {
    let packet = |bytes: &[u8]| {
        let Packet { framed, id } = parse_packet(bytes, &LIMITS)?;
        let meaning = meanings(&[with_body(framed, bytes)]).remove(0);
        Some((meaning, String::from_utf8(id).expect("text")))
    };
    for (bytes, expected, id) in [
        (&b"r 1"[..], "r1", ""),
        (b"w 3 if=2 id=a7\nhello", "w3 hello", "a7"),
        (b"w 3\nhello\0\0", "w3 hello", ""),
        (b"q", "Ping", ""),
        (b"help", "Say(Help)", ""),
        (b"put 3\nx", "verb", ""),
        (b"take 3", "verb", ""),
        (b"r 9 id=5", "box", "5"),
    ] {
        assert_eq!(packet(bytes), Some((expected.into(), id.into())), "{}", bytes.escape_ascii());
    }
    for unanswered in [&b""[..], b"\0\0", b" ", b"OK v=3\n", b"NO timeout\n", b"ERR verb : x\n"] {
        assert_eq!(packet(unanswered), None, "{}", unanswered.escape_ascii());
    }
    let Some(Packet { framed, .. }) = parse_packet(b"w 1\nx", &LIMITS) else { panic!("no request") };
    let zero = Wait::For(std::time::Duration::ZERO);
    assert!(matches!(framed.request, Request::Mailbox(MailboxRequest::Write { wait, .. }) if wait == zero));
}

#[test]
fn an_answer_that_fits_into_no_packet_is_refused() {
    assert_eq!(packet_answer(b"", b"OK v=1\n".to_vec()), b"OK v=1\n");
    assert_eq!(packet_answer(b"7", b"OK v=1\n".to_vec()), b"id=7 OK v=1\n");
    assert_eq!(packet_answer(b"", vec![b'x'; UDP_MAX]).len(), UDP_MAX);
    let refused = packet_answer(b"7", vec![b'x'; UDP_MAX - 4]);
    assert!(refused.starts_with(b"id=7 ERR size max=65507 "));
}

proptest! {
    /// The law of the framer holds for frames.
    #[test]
    fn requests_of_frames_do_not_depend_on_packets(
        datagrams in prop::collection::vec("(r [0-5]|w [0-4]\n[a-z\0\n]{0,9}|q?|stop|help|x{0,170})", 1..8),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..12),
    ) {
        let bytes: Vec<u8> = datagrams.iter().flat_map(|datagram| frame(datagram.as_bytes())).collect();
        let expected = requests(&bytes).1;
        let within = cuts.iter().map(|cut| cut.index(bytes.len()));
        let mut ends: Vec<usize> = within.chain([bytes.len()]).collect();
        ends.sort_unstable();
        let (mut framing, mut start, mut found) = (Framing::classic(), 0, Vec::new());
        for end in ends {
            let mut cut = Vec::new();
            let (used, _) = framing.cut(&bytes[start..end], &LIMITS, usize::MAX, &mut cut, true);
            found.extend(cut.into_iter().map(|framed| with_body(framed, &bytes[start..])));
            start += used;
        }
        prop_assert_eq!(found, expected);
    }

    /// No bytes make the framer panic, and it uses no more bytes than there are.
    #[test]
    fn any_bytes_are_framed(
        bytes in prop::collection::vec(any::<u8>(), 0..400),
        cut in any::<prop::sample::Index>(),
    ) {
        let mut framing = Framing::classic();
        let (mut found, end) = (Vec::new(), cut.index(bytes.len() + 1));
        let (used, _) = framing.cut(&bytes[..end], &LIMITS, 128, &mut found, true);
        prop_assert!(used <= end);
        let (more, _) = framing.cut(&bytes[used..], &LIMITS, 128, &mut found, true);
        prop_assert!(used + more <= bytes.len());
        let rest = [&bytes[used + more..], b"\n"].concat();
        let _ = framing.complete(&rest, &LIMITS);
    }
}

/// The first bytes of a large datagram may look like a packet of fixed size.
#[test]
fn a_packet_of_fixed_size_is_not_cut_from_bytes_that_go_on() {
    let mut packet = b"w 1\n".to_vec();
    packet.resize(100, b' ');
    let mut framing = Framing::classic();
    let mut found = Vec::new();
    assert_eq!(framing.cut(&packet, &LIMITS, 9, &mut found, false), (0, 1));
    let ended = [&packet[..], b"\n"].concat();
    let Completed::Request(framed) = framing.complete(&ended, &LIMITS) else { panic!("no request") };
    assert!(matches!(framed.style, Style::Classic(Classic { envelope: Envelope::Padding(b' '), .. })));
}
