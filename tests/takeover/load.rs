//! Takeovers under the load of a thousand clients.
//!
//! Every answer that a client gets is recorded, and compared with the mailboxes at the end. A request whose
//! connection has ended before its answer may have been executed or not.

mod connection;
mod roles;

use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use dipc_testkit::descriptors;
use dipc_testkit::wait::wait_until;
use nix::sys::signal::Signal;

use crate::Scene;
use connection::Connection;
use roles::{Record, Role};

/// Takeovers of the measurement.
const MEASURED: usize = 24;

/// Answers that show that the clients are served again.
const ANSWERS: u64 = 2000;

/// The clients and what they share.
struct Load {
    shared: Arc<Shared>,
    clients: Vec<JoinHandle<Record>>,
}

/// The state that all clients use.
struct Shared {
    port: u16,
    is_over: AtomicBool,
    started: Instant,
    answers: AtomicU64,
    /// The time of the last answer, in nanoseconds since the start.
    answered_at: AtomicU64,
    /// The longest time without an answer to any client.
    longest: AtomicU64,
    /// The longest time without an answer to the client that only pings.
    longest_of_one: AtomicU64,
}

impl Shared {
    fn is_over(&self) -> bool {
        self.is_over.load(Ordering::Relaxed)
    }

    fn record_answer(&self) {
        let now = self.started.elapsed().as_nanos() as u64;
        let before = self.answered_at.swap(now, Ordering::Relaxed);
        self.longest.fetch_max(now.saturating_sub(before), Ordering::Relaxed);
        self.answers.fetch_add(1, Ordering::Relaxed);
    }

    fn wait_for_answers(&self) {
        let before = self.answers.load(Ordering::Relaxed);
        wait_until("the clients are served", || self.answers.load(Ordering::Relaxed) > before + ANSWERS);
    }
}

impl Load {
    fn start(port: u16) -> Self {
        descriptors::allow(4 * Role::CLIENTS as u64);
        let zero = || AtomicU64::new(0);
        let shared = Arc::new(Shared {
            port,
            is_over: AtomicBool::new(false),
            started: Instant::now(),
            answers: zero(),
            answered_at: zero(),
            longest: zero(),
            longest_of_one: zero(),
        });
        let spawn = |(number, role): (usize, Role)| {
            let shared = Arc::clone(&shared);
            let client = thread::Builder::new().stack_size(256 * 1024);
            client.spawn(move || roles::run(role, number, &shared)).expect("a thread")
        };
        let clients = Role::all().enumerate().map(spawn).collect();
        Load { shared, clients }
    }

    /// Waits until every waiter waits, and the others are served.
    fn wait_until_served(&self, scene: &Scene) {
        let mut observer = scene.server.connect();
        wait_until("the waiters wait", || observer.stat_box(roles::EMPTY, "aside") == Role::WAITERS as u64);
        self.shared.wait_for_answers();
    }

    fn take_over(&self, scene: &mut Scene) {
        self.wait_until_served(scene);
        scene.take_over();
    }

    /// The longest times without an answer during `work`: to any client, and to the one that pings.
    fn silence(&self, scene: &mut Scene, work: impl FnOnce(&mut Scene)) -> [Duration; 2] {
        self.wait_until_served(scene);
        let longest = [&self.shared.longest, &self.shared.longest_of_one];
        longest.iter().for_each(|longest| longest.store(0, Ordering::Relaxed));
        work(scene);
        self.shared.wait_for_answers();
        longest.map(|longest| Duration::from_nanos(longest.load(Ordering::Relaxed)))
    }

    /// Ends all clients: the last takeover closes their connections.
    fn end(self, scene: &mut Scene) -> Record {
        self.wait_until_served(scene);
        self.shared.is_over.store(true, Ordering::Relaxed);
        scene.take_over();
        let records =
            self.clients.into_iter().map(|client| client.join().expect("a client without an error"));
        records.fold(Record::default(), Record::merge)
    }
}

#[test]
fn a_thousand_clients_are_not_refused_and_lose_nothing() {
    const TAKEOVERS: u64 = 4;
    let mut scene = Scene::new();
    let load = Load::start(scene.port.number);
    for epoch in 2..=TAKEOVERS {
        load.take_over(&mut scene);
        assert_eq!(scene.epoch(), epoch);
    }
    let record = load.end(&mut scene);
    assert_eq!(scene.epoch(), TAKEOVERS + 1);
    // Every waiter was told each time.
    assert_eq!(record.drained, Role::WAITERS as u64 * TAKEOVERS);
    record.compare(&mut Connection::open(scene.port.number));
    scene.base.dipcrm(scene.port.number).expect_success();
    scene.base.expect_nothing_left();
}

/// The server is killed after the takeovers: what was answered `OK` is in the segment.
#[test]
fn messages_of_both_servers_survive_a_kill() {
    let mut scene = Scene::new();
    let load = Load::start(scene.port.number);
    load.take_over(&mut scene);
    let record = load.end(&mut scene);
    scene.server.end(Signal::SIGKILL);
    scene.start_again();
    record.compare(&mut Connection::open(scene.port.number));
}

#[test]
#[ignore = "a measurement: cargo test --release --test takeover -- --ignored --nocapture silence"]
fn the_silence_of_a_takeover_is_measured() {
    let mut scene = Scene::with(|base| format!("--log-file {}", base.join("log").display()));
    let load = Load::start(scene.port.number);
    let mut measure = |work: fn(&Load, &mut Scene)| -> Vec<[Duration; 2]> {
        (0..MEASURED).map(|_| load.silence(&mut scene, |scene| work(&load, scene))).collect()
    };
    let undisturbed = measure(|load, _| load.shared.wait_for_answers());
    let takeovers = measure(|_, scene| scene.take_over());
    for (when, mut silences) in [("undisturbed", undisturbed), ("takeover", takeovers)] {
        for (at, whom) in ["any client", "one client that pings"].into_iter().enumerate() {
            silences.sort_by_key(|silence| silence[at]);
            let [median, longest] = [MEASURED / 2, MEASURED - 1].map(|rank| silences[rank][at]);
            println!("{when}: time without an answer to {whom}: median {median:.1?}, longest {longest:.1?}");
        }
    }
    let log = fs::read_to_string(scene.base.join("log")).expect("a log");
    let mut handovers = handovers(&log);
    handovers.sort();
    let [median, longest] = [MEASURED / 2, MEASURED - 1].map(|rank| handovers[rank]);
    println!("from the end of accepting to the new server: median {median:.1?}, longest {longest:.1?}");
    println!("{MEASURED} takeovers under the load of {} clients", Role::CLIENTS);
    load.end(&mut scene).compare(&mut Connection::open(scene.port.number));
}

/// The times from the beginnings of the handovers to the new servers, from the log of all servers.
fn handovers(log: &str) -> Vec<Duration> {
    let times = |text: &str| -> Vec<Duration> {
        log.lines()
            .filter(|line| line.contains(text))
            .map(|line| time_of_day(line).expect("a time"))
            .collect()
    };
    // The first server was started, and has not taken over.
    let (begun, served) = (times("handing over to a new server"), times("mailboxes of 64 kB on"));
    begun.iter().zip(&served[1..]).map(|(begun, served)| served.saturating_sub(*begun)).collect()
}

/// The time at the beginning of a line, `2026-01-31T23:59:59.123Z`.
fn time_of_day(line: &str) -> Option<Duration> {
    let time = line.split_once('T')?.1.split_once('Z')?.0;
    let seconds = time.split(':').try_fold(0.0, |sum, part| Some(sum * 60.0 + part.parse::<f64>().ok()?))?;
    Some(Duration::from_secs_f64(seconds))
}
