//! Who may be in one mailbox, and who is next. Pure: no lock, thread, socket or clock.
//!
//! **The law**: *a request is granted iff it conflicts with no holder and nobody is queued before it.* So consecutive
//! readers are in together, a writer is in alone, and nobody ever passes anybody. Its corollary is asserted after
//! every operation: whoever is next is never grantable. [`Admission::release`], [`Admission::cancel`] and
//! [`Admission::wait_for`] share the one step that admits who is next, so a writer that gives up frees the readers
//! behind it.
//!
//! A request that was in and found that the mailbox does not hold what needs (a [`Condition`]) is *set aside*, and others pass. As
//! soon as the mailbox holds it, that request is next again, before the whole queue: it came before all of that.
//!
//! A waiter is a value in the queue. Nothing waits here: whoever frees the mailbox receives the jobs that this lets
//! in, and runs them.

use std::collections::VecDeque;

use super::block::Contents;
use super::wait_set::WaitSet;

/// How a request wants to be in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Together with other readers.
    Shared,
    /// Alone.
    Exclusive,
}

/// What a request waits for that was in and did not find it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Condition {
    /// A message with a version above this, to be read.
    NewerThan(u64),
    /// Any message, to be taken.
    NonEmpty,
    /// Room for a message of so many bytes.
    Room(u64),
}

impl Condition {
    /// How to be in when it is there.
    pub fn mode(self) -> Mode {
        match self {
            Condition::NewerThan(_) => Mode::Shared,
            Condition::NonEmpty | Condition::Room(_) => Mode::Exclusive,
        }
    }

    /// Whether a mailbox with these contents has it.
    pub fn is_met(self, contents: &Contents) -> bool {
        match self {
            Condition::NewerThan(version) => contents.count > 0 && contents.version > version,
            Condition::NonEmpty => contents.count > 0,
            Condition::Room(bytes) => contents.room.is_some_and(|room| room >= bytes),
        }
    }
}

/// The proof of admission. It may outlive the request that it was given to; [`Admission::release`] takes it back.
#[derive(Debug, PartialEq, Eq)]
#[must_use = "a grant that is not released holds its mailbox for ever"]
pub struct Grant {
    mode: Mode,
    number: u64,
    overtaken: bool,
    resumed: bool,
    has_waiters: bool,
}

impl Grant {
    /// How the holder is in.
    pub fn mode(&self) -> Mode {
        self.mode
    }

    /// The place in the order of arrival that was admitted.
    pub fn number(&self) -> u64 {
        self.number
    }

    /// Whether somebody who had come later was admitted before. Never, says the law; it is counted all the same.
    pub fn overtaken(&self) -> bool {
        self.overtaken
    }

    /// Whether it was given to a request of the wait set whose condition holds now.
    pub fn resumed(&self) -> bool {
        self.resumed
    }

    /// Whether requests were in the wait set when it was given. While an exclusive grant is held, none can join them.
    pub fn has_waiters(&self) -> bool {
        self.has_waiters
    }
}

/// A place in the queue, or aside. It stays good, for nothing, when the job has left.
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
    /// Boxed: rare, and there may be a million mailboxes.
    wait_set: Option<Box<WaitSet<J>>>,
    /// The number of the next arrival.
    next: u64,
    /// The newest arrival that was admitted from the queue.
    newest: Option<u64>,
    overtakes: u64,
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
            wait_set: None,
            next: 0,
            newest: None,
            overtakes: 0,
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
        let somebody_is_next =
            !self.queue.is_empty() || self.wait_set.as_ref().is_some_and(|aside| aside.is_ready());
        if somebody_is_next || self.conflicts(mode) {
            return None;
        }
        let number = self.arrive();
        Some(self.grant(mode, number))
    }

    /// Ends a grant; `admitted` receives, in order, the jobs that this lets in. `contents` tells what the mailbox
    /// holds; it is asked only when somebody waits for something there.
    pub fn release(
        &mut self,
        grant: Grant,
        contents: impl FnOnce() -> Contents,
        admitted: &mut Vec<(Grant, J)>,
    ) {
        self.leave(&grant);
        if let Some(aside) = &mut self.wait_set
            && grant.mode == Mode::Exclusive
        {
            aside.set_contents(contents());
        }
        self.admit_next(admitted);
    }

    /// Ends a grant whose job did not find what it needs, and keeps the job until that is there, or until it is
    /// cancelled. `contents` is what the mailbox holds; `admitted` as for [`Admission::release`].
    pub fn wait_for(
        &mut self,
        grant: Grant,
        condition: Condition,
        contents: Contents,
        job: J,
        admitted: &mut Vec<(Grant, J)>,
    ) -> Ticket {
        let number = grant.number;
        self.leave(&grant);
        let ticket = self.insert_in_wait_set(number, condition, contents, job);
        self.admit_next(admitted);
        ticket
    }

    /// Leaves the queue and takes the job along; `None` when it has been admitted or cancelled before.
    /// `admitted` receives the jobs that this lets in.
    pub fn cancel(&mut self, ticket: Ticket, admitted: &mut Vec<(Grant, J)>) -> Option<J> {
        let job = match self.position(ticket) {
            Ok(at) => self.queue.remove(at).map(|waiter| waiter.job),
            Err(_) => self.wait_set.as_mut().and_then(|aside| aside.remove(ticket.0)),
        }?;
        self.admit_next(admitted);
        Some(job)
    }

    /// The job at a place; `None` when it has left.
    pub fn waiter(&mut self, ticket: Ticket) -> Option<&mut J> {
        match self.position(ticket) {
            Ok(at) => self.queue.get_mut(at).map(|waiter| &mut waiter.job),
            Err(_) => self.wait_set.as_mut()?.find(ticket.0),
        }
    }

    /// Whether a request of the wait set can go on when the mailbox holds `contents`: it is next, before the queue, so the
    /// holder of the mailbox leaves.
    pub fn is_condition_met(&mut self, contents: Contents) -> bool {
        self.wait_set.as_mut().is_some_and(|wait_set| {
            wait_set.set_contents(contents);
            wait_set.is_ready()
        })
    }

    /// Whether somebody was set aside who waits for room: whoever wants room too has to stand behind.
    pub fn has_room_waiter(&self) -> bool {
        self.wait_set.as_ref().is_some_and(|aside| aside.has_room_waiter())
    }

    /// How many wait to be admitted.
    pub fn waiting(&self) -> usize {
        self.queue.len()
    }

    /// How many were set aside.
    pub fn waiting_for_condition(&self) -> usize {
        self.wait_set.as_ref().map_or(0, |aside| aside.len())
    }

    /// How many are in, and how; `None` when nobody is.
    pub fn holders(&self) -> Option<(Mode, u32)> {
        match self.holders {
            Holders::None => None,
            Holders::Readers(count) => Some((Mode::Shared, count)),
            Holders::Writer => Some((Mode::Exclusive, 1)),
        }
    }

    /// How often somebody was admitted before somebody who had come earlier. Stays 0.
    pub fn overtakes(&self) -> u64 {
        self.overtakes
    }

    fn enqueue(&mut self, mode: Mode, job: J) -> Ticket {
        let number = self.arrive();
        self.queue.push_back(Waiter { number, mode, job });
        Ticket(number)
    }

    fn insert_in_wait_set(
        &mut self,
        number: u64,
        condition: Condition,
        contents: Contents,
        job: J,
    ) -> Ticket {
        let aside = self.wait_set.get_or_insert_default();
        aside.set_contents(contents);
        aside.insert(number, condition, job);
        Ticket(number)
    }

    /// The one step that lets waiters in.
    fn admit_next(&mut self, admitted: &mut Vec<(Grant, J)>) {
        if self.wait_set.is_some() {
            self.admit_from_wait_set(admitted);
        }
        self.admit_queued(admitted);
        if self.queue.is_empty() && self.queue.capacity() > ROOM_KEPT {
            self.queue = VecDeque::new();
        }
        debug_assert!(!self.next_is_grantable(), "whoever is next is never grantable");
    }

    /// Lets in the head of the queue, and so on.
    fn admit_queued(&mut self, admitted: &mut Vec<(Grant, J)>) {
        while self.head_is_grantable()
            && let Some(waiter) = self.queue.pop_front()
        {
            let grant = self.grant(waiter.mode, waiter.number);
            admitted.push((grant, waiter.job));
        }
    }

    /// Lets in those who are back from aside: readers together, of the others one.
    fn admit_from_wait_set(&mut self, admitted: &mut Vec<(Grant, J)>) {
        let Some(mut aside) = self.wait_set.take() else { return };
        if aside.ready() == Some(Mode::Shared) && !self.conflicts(Mode::Shared) {
            aside.drain_readers(|number, job| admitted.push((self.resume(Mode::Shared, number), job)));
        }
        if aside.ready() == Some(Mode::Exclusive)
            && !self.conflicts(Mode::Exclusive)
            && let Some((number, job)) = aside.pop_writer()
        {
            let mut grant = self.resume(Mode::Exclusive, number);
            grant.has_waiters = aside.len() > 0;
            admitted.push((grant, job));
        }
        self.wait_set = Some(aside).filter(|aside| aside.len() > 0);
    }

    fn position(&self, ticket: Ticket) -> Result<usize, usize> {
        self.queue.binary_search_by_key(&ticket.0, |waiter| waiter.number)
    }

    fn arrive(&mut self) -> u64 {
        let number = self.next;
        self.next += 1;
        number
    }

    fn grant(&mut self, mode: Mode, number: u64) -> Grant {
        self.enter(mode);
        let overtaken = self.newest.is_some_and(|newest| newest > number);
        self.overtakes += u64::from(overtaken);
        self.newest = self.newest.max(Some(number));
        Grant { mode, number, overtaken, resumed: false, has_waiters: self.wait_set.is_some() }
    }

    /// Admits a request of the wait set. It keeps the number of its arrival.
    fn resume(&mut self, mode: Mode, number: u64) -> Grant {
        self.enter(mode);
        Grant { mode, number, overtaken: false, resumed: true, has_waiters: false }
    }

    fn enter(&mut self, mode: Mode) {
        self.holders = match (mode, self.holders) {
            (Mode::Exclusive, Holders::None) => Holders::Writer,
            (Mode::Shared, Holders::None) => Holders::Readers(1),
            (Mode::Shared, Holders::Readers(n)) => Holders::Readers(n + 1),
            (mode, holders) => unreachable!("a {mode:?} grant beside {holders:?}"),
        };
    }

    fn leave(&mut self, grant: &Grant) {
        self.holders = match (grant.mode, self.holders) {
            (Mode::Exclusive, Holders::Writer) | (Mode::Shared, Holders::Readers(1)) => Holders::None,
            (Mode::Shared, Holders::Readers(n)) if n > 1 => Holders::Readers(n - 1),
            (mode, holders) => unreachable!("a {mode:?} grant comes back to {holders:?}"),
        };
    }

    fn next_is_grantable(&self) -> bool {
        match self.wait_set.as_ref().and_then(|aside| aside.ready()) {
            Some(mode) => !self.conflicts(mode),
            None => self.head_is_grantable(),
        }
    }

    /// Whether the head of the queue may go in; never before those who are back from aside.
    fn head_is_grantable(&self) -> bool {
        let nobody_before = !self.wait_set.as_ref().is_some_and(|aside| aside.is_ready());
        nobody_before && self.queue.front().is_some_and(|head| !self.conflicts(head.mode))
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
