//! The watches of all clients, ordered by mailbox and version, and the events that are being sent to them.
//! Pure: no socket, clock or lock.
//!
//! A watch stores a version and no messages, so it costs the same whether its client reads or not. While the
//! watchers of a mailbox have received all messages, no job waits for the next message. Instead, the
//! admission of the mailbox stores the lowest version after which a message is awaited. A newer message
//! begins a *round* of the mailbox. One read gets the next message for the watchers with the lowest version,
//! and the message is sent to all of them. The round continues with the next read until no waiting watch has
//! a newer message to get.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::sync::Arc;

use crate::mailboxes::{Cursor, Ticket};
use crate::protocol::Eol;

/// Approximate number of bytes of a watch in the list of its client and in the tree of all watches. The nodes
/// of the tree are between half full and full.
pub(super) const WATCH_MEMORY: usize = 48;

/// Capacity of the table of rounds that is always kept.
const CAPACITY_KEPT: usize = 1024;

/// The position of a watch. All watches at one position get the same event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct WatchPosition {
    pub mailbox: u32,
    /// The last version that the watchers have received.
    pub version: u64,
    /// The end of line of the `watch` requests, which the events also use.
    pub eol: Eol,
    /// The watches began while an event was being sent to the other watches with this version. They do not
    /// get that event, because its message may have been gone when they began.
    pub is_late: bool,
}

/// A watch that waits for the next message of its mailbox. The order of the fields is the order of the
/// watches.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Armed {
    mailbox: u32,
    /// The version, then a bit for the end of line and one for `is_late`. A version has at most 62 bits.
    place: u64,
    /// The slot of the connection. The watches of the connection end before the slot is used again.
    slot: u32,
}

const _: () = assert!(size_of::<Armed>() == 16, "a watch costs at most 64 bytes");

impl Armed {
    fn new(position: WatchPosition, slot: u32) -> Self {
        let WatchPosition { mailbox, version, eol, is_late } = position;
        let place = version << 2 | u64::from(eol == Eol::CrLf) << 1 | u64::from(is_late);
        Armed { mailbox, place, slot }
    }

    fn position(&self) -> WatchPosition {
        WatchPosition {
            mailbox: self.mailbox,
            version: self.place >> 2,
            eol: if self.place & 2 == 0 { Eol::Lf } else { Eol::CrLf },
            is_late: self.place & 1 == 1,
        }
    }
}

/// The current step of a round.
#[derive(Debug)]
enum Round {
    /// The next message is being read. The ticket is that of the read, if it waits for the mailbox.
    Reading(WatchPosition, Option<Ticket>),
    /// There was no memory for the next message. The read is tried again later.
    Exhausted,
    Sending(Fanout),
}

/// An event that is being sent to the watchers at a position.
#[derive(Clone, Debug)]
pub(super) struct Fanout {
    /// The position of its receivers.
    pub from: WatchPosition,
    /// The position of the receivers after the event.
    pub to: Cursor,
    pub bytes: Arc<Vec<u8>>,
}

/// All waiting watches, and the rounds of their mailboxes.
#[derive(Debug, Default)]
pub(super) struct Watches {
    armed: BTreeSet<Armed>,
    /// Number of mailboxes with waiting watches.
    mailboxes: usize,
    rounds: HashMap<u32, Round>,
    /// The mailboxes whose rounds are suspended.
    suspended: VecDeque<u32>,
    /// The mailboxes whose rounds are sending, in the order in which they began to send.
    sending: VecDeque<u32>,
    /// By mailbox with a long list: the cursor after the last message that was sent. It finds the next
    /// message without a walk over the list.
    cursors: HashMap<u32, Cursor>,
}

impl Watches {
    /// The position of a new watch.
    pub(super) fn position(&self, mailbox: u32, version: u64, eol: Eol) -> WatchPosition {
        let position = WatchPosition { mailbox, version, eol, is_late: false };
        let is_late =
            matches!(self.rounds.get(&mailbox), Some(Round::Sending(fanout)) if fanout.from == position);
        WatchPosition { is_late, ..position }
    }

    /// Adds a watch at a position.
    pub(super) fn arm(&mut self, position: WatchPosition, slot: u32) {
        self.mailboxes += usize::from(self.first(position.mailbox).is_none());
        self.armed.insert(Armed::new(position, slot));
    }

    /// Removes a watch from its position.
    pub(super) fn disarm(&mut self, position: WatchPosition, slot: u32) {
        let mailbox = position.mailbox;
        if self.armed.remove(&Armed::new(position, slot)) && self.first(mailbox).is_none() {
            self.mailboxes -= 1;
            self.cursors.remove(&mailbox);
        }
    }

    /// The position of the waiting watches of a mailbox with the lowest version.
    pub(super) fn first(&self, mailbox: u32) -> Option<WatchPosition> {
        let first = Armed { mailbox, place: 0, slot: 0 };
        let last = Armed { mailbox, place: u64::MAX, slot: u32::MAX };
        self.armed.range(first..=last).next().map(Armed::position)
    }

    /// The slot of a waiting watch at a position.
    pub(super) fn any_at(&self, position: WatchPosition) -> Option<u32> {
        let range = Armed::new(position, 0)..=Armed::new(position, u32::MAX);
        self.armed.range(range).next().map(|armed| armed.slot)
    }

    /// Number of mailboxes with waiting watches.
    pub(super) fn mailboxes(&self) -> usize {
        self.mailboxes
    }

    // ---- rounds ----

    /// Whether the mailbox has a round.
    pub(super) fn has_round(&self, mailbox: u32) -> bool {
        self.rounds.contains_key(&mailbox)
    }

    /// Begins to read the next message for the watchers at a position. Returns the cursor for the read.
    pub(super) fn begin_read(&mut self, position: WatchPosition) -> Cursor {
        self.rounds.insert(position.mailbox, Round::Reading(position, None));
        let known = self.cursors.get(&position.mailbox).filter(|cursor| cursor.version == position.version);
        known.copied().unwrap_or(Cursor::at(position.version))
    }

    /// Records that the read for the watchers of a mailbox waits.
    pub(super) fn set_ticket(&mut self, mailbox: u32, waiting: Ticket) {
        if let Some(Round::Reading(_, ticket)) = self.rounds.get_mut(&mailbox) {
            *ticket = Some(waiting);
        }
    }

    /// The ticket of a waiting read that no watcher needs any more.
    pub(super) fn unneeded_read(&self, mailbox: u32) -> Option<Ticket> {
        match self.rounds.get(&mailbox) {
            Some(Round::Reading(_, ticket)) if self.first(mailbox).is_none() => *ticket,
            _ => None,
        }
    }

    /// The position for which the next message of a mailbox was read.
    pub(super) fn end_read(&self, mailbox: u32) -> Option<WatchPosition> {
        match self.rounds.get(&mailbox) {
            Some(Round::Reading(position, _)) => Some(*position),
            _ => None,
        }
    }

    /// Suspends a round: there is no memory for the next message of the mailbox.
    pub(super) fn suspend_round(&mut self, mailbox: u32) {
        self.rounds.insert(mailbox, Round::Exhausted);
        self.suspended.push_back(mailbox);
    }

    /// Whether rounds are suspended.
    pub(super) fn has_suspended(&self) -> bool {
        !self.suspended.is_empty()
    }

    /// Takes a mailbox whose round is suspended.
    pub(super) fn take_suspended(&mut self) -> Option<u32> {
        self.suspended.pop_front()
    }

    /// Begins to send an event.
    pub(super) fn begin_fanout(&mut self, fanout: Fanout) {
        let mailbox = fanout.from.mailbox;
        self.rounds.insert(mailbox, Round::Sending(fanout));
        self.sending.push_back(mailbox);
    }

    /// The event that is to be sent next.
    pub(super) fn fanout(&self) -> Option<&Fanout> {
        match self.rounds.get(self.sending.front()?) {
            Some(Round::Sending(fanout)) => Some(fanout),
            _ => None,
        }
    }

    /// Ends the event that was sent: all its receivers have left its position. If the list is long, the
    /// cursor is kept.
    pub(super) fn end_fanout(&mut self, is_long: bool) {
        let Some(mailbox) = self.sending.pop_front() else { return };
        if let Some(Round::Sending(fanout)) = self.rounds.get(&mailbox) {
            match is_long && self.first(mailbox).is_some() {
                true => _ = self.cursors.insert(mailbox, fanout.to),
                false => _ = self.cursors.remove(&mailbox),
            }
        }
    }

    /// Ends a round: the watchers of the mailbox wait for its next message.
    pub(super) fn end_round(&mut self, mailbox: u32) {
        self.rounds.remove(&mailbox);
        if self.rounds.is_empty() && self.rounds.capacity() > CAPACITY_KEPT {
            self.rounds.shrink_to(CAPACITY_KEPT);
        }
    }

    pub(super) fn has_fanouts(&self) -> bool {
        !self.sending.is_empty()
    }
}
