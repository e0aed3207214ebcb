//! A kill while messages are handed out and done. Every message whose `done` has no answer is there again, no
//! message whose `done` was answered is, and the messages keep their order and their bytes.

use std::collections::BTreeSet;
use std::thread;

use dipc_testkit::port::Port;
use dipc_testkit::rng::Rng;
use dipc_testkit::server::Server;

use crate::connection::{Connection, Taken, put};
use crate::kills;
use crate::trigger::KillTrigger;

/// Clients that put, and clients that work.
const PUTTERS: u64 = 2;
const WORKERS: u64 = 3;

/// Messages that a worker has in hand at a time.
const IN_HAND: usize = 6;

/// What one client knows when the server is killed.
#[derive(Default)]
struct History {
    /// Messages that were put and acknowledged.
    put: Vec<u64>,
    /// Messages that were handed out.
    handed_out: BTreeSet<u64>,
    /// Messages whose `done` was answered.
    done: BTreeSet<u64>,
    /// The message whose `done` was not answered.
    maybe_done: Option<u64>,
}

#[test]
fn a_kill_loses_no_message_that_is_not_done_and_brings_none_back_that_is() {
    let kills = kills() / 10;
    let port = Port::reserve();
    let arguments = format!("1 8 {} 8", port.number);
    let mut server = Server::start(&arguments);
    let (mut done_in_all, mut in_hand_in_all, mut unanswered) = (0, 0, 0);
    for round in 1..=kills {
        let trigger = KillTrigger::new(&server, 100 + round * 53 % 600, 0);
        let histories = work_until_killed(server.port, round, &trigger);
        assert_eq!(server.wait(), None, "the server ended before the kill");
        server.restart(&arguments);
        let left = drain(&server);
        let found: BTreeSet<u64> = left.iter().copied().collect();
        assert_eq!(found.len(), left.len(), "a message was there twice, round {round}");
        assert!(is_in_order(&left), "round {round}: {left:?}");
        let done: BTreeSet<u64> = histories.iter().flat_map(|history| &history.done).copied().collect();
        let maybe_done: BTreeSet<u64> = histories.iter().filter_map(|history| history.maybe_done).collect();
        let back: Vec<_> = done.intersection(&found).collect();
        assert!(back.is_empty(), "done, and there again: {back:?}, round {round}");
        let put = histories.iter().flat_map(|history| &history.put);
        let handed_out = histories.iter().flat_map(|history| &history.handed_out);
        let is_gone = |number: &&u64| !found.contains(number) && !done.contains(number);
        let lost: Vec<_> =
            put.chain(handed_out).filter(is_gone).filter(|n| !maybe_done.contains(n)).collect();
        assert!(lost.is_empty(), "lost: {lost:?}, round {round}");
        done_in_all += done.len();
        unanswered += maybe_done.len();
        in_hand_in_all += histories
            .iter()
            .map(|history| history.handed_out.difference(&history.done).count())
            .sum::<usize>();
    }
    println!(
        "{kills} kills, {done_in_all} messages done, {in_hand_in_all} in hand at a kill, \
         {unanswered} unanswered"
    );
}

fn work_until_killed(port: u16, round: u64, trigger: &KillTrigger) -> Vec<History> {
    // All clients connect before the first answer, because the server may be killed after it.
    let putters: Vec<_> = (1..=PUTTERS).map(|putter| (putter, Connection::connect(port))).collect();
    let workers: Vec<_> = (0..WORKERS).map(|worker| (worker, Connection::connect(port))).collect();
    thread::scope(|scope| {
        let mut clients = Vec::new();
        for (putter, server) in putters {
            clients.push(scope.spawn(move || put_on(server, round << 32 | putter << 24, trigger)));
        }
        for (worker, server) in workers {
            clients.push(scope.spawn(move || work_on(server, round << 8 | worker, trigger)));
        }
        clients.into_iter().map(|client| client.join().expect("a client")).collect()
    })
}

/// Puts messages of many sizes with numbers from `first` on.
fn put_on(mut server: Connection, first: u64, trigger: &KillTrigger) -> History {
    let mut history = History::default();
    for number in first.. {
        server.send(&put(number));
        let Some(line) = server.line() else { break };
        assert!(line.starts_with("OK v="), "{line:?} to a put");
        history.put.push(number);
        trigger.count_answer();
    }
    history
}

/// Takes messages, and ends them in random order.
fn work_on(mut server: Connection, seed: u64, trigger: &KillTrigger) -> History {
    let mut history = History::default();
    let mut rng = Rng::new(seed);
    let mut in_hand: Vec<(u64, u64)> = Vec::new();
    loop {
        if in_hand.len() < IN_HAND && rng.below(3) > 0 {
            server.send("take 0 ttl=3600 wait=0.001\n");
            let Some(taken) = server.taken() else { return history };
            if let Taken::Message { version, number } = taken {
                history.handed_out.insert(number);
                in_hand.push((version, number));
            }
        } else if !in_hand.is_empty() {
            let (version, number) = in_hand.swap_remove(rng.below(in_hand.len() as u64) as usize);
            let gives_back = rng.below(5) == 0;
            let verb = if gives_back { "back" } else { "done" };
            history.maybe_done = Some(number).filter(|_| !gives_back);
            server.send(&format!("{verb} 0 v={version} wait=inf\n"));
            let Some(line) = server.line() else { return history };
            assert!(line.starts_with("OK"), "{line:?} to {verb}");
            if history.maybe_done.take().is_some() {
                history.done.insert(number);
            }
        }
        trigger.count_answer();
    }
}

/// Takes all messages that are left, and returns their numbers. They have not been handed out since the
/// start.
fn drain(server: &Server) -> Vec<u64> {
    let mut connection = Connection::connect(server.port);
    let mut left = Vec::new();
    loop {
        connection.send("take 0 ttl=60 wait=0\n");
        let Some(Taken::Message { version, number }) = connection.taken() else { return left };
        connection.send(&format!("done 0 v={version}\n"));
        assert!(connection.line().is_some_and(|line| line.starts_with("OK n=")));
        left.push(number);
    }
}

/// Whether the messages of each putter come in the order in which they were put.
fn is_in_order(numbers: &[u64]) -> bool {
    (1..=PUTTERS).all(|putter| numbers.iter().filter(|number| *number >> 24 & 0xff == putter).is_sorted())
}
