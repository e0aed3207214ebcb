//! The event loop of the load generator. One thread drives all connections, so its cost is the same for every
//! system.

use std::collections::VecDeque;
use std::io::{self, Error, ErrorKind};
use std::os::fd::AsRawFd;
use std::time::{Duration, Instant};

use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token, event::Event};
use socket2::Socket;

use super::connection::Connection;
use super::pacing::{Pacing, Timer};
use super::plan::Plan;
use super::progress::{self, Progress};
use super::tally::Tally;

/// Size of one read, in bytes.
const SCRATCH: usize = 64 << 10;
const EVENTS: usize = 1024;
const TIMER: Token = Token(usize::MAX);

pub(super) struct Load<'a> {
    plan: &'a Plan,
    pub tally: Tally,
    /// Connections by number. None: lost.
    connections: Vec<Option<Connection>>,
    /// Connections that can send their next batch. Connections within a pair are first.
    idle: VecDeque<usize>,
    /// Number of connections that wait for answers.
    in_flight: usize,
    /// Number of requests that remain to be sent.
    budget: u64,
    pacing: Pacing,
    poll: Poll,
    timer: Timer,
    scratch: Vec<u8>,
    /// Time of the last complete batch, or of a later batch that was sent when no other one was in flight.
    last_answer: Instant,
    /// Maximum time without a complete batch. After that time the run fails.
    silence_max: Duration,
    pub progress: Progress,
}

/// The condition that ends a run.
#[derive(Clone, Copy)]
pub(super) enum Goal {
    /// This time is over.
    Period(Duration),
    /// This number of requests is sent and answered.
    Requests(u64),
}

impl<'a> Load<'a> {
    pub(super) fn new(plan: &'a Plan, sockets: Vec<Socket>, silence_max: Duration) -> io::Result<Self> {
        let poll = Poll::new()?;
        for (number, socket) in sockets.iter().enumerate() {
            socket.set_nonblocking(true)?;
            // Polling is edge-triggered, so WRITABLE costs nothing unless a write is short.
            let interest = Interest::READABLE | Interest::WRITABLE;
            poll.registry().register(&mut SourceFd(&socket.as_raw_fd()), Token(number), interest)?;
        }
        let timer = Timer::new(poll.registry(), TIMER)?;
        let connections = sockets.into_iter().enumerate();
        let connections: Vec<_> =
            connections.map(|(number, socket)| Some(Connection::new(number, socket))).collect();
        Ok(Load {
            plan,
            tally: Tally::new(),
            idle: (0..connections.len()).collect(),
            connections,
            in_flight: 0,
            budget: 0,
            pacing: Pacing::Closed,
            poll,
            timer,
            scratch: vec![0; SCRATCH],
            last_answer: Instant::now(),
            silence_max,
            progress: Progress::new(),
        })
    }

    /// The open connections.
    pub(super) fn connections(&self) -> impl Iterator<Item = (usize, &Connection)> {
        let numbered = self.connections.iter().enumerate();
        numbered.filter_map(|(number, connection)| Some((number, connection.as_ref()?)))
    }

    /// Resets all counters.
    pub(super) fn restart(&mut self) {
        self.tally.restart();
        self.connections.iter_mut().flatten().for_each(Connection::restart);
    }

    /// Loads the server until the goal is reached. `rate`: batches per second. None: as fast as they are
    /// answered.
    pub(super) fn run(&mut self, goal: Goal, rate: Option<f64>) -> io::Result<()> {
        let start = Instant::now();
        self.pacing = Pacing::new(rate, start);
        self.budget = if let Goal::Requests(requests) = goal { requests } else { u64::MAX };
        let end = if let Goal::Period(period) = goal { Some(start + period) } else { None };
        let requests = self.tally.requests;
        self.run_until(end, |load, now| match goal {
            Goal::Period(period) => (now - start).as_secs_f64() / period.as_secs_f64(),
            Goal::Requests(all) => (load.tally.requests - requests) as f64 / all.max(1) as f64,
        })
    }

    /// Waits for all answers, and completes pairs.
    pub(super) fn drain(&mut self) -> io::Result<()> {
        if self.budget > 0 {
            // Batches that are overdue have waited at least until now.
            let overdue = self.pacing.overdue(Instant::now());
            overdue.into_iter().for_each(|(wait, batches)| self.tally.count_unsent(wait, batches));
        }
        (self.budget, self.pacing) = (0, Pacing::Closed);
        self.run_until(None, |_, _| 1.0)?;
        // All connections are idle again.
        self.idle = self.connections().map(|(number, _)| number).collect();
        Ok(())
    }

    /// Runs until `end`, or without an end until all requests are sent and answered. `done`: the share of the
    /// run that is done, for the progress bar.
    fn run_until(&mut self, end: Option<Instant>, done: impl Fn(&Self, Instant) -> f64) -> io::Result<()> {
        let mut events = Events::with_capacity(EVENTS);
        loop {
            let now = Instant::now();
            self.send_due(now)?;
            let is_finished = end.map_or(self.in_flight == 0 && self.budget == 0, |end| now >= end);
            if is_finished || self.connections.iter().all(Option::is_none) {
                return Ok(());
            }
            if self.in_flight > 0 && now - self.last_answer > self.silence_max {
                return Err(Error::new(ErrorKind::TimedOut, "the server was silent for too long"));
            }
            let timeout = self.timeout(end, now)?;
            match self.poll.poll(&mut events, Some(timeout)) {
                Err(error) if error.kind() != ErrorKind::Interrupted => return Err(error),
                _ => events.iter().try_for_each(|event| self.on_event(event))?,
            }
            let done = done(self, now);
            self.progress.show(done, self.tally.requests, now);
        }
    }

    /// The timeout of the poll. Sets the timer for the next batch, if a connection is free to send it.
    fn timeout(&self, end: Option<Instant>, now: Instant) -> io::Result<Duration> {
        let left = end.map_or(progress::PERIOD, |end| end.saturating_duration_since(now));
        if let Some(next) = self.pacing.next().filter(|_| self.budget > 0 && !self.idle.is_empty()) {
            let after = next.saturating_duration_since(now);
            if after.is_zero() {
                return Ok(Duration::ZERO);
            }
            self.timer.set(after)?;
        }
        Ok(left.min(progress::PERIOD))
    }

    /// Sends the batches that are due on the free connections. Without a budget, only pairs are completed.
    fn send_due(&mut self, now: Instant) -> io::Result<()> {
        while let Some(&number) = self.idle.front() {
            let due = if self.budget == 0 { Some(now) } else { self.pacing.take(now) };
            let Some(intended) = due else { break };
            self.idle.pop_front();
            let Some(connection) = &mut self.connections[number] else { continue };
            let sent = connection.send(self.plan, &mut self.budget, intended);
            let is_busy = connection.is_busy();
            if is_busy {
                if self.in_flight == 0 {
                    self.last_answer = now;
                }
                self.in_flight += 1;
            }
            sent.or_else(|error| self.drop_connection(number, is_busy, error))?;
        }
        Ok(())
    }

    fn on_event(&mut self, event: &Event) -> io::Result<()> {
        let number = event.token().0;
        let Some(connection) = self.connections.get_mut(number).and_then(Option::as_mut) else {
            return Ok(());
        };
        // The last answer and the end of the stream may arrive together.
        let was_busy = connection.is_busy();
        match connection.receive(event, self.plan, &mut self.tally, &mut self.scratch) {
            Ok(None) => Ok(()),
            Ok(Some((latency, now))) => {
                self.tally.record(latency);
                (self.last_answer, self.in_flight) = (now, self.in_flight - 1);
                match connection.is_within_pair(self.plan) {
                    true => self.idle.push_front(number),
                    false => self.idle.push_back(number),
                }
                self.send_due(now)
            }
            Err(error) => self.drop_connection(number, was_busy, error),
        }
    }

    fn drop_connection(&mut self, number: usize, was_in_flight: bool, error: Error) -> io::Result<()> {
        if error.kind() == ErrorKind::InvalidData {
            return Err(error);
        }
        self.connections[number] = None;
        self.in_flight -= usize::from(was_in_flight);
        self.tally.connection_lost(format!("connection {number}: {error}"));
        Ok(())
    }
}
