//! A message goes to exactly one taker.

use std::collections::HashMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use dipc_testkit::client::{Client, field};
use dipc_testkit::process::text;
use dipc_testkit::server::Server;
use nix::sys::signal::Signal;

use crate::small;

#[test]
fn each_of_a_thousand_messages_goes_to_exactly_one_of_64_takers() {
    const TAKERS: usize = 64;
    const PUTTERS: usize = 8;
    const MESSAGES: usize = 1000;
    let server = small();
    let taken = Mutex::new(HashMap::<String, usize>::new());
    let orders = Mutex::new(Vec::<(u64, String)>::new());
    let left = AtomicUsize::new(MESSAGES);
    let put = |number: usize| {
        let mut client = server.connect();
        for message in 0..MESSAGES / PUTTERS {
            client.send(format!("put 0 wait=inf\n{number} {message}\n"));
            let line = client.line();
            assert!(line.starts_with("OK v="), "{line}");
        }
    };
    let take = || {
        let mut client = server.connect();
        // The takers send as many takes as there are messages, so every take gets a message.
        while left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1)).is_ok() {
            client.send("take 0 wait=inf\n");
            let (header, message) = client.data();
            *taken.lock().expect("no panic").entry(text(&message)).or_default() += 1;
            orders.lock().expect("no panic").push((field(&header, "v"), text(&message)));
        }
    };
    thread::scope(|scope| {
        (0..TAKERS).for_each(|_| drop(scope.spawn(take)));
        (0..PUTTERS).for_each(|number| drop(scope.spawn(move || put(number))));
    });
    let taken = taken.into_inner().expect("no panic");
    assert!(taken.len() == MESSAGES && taken.values().all(|&times| times == 1), "{} of them", taken.len());
    let mut orders = orders.into_inner().expect("no panic");
    orders.sort();
    assert!(orders.iter().map(|(version, _)| *version).eq(1..=MESSAGES as u64), "a version for each");
    // The messages of each putter keep their order.
    for putter in 0..PUTTERS {
        let prefix = format!("{putter} ");
        let numbers =
            orders.iter().filter_map(|(_, message)| message.strip_prefix(&prefix)?.parse::<usize>().ok());
        assert!(numbers.eq(0..MESSAGES / PUTTERS), "putter {putter}");
    }
    server.connect().ask("take 0 wait=0\n", "NO empty\n");
    assert_eq!((server.stat("takes"), server.stat("overtakes"), server.stat("untaken")), (1000, 0, 0));
}

/// More than all buffers of a socket hold.
const HUGE: usize = 32 << 20;

fn huge() -> (Server, Client) {
    let server = Server::start("2 32768 0 32768");
    let mut client = server.connect();
    client.ask(format!("put 0 {HUGE}\n{}\n", "h".repeat(HUGE)), "OK v=1 n=1\n");
    (server, client)
}

#[test]
fn a_message_whose_taker_vanishes_goes_to_the_next_taker() {
    let (server, _client) = huge();
    for round in 1..=3 {
        let mut vanishing = server.connect();
        vanishing.send("take 0\n");
        server.wait_for_stat("flushing", |flushing| flushing == 1);
        vanishing.reset();
        server.wait_for_stat("untaken", |untaken| untaken == round);
    }
    let mut next = server.connect();
    next.send("take 0\n");
    let (header, message) = next.data();
    assert_eq!(header, format!("DATA {HUGE} v=1 n=0"));
    assert!(message.len() == HUGE && message.iter().all(|&byte| byte == b'h'));
    next.ask("take 0 wait=0\n", "NO empty\n");
    assert_eq!(server.stat("takes"), 1);
}

/// A message in flight holds its mailbox for up to a second. A request with `wait=0` was answered
/// `NO timeout` meanwhile.
#[test]
fn a_request_that_does_not_wait_waits_for_a_message_in_flight() {
    let (server, mut client) = huge();
    let in_flight = || {
        let mut taker = server.connect();
        taker.send("take 0\n");
        server.wait_for_stat("flushing", |flushing| flushing == 1);
        taker
    };
    let _taker = in_flight();
    // The message counts as taken after a second.
    client.ask("take 0 wait=0\n", "NO empty\n");
    client.ask(format!("put 0 {HUGE}\n{}\n", "h".repeat(HUGE)), "OK v=2 n=1\n");
    drop(_taker);
    server.wait_for_stat("flushing", |flushing| flushing == 0);
    let _taker = in_flight();
    // A lock that waits is refused like a lock that is held.
    let mut locker = server.enqueue("lock 0 wait=inf\n");
    client.ask("take 0 wait=0\nw 0 wait=0\nx\nlock 0 wait=0\n", "NO timeout\nNO timeout\nNO locked\n");
    assert_eq!(locker.locked(), 1);
    client.ask("take 0 wait=0\nr 0 wait=0\n", "NO timeout\nNO timeout v=2\n");
    locker.ask("unlock 0\n", "OK\n");
    client.ask("lock 0 wait=0\ntake 0 wait=0\n", "OK grant=2\nNO empty\n");
}

/// Large messages are completed before all events of a poll are handled. The end of the taker is among these
/// events, and must be recorded before the message is delivered.
#[test]
fn a_message_does_not_go_to_a_taker_that_left_before_it_was_complete() {
    let server = Server::start("3 100 0 100");
    let mut taker = server.connect();
    server.send_waiting(&mut taker, "take 0 wait=inf\n");
    let (mut putter, mut large) = (server.connect(), [server.connect(), server.connect()]);
    large.iter_mut().chain([&mut putter]).for_each(|client| client.ask("ping\n", "OK\n"));
    server.halt();
    putter.send("put 0 4\n");
    large.iter_mut().zip(1..).for_each(|(client, mailbox)| client.send(format!("w {mailbox} 100000\n")));
    drop(taker);
    putter.send("kept\n");
    large.iter_mut().for_each(|client| client.send("x".repeat(100_000) + "\n"));
    server.signal(Signal::SIGCONT);
    putter.expect("OK v=1 n=1\n");
    large.iter_mut().for_each(|client| client.expect("OK v=1\n"));
    putter.ask("take 0 wait=0\n", "DATA 4 v=1 n=0\nkept\n");
}

#[test]
fn a_taker_that_half_closes_gets_the_message_and_does_not_wait_for_another() {
    let server = Server::start("4 64 0 8");
    server.connect().ask("put 1\nhello\n", "OK v=1 n=1\n");
    let mut client = server.connect();
    client.send("take 1\ntake 1 wait=inf\nping\n");
    client.half_close();
    client.expect("DATA 5 v=1 n=0\nhello\nNO empty\nOK\n");
    client.expect_end();
}

#[test]
fn a_mailbox_waits_at_most_a_second_for_a_taker_that_does_not_read() {
    let (server, mut client) = huge();
    client.ask("w 1\nother\n", "OK v=1\n");
    let mut slow = server.connect();
    slow.send("take 0\n");
    server.wait_for_stat("flushing", |flushing| flushing == 1);
    client.ask("r 1\n", "DATA 5 v=1 n=1\nother\n");
    // The taker does not read. The mailbox waits for a second, then the message counts as taken.
    client.ask("r 0\n", "DATA 0 v=1 n=0\n\n");
    client.ask("put 0\nnext\n", "OK v=2 n=1\n");
    assert_eq!(slow.data().1.len(), HUGE);
    assert_eq!((server.stat("takes"), server.stat("untaken")), (1, 0));
}

#[test]
fn a_taker_with_unread_answers_gets_no_message_before_it_reads_them() {
    let server = Server::start("2 8192 0 8192");
    const SIZE: usize = 8 << 20;
    let mut client = server.connect();
    client.ask(format!("w 1 {SIZE}\n{}\n", "h".repeat(SIZE)), "OK v=1\n");
    let mut busy = server.connect();
    busy.send("r 1\nr 1\nr 1\ntake 0 wait=inf\n");
    server.wait_for_stat("flushing", |flushing| flushing == 1);
    client.ask("put 0\nmessage\n", "OK v=1 n=1\n");
    client.ask("take 0\nput 0\nsecond\n", "DATA 7 v=1 n=0\nmessage\nOK v=2 n=1\n");
    (0..3).for_each(|_| assert_eq!(busy.data().1.len(), SIZE));
    busy.expect("DATA 6 v=2 n=0\nsecond\n");
}

/// The taker has not read its earlier answer while its `take` waits, so the message goes to the next taker.
#[test]
fn a_waiting_taker_with_unread_answers_keeps_no_message_from_other_takers() {
    const SIZE: usize = 900_000;
    let server = Server::start_with_socket("2 1024 0 1024");
    let mut client = server.connect();
    client.ask(format!("w 1 {SIZE}\n{}\n", "h".repeat(SIZE)), "OK v=1\n");
    let mut slow = Client::unix(&server.socket());
    server.send_waiting(&mut slow, "r 1\ntake 0 wait=inf\n");
    client.ask("put 0\nm\ntake 0\n", "OK v=1 n=1\nDATA 1 v=1 n=0\nm\n");
    assert_eq!((server.stat("untaken"), server.stat("flushing")), (1, 1));
    assert_eq!(slow.data().1.len(), SIZE);
    server.wait_for_stat("waiting", |waiting| waiting == 1);
    client.ask("put 0\nfor the slow\n", "OK v=2 n=1\n");
    slow.expect("DATA 12 v=2 n=0\nfor the slow\n");
}

#[test]
fn a_waiting_taker_that_half_closes_gets_no_empty() {
    let server = small();
    let mut taker = server.enqueue("take 0 wait=inf\n");
    let mut next = server.enqueue("take 0 wait=inf\n");
    taker.half_close();
    taker.expect("NO empty\n");
    taker.expect_end();
    server.connect().ask("put 0\nm\n", "OK v=1 n=1\n");
    next.expect("DATA 1 v=1 n=0\nm\n");
}

#[test]
fn a_message_taken_under_a_lock_is_requeued_when_its_taker_vanishes() {
    let (server, _client) = huge();
    let mut vanishing = server.connect();
    vanishing.lock("lock 0\n");
    vanishing.send("take 0\n");
    server.wait_for_stat("flushing", |flushing| flushing == 1);
    let mut next = server.enqueue("r 0 len=1\n");
    vanishing.reset();
    next.expect("DATA 1 v=1 n=1\nh\n");
    assert_eq!((server.stat("untaken"), server.stat("locks_held")), (1, 0));
}

#[test]
fn the_holder_of_a_lock_takes_without_waiting() {
    let server = small();
    let mut client = server.connect();
    client.lock("lock 0\n");
    let mut other = server.enqueue("take 0 wait=inf\n");
    client.ask("put 0\na\nput 0\nb\ntake 0\ntake 0\ntake 0\n", "OK v=1 n=1\nOK v=2 n=2\n");
    client.expect("DATA 1 v=1 n=1\na\nDATA 1 v=2 n=0\nb\nNO empty\n");
    client.ask("put 0\nc\nunlock 0\n", "OK v=3 n=1\nOK\n");
    other.expect("DATA 1 v=3 n=0\nc\n");
}
