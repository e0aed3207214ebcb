//! Several requests in one send, under a lock.

use std::thread;

use dipc_testkit::client::{Client, field};
use dipc_testkit::process::text;

use crate::{holder, served};

#[test]
fn lock_write_and_unlock_in_one_send() {
    let server = served();
    let mut client = server.connect();
    for round in 1..=100 {
        client.send("lock 0\nw 0 5\nhello\nunlock 0\n");
        assert_eq!(client.locked(), round);
        client.expect(format!("OK v={round}\nOK\n"));
    }
    assert_eq!(server.stat("locks_held"), 0);
}

/// Each client adds one to a number many times. Without the lock, additions would be lost.
#[test]
fn a_read_and_a_write_under_a_lock_are_atomic() {
    const CLIENTS: usize = 8;
    const ROUNDS: usize = 100;
    let server = served();
    server.connect().ask("w 0\n0\n", "OK v=1\n");
    let count = || {
        let mut client = server.connect();
        for _ in 0..ROUNDS {
            client.send("lock 0 wait=inf\nr 0\n");
            client.locked();
            let number: u64 = text(&client.data().1).parse().expect("a number");
            client.send(format!("w 0\n{}\nunlock 0\n", number + 1));
            assert!(client.line().starts_with("OK v="));
            client.expect("OK\n");
        }
    };
    thread::scope(|scope| (0..CLIENTS).for_each(|_| drop(scope.spawn(count))));
    let total = (CLIENTS * ROUNDS).to_string();
    let mut client = server.connect();
    client.send("r 0\n");
    let (header, number) = client.data();
    assert_eq!((field(&header, "v"), text(&number)), ((CLIENTS * ROUNDS + 1) as u64, total));
}

#[test]
fn the_answers_before_a_lock_in_a_batch_do_not_wait() {
    let server = served();
    let (mut holder, grant) = holder(&server);
    let mut client = server.connect();
    server.send_waiting(&mut client, "ping\nw 1\na\nlock 0\nw 0\nb\nunlock 0\nr 1\n");
    client.expect("OK\nOK v=1\n");
    holder.ask("w 1\nbetween\nunlock 0\n", "OK v=2\nOK\n");
    client.expect(format!("OK grant={}\nOK v=1\nOK\nDATA 7 v=2 n=1\nbetween\n", grant + 1));
}

#[test]
fn no_client_sees_the_states_between_the_writes_under_a_lock() {
    let server = served();
    let (mut holder, _) = holder(&server);
    let mut readers: Vec<Client> = (0..4).map(|_| server.enqueue("r 0\nr 0\n")).collect();
    holder.send("w 0 4\nhalf\nr 1\n".repeat(500));
    holder.send("w 0 5\nwhole\nunlock 0\n");
    for version in 1..=500 {
        holder.expect(format!("OK v={version}\nDATA 0 v=0 n=0\n\n"));
    }
    holder.expect("OK v=501\nOK\n");
    readers.iter_mut().for_each(|reader| reader.expect("DATA 5 v=501 n=1\nwhole\n".repeat(2)));
}
