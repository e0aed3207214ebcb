//! The watches of one client. Pure.

use super::watches::WatchPosition;
use crate::protocol::Eol;

/// One mailbox that a client watches.
#[derive(Clone, Copy, Debug)]
pub(super) struct Watch {
    /// The version of the last message that was sent.
    version: u64,
    mailbox: u32,
    eol: Eol,
    is_late: bool,
    state: WatchState,
}

const _: () = assert!(size_of::<Watch>() == 16, "a watch costs at most 64 bytes");

/// The state of a watch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum WatchState {
    /// The watch waits for the next message of its mailbox, at its position.
    Armed,
    /// The watch is stopped until the socket of its client has room.
    Lagging,
}

impl Watch {
    pub(super) fn new(position: WatchPosition) -> Self {
        let WatchPosition { mailbox, version, eol, is_late } = position;
        Watch { version, mailbox, eol, is_late, state: WatchState::Armed }
    }

    pub(super) fn position(&self) -> WatchPosition {
        WatchPosition { mailbox: self.mailbox, version: self.version, eol: self.eol, is_late: self.is_late }
    }
}

/// The watches of a client. An operation on one mailbox finds its watch in O(log n).
#[derive(Debug, Default)]
pub(super) struct WatchList {
    /// In the order of their mailboxes, without spare capacity.
    watches: Vec<Watch>,
    lagging: usize,
}

impl WatchList {
    pub(super) fn is_empty(&self) -> bool {
        self.watches.is_empty()
    }

    pub(super) fn len(&self) -> usize {
        self.watches.len()
    }

    /// Bytes of memory, without the value itself.
    pub(super) fn memory(&self) -> usize {
        self.watches.capacity() * size_of::<Watch>()
    }

    /// The mailboxes, in ascending order.
    pub(super) fn mailboxes(&self) -> impl Iterator<Item = u32> {
        self.watches.iter().map(|watch| watch.mailbox)
    }

    pub(super) fn contains(&self, mailbox: u32) -> bool {
        self.find(mailbox).is_ok()
    }

    /// The end of line of the first watch. `None` if there is no watch.
    pub(super) fn eol(&self) -> Option<Eol> {
        self.watches.first().map(|watch| watch.eol)
    }

    /// Whether a watch is [`WatchState::Lagging`].
    pub(super) fn is_lagging(&self) -> bool {
        self.lagging > 0
    }

    /// Adds watches of mailboxes that are not watched yet.
    pub(super) fn add(&mut self, added: impl ExactSizeIterator<Item = Watch>) {
        self.watches.reserve_exact(added.len());
        self.watches.extend(added);
        self.watches.sort_unstable_by_key(|watch| watch.mailbox);
        debug_assert!(self.watches.is_sorted_by(|one, next| one.mailbox < next.mailbox), "watched once");
    }

    /// Removes the watch of a mailbox.
    pub(super) fn remove(&mut self, mailbox: u32) -> Option<Watch> {
        let at = self.find(mailbox).ok()?;
        let watch = self.watches.remove(at);
        self.lagging -= usize::from(watch.state == WatchState::Lagging);
        if self.watches.is_empty() {
            self.watches = Vec::new();
        }
        Some(watch)
    }

    /// Removes the watch of the last mailbox.
    pub(super) fn pop(&mut self) -> Option<Watch> {
        let last = self.watches.last()?.mailbox;
        self.remove(last)
    }

    /// Changes the position and the state of the watch of a mailbox.
    pub(super) fn set(&mut self, position: WatchPosition, state: WatchState) {
        if let Ok(at) = self.find(position.mailbox) {
            self.lagging -= usize::from(self.watches[at].state == WatchState::Lagging);
            self.lagging += usize::from(state == WatchState::Lagging);
            self.watches[at] = Watch { state, ..Watch::new(position) };
        }
    }

    /// The lagging watches.
    pub(super) fn lagging(&self) -> Vec<Watch> {
        let is_lagging = |watch: &&Watch| watch.state == WatchState::Lagging;
        self.watches.iter().filter(is_lagging).copied().collect()
    }

    fn find(&self, mailbox: u32) -> Result<usize, usize> {
        self.watches.binary_search_by_key(&mailbox, |watch| watch.mailbox)
    }
}
