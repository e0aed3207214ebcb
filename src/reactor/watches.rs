//! Who watches what, gathered by where they stand. Pure: no socket, clock or lock.
//!
//! A watcher is a version, not a buffer: it costs the same whether its client reads or not. Those who have seen the same
//! version of the same mailbox are one group, and a group has one standing read, which brings its next message for all
//! of them.

use std::collections::{BTreeSet, HashMap};

use crate::mailboxes::{Cursor, Ticket};
use crate::protocol::Eol;
use crate::workers::ConnectionId;

/// The slot of a standing read: it belongs to no connection. Its generation is its number.
pub const NOBODY: u32 = u32::MAX;

/// Groups whose room is always kept, and how much of a larger room may be empty.
const ROOM_KEPT: usize = 1024;
const SPARE: usize = 8;

/// Where a group stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct WatchPosition {
    /// At which mailbox.
    pub mailbox: u32,
    /// The last version that its watchers have seen.
    pub version: u64,
    /// How they want lines to end.
    pub eol: Eol,
}

/// Watchers that stand at one place.
#[derive(Debug, Default)]
pub struct Group {
    /// Who they are.
    pub members: BTreeSet<ConnectionId>,
    /// The number of their standing read.
    read: u32,
    /// Where that waits, once it does.
    ticket: Option<Ticket>,
}

/// All groups.
#[derive(Debug, Default)]
pub struct Watches {
    groups: HashMap<WatchPosition, Group>,
    /// The standing reads, by number: for whom each is.
    reads: HashMap<u32, WatchPosition>,
    next: u32,
}

/// A standing read that is to be started.
#[derive(Debug)]
pub struct StandingRead {
    /// What comes home to nobody.
    pub id: ConnectionId,
    /// For whom it is.
    pub stand: WatchPosition,
    /// Where it starts.
    pub cursor: Cursor,
}

impl Watches {
    /// Adds watchers at a place. A new group needs a standing read.
    pub fn join(
        &mut self,
        stand: WatchPosition,
        cursor: Cursor,
        members: impl IntoIterator<Item = ConnectionId>,
    ) -> Option<StandingRead> {
        let group = self.groups.entry(stand).or_default();
        let is_new = group.members.is_empty();
        group.members.extend(members);
        if group.members.is_empty() {
            self.groups.remove(&stand);
            return None;
        }
        if !is_new {
            return None;
        }
        while self.reads.contains_key(&self.next) {
            self.next = self.next.wrapping_add(1);
        }
        group.read = self.next;
        self.reads.insert(self.next, stand);
        let id = ConnectionId { slot: NOBODY, generation: self.next };
        self.next = self.next.wrapping_add(1);
        Some(StandingRead { id, stand, cursor })
    }

    /// Removes a watcher from a place. The place in the queue of a standing read that nobody needs any more is returned.
    pub fn leave(&mut self, stand: WatchPosition, id: ConnectionId) -> Option<Ticket> {
        let group = self.groups.get_mut(&stand)?;
        group.members.remove(&id);
        if !group.members.is_empty() {
            return None;
        }
        let group = self.groups.remove(&stand)?;
        self.reads.remove(&group.read);
        self.shrink();
        group.ticket
    }

    /// A standing read waits; false when nobody needs it any more.
    pub fn set_ticket(&mut self, id: ConnectionId, ticket: Ticket) -> bool {
        let group = self.reads.get(&id.generation).and_then(|stand| self.groups.get_mut(stand));
        let Some(group) = group else { return false };
        group.ticket = Some(ticket);
        true
    }

    /// A standing read has come home: for whom. Nobody stands there any more.
    pub fn take(&mut self, id: ConnectionId) -> Option<(WatchPosition, Group)> {
        let stand = self.reads.remove(&id.generation)?;
        let group = self.groups.remove(&stand)?;
        Some((stand, group))
    }

    /// Gives memory back after a crowd: a table keeps its room however few are left in it.
    fn shrink(&mut self) {
        if self.groups.len() < self.groups.capacity() / SPARE {
            self.groups.shrink_to(ROOM_KEPT);
        }
        if self.reads.len() < self.reads.capacity() / SPARE {
            self.reads.shrink_to(ROOM_KEPT);
        }
    }

    /// How many standing reads there are.
    pub fn len(&self) -> usize {
        self.groups.len()
    }
}
