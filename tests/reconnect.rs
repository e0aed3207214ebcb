//! Clients in Rust that connect again after the server has been restarted.

use std::time::Duration;

use dipc::client::{Client, Code, Error, Event};
use dipc_testkit::port::Port;
use dipc_testkit::process::run;
use dipc_testkit::server::Server;

const SOON: Option<Duration> = Some(Duration::from_secs(10));

fn arguments(port: &Port) -> String {
    format!("4 64 {} 8", port.number)
}

fn message(client: &mut Client) -> (u32, u64, Vec<u8>, u64) {
    match client.event(SOON).expect("connected") {
        Some(Event::Message { mailbox, version, data, lost }) => (mailbox, version, data, lost),
        other => panic!("{other:?}"),
    }
}

/// Expects that the connection ends.
fn expect_end(client: &mut Client) {
    match client.event(SOON) {
        Err(Error::Io(_) | Error::Refused { .. }) => assert!(client.is_closed()),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_watch_goes_on_and_tells_what_was_lost() {
    let port = Port::reserve();
    let mut server = Server::start(&arguments(&port));
    let mut client = Client::connect(("127.0.0.1", port.number)).expect("connected");
    client.watch(&[1, 2], None).expect("watched");
    let mut other = server.connect();
    other.ask("put 1\none\n", "OK v=1 n=1\n");
    assert_eq!(message(&mut client), (1, 1, b"one".to_vec(), 0));
    server.kill();
    expect_end(&mut client);
    assert!(client.reconnect(SOON).is_err(), "no server listens");
    server.restart(&arguments(&port));
    let mut other = server.connect();
    other.ask("put 1\ntwo\nput 2\nelse\nw 1\nthree\n", "OK v=2 n=2\nOK v=1 n=1\nOK v=3\n");
    let reconnected = client.reconnect(SOON).expect("a server listens");
    assert!(!reconnected.is_new);
    let mut events = [message(&mut client), message(&mut client)];
    events.sort();
    assert_eq!(events, [(1, 3, b"three".to_vec(), 1), (2, 1, b"else".to_vec(), 0)]);
    other.ask("put 2\nmore\n", "OK v=2 n=2\n");
    assert_eq!(message(&mut client), (2, 2, b"more".to_vec(), 0));
}

#[test]
fn received_messages_are_kept() {
    let port = Port::reserve();
    let mut server = Server::start(&arguments(&port));
    let mut client = Client::connect(("127.0.0.1", port.number)).expect("connected");
    client.watch(&[1], None).expect("watched");
    client.put(1, "one").expect("put");
    client.put(1, "two").expect("put");
    client.ping().expect("the events came before the answer");
    server.kill();
    server.restart(&arguments(&port));
    client.reconnect(SOON).expect("a server listens");
    assert_eq!(message(&mut client), (1, 1, b"one".to_vec(), 0));
    assert_eq!(message(&mut client), (1, 2, b"two".to_vec(), 0));
    server.connect().ask("put 1\nthree\n", "OK v=3 n=3\n");
    assert_eq!(message(&mut client), (1, 3, b"three".to_vec(), 0));
}

#[test]
fn new_mailboxes_are_watched_from_the_oldest_message_on() {
    let port = Port::reserve();
    let mut server = Server::start(&arguments(&port));
    let mut client = Client::connect(("127.0.0.1", port.number)).expect("connected");
    client.put(1, "one").expect("put");
    client.watch(&[1], None).expect("watched");
    run(&mut server.dipcrm()).expect_success();
    server.wait();
    expect_end(&mut client);
    server.restart(&arguments(&port));
    server.connect().ask("put 1\nnew\nput 1\nnewer\n", "OK v=1 n=1\nOK v=2 n=2\n");
    assert!(client.reconnect(SOON).expect("a server listens").is_new);
    assert_eq!(message(&mut client), (1, 1, b"new".to_vec(), 0));
    assert_eq!(message(&mut client), (1, 2, b"newer".to_vec(), 0));
}

#[test]
fn a_lock_is_told_to_be_gone() {
    let port = Port::reserve();
    let mut server = Server::start(&arguments(&port));
    let mut client = Client::connect(("127.0.0.1", port.number)).expect("connected");
    let fencing_token = client.lock(&[2]).expect("locked").keep();
    server.kill();
    server.restart(&arguments(&port));
    assert!(client.write(2, "x").is_err(), "no request is repeated");
    client.reconnect(SOON).expect("a server listens");
    let lost = Event::LockLost { mailbox: 2, fencing_token, by_max_hold: false };
    assert_eq!(client.event(SOON).expect("connected"), Some(lost));
    assert_eq!(client.read(2).expect("read").version, 0, "the write was not repeated");
}

#[test]
fn a_job_is_told_to_be_lost() {
    let port = Port::reserve();
    let mut server = Server::start(&arguments(&port));
    let mut client = Client::connect(("127.0.0.1", port.number)).expect("connected");
    client.put(2, "a job").expect("put");
    let job = client.take_job(2).expect("taken").keep();
    server.kill();
    server.restart(&arguments(&port));
    assert!(client.done(2, job.version).is_err(), "no request is repeated");
    client.reconnect(SOON).expect("a server listens");
    let lost = Event::JobLost { mailbox: 2, version: job.version, tries: 1 };
    assert_eq!(client.event(SOON).expect("connected"), Some(lost));
    assert_eq!(client.event(SOON).expect("connected"), None);
    assert!(matches!(client.done(2, job.version), Err(Error::Refused { code: Code::Lease, .. })));
    assert_eq!(client.take_job(2).expect("taken").data(), b"a job", "the mailbox has kept it");
}
