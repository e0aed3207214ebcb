//! The public methods of the Rust client, with a real server.

use std::time::Duration;

use dipc::client::{
    Client, Code, Error, Event, JobOptions, LockOptions, PutOptions, ReadOptions, Reason, Topic, WriteOptions,
};
use dipc_testkit::directory::Directory;
use dipc_testkit::server::Server;
use dipc_testkit::wait::HANG;

/// A server of 4 mailboxes of 64 kB and a client of it.
fn start() -> (Server, Client) {
    let server = Server::start("4 64 0 8");
    let client = connect(&server);
    (server, client)
}

fn connect(server: &Server) -> Client {
    let mut client = Client::open(&format!("dipc://127.0.0.1:{}", server.port)).expect("connected");
    client.set_timeout(Some(HANG)).expect("set");
    client
}

#[track_caller]
fn not_done<T: std::fmt::Debug>(result: Result<T, Error>) -> (Reason, Option<u64>) {
    match result {
        Err(Error::NotDone { reason, version }) => (reason, version),
        other => panic!("NO expected: {other:?}"),
    }
}

#[track_caller]
fn refused<T: std::fmt::Debug>(result: Result<T, Error>) -> Code {
    match result {
        Err(Error::Refused { code, .. }) => code,
        other => panic!("ERR expected: {other:?}"),
    }
}

#[test]
fn connects_over_tcp_and_over_a_unix_socket() {
    let directory = Directory::new();
    let socket = directory.path().join("socket");
    let server = Server::start(&format!("4 64 0 8 --unix {}", socket.display()));
    Client::connect(("localhost", server.port)).expect("connected").ping().expect("answered");
    Client::connect_unix(&socket).expect("connected").ping().expect("answered");
    let url = format!("dipc+unix://{}", socket.display());
    Client::open(&url).expect("connected").ping().expect("answered");
    assert!(matches!(Client::open("dipc+unix:///no/such/socket"), Err(Error::Io(_))));
    assert!(matches!(Client::open("http://localhost"), Err(Error::Io(_))));
}

#[test]
fn a_timeout_closes_the_connection() {
    let (_server, mut client) = start();
    client.set_timeout(Some(Duration::from_millis(50))).expect("set");
    assert_eq!(client.timeout(), Some(Duration::from_millis(50)));
    assert!(matches!(client.take(0, Some(Duration::MAX)), Err(Error::Io(_))));
    assert!(client.is_closed());
    assert!(matches!(client.ping(), Err(Error::Io(_))));
}

#[test]
fn quit_closes_the_connection() {
    let (server, client) = start();
    server.wait_for_stat("connections", |connections| connections == 2);
    client.quit();
    server.wait_for_stat("connections", |connections| connections == 1);
}

#[test]
fn reads_the_newest_message_and_an_empty_mailbox() {
    let (_server, mut client) = start();
    let empty = client.read(3).expect("read");
    assert_eq!((empty.data.as_slice(), empty.version, empty.count), (b"".as_slice(), 0, 0));
    assert_eq!(client.write(3, "hello").expect("written"), 1);
    assert_eq!(client.write(3, [0, 10, 255]).expect("written"), 2);
    let message = client.read(3).expect("read");
    assert_eq!((message.data, message.version, message.count), (vec![0, 10, 255], 2, 1));
}

#[test]
fn reads_a_part_and_the_next_message_after_a_version() {
    let (_server, mut client) = start();
    client.put(3, "hello").expect("put");
    client.put(3, "world").expect("put");
    let part = ReadOptions { off: Some(1), len: Some(2), ..ReadOptions::default() };
    assert_eq!(client.read_with(3, &part).expect("read").data, b"or");
    let next = ReadOptions { after: Some(0), ..ReadOptions::default() };
    assert_eq!(client.read_with(3, &next).expect("read").data, b"hello");
    let none = ReadOptions { after: Some(2), wait: Some(Duration::ZERO), ..ReadOptions::default() };
    assert_eq!(not_done(client.read_with(3, &none)).0, Reason::Timeout);
}

#[test]
fn writes_only_at_the_expected_version() {
    let (_server, mut client) = start();
    client.write(3, "10").expect("written");
    let at = |version| WriteOptions { if_version: Some(version), ..WriteOptions::default() };
    assert_eq!(not_done(client.write_with(3, "11", &at(0))), (Reason::Conflict, Some(1)));
    assert_eq!(client.write_with(3, "11", &at(1)).expect("written"), 2);
}

#[test]
fn patches_a_message_from_an_offset() {
    let (_server, mut client) = start();
    client.write(3, "hello").expect("written");
    let patch = WriteOptions { off: Some(1), ..WriteOptions::default() };
    client.write_with(3, "a", &patch).expect("patched");
    assert_eq!(client.read(3).expect("read").data, b"hallo");
}

#[test]
fn put_appends_and_take_removes_the_oldest() {
    let (_server, mut client) = start();
    let first = client.put(2, "one").expect("put");
    assert_eq!((first.version, first.count), (1, 1));
    assert_eq!(client.put(2, "two").expect("put").count, 2);
    assert_eq!(client.take(2, None).expect("taken").data, b"one");
    assert_eq!(client.take(2, None).expect("taken").data, b"two");
    assert_eq!(not_done(client.take(2, Some(Duration::ZERO))).0, Reason::Empty);
}

#[test]
fn put_into_a_full_mailbox_drops_the_oldest_or_is_refused() {
    let (_server, mut client) = start();
    let drop_oldest = PutOptions { drop: true, ..PutOptions::default() };
    for _ in 0..10 {
        client.put_with(2, [b'x'; 8000], &drop_oldest).expect("put");
    }
    assert_eq!(client.read(2).expect("read").count, 8);
    let at_once = PutOptions { wait: Some(Duration::ZERO), ..PutOptions::default() };
    assert_eq!(not_done(client.put_with(2, [b'x'; 8000], &at_once)).0, Reason::Full);
}

#[test]
fn a_lock_excludes_other_clients_until_it_is_dropped() {
    let (server, mut client) = start();
    let mut other = connect(&server);
    let at_once = ReadOptions { wait: Some(Duration::ZERO), ..ReadOptions::default() };
    client.write(3, "hello").expect("written");
    let mut lock = client.lock(&[1, 3]).expect("locked");
    assert_eq!(lock.mailboxes(), [1, 3]);
    let data = [lock.read(3).expect("read").data, b"!".to_vec()].concat();
    lock.write(1, data).expect("written");
    assert_eq!(not_done(other.read_with(1, &at_once)).0, Reason::Timeout);
    drop(lock);
    assert_eq!(other.read_with(1, &at_once).expect("read").data, b"hello!");
}

#[test]
fn a_shared_lock_admits_readers_and_shared_locks() {
    let (server, mut client) = start();
    let shared = LockOptions { shared: true, ..LockOptions::default() };
    let first = client.lock_with(&[3], &shared).expect("locked");
    let mut other = connect(&server);
    other.read(3).expect("read");
    let second = other.lock_with(&[3], &shared).expect("locked");
    assert!(second.fencing_token() > first.fencing_token());
    second.unlock().expect("unlocked");
    let now = WriteOptions { wait: Some(Duration::ZERO), ..WriteOptions::default() };
    assert_eq!(not_done(other.write_with(3, "x", &now)).0, Reason::Timeout);
}

#[test]
fn after_a_lease_has_expired_requests_are_refused_until_unlock() {
    let (_server, mut client) = start();
    let brief = LockOptions { ttl: Some(Duration::from_millis(50)), ..LockOptions::default() };
    let mut lock = client.lock_with(&[3], &brief).expect("locked");
    let fencing_token = lock.fencing_token();
    assert_eq!(
        lock.event(None).expect("an event"),
        Some(Event::LockLost { mailbox: 3, fencing_token, by_max_hold: false })
    );
    assert!(lock.is_lost());
    assert_eq!(refused(lock.write(3, "too late")), Code::Lease);
    assert_eq!(refused(lock.unlock()), Code::Lease);
    client.write(3, "without a lock").expect("written");
}

#[test]
fn a_kept_lock_is_unlocked_with_its_fencing_token() {
    let (_server, mut client) = start();
    let token = client.lock(&[3]).expect("locked").keep();
    assert_eq!(refused(client.unlock(&[3], Some(token + 1))), Code::Lease);
    assert_eq!(client.locks().collect::<Vec<_>>(), [(3, token)]);
    client.unlock(&[3], Some(token)).expect("unlocked");
    assert_eq!(client.locks().count(), 0);
    client.unlock(&[], None).expect("nothing to unlock");
}

#[test]
fn a_job_stays_in_the_mailbox_until_it_is_done() {
    let (server, mut client) = start();
    client.put(2, "one").expect("put");
    client.put(2, "two").expect("put");
    let job = client.take_job(2).expect("taken");
    assert_eq!((job.mailbox(), job.data(), job.version()), (2, b"one".as_slice(), 1));
    assert_eq!((job.count(), job.tries(), job.is_lost()), (2, 1, false));
    let mut other = connect(&server);
    let second = other.take_job(2).expect("taken").keep();
    assert_eq!((second.data.as_slice(), second.version, second.tries), (b"two".as_slice(), 2, 1));
    assert_eq!(server.stat_box(2, "in_hand"), 2);
    let at_once = JobOptions { wait: Some(Duration::ZERO), ..JobOptions::default() };
    assert_eq!(not_done(connect(&server).take_job_with(2, &at_once)).0, Reason::Empty);
    assert_eq!(job.done().expect("done"), 1);
    assert_eq!(refused(client.done(2, 2)), Code::Lease, "another client has it in hand");
    assert_eq!(other.done(second.mailbox, second.version).expect("done"), 0);
    assert_eq!(refused(other.done(2, 2)), Code::Lease);
    assert_eq!(refused(other.back(2, 2)), Code::Lease);
    assert!(!other.is_closed());
}

#[test]
fn a_dropped_job_is_given_back() {
    let (server, mut client) = start();
    client.put(2, "a job").expect("put");
    drop(client.take_job(2).expect("taken"));
    let mut other = connect(&server);
    let job = other.take_job(2).expect("taken");
    assert_eq!(job.tries(), 2);
    job.back().expect("given back");
    let third = client.take_job(2).expect("taken").keep();
    assert_eq!(third.tries, 3);
    client.back(2, third.version).expect("given back");
    assert_eq!(other.take(2, None).expect("taken").data, b"a job");
    assert_eq!((server.stat("backs"), server.stat("given_back")), (3, 0));
}

#[test]
fn a_job_that_is_done_is_not_given_back_by_its_guard() {
    let (server, mut client) = start();
    client.put(2, "a job").expect("put");
    let mut job = client.take_job(2).expect("taken");
    Client::done(&mut job, 2, 1).expect("done");
    assert!(job.is_lost());
    drop(job);
    client.put(2, "replaced").expect("put");
    let job = client.take_job(2).expect("taken");
    connect(&server).write(2, "new").expect("written");
    assert_eq!(refused(job.done()), Code::Lease, "a write has removed the message");
    assert_eq!(client.event(None).expect("no error"), None, "no message is in hand");
    assert_eq!(server.stat("backs"), 0);
}

/// The message is taken again by the same connection, so the older guard has the same version.
#[test]
fn a_silent_worker_loses_its_job() {
    let (server, mut client) = start();
    client.watch(&[2], Some(0)).expect("watched");
    client.put(2, "a job").expect("put");
    let message = Event::Message { mailbox: 2, version: 1, data: b"a job".to_vec(), lost: 0 };
    assert_eq!(client.event(None).expect("an event"), Some(message));
    let brief = JobOptions { ttl: Some(Duration::from_millis(50)), ..JobOptions::default() };
    let mut job = client.take_job_with(2, &brief).expect("taken");
    let lost = Event::JobLost { mailbox: 2, version: 1, tries: 1 };
    assert_eq!(job.event(None).expect("an event"), Some(lost));
    assert!(job.is_lost());
    assert_eq!(job.take_job(2).expect("taken").keep().tries, 2);
    assert!(job.is_lost());
    assert_eq!(refused(job.done()), Code::Lease);
    assert_eq!((server.stat_box(2, "in_hand"), server.stat("given_back")), (1, 1));
    assert_eq!(client.done(2, 1).expect("done"), 0);
}

#[test]
fn a_watch_delivers_the_messages_after_a_version() {
    let (_server, mut client) = start();
    client.put(2, "one").expect("put");
    client.put(2, "two").expect("put");
    assert_eq!(client.watch(&[2], Some(0)).expect("watched"), [0]);
    let events = client.events().take(2).collect::<Result<Vec<_>, _>>().expect("two events");
    let message = |version, data: &str| Event::Message { mailbox: 2, version, data: data.into(), lost: 0 };
    assert_eq!(events, [message(1, "one"), message(2, "two")]);
}

#[test]
fn a_watch_of_several_mailboxes_delivers_the_messages_of_each() {
    let (_server, mut client) = start();
    assert_eq!(client.watch(&[1, 2], None).expect("watched"), [0, 0]);
    assert_eq!(client.event(Some(Duration::from_millis(10))).expect("no error"), None);
    client.write(1, "one").expect("written");
    client.write(2, "two").expect("written");
    let events = client.events().take(2).collect::<Result<Vec<_>, _>>().expect("two events");
    let message = |mailbox, data: &str| Event::Message { mailbox, version: 1, data: data.into(), lost: 0 };
    assert_eq!(events, [message(1, "one"), message(2, "two")]);
}

#[test]
fn an_ended_watch_leaves_no_events() {
    let (_server, mut client) = start();
    client.watch(&[2], None).expect("watched");
    client.put(2, "one").expect("put");
    client.unwatch(&[]).expect("unwatched");
    assert_eq!(client.event(None).expect("no error"), None);
}

#[test]
fn the_server_describes_itself() {
    let (_server, mut client) = start();
    let hello = client.hello(Some("anna")).expect("answered");
    assert_eq!((hello.protocol, hello.mailboxes, hello.size, hello.packet), (1, 4, 65536, 8192));
    assert!(matches!(client.hello(Some("two words")), Err(Error::Io(_))));
    assert!(client.help().expect("answered").contains("take BOX"));
}

#[test]
fn the_name_of_a_connection_is_sent_with_its_first_request_and_after_a_reconnect() {
    let (server, mut client) = start();
    for wrong in ["", "two words", &"x".repeat(65)] {
        assert!(matches!(client.set_name(wrong), Err(Error::Io(_))), "{wrong}");
    }
    let longest = "x".repeat(64);
    client.set_name(&longest).expect("a name");
    let shown = |client: &mut Client| {
        let connections = client.stat(Topic::Connections).expect("answered");
        connections.lines().filter_map(|line| line.field("name").map(str::to_owned)).collect::<Vec<_>>()
    };
    assert_eq!(shown(&mut client), [longest.as_str()]);
    // The first request may be a hello itself.
    let mut other = connect(&server);
    other.set_name("bob").expect("a name");
    other.hello(None).expect("answered");
    assert_eq!(shown(&mut client), [longest.as_str(), "bob"]);
    // A name set by hello remains after a reconnect.
    other.hello(Some("anna")).expect("answered");
    other.reconnect(None).expect("connected");
    assert_eq!(shown(&mut other).last().map(String::as_str), Some("anna"));
    assert_eq!(other.name(), Some("anna"));
}

#[test]
fn stat_has_a_line_for_each_value_connection_and_lock() {
    let (_server, mut client) = start();
    client.hello(Some("anna")).expect("answered");
    assert_eq!(client.stat(Topic::Server).expect("answered").number("mailboxes"), Some(4));
    assert_eq!(client.stat(Topic::Mailbox(3)).expect("answered").value("held"), Some("free"));
    let connections = client.stat(Topic::Connections).expect("answered");
    assert_eq!(connections.lines().next().and_then(|line| line.field("name")), Some("anna"));
    let mut lock = client.lock(&[3]).expect("locked");
    assert_eq!(lock.stat(Topic::Locks).expect("answered").lines().count(), 1);
}

#[test]
fn a_version_of_other_mailboxes_is_ahead() {
    let (server, mut client) = start();
    client.write(3, "one").expect("written");
    let ahead = client.watch(&[3], Some(2)).expect_err("ahead");
    assert!(matches!(ahead, Error::NotDone { reason: Reason::Ahead, version: Some(1) }), "{ahead}");
    let life = client.hello(None).expect("answered").life;
    assert_eq!(client.life(), life);
    assert!(life.is_some() && connect(&server).hello(None).expect("answered").life == life);
}

/// The server answers in parts of 32 KiB.
#[test]
fn a_long_stat_is_complete() {
    const CLIENTS: u32 = 4;
    const LOCKS: u32 = 200;
    let server = Server::start("1000 1 0 8");
    let mut clients: Vec<Client> = (0..CLIENTS).map(|_| connect(&server)).collect();
    let locks: Vec<_> = clients
        .iter_mut()
        .zip(0..)
        .map(|(client, number)| {
            client.lock(&(number * LOCKS..(number + 1) * LOCKS).collect::<Vec<_>>()).expect("locked")
        })
        .collect();
    let stat = connect(&server).stat(Topic::Locks).expect("answered");
    let mailboxes: Vec<u32> = stat.lines().map(|line| line.name.parse().expect("a mailbox")).collect();
    assert_eq!(mailboxes, (0..CLIENTS * LOCKS).collect::<Vec<_>>());
    assert!(stat.text().len() > 32 * 1024, "one part");
    drop(locks);
}
