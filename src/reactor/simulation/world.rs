//! The server with virtual clients, workers and clock, checked by an oracle. One seed determines every random
//! choice of a run.
//!
//! One step is one tick of the reactor's loop, in the reactor's order. Between any two actions of the
//! reactor, workers may run a job, and clients may send, read and disconnect, as with a real server. The
//! clock advances only between ticks, because the reactor reads it once per tick.

mod clients;
mod finish;
mod ticks;

use std::cell::RefCell;
use std::collections::VecDeque;
use std::fs::File;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::super::Settings;
use super::super::phase::Phase;
use super::super::server::Server;
use super::client::{CAPACITY, Client, JOBS, MAILBOXES};
use super::client_model::{DEFAULT_WAIT, MAX_HOLD};
use super::history::State;
use super::oracle::Oracle;
use super::pipe::{ClientEnd, Pipe, PipeSocket};
use super::quiescence::{MailboxView, View};
use super::request::{ClientRequest, Wait};
use super::rng::Rng;
use crate::mailboxes::{Geometry, Segment};
use crate::workers::{
    Completion, Completions, INLINE_BUDGET, Job, JobState, Mailboxes, Next, Owner, Pool, WaitReason, run,
};

/// Clients that are connected at the same time.
pub(super) const CLIENTS_MAX: usize = 7;

/// Repetitions after which a loop that waits for quiescence fails.
const ROUNDS_MAX: usize = 1000;

/// Entries of the trace that a failed run prints.
const TRACE_MAX: usize = 40;

/// The server, its environment and the oracle.
pub(super) struct World {
    pub rng: Rng,
    pub server: Server<PipeSocket>,
    pub oracle: Oracle,
    pub clients: Vec<Client>,
    start: Instant,
    now: Duration,
    sequence: u64,
    /// Granted jobs that no worker has started yet.
    #[allow(clippy::vec_box, reason = "a job travels as one pointer")]
    jobs: Vec<Box<Job>>,
    /// Completions that the reactor has not received yet.
    pub done: Vec<Completion>,
    trace: Rc<RefCell<VecDeque<String>>>,
}

impl World {
    pub(super) fn new(seed: u64, trace: Rc<RefCell<VecDeque<String>>>) -> Self {
        let capacity = CAPACITY as u64;
        let geometry = Geometry { mailboxes: MAILBOXES, capacity, packet: 4 * capacity };
        let fd = nix::sys::memfd::memfd_create("segment", nix::sys::memfd::MFdFlags::MFD_CLOEXEC);
        let segment =
            Segment::create(&File::from(fd.expect("a file in memory")), geometry, 0).expect("a segment");
        let mailboxes: Arc<Mailboxes> = Arc::new(crate::mailboxes::Mailboxes::new(segment));
        let completions = Arc::new(Completions::new(|| Ok(())));
        let pool = Pool::start(0, INLINE_BUDGET, Arc::clone(&mailboxes), Arc::clone(&completions))
            .expect("no threads");
        let settings = Settings {
            workers: 0,
            wait: DEFAULT_WAIT,
            max_clients: 100,
            client_memory: usize::MAX,
            max_hold: MAX_HOLD,
            quiet: Duration::ZERO,
            spin: Duration::ZERO,
            inline_budget: INLINE_BUDGET,
        };
        let start = Instant::now();
        World {
            rng: Rng::new(seed),
            server: Server::new(mailboxes, pool, completions, settings, start),
            oracle: Oracle::new(),
            clients: Vec::new(),
            start,
            now: Duration::ZERO,
            sequence: 0,
            jobs: Vec::new(),
            done: Vec::new(),
            trace,
        }
    }

    /// One step of a run.
    pub(super) fn step(&mut self) {
        for _ in 0..self.rng.below(4) {
            self.client_action();
            // The clock may pass a deadline between two client actions. Then a request that was sent earlier
            // may be read in time or too late, and a request that is sent later is too late.
            if self.rng.chance(10) {
                self.advance_clock();
            }
        }
        self.run_tick();
        if self.rng.chance(8) {
            self.run_until_quiescent();
        }
    }

    // ---- workers ----

    /// Runs a random job.
    fn run_one_job(&mut self) {
        let Some(job) = self.rng.take_random(&mut self.jobs) else { return };
        let owner = job.owner;
        let completion = self.run(job);
        self.trace(|| format!("a worker ran a job of {owner:?}: {}", describe(&completion)));
        self.advance_sequence();
        self.done.push(completion);
    }

    /// Runs a job, and records the jobs and the watch reads that its releases admit.
    fn run(&mut self, job: Box<Job>) -> Completion {
        let World { server, jobs, done, .. } = self;
        run(job, &server.mailboxes, |next| match next {
            Next::Job(job) => jobs.push(job),
            Next::Watch { mailbox, grant } => done.push(Completion::Watch { mailbox, grant }),
        })
    }

    /// Actions that run concurrently with the reactor's thread.
    fn interleave(&mut self) {
        while self.rng.chance(35) {
            self.run_one_job();
        }
        if self.rng.chance(5) {
            self.client_action();
        }
    }

    // ---- time ----

    fn advance_clock(&mut self) {
        let next = self.server.next_deadline().map(|at| at.saturating_duration_since(self.start));
        let nano = Duration::from_nanos(1);
        self.now = match (self.rng.below(10), next) {
            (0 | 1, Some(next)) => self.now.max(next.saturating_sub(nano)),
            (2..5, Some(next)) => self.now.max(next),
            (5, Some(next)) => self.now.max(next) + nano,
            (6..9, _) => self.now + Duration::from_micros(self.rng.below(400_000) as u64),
            _ => self.now + Duration::from_millis(self.rng.below(4_000) as u64),
        };
        self.trace(|| "the clock advances".into());
        self.advance_sequence();
        (0..self.clients.len()).for_each(|client| self.update_connection_state(client));
    }

    /// Runs the server until it is quiescent, then checks the conditions of quiescence.
    pub(super) fn run_until_quiescent(&mut self) {
        for round in 0.. {
            assert!(round < ROUNDS_MAX, "the server does not become quiescent");
            self.run_jobs(|_| true);
            let has_work =
                !self.done.is_empty() || self.server.clients.has_ready() || self.server.has_work_left();
            let has_events = (0..self.clients.len()).any(|client| self.has_event(client));
            let is_due = self.server.next_deadline().is_some_and(|at| at <= self.start + self.now);
            if !has_work && !has_events && !is_due {
                break;
            }
            self.run_quiet_tick();
        }
        let views: Vec<View> = (0..self.clients.len()).map(|client| self.view(client)).collect();
        let mailbox_view = |mailbox| MailboxView {
            waiting: self.server.mailboxes.queue(mailbox).waiting(),
            room: self.server.mailboxes.contents(mailbox).expect("whole").room,
        };
        let mailboxes: Vec<MailboxView> = (0..MAILBOXES).map(mailbox_view).collect();
        let overtakes = |mailbox| self.server.mailboxes.queue(mailbox).overtakes();
        assert!((0..MAILBOXES).all(|mailbox| overtakes(mailbox) == 0), "a request was overtaken");
        self.oracle.check_quiescence(&views, &mailboxes);
        self.trace(|| "the server is quiescent".into());
    }

    /// Runs all matching jobs, and the matching jobs that their releases admit.
    pub(super) fn run_jobs(&mut self, matches: impl Fn(&Job) -> bool) {
        while let Some(at) = self.jobs.iter().position(|job| matches(job)) {
            let job = self.jobs.swap_remove(at);
            let completion = self.run(job);
            self.advance_sequence();
            self.done.push(completion);
        }
    }

    /// Begins a tick.
    pub(super) fn begin_tick(&mut self) {
        self.server.begin_tick(self.start + self.now);
    }

    /// A tick without concurrent actions.
    pub(super) fn run_quiet_tick(&mut self) {
        self.begin_tick();
        let events: Vec<_> =
            (0..self.clients.len()).filter_map(|client| self.take_readiness(client)).collect();
        self.server.run_postponed();
        for (id, readiness) in events {
            self.on_event(id, readiness);
        }
        self.server.run_continuing();
        self.advance_sequence();
        self.check_output();
        self.server.expire_deadlines();
        self.advance_sequence();
        self.check_output();
        for completion in std::mem::take(&mut self.done) {
            self.server.on_completion(completion);
            self.advance_sequence();
            self.check_output();
        }
        self.server.send_events();
        self.server.work_off_backlog();
        self.reregister();
        while self.server.clients.remove_closed() {}
        self.advance_sequence();
        self.check_output();
    }

    fn view(&self, client: usize) -> View {
        let Some(connection) = self.server.clients.look(self.clients[client].id) else {
            return View::Closed;
        };
        match *connection.phase() {
            Phase::Lingering { .. } | Phase::Closed => View::Closed,
            _ if connection.has_output() || connection.is_lagging() => View::Blocked,
            Phase::Flushing(_) => View::Blocked,
            Phase::Waiting { mailbox, ticket, .. } => {
                let for_condition =
                    |job: &mut Box<Job>| matches!(job.state, JobState::Waiting(WaitReason::Condition(_)));
                match self.server.mailboxes.queue(mailbox).with_waiter(ticket, for_condition) {
                    Some(for_condition) => View::Waiting { mailbox, for_condition },
                    None => View::Stuck,
                }
            }
            // The client cannot send the rest of its request.
            Phase::Idle if !self.server.is_stopping() && self.clients[client].pipe.borrow().is_full() => {
                View::Stuck
            }
            Phase::Idle => View::Idle,
            Phase::Working => View::Stuck,
        }
    }
}

fn label(client: usize) -> String {
    format!("c{client}")
}

fn owner_of(completion: &Completion) -> Owner {
    match completion {
        Completion::Done(job) => job.owner,
        Completion::WaitStarted(started) => started.owner,
        Completion::Watch { mailbox, .. } => Owner::Watch(*mailbox),
    }
}

fn describe(completion: &Completion) -> String {
    match completion {
        Completion::Done(job) => format!("{} of {} requests answered", job.next, job.requests.len()),
        Completion::WaitStarted(started) => format!("it waits for {}", started.mailbox),
        Completion::Watch { mailbox, .. } => format!("mailbox {mailbox} has a message for its watchers"),
    }
}
