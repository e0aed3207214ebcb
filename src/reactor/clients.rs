//! The table of all clients, with their deadlines, their changed interests, the queues of those that are
//! handled without an event, and the connections to be removed.
//!
//! Outside of this module, a connection is changed only through a [`ClientMut`]. When a [`ClientMut`] is
//! dropped, it registers the deadline, the interest and the unread answers of the new state, so no change can
//! omit this registration.

use std::collections::{BTreeSet, VecDeque};
use std::io;
use std::ops::{Deref, DerefMut, Range};
use std::time::{Duration, Instant};

use mio::Token;
use slab::Slab;

use super::Settings;
use super::connection::{Connection, DataError, Readiness, Received};
use super::deadlines::Deadlines;
use super::leases::Lease;
use super::phase::Phase;
use super::pools::Pools;
use super::transport::Transport;
use crate::mailboxes::Incoming;
use crate::protocol::Limits;
use crate::workers::{ConnectionId, Job};

/// Largest sum of the bytes that the kernel keeps until large messages have arrived. Other messages are
/// received into memory, which has a limit, too.
const AWAITED_MAX: usize = 64 * 1024 * 1024;

/// Tokens below this one belong to the reactor's own sources.
pub(super) const FIRST_TOKEN: usize = 16;

/// The token of a connection. An event for a connection that was removed finds no client.
pub(super) fn token_of(id: ConnectionId) -> Token {
    Token(((id.generation as usize) << 32 | id.slot as usize) + FIRST_TOKEN)
}

/// The connection of a token.
pub(super) fn id_of(token: Token) -> ConnectionId {
    let value = token.0 - FIRST_TOKEN;
    ConnectionId { slot: value as u32, generation: (value >> 32) as u32 }
}

/// Connections by slot, each with the generation that distinguishes it from earlier connections in its slot.
#[derive(Debug)]
pub(super) struct Clients<T> {
    table: Slab<Connection<T>>,
    generation: u32,
    deadlines: Deadlines,
    ready: ReadyQueues,
    /// Connections to be removed after this poll's events.
    closing: Vec<ConnectionId>,
    /// Connections whose interest may have changed.
    to_reregister: Vec<ConnectionId>,
    /// Connections with unread answers, by the memory of these answers in kB.
    unread: BTreeSet<(u32, ConnectionId)>,
    kernel_memory: KernelMemory,
    silence: Duration,
    limits: Limits,
}

impl<T: Transport> Clients<T> {
    /// A table with room for all clients, allocated now.
    pub(super) fn new(settings: &Settings, limits: Limits) -> Self {
        let max = settings.max_clients;
        Clients {
            table: Slab::with_capacity(max),
            generation: 0,
            deadlines: Deadlines::with_capacity(max),
            ready: ReadyQueues::default(),
            closing: Vec::new(),
            to_reregister: Vec::new(),
            unread: BTreeSet::new(),
            kernel_memory: KernelMemory { awaited: 0, is_used: settings.inline_budget > 0 },
            silence: settings.quiet,
            limits,
        }
    }

    /// Adds the connection that `make` returns for a new generation.
    pub(super) fn insert(&mut self, make: impl FnOnce(u32) -> Connection<T>) -> ConnectionId {
        self.generation = self.generation.wrapping_add(1);
        let slot = self.table.insert(make(self.generation));
        ConnectionId {
            slot: u32::try_from(slot).expect("bounded by the descriptors"),
            generation: self.generation,
        }
    }

    /// The client for changes, unless it was closed.
    pub(super) fn get(&mut self, id: ConnectionId) -> Option<ClientMut<'_, T>> {
        let Clients { table, deadlines, ready, to_reregister, unread, kernel_memory, limits, .. } = self;
        let connection = table.get_mut(id.slot as usize).filter(|connection| is_open(connection, id))?;
        let silence = self.silence;
        Some(ClientMut {
            id,
            connection,
            deadlines,
            ready,
            to_reregister,
            unread,
            kernel_memory,
            silence,
            limits,
        })
    }

    /// The client, unless it was closed.
    pub(super) fn look(&self, id: ConnectionId) -> Option<&Connection<T>> {
        self.table.get(id.slot as usize).filter(|connection| is_open(connection, id))
    }

    /// The open connection in a slot.
    pub(super) fn in_slot(&self, slot: u32) -> Option<ConnectionId> {
        let connection = self.table.get(slot as usize)?;
        let id = ConnectionId { slot, generation: connection.generation };
        is_open(connection, id).then_some(id)
    }

    /// Records the readiness of a socket that a poll has reported, before the event is handled.
    pub(super) fn record_readiness(&mut self, id: ConnectionId, readiness: Readiness) {
        let connection = self.table.get_mut(id.slot as usize).filter(|connection| is_open(connection, id));
        if let Some(connection) = connection {
            connection.record_readiness(readiness);
        }
    }

    /// Closes a connection. Returns its last phase. [`Clients::remove_later`] removes it.
    pub(super) fn close(&mut self, id: ConnectionId) -> Option<Phase> {
        let connection = self.table.get_mut(id.slot as usize).filter(|connection| is_open(connection, id))?;
        let phase = connection.transition(Phase::Closed);
        connection.free_buffers();
        self.kernel_memory.awaited -= connection.awaited_bytes();
        self.unread.remove(&(connection.recorded_unread_kb, id));
        self.deadlines.disarm(id);
        Some(phase)
    }

    /// The client whose unread answers take the most memory.
    pub(super) fn largest_unread(&self) -> Option<ConnectionId> {
        self.unread.last().map(|(_, id)| *id)
    }

    /// Queues a closed connection to be removed after this poll's events.
    pub(super) fn remove_later(&mut self, id: ConnectionId) {
        self.closing.push(id);
    }

    /// Removes a closed connection and closes its socket. Returns whether there was one.
    pub(super) fn remove_closed(&mut self) -> bool {
        let Some(id) = self.closing.pop() else { return false };
        let removed = self.table.remove(id.slot as usize);
        assert_eq!(removed.generation, id.generation, "a connection is removed once");
        true
    }

    /// The next connection whose deadline has passed.
    pub(super) fn expire(&mut self, now: Instant) -> Option<ConnectionId> {
        while let Some(id) = self.deadlines.expire(now) {
            // An entry is never moved to a later time, so the connection may have a later deadline by now.
            let deadline = self.look(id).and_then(|found| found.deadline(self.silence, &self.limits));
            match deadline {
                Some(at) if at <= now => return Some(id),
                Some(at) => self.deadlines.arm(id, at),
                None => {}
            }
        }
        None
    }

    pub(super) fn next_deadline(&self) -> Option<Instant> {
        self.deadlines.next()
    }

    /// Whether closed connections are still to be removed.
    pub(super) fn has_closed(&self) -> bool {
        !self.closing.is_empty()
    }

    /// Number of connections whose event was not handled.
    pub(super) fn postponed(&self) -> usize {
        self.ready.postponed.len()
    }

    /// Number of connections that continue without an event.
    pub(super) fn continuing(&self) -> usize {
        self.ready.continuing.len()
    }

    /// Whether connections are handled without a further event.
    pub(super) fn has_ready(&self) -> bool {
        self.postponed() + self.continuing() > 0
    }

    /// Takes the first of the connections whose event was not handled.
    pub(super) fn pop_postponed(&mut self) -> Option<ConnectionId> {
        let id = self.ready.postponed.pop_front()?;
        self.clear_ready(id)
    }

    /// Takes the first of the connections that continue without an event.
    pub(super) fn pop_continuing(&mut self) -> Option<ConnectionId> {
        let id = self.ready.continuing.pop_front()?;
        self.clear_ready(id)
    }

    fn clear_ready(&mut self, id: ConnectionId) -> Option<ConnectionId> {
        if let Some(connection) = self.table.get_mut(id.slot as usize).filter(|found| is_open(found, id)) {
            connection.is_ready = false;
        }
        Some(id)
    }

    /// Takes a connection out of the list of those whose interest may have changed.
    pub(super) fn pop_reregister(&mut self) -> Option<ConnectionId> {
        self.to_reregister.pop()
    }

    pub(super) fn len(&self) -> usize {
        self.table.len()
    }

    /// The ids of all connections.
    pub(super) fn ids(&self) -> Vec<ConnectionId> {
        self.iter().map(|(id, _)| id).collect()
    }

    /// All connections in this slot and later ones.
    pub(super) fn from(&self, slot: usize) -> impl Iterator<Item = (ConnectionId, &Connection<T>)> {
        let slots = slot..self.table.capacity();
        slots.filter_map(|slot| {
            let connection = self.table.get(slot)?;
            Some((ConnectionId { slot: slot as u32, generation: connection.generation }, connection))
        })
    }

    /// All connections.
    pub(super) fn iter(&self) -> impl Iterator<Item = (ConnectionId, &Connection<T>)> {
        self.table.iter().map(|(slot, connection)| {
            (ConnectionId { slot: slot as u32, generation: connection.generation }, connection)
        })
    }
}

fn is_open<T: Transport>(connection: &Connection<T>, id: ConnectionId) -> bool {
    connection.generation == id.generation && !matches!(connection.phase(), Phase::Closed)
}

/// Connections that are handled without a further event, each in at most one queue. A client with a single
/// small request is not delayed by all clients that have sent more than their share of a tick.
#[derive(Debug, Default)]
struct ReadyQueues {
    /// Connections whose event was not handled, because the budget was spent. They are first in the next
    /// tick.
    postponed: VecDeque<ConnectionId>,
    /// Connections that have had their share of a tick, and continue after the events of the next one.
    continuing: VecDeque<ConnectionId>,
}

/// The data of large messages that the kernel keeps until all of it has arrived.
#[derive(Debug)]
struct KernelMemory {
    /// Bytes of this data.
    awaited: usize,
    /// Large data is received into its mailbox. Otherwise the kernel keeps none.
    is_used: bool,
}

impl KernelMemory {
    /// Bytes that may still be left to the kernel; `None` if all data is received into memory.
    fn left(&self) -> Option<usize> {
        self.is_used.then(|| AWAITED_MAX - self.awaited)
    }
}

/// A client that is being changed.
#[derive(Debug)]
pub(super) struct ClientMut<'a, T: Transport> {
    id: ConnectionId,
    connection: &'a mut Connection<T>,
    deadlines: &'a mut Deadlines,
    ready: &'a mut ReadyQueues,
    to_reregister: &'a mut Vec<ConnectionId>,
    unread: &'a mut BTreeSet<(u32, ConnectionId)>,
    kernel_memory: &'a mut KernelMemory,
    silence: Duration,
    limits: &'a Limits,
}

impl<T: Transport> ClientMut<'_, T> {
    /// Lets the connection continue in the next tick, without an event.
    pub(super) fn schedule(&mut self) {
        if !std::mem::replace(&mut self.connection.is_ready, true) {
            self.ready.continuing.push_back(self.id);
        }
    }

    /// Leaves the event of the connection for the next tick.
    pub(super) fn postpone(&mut self) {
        if !std::mem::replace(&mut self.connection.is_ready, true) {
            self.ready.postponed.push_back(self.id);
        }
    }

    /// Receives the next batch; see [`Connection::receive`].
    pub(super) fn receive(
        &mut self,
        scratch: &mut [u8],
        pools: &mut Pools,
        now: Instant,
    ) -> io::Result<Received> {
        let kernel_memory = self.kernel_memory.left();
        let before = self.connection.awaited_bytes();
        let received = self.connection.receive(self.id, scratch, self.limits, pools, kernel_memory, now);
        let after = self.connection.awaited_bytes();
        self.kernel_memory.awaited = self.kernel_memory.awaited + after - before;
        received
    }

    /// Receives the data of a request into its mailbox; see [`Connection::receive_data`].
    pub(super) fn receive_data(
        &mut self,
        body: Range<usize>,
        pools: &mut Pools,
        now: Instant,
        store: impl FnOnce(Incoming<'_, DataError>) -> Result<bool, DataError>,
    ) -> Result<bool, DataError> {
        let before = self.connection.awaited_bytes();
        let stored = self.connection.receive_data(body, pools, now, store);
        self.kernel_memory.awaited -= before - self.connection.awaited_bytes();
        stored
    }

    /// Lets the data of a request be received into memory; see [`Connection::load_data`].
    pub(super) fn load_data(&mut self) {
        self.kernel_memory.awaited -= self.connection.awaited_bytes();
        self.connection.load_data();
    }

    /// Begins a batch: the job gets the locks, the messages in hand and the read cursor of the connection,
    /// and the leases that have not expired are renewed. Returns the expired leases.
    pub(super) fn begin(&mut self, job: &mut Job, now: Instant) -> Vec<Lease> {
        self.connection.transition(Phase::Working);
        self.connection.requests += job.requests.len() as u64;
        let Some(extras) = &mut self.connection.extras else { return Vec::new() };
        job.locks = extras.locks.take();
        job.receipts = extras.receipts.take();
        job.cursor = extras.read_cursor;
        let expired = extras.leases.take_expired(now);
        extras.leases.renew(now);
        expired
    }

    /// Ends a batch: the connection takes back its locks, its messages in hand and its read cursor, and is
    /// read again.
    pub(super) fn end(&mut self, job: &mut Job, now: Instant) {
        if job.locks.is_some() || job.receipts.is_some() || job.cursor.is_some() {
            let extras = self.connection.extras(now);
            extras.locks = job.locks.take();
            extras.receipts = job.receipts.take();
            extras.answered_at = now;
            extras.read_cursor = job.cursor.or(extras.read_cursor);
        }
        self.connection.set_idle(now);
    }

    /// Removes the leases that have expired.
    pub(super) fn take_expired_leases(&mut self, now: Instant) -> Vec<Lease> {
        self.connection.extras.as_mut().map_or(Vec::new(), |extras| extras.leases.take_expired(now))
    }

    /// Completes the last request after a silence, if only its end of line is missing; see
    /// [`Connection::complete_on_silence`].
    pub(super) fn complete_on_silence(&mut self, pools: &mut Pools) -> Option<Box<Job>> {
        self.connection.complete_on_silence(self.id, self.limits, pools)
    }

    /// Whether silence may complete the bytes that have arrived.
    pub(super) fn awaits_silence(&self) -> bool {
        self.connection.awaited_silence(self.silence, self.limits).is_some()
    }
}

impl<T: Transport> Deref for ClientMut<'_, T> {
    type Target = Connection<T>;

    fn deref(&self) -> &Connection<T> {
        self.connection
    }
}

impl<T: Transport> DerefMut for ClientMut<'_, T> {
    fn deref_mut(&mut self) -> &mut Connection<T> {
        self.connection
    }
}

impl<T: Transport> Drop for ClientMut<'_, T> {
    #[inline]
    fn drop(&mut self) {
        if self.connection.is_quiet() {
            return;
        }
        if !self.connection.is_registered() {
            self.to_reregister.push(self.id);
        }
        let unread = self.connection.unread_kb();
        let recorded = std::mem::replace(&mut self.connection.recorded_unread_kb, unread);
        if unread != recorded {
            self.unread.remove(&(recorded, self.id));
            if unread > 0 {
                self.unread.insert((unread, self.id));
            }
        }
        if let Some(at) = self.connection.deadline(self.silence, self.limits) {
            self.deadlines.arm(self.id, at);
        }
    }
}
