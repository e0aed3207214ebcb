//! The Rust client: with servers that send malformed answers, and with events between its answers.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpListener;
use std::os::unix::net::UnixStream;
use std::thread;
use std::time::Duration;

use dipc::client::{
    Address, Client, Code, Error, Event, LockOptions, PutOptions, ReadOptions, Topic, WriteOptions,
};
use dipc_testkit::directory::Directory;
use dipc_testkit::server::Server;
use dipc_testkit::wait::HANG;
use proptest::prelude::*;
use socket2::{Domain, SockAddr, Socket, Type};

/// A client of a server that answers the first request with these bytes and closes the connection.
fn answers(bytes: Vec<u8>) -> Client {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("bound");
    thread::spawn(move || {
        let (mut stream, _) = listener.accept().expect("a client");
        let _ = stream.read(&mut [0; 1024]);
        let _ = stream.write_all(&bytes);
    });
    let mut client = Client::connect(address).expect("connected");
    client.set_timeout(Some(HANG)).expect("set");
    client
}

/// The server answers nothing before it has received both requests.
#[test]
fn a_name_needs_no_round_trip() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let mut client = Client::connect(listener.local_addr().expect("bound")).expect("connected");
    client.set_timeout(Some(HANG)).expect("set");
    client.set_name("anna").expect("a name");
    let server = thread::spawn(move || {
        let (mut stream, _) = listener.accept().expect("a client");
        let expected = b"hello name=anna\nping\n";
        let mut received = vec![0; expected.len()];
        stream.read_exact(&mut received).expect("both requests");
        assert_eq!(received, expected);
        stream.write_all(b"OK life=7\nOK\n").expect("answered");
    });
    client.ping().expect("answered");
    assert_eq!(client.name(), Some("anna"));
    server.join().expect("the requests are as expected");
}

/// Pieces of valid and malformed frames, in any order.
fn frame_pieces() -> impl Strategy<Value = Vec<u8>> {
    let words = [
        "OK",
        "DATA",
        "EVENT",
        "NO",
        "ERR",
        " ",
        " ",
        "\n",
        "\n",
        "\r\n",
        " : ",
        "v=",
        "n=",
        "box=",
        "lost=lock",
        "lost=take",
        "tries=",
        "lost=",
        "grant=",
        "proto=",
        "0",
        "1",
        "5",
        "hello",
        "18446744073709551616",
        "-1",
        "=",
        ",",
        "\u{fc}",
        "\0",
        "DATA 5 v=1 n=1\nhello\n",
        "DATA 5 v=1 n=1 tries=1\nhello\n",
        "EVENT 5 box=1 v=1\nhello\n",
        "OK v=1\n",
        "NO timeout v=x\n",
        "ERR frame : x\n",
    ];
    let piece = prop_oneof![
        9 => prop::sample::select(words.to_vec()).prop_map(|word| word.as_bytes().to_vec()),
        1 => prop::collection::vec(any::<u8>(), 0..9),
    ];
    prop::collection::vec(piece, 0..20).prop_map(|pieces| pieces.concat())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn no_answer_makes_the_client_panic(bytes in frame_pieces(), request in 0..15) {
        let mut client = answers(bytes);
        let all = &[1, 2][..];
        let _ = match request {
            0 => client.read_with(1, &ReadOptions { after: Some(1), ..ReadOptions::default() }).map(drop),
            1 => client.write_with(1, "x", &WriteOptions::default()).map(drop),
            2 => client.put_with(1, "x", &PutOptions::default()).map(drop),
            3 => client.take(1, None).map(drop),
            4 => client.lock_with(all, &LockOptions::default()).map(drop),
            5 => client.unlock(all, None),
            6 => client.watch(&[1], None).and_then(|_| client.event(None)).map(drop),
            7 => client.unwatch(&[]),
            8 => client.stat(Topic::Mailbox(1)).map(drop),
            9 => client.hello(Some("me")).map(drop),
            10 => client.help().map(drop),
            11 => client.take_job(1).and_then(|mut job| job.event(None)).map(drop),
            12 => client.done(1, 1).map(drop),
            13 => client.back(1, 1),
            _ => client.ping(),
        };
        // The bytes may contain an answer for one `ping`. A second `ping` fails, because the connection has
        // ended.
        prop_assert!(client.ping().is_err() || client.ping().is_err());
    }
}

#[test]
fn the_last_answer_of_a_server_that_closes_is_read() {
    let mut client = answers(b"ERR busy max=1 : too many clients, try again\n".to_vec());
    match client.write(1, vec![b'x'; 1 << 20]) {
        Err(Error::Refused { code: Code::Busy, max: Some(1), .. }) => {}
        other => panic!("{other:?}"),
    }
    assert!(client.is_closed());
}

#[test]
fn a_client_that_watches_its_own_large_messages_does_not_hang() {
    let server = Server::start("2 4096 0 4096");
    let mut client = Client::connect(("127.0.0.1", server.port)).expect("connected");
    client.set_timeout(Some(HANG)).expect("set");
    client.watch(&[0, 1], None).expect("watching");
    let large = vec![b'x'; 4 << 20];
    for _ in 0..4 {
        client.write(0, &large).expect("written");
        client.write(1, &large).expect("written");
    }
    client.unwatch(&[1]).expect("unwatched");
    let (mut last, mut seen) = (0, 0);
    while last < 4 {
        match client.event(Some(HANG)).expect("an event") {
            Some(Event::Message { mailbox: 0, version, data, lost }) => {
                assert_eq!((version, data.len()), (last + lost + 1, large.len()));
                (last, seen) = (version, seen + lost + 1);
            }
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(seen, 4);
}

#[test]
fn a_lost_lock_is_reported_by_event_flag_and_error() {
    let server = Server::start("4 64 0 8 --max-hold 0.05");
    let mut client = Client::connect(("127.0.0.1", server.port)).expect("connected");
    let lease = |result: Result<(), Error>| matches!(result, Err(Error::Refused { code: Code::Lease, .. }));
    let mut lock = client.lock(&[1, 2]).expect("locked");
    assert!(!lock.is_lost());
    let fencing_token = lock.fencing_token();
    for mailbox in [1, 2] {
        assert_eq!(
            lock.event(None).expect("an event"),
            Some(Event::LockLost { mailbox, fencing_token, by_max_hold: true })
        );
    }
    assert!(lock.is_lost());
    assert!(lease(lock.write(1, "late").map(drop)));
    assert!(lease(lock.unlock()));
    client.write(1, "free again").expect("written");
    // A guard that is dropped acknowledges its lost lock.
    drop(client.lock(&[3]).expect("locked"));
    assert!(lease(client.unlock(&[3], None)));
}

#[test]
fn the_remaining_locks_end_with_their_guard() {
    let server = Server::start("4 64 0 8");
    let mut client = Client::connect(("127.0.0.1", server.port)).expect("connected");
    let mut lock = client.lock(&[1, 3]).expect("free");
    Client::unlock(&mut lock, &[1], None).expect("held");
    drop(lock);
    let mut other = Client::connect(("127.0.0.1", server.port)).expect("connected");
    let at_once = LockOptions { wait: Some(Duration::ZERO), ..LockOptions::default() };
    other.lock_with(&[1, 3], &at_once).expect("free again").unlock().expect("held");
}

#[test]
fn dropping_a_guard_of_lost_locks_makes_the_mailboxes_usable() {
    let server = Server::start("4 64 0 8");
    let mut client = Client::connect(("127.0.0.1", server.port)).expect("connected");
    let brief = LockOptions { ttl: Some(Duration::from_millis(20)), ..LockOptions::default() };
    let mut lock = client.lock_with(&[1, 3], &brief).expect("free");
    for _ in 0..2 {
        assert!(lock.event(None).expect("no error").is_some());
    }
    drop(lock);
    client.write(1, "x").expect("not refused");
    client.write(3, "x").expect("not refused");
}

#[test]
fn a_guard_unlocks_while_its_thread_panics() {
    let server = Server::start("4 64 0 8");
    let mut client = Client::connect(("127.0.0.1", server.port)).expect("connected");
    let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        let _lock = client.lock(&[1]).expect("free");
        std::panic::resume_unwind(Box::new("intended"));
    }));
    assert!(panicked.is_err());
    let mut other = Client::connect(("127.0.0.1", server.port)).expect("connected");
    let at_once = LockOptions { wait: Some(Duration::ZERO), ..LockOptions::default() };
    other.lock_with(&[1], &at_once).expect("free again").unlock().expect("held");
    client.ping().expect("the connection works");
}

#[test]
fn a_wait_for_an_event_ends_in_time_although_bytes_trickle_in() {
    const SHORT: Duration = Duration::from_millis(20);
    const BYTES_MAX: usize = 2_000_000;
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let mut client = Client::connect(listener.local_addr().expect("bound")).expect("connected");
    let (mut server, _) = listener.accept().expect("a client");
    let trickle = thread::spawn(move || {
        let _ = server.read(&mut [0; 1024]);
        server.write_all(b"OK\nOK v=0\nEVENT 1000000000 box=0 v=1\n").expect("answered");
        // Byte by byte, until the client closes.
        (0..BYTES_MAX).take_while(|_| server.write_all(b"x").is_ok()).count()
    });
    client.watch(&[0], None).expect("watched");
    assert_eq!(client.event(Some(SHORT)).expect("no error"), None);
    assert_eq!(client.event(Some(Duration::ZERO)).expect("no error"), None);
    drop(client);
    assert!(trickle.join().expect("a thread without a panic") < BYTES_MAX, "the client read all bytes");
}

/// The socket listens, but no connection is accepted, and its backlog is full.
#[test]
fn connecting_to_a_full_backlog_times_out() {
    let directory = Directory::new();
    let path = directory.path().join("socket");
    let listener = Socket::new(Domain::UNIX, Type::STREAM, None).expect("a socket");
    listener.bind(&SockAddr::unix(&path).expect("a path")).expect("bound");
    listener.listen(0).expect("listening");
    let earlier = UnixStream::connect(&path).expect("the backlog has room for one connection");
    let connected = Address::Unix(path).connect(Some(Duration::from_millis(50)));
    assert!(matches!(connected, Err(Error::Io(error)) if error.kind() == ErrorKind::TimedOut));
    drop(earlier);
}
