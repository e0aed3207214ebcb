//! A kill while a queue is filled and emptied. Each acknowledged message is in the queue or was taken, no
//! message is taken twice, and the messages keep their order. At most as many messages are missing as takes
//! have no answer.

use std::collections::BTreeSet;
use std::thread;

use dipc_testkit::port::Port;
use dipc_testkit::process::text;
use dipc_testkit::server::Server;

use crate::connection::{Connection, Taken, put};
use crate::kills;
use crate::trigger::KillTrigger;

/// Clients that put, and clients that take.
const PUTTERS: u64 = 2;
const TAKERS: usize = 2;

/// Requests that a client sends before it waits for an answer.
const PIPELINE: usize = 8;

/// The requests of one client until the kill.
#[derive(Default)]
struct History {
    /// Messages that were put and acknowledged, or taken.
    numbers: Vec<u64>,
    unanswered: usize,
}

#[test]
fn a_kill_loses_no_message_of_a_queue_and_delivers_none_twice() {
    let kills = kills() / 10;
    let port = Port::reserve();
    let arguments = format!("1 8 {} 8", port.number);
    let mut server = Server::start(&arguments);
    let (mut taken_in_all, mut missing_in_all) = (0, 0);
    for round in 1..=kills {
        let trigger = KillTrigger::new(&server, 50 + round * 37 % 400, 0);
        let (put, taken) = work_until_killed(server.port, round, &trigger);
        assert_eq!(server.wait(), None, "the server ended before the kill");
        server.restart(&arguments);
        let left = drain(&server);
        let gone: Vec<u64> = taken.iter().flat_map(|history| &history.numbers).copied().collect();
        let found: BTreeSet<u64> = gone.iter().chain(&left).copied().collect();
        assert_eq!(found.len(), gone.len() + left.len(), "a message was there twice, round {round}");
        assert!(is_in_order(&left) && taken.iter().all(|history| is_in_order(&history.numbers)));
        let acknowledged = put.iter().flat_map(|history| &history.numbers);
        let missing = acknowledged.filter(|number| !found.contains(number)).count();
        let unanswered: usize = taken.iter().map(|history| history.unanswered).sum();
        assert!(
            missing <= unanswered,
            "{missing} missing, {unanswered} takes without an answer, round {round}"
        );
        taken_in_all += gone.len();
        missing_in_all += missing;
    }
    println!("{kills} kills, {taken_in_all} messages taken, {missing_in_all} in flight at a kill");
}

fn work_until_killed(port: u16, round: u64, trigger: &KillTrigger) -> (Vec<History>, Vec<History>) {
    // All clients connect before the first answer, because the server may be killed after it.
    let putters: Vec<_> = (1..=PUTTERS).map(|putter| (putter, Connection::connect(port))).collect();
    let takers: Vec<_> = (0..TAKERS).map(|_| Connection::connect(port)).collect();
    thread::scope(|scope| {
        let put = |(putter, server)| scope.spawn(move || put_on(server, round << 32 | putter << 24, trigger));
        let putters: Vec<_> = putters.into_iter().map(put).collect();
        let takers: Vec<_> =
            takers.into_iter().map(|server| scope.spawn(move || take_on(server, trigger))).collect();
        let histories = |threads: Vec<thread::ScopedJoinHandle<'_, History>>| {
            threads.into_iter().map(|thread| thread.join().expect("a client")).collect()
        };
        (histories(putters), histories(takers))
    })
}

/// Puts messages of many sizes with numbers from `first` on.
fn put_on(mut server: Connection, first: u64, trigger: &KillTrigger) -> History {
    let mut history = History::default();
    let mut number = first;
    loop {
        while history.unanswered < PIPELINE && server.send(&put(number)) {
            history.unanswered += 1;
            number += 1;
        }
        // After the kill there may be answers left to read.
        let Some(line) = server.line() else { return history };
        assert!(line.starts_with("OK v="), "{line:?} to a put");
        history.numbers.push(first + history.numbers.len() as u64);
        history.unanswered -= 1;
        trigger.count_answer();
    }
}

fn take_on(mut server: Connection, trigger: &KillTrigger) -> History {
    let mut history = History::default();
    loop {
        while history.unanswered < PIPELINE && server.send("take 0 wait=inf\n") {
            history.unanswered += 1;
        }
        let Some(Taken::Message { number, .. }) = server.taken() else { return history };
        history.numbers.push(number);
        history.unanswered -= 1;
        trigger.count_answer();
    }
}

/// Takes all messages that are left.
fn drain(server: &Server) -> Vec<u64> {
    let mut client = server.connect();
    let mut left = Vec::new();
    loop {
        client.send("take 0 wait=0\nping\n");
        let (header, data) = client.message();
        if header == "NO empty" {
            client.expect("OK\n");
            return left;
        }
        client.expect("OK\n");
        left.push(text(&data).trim_start_matches('.').parse().expect("a number"));
    }
}

/// Whether the messages of each putter come in the order in which they were put.
fn is_in_order(numbers: &[u64]) -> bool {
    (1..=PUTTERS).all(|putter| numbers.iter().filter(|number| *number >> 24 & 0xff == putter).is_sorted())
}
