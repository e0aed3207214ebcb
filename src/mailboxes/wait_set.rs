//! The wait set of one mailbox: requests that were admitted and whose condition did not hold.
//!
//! A request is *ready* when the mailbox meets its condition. All readers that are ready are admitted
//! together. Of the takers, and of the requests that wait for room, only the first in order of arrival can be
//! ready, so a small message does not overtake a large one. Readers come before takers, so that they see a
//! message before it is taken.

use std::collections::VecDeque;

use super::block::Contents;
use super::grant::Mode;

/// What the mailbox must contain before a granted request can be executed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Condition {
    /// A message with a version above this, to be read.
    NewerThan(u64),
    /// Any message, to be taken.
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
            Condition::NewerThan(version) => contents.count > 0 && contents.version > version,
            Condition::NonEmpty => contents.count > 0,
            Condition::Room(bytes) => contents.room.is_some_and(|room| room >= bytes),
        }
    }
}

/// Jobs of type `J`, each blocked on a condition.
#[derive(Debug)]
pub(super) struct WaitSet<J> {
    readers: VecDeque<Blocked<J>>,
    takers: VecDeque<Blocked<J>>,
    putters: VecDeque<Blocked<J>>,
    /// The lowest version of all readers' conditions, so that a change costs one comparison, not one per
    /// reader.
    lowest_version: Option<u64>,
    /// The contents of the mailbox after its last change.
    contents: Contents,
}

#[derive(Debug)]
struct Blocked<J> {
    number: u64,
    condition: Condition,
    job: J,
}

impl<J> Default for WaitSet<J> {
    fn default() -> Self {
        let [readers, takers, putters] = [VecDeque::new(), VecDeque::new(), VecDeque::new()];
        let contents = Contents { version: 0, count: 0, room: None };
        WaitSet { readers, takers, putters, lowest_version: None, contents }
    }
}

impl<J> WaitSet<J> {
    /// Records the current contents of the mailbox.
    pub(super) fn set_contents(&mut self, contents: Contents) {
        self.contents = contents;
    }

    /// Adds a job, in the order of arrival.
    pub(super) fn insert(&mut self, number: u64, condition: Condition, job: J) {
        let list = match condition {
            Condition::NewerThan(_) => &mut self.readers,
            Condition::NonEmpty => &mut self.takers,
            Condition::Room(_) => &mut self.putters,
        };
        // Readers that held the mailbox together may arrive here in any order.
        let at = list.partition_point(|waiter| waiter.number < number);
        list.insert(at, Blocked { number, condition, job });
        if let Condition::NewerThan(version) = condition {
            self.lowest_version = Some(self.lowest_version.map_or(version, |lowest| lowest.min(version)));
        }
    }

    /// Removes the job with this number.
    pub(super) fn remove(&mut self, number: u64) -> Option<J> {
        let removed = self.lists().into_iter().find_map(|list| {
            let at = list.binary_search_by_key(&number, |waiter| waiter.number).ok()?;
            list.remove(at)
        });
        let removed = removed?;
        if let Condition::NewerThan(version) = removed.condition
            && Some(version) == self.lowest_version
        {
            self.find_lowest_version();
        }
        Some(removed.job)
    }

    /// The job with this number.
    pub(super) fn find(&mut self, number: u64) -> Option<&mut J> {
        self.lists().into_iter().find_map(|list| {
            let at = list.binary_search_by_key(&number, |waiter| waiter.number).ok()?;
            list.get_mut(at).map(|waiter| &mut waiter.job)
        })
    }

    /// The mode of the requests that are ready and next; `None` if no request is ready.
    pub(super) fn ready(&self) -> Option<Mode> {
        let WaitSet { takers, putters, contents, .. } = self;
        match () {
            () if self.has_ready_reader() => Some(Mode::Shared),
            () if is_first_ready(takers, contents) || is_first_ready(putters, contents) => {
                Some(Mode::Exclusive)
            }
            () => None,
        }
    }

    /// Whether any request is ready.
    pub(super) fn is_ready(&self) -> bool {
        self.ready().is_some()
    }

    /// Removes all readers that are ready and passes them to `on_ready`.
    pub(super) fn drain_readers(&mut self, mut on_ready: impl FnMut(u64, J)) {
        for _ in 0..self.readers.len() {
            let Some(reader) = self.readers.pop_front() else { break };
            if reader.condition.is_met(&self.contents) {
                on_ready(reader.number, reader.job);
            } else {
                self.readers.push_back(reader);
            }
        }
        self.find_lowest_version();
    }

    /// Removes the taker or putter that is ready and next.
    pub(super) fn pop_writer(&mut self) -> Option<(u64, J)> {
        let WaitSet { takers, putters, contents, .. } = self;
        let list = if is_first_ready(takers, contents) { takers } else { putters };
        let writer = if is_first_ready(list, contents) { list.pop_front() } else { None }?;
        Some((writer.number, writer.job))
    }

    /// Whether a request waits for room.
    pub(super) fn has_room_waiter(&self) -> bool {
        !self.putters.is_empty()
    }

    /// Number of requests.
    pub(super) fn len(&self) -> usize {
        self.readers.len() + self.takers.len() + self.putters.len()
    }

    fn has_ready_reader(&self) -> bool {
        self.lowest_version.is_some_and(|version| Condition::NewerThan(version).is_met(&self.contents))
    }

    fn find_lowest_version(&mut self) {
        let version = |reader: &Blocked<J>| match reader.condition {
            Condition::NewerThan(version) => Some(version),
            Condition::NonEmpty | Condition::Room(_) => None,
        };
        self.lowest_version = self.readers.iter().filter_map(version).min();
    }

    fn lists(&mut self) -> [&mut VecDeque<Blocked<J>>; 3] {
        [&mut self.readers, &mut self.takers, &mut self.putters]
    }
}

fn is_first_ready<J>(list: &VecDeque<Blocked<J>>, contents: &Contents) -> bool {
    list.front().is_some_and(|waiter| waiter.condition.is_met(contents))
}
