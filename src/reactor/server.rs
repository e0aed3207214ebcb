//! The server without its poll. Sockets and time are parameters.
//!
//! `Server` passes each event, completion and deadline to the part that handles it. `Server` must never touch
//! the poll, a signal or a listener, because they belong to the [`Reactor`](super::Reactor). So the whole
//! `Server` also runs in a simulation, over byte pipes and a virtual clock.
//!
//! | | |
//! |---|---|
//! | `drive` | a tick, and the loop that moves a job to its mailbox, the pool and the socket |
//! | `backlog` | work that is left for later ticks |
//! | `waits` | requests that wait, and their timeouts |
//! | `inflight` | taken messages that their clients have not received |
//! | `locking` | locks and leases |
//! | `hands` | messages in hand whose clients do not end them |
//! | `watching` | watches and events |
//! | `memory` | what happens when the memory for clients is used up |
//! | `packets` | requests over UDP |
//! | `closing` | the end of a connection, and of the server |
//! | `handover` | the end of all connections for a new server, and the way back |
//! | `report` | `stat` |

mod backlog;
mod closing;
mod drive;
mod handover;
mod hands;
mod inflight;
mod locking;
mod memory;
mod packets;
mod receiving;
mod report;
mod sending;
mod waits;
mod watching;

use std::collections::HashMap;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use mio::Interest;

use super::budget::{Budgets, TickTimes};
use super::clients::Clients;
use super::connection::{Connection, ListenerKind, SCRATCH_SIZE};
use super::locks::Locks;
use super::pools::Pools;
use super::stat::Counters;
use super::transport::Transport;
use super::watches::Watches;
use super::{Settings, Stopping};
use crate::mailboxes::Geometry;
use crate::protocol::Limits;
use crate::workers::{Completion, Completions, ConnectionId, Mailboxes, Pool};

use backlog::Backlog;
pub(crate) use closing::DRAIN;
use packets::Packets;

/// The limits of requests.
fn limits(mailboxes: &Mailboxes) -> Limits {
    let names = mailboxes.names();
    let Geometry { mailboxes, capacity, packet } = mailboxes.geometry();
    Limits { mailboxes, capacity, packet, names: names.clone() }
}

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
    memory_warned_at: Option<Instant>,
    /// When the rounds that are suspended for lack of memory are resumed.
    rounds_resume_at: Instant,
    /// Stored so that its memory is reused.
    completions_buf: Vec<Completion>,
    pub(super) budgets: Budgets,
    backlog: Backlog,
    packets: Packets,
    tick_times: TickTimes,
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
        Server {
            clients: Clients::new(&settings, limits(&mailboxes)),
            mailboxes,
            pool,
            counters: Counters::default(),
            completions,
            pools: Pools::new(settings.inline_budget == 0),
            locks: Locks::default(),
            watches: Watches::default(),
            settings,
            scratch: vec![0; SCRATCH_SIZE].into(),
            now,
            started: now,
            stopping: Stopping::No,
            longest_waits: HashMap::new(),
            foreign_warned_at: None,
            memory_warned_at: None,
            rounds_resume_at: now,
            completions_buf: Vec::new(),
            budgets: Budgets::default(),
            backlog: Backlog::default(),
            packets: Packets::default(),
            tick_times: TickTimes::default(),
        }
    }

    // ---- clients ----

    /// Adds a client.
    pub(super) fn add_client(&mut self, transport: T, listener: ListenerKind) -> ConnectionId {
        self.counters.accepted += 1;
        let accepted_at = self.now.saturating_duration_since(self.started).as_secs();
        let now = self.now;
        self.clients.insert(|generation| {
            let mut connection = Connection::new(transport, listener, generation, now);
            connection.accepted_at_s = u32::try_from(accepted_at).unwrap_or(u32::MAX);
            connection
        })
    }

    pub(super) fn is_full(&self) -> bool {
        self.clients.len() >= self.settings.max_clients
    }

    /// Whether closed connections are still to be removed.
    pub(super) fn removes_clients(&self) -> bool {
        self.clients.has_closed() || self.backlog.has_endings()
    }

    pub(super) fn max_clients(&self) -> usize {
        self.settings.max_clients
    }

    // ---- ticks ----

    /// Begins a tick.
    pub(super) fn begin_tick(&mut self, now: Instant) {
        self.now = now;
        self.pool.begin_tick();
        self.budgets.refill();
    }

    /// Ends a tick.
    pub(super) fn end_tick(&mut self, now: Instant) {
        self.tick_times.record(self.now, now);
    }

    /// The time of this tick.
    pub(super) fn now(&self) -> Instant {
        self.now
    }

    /// Whether there is work that needs no event. If there is none, the next completion wakes the reactor.
    pub(super) fn is_busy(&self) -> bool {
        let has_work = self.clients.has_ready() || self.watches.has_fanouts() || self.pool.has_submitted();
        has_work
            || self.clients.has_closed()
            || !self.backlog.is_empty()
            || !self.completions.prepare_to_sleep()
    }

    /// The next deadline.
    pub(super) fn next_deadline(&self) -> Option<Instant> {
        let drained = match self.stopping {
            Stopping::Draining(until) | Stopping::HandedOver(until) => Some(until),
            Stopping::No | Stopping::EndingWaits | Stopping::HandingOver | Stopping::Now => None,
        };
        let rounds = self.watches.has_suspended().then_some(self.rounds_resume_at);
        [self.clients.next_deadline(), drained, self.pools.trims_at(), rounds].into_iter().flatten().min()
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

    /// Whether events are being sent to watchers, or work is left for a later tick.
    #[cfg(all(test, not(feature = "loom")))]
    pub(super) fn has_work_left(&self) -> bool {
        self.watches.has_fanouts() || !self.backlog.is_empty()
    }

    /// The number of locks and the number of watched mailboxes.
    #[cfg(all(test, not(feature = "loom")))]
    pub(super) fn tables(&self) -> (usize, usize) {
        (self.locks.len(), self.watches.mailboxes())
    }
}
