//! The messages of one mailbox that are in hand: handed out to a connection and not removed. The receipts of
//! the connections say which one has which message. Pure: no lock, thread or clock.
//!
//! A message is in one of three states. Messages from `next` on have never been handed out. Of the messages
//! before `next`, those in `handed_out` are in hand, and those in `returned` are not. All others before
//! `next` were removed. While no message is in hand or returned, the mailbox has no [`InHand`]: `next` is the
//! oldest message.

use std::collections::BTreeMap;

use super::block::{Located, Location};

/// Bytes of memory that a message in hand costs at most, with its share of the tree.
pub(crate) const IN_HAND_MEMORY: usize = 128;

/// A message that may be handed out next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Candidate {
    /// Where the search for the message begins. `None` is the oldest message.
    pub from: Option<Location>,
    /// How often the message was handed out before.
    pub tries: u32,
}

/// The messages of one mailbox that were handed out.
#[derive(Debug)]
pub(crate) struct InHand {
    /// By version: the location, and how often the message was handed out.
    handed_out: BTreeMap<u64, (Location, u32)>,
    /// The messages that were given back.
    returned: BTreeMap<u64, (Location, u32)>,
    /// Where the messages begin that were never handed out.
    next: Location,
}

impl InHand {
    /// The state before the message that was found is handed out as the first one.
    fn before(located: &Located) -> Self {
        InHand { handed_out: BTreeMap::new(), returned: BTreeMap::new(), next: located.location }
    }

    /// Number of messages in hand.
    pub(crate) fn len(&self) -> u64 {
        self.handed_out.len() as u64
    }

    /// The oldest message that is not in hand, if there is one.
    pub(crate) fn candidate(this: Option<&Self>) -> Candidate {
        let Some(this) = this else { return Candidate { from: None, tries: 0 } };
        match this.returned.first_key_value() {
            Some((_, (location, tries))) => Candidate { from: Some(*location), tries: *tries },
            None => Candidate { from: Some(this.next), tries: 0 },
        }
    }

    /// Hands out a candidate.
    pub(crate) fn hand_out(this: &mut Option<Box<Self>>, located: &Located) {
        let this = this.get_or_insert_with(|| Box::new(InHand::before(located)));
        let tries = this.leave(located) + 1;
        let location = located.location;
        this.handed_out.insert(location.version, (location, tries));
    }

    /// Forgets a candidate, because it is removed from the mailbox.
    pub(crate) fn forget(this: &mut Option<Box<Self>>, located: &Located) {
        if let Some(in_hand) = this {
            in_hand.leave(located);
        }
        drop_if_empty(this);
    }

    /// Undoes [`InHand::forget`]. `tries` is how often the message was handed out before.
    pub(crate) fn restore(this: &mut Option<Box<Self>>, located: &Located, tries: u32) {
        if this.is_none() && tries == 0 {
            return;
        }
        let this = this.get_or_insert_with(|| Box::new(InHand::before(located)));
        this.leave(located);
        this.returned.insert(located.location.version, (located.location, tries));
    }

    /// Forgets a message in hand, because it is removed from the mailbox. Returns `None` if it was removed
    /// before.
    pub(crate) fn finish(this: &mut Option<Box<Self>>, version: u64) -> Option<Location> {
        let (location, _) = this.as_mut()?.handed_out.remove(&version)?;
        drop_if_empty(this);
        Some(location)
    }

    /// Gives a message in hand back. Returns false if it was removed from the mailbox.
    pub(crate) fn give_back(&mut self, version: u64) -> bool {
        let handed_out = self.handed_out.remove(&version);
        handed_out.is_some_and(|message| self.returned.insert(version, message).is_none())
    }

    /// Forgets all messages before `first`, because they were removed from the mailbox. `first` is the oldest
    /// message or, if there is none, does not exist yet.
    pub(crate) fn forget_before(this: &mut Option<Box<Self>>, first: u64) {
        let Some(in_hand) = this else { return };
        in_hand.handed_out = in_hand.handed_out.split_off(&first);
        in_hand.returned = in_hand.returned.split_off(&first);
        drop_if_empty(this);
    }

    /// Removes a candidate from the messages that are not in hand. Returns how often it was handed out.
    fn leave(&mut self, located: &Located) -> u32 {
        match self.returned.remove(&located.location.version) {
            Some((_, tries)) => tries,
            None => {
                if located.location.version >= self.next.version {
                    self.next = located.next;
                }
                0
            }
        }
    }
}

/// A message in hand or returned is the reason to keep the state.
fn drop_if_empty(this: &mut Option<Box<InHand>>) {
    if this.as_ref().is_some_and(|in_hand| in_hand.handed_out.is_empty() && in_hand.returned.is_empty()) {
        *this = None;
    }
}
