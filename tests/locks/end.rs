//! Locks that end with their connection or with the server.

use std::thread;

use dipc_testkit::server::Server;
use nix::sys::signal::Signal;

use crate::{holder, served};

#[test]
fn a_stopping_server_ends_idle_locks_and_answers_their_waiters() {
    let mut server = served();
    let (mut holder, _) = holder(&server);
    let mut waiting = [server.enqueue("w 0\nx\n"), server.enqueue("r 0\n")];
    let mut taker = server.enqueue("take 1 wait=inf\n");
    server.signal(Signal::SIGTERM);
    taker.expect("ERR drain : the server is stopping\n");
    waiting[0].expect("OK v=1\n");
    waiting[1].expect("DATA 1 v=1 n=1\nx\n");
    for client in waiting.iter_mut().chain([&mut holder, &mut taker]) {
        client.expect_end();
    }
    assert_eq!(server.wait(), Some(0));
}

#[test]
fn a_lock_ends_with_its_connection_however_that_ends() {
    for how in ["close", "reset", "quit", "half-close", "kill"] {
        let server = served();
        let mut client = server.connect();
        client.lock("lock 0,1\n");
        let mut other = server.enqueue("w 0\nfree\n");
        let mut child = None;
        match how {
            "close" => drop(client),
            "reset" => client.reset(),
            "quit" => {
                client.send("q\n");
                client.expect_end();
            }
            "half-close" => {
                client.half_close();
                client.expect_end();
            }
            _ => child = Some(client.give_away()),
        }
        if let Some(mut child) = child {
            server.connect().ask("w 0 wait=0\n\n", "NO timeout\n");
            child.kill().expect("killed");
            child.wait().expect("our child");
        }
        other.expect("OK v=1\n");
        server.connect().ask("w 1\nfree\n", "OK v=1\n");
        assert_eq!(server.stat("locks_held"), 0, "{how}");
    }
}

#[test]
fn a_holder_that_disconnects_while_it_waits_loses_its_locks() {
    for how in ["reset", "half-close", "close"] {
        let server = served();
        let mut client = server.connect();
        client.lock("lock 0\n");
        server.send_waiting(&mut client, "take 1 wait=inf\n");
        let mut other = server.enqueue("w 0\nfree\n");
        match how {
            "reset" => client.reset(),
            "half-close" => {
                client.half_close();
                client.expect("NO empty\n");
                client.expect_end();
            }
            _ => drop(client),
        }
        other.expect("OK v=1\n");
    }
}

#[test]
fn a_holder_that_does_not_read_and_resets_loses_its_locks() {
    let server = Server::start("2 1024 0 1024");
    let mut client = server.connect();
    client.lock("lock 0\n");
    client.ask(format!("w 0 1000000\n{}\n", "x".repeat(1_000_000)), "OK v=1\n");
    client.send("r 0\n".repeat(30));
    server.wait_for_stat("flushing", |flushing| flushing == 1);
    let mut other = server.enqueue("r 0 len=1\n");
    client.reset();
    other.expect("DATA 1 v=1 n=1\nx\n");
}

#[test]
fn a_waiting_locker_that_vanishes_does_not_block_the_queue() {
    let server = served();
    let mut sharer = server.connect();
    sharer.lock("lock 0 r\n");
    let mut vanishing = server.connect();
    server.send_waiting(&mut vanishing, "lock 0 wait=inf\n");
    let mut behind = [server.enqueue("r 0\n"), server.enqueue("lock 0 r\n")];
    vanishing.reset();
    behind[0].expect("DATA 0 v=0 n=0\n\n");
    behind[1].locked();
    assert_eq!(server.stat("abandoned"), 1);
}

#[test]
fn many_clients_lock_and_disconnect_in_every_way_and_nothing_stays_locked() {
    let server = served();
    let talk = |number: usize| {
        for round in 0..30 {
            let mut client = server.connect();
            client
                .send(format!("lock {} wait=inf\nw 0 wait=0\nx\n", ["0", "0,1", "2 r", "1,2,3"][round % 4]));
            match (number + round) % 4 {
                0 => client.reset(),
                1 => drop(client),
                2 => {
                    client.locked();
                    client.send("q\n");
                }
                _ => {
                    client.locked();
                    client.line();
                    client.ask("unlock *\n", "OK\n");
                }
            }
        }
    };
    thread::scope(|scope| (0..8).for_each(|number| drop(scope.spawn(move || talk(number)))));
    server.wait_for_stat("locks_held", |locks| locks == 0);
    server.connect().lock("lock 0,1,2,3 wait=20\n");
    assert_eq!((server.stat("waiting"), server.stat("overtakes")), (0, 0));
}
