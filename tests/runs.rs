//! Runs of requests: consecutive requests of one batch for one mailbox are executed in one stay.

use std::thread;

use dipc_testkit::client::{Client, field};
use dipc_testkit::server::Server;

const CLIENTS: usize = 8;
const BATCHES: usize = 40;
const RUN: usize = 16;

/// The requests of a batch as one piece of bytes. The server receives a send of this size in one piece.
fn batch(requests: &[&str]) -> String {
    requests.concat()
}

/// The versions in the replies to a run of writes.
fn versions(client: &mut Client) -> Vec<u64> {
    (0..RUN).map(|_| field(&client.line(), "v")).collect()
}

#[test]
fn writes_of_one_batch_have_consecutive_versions_however_many_clients_write() {
    let server = Server::start("4 64 0 8");
    thread::scope(|scope| {
        for number in 0..CLIENTS {
            let mut client = server.connect();
            scope.spawn(move || {
                let requests = format!("w 0\nclient {number}\n").repeat(RUN);
                for _ in 0..BATCHES {
                    client.send(&requests);
                    let versions = versions(&mut client);
                    let is_run = versions.windows(2).all(|pair| pair[1] == pair[0] + 1);
                    assert!(is_run, "another client's write lies between those of one batch: {versions:?}");
                }
            });
        }
    });
    let mut reader = server.connect();
    reader.send("r 0\n");
    assert_eq!(field(&reader.data().0, "v"), (CLIENTS * BATCHES * RUN) as u64);
    assert_eq!(server.stat("overtakes"), 0);
}

#[test]
fn a_take_that_waits_is_served_in_the_middle_of_a_run() {
    let server = Server::start("4 64 0 8");
    let mut taker = server.enqueue("take 1\n");
    let mut writer = server.connect();
    writer.send(batch(&["put 1\nfor the taker\n", "w 1\nreplaces\n", "r 1\n"]));
    assert_eq!(taker.data(), ("DATA 13 v=1 n=0".to_owned(), b"for the taker".to_vec()));
    writer.expect("OK v=1 n=1\nOK v=2\nDATA 8 v=2 n=1\nreplaces\n");
}

#[test]
fn a_request_within_a_stay_does_not_wait_even_if_others_wait_behind_the_lock() {
    let server = Server::start("4 64 0 8");
    let mut holder = server.connect();
    holder.lock("lock 2\n");
    let mut first = server.enqueue(batch(&["w 2\na\n", "w 2 wait=0\nb\n", "r 2 wait=0\n"]));
    let mut second = server.enqueue("w 2\nc\n");
    holder.ask("unlock 2\n", "OK\n");
    first.expect("OK v=1\nOK v=2\nDATA 1 v=2 n=1\nb\n");
    second.expect("OK v=3\n");
}

#[test]
fn the_wait_of_a_run_is_that_of_its_first_request() {
    let server = Server::start("4 64 0 8");
    let mut holder = server.connect();
    holder.lock("lock 2\n");
    let mut client = server.connect();
    client.send(batch(&["w 2 wait=0.05\na\n", "w 2 wait=inf\nb\n"]));
    client.expect("NO timeout\n");
    holder.ask("unlock 2\n", "OK\n");
    client.expect("OK v=1\n");
}

#[test]
fn a_read_does_not_wait_for_the_writes_behind_it() {
    let server = Server::start("4 64 0 8");
    let mut holder = server.connect();
    holder.lock("lock 3 r\n");
    let mut client = server.connect();
    client.send(batch(&["r 3\n", "r 3\n", "w 3\na\n"]));
    client.expect("DATA 0 v=0 n=0\n\nDATA 0 v=0 n=0\n\n");
    holder.ask("unlock 3\n", "OK\n");
    client.expect("OK v=1\n");
}
