//! The one thread that owns every socket and every clock.
//!
//! It fills the connections' buffers, cuts batches of requests from them, takes each request's place in the queue of
//! its mailbox, hands what is granted to the workers and writes their answers. Because one thread takes all places, the
//! order of arrival is a total order, and fairness is an argument of one sentence.
//!
//! **The law**: whatever travels (job, completion, ticket, deadline, event) carries the [`ConnectionId`] it belongs to;
//! what comes back to another generation is dropped and counted. A connection that closes during a batch of events is
//! removed after it.

mod arrivals;
mod connection;
mod connections;
mod control;
mod deadlines;
mod doors;
mod ending;
mod input;
mod jobs;
mod output;
mod stat;
mod supplies;
mod waiting;

use std::collections::VecDeque;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use mio::event::Event;
use mio::{Events, Interest, Poll, Token, Waker};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook_mio::v1_0::Signals;

use crate::protocol::Limits;
use crate::workers::{Completions, ConnectionId, Mailboxes, Pool};
use connection::{Phase, SCRATCH_SIZE, Turn};
use connections::{Connections, id_of};
use control::Control;
use deadlines::Deadlines;
use doors::{Doors, Newcomer};
use stat::Counters;
use supplies::Supplies;
use waiting::half_closed;

pub use control::STOP;
pub use doors::Door;
pub use ending::DRAIN;

const WAKER: Token = Token(0);
const SIGNALS: Token = Token(1);
const CONTROL: Token = Token(2);
/// Doors have the tokens from here up to [`connections::FIRST_TOKEN`].
const FIRST_DOOR: usize = 3;

/// Events that one poll takes.
const EVENTS_MAX: usize = 1024;

/// What a user can set.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// Threads of the pool.
    pub workers: usize,
    /// How long a request waits that does not say.
    pub wait: Duration,
    /// Clients served at once.
    pub max_clients: usize,
    /// Silence that completes a request without an end of line; zero never does.
    pub quiet: Duration,
}

/// The server.
pub struct Reactor {
    poll: Poll,
    signals: Signals,
    control: Control,
    doors: Doors,
    connections: Connections,
    deadlines: Deadlines,
    mailboxes: Arc<Mailboxes>,
    completions: Arc<Completions>,
    pool: Pool,
    supplies: Supplies,
    counters: Counters,
    settings: Settings,
    limits: Limits,
    scratch: Box<[u8]>,
    /// Connections that have something left to do in their next turn.
    line: VecDeque<ConnectionId>,
    /// Connections to be removed after this batch of events.
    closed: Vec<ConnectionId>,
    /// The time of this batch of events.
    now: Instant,
    started: Instant,
    /// Newcomers for whom there was no place: somebody may just be leaving.
    hall: Vec<Newcomer>,
    accept_again: Option<Instant>,
    foreign_said: Option<Instant>,
    stopping: Stopping,
    reopen_log: fn(),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stopping {
    No,
    /// Answering what has arrived, until then.
    Draining(Instant),
    Now,
}

impl Reactor {
    /// Everything that serving needs: the pool runs, the signals are caught, the doors are watched.
    pub fn new(
        mailboxes: Mailboxes,
        doors: Vec<Door>,
        control: OwnedFd,
        settings: Settings,
        reopen_log: fn(),
    ) -> io::Result<Self> {
        let poll = Poll::new()?;
        let mut signals = Signals::new([SIGTERM, SIGINT, SIGHUP])?;
        poll.registry().register(&mut signals, SIGNALS, Interest::READABLE)?;
        let control = Control::open(control, CONTROL, poll.registry())?;
        let doors = Doors::open(doors, FIRST_DOOR, poll.registry())?;
        let mailboxes = Arc::new(mailboxes);
        let completions = Arc::new(Completions::new(Waker::new(poll.registry(), WAKER)?));
        let pool = Pool::start(settings.workers, Arc::clone(&mailboxes), Arc::clone(&completions))?;
        let geometry = mailboxes.geometry();
        let limits =
            Limits { mailboxes: geometry.mailboxes, capacity: geometry.capacity, packet: geometry.packet };
        let now = Instant::now();
        Ok(Reactor {
            poll,
            signals,
            control,
            doors,
            connections: Connections::with_capacity(settings.max_clients),
            deadlines: Deadlines::with_capacity(settings.max_clients),
            mailboxes,
            completions,
            pool,
            supplies: Supplies::default(),
            counters: Counters::default(),
            settings,
            limits,
            scratch: vec![0; SCRATCH_SIZE].into(),
            line: VecDeque::new(),
            closed: Vec::new(),
            now,
            started: now,
            hall: Vec::new(),
            accept_again: None,
            foreign_said: None,
            stopping: Stopping::No,
            reopen_log,
        })
    }

    /// Serves until it is told to stop.
    pub fn run(mut self) -> io::Result<()> {
        let mut events = Events::with_capacity(EVENTS_MAX);
        let mut home = Vec::new();
        while !self.has_stopped() {
            self.wait_for_events(&mut events)?;
            for event in &events {
                self.dispatch(event);
            }
            self.take_turns();
            self.expire_deadlines();
            self.bring_home(&mut home);
            self.remove_closed();
            self.supplies.trim(self.now);
            self.accept();
        }
        log::info!("stopped; {} requests were answered", self.counters.requests.total());
        self.pool.stop();
        Ok(())
    }

    fn has_stopped(&self) -> bool {
        match self.stopping {
            Stopping::No => false,
            Stopping::Draining(_) => self.connections.len() == 0,
            Stopping::Now => true,
        }
    }

    // ---- waiting ----

    fn wait_for_events(&mut self, events: &mut Events) -> io::Result<()> {
        let timeout = self.timeout();
        match self.poll.poll(events, timeout) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => events.clear(),
            result => result?,
        }
        self.now = Instant::now();
        Ok(())
    }

    /// How long nothing is to be done: the one place where time enters.
    fn timeout(&self) -> Option<Duration> {
        let accept_now = self.doors.pending && self.accept_again.is_none();
        let somebody_stands = !self.line.is_empty() || !self.hall.is_empty();
        if somebody_stands || accept_now || !self.completions.sleep() {
            return Some(Duration::ZERO);
        }
        let drained = match self.stopping {
            Stopping::Draining(until) => Some(until),
            _ => None,
        };
        let trims = self.supplies.trims_at();
        let next = [self.deadlines.next(), self.accept_again, drained, trims].into_iter().flatten().min()?;
        Some(next.saturating_duration_since(Instant::now()))
    }

    fn dispatch(&mut self, event: &Event) {
        match event.token() {
            WAKER => {}
            SIGNALS => self.take_signals(),
            CONTROL => {
                // Several may ask; only a signal says that it takes too long.
                if self.control.stop_requested(self.poll.registry()) && self.stopping == Stopping::No {
                    log::info!("dipcrm asks to stop");
                    self.stop();
                }
            }
            Token(token) if token < connections::FIRST_TOKEN => self.doors.pending = true,
            token => self.connection_event(id_of(token), event),
        }
    }

    fn connection_event(&mut self, id: ConnectionId, event: &Event) {
        let Some(connection) = self.connections.find(id) else { return };
        connection.readable |= event.is_readable() || event.is_read_closed();
        connection.hung_up |= event.is_read_closed();
        connection.reads_end_early |= event.is_priority();
        let gone = event.is_error() || event.is_write_closed();
        if event.is_writable() && connection.has_output() {
            return self.flush(id);
        }
        match &mut connection.phase {
            Phase::Idle => self.turn(id),
            Phase::Queued { .. } | Phase::Flushing(_) if gone => self.close(id),
            Phase::Queued { until, .. } if connection.hung_up => {
                *until = Some(half_closed(*until, self.now));
                self.settle(id);
            }
            Phase::Lingering { .. } => self.discard(id),
            Phase::Queued { .. } | Phase::Flushing(_) | Phase::Working | Phase::Closed => {}
        }
    }

    // ---- receiving ----

    /// Gives everybody in the line one turn; who has more stands in the line again.
    fn take_turns(&mut self) {
        for _ in 0..self.line.len() {
            let Some(id) = self.line.pop_front() else { break };
            if let Some(connection) = self.connections.find(id) {
                connection.in_line = false;
                if matches!(connection.phase, Phase::Idle) {
                    self.turn(id);
                }
            }
        }
    }

    fn turn(&mut self, id: ConnectionId) {
        let Some(connection) = self.connections.find(id) else { return };
        match connection.turn(id, &mut self.scratch, &self.limits, &mut self.supplies, self.now) {
            Ok(Turn::Batch(job)) => self.advance(job),
            Ok(Turn::Rest) if self.stopping != Stopping::No => self.say_goodbye(id),
            Ok(Turn::Rest) => self.settle(id),
            Ok(Turn::Again) => self.stand_in_line(id),
            Ok(Turn::End) => self.close(id),
            Err(error) => self.fail(id, &error),
        }
    }

    fn stand_in_line(&mut self, id: ConnectionId) {
        if let Some(connection) = self.connections.find(id)
            && !std::mem::replace(&mut connection.in_line, true)
        {
            self.line.push_back(id);
        }
    }
}
