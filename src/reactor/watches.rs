//! The watches of all clients, grouped by position, and the events that are being sent to them. Pure: no
//! socket, clock or lock.
//!
//! A watch is a version, not a buffer: it costs the same whether its client reads or not. Watchers at the
//! same version of a mailbox are a group. A group has one read in the wait set of the mailbox, which brings
//! the next message for all of them.

use std::collections::{BTreeSet, HashMap, VecDeque, btree_set};
use std::sync::Arc;

use crate::mailboxes::{Cursor, Ticket};
use crate::protocol::Eol;
use crate::workers::{ConnectionId, WatchId};

/// Capacity of the tables that is always kept, in groups.
const CAPACITY_KEPT: usize = 1024;

/// A table is shrunk when it uses less than this fraction of its capacity: one of `SPARSE` places.
const SPARSE: usize = 8;

/// One mailbox that a client watches.
#[derive(Clone, Copy, Debug)]
pub(super) struct Watch {
    pub mailbox: u32,
    /// The version of the last message that was sent.
    pub version: u64,
    /// The end of line of the request, for its events.
    pub eol: Eol,
    pub state: WatchState,
}

/// The state of a watch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum WatchState {
    /// The watch belongs to the group of its position.
    Armed,
    /// An event is to be sent to the client, or was sent in the current fan-out.
    Pending,
    /// The watch has stopped until its client reads more.
    Lagging,
}

impl Watch {
    pub(super) fn position(&self) -> WatchPosition {
        WatchPosition { mailbox: self.mailbox, version: self.version, eol: self.eol }
    }
}

/// What the watchers of a group have in common.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct WatchPosition {
    pub mailbox: u32,
    /// The last version that the watchers have received.
    pub version: u64,
    pub eol: Eol,
}

/// The watchers at one position.
#[derive(Debug)]
struct Group {
    members: BTreeSet<ConnectionId>,
    read: WatchId,
    /// The ticket of the read in the wait set of the mailbox, once the read waits there.
    ticket: Option<Ticket>,
}

/// An event that is being sent to the watchers of a group.
#[derive(Debug)]
pub(super) struct Fanout {
    /// The position of its receivers.
    pub from: WatchPosition,
    /// The position of the receivers after the event.
    pub to: Cursor,
    pub bytes: Arc<Vec<u8>>,
    /// The receivers to which nothing was sent yet.
    pub left: btree_set::IntoIter<ConnectionId>,
    /// The receivers to which the whole event was sent.
    pub done: Vec<ConnectionId>,
}

/// A read that is to be started for a new group.
#[derive(Debug)]
pub(super) struct WatchRead {
    pub id: WatchId,
    pub position: WatchPosition,
    pub cursor: Cursor,
}

/// All groups, and the events that are being sent.
#[derive(Debug, Default)]
pub(super) struct Watches {
    groups: HashMap<WatchPosition, Group>,
    /// The position of each read.
    reads: HashMap<WatchId, WatchPosition>,
    next: u32,
    fanouts: VecDeque<Fanout>,
}

impl Watches {
    /// Adds watchers at a position. A new group needs a read.
    pub(super) fn join(
        &mut self,
        position: WatchPosition,
        cursor: Cursor,
        members: impl IntoIterator<Item = ConnectionId>,
    ) -> Option<WatchRead> {
        if let Some(group) = self.groups.get_mut(&position) {
            group.members.extend(members);
            return None;
        }
        let members: BTreeSet<ConnectionId> = members.into_iter().collect();
        if members.is_empty() {
            return None;
        }
        while self.reads.contains_key(&WatchId(self.next)) {
            self.next = self.next.wrapping_add(1);
        }
        let id = WatchId(self.next);
        self.next = self.next.wrapping_add(1);
        self.groups.insert(position, Group { members, read: id, ticket: None });
        self.reads.insert(id, position);
        Some(WatchRead { id, position, cursor })
    }

    /// Removes a watcher from a group. If the group is empty then, removes it and returns the ticket of its
    /// read.
    pub(super) fn leave(&mut self, position: WatchPosition, id: ConnectionId) -> Option<Ticket> {
        let group = self.groups.get_mut(&position)?;
        group.members.remove(&id);
        if !group.members.is_empty() {
            return None;
        }
        let group = self.groups.remove(&position)?;
        self.reads.remove(&group.read);
        self.shrink();
        group.ticket
    }

    /// Records the ticket of a waiting read. Returns false if no watcher needs the read any more.
    pub(super) fn set_ticket(&mut self, id: WatchId, ticket: Ticket) -> bool {
        let group = self.reads.get(&id).and_then(|position| self.groups.get_mut(position));
        group.map(|group| group.ticket = Some(ticket)).is_some()
    }

    /// Removes the group of a finished read. Returns its position and members.
    pub(super) fn take(&mut self, id: WatchId) -> Option<(WatchPosition, BTreeSet<ConnectionId>)> {
        let position = self.reads.remove(&id)?;
        let group = self.groups.remove(&position)?;
        Some((position, group.members))
    }

    /// Number of groups. Each has one read.
    pub(super) fn len(&self) -> usize {
        self.groups.len()
    }

    /// Queues an event for its receivers.
    pub(super) fn push_fanout(&mut self, fanout: Fanout) {
        self.fanouts.push_back(fanout);
    }

    /// Puts back an event that has receivers left. It is sent next.
    pub(super) fn resume_fanout_later(&mut self, fanout: Fanout) {
        self.fanouts.push_front(fanout);
    }

    /// Takes the event that is to be sent next.
    pub(super) fn pop_fanout(&mut self) -> Option<Fanout> {
        self.fanouts.pop_front()
    }

    pub(super) fn has_fanouts(&self) -> bool {
        !self.fanouts.is_empty()
    }

    /// Returns memory after many watchers have left.
    fn shrink(&mut self) {
        if self.groups.len() < self.groups.capacity() / SPARSE {
            self.groups.shrink_to(CAPACITY_KEPT);
        }
        if self.reads.len() < self.reads.capacity() / SPARSE {
            self.reads.shrink_to(CAPACITY_KEPT);
        }
    }
}
