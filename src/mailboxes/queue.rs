//! The waiters of one mailbox in order of arrival. Any waiter can leave at any time.
//!
//! A waiter that leaves from the middle of the queue leaves a gap, so that no other waiter is moved. The
//! front of the queue is never a gap. Gaps are removed when there are more gaps than waiters. Leaving
//! therefore costs O(log n) amortized, and the memory is proportional to the number of waiters.

use std::collections::VecDeque;

use super::grant::{Mode, Purpose};

/// The largest capacity that an empty queue keeps allocated.
const CAPACITY_KEPT: usize = 4;

/// Waiting jobs of type `J`, each with its number of arrival.
#[derive(Debug)]
pub(super) struct Queue<J> {
    places: VecDeque<Place<J>>,
    gaps: usize,
}

#[derive(Debug)]
struct Place<J> {
    number: u64,
    mode: Mode,
    purpose: Purpose,
    /// `None`: a gap.
    job: Option<J>,
}

impl<J> Default for Queue<J> {
    fn default() -> Self {
        Queue { places: VecDeque::new(), gaps: 0 }
    }
}

impl<J> Queue<J> {
    pub(super) fn is_empty(&self) -> bool {
        self.places.is_empty()
    }

    /// Number of waiters.
    pub(super) fn len(&self) -> usize {
        self.places.len() - self.gaps
    }

    /// Adds a waiter, whose number is higher than all numbers before.
    pub(super) fn push(&mut self, number: u64, mode: Mode, purpose: Purpose, job: J) {
        debug_assert!(self.places.back().is_none_or(|last| last.number < number), "in order of arrival");
        self.places.push_back(Place { number, mode, purpose, job: Some(job) });
    }

    /// The mode of the first waiter.
    pub(super) fn front(&self) -> Option<Mode> {
        self.places.front().map(|first| first.mode)
    }

    /// The job of the first waiter.
    pub(super) fn front_job(&self) -> Option<&J> {
        self.places.front().and_then(|first| first.job.as_ref())
    }

    /// Removes the first waiter.
    pub(super) fn pop(&mut self) -> Option<(u64, Mode, Purpose, J)> {
        let Place { number, mode, purpose, job } = self.places.pop_front()?;
        self.trim();
        Some((number, mode, purpose, job?))
    }

    /// The job with this number.
    pub(super) fn get_mut(&mut self, number: u64) -> Option<&mut J> {
        let at = self.position(number)?;
        self.places[at].job.as_mut()
    }

    /// Removes the job with this number.
    pub(super) fn remove(&mut self, number: u64) -> Option<(Purpose, J)> {
        let at = self.position(number)?;
        let purpose = self.places[at].purpose;
        let job = self.places[at].job.take()?;
        self.gaps += 1;
        if self.gaps > self.len() {
            self.places.retain(|place| place.job.is_some());
            self.gaps = 0;
        }
        self.trim();
        Some((purpose, job))
    }

    fn position(&self, number: u64) -> Option<usize> {
        self.places.binary_search_by_key(&number, |place| place.number).ok()
    }

    /// Removes the gaps at the front, and the memory of an empty queue.
    fn trim(&mut self) {
        while self.places.front().is_some_and(|first| first.job.is_none()) {
            self.places.pop_front();
            self.gaps -= 1;
        }
        if self.places.is_empty() && self.places.capacity() > CAPACITY_KEPT {
            self.places = VecDeque::new();
        }
    }
}

#[cfg(all(test, not(feature = "loom")))]
mod tests {
    use super::*;

    /// A regression test: each removal once moved all later waiters, and the removal of 10,000 clients took
    /// seconds.
    #[test]
    fn a_waiter_that_leaves_moves_no_other_one() {
        let mut queue = Queue::default();
        (0..100).for_each(|number| queue.push(number, Mode::Exclusive, Purpose::Request, number));
        assert_eq!((1..50).filter_map(|number| queue.remove(number)).count(), 49);
        assert_eq!((queue.len(), queue.places.len()), (51, 100), "the places of the others are as before");
    }

    #[test]
    fn the_memory_is_proportional_to_the_waiters() {
        let mut queue = Queue::default();
        queue.push(0, Mode::Exclusive, Purpose::Request, 0);
        for number in (1..100_000).step_by(2) {
            queue.push(number, Mode::Shared, Purpose::Request, number);
            queue.push(number + 1, Mode::Shared, Purpose::Request, number + 1);
            assert_eq!(queue.remove(number), Some((Purpose::Request, number)));
            if number > 1 {
                assert_eq!(queue.remove(number - 1), Some((Purpose::Request, number - 1)));
            }
        }
        assert_eq!(queue.len(), 2);
        assert!(queue.places.capacity() < 100, "{} places for 2 waiters", queue.places.capacity());
        assert_eq!(queue.pop().map(|(number, ..)| number), Some(0));
        assert_eq!(queue.pop().map(|(number, ..)| number), Some(100_000));
        assert!(queue.pop().is_none() && queue.places.capacity() == 0, "an empty queue frees its memory");
    }

    #[test]
    fn an_empty_queue_keeps_a_small_allocation() {
        let mut queue = Queue::default();
        queue.push(0, Mode::Shared, Purpose::Request, 0);
        assert!(queue.pop().is_some());
        assert_eq!(queue.places.capacity(), CAPACITY_KEPT);
    }
}
