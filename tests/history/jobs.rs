//! Recorded histories of messages that are handed out. 32 clients put messages, take them with and without
//! `ttl=`, end them in random order, and disconnect. The recorded history must be possible: each message is
//! removed at most once, is in one hand at a time, and is not lost.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Instant;

use dipc_testkit::client::{Client, field};
use dipc_testkit::process::text;
use dipc_testkit::rng::Rng;
use dipc_testkit::server::Server;

use crate::setting;

const CLIENTS: u64 = 32;

/// Messages that a client has in hand at most.
const IN_HAND: usize = 4;

/// An answered request, or one whose client has disconnected. Times are nanoseconds since the start.
#[derive(Clone, Copy, Debug)]
struct Event {
    what: What,
    called: u64,
    returned: u64,
}

#[derive(Clone, Copy, Debug)]
enum What {
    Put {
        version: u64,
        number: u64,
    },
    /// The message was certainly in hand from the answer until this time.
    HandedOut {
        version: u64,
        number: u64,
        tries: u64,
        until: u64,
    },
    /// A message was removed by `done` or by `take` without `ttl=`.
    Removed {
        version: u64,
    },
    /// A request to remove a message has no answer.
    MaybeRemoved {
        version: u64,
    },
}

/// Checks a history. The error says what is impossible.
fn check(events: &[Event]) -> Result<(), String> {
    let mut numbers = BTreeMap::new();
    let mut removed = BTreeMap::new();
    for event in events {
        match event.what {
            What::Put { version, number } if numbers.insert(version, (number, event.returned)).is_some() => {
                return Err(format!("version {version} is put twice"));
            }
            What::Removed { version } if removed.insert(version, event.returned).is_some() => {
                return Err(format!("version {version} is removed twice"));
            }
            _ => {}
        }
    }
    let mut hands = BTreeMap::<u64, Vec<&Event>>::new();
    for event in events {
        let What::HandedOut { version, number, .. } = event.what else { continue };
        if numbers.get(&version).is_some_and(|(put, _)| *put != number) {
            return Err(format!("not the message that was put as version {version}: {event:?}"));
        }
        if removed.get(&version).is_some_and(|at| *at < event.called) {
            return Err(format!("handed out after its removal: {event:?}"));
        }
        hands.entry(version).or_default().push(event);
    }
    hands.values().try_for_each(|hands| check_hands(hands))?;
    check_order(&numbers, &hands)?;
    check_none_lost(events, &numbers, &removed)
}

/// The hand-outs of one message: at most one at a time, and counted.
fn check_hands(hands: &[&Event]) -> Result<(), String> {
    let mut counts = BTreeSet::new();
    for hand in hands {
        let What::HandedOut { tries, until, .. } = hand.what else { continue };
        if !counts.insert(tries) {
            return Err(format!("tries={tries} twice: {hand:?}"));
        }
        let overlaps = |other: &&&Event| hand.returned <= other.called && other.returned <= until;
        if let Some(other) = hands.iter().find(overlaps) {
            return Err(format!("in two hands at once: {hand:?} and {other:?}"));
        }
    }
    Ok(())
}

/// A message that was never handed out goes before a newer one.
fn check_order(
    numbers: &BTreeMap<u64, (u64, u64)>,
    hands: &BTreeMap<u64, Vec<&Event>>,
) -> Result<(), String> {
    let first = |version: &u64| {
        let is_first = |hand: &&&Event| matches!(hand.what, What::HandedOut { tries: 1, .. });
        hands.get(version).and_then(|hands| hands.iter().find(is_first)).copied()
    };
    for (version, hand) in hands.keys().filter_map(|version| Some((*version, first(version)?))) {
        for (older, (_, put)) in numbers.range(version.saturating_sub(200)..version) {
            let Some(later) = first(older) else { continue };
            if *put < hand.called && later.called > hand.returned {
                return Err(format!("{hand:?} goes before the older {later:?}"));
            }
        }
    }
    Ok(())
}

/// All messages were removed in the end.
fn check_none_lost(
    events: &[Event],
    numbers: &BTreeMap<u64, (u64, u64)>,
    removed: &BTreeMap<u64, u64>,
) -> Result<(), String> {
    let maybe: BTreeSet<u64> = events
        .iter()
        .filter_map(|event| match event.what {
            What::MaybeRemoved { version } => Some(version),
            _ => None,
        })
        .collect();
    let lost: Vec<&u64> =
        numbers.keys().filter(|version| !removed.contains_key(version) && !maybe.contains(version)).collect();
    if lost.is_empty() { Ok(()) } else { Err(format!("lost: {lost:?}")) }
}

/// A client that records its requests.
struct Worker<'a> {
    server: &'a Server,
    client: Client,
    rng: Rng,
    start: Instant,
    /// The number of the next message.
    next: &'a AtomicU64,
    events: Vec<Event>,
    /// By version: the index of the event of the message in hand.
    in_hand: HashMap<u64, usize>,
}

impl Worker<'_> {
    fn now(&self) -> u64 {
        u64::try_from(self.start.elapsed().as_nanos()).expect("a short run")
    }

    fn ask(&mut self, request: &str) -> (u64, String, Vec<u8>, u64) {
        let called = self.now();
        self.client.send(request);
        loop {
            let (header, data) = self.client.message();
            // An event says that a message with a short time was given back.
            if !header.starts_with("EVENT") {
                return (called, header, data, self.now());
            }
        }
    }

    fn step(&mut self) {
        match self.rng.below(100) {
            0..35 => self.put(),
            35..65 if self.in_hand.len() < IN_HAND => self.take(),
            65..68 => self.disconnect(),
            step => self.end_one(step % 3 > 0),
        }
    }

    fn put(&mut self) {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let (called, header, _, returned) = self.ask(&format!("put 0 wait=0.001\n{number}\n"));
        if header.starts_with("OK") {
            let version = field(&header, "v");
            self.events.push(Event { what: What::Put { version, number }, called, returned });
        }
    }

    fn take(&mut self) {
        let ttl = if self.rng.below(10) == 0 { "0.001" } else { "3600" };
        let (called, header, data, returned) = self.ask(&format!("take 0 ttl={ttl} wait=0.001\n"));
        if !header.starts_with("DATA") {
            return;
        }
        let number = text(&data).parse().expect("a number");
        let (version, tries) = (field(&header, "v"), field(&header, "tries"));
        // A message with a short time may be given back at once.
        let until = if ttl == "3600" { u64::MAX } else { 0 };
        self.in_hand.insert(version, self.events.len());
        let what = What::HandedOut { version, number, tries, until };
        self.events.push(Event { what, called, returned });
    }

    /// Ends a message in hand. Its time ends with the call.
    fn end_one(&mut self, is_done: bool) {
        let Some(version) = self.in_hand.keys().min().copied() else { return };
        self.end_hand(version);
        let verb = if is_done { "done" } else { "back" };
        let (called, header, _, returned) = self.ask(&format!("{verb} 0 v={version}\n"));
        if is_done && header.starts_with("OK") {
            self.events.push(Event { what: What::Removed { version }, called, returned });
        }
    }

    fn end_hand(&mut self, version: u64) {
        let now = self.now();
        let at = self.in_hand.remove(&version).expect("in hand");
        if let What::HandedOut { until, .. } = &mut self.events[at].what {
            *until = now.min(*until);
        }
    }

    /// The connection ends.
    fn end_hands(&mut self) -> Vec<u64> {
        let versions: Vec<u64> = self.in_hand.keys().copied().collect();
        versions.iter().for_each(|version| self.end_hand(*version));
        versions
    }

    /// Disconnects, sometimes within a `done`.
    fn disconnect(&mut self) {
        let versions = self.end_hands();
        if let Some(version) = versions.first().filter(|_| self.rng.below(2) == 0) {
            let (called, what) = (self.now(), What::MaybeRemoved { version: *version });
            self.client.send(format!("done 0 v={version}\n"));
            self.events.push(Event { what, called, returned: u64::MAX });
        }
        std::mem::replace(&mut self.client, self.server.connect()).reset();
    }

    /// Removes all messages that are left.
    fn drain(mut self) -> Vec<Event> {
        loop {
            let (called, header, _, returned) = self.ask("take 0 wait=0\n");
            if header == "NO empty" {
                return self.events;
            }
            let what = What::Removed { version: field(&header, "v") };
            self.events.push(Event { what, called, returned });
        }
    }
}

#[test]
fn the_history_of_messages_that_are_handed_out_is_possible() {
    let (seed, steps) = (setting("DIPC_HISTORY_SEED", 1), setting("DIPC_HISTORY_STEPS", 300));
    let server = Server::start("1 4 0 4 --workers 3");
    let (start, next) = (Instant::now(), AtomicU64::new(1));
    let worker = |number: u64| Worker {
        server: &server,
        client: server.connect(),
        rng: Rng::new(seed << 16 | number),
        start,
        next: &next,
        events: Vec::new(),
        in_hand: HashMap::new(),
    };
    let record = |number| {
        let mut worker = worker(number);
        (0..steps).for_each(|_| worker.step());
        worker.end_hands();
        worker.events
    };
    let mut events: Vec<Event> = thread::scope(|scope| {
        let record = &record;
        let clients: Vec<_> = (0..CLIENTS).map(|number| scope.spawn(move || record(number))).collect();
        clients.into_iter().flat_map(|client| client.join().expect("a client")).collect()
    });
    server.wait_for_stat_box(0, "in_hand", |count| count == 0);
    events.extend(worker(CLIENTS).drain());
    check(&events).unwrap_or_else(|error| panic!("seed {seed}: {error}"));
    let tried_again = |event: &Event| matches!(event.what, What::HandedOut { tries: 2.., .. });
    assert!(events.iter().any(tried_again), "no message was handed out twice");
    let counts = ["dones", "backs", "given_back"].map(|name| server.stat(name));
    assert!(counts.iter().all(|&count| count > 10), "dones, backs, given back: {counts:?}");
}

#[test]
fn each_impossible_history_of_handed_out_messages_is_found() {
    let event = |what, called, returned| Event { what, called, returned };
    let put = |version| event(What::Put { version, number: version }, 0, 1);
    let hand = |version, tries, called, until| {
        event(What::HandedOut { version, number: version, tries, until }, called, called + 1)
    };
    let removed = |version, called| event(What::Removed { version }, called, called + 1);
    let possible = [put(1), put(2), hand(1, 1, 10, 20), hand(2, 1, 12, 40), hand(1, 2, 21, 30)];
    let done = [removed(1, 30), removed(2, 40)];
    assert_eq!(check(&[&possible[..], &done].concat()), Ok(()));
    for (wrong, reason) in [
        (vec![removed(1, 50)], "removed twice"),
        (vec![hand(1, 3, 32, 33)], "after its removal"),
        (vec![hand(2, 2, 14, 15)], "two hands"),
        (vec![hand(2, 1, 5, 5)], "tries=1 twice"),
        (vec![put(3)], "lost"),
        (vec![event(What::HandedOut { version: 2, number: 9, tries: 2, until: 0 }, 1, 2)], "not the message"),
        (vec![put(3), put(4), hand(4, 1, 50, 51), hand(3, 1, 60, 61)], "goes before the older"),
    ] {
        let error = check(&[&possible[..], &done, &wrong].concat()).expect_err(reason);
        assert!(error.contains(reason), "{error}");
    }
}
