//! Local readers beside the end and the start of servers, and the removal of the files.

use std::fs;
use std::time::Duration;

use dipc::client::Client;
use dipc::client::local::{Cursor, Local, Miss, Reader};
use dipc_testkit::instance::{BaseDirectory, Instance};
use dipc_testkit::port::Port;
use dipc_testkit::process::has_ended;
use dipc_testkit::wait::wait_until;
use nix::sys::signal::Signal;

use crate::read;

/// A server on a port that its successors use, too.
struct Life {
    base: BaseDirectory,
    port: Port,
    server: Instance,
}

impl Life {
    fn new() -> Self {
        let (base, port) = (BaseDirectory::new(), Port::reserve());
        let server = base.start(&format!("4 64 {} 8", port.number));
        Life { base, port, server }
    }

    fn local(&self) -> Local {
        Local::open_in(self.base.path(), self.port.number).expect("opened")
    }

    fn restart(&mut self, mailboxes: &str, options: &str) {
        self.server = self.base.start(&format!("{mailboxes} {} 8 {options}", self.port.number));
    }
}

#[test]
fn a_killed_server_can_be_read_and_its_successor_goes_on() {
    let mut life = Life::new();
    let local = life.local();
    let mut client = life.server.connect();
    client.ask("put 0\none\nput 0\ntwo\n", "OK v=1 n=1\nOK v=2 n=2\n");
    client.lock("lock 1\n");
    let (mut cursor, mut bytes) = (Cursor::new(0), Vec::new());
    local.after(&mut cursor, &mut bytes).expect("read");
    life.server.end(Signal::SIGKILL);
    assert_eq!(read(&local, 0), Ok((b"two".to_vec(), 2, 2)));
    assert_eq!(read(&local, 1), Err(Miss::Held), "a lock outlives the kill");
    assert_eq!(read(&life.local(), 0), Ok((b"two".to_vec(), 2, 2)), "also a reader that opens it now");
    life.restart("4 64", "");
    assert_eq!(read(&local, 1), Ok((vec![], 0, 0)), "the start has ended the lock");
    life.server.connect().ask("put 0\nthree\n", "OK v=3 n=3\n");
    for (version, text) in [(2, "two"), (3, "three")] {
        let copied = local.after(&mut cursor, &mut bytes).expect("read").expect("a message");
        assert_eq!((copied.version, copied.lost, bytes.as_slice()), (version, 0, text.as_bytes()));
    }
    life.server.end(Signal::SIGTERM);
    assert_eq!(read(&local, 0), Ok((b"three".to_vec(), 3, 3)), "a stopped server, too");
}

#[test]
fn a_takeover_is_not_noticed() {
    let mut life = Life::new();
    let local = life.local();
    life.server.connect().ask("w 0\none\n", "OK v=1\n");
    let old = life.server.pid;
    life.restart("4 64", "--takeover");
    wait_until("the old server ends", || has_ended(old));
    assert_eq!(read(&local, 0), Ok((b"one".to_vec(), 1, 1)));
    life.server.connect().ask("w 0\ntwo\n", "OK v=2\n");
    assert_eq!(read(&local, 0), Ok((b"two".to_vec(), 2, 1)));
    assert_eq!(local.wait(&[(0, 1)], Some(Duration::ZERO)), Ok(true));
}

#[test]
fn replaced_mailboxes_are_retired_and_opened_again() {
    let mut life = Life::new();
    let mut local = life.local();
    life.server.connect().ask("w 0\nold\nw 0\nolder\n", "OK v=1\nOK v=2\n");
    let (mut cursor, mut bytes) = (Cursor::new(0), Vec::new());
    local.after(&mut cursor, &mut bytes).expect("read");
    let earlier = local.life();
    life.server.end(Signal::SIGKILL);
    life.restart("4 64", "--fresh");
    assert_eq!(read(&local, 0), Err(Miss::Retired));
    assert_eq!(local.wait(&[(0, 2)], None), Err(Miss::Retired));
    local.reopen().expect("opened");
    assert_ne!(local.life(), earlier);
    assert_eq!(read(&local, 0), Ok((vec![], 0, 0)));
    for version in 1..=3 {
        life.server.connect().ask("w 0\nnew\n", format!("OK v={version}\n"));
    }
    assert_eq!(
        local.after(&mut cursor, &mut bytes),
        Err(Miss::Ahead { version: 3 }),
        "a cursor of another life"
    );
}

#[test]
fn resized_mailboxes_have_the_same_versions() {
    let mut life = Life::new();
    let mut local = life.local();
    let mut client = life.server.connect();
    client.ask("put 0\na\nput 0\nb\nput 0\nc\n", "OK v=1 n=1\nOK v=2 n=2\nOK v=3 n=3\n");
    client.ask("take 0 ttl=60\ntake 0 ttl=60\n", "DATA 1 v=1 n=3 tries=1\na\nDATA 1 v=2 n=3 tries=1\nb\n");
    client.ask("done 0 v=2\n", "OK n=2\n");
    let (mut cursor, mut bytes) = (Cursor::new(0), Vec::new());
    local.after(&mut cursor, &mut bytes).expect("read");
    life.server.end(Signal::SIGTERM);
    life.restart("7 128", "--resize");
    assert_eq!(read(&local, 0), Err(Miss::Retired));
    local.reopen().expect("opened");
    assert_eq!((local.mailboxes(), local.capacity()), (7, 128 * 1024));
    assert_eq!(read(&local, 0), Ok((b"c".to_vec(), 3, 2)));
    let copied = local.after(&mut cursor, &mut bytes).expect("read").expect("a message");
    assert_eq!((copied.version, copied.lost, bytes.as_slice()), (3, 1, b"c".as_slice()));
}

#[test]
fn removed_mailboxes_are_retired() {
    let life = Life::new();
    let mut local = life.local();
    life.base.dipcrm(life.port.number).expect_success();
    assert_eq!(read(&local, 0), Err(Miss::Retired));
    assert_eq!(local.reopen().map_err(|error| error.kind()), Err(std::io::ErrorKind::NotFound));
    assert_eq!(read(&local, 0), Err(Miss::Retired));
}

#[test]
fn a_directory_that_was_removed_is_noticed() {
    let life = Life::new();
    let local = life.local();
    life.server.connect().ask("w 0\nhello\n", "OK v=1\n");
    fs::remove_dir_all(life.base.join(life.port.number.to_string())).expect("removed");
    wait_until("the next look", || read(&local, 0) == Err(Miss::Retired));
    let local = Local::open_in(life.base.path(), life.port.number);
    assert!(local.is_err(), "the server does not give the segment its name again");
}

#[test]
fn a_reader_with_a_connection_opens_replaced_mailboxes_by_itself() {
    let mut life = Life::new();
    let connect = |life: &Life| Client::connect(("127.0.0.1", life.port.number)).expect("connected");
    let mut reader = Reader::new(life.local(), connect(&life));
    life.server.end(Signal::SIGKILL);
    life.restart("4 64", "--fresh");
    life.server.connect().ask("w 0\nnew\n", "OK v=1\n");
    // Its connection has ended with the first server, so the message comes from the shared memory.
    assert_eq!(reader.read(0).expect("read").data, b"new");
    life.base.dipcrm(life.port.number).expect_success();
    assert!(reader.read(0).is_err());
}
