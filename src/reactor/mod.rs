//! The one thread that owns every socket and every clock.
//!
//! It fills the connections' buffers, cuts batches of requests from them, takes each request's place in the queue of
//! its mailbox, hands what is granted to the workers and writes their answers. Because one thread takes all places, the
//! order of arrival is a total order, and fairness is an argument of one sentence.
//!
//! **The law**: whatever travels (job, completion, ticket, deadline, event) carries the [`ConnectionId`] it belongs to;
//! what comes back to another generation is dropped and counted. A connection that closes during a batch of events is
//! removed after it.

mod connection;
mod connections;
mod control;
mod deadlines;
mod doors;
mod input;
mod stat;
mod supplies;

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use mio::event::Event;
use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token, Waker};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook_mio::v1_0::Signals;

use crate::mailboxes::Ticket;
use crate::protocol::{Eol, Limits, Refusal, Reply, Wait};
use crate::workers::{
    Completion, Completions, ConnectionId, Job, Mailboxes, OUTPUT_HIGH_WATER, Outcome, Parked, Pool, admit,
    answer, refuse, time_out, with_grant,
};
use connection::{Connection, Phase, SCRATCH_SIZE, Turn, turn_away};
use connections::{Connections, id_of, token_of};
use control::Control;
pub use control::STOP;
use deadlines::Deadlines;
use doors::{Arrival, Backlog, Doors};
use stat::{Counters, Gauges};
use supplies::Supplies;

pub use doors::Door;

const WAKER: Token = Token(0);
const SIGNALS: Token = Token(1);
const CONTROL: Token = Token(2);
/// Doors have the tokens from here up to [`connections::FIRST_TOKEN`].
const FIRST_DOOR: usize = 3;

/// Events that one poll takes.
const EVENTS_MAX: usize = 1024;

/// How long stopping may take.
pub const DRAIN: Duration = Duration::from_secs(5);

/// How long a request still waits after its client has closed the writing half. A client that left altogether looks
/// the same, and shall not keep its place for the full wait.
pub const HALF_CLOSED_WAIT: Duration = Duration::from_secs(1);

/// When to try again to accept after the system lacked something.
const ACCEPT_RETRY: Duration = Duration::from_millis(100);

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
    accept_again: Option<Instant>,
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
            deadlines: Deadlines::default(),
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
            accept_again: None,
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
        if !self.line.is_empty() || accept_now || !self.completions.sleep() {
            return Some(Duration::ZERO);
        }
        let drained = match self.stopping {
            Stopping::Draining(until) => Some(until),
            _ => None,
        };
        let next = [self.deadlines.next(), self.accept_again, drained].into_iter().flatten().min()?;
        Some(next.saturating_duration_since(Instant::now()))
    }

    fn dispatch(&mut self, event: &Event) {
        match event.token() {
            WAKER => {}
            SIGNALS => self.take_signals(),
            CONTROL => {
                if self.control.stop_requested(self.poll.registry()) {
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
            Ok(Turn::Rest) if self.stopping != Stopping::No => self.close(id),
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

    // ---- requests ----

    /// Brings a job on its way: answers what needs no mailbox, takes the place of the first request that does.
    fn advance(&mut self, mut job: Box<Job>) {
        while job.current().is_some() && job.output.len() < OUTPUT_HIGH_WATER {
            let Some((mailbox, mode, wait)) = job.admission() else {
                if !answer(&mut job, &self.mailboxes) {
                    self.tell_stat(&mut job);
                }
                continue;
            };
            if wait != Wait::For(Duration::ZERO) {
                return match admit(job, &self.mailboxes) {
                    Ok(granted) => self.submit(with_grant(granted)),
                    Err(parked) => self.park(parked),
                };
            }
            job.grant = self.mailboxes.queue(mailbox).try_admit(mode);
            if job.grant.is_some() {
                return self.submit(job);
            }
            time_out(&mut job, &self.mailboxes);
        }
        self.deliver(job);
    }

    /// Watches over a job that waits in a queue. Its earlier answers do not wait with it.
    fn park(&mut self, parked: Parked) {
        let Parked { connection: id, mailbox, ticket, wait } = parked;
        let queue = self.mailboxes.queue(mailbox);
        let Some(connection) = self.connections.find(id) else {
            // Its client has left before anybody knew that it waits.
            return self.give_up(mailbox, ticket);
        };
        let take = |job: &mut Box<Job>| match connection.has_output() {
            true => Vec::new(),
            false => std::mem::take(&mut job.output),
        };
        // Nobody there: it was admitted meanwhile, and its answers are on the way.
        let Some(mut output) = queue.with_waiter(ticket, take) else { return };
        let until = match wait {
            Wait::Default => self.now.checked_add(self.settings.wait),
            Wait::For(wait) => self.now.checked_add(wait),
            Wait::Forever => None,
        };
        let until = if connection.hung_up { Some(half_closed(until, self.now)) } else { until };
        connection.phase = Phase::Queued { mailbox, ticket, until };
        if !output.is_empty()
            && let Err(error) = connection.send(&mut output, self.now)
        {
            return self.fail(id, &error);
        }
        self.settle(id);
    }

    fn submit(&mut self, job: Box<Job>) {
        if let Some(connection) = self.connections.find(job.connection) {
            connection.phase = Phase::Working;
        }
        self.pool.submit(job);
    }

    fn tell_stat(&mut self, job: &mut Job) {
        let phases =
            |wanted: fn(&Phase) -> bool| self.connections.iter().filter(|c| wanted(&c.phase)).count();
        let geometry = self.mailboxes.geometry();
        let gauges = Gauges {
            uptime: self.started.elapsed().as_secs(),
            epoch: self.mailboxes.segment().epoch(),
            connections: self.connections.len(),
            max_clients: self.settings.max_clients,
            working: phases(|phase| matches!(phase, Phase::Working)),
            waiting: phases(|phase| matches!(phase, Phase::Queued { .. })),
            flushing: phases(|phase| matches!(phase, Phase::Flushing(_))),
            workers: self.pool.workers(),
            unaided: self.pool.unaided(),
            mailboxes: geometry.mailboxes,
            size: geometry.capacity,
            packet: geometry.packet,
        };
        self.counters.requests.absorb(&mut job.tally);
        let text = stat::text(&self.counters, &gauges);
        let eol = job.requests[job.answered].eol;
        Reply::Text(&text).encode(eol, &mut job.output);
        job.tally.count(Outcome::Told);
        job.answered += 1;
    }

    // ---- answers ----

    /// Starts the workers on what was granted, and takes in what they have finished.
    fn bring_home(&mut self, completions: &mut Vec<Completion>) {
        self.pool.dispatch(completions);
        self.take_in(completions);
        self.completions.drain(completions);
        self.take_in(completions);
    }

    fn take_in(&mut self, completions: &mut Vec<Completion>) {
        while !completions.is_empty() {
            for completion in completions.drain(..) {
                match completion {
                    Completion::Home(job) => self.come_home(job),
                    Completion::Parked(parked) => self.park(parked),
                }
            }
            self.pool.dispatch(completions);
        }
    }

    fn come_home(&mut self, mut job: Box<Job>) {
        let id = job.connection;
        let Some(connection) = self.connections.find(id) else {
            self.counters.requests.absorb(&mut job.tally);
            self.counters.stale_completions += 1;
            return self.supplies.return_job(job);
        };
        if connection.has_output() {
            connection.phase = Phase::Flushing(job);
            return self.settle(id);
        }
        connection.phase = Phase::Idle;
        self.deliver(job);
    }

    /// Writes the answers of a job, then goes on with it.
    fn deliver(&mut self, mut job: Box<Job>) {
        let id = job.connection;
        self.counters.requests.absorb(&mut job.tally);
        let Some(connection) = self.connections.find(id) else { return self.supplies.return_job(job) };
        if job.output.is_empty() {
            return self.go_on(job);
        }
        match connection.send(&mut job.output, self.now) {
            Ok(true) => self.go_on(job),
            Ok(false) => {
                connection.phase = Phase::Flushing(job);
                self.settle(id);
            }
            Err(error) => {
                self.supplies.return_job(job);
                self.fail(id, &error);
            }
        }
    }

    fn flush(&mut self, id: ConnectionId) {
        let Some(connection) = self.connections.find(id) else { return };
        match connection.flush(self.now) {
            Ok(true) => {
                connection.drop_output();
                let phase = &mut connection.phase;
                let flushed =
                    matches!(phase, Phase::Flushing(_)).then(|| std::mem::replace(phase, Phase::Idle));
                self.settle(id);
                if let Some(Phase::Flushing(job)) = flushed {
                    self.deliver(job);
                }
            }
            Ok(false) => self.settle(id),
            Err(error) => self.fail(id, &error),
        }
    }

    /// All answers so far have left: the rest of the batch, or the end, or the next batch.
    fn go_on(&mut self, job: Box<Job>) {
        let id = job.connection;
        if job.current().is_some() {
            return self.advance(job);
        }
        let closes = job.closes();
        self.supplies.return_job(job);
        let Some(connection) = self.connections.find(id) else { return };
        connection.phase = Phase::Idle;
        if closes {
            self.say_goodbye(id);
        } else if connection.has_more() || self.stopping != Stopping::No {
            self.stand_in_line(id);
        } else {
            self.settle(id);
        }
    }

    // ---- deadlines ----

    fn expire_deadlines(&mut self) {
        while let Some(id) = self.deadlines.expire(self.now) {
            let Some(connection) = self.connections.find(id) else { continue };
            connection.armed = None;
            match connection.deadline(self.settings.quiet, &self.limits) {
                Some(at) if at <= self.now => self.expire(id),
                _ => self.settle(id),
            }
        }
        if let Stopping::Draining(until) = self.stopping
            && until <= self.now
        {
            self.end_drain();
        }
    }

    fn expire(&mut self, id: ConnectionId) {
        let Some(connection) = self.connections.find(id) else { return };
        if connection.is_stuck(self.now) {
            self.counters.closed_slow_readers += 1;
            return self.close(id);
        }
        match connection.phase {
            Phase::Idle if connection.awaits_quiet(self.settings.quiet) => {
                match connection.quiet(id, &self.limits, &mut self.supplies) {
                    Some(job) => {
                        self.counters.completed_by_silence += 1;
                        self.advance(job);
                    }
                    None => self.settle(id),
                }
            }
            Phase::Idle => {
                self.counters.closed_slow_bodies += 1;
                self.close(id);
            }
            Phase::Queued { .. } => {
                if let Some(mut job) = self.leave_queue(id) {
                    time_out(&mut job, &self.mailboxes);
                    self.advance(job);
                }
            }
            Phase::Lingering { .. } => self.close(id),
            Phase::Flushing(_) | Phase::Working | Phase::Closed => {}
        }
    }

    /// Gives up the place of a connection's request. `None` when it has just been admitted: its answer is on the way.
    fn leave_queue(&mut self, id: ConnectionId) -> Option<Box<Job>> {
        let connection = self.connections.find(id)?;
        let Phase::Queued { mailbox, ticket, .. } = connection.phase else { return None };
        connection.phase = Phase::Working;
        self.cancel(mailbox, ticket)
    }

    /// Takes a job out of a queue, and submits whoever that lets in.
    fn cancel(&mut self, mailbox: u32, ticket: Ticket) -> Option<Box<Job>> {
        let mut admitted = Vec::new();
        let job = self.mailboxes.queue(mailbox).cancel(ticket, &mut admitted);
        admitted.into_iter().for_each(|granted| self.submit(with_grant(granted)));
        job
    }

    fn give_up(&mut self, mailbox: u32, ticket: Ticket) {
        if let Some(job) = self.cancel(mailbox, ticket) {
            self.counters.abandoned += 1;
            self.supplies.return_job(job);
        }
    }

    // ---- the end of a connection ----

    fn say_goodbye(&mut self, id: ConnectionId) {
        let Some(connection) = self.connections.find(id) else { return };
        if connection.linger(self.now) { self.discard(id) } else { self.close(id) }
    }

    fn discard(&mut self, id: ConnectionId) {
        let Some(connection) = self.connections.find(id) else { return };
        if connection.discard(&mut self.scratch) { self.settle(id) } else { self.close(id) }
    }

    fn fail(&mut self, id: ConnectionId, error: &io::Error) {
        log::debug!("connection {}: {error}", id.slot);
        self.counters.closed_by_error += 1;
        self.close(id);
    }

    /// The end. A place in a queue is given up, so that whoever stands behind it moves on.
    fn close(&mut self, id: ConnectionId) {
        if let Some(Connection { phase: Phase::Queued { mailbox, ticket, .. }, .. }) =
            self.connections.find(id)
        {
            let (mailbox, ticket) = (*mailbox, *ticket);
            self.give_up(mailbox, ticket);
        }
        if let Some(connection) = self.connections.find(id) {
            self.deadlines.disarm(id, &mut connection.armed);
            connection.phase = Phase::Closed;
            self.closed.push(id);
        }
    }

    fn remove_closed(&mut self) {
        if self.closed.is_empty() {
            return;
        }
        for id in self.closed.drain(..) {
            self.connections.remove(id);
        }
        // A descriptor is free: whoever stands before the door is let in now, not at the next timer.
        self.accept_again = None;
    }

    /// Registers what the state of a connection asks for: its interest and its deadline.
    fn settle(&mut self, id: ConnectionId) {
        let Some(connection) = self.connections.find(id) else { return };
        if let Some(interest) = connection.changed_interest() {
            let fd = connection.socket().as_raw_fd();
            let registered = self.poll.registry().reregister(&mut SourceFd(&fd), token_of(id), interest);
            if let Err(error) = registered {
                return self.fail(id, &error);
            }
        }
        if let Some(at) = connection.deadline(self.settings.quiet, &self.limits) {
            self.deadlines.arm(id, &mut connection.armed, at);
        }
    }

    // ---- newcomers ----

    fn accept(&mut self) {
        if self.accept_again.is_some_and(|at| at <= self.now) {
            self.accept_again = None;
        }
        if !self.doors.pending || self.accept_again.is_some() {
            return;
        }
        let Reactor { doors, connections, settings, counters, poll, now, .. } = self;
        let busy = |max: usize| {
            let mut answer = Vec::new();
            Reply::Refused(&Refusal::Busy { max }).encode(Eol::Lf, &mut answer);
            answer
        };
        let backlog = doors.knock(|arrival| match arrival {
            Arrival::Client(socket) if connections.len() < settings.max_clients => {
                let fd = socket.as_raw_fd();
                let id = connections.insert(|generation| Connection::new(socket, generation, *now));
                if poll.registry().register(&mut SourceFd(&fd), token_of(id), Interest::READABLE).is_err() {
                    return connections.remove(id);
                }
                counters.accepted += 1;
            }
            Arrival::Client(socket) => {
                counters.busy_clients += 1;
                turn_away(&socket, &busy(settings.max_clients));
            }
            Arrival::Excess(socket) => {
                counters.busy_descriptors += 1;
                turn_away(&socket, &busy(connections.len()));
            }
        });
        self.doors.pending = backlog != Backlog::Empty;
        if let Backlog::Stuck(errno) = backlog {
            if self.counters.accepts_stuck == 0 {
                log::warn!("cannot accept for now: {errno}; this is said once");
            }
            self.counters.accepts_stuck += 1;
            self.accept_again = Some(self.now + ACCEPT_RETRY);
        }
    }

    // ---- stopping ----

    fn take_signals(&mut self) {
        let signals: Vec<_> = self.signals.pending().collect();
        for signal in signals {
            match signal {
                SIGHUP => (self.reopen_log)(),
                _ => {
                    log::info!("signal {signal}");
                    self.stop();
                }
            }
        }
    }

    /// Begins to stop, or at the second call stops.
    fn stop(&mut self) {
        if self.stopping != Stopping::No {
            self.stopping = Stopping::Now;
            return;
        }
        self.stopping = Stopping::Draining(self.now + DRAIN);
        self.doors.close();
        for id in self.connections.ids() {
            if let Some(connection) = self.connections.find(id) {
                connection.readable = true;
                self.stand_in_line(id);
            }
        }
    }

    /// The time is over: who still waits is told so.
    fn end_drain(&mut self) {
        for id in self.connections.ids() {
            if let Some(mut job) = self.leave_queue(id) {
                refuse(&mut job, &Refusal::Drain);
                if let Some(connection) = self.connections.find(id)
                    && !connection.has_output()
                {
                    let _ = connection.send(&mut job.output, self.now);
                }
            }
            self.close(id);
        }
        self.remove_closed();
    }
}

fn half_closed(until: Option<Instant>, now: Instant) -> Instant {
    let soon = now + HALF_CLOSED_WAIT;
    until.map_or(soon, |until| until.min(soon))
}
