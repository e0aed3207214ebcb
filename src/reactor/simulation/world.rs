//! A server with virtual clients, workers and clock, and an oracle that watches. One seed makes one life of it.
//!
//! One step is one turn of the reactor's loop, in its order. Between any two things that it does, workers may run a job,
//! and clients may send, read and vanish, as they do beside a real one. Only the clock moves between turns alone, as the
//! reactor looks at it once for each.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::fs::File;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::super::Settings;
use super::super::phase::Phase;
use super::super::server::Server;
use super::super::session::WatchState;
use super::ask::{Ask, Patience};
use super::client::{CAPACITY, Client, MAILBOXES};
use super::dice::Dice;
use super::history::State;
use super::oracle::Oracle;
use super::pipe::{End, Pipe, Socket};
use super::rest::{Queue, Sight};
use super::seat::{MAX_HOLD, WAIT};
use crate::mailboxes::{Geometry, Segment};
use crate::workers::{Completion, Completions, Job, Mailboxes, Pool, run};

/// Clients that are there at once.
const CLIENTS_MAX: usize = 7;

/// Turns without anything new after which something never comes to rest.
const RESTLESS: usize = 1000;

/// What is shown of a life that failed.
const DIARY: usize = 40;

/// The whole.
pub struct World {
    pub dice: Dice,
    pub server: Server<Socket>,
    pub oracle: Oracle,
    pub clients: Vec<Client>,
    start: Instant,
    now: Duration,
    tick: u64,
    /// Granted jobs that no worker has taken up yet.
    #[allow(clippy::vec_box, reason = "a job travels as one pointer")]
    jobs: Vec<Box<Job>>,
    /// What workers have done and the reactor has not seen.
    done: Vec<Completion>,
    diary: Rc<RefCell<VecDeque<String>>>,
}

impl World {
    pub fn new(seed: u64, diary: Rc<RefCell<VecDeque<String>>>) -> Self {
        let capacity = CAPACITY as u64;
        let geometry = Geometry { mailboxes: MAILBOXES, capacity, packet: 4 * capacity };
        let fd = nix::sys::memfd::memfd_create("segment", nix::sys::memfd::MFdFlags::MFD_CLOEXEC);
        let segment =
            Segment::create(&File::from(fd.expect("a file in memory")), geometry, 0).expect("a segment");
        let mailboxes: Arc<Mailboxes> = Arc::new(crate::mailboxes::Mailboxes::new(segment));
        let completions = Arc::new(Completions::new(|| Ok(())));
        let pool = Pool::start(0, Arc::clone(&mailboxes), Arc::clone(&completions)).expect("no threads");
        let settings =
            Settings { workers: 0, wait: WAIT, max_clients: 100, max_hold: MAX_HOLD, quiet: Duration::ZERO };
        let start = Instant::now();
        World {
            dice: Dice::new(seed),
            server: Server::new(mailboxes, pool, completions, settings, start),
            oracle: Oracle::new(),
            clients: Vec::new(),
            start,
            now: Duration::ZERO,
            tick: 0,
            jobs: Vec::new(),
            done: Vec::new(),
            diary,
        }
    }

    /// One step of a life.
    pub fn step(&mut self) {
        for _ in 0..self.dice.below(4) {
            self.meddle();
            // What is sent before may be read in time or too late; what is sent behind it is sent too late.
            if self.dice.chance(10) {
                self.advance_clock();
            }
        }
        self.turn();
        if self.dice.chance(8) {
            self.rest();
        }
    }

    // ---- clients ----

    /// Somebody does something.
    fn meddle(&mut self) {
        let here = self.here();
        if here.len() < 2 || here.len() < CLIENTS_MAX && self.dice.chance(4) {
            return self.enter();
        }
        let client = *self.dice.pick(&here);
        match self.dice.below(100) {
            0..50 => self.ask(client),
            50..80 => _ = self.send(client),
            80..98 => self.read(client),
            _ => self.leave(client),
        }
    }

    fn enter(&mut self) {
        let pipe = Pipe::new(self.dice.chance(40), self.dice.fork());
        self.enter_through(pipe);
    }

    /// A client comes whose socket has room for so many bytes; its number.
    pub fn enter_with_room(&mut self, room: usize) -> usize {
        self.enter_through(Pipe::with_room(room))
    }

    fn enter_through(&mut self, pipe: Pipe) -> usize {
        let is_unix = pipe.is_unix();
        let pipe = Rc::new(RefCell::new(pipe));
        // A client comes after those who have left were removed.
        let id = self.server.enter(Socket(Rc::clone(&pipe)), is_unix);
        let number = self.oracle.enter();
        self.note(|| format!("{} enters, slot {}", name(number), id.slot));
        self.clients.push(Client::new(number, id, pipe, &mut self.dice));
        number
    }

    fn ask(&mut self, client: usize) {
        if !self.clients[client].asks() {
            return;
        }
        let count = *self.dice.pick(&[1, 1, 1, 2, 3]);
        for _ in 0..count {
            let hints = self.oracle.hints(client);
            let ask = self.clients[client].think(&hints, &mut self.dice);
            self.clients[client].compose(ask, &mut self.dice);
        }
        self.send(client);
    }

    /// Asks just this, without thinking.
    pub fn say(&mut self, client: usize, asks: impl IntoIterator<Item = Ask>) {
        for ask in asks {
            self.clients[client].compose(ask, &mut self.dice);
        }
        while self.clients[client].has_more() && self.send(client) {}
    }

    /// A client reads until nothing more comes.
    pub fn read_all(&mut self, client: usize) {
        while self.clients[client].pipe.borrow_mut().receive() {
            self.rest();
        }
    }

    /// Time passes.
    pub fn pass(&mut self, time: Duration) {
        self.now += time;
        self.tick();
    }

    /// Sends what the pipe takes; whether that was anything.
    fn send(&mut self, client: usize) -> bool {
        let (any, sent) = self.clients[client].send();
        for composed in sent {
            self.note(|| {
                let bytes = composed.ask.encode("~", false);
                format!("{} > {}", name(client), &bytes[..bytes.len().min(70)].escape_ascii())
            });
            self.tick();
            self.oracle.sent(client, composed);
        }
        self.see_who_is_gone(client);
        any
    }

    fn read(&mut self, client: usize) {
        if self.clients[client].reads() && self.dice.chance(self.clients[client].attention) {
            self.clients[client].pipe.borrow_mut().receive();
        }
        if self.dice.chance(1) {
            self.clients[client].attention = *self.dice.pick(&[100, 50, 0]);
        }
    }

    fn leave(&mut self, client: usize) {
        let how = *self.dice.pick(&[End::Half, End::Closed, End::Reset]);
        let (how, last) = self.clients[client].leave(how);
        self.tick();
        if let Some(last) = last {
            self.oracle.sent(client, last);
        }
        self.oracle.left(client, how);
        self.note(|| format!("{} leaves: {how:?}", name(client)));
    }

    /// Those who have not left altogether.
    fn here(&self) -> Vec<usize> {
        let is_here = |client: &usize| {
            let pipe = self.clients[*client].pipe.borrow();
            pipe.client() == End::Open && !pipe.is_dropped()
        };
        (0..self.clients.len()).filter(is_here).collect()
    }

    // ---- workers ----

    /// Some worker runs some job.
    fn work(&mut self) {
        let Some(job) = self.dice.draw(&mut self.jobs) else { return };
        let slot = job.connection.slot;
        let completion = run(job, &self.server.mailboxes, |let_in| self.jobs.push(let_in));
        self.note(|| format!("a worker ran a job of slot {slot}: {}", kind(&completion)));
        self.tick();
        self.done.push(completion);
    }

    /// What happens beside the reactor's thread.
    fn meanwhile(&mut self) {
        while self.dice.chance(35) {
            self.work();
        }
        if self.dice.chance(5) {
            self.meddle();
        }
    }

    // ---- the reactor ----

    /// One turn of its loop.
    fn turn(&mut self) {
        self.server.now = self.start + self.now;
        let mut events: Vec<usize> =
            (0..self.clients.len()).filter(|client| self.has_event(*client)).collect();
        self.dice.shuffle(&mut events);
        for client in events {
            self.notice(client);
            self.meanwhile();
        }
        self.server.take_turns();
        self.after();
        self.server.expire_deadlines();
        self.after();
        let share = self.share();
        self.take_home(share);
        self.server.send_events();
        self.after();
        self.register();
        self.server.remove_closed();
        self.after();
    }

    fn has_event(&self, client: usize) -> bool {
        let pipe = self.clients[client].pipe.borrow();
        pipe.has_event() && !pipe.is_dropped()
    }

    fn notice(&mut self, client: usize) {
        let id = self.clients[client].id;
        let happened = self.clients[client].pipe.borrow_mut().event();
        if let Some(happened) = happened {
            self.server.notice(id, happened);
            self.tick();
            self.overhear();
        }
    }

    /// How many completions come with this turn.
    fn share(&mut self) -> usize {
        if self.dice.chance(60) { self.done.len() } else { self.dice.below(self.done.len() + 1) }
    }

    fn take_home(&mut self, count: usize) {
        for _ in 0..count {
            let Some(completion) = self.dice.draw(&mut self.done) else { return };
            // A worker does not tell of jobs that have gone on since.
            if let Completion::Parked(parked) = &completion {
                let queue = self.server.mailboxes.queue(parked.mailbox);
                if queue.with_waiter(parked.ticket, |_| ()).is_none() && self.dice.chance(70) {
                    continue;
                }
            }
            self.server.take_home(completion);
            self.after();
        }
    }

    fn register(&mut self) {
        while let Some(id) = self.server.unregistered.pop() {
            let Some(connection) = self.server.connections.find(id) else { continue };
            let Some(interest) = connection.changed_interest() else { continue };
            connection.wire().0.borrow_mut().register(interest.is_writable());
        }
    }

    /// After anything that the reactor did.
    fn after(&mut self) {
        self.tick();
        self.overhear();
        self.meanwhile();
    }

    /// Takes over what was submitted, and lets the oracle hear what was said.
    fn overhear(&mut self) {
        self.jobs.append(&mut self.server.pool.take_pending());
        for client in 0..self.clients.len() {
            let said = self.clients[client].pipe.borrow_mut().overhear();
            for line in self.oracle.hear(client, &said) {
                self.note(|| format!("{} < {line}", name(client)));
            }
            self.see_who_is_gone(client);
        }
    }

    fn see_who_is_gone(&mut self, client: usize) {
        if self.oracle.seats[client].forgotten {
            return;
        }
        let id = self.clients[client].id;
        let connection = self.server.connections.look(id);
        let is_gone = connection.is_none();
        let dropped = self.clients[client].pipe.borrow().is_dropped();
        if let Some(connection) = connection {
            let behind = connection.has_output();
            self.oracle.blocked(client, behind);
            self.oracle.note_slow(client, behind || self.clients[client].is_halfway());
        }
        if dropped {
            self.oracle.dropped(client);
        }
        let is_known = self.jobs.iter().any(|job| job.connection == id)
            || self.done.iter().any(|completion| connection_of(completion) == id);
        if is_gone && dropped && !is_known {
            self.oracle.forgotten(client);
        }
    }

    /// Counts on, and looks into the mailboxes.
    fn tick(&mut self) {
        self.jobs.append(&mut self.server.pool.take_pending());
        self.tick += 1;
        (self.oracle.now.tick, self.oracle.now.time) = (self.tick, self.now);
        for mailbox in 0..MAILBOXES {
            let contents = self.server.mailboxes.contents(mailbox).expect("whole");
            let state = State { version: contents.version, count: contents.count };
            let before = self.oracle.boxes[mailbox as usize].now();
            if before != state {
                self.note(|| format!("mailbox {mailbox}: v={} n={}", state.version, state.count));
            }
            self.oracle.boxes[mailbox as usize].sample(self.tick, state, contents.room);
        }
    }

    // ---- time ----

    fn advance_clock(&mut self) {
        let next = self.server.next_deadline().map(|at| at.saturating_duration_since(self.start));
        let nano = Duration::from_nanos(1);
        self.now = match (self.dice.below(10), next) {
            (0 | 1, Some(next)) => self.now.max(next.saturating_sub(nano)),
            (2..5, Some(next)) => self.now.max(next),
            (5, Some(next)) => self.now.max(next) + nano,
            (6..9, _) => self.now + Duration::from_micros(self.dice.below(400_000) as u64),
            _ => self.now + Duration::from_millis(self.dice.below(4_000) as u64),
        };
        self.note(|| "the clock moves".into());
        self.tick();
        (0..self.clients.len()).for_each(|client| self.see_who_is_gone(client));
    }

    /// Does all that can be done now, then looks whether it is right that nothing more happens.
    pub fn rest(&mut self) {
        for turn in 0.. {
            assert!(turn < RESTLESS, "it never comes to rest");
            self.work_quietly(|_| true);
            let is_busy =
                !self.done.is_empty() || !self.server.line.is_empty() || !self.server.deliveries.is_empty();
            let has_events = (0..self.clients.len()).any(|client| self.has_event(client));
            let is_due = self.server.next_deadline().is_some_and(|at| at <= self.start + self.now);
            if !is_busy && !has_events && !is_due {
                break;
            }
            self.turn_quietly();
        }
        let sights: Vec<Sight> = (0..self.clients.len()).map(|client| self.sight(client)).collect();
        let queue = |mailbox| Queue {
            waiting: self.server.mailboxes.queue(mailbox).waiting(),
            room: self.server.mailboxes.contents(mailbox).expect("whole").room,
        };
        let queues: Vec<Queue> = (0..MAILBOXES).map(queue).collect();
        let overtakes = |mailbox| self.server.mailboxes.queue(mailbox).overtakes();
        assert!((0..MAILBOXES).all(|mailbox| overtakes(mailbox) == 0), "somebody was overtaken");
        self.oracle.rest(&sights, &queues);
        self.note(|| "at rest".into());
    }

    /// Workers run all jobs like this, and whom these let in.
    pub fn work_quietly(&mut self, like: impl Fn(&Job) -> bool) {
        while let Some(at) = self.jobs.iter().position(|job| like(job)) {
            let job = self.jobs.swap_remove(at);
            let completion = run(job, &self.server.mailboxes, |let_in| self.jobs.push(let_in));
            self.tick();
            self.done.push(completion);
        }
    }

    /// A turn in which nothing else happens.
    pub fn turn_quietly(&mut self) {
        self.server.now = self.start + self.now;
        for client in 0..self.clients.len() {
            self.notice(client);
        }
        self.server.take_turns();
        self.tick();
        self.overhear();
        self.server.expire_deadlines();
        self.tick();
        self.overhear();
        for completion in std::mem::take(&mut self.done) {
            self.server.take_home(completion);
            self.tick();
            self.overhear();
        }
        self.server.send_events();
        self.register();
        self.server.remove_closed();
        self.tick();
        self.overhear();
    }

    fn sight(&self, client: usize) -> Sight {
        let Some(connection) = self.server.connections.look(self.clients[client].id) else {
            return Sight::Gone;
        };
        let mut watches = connection.session.iter().flat_map(|session| &session.watches);
        let behind = watches.any(|watch| watch.state == WatchState::Behind);
        match *connection.phase() {
            Phase::Lingering { .. } | Phase::Closed => Sight::Gone,
            _ if connection.has_output() || behind => Sight::Blocked,
            Phase::Flushing(_) => Sight::Blocked,
            Phase::Queued { mailbox, ticket, .. } => {
                let aside = |job: &mut Box<Job>| job.missing.is_some();
                match self.server.mailboxes.queue(mailbox).with_waiter(ticket, aside) {
                    Some(aside) => Sight::Waits { mailbox, aside },
                    None => Sight::Stranded,
                }
            }
            Phase::Idle => Sight::Idle,
            Phase::Working => Sight::Stranded,
        }
    }

    // ---- the end ----

    /// Everybody reads, nobody asks, until all locks have run out; then one client takes what is left, all leave, and
    /// nothing of them stays.
    pub fn finish(&mut self) {
        self.everybody_reads_for(MAX_HOLD + WAIT + Duration::from_secs(5));
        self.enter();
        let auditor = self.clients.len() - 1;
        self.clients[auditor].attention = 100;
        for mailbox in 0..MAILBOXES {
            for turn in 0.. {
                assert!(turn < RESTLESS, "mailbox {mailbox} is never empty");
                self.say(auditor, [Ask::Take { mailbox, wait: Patience::For(Duration::ZERO) }]);
                self.everybody_reads_for(Duration::from_secs(1));
                let is_here =
                    self.oracle.seats[auditor].is_here() && self.oracle.seats[auditor].outstanding.is_empty();
                assert!(is_here, "the last client is not answered");
                if self.oracle.boxes[mailbox as usize].now().count == 0 {
                    break;
                }
            }
        }
        for client in self.here() {
            self.leave(client);
        }
        self.everybody_reads_for(Duration::from_secs(90));
        self.nothing_is_left();
    }

    fn everybody_reads_for(&mut self, time: Duration) {
        let until = self.now + time;
        loop {
            for turn in 0.. {
                assert!(turn < RESTLESS, "somebody never stops");
                self.rest();
                let mut moved = false;
                for client in 0..self.clients.len() {
                    self.send(client);
                    moved |= self.has_event(client);
                    if self.clients[client].reads() {
                        moved |= self.clients[client].pipe.borrow_mut().receive();
                    }
                }
                if !moved {
                    break;
                }
            }
            if self.now >= until {
                return;
            }
            let next = self.server.next_deadline().map(|at| at.saturating_duration_since(self.start));
            self.now = next.map_or(until, |next| next.clamp(self.now, until));
        }
    }

    fn nothing_is_left(&mut self) {
        let server = &self.server;
        assert_eq!(server.connections.len(), 0, "connections are left");
        assert!(server.lock_holders.is_empty(), "locks are left: {:?}", server.lock_holders);
        assert_eq!(server.watchers.len(), 0, "watchers are left");
        assert!(server.deliveries.is_empty() && server.line.is_empty(), "something is left to do");
        for mailbox in 0..MAILBOXES {
            let look = |queue: &crate::mailboxes::Admission<Box<Job>>| {
                (queue.holders(), queue.waiting(), queue.aside(), queue.overtakes())
            };
            assert_eq!(server.mailboxes.queue(mailbox).look(look), (None, 0, 0, 0), "mailbox {mailbox}");
            let history = &self.oracle.boxes[mailbox as usize];
            history.replay(history.now());
        }
    }

    fn note(&self, what: impl FnOnce() -> String) {
        let mut diary = self.diary.borrow_mut();
        if diary.len() == DIARY {
            diary.pop_front();
        }
        diary.push_back(format!("{:>6} {:>12.6} {}", self.tick, self.now.as_secs_f64(), what()));
    }
}

fn name(client: usize) -> String {
    format!("c{client}")
}

fn connection_of(completion: &Completion) -> crate::workers::ConnectionId {
    match completion {
        Completion::Home(job) => job.connection,
        Completion::Parked(parked) => parked.connection,
    }
}

fn kind(completion: &Completion) -> String {
    match completion {
        Completion::Home(job) => format!("{} of {} answered", job.answered, job.requests.len()),
        Completion::Parked(parked) => format!("it waits for {}", parked.mailbox),
    }
}
