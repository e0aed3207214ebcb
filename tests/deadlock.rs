//! Waits that would never end, over the real server: refused at once, to whom closes the cycle and to nobody else. And
//! waits that only look like it.
#![allow(missing_docs)]

use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use dipc_testkit::client::Client;
use dipc_testkit::rng::Rng;
use dipc_testkit::server::Server;

const DEADLOCK: &str = "deadlock";

/// So many mailboxes, small, and a wait that no test waits for: an answer comes at once or not in time.
fn served(mailboxes: usize) -> Server {
    Server::start(&format!("{mailboxes} 1 0 1 --wait 1000"))
}

/// A client that has locked something.
fn holder(server: &Server, what: &str) -> Client {
    let mut client = server.connect();
    client.lock(format!("lock {what} ttl=inf\n"));
    client
}

/// Nobody has a mailbox.
#[track_caller]
fn expect_free(server: &Server, mailbox: usize) {
    server.connect().ask(format!("w {mailbox} wait=0 if=1000\n\n"), "NO conflict v=0\n");
}

#[track_caller]
fn expect_locked(server: &Server, mailbox: usize) {
    server.connect().ask(format!("w {mailbox} wait=0 if=1000\n\n"), "NO timeout\n");
}

// ---- cycles ----

/// The five ways to want to be in a mailbox.
fn ways(mailbox: usize) -> [String; 5] {
    [
        format!("r {mailbox} wait=inf\n"),
        format!("w {mailbox} wait=inf\nx\n"),
        format!("put {mailbox}\nx\n"),
        format!("take {mailbox} wait=inf\n"),
        format!("lock {mailbox} wait=inf\n"),
    ]
}

#[test]
fn who_closes_a_cycle_of_two_is_told_at_once_and_keeps_its_lock() {
    let server = served(2);
    for waits in ways(1) {
        for closes in ways(0) {
            let mut first = holder(&server, "0");
            let mut second = holder(&server, "1");
            server.send_waiting(&mut first, &waits);
            assert_eq!(second.refused(&closes), DEADLOCK, "{waits} then {closes}");
            // A second try is none the better.
            assert_eq!(second.refused(&closes), DEADLOCK);
            expect_locked(&server, 1);
            second.ask("put 1 full=drop\nfor a taker\nunlock 1\n", "OK v=");
            second.line();
            second.expect("OK\n");
            assert!(!first.line().starts_with("ERR"), "{waits}");
        }
    }
    assert_eq!(server.stat("err_deadlock"), 50);
}

#[test]
fn a_try_that_does_not_wait_is_no_deadlock() {
    let server = served(2);
    let mut first = holder(&server, "0");
    let mut second = holder(&server, "1");
    server.send_waiting(&mut first, "lock 1\n");
    second.ask("r 0 wait=0\nw 0 wait=0\nx\ntake 0 wait=0\n", "NO timeout v=0\nNO timeout\nNO timeout\n");
    second.ask("lock 0 wait=0\nunlock 1\n", "NO locked\nOK\n");
    first.locked();
    assert_eq!(server.stat("err_deadlock"), 0);
}

/// In a ring of `clients`, each waits for the next one's mailbox; the last one cannot.
fn expect_ring_is_refused(clients: usize) {
    let server = served(clients);
    let mut ring: Vec<Client> = (0..clients).map(|number| holder(&server, &number.to_string())).collect();
    for (number, client) in ring.iter_mut().enumerate().take(clients - 1) {
        server.send_waiting(client, format!("w {} wait=inf\nfrom {number}\n", number + 1));
    }
    let mut last = ring.pop().expect("a ring");
    assert_eq!(last.refused("w 0 wait=inf\nx\n"), DEADLOCK);
    last.ask("ping\n", "OK\n");
    assert_eq!(server.stat("waiting"), clients as u64 - 1, "nobody else has noticed");
    last.ask("unlock *\n", "OK\n");
    for client in ring.iter_mut().rev() {
        client.expect("OK v=1\n");
        client.ask("unlock *\n", "OK\n");
    }
    last.ask("w 0\nat last\n", "OK v=1\n");
    assert_eq!(server.stat("err_deadlock"), 1);
}

#[test]
fn a_cycle_of_three() {
    expect_ring_is_refused(3);
}

#[test]
fn a_cycle_of_ten() {
    expect_ring_is_refused(10);
}

#[test]
fn a_cycle_of_three_hundred() {
    expect_ring_is_refused(300);
}

#[test]
fn through_shared_locks() {
    let server = served(2);
    let mut first = holder(&server, "0 r");
    let mut second = holder(&server, "1 r");
    // A reader gets in: beside a shared lock nobody waits to read.
    first.ask("r 1\n", "DATA 0 v=0 n=0\n\n");
    server.send_waiting(&mut first, "w 1 wait=inf\nx\n");
    assert_eq!(second.refused("w 0 wait=inf\nx\n"), DEADLOCK);
    second.ask("unlock 1\n", "OK\n");
    first.expect("OK v=1\n");
}

#[test]
fn through_one_of_several_sharers() {
    let server = served(3);
    let mut sharers = [holder(&server, "0 r"), holder(&server, "0 r"), holder(&server, "0 r")];
    let mut writer = holder(&server, "1");
    server.send_waiting(&mut writer, "w 0 wait=inf\nx\n");
    // The first and the last may wait for something else as long as they like.
    let mut other = holder(&server, "2");
    server.send_waiting(&mut sharers[0], "r 2\n");
    assert_eq!(sharers[1].refused("r 1\n"), DEADLOCK);
    sharers[1].ask("unlock 0\n", "OK\n");
    assert_eq!(sharers[2].refused("r 1\n"), DEADLOCK);
    other.ask("unlock 2\n", "OK\n");
    sharers[0].expect("DATA 0 v=0 n=0\n\n");
    assert_eq!(sharers[0].refused("r 1\n"), DEADLOCK);
    sharers[0].ask("unlock 0\n", "OK\n");
    sharers[2].ask("unlock 0\n", "OK\n");
    writer.expect("OK v=1\n");
}

#[test]
fn through_somebody_who_stands_before_in_the_queue() {
    let server = served(2);
    let mut sharer = holder(&server, "1 r");
    let mut reader = holder(&server, "0");
    let mut writer = server.enqueue("w 1 wait=inf\nx\n");
    // It would be in beside the shared lock, but for the writer before it.
    server.send_waiting(&mut reader, "r 1 wait=inf\n");
    assert_eq!(sharer.refused("r 0 wait=inf\n"), DEADLOCK);
    sharer.ask("unlock 1\n", "OK\n");
    writer.expect("OK v=1\n");
    reader.expect("DATA 1 v=1 n=1\nx\n");
}

#[test]
fn the_one_who_stands_behind_closes_the_cycle() {
    let server = served(2);
    let mut sharer = holder(&server, "1 r");
    let mut reader = holder(&server, "0");
    let mut writer = server.enqueue("w 1 wait=inf\nx\n");
    server.send_waiting(&mut sharer, "r 0 wait=inf\n");
    assert_eq!(reader.refused("r 1 wait=inf\n"), DEADLOCK);
    reader.ask("unlock 0\n", "OK\n");
    sharer.expect("DATA 0 v=0 n=0\n\n");
    sharer.ask("unlock 1\n", "OK\n");
    writer.expect("OK v=1\n");
}

// ---- through what a mailbox does not hold ----

#[test]
fn through_a_message_room_or_news_that_only_the_other_could_bring() {
    let full = format!("put 1\n{}\n", "x".repeat(1024));
    for (prepare, waits, brings, answer) in [
        ("", "take 1 wait=inf\n", "put 1\nm\n", "DATA 1 v=1 n=0\nm\n"),
        ("", "r 1 after=0 wait=inf\n", "put 1\nm\n", "DATA 1 v=1 n=1\nm\n"),
        (&full, "put 1 wait=inf\nm\n", "take 1\n", "OK v=2 n=1\n"),
    ] {
        let server = served(2);
        let mut first = holder(&server, "0");
        if !prepare.is_empty() {
            first.ask(prepare, "OK v=1 n=1\n");
        }
        // It was in, has missed something, and others pass.
        server.send_waiting(&mut first, waits);
        let mut second = holder(&server, "1");
        assert_eq!(second.refused("r 0 wait=inf\n"), DEADLOCK, "{waits}");
        second.send(brings);
        let answered = second.line();
        assert!(answered.starts_with("OK v=1") || answered == "DATA 1024 v=1 n=0", "{answered}");
        second.send("unlock 1\n");
        first.expect(answer);
        first.ask("unlock 0\n", "OK\n");
        expect_free(&server, 0);
    }
}

#[test]
fn who_finds_nothing_where_somebody_waits_for_it_closes_the_cycle() {
    let server = served(2);
    let mut sharer = holder(&server, "1 r");
    let mut reader = holder(&server, "0");
    server.send_waiting(&mut sharer, "w 0 wait=inf\nx\n");
    // It gets in beside the shared lock, but nobody could ever bring news.
    assert_eq!(reader.refused("r 1 after=0 wait=inf\n"), DEADLOCK);
    assert_eq!(reader.refused("take 1 wait=inf\n"), DEADLOCK);
    reader.ask("r 1 after=0 wait=0\nunlock 0\n", "NO timeout v=0\nOK\n");
    sharer.expect("OK v=1\n");
}

// ---- several mailboxes ----

#[test]
fn through_any_of_several_mailboxes() {
    let server = served(6);
    let mut first = holder(&server, "0,2,4");
    let mut second = holder(&server, "1,3,5");
    server.send_waiting(&mut first, "lock 3 wait=inf\n");
    for mailbox in [0, 2, 4] {
        assert_eq!(second.refused(format!("w {mailbox} wait=inf\nx\n")), DEADLOCK);
    }
    second.ask("unlock 1,5\n", "OK\n");
    assert_eq!(second.refused("r 2 wait=inf\n"), DEADLOCK);
    second.ask("unlock 3\n", "OK\n");
    first.locked();
}

#[test]
fn a_lock_of_several_that_meets_a_cycle_gives_back_what_it_took() {
    let server = served(6);
    let mut first = holder(&server, "5");
    let mut second = holder(&server, "3");
    server.send_waiting(&mut second, "w 5 wait=inf\nx\n");
    assert_eq!(first.refused("lock 4,3,2,1 wait=inf\n"), DEADLOCK);
    [1, 2, 4].into_iter().for_each(|mailbox| expect_free(&server, mailbox));
    expect_locked(&server, 5);
    first.ask("unlock 5\n", "OK\n");
    second.expect("OK v=1\n");
}

#[test]
fn through_a_mailbox_that_a_waiting_lock_of_several_has_taken() {
    let server = served(3);
    let mut first = holder(&server, "2");
    let mut second = server.enqueue("lock 1,2 wait=inf\n");
    expect_locked(&server, 1);
    assert_eq!(first.refused("w 1 wait=inf\nx\n"), DEADLOCK);
    first.ask("unlock 2\n", "OK\n");
    second.locked();
}

// ---- what only looks like it ----

#[test]
fn two_who_wait_for_one_and_one_who_waits_for_both_are_no_cycle() {
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
fn who_waits_without_a_lock_is_part_of_no_cycle() {
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
fn to_wait_for_a_holder_that_waits_for_nobody_is_no_cycle() {
    let server = served(3);
    let mut first = holder(&server, "0");
    let mut second = holder(&server, "1");
    server.send_waiting(&mut second, "take 2\n");
    // It waits, with a lock, but for somebody who has none.
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

// ---- everything goes on ----

/// Each locks two mailboxes one after the other, in an order of its own, and waits without end for the second. So cycles
/// close all the time, and a single one that is not noticed leaves everybody waiting.
#[test]
fn clients_that_lock_in_any_order_and_wait_for_ever_all_get_through() {
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
