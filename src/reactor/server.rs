//! The server without its poll: what happens to every client, with sockets and time as parameters.
//!
//! It owns the connections, their deadlines, and the jobs until the pool has them. It must never touch the poll, a signal
//! or a listener: those are the [`Reactor`](super::Reactor)'s. So the whole of it runs in a simulation, too, over pipes of
//! bytes and a clock that is a number.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::connection::{Connection, Readiness, Received, SCRATCH_SIZE};
use super::connections::Connections;
use super::deadlines::Deadlines;
use super::events::Fanout;
use super::phase::Phase;
use super::pools::Pools;
use super::stat::Counters;
use super::transport::Transport;
use super::waiting::half_closed;
use super::watches::Watches;
use super::{Settings, Stopping};
use crate::protocol::Limits;
use crate::workers::{Completion, Completions, ConnectionId, Mailboxes, Pool};

/// Turns that those in the line have before the poll has its own again.
const READY_PER_TICK: usize = 64;

/// All clients, and what they are busy with.
#[derive(Debug)]
pub struct Server<W> {
    pub(super) connections: Connections<W>,
    pub(super) deadlines: Deadlines,
    pub(super) mailboxes: Arc<Mailboxes>,
    pub(super) completions: Arc<Completions>,
    pub(super) pool: Pool,
    pub(super) pools: Pools,
    pub(super) counters: Counters,
    pub(super) settings: Settings,
    pub(super) limits: Limits,
    pub(super) scratch: Box<[u8]>,
    /// Connections that have something left to do in their next turn.
    pub(super) ready: VecDeque<ConnectionId>,
    /// Connections to be removed after this batch of events.
    pub(super) closed: Vec<ConnectionId>,
    /// Connections that may have to be registered anew after it.
    pub(super) to_reregister: Vec<ConnectionId>,
    /// The time of this batch of events.
    pub(super) now: Instant,
    pub(super) started: Instant,
    pub(super) foreign_warned_at: Option<Instant>,
    /// Who has locked which mailbox.
    pub(super) lock_holders: BTreeSet<(u32, ConnectionId)>,
    /// The longest wait for each mailbox that anybody had to wait for.
    pub(super) longest_waits: HashMap<u32, Duration>,
    pub(super) watches: Watches,
    /// Events that have not reached everybody yet.
    pub(super) fanouts: VecDeque<Fanout>,
    pub(super) stopping: Stopping,
    /// Completions, while they are taken in; kept for its memory.
    pub(super) completions_buf: Vec<Completion>,
}

impl<W: Transport> Server<W> {
    /// A server without clients.
    pub fn new(
        mailboxes: Arc<Mailboxes>,
        pool: Pool,
        completions: Arc<Completions>,
        settings: Settings,
        now: Instant,
    ) -> Self {
        let geometry = mailboxes.geometry();
        let limits =
            Limits { mailboxes: geometry.mailboxes, capacity: geometry.capacity, packet: geometry.packet };
        Server {
            connections: Connections::with_capacity(settings.max_clients),
            deadlines: Deadlines::with_capacity(settings.max_clients),
            mailboxes,
            completions,
            pool,
            pools: Pools::default(),
            counters: Counters::default(),
            settings,
            limits,
            scratch: vec![0; SCRATCH_SIZE].into(),
            ready: VecDeque::new(),
            closed: Vec::new(),
            to_reregister: Vec::new(),
            now,
            started: now,
            foreign_warned_at: None,
            lock_holders: BTreeSet::new(),
            longest_waits: HashMap::new(),
            watches: Watches::default(),
            fanouts: VecDeque::new(),
            stopping: Stopping::No,
            completions_buf: Vec::new(),
        }
    }

    pub(super) fn has_stopped(&self) -> bool {
        match self.stopping {
            Stopping::No => false,
            Stopping::Draining(_) => self.connections.len() == 0,
            Stopping::Now => true,
        }
    }

    /// Lets a client in.
    pub(super) fn add_client(&mut self, wire: W, is_unix: bool) -> ConnectionId {
        self.counters.accepted += 1;
        let entered = self.now.saturating_duration_since(self.started).as_secs();
        self.connections.insert(|generation| {
            let mut connection = Connection::new(wire, is_unix, generation, self.now);
            connection.accepted_at_s = u32::try_from(entered).unwrap_or(u32::MAX);
            connection
        })
    }

    /// The end.
    pub(super) fn stop(self) {
        log::info!("stopped; {} requests were answered", self.counters.requests.total());
        self.pool.stop();
    }

    pub(super) fn is_full(&self) -> bool {
        self.connections.len() >= self.settings.max_clients
    }

    /// A new batch of events begins.
    pub(super) fn begin_tick(&mut self, now: Instant) {
        self.now = now;
        self.pool.begin_tick();
    }

    /// Does what this batch of events has made possible.
    pub(super) fn finish_tick(&mut self) {
        self.run_ready();
        self.expire_deadlines();
        self.drain_completions();
        self.send_events();
        self.pools.trim(self.now);
    }

    /// Whether there is something to do without waiting. From then on whoever posts wakes the reactor.
    pub(super) fn is_busy(&self) -> bool {
        // What was submitted since the jobs were dispatched, by an event or a broken connection, has its turn at once.
        let has_work = !self.ready.is_empty() || !self.fanouts.is_empty() || self.pool.has_submitted();
        has_work || !self.completions.prepare_to_sleep()
    }

    /// When there will be something to do.
    pub(super) fn next_deadline(&self) -> Option<Instant> {
        let drained = match self.stopping {
            Stopping::Draining(until) => Some(until),
            _ => None,
        };
        [self.deadlines.next(), drained, self.pools.trims_at()].into_iter().flatten().min()
    }

    /// Something happened at a client's socket: this is all that is known of it until it is attended to.
    pub(super) fn record_readiness(&mut self, id: ConnectionId, happened: Readiness) {
        let Some(connection) = self.connections.find(id) else { return };
        let Readiness { readable, hung_up, urgent, .. } = happened;
        connection.readable |= readable || hung_up;
        connection.hung_up |= hung_up;
        connection.reads_end_early |= urgent;
    }

    /// Does what has become possible by that.
    pub(super) fn on_ready(&mut self, id: ConnectionId, happened: Readiness) {
        let Some(connection) = self.connections.find(id) else { return };
        let Readiness { writable, broken: gone, .. } = happened;
        if writable && connection.has_output() {
            self.flush(id);
        } else if writable {
            self.resume(id);
            self.rearm(id);
        }
        let Some(connection) = self.connections.find(id) else { return };
        let (has_output, hung_up) = (connection.has_output(), connection.hung_up);
        match *connection.phase() {
            Phase::Idle if has_output && gone => self.close(id),
            Phase::Idle => self.receive(id),
            Phase::Waiting { .. } | Phase::Flushing(_) if gone => self.close(id),
            Phase::Waiting { mailbox, ticket, until } if hung_up => {
                let at_once = self.mailboxes.queue(mailbox).with_waiter(ticket, |job| job.needs_its_client());
                let until = Some(half_closed(until, self.now, at_once == Some(true)));
                connection.transition(Phase::Waiting { mailbox, ticket, until });
                self.rearm(id);
            }
            Phase::Lingering { .. } => self.discard(id),
            Phase::Waiting { .. } | Phase::Flushing(_) | Phase::Working | Phase::Closed => {}
        }
    }

    /// Gives the first in the line one turn each; who has more stands in the line again. In between the others are heard.
    pub(super) fn run_ready(&mut self) {
        for _ in 0..self.ready.len().min(READY_PER_TICK) {
            let Some(id) = self.ready.pop_front() else { break };
            if let Some(connection) = self.connections.find(id) {
                connection.is_ready = false;
                if connection.has_output() {
                    self.flush(id);
                } else if matches!(connection.phase(), Phase::Idle) {
                    self.receive(id);
                }
            }
        }
    }

    pub(super) fn receive(&mut self, id: ConnectionId) {
        let Some(connection) = self.connections.find(id) else { return };
        if connection.has_output() {
            // It is read again when that has left.
            return self.rearm(id);
        }
        match connection.receive(id, &mut self.scratch, &self.limits, &mut self.pools, self.now) {
            Ok(Received::Batch(job)) => {
                self.begin(job);
                if self.pool.is_cache_budget_spent() {
                    // While it is in the cache.
                    self.run_granted();
                }
            }
            Ok(Received::WouldBlock) if self.stopping != Stopping::No => self.close_gracefully(id),
            Ok(Received::WouldBlock) => self.rearm(id),
            Ok(Received::BudgetSpent) => self.schedule(id),
            Ok(Received::Eof) => self.close(id),
            Err(error) => self.fail(id, &error),
        }
    }

    pub(super) fn schedule(&mut self, id: ConnectionId) {
        if let Some(connection) = self.connections.find(id)
            && !std::mem::replace(&mut connection.is_ready, true)
        {
            self.ready.push_back(id);
        }
    }
}
