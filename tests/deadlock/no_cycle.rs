//! Waits that are no cycle, and clients that all finish.

use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use dipc_testkit::client::Client;
use dipc_testkit::rng::Rng;

use crate::{DEADLOCK, holder, served};

#[test]
fn a_request_that_does_not_wait_is_no_deadlock() {
    let server = served(2);
    let mut first = holder(&server, "0");
    let mut second = holder(&server, "1");
    server.send_waiting(&mut first, "lock 1\n");
    second.ask("r 0 wait=0\nw 0 wait=0\nx\ntake 0 wait=0\n", "NO timeout v=0\nNO timeout\nNO timeout\n");
    second.ask("lock 0 wait=0\nunlock 1\n", "NO locked\nOK\n");
    first.locked();
    assert_eq!(server.stat("err_deadlock"), 0);
}

#[test]
fn waits_in_the_shape_of_a_diamond_are_no_cycle() {
    let server = served(4);
    let mut top = holder(&server, "0");
    let mut sides = [holder(&server, "1"), holder(&server, "2")];
    sides.iter_mut().for_each(|side| server.send_waiting(side, "w 0\nx\n"));
    let mut bottom = holder(&server, "3");
    server.send_waiting(&mut bottom, "lock 1,2\n");
    top.ask("unlock 0\n", "OK\n");
    for (version, side) in (1..).zip(&mut sides) {
        side.expect(format!("OK v={version}\n"));
        side.ask("unlock *\n", "OK\n");
    }
    bottom.locked();
    assert_eq!(server.stat("err_deadlock"), 0);
}

#[test]
fn a_waiter_without_a_lock_is_part_of_no_cycle() {
    let server = served(2);
    let mut first = holder(&server, "0");
    let mut waiting = [server.enqueue("w 0\nx\n"), server.enqueue("lock 0\n")];
    let mut second = holder(&server, "1");
    server.send_waiting(&mut second, "r 0\n");
    first.ask("w 1 wait=0\nx\nunlock 0\n", "NO timeout\nOK\n");
    waiting[0].expect("OK v=1\n");
    waiting[1].locked();
    waiting[1].ask("unlock 0\n", "OK\n");
    second.expect("DATA 1 v=1 n=1\nx\n");
    assert_eq!(server.stat("err_deadlock"), 0);
}

#[test]
fn a_wait_for_a_holder_that_waits_for_no_lock_is_no_cycle() {
    let server = served(3);
    let mut first = holder(&server, "0");
    let mut second = holder(&server, "1");
    server.send_waiting(&mut second, "take 2\n");
    // The second client holds a lock, and waits for a message. A client without a lock can send that message.
    server.send_waiting(&mut first, "w 1\nx\n");
    server.connect().ask("put 2\nm\n", "OK v=1 n=1\n");
    second.expect("DATA 1 v=1 n=0\nm\n");
    second.ask("unlock 1\n", "OK\n");
    first.expect("OK v=1\n");
    assert_eq!(server.stat("err_deadlock"), 0);
}

#[test]
fn a_wait_that_is_over_is_no_part_of_a_cycle() {
    for how in ["timeout", "served", "unlock", "disconnect", "lease"] {
        let server = served(3);
        let mut first = server.connect();
        let mut third = holder(&server, "1");
        first.lock("lock 0 ttl=inf\n");
        match how {
            "timeout" => first.ask("w 1 wait=0.01\nx\n", "NO timeout\n"),
            "lease" => {
                first.send("lock 2 ttl=0.01\nw 1 wait=inf\nx\n");
                first.locked();
                first.expect("NO timeout\nEVENT 0 box=2 v=0 lost=lock\n\n");
            }
            _ => server.send_waiting(&mut first, "w 1 wait=inf\nx\n"),
        }
        let mut second = match how {
            "served" => {
                third.ask("unlock 1\n", "OK\n");
                first.expect("OK v=1\n");
                holder(&server, "1")
            }
            _ => third,
        };
        match how {
            "disconnect" => {
                first.reset();
                second.ask("r 0\n", "DATA 0 v=0 n=0\n\n");
            }
            "unlock" => {
                assert_eq!(second.refused("r 0\n"), DEADLOCK);
                second.ask("unlock 1\n", "OK\n");
                first.expect("OK v=1\n");
                first.ask("unlock 0\n", "OK\n");
                second.ask("r 0\n", "DATA 0 v=0 n=0\n\n");
            }
            _ => {
                server.send_waiting(&mut second, "r 0\n");
                first.ask("unlock 0\n", "OK\n");
                second.expect("DATA 0 v=0 n=0\n\n");
                assert_eq!(server.stat("err_deadlock"), 0, "{how}");
            }
        }
    }
}

#[test]
fn a_long_chain_is_no_cycle() {
    const LENGTH: usize = 200;
    let server = served(LENGTH);
    let mut chain: Vec<Client> = (0..LENGTH).map(|number| holder(&server, &number.to_string())).collect();
    for (before, client) in chain[1..].iter_mut().enumerate() {
        server.send_waiting(client, format!("w {before}\nx\n"));
    }
    for (number, client) in chain.iter_mut().enumerate() {
        if number > 0 {
            client.expect("OK v=1\n");
        }
        client.ask("unlock *\n", "OK\n");
    }
    assert_eq!((server.stat("err_deadlock"), server.stat("locks_held")), (0, 0));
}

/// Each client locks two mailboxes one after the other, in a random order, and waits for the second without a
/// timeout. Cycles are frequent, and one that is not noticed would block all clients.
#[test]
fn clients_that_lock_in_any_order_and_wait_forever_all_finish() {
    const CLIENTS: u64 = 8;
    const ROUNDS: usize = 60;
    let server = served(4);
    let refused = AtomicU64::new(0);
    let talk = |number: u64| {
        let mut client = server.connect();
        let mut rng = Rng::new(number);
        for _ in 0..ROUNDS {
            loop {
                let first = rng.below(4);
                let second = (first + 1 + rng.below(3)) % 4;
                let mode = if rng.below(3) == 0 { " r" } else { "" };
                client.lock(format!("lock {first}{mode} wait=inf ttl=inf\n"));
                client.send(format!("lock {second}{mode} wait=inf ttl=inf\n"));
                let answer = client.line();
                client.ask("unlock *\n", "OK\n");
                if answer.starts_with("OK grant=") {
                    break;
                }
                assert!(answer.starts_with("ERR deadlock"), "{answer}");
                refused.fetch_add(1, Ordering::Relaxed);
            }
        }
    };
    thread::scope(|scope| (1..=CLIENTS).for_each(|number| drop(scope.spawn(move || talk(number)))));
    println!("{} cycles", refused.load(Ordering::Relaxed));
    assert_eq!(server.stat("err_deadlock"), refused.into_inner());
    assert_eq!((server.stat("locks_held"), server.stat("waiting")), (0, 0));
}
