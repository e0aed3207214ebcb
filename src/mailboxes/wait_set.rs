//! The wait set of one mailbox: requests that were admitted and whose condition did not hold.
//!
//! A request is *ready* when the mailbox meets its condition. All readers that are ready are admitted
//! together. Only the first taker and the first request that waits for room, in order of arrival, can be
//! ready. A small message therefore does not overtake a large one. Readers come before takers, so that they
//! see a message before it is taken.

use std::collections::{BTreeMap, BTreeSet};

use super::block::Contents;
use super::grant::Mode;

/// What the mailbox must contain before a granted request can be executed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Condition {
    /// A message with a version above this, to be read.
    NewerThan(u64),
    /// Any message that is not in hand, to be taken.
    NonEmpty,
    /// Room for a message of this many bytes.
    Room(u64),
}

impl Condition {
    /// The mode in which a request that waits for this is admitted again.
    #[cfg(all(test, not(feature = "loom")))]
    pub(crate) fn mode(self) -> Mode {
        match self {
            Condition::NewerThan(_) => Mode::Shared,
            Condition::NonEmpty | Condition::Room(_) => Mode::Exclusive,
        }
    }

    /// Whether a mailbox with these contents meets the condition.
    pub(crate) fn is_met(self, contents: &Contents) -> bool {
        match self {
            Condition::NewerThan(version) => contents.newest > version,
            Condition::NonEmpty => contents.count > contents.in_hand,
            Condition::Room(bytes) => contents.room.is_some_and(|room| room >= bytes),
        }
    }
}

/// Jobs of type `J`, each blocked on a condition. Every operation costs O(log n).
#[derive(Debug)]
pub(super) struct WaitSet<J> {
    /// Each list is in order of arrival.
    readers: BTreeMap<u64, (u64, J)>,
    takers: BTreeMap<u64, J>,
    putters: BTreeMap<u64, (u64, J)>,
    /// The versions of the readers' conditions, each with the number of its reader: a change finds the ready
    /// readers without a walk over the others.
    versions: BTreeSet<(u64, u64)>,
    /// The contents of the mailbox after its last change.
    contents: Contents,
}

impl<J> Default for WaitSet<J> {
    fn default() -> Self {
        WaitSet {
            readers: BTreeMap::new(),
            takers: BTreeMap::new(),
            putters: BTreeMap::new(),
            versions: BTreeSet::new(),
            contents: Contents { version: 0, newest: 0, count: 0, in_hand: 0, entries: 0, room: None },
        }
    }
}

impl<J> WaitSet<J> {
    /// Records the current contents of the mailbox.
    pub(super) fn set_contents(&mut self, contents: Contents) {
        self.contents = contents;
    }

    /// Records the number of messages in hand.
    pub(super) fn set_in_hand(&mut self, in_hand: u64) {
        self.contents.in_hand = in_hand;
    }

    /// Adds a job at the place of its number. Jobs that held the mailbox together may be added in any order.
    pub(super) fn insert(&mut self, number: u64, condition: Condition, job: J) {
        match condition {
            Condition::NewerThan(version) => {
                self.versions.insert((version, number));
                self.readers.insert(number, (version, job));
            }
            Condition::NonEmpty => _ = self.takers.insert(number, job),
            Condition::Room(bytes) => _ = self.putters.insert(number, (bytes, job)),
        }
    }

    /// Removes the job with this number.
    pub(super) fn remove(&mut self, number: u64) -> Option<J> {
        if let Some((version, job)) = self.readers.remove(&number) {
            self.versions.remove(&(version, number));
            return Some(job);
        }
        self.takers.remove(&number).or_else(|| self.putters.remove(&number).map(|(_, job)| job))
    }

    /// The job with this number.
    pub(super) fn find(&mut self, number: u64) -> Option<&mut J> {
        let WaitSet { readers, takers, putters, .. } = self;
        let reader = readers.get_mut(&number).map(|(_, job)| job);
        reader.or_else(|| takers.get_mut(&number)).or_else(|| putters.get_mut(&number).map(|(_, job)| job))
    }

    /// The mode of the requests that are ready and next; `None` if no request is ready.
    pub(super) fn ready(&self) -> Option<Mode> {
        match () {
            () if self.ready_reader().is_some() => Some(Mode::Shared),
            () if self.is_taker_ready() || self.is_putter_ready() => Some(Mode::Exclusive),
            () => None,
        }
    }

    /// Whether any request is ready.
    pub(super) fn is_ready(&self) -> bool {
        self.ready().is_some()
    }

    /// Removes all readers that are ready and passes them to `on_ready`, in order of arrival.
    pub(super) fn drain_readers(&mut self, mut on_ready: impl FnMut(u64, J)) {
        let mut ready = BTreeSet::new();
        while let Some((version, number)) = self.ready_reader() {
            self.versions.remove(&(version, number));
            ready.insert(number);
        }
        for number in ready {
            if let Some((_, job)) = self.readers.remove(&number) {
                on_ready(number, job);
            }
        }
    }

    /// Removes the taker or putter that is ready and next.
    pub(super) fn pop_writer(&mut self) -> Option<(u64, J)> {
        match () {
            () if self.is_taker_ready() => self.takers.pop_first(),
            () if self.is_putter_ready() => {
                let (number, (_, job)) = self.putters.pop_first()?;
                Some((number, job))
            }
            () => None,
        }
    }

    /// Whether a request waits for room.
    pub(super) fn has_room_waiter(&self) -> bool {
        !self.putters.is_empty()
    }

    /// Number of requests.
    pub(super) fn len(&self) -> usize {
        self.readers.len() + self.takers.len() + self.putters.len()
    }

    /// The reader with the lowest version, with its number, if it is ready.
    fn ready_reader(&self) -> Option<(u64, u64)> {
        let is_ready = |(version, _): &(u64, u64)| Condition::NewerThan(*version).is_met(&self.contents);
        self.versions.first().copied().filter(is_ready)
    }

    fn is_taker_ready(&self) -> bool {
        !self.takers.is_empty() && Condition::NonEmpty.is_met(&self.contents)
    }

    fn is_putter_ready(&self) -> bool {
        let first = self.putters.first_key_value();
        first.is_some_and(|(_, (bytes, _))| Condition::Room(*bytes).is_met(&self.contents))
    }
}
