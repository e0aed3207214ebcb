//! Those who were admitted to a mailbox and did not find what they need.
//!
//! Readers who wait for news are due together as soon as there are any. Of those who wait for a message to take, and of
//! those who wait for room, the first in order of arrival is due: nobody with a smaller need passes. Readers are due
//! before takers, so that what is taken has been seen.

use std::collections::VecDeque;

use super::admission::{Condition, Mode};
use super::block::Contents;

/// Jobs of type `J` that wait for something in a mailbox.
#[derive(Debug)]
pub(super) struct WaitSet<J> {
    readers: VecDeque<Blocked<J>>,
    takers: VecDeque<Blocked<J>>,
    putters: VecDeque<Blocked<J>>,
    /// The lowest version that a reader waits to see passed, so that a change costs one look, not one per reader.
    lowest: Option<u64>,
    /// What the mailbox held when it was last changed.
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
        WaitSet { readers, takers, putters, lowest: None, contents }
    }
}

impl<J> WaitSet<J> {
    /// The mailbox holds this now.
    pub fn set_contents(&mut self, contents: Contents) {
        self.contents = contents;
    }

    /// Adds a job, in the order of arrival.
    pub fn insert(&mut self, number: u64, condition: Condition, job: J) {
        let list = match condition {
            Condition::NewerThan(_) => &mut self.readers,
            Condition::NonEmpty => &mut self.takers,
            Condition::Room(_) => &mut self.putters,
        };
        // Readers were in together, and may be set aside in any order.
        let at = list.partition_point(|waiter| waiter.number < number);
        list.insert(at, Blocked { number, condition, job });
        if let Condition::NewerThan(version) = condition {
            self.lowest = Some(self.lowest.map_or(version, |lowest| lowest.min(version)));
        }
    }

    /// Removes the job with this number.
    pub fn remove(&mut self, number: u64) -> Option<J> {
        let removed = self.lists().into_iter().find_map(|list| {
            let at = list.binary_search_by_key(&number, |waiter| waiter.number).ok()?;
            list.remove(at)
        });
        let removed = removed?;
        if let Condition::NewerThan(version) = removed.condition
            && Some(version) == self.lowest
        {
            self.find_lowest();
        }
        Some(removed.job)
    }

    /// The job with this number.
    pub fn find(&mut self, number: u64) -> Option<&mut J> {
        self.lists().into_iter().find_map(|list| {
            let at = list.binary_search_by_key(&number, |waiter| waiter.number).ok()?;
            list.get_mut(at).map(|waiter| &mut waiter.job)
        })
    }

    /// How whoever is due wants to be in; `None` when nobody is.
    pub fn ready(&self) -> Option<Mode> {
        let WaitSet { takers, putters, contents, .. } = self;
        match () {
            () if self.has_ready_reader() => Some(Mode::Shared),
            () if is_first_ready(takers, contents) || is_first_ready(putters, contents) => {
                Some(Mode::Exclusive)
            }
            () => None,
        }
    }

    /// Whether anybody is due.
    pub fn is_ready(&self) -> bool {
        self.ready().is_some()
    }

    /// Takes out all readers that are due.
    pub fn drain_readers(&mut self, mut due: impl FnMut(u64, J)) {
        for _ in 0..self.readers.len() {
            let Some(reader) = self.readers.pop_front() else { break };
            if reader.condition.is_met(&self.contents) {
                due(reader.number, reader.job);
            } else {
                self.readers.push_back(reader);
            }
        }
        self.find_lowest();
    }

    /// Takes out the one who is due to take or to put.
    pub fn pop_writer(&mut self) -> Option<(u64, J)> {
        let WaitSet { takers, putters, contents, .. } = self;
        let list = if is_first_ready(takers, contents) { takers } else { putters };
        let writer = if is_first_ready(list, contents) { list.pop_front() } else { None }?;
        Some((writer.number, writer.job))
    }

    /// Whether somebody waits for room.
    pub fn has_room_waiter(&self) -> bool {
        !self.putters.is_empty()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.readers.len() + self.takers.len() + self.putters.len()
    }

    fn has_ready_reader(&self) -> bool {
        self.lowest.is_some_and(|version| Condition::NewerThan(version).is_met(&self.contents))
    }

    fn find_lowest(&mut self) {
        let version = |reader: &Blocked<J>| match reader.condition {
            Condition::NewerThan(version) => Some(version),
            Condition::NonEmpty | Condition::Room(_) => None,
        };
        self.lowest = self.readers.iter().filter_map(version).min();
    }

    fn lists(&mut self) -> [&mut VecDeque<Blocked<J>>; 3] {
        [&mut self.readers, &mut self.takers, &mut self.putters]
    }
}

fn is_first_ready<J>(list: &VecDeque<Blocked<J>>, contents: &Contents) -> bool {
    list.front().is_some_and(|waiter| waiter.condition.is_met(contents))
}
