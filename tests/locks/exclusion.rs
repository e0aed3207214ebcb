//! Which requests a lock excludes, and in which order they are admitted after it.

use dipc_testkit::client::Client;
use dipc_testkit::server::Server;

use crate::{TRIES, holder, served};

#[test]
fn a_lock_excludes_other_clients_and_not_its_holder() {
    let server = served();
    let (mut holder, _) = holder(&server);
    let mut other = server.connect();
    for (request, answer) in TRIES {
        other.ask(request, answer);
    }
    other.ask("r 0 wait=0.01\n", "NO timeout v=0\n");
    other.ask("lock 0 wait=0.01\nlock 0 r wait=0.01\n", "NO timeout\nNO timeout\n");
    other.ask("w 1\nfree\n", "OK v=1\n");
    holder.ask("w 0\na\nput 0\nb\n", "OK v=1\nOK v=2 n=2\n");
    holder.ask("r 0\ntake 0\n", "DATA 1 v=2 n=2\nb\nDATA 1 v=1 n=1\na\n");
    holder.ask("unlock 0\n", "OK\n");
    other.ask("r 0 wait=0\n", "DATA 1 v=2 n=1\nb\n");
}

#[test]
fn requests_behind_a_lock_are_admitted_in_the_order_of_arrival() {
    let server = served();
    let (mut holder, _) = holder(&server);
    let mut waiting: Vec<Client> = (0..10).map(|number| server.enqueue(format!("w 0\n{number}\n"))).collect();
    holder.ask("r 0\n", "DATA 0 v=0 n=0\n\n");
    holder.ask("unlock 0\n", "OK\n");
    for (version, client) in (1..).zip(&mut waiting) {
        client.expect(format!("OK v={version}\n"));
    }
    server.connect().ask("r 0\n", "DATA 1 v=10 n=1\n9\n");
}

#[test]
fn a_hundred_waiting_lockers_get_the_lock_in_the_order_of_arrival() {
    let server = served();
    let (mut before, first) = holder(&server);
    let waiting: Vec<Client> = (0..100).map(|_| server.enqueue("lock 0 wait=inf\n")).collect();
    for (grant, mut client) in (first + 1..).zip(waiting) {
        // Consecutive tokens show that no other lock was granted in between.
        before.ask("unlock 0\n", "OK\n");
        assert_eq!(client.locked(), grant);
        before = client;
    }
    assert_eq!(server.stat("overtakes"), 0);
}

#[test]
fn a_lock_waits_in_the_queue_like_any_request() {
    let server = served();
    let (mut holder, _) = holder(&server);
    let mut writer = server.enqueue("w 0\nbefore\n");
    let mut locker = server.enqueue("lock 0\n");
    let mut reader = server.enqueue("r 0\n");
    holder.ask("unlock 0\n", "OK\n");
    writer.expect("OK v=1\n");
    locker.locked();
    locker.ask("w 0\nunder\nunlock 0\n", "OK v=2\nOK\n");
    reader.expect("DATA 5 v=2 n=1\nunder\n");
}

#[test]
fn a_mailbox_is_locked_once_by_a_client() {
    let server = served();
    let mut client = server.connect();
    for (mode, denied) in [("", ["", " r"]), (" r", [" r", ""])] {
        let grant = client.lock(format!("lock 0{mode}\n"));
        for again in denied {
            assert_eq!(client.refused(format!("lock 0{again}\n")), "denied");
            assert_eq!(client.refused(format!("lock 1,0{again} wait=0\n")), "denied");
        }
        server.connect().ask("w 1 wait=0 if=1000\n\n", "NO conflict v=0\n");
        client.ask(format!("unlock 0 grant={grant}\n"), "OK\n");
    }
    assert_eq!(client.refused("lock 3,3\n"), "syntax");
    assert_eq!(client.refused("lock 2,3,2\n"), "syntax");
}

#[test]
fn a_shared_lock_admits_readers_and_excludes_writers() {
    let server = served();
    let mut sharers = [server.connect(), server.connect()];
    for sharer in &mut sharers {
        sharer.lock("lock 0 r\n");
    }
    let mut other = server.connect();
    other.ask("r 0 wait=0\n", "DATA 0 v=0 n=0\n\n");
    for (request, answer) in &TRIES[1..] {
        other.ask(request, answer);
    }
    let mut writer = server.enqueue("w 0\nnew\n");
    // The queue is FIFO, so the reader waits behind the writer. The holders of the lock do not wait.
    let mut reader = server.enqueue("r 0\n");
    sharers.iter_mut().for_each(|sharer| sharer.ask("r 0 wait=0\n", "DATA 0 v=0 n=0\n\n"));
    other.ask("lock 0 r wait=0\n", "NO locked\n");
    sharers[0].ask("unlock 0\n", "OK\n");
    other.ask("w 0 wait=0\nno\n", "NO timeout\n");
    sharers[1].ask("unlock *\n", "OK\n");
    writer.expect("OK v=1\n");
    reader.expect("DATA 3 v=1 n=1\nnew\n");
}

#[test]
fn a_shared_lock_denies_writes_to_its_holder() {
    let server = served();
    let mut client = server.connect();
    client.lock("lock 0 r\n");
    for request in
        ["w 0\nno\n", "put 0\nno\n", "take 0\n", "w 0 wait=0\nno\n", "put 0 full=drop\nno\n", "lock 0\n"]
    {
        assert_eq!(client.refused(request), "denied", "{request}");
    }
    client.ask("r 0\nw 1\nyes\n", "DATA 0 v=0 n=0\n\nOK v=1\n");
    client.ask("unlock 0\nw 0\nyes\n", "OK\nOK v=1\n");
}

#[test]
fn a_holder_does_not_wait_for_messages_or_room_that_only_others_could_provide() {
    let server = Server::start("2 1 0 1");
    let mut client = server.connect();
    client.lock("lock 0\n");
    client.ask("take 0 wait=inf\nr 0 after=0 wait=inf\n", "NO empty\nNO timeout v=0\n");
    client.ask(format!("put 0\n{}\n", "x".repeat(1000)), "OK v=1 n=1\n");
    client.ask(format!("put 0 wait=inf\n{}\n", "x".repeat(1000)), "NO full\n");
    client.ask("r 0 after=1 wait=inf\nunlock 0\n", "NO timeout v=1\nOK\n");
    client.lock("lock 0 r\n");
    client.ask("r 0 after=1 wait=inf\n", "NO timeout v=1\n");
}
