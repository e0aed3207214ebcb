//! The server without its poll. Sockets and time are parameters.
//!
//! `Server` routes: an event, a completion or a deadline goes to the part that it concerns. It must never
//! touch the poll, a signal or a listener: those are the [`Reactor`](super::Reactor)'s. So all of it also
//! runs in a simulation, over byte pipes and a virtual clock.
//!
//! | | |
//! |---|---|
//! | `drive` | the loop that moves a job to its mailbox, the pool and the socket |
//! | `waits` | requests that wait, and their timeouts |
//! | `inflight` | taken messages that their clients have not received |
//! | `locking` | locks and leases |
//! | `watching` | watches and events |
//! | `closing` | the end of a connection, and of the server |
//! | `report` | `stat` |

mod closing;
mod drive;
mod inflight;
mod locking;
mod report;
mod waits;
mod watching;

use std::collections::HashMap;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use mio::Interest;

use super::clients::Clients;
use super::connection::{Connection, Readiness, Received, SCRATCH_SIZE};
use super::locks::Locks;
use super::phase::Phase;
use super::pools::Pools;
use super::stat::Counters;
use super::transport::Transport;
use super::watches::Watches;
use super::{Settings, Stopping};
use crate::protocol::Limits;
use crate::workers::{Completion, Completions, ConnectionId, Mailboxes, Pool};

pub(crate) use closing::DRAIN;

/// Largest number of connections of the ready queue that are handled in one tick, before the next poll.
const READY_PER_TICK: usize = 64;

/// All clients and the state of the server.
#[derive(Debug)]
pub(super) struct Server<T> {
    pub(super) clients: Clients<T>,
    pub(super) mailboxes: Arc<Mailboxes>,
    pub(super) pool: Pool,
    pub(super) counters: Counters,
    completions: Arc<Completions>,
    pools: Pools,
    locks: Locks,
    watches: Watches,
    settings: Settings,
    scratch: Box<[u8]>,
    /// The time of this tick.
    now: Instant,
    started: Instant,
    stopping: Stopping,
    /// The longest finished wait at each mailbox.
    longest_waits: HashMap<u32, Duration>,
    foreign_warned_at: Option<Instant>,
    /// Stored so that its memory is reused.
    completions_buf: Vec<Completion>,
}

impl<T: Transport> Server<T> {
    /// A server without clients.
    pub(super) fn new(
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
            clients: Clients::new(settings.max_clients, settings.quiet, limits),
            mailboxes,
            pool,
            counters: Counters::default(),
            completions,
            pools: Pools::default(),
            locks: Locks::default(),
            watches: Watches::default(),
            settings,
            scratch: vec![0; SCRATCH_SIZE].into(),
            now,
            started: now,
            stopping: Stopping::No,
            longest_waits: HashMap::new(),
            foreign_warned_at: None,
            completions_buf: Vec::new(),
        }
    }

    // ---- clients ----

    /// Adds a client.
    pub(super) fn add_client(&mut self, transport: T, is_unix: bool) -> ConnectionId {
        self.counters.accepted += 1;
        let accepted_at = self.now.saturating_duration_since(self.started).as_secs();
        let now = self.now;
        self.clients.insert(|generation| {
            let mut connection = Connection::new(transport, is_unix, generation, now);
            connection.accepted_at_s = u32::try_from(accepted_at).unwrap_or(u32::MAX);
            connection
        })
    }

    pub(super) fn is_full(&self) -> bool {
        self.clients.len() >= self.settings.max_clients
    }

    pub(super) fn max_clients(&self) -> usize {
        self.settings.max_clients
    }

    // ---- ticks ----

    /// Begins a tick.
    pub(super) fn begin_tick(&mut self, now: Instant) {
        self.now = now;
        self.pool.begin_tick();
    }

    /// The time of this tick.
    pub(super) fn now(&self) -> Instant {
        self.now
    }

    /// Handles ready connections, expired deadlines, completions and events.
    pub(super) fn finish_tick(&mut self) {
        self.run_ready();
        self.expire_deadlines();
        self.drain_completions();
        self.send_events();
        self.pools.trim(self.now);
    }

    /// Whether there is work that needs no event. If not, the next completion wakes the reactor.
    pub(super) fn is_busy(&self) -> bool {
        let has_work = self.clients.ready() > 0 || self.watches.has_fanouts() || self.pool.has_submitted();
        has_work || !self.completions.prepare_to_sleep()
    }

    /// The next deadline.
    pub(super) fn next_deadline(&self) -> Option<Instant> {
        let drained = match self.stopping {
            Stopping::Draining(until) => Some(until),
            _ => None,
        };
        [self.clients.next_deadline(), drained, self.pools.trims_at()].into_iter().flatten().min()
    }

    /// Handles each connection of the ready queue once.
    pub(super) fn run_ready(&mut self) {
        for _ in 0..self.clients.ready().min(READY_PER_TICK) {
            let Some(id) = self.clients.pop_ready() else { break };
            match self.clients.look(id) {
                Some(client) if client.has_output() => self.flush(id),
                Some(_) => self.on_ready(id, Readiness::default()),
                None => {}
            }
        }
    }

    /// Calls `register` for each connection whose interest has changed, with its transport and the new
    /// interest.
    pub(super) fn reregister(
        &mut self,
        mut register: impl FnMut(ConnectionId, &T, Interest) -> io::Result<()>,
    ) {
        while let Some(id) = self.clients.pop_reregister() {
            let Some(mut client) = self.clients.get(id) else { continue };
            let Some(interest) = client.changed_interest() else { continue };
            if let Err(error) = register(id, client.transport(), interest) {
                drop(client);
                self.fail(id, &error);
            }
        }
    }

    /// Whether events are being sent to watchers.
    #[cfg(all(test, not(feature = "loom")))]
    pub(super) fn has_fanouts(&self) -> bool {
        self.watches.has_fanouts()
    }

    /// How many locks and groups of watchers there are.
    #[cfg(all(test, not(feature = "loom")))]
    pub(super) fn tables(&self) -> (usize, usize) {
        (self.locks.len(), self.watches.len())
    }

    // ---- events ----

    /// Handles what a poll says of a socket; [`Clients::record_readiness`] has recorded it before.
    pub(super) fn on_ready(&mut self, id: ConnectionId, readiness: Readiness) {
        if readiness.writable {
            self.on_writable(id);
        }
        let Some(mut client) = self.clients.get(id) else { return };
        match client.phase() {
            Phase::Idle if !client.has_output() => {}
            Phase::Idle | Phase::Waiting { .. } | Phase::Flushing(_) if readiness.broken => {
                drop(client);
                return self.close(id);
            }
            Phase::Waiting { .. } if client.hung_up => {
                drop(client);
                return self.shorten_wait(id);
            }
            Phase::Lingering { .. } => {
                drop(client);
                return self.discard(id);
            }
            // The client is read again when its answers are written.
            Phase::Idle | Phase::Waiting { .. } | Phase::Flushing(_) | Phase::Working | Phase::Closed => {
                return;
            }
        }
        match client.receive(&mut self.scratch, &mut self.pools, self.now) {
            Ok(Received::Batch(mut job)) => {
                let expired = client.begin(&mut job, self.now);
                drop(client);
                if !expired.is_empty() {
                    self.expire_locks(id, expired, &mut job.locks, &mut job.output);
                }
                self.drive(id, job);
                if self.pool.is_cache_budget_spent() {
                    // Now, while the large messages are in the cache.
                    self.run_granted();
                }
            }
            Ok(Received::WouldBlock) if self.stopping != Stopping::No => {
                drop(client);
                self.close_gracefully(id);
            }
            Ok(Received::WouldBlock) => {}
            Ok(Received::BudgetSpent) => client.schedule(),
            Ok(Received::Eof) => {
                drop(client);
                self.close(id);
            }
            Err(error) => {
                drop(client);
                self.fail(id, &error);
            }
        }
    }

    fn on_writable(&mut self, id: ConnectionId) {
        match self.clients.look(id) {
            Some(client) if client.has_output() => self.flush(id),
            Some(_) => self.resume(id),
            None => {}
        }
    }
}
