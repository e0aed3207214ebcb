//! Header lines, and the requests they are parsed to.

use std::time::Duration;

use super::*;
use crate::protocol::Names;
use crate::protocol::{NAME_MAX, Wait};

const LIMITS: Limits = Limits { mailboxes: 4, capacity: 65536, packet: 8192, names: Names::NONE };

fn header(line: &str) -> Header {
    parse(line.as_bytes(), &LIMITS).expect("not blank")
}

fn request(line: &str) -> Request {
    header(line).request.unwrap_or_else(|refusal| panic!("{line}: {refusal}"))
}

fn code(line: &str) -> &'static str {
    header(line).request.expect_err(line).code()
}

fn text(line: &str) -> String {
    header(line).request.expect_err(line).to_string()
}

const SECOND: Duration = Duration::from_secs(1);

fn read(after: Option<u64>, offset: u64, len: Option<u64>, wait: Wait) -> Request {
    Request::Mailbox(MailboxRequest::Read { mailbox: 3, after, offset, len, wait })
}

fn write(expected: Option<u64>, offset: Option<u64>, wait: Wait) -> Request {
    Request::Mailbox(MailboxRequest::Write { mailbox: 3, expected, offset, wait })
}

fn put(dropping: bool, wait: Wait) -> Request {
    Request::Mailbox(MailboxRequest::Put { mailbox: 3, dropping, wait })
}

fn lock(mailboxes: &[u32], shared: bool, wait: Wait, ttl: Option<Duration>) -> Request {
    Request::Local(LocalRequest::Lock(Box::new(LockRequest {
        mailboxes: mailboxes.into(),
        shared,
        wait,
        ttl,
    })))
}

fn take(wait: Wait) -> Request {
    Request::Mailbox(MailboxRequest::Take { mailbox: 3, ttl: None, wait })
}

fn hand_out(millis: u64, wait: Wait) -> Request {
    let ttl = Some(Duration::from_millis(millis));
    Request::Mailbox(MailboxRequest::Take { mailbox: 3, ttl, wait })
}

fn stat(topic: Topic) -> Request {
    Request::Local(LocalRequest::Stat(topic))
}

fn name(change: Option<Rename>) -> Request {
    Request::Local(LocalRequest::Name { mailbox: 3, change })
}

fn named(name: &str) -> Request {
    Request::Local(LocalRequest::Hello { name: name.into() })
}

fn unlock(mailboxes: Option<&[u32]>, grant: Option<u64>) -> Request {
    Request::Local(LocalRequest::Unlock { mailboxes: mailboxes.map(Box::from), grant })
}

fn watch(mailboxes: &[u32], after: Option<u64>) -> Request {
    Request::Local(LocalRequest::Watch { mailboxes: mailboxes.into(), after })
}

fn unwatch(mailboxes: Option<&[u32]>) -> Request {
    Request::Local(LocalRequest::Unwatch { mailboxes: mailboxes.map(Box::from) })
}

#[test]
fn each_verb_with_each_key_is_parsed() {
    use Wait::{Default, For, Forever};
    for (line, body, expected) in [
        ("r 3", Body::None, read(None, 0, None, Default)),
        ("read 3", Body::None, read(None, 0, None, Default)),
        ("r 3 after=0", Body::None, read(Some(0), 0, None, Default)),
        ("r after=7 3 len=2 off=1 wait=1", Body::None, read(Some(7), 1, Some(2), For(SECOND))),
        ("w 3", Body::Line, write(None, None, Default)),
        ("write 3 5", Body::Length(5), write(None, None, Default)),
        ("w 3 if=1 5 off=2 wait=inf", Body::Length(5), write(Some(1), Some(2), Forever)),
        ("put 3", Body::Line, put(false, Default)),
        ("put 3 5", Body::Length(5), put(false, Default)),
        ("put 3 full=drop", Body::Line, put(true, Default)),
        ("put wait=0 3 full=drop 5", Body::Length(5), put(true, For(Duration::ZERO))),
        ("take 3", Body::None, take(Default)),
        ("take 3 wait=1", Body::None, take(For(SECOND))),
        ("lock 3", Body::None, lock(&[3], false, Default, None)),
        ("lock 3,0,2", Body::None, lock(&[0, 2, 3], false, Default, None)),
        ("lock 1 r", Body::None, lock(&[1], true, Default, None)),
        ("lock 1,0 ttl=1 r wait=inf", Body::None, lock(&[0, 1], true, Forever, Some(SECOND))),
        ("unlock 3", Body::None, unlock(Some(&[3]), None)),
        (
            "version 3 v=4611686018427387904",
            Body::None,
            Request::Mailbox(MailboxRequest::Version { mailbox: 3, version: VERSION_MAX, wait: Default }),
        ),
        ("take 3 ttl=5", Body::None, hand_out(5_000, Default)),
        ("take 3 ttl=", Body::None, hand_out(30_000, Default)),
        ("take wait=0 ttl=.5 3", Body::None, hand_out(500, For(Duration::ZERO))),
        (
            "done 3 v=7",
            Body::None,
            Request::Mailbox(MailboxRequest::Done { mailbox: 3, version: 7, wait: Default }),
        ),
        (
            "back v=7 3 wait=inf",
            Body::None,
            Request::Mailbox(MailboxRequest::Back { mailbox: 3, version: 7, wait: Forever }),
        ),
        ("unlock 3,1 grant=5", Body::None, unlock(Some(&[3, 1]), Some(5))),
        ("unlock *", Body::None, unlock(None, None)),
        ("unlock grant=5 *", Body::None, unlock(None, Some(5))),
        ("watch 3", Body::None, watch(&[3], None)),
        ("watch 3,0,2 after=7", Body::None, watch(&[3, 0, 2], Some(7))),
        ("unwatch 3,0", Body::None, unwatch(Some(&[3, 0]))),
        ("unwatch *", Body::None, unwatch(None)),
        ("stat", Body::None, stat(Topic::Server)),
        ("stat 3", Body::None, stat(Topic::Mailbox(3))),
        ("stat box 3", Body::None, stat(Topic::Mailbox(3))),
        ("stat conns", Body::None, stat(Topic::Connections { from: 0 })),
        ("stat locks", Body::None, stat(Topic::Locks { from: 0 })),
        ("stat names from=7", Body::None, stat(Topic::Names { from: 7 })),
        ("name 3", Body::None, name(None)),
        ("name 3 jobs", Body::None, name(Some(Rename::Set(Name::new("jobs").expect("valid"))))),
        ("name 3 -", Body::None, name(Some(Rename::Remove))),
        ("stat conns from=7", Body::None, stat(Topic::Connections { from: 7 })),
        ("stat locks from=7", Body::None, stat(Topic::Locks { from: 7 })),
        ("hello", Body::None, Request::Hello),
        ("hello token=x", Body::None, Request::Hello),
        ("hello name=a=b token=x", Body::None, named("a=b")),
        ("ping", Body::None, Request::Ping),
        ("help", Body::None, Request::Help),
        ("q", Body::None, Request::Quit),
        ("quit 3 x y=z", Body::None, Request::Quit),
    ] {
        assert_eq!(request(line), expected, "{line}");
        assert_eq!(header(line).body, body, "{line}");
    }
}

#[test]
fn each_feature_is_a_supported_verb_or_key() {
    let lines = "r 3 after=1 off=1 len=1 wait=1\nput 3 full=drop\ntake 3\nlock 3 ttl=1\nw 3 if=1\n\
        unlock 3 grant=1\nwatch 3\ntake 3 ttl=1\ndone 3 v=1\nback 3 v=1\nversion 3 v=1";
    lines.lines().for_each(|line| drop(request(line)));
    let mut words: Vec<_> = FEATURES.split(',').collect();
    for word in &words {
        let is_group = matches!(*word, "jobs" | "names");
        assert!(is_group || lines.split(['\n', ' ', '=']).any(|found| found == *word), "{word}");
    }
    words.sort_unstable();
    assert_eq!(words.join(","), FEATURES);
}

#[test]
fn a_put_is_framed_exactly_as_a_w() {
    for rest in [
        "",
        " 3",
        " 3 5",
        " 99 5",
        " 3 8193",
        " 3 9999999",
        " 3 five",
        " 3 -1",
        " 3 5 6",
        " 3 5 foo=1",
        " 3 foo=1",
        " 3 wait=x 5",
        " 3 wait=1 wait=1",
        " 3 5 \x01",
        "\t3",
    ] {
        let (w, put) = (header(&format!("w{rest}")), header(&format!("put{rest}")));
        assert_eq!(put.body, w.body, "{rest}");
        let code =
            |header: Header| header.request.map_err(|refusal| (refusal.code(), refusal.closes())).err();
        assert_eq!(code(put), code(w), "{rest}");
    }
    assert_eq!(text("put 3 five"), "the data is the next line: put 3; or has a length: put 3 5");
}

#[test]
fn a_list_names_existing_mailboxes_without_repetition() {
    for verb in ["lock", "unlock", "watch", "unwatch"] {
        for list in ["", "4", "3,", ",3", ",", "1,,2", "1,4", "0,0,4", "-1", "r", "*,3", "3,*", "4294967296"]
        {
            assert_eq!(code(&format!("{verb} {list}")), "box", "{verb} {list}");
        }
        for list in ["3,3", "0,1,2,0", "1,01", "2,1,1,2"] {
            assert_eq!(code(&format!("{verb} {list}")), "syntax", "{verb} {list}");
        }
        assert_eq!(text(&format!("{verb} 0,2,1,2")), "mailbox 2 is there twice");
    }
    assert_eq!(code("lock *"), "box");
    assert_eq!(code("watch *"), "box");
}

#[test]
fn a_list_may_be_as_long_as_the_header_line() {
    let limits = Limits { mailboxes: 1000, ..LIMITS };
    let all: Vec<u32> = (0..280).rev().collect();
    let list = all.iter().map(u32::to_string).collect::<Vec<_>>().join(",");
    let line = format!("watch {list}");
    assert!((1000..=HEADER_MAX).contains(&line.len()), "{}", line.len());
    assert_eq!(parse(line.as_bytes(), &limits).expect("not blank").request, Ok(watch(&all, None)));
}

#[test]
fn a_ttl_is_more_than_zero() {
    let ttl = |word: &str| match header(&format!("lock 0 ttl={word}")).request {
        Ok(Request::Local(LocalRequest::Lock(lock))) => lock.ttl,
        Ok(other) => panic!("{other:?}"),
        Err(refusal) => {
            assert_eq!(refusal.to_string(), "ttl= takes seconds above 0 or inf: ttl=2.5", "ttl={word}");
            None
        }
    };
    assert_eq!(ttl("2.5"), Some(Duration::from_millis(2500)));
    assert_eq!(ttl("0.000000001"), Some(Duration::from_nanos(1)));
    assert_eq!(ttl("inf"), Some(Duration::MAX));
    assert_eq!(ttl(&"9".repeat(40)), Some(Duration::from_secs(u64::MAX)));
    for bad in ["0", "0.0", "0.0000000009", "", ".", "-1", "1s", "infinity"] {
        assert_eq!(ttl(bad), None, "ttl={bad}");
    }
}

#[test]
fn a_name_has_1_to_64_bytes() {
    let longest = "n".repeat(NAME_MAX);
    let named = named(&longest);
    assert_eq!(request(&format!("hello name={longest}")), named);
    assert_eq!(text(&format!("hello name={longest}n")), "name= takes 1 to 64 bytes: name=bot");
    assert_eq!(code("hello name="), "syntax");
}

#[test]
fn a_refusal_shows_the_correct_form() {
    for (line, expected) in [
        ("put 3 full=", "full= takes only drop: full=drop"),
        ("put 3 full=wait", "full= takes only drop: full=drop"),
        ("lock 3 x", "the second word of lock is r, for a shared lock"),
        ("lock 3 shared", "the second word of lock is r, for a shared lock"),
        ("take 3 wait=soon", "wait= takes seconds or inf: wait=2.5"),
        ("r 3 after=new", "after= takes a decimal number: after=5"),
        ("watch 3 after=-1", "after= takes a decimal number: after=5"),
        ("unlock 3 grant=", "grant= takes a decimal number: grant=5"),
        ("stat All", "stat takes a mailbox, conns, locks or names: stat 3"),
        ("stat -1", "stat takes a mailbox, conns, locks or names: stat 3"),
        ("take 3 ttl=0", "ttl= of take takes seconds above 0: ttl=30"),
        ("take 3 ttl=inf", "ttl= of take takes seconds above 0: ttl=30"),
        ("done 3", "done takes a version: done 3 v=7"),
        ("back 3", "back takes a version: back 3 v=7"),
        ("version 3 v=4611686018427387905", "v= is at most 4611686018427387904"),
        ("done 3 v=", "v= takes a decimal number: v=5"),
        ("take 3 4", "too many arguments for take, try help"),
        ("unlock 3 r", "too many arguments for unlock, try help"),
        ("lock 3 ttl=1 ttl=1", "the key \"ttl\" is there twice"),
        ("unwatch 3 after=1", "unwatch has no key \"after\", try help"),
    ] {
        assert_eq!(text(line), expected, "{line}");
        assert_eq!(code(line), "syntax", "{line}");
    }
}

#[test]
fn a_length_is_at_most_the_packet() {
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
fn a_mailbox_must_exist() {
    for word in ["4", "-1", "4294967296", "three", "", "99999999999999999999"] {
        assert_eq!(code(&format!("r {word}")), "box", "r {word}");
    }
    for line in ["w", "put", "put 4", "take", "take x", "lock", "unlock grant=1", "watch", "unwatch"] {
        assert_eq!(code(line), "box", "{line}");
    }
    for line in ["stat 4", "stat 99999999999999999999", "stat box", "stat box 4", "stat box x"] {
        assert_eq!(code(line), "box", "{line}");
    }
    assert!(header("r 3").request.is_ok());
}

#[test]
fn unknown_and_repeated_keys_are_refused() {
    for line in [
        "r 3 foo=1",
        "r 3 off=1 off=2",
        "r 3 after=1 wait=1 off=1 len=1 off=1",
        "r 3 4",
        "w 3 len=5",
        "put 3 if=1",
        "put 3 full=drop full=drop",
        "take 3 off=1",
        "done 3 v=1 v=1",
        "back 3 v=1 ttl=1",
        "lock 3 grant=1",
        "lock 3 r r",
        "unlock * ttl=1",
        "unlock * 3",
        "watch 3 wait=1",
        "watch 3 4",
        "unwatch * 3",
        "ping x",
        "help me",
        "stat a=b",
        "stat 3 4",
        "stat box 3 4",
        "stat conns 3",
        "stat 3 from=1",
        "stat from=1",
        "stat conns from=x",
        "stat locks 3",
        "hello you",
        "hello if=1",
    ] {
        assert_eq!(code(line), "syntax", "{line}");
    }
}

#[test]
fn a_refused_request_still_has_its_body() {
    assert_eq!(header("w 99 5").body, Body::Length(5));
    assert_eq!(header("w 3 5 foo=1").body, Body::Length(5));
    assert_eq!(header("w 3 5 6 7").body, Body::Length(5));
    assert_eq!(header("w").body, Body::Line);
    assert_eq!(header("put 99 5").body, Body::Length(5));
    assert_eq!(header("put 3 5 full=never").body, Body::Length(5));
    assert_eq!(header("put 3 if=1").body, Body::Line);
}

#[test]
fn a_wait_is_in_seconds_with_decimals() {
    let wait = |word: &str| match header(&format!("r 0 wait={word}")).request {
        Ok(Request::Mailbox(MailboxRequest::Read { wait, .. })) => Some(wait),
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
fn an_echoed_word_is_shortened() {
    let Err(refusal) = header(&"x".repeat(500)).request else { panic!("refused") };
    assert_eq!(refusal.to_string(), format!("unknown verb \"{}..\", try help", "x".repeat(32)));
}
