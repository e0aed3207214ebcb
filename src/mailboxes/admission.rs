//! Who may be in one mailbox, and who is next. Pure: no lock, thread, socket or clock.
//!
//! **The law**: *a request is granted iff it conflicts with no holder and nobody is queued before it.* So consecutive
//! readers are in together, a writer is in alone, and nobody ever passes anybody. Its corollary is asserted after
//! every operation: the head of the queue is never grantable. [`Admission::release`] and [`Admission::cancel`] share
//! the one step that admits from the head, so a writer that gives up frees the readers behind it.
//!
//! A waiter is a value in the queue. Nothing waits here: whoever frees the mailbox receives the jobs that this lets
//! in, and runs them.

use std::collections::VecDeque;

/// How a request wants to be in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Together with other readers.
    Shared,
    /// Alone.
    Exclusive,
}

/// The proof of admission. It may outlive the request that it was given to; [`Admission::release`] takes it back.
#[derive(Debug, PartialEq, Eq)]
#[must_use = "a grant that is not released holds its mailbox for ever"]
pub struct Grant {
    mode: Mode,
    number: u64,
    overtaken: bool,
}

impl Grant {
    /// How the holder is in.
    pub fn mode(&self) -> Mode {
        self.mode
    }

    /// The place in the order of arrival that was admitted; it only grows.
    pub fn number(&self) -> u64 {
        self.number
    }

    /// Whether somebody who had come later was admitted before. Never, says the law; it is counted all the same.
    pub fn overtaken(&self) -> bool {
        self.overtaken
    }
}

/// A place in the queue. It stays good, for nothing, when the job has left the queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ticket(u64);

/// What became of a request for admission.
#[derive(Debug, PartialEq, Eq)]
pub enum Admitted<J> {
    /// It is in; the job runs now.
    Granted(Grant, J),
    /// The job lies in the queue.
    Queued(Ticket),
}

/// The queue of one mailbox, with jobs of type `J`.
#[derive(Debug)]
pub struct Admission<J> {
    holders: Holders,
    queue: VecDeque<Waiter<J>>,
    /// The number of the next arrival.
    next: u64,
    /// The newest arrival that was admitted.
    newest: Option<u64>,
    overtakes: u64,
    #[cfg(feature = "planted-bugs")]
    pub(super) planted: Option<super::planted::Bug>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Holders {
    None,
    /// So many readers, at least one.
    Readers(u32),
    Writer,
}

#[derive(Debug)]
struct Waiter<J> {
    number: u64,
    mode: Mode,
    job: J,
}

/// Waiters whose room an empty queue keeps.
const ROOM_KEPT: usize = 4;

impl<J> Default for Admission<J> {
    fn default() -> Self {
        Admission {
            holders: Holders::None,
            queue: VecDeque::new(),
            next: 0,
            newest: None,
            overtakes: 0,
            #[cfg(feature = "planted-bugs")]
            planted: None,
        }
    }
}

impl<J> Admission<J> {
    /// Takes the place of a new arrival: granted, or queued behind everybody who is there.
    pub fn admit(&mut self, mode: Mode, job: J) -> Admitted<J> {
        match self.try_admit(mode) {
            Some(grant) => Admitted::Granted(grant, job),
            None => Admitted::Queued(self.enqueue(mode, job)),
        }
    }

    /// A grant if the arrival can be in at once; else it is as if it had never come.
    pub fn try_admit(&mut self, mode: Mode) -> Option<Grant> {
        if !self.queue.is_empty() || self.conflicts(mode) {
            return None;
        }
        let number = self.arrive();
        Some(self.grant(mode, number))
    }

    /// Ends a grant; `admitted` receives, in order, the jobs that this lets in.
    pub fn release(&mut self, grant: Grant, admitted: &mut Vec<(Grant, J)>) {
        self.holders = match (grant.mode, self.holders) {
            (Mode::Exclusive, Holders::Writer) | (Mode::Shared, Holders::Readers(1)) => Holders::None,
            (Mode::Shared, Holders::Readers(n)) if n > 1 => Holders::Readers(n - 1),
            (mode, holders) => unreachable!("a {mode:?} grant comes back to {holders:?}"),
        };
        self.admit_from_head(admitted);
    }

    /// Leaves the queue and takes the job along; `None` when it has been admitted or cancelled before.
    /// `admitted` receives the jobs that this lets in.
    pub fn cancel(&mut self, ticket: Ticket, admitted: &mut Vec<(Grant, J)>) -> Option<J> {
        let at = self.queue.binary_search_by_key(&ticket.0, |waiter| waiter.number).ok()?;
        let waiter = self.queue.remove(at)?;
        #[cfg(feature = "planted-bugs")]
        if self.planted == Some(super::planted::Bug::CancelWithoutNext) {
            return Some(waiter.job);
        }
        self.admit_from_head(admitted);
        Some(waiter.job)
    }

    /// The job at a place in the queue; `None` when it has left.
    pub fn waiter(&mut self, ticket: Ticket) -> Option<&mut J> {
        let at = self.queue.binary_search_by_key(&ticket.0, |waiter| waiter.number).ok()?;
        self.queue.get_mut(at).map(|waiter| &mut waiter.job)
    }

    /// How many wait.
    pub fn waiting(&self) -> usize {
        self.queue.len()
    }

    /// How often somebody was admitted before somebody who had come earlier. Stays 0.
    pub fn overtakes(&self) -> u64 {
        self.overtakes
    }

    pub(super) fn enqueue(&mut self, mode: Mode, job: J) -> Ticket {
        let number = self.arrive();
        self.queue.push_back(Waiter { number, mode, job });
        Ticket(number)
    }

    /// The one step that lets waiters in.
    fn admit_from_head(&mut self, admitted: &mut Vec<(Grant, J)>) {
        while self.head_is_grantable()
            && let Some(waiter) = self.queue.pop_front()
        {
            let grant = self.grant(waiter.mode, waiter.number);
            admitted.push((grant, waiter.job));
        }
        if self.queue.is_empty() && self.queue.capacity() > ROOM_KEPT {
            self.queue = VecDeque::new();
        }
        debug_assert!(!self.head_is_grantable(), "the head of the queue is never grantable");
    }

    fn arrive(&mut self) -> u64 {
        let number = self.next;
        self.next += 1;
        number
    }

    fn grant(&mut self, mode: Mode, number: u64) -> Grant {
        self.holders = match (mode, self.holders) {
            (Mode::Exclusive, Holders::None) => Holders::Writer,
            (Mode::Shared, Holders::None) => Holders::Readers(1),
            (Mode::Shared, Holders::Readers(n)) => Holders::Readers(n + 1),
            (mode, holders) => unreachable!("a {mode:?} grant beside {holders:?}"),
        };
        let overtaken = self.newest.is_some_and(|newest| newest > number);
        self.overtakes += u64::from(overtaken);
        self.newest = self.newest.max(Some(number));
        Grant { mode, number, overtaken }
    }

    pub(super) fn head_is_grantable(&self) -> bool {
        self.queue.front().is_some_and(|head| !self.conflicts(head.mode))
    }

    fn conflicts(&self, mode: Mode) -> bool {
        match self.holders {
            Holders::None => false,
            Holders::Readers(_) => mode == Mode::Exclusive,
            Holders::Writer => true,
        }
    }
}

#[cfg(all(test, not(feature = "loom")))]
mod tests;
