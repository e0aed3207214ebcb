//! The admission of requests to one mailbox, in order of arrival. [`Admission`] is pure: no lock, thread,
//! socket or clock. [`SharedAdmission`] is an [`Admission`] behind a mutex, for several threads.
//!
//! **The law**: *a request is granted iff it conflicts with no holder and no request is queued before it.* So
//! consecutive readers hold the mailbox together, a writer holds it alone, and no request overtakes another
//! one. The corollary is asserted after every operation: the next request is never grantable.
//! [`Admission::release`], [`Admission::cancel`] and [`Admission::wait_for`] share the one step that admits
//! the next requests, so the cancellation of a writer admits the readers behind it.
//!
//! A granted request whose [`Condition`] does not hold releases the mailbox and joins the *wait set*, as in a
//! monitor. Later requests are admitted meanwhile. When the condition holds, the request is next, before the
//! whole queue, because it arrived before every queued request. The read for the watchers of a mailbox waits
//! in the same way.
//!
//! A request that does not wait for locks ([`Admission::admit_unless_locked`]) takes its place in the queue,
//! too, unless a lock holds the mailbox or waits before it. All requests before it are in execution, or wait
//! only for such requests.
//!
//! A waiter is a value in the queue; no thread blocks here. The caller that ends a grant receives the jobs
//! that are admitted next, and runs them.

use super::block::Contents;
use super::grant::{Grant, Mode, Purpose, Ticket};
use super::in_hand::InHand;
use super::queue::Queue;
use super::wait_set::{Condition, WaitSet};
use crate::sync::Mutex;

/// The outcome of a request for admission.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Admitted<J> {
    /// Admitted: the caller runs the job now.
    Granted(Grant, J),
    /// The queue keeps the job.
    Queued(Ticket),
    /// A lock holds the mailbox or waits before the request, which does not wait for locks.
    Locked(J),
}

/// The jobs and the read for the watchers that an operation admits.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Released<J> {
    /// Waiting jobs, in the order of their admission.
    pub jobs: Vec<(Grant, J)>,
    /// The grant of the read for the watchers, if that read was admitted. No job represents the read while it
    /// waits.
    pub watch: Option<Grant>,
}

impl<J> Default for Released<J> {
    fn default() -> Self {
        Released { jobs: Vec::new(), watch: None }
    }
}

/// The holders, the queue and the wait set of one mailbox, with waiting jobs of type `J`.
#[derive(Debug)]
pub(crate) struct Admission<J> {
    holders: Holders,
    queue: Queue<J>,
    /// Boxed: most mailboxes have no wait set, and there may be a million mailboxes.
    wait_set: Option<Box<WaitSet<J>>>,
    watchers: Watchers,
    /// The messages in hand, if there are any. Boxed for the same reason.
    in_hand: Option<Box<InHand>>,
    /// Number of locks that hold the mailbox or wait in the queue.
    locks: u32,
    /// The number of the next arrival.
    next_number: u64,
    /// The highest arrival number that was admitted, not counting admissions from the wait set.
    newest: Option<u64>,
    overtakes: u64,
}

/// The clients that watch the mailbox. Their read is admitted as if it waited in the wait set, but no job
/// waits there: a mailbox with watchers costs no more memory than one without.
#[derive(Clone, Copy, Debug, Default)]
struct Watchers {
    count: u32,
    /// The lowest version that a watcher has received, if a newer message is awaited.
    awaited: Option<u64>,
    /// Whether there is a newer message. If so, the read for the watchers is next.
    is_ready: bool,
}

impl Watchers {
    /// Records the current contents of the mailbox.
    fn set_contents(&mut self, contents: &Contents) {
        self.is_ready = self.awaited.is_some_and(|version| Condition::NewerThan(version).is_met(contents));
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Holders {
    None,
    /// This many readers, at least one.
    Readers(u32),
    Writer,
}

impl<J> Default for Admission<J> {
    fn default() -> Self {
        Admission {
            holders: Holders::None,
            queue: Queue::default(),
            wait_set: None,
            watchers: Watchers::default(),
            in_hand: None,
            locks: 0,
            next_number: 0,
            newest: None,
            overtakes: 0,
        }
    }
}

impl<J> Admission<J> {
    /// Admits a new arrival, or appends it to the queue.
    pub(crate) fn admit(&mut self, mode: Mode, purpose: Purpose, job: J) -> Admitted<J> {
        match self.try_admit(mode, purpose) {
            Some(grant) => Admitted::Granted(grant, job),
            None => Admitted::Queued(self.enqueue(mode, purpose, job)),
        }
    }

    /// Like [`Admission::admit`], but returns the job if it would have to wait for a lock.
    pub(crate) fn admit_unless_locked(&mut self, mode: Mode, purpose: Purpose, job: J) -> Admitted<J> {
        match self.try_admit(mode, purpose) {
            Some(grant) => Admitted::Granted(grant, job),
            None if self.is_locked() => Admitted::Locked(job),
            None => Admitted::Queued(self.enqueue(mode, purpose, job)),
        }
    }

    /// Whether a lock holds the mailbox or waits in the queue.
    pub(crate) fn is_locked(&self) -> bool {
        self.locks > 0
    }

    /// Admits a new arrival if that is possible at once. If not, returns `None` and changes nothing.
    pub(crate) fn try_admit(&mut self, mode: Mode, purpose: Purpose) -> Option<Grant> {
        let has_predecessor = !self.queue.is_empty() || self.is_wait_set_ready();
        if has_predecessor || self.conflicts(mode) {
            return None;
        }
        let number = self.arrive(purpose);
        Some(self.grant(mode, purpose, number))
    }

    /// Ends a grant. The next requests are admitted and added to `released`. `contents` returns the contents
    /// of the mailbox. It is called only if the grant was exclusive, and a request in the wait set or the
    /// read for the watchers waits for a change.
    pub(crate) fn release(
        &mut self,
        grant: Grant,
        contents: impl FnOnce() -> Contents,
        released: &mut Released<J>,
    ) {
        self.leave(&grant);
        if grant.mode == Mode::Exclusive && self.awaits_change() {
            self.set_contents(contents());
        }
        self.admit_next(released);
    }

    /// Ends a grant whose job is blocked on `condition`. The wait set keeps the job until the condition is
    /// met or the job is cancelled. `contents` are the contents of the mailbox. The next requests are
    /// admitted and added to `released`.
    pub(crate) fn wait_for(
        &mut self,
        grant: Grant,
        condition: Condition,
        contents: Contents,
        job: J,
        released: &mut Released<J>,
    ) -> Ticket {
        debug_assert!(grant.purpose == Purpose::Request, "a lock waits for no condition");
        let number = grant.number;
        self.leave(&grant);
        let ticket = self.insert_in_wait_set(number, condition, job);
        self.set_contents(contents);
        self.admit_next(released);
        ticket
    }

    /// Removes a job from the queue or the wait set, and returns the job. Returns `None` if the job was
    /// admitted or cancelled before. The next requests are admitted and added to `released`.
    pub(crate) fn cancel(&mut self, ticket: Ticket, released: &mut Released<J>) -> Option<J> {
        let job = match self.queue.remove(ticket.0) {
            Some((purpose, job)) => {
                self.locks -= u32::from(purpose == Purpose::Lock);
                job
            }
            None => self.wait_set.as_mut()?.remove(ticket.0)?,
        };
        self.admit_next(released);
        Some(job)
    }

    /// The waiting job with this ticket; `None` if it was admitted or cancelled.
    pub(crate) fn waiter(&mut self, ticket: Ticket) -> Option<&mut J> {
        let queued = self.queue.get_mut(ticket.0);
        queued.or_else(|| self.wait_set.as_mut()?.find(ticket.0))
    }

    /// Passes the current contents of the mailbox to the wait set and the watchers. Returns whether the
    /// contents meet the condition of a waiter there. That waiter is next, before the queue, so the holder
    /// must release the mailbox.
    pub(crate) fn update_contents(&mut self, contents: Contents) -> bool {
        self.set_contents(contents);
        self.is_wait_set_ready()
    }

    /// Adds a watcher.
    pub(crate) fn add_watcher(&mut self) {
        self.watchers.count += 1;
    }

    /// Removes a watcher.
    pub(crate) fn remove_watcher(&mut self) {
        self.watchers.count -= 1;
        if self.watchers.count == 0 {
            (self.watchers.awaited, self.watchers.is_ready) = (None, false);
        }
    }

    /// Lets the read for the watchers wait for a message newer than `version`, or newer than a lower version
    /// for which the read waits already. Returns false, and changes nothing, if the mailbox has a message
    /// newer than `version`. `contents` is called in the critical section of [`SharedAdmission`], so a change
    /// is seen either here or by the release after the change.
    pub(crate) fn await_message(&mut self, version: u64, contents: impl FnOnce() -> Contents) -> bool {
        if Condition::NewerThan(version).is_met(&contents()) {
            return false;
        }
        let awaited = &mut self.watchers.awaited;
        *awaited = Some(awaited.map_or(version, |lowest| lowest.min(version)));
        true
    }

    /// Number of watchers.
    pub(crate) fn watchers(&self) -> u32 {
        self.watchers.count
    }

    /// The job of the first request in the queue.
    pub(crate) fn first_waiter(&self) -> Option<&J> {
        self.queue.front_job()
    }

    /// Whether a request in the wait set waits for room. A new request that needs room must wait behind it.
    pub(crate) fn has_room_waiter(&self) -> bool {
        self.wait_set.as_ref().is_some_and(|wait_set| wait_set.has_room_waiter())
    }

    /// The messages in hand. Only the holder of an exclusive grant adds or removes messages.
    pub(crate) fn in_hand(&mut self) -> &mut Option<Box<InHand>> {
        &mut self.in_hand
    }

    /// Number of messages in hand.
    pub(crate) fn in_hand_count(&self) -> u64 {
        self.in_hand.as_ref().map_or(0, |in_hand| in_hand.len())
    }

    /// Gives a message in hand back. Returns false if it was removed from the mailbox. The next requests are
    /// admitted and added to `released`.
    pub(crate) fn give_back(&mut self, version: u64, released: &mut Released<J>) -> bool {
        let has_given = self.in_hand.as_mut().is_some_and(|in_hand| in_hand.give_back(version));
        if has_given {
            let in_hand = self.in_hand_count();
            if let Some(wait_set) = &mut self.wait_set {
                wait_set.set_in_hand(in_hand);
            }
            self.admit_next(released);
        }
        has_given
    }

    /// Number of requests in the queue.
    pub(crate) fn waiting(&self) -> usize {
        self.queue.len()
    }

    /// Number of requests in the wait set.
    pub(crate) fn waiting_for_condition(&self) -> usize {
        self.wait_set.as_ref().map_or(0, |wait_set| wait_set.len())
    }

    /// The mode and the number of the holders; `None` if the mailbox is free.
    pub(crate) fn holders(&self) -> Option<(Mode, u32)> {
        match self.holders {
            Holders::None => None,
            Holders::Readers(count) => Some((Mode::Shared, count)),
            Holders::Writer => Some((Mode::Exclusive, 1)),
        }
    }

    /// Number of requests that were admitted after a request that arrived later. Stays 0.
    pub(crate) fn overtakes(&self) -> u64 {
        self.overtakes
    }

    fn enqueue(&mut self, mode: Mode, purpose: Purpose, job: J) -> Ticket {
        let number = self.arrive(purpose);
        self.queue.push(number, mode, purpose, job);
        Ticket(number)
    }

    fn insert_in_wait_set(&mut self, number: u64, condition: Condition, job: J) -> Ticket {
        self.wait_set.get_or_insert_default().insert(number, condition, job);
        Ticket(number)
    }

    /// Whether a change of the contents may meet a condition.
    fn awaits_change(&self) -> bool {
        self.wait_set.is_some() || self.watchers.awaited.is_some()
    }

    fn set_contents(&mut self, contents: Contents) {
        self.watchers.set_contents(&contents);
        let in_hand = self.in_hand_count();
        if let Some(wait_set) = &mut self.wait_set {
            wait_set.set_contents(Contents { in_hand, ..contents });
        }
    }

    /// The one step that admits waiters.
    fn admit_next(&mut self, released: &mut Released<J>) {
        if self.watchers.is_ready && !self.conflicts(Mode::Shared) {
            (self.watchers.awaited, self.watchers.is_ready) = (None, false);
            let number = self.arrive(Purpose::Request);
            released.watch = Some(self.resume(Mode::Shared, number));
        }
        if self.wait_set.is_some() {
            self.admit_from_wait_set(released);
        }
        self.admit_queued(released);
        debug_assert!(!self.next_is_grantable(), "the next request is never grantable");
    }

    /// Admits from the head of the queue as many waiters as possible.
    fn admit_queued(&mut self, released: &mut Released<J>) {
        while self.head_is_grantable()
            && let Some((number, mode, purpose, job)) = self.queue.pop()
        {
            let grant = self.grant(mode, purpose, number);
            released.jobs.push((grant, job));
        }
    }

    /// Admits requests of the wait set whose condition is met: all readers, or one taker or putter.
    fn admit_from_wait_set(&mut self, released: &mut Released<J>) {
        let Some(mut wait_set) = self.wait_set.take() else { return };
        if wait_set.ready() == Some(Mode::Shared) && !self.conflicts(Mode::Shared) {
            wait_set
                .drain_readers(|number, job| released.jobs.push((self.resume(Mode::Shared, number), job)));
        }
        if wait_set.ready() == Some(Mode::Exclusive)
            && !self.conflicts(Mode::Exclusive)
            && let Some((number, job)) = wait_set.pop_writer()
        {
            let mut grant = self.resume(Mode::Exclusive, number);
            grant.has_waiters = wait_set.len() > 0 || self.watchers.awaited.is_some();
            grant.has_in_hand = self.in_hand.is_some();
            released.jobs.push((grant, job));
        }
        self.wait_set = Some(wait_set).filter(|wait_set| wait_set.len() > 0);
    }

    fn arrive(&mut self, purpose: Purpose) -> u64 {
        self.locks += u32::from(purpose == Purpose::Lock);
        let number = self.next_number;
        self.next_number += 1;
        number
    }

    fn grant(&mut self, mode: Mode, purpose: Purpose, number: u64) -> Grant {
        self.enter(mode);
        let overtaken = self.newest.is_some_and(|newest| newest > number);
        self.overtakes += u64::from(overtaken);
        self.newest = self.newest.max(Some(number));
        let (has_waiters, has_in_hand) = (self.awaits_change(), self.in_hand.is_some());
        Grant { mode, purpose, number, overtaken, resumed: false, has_waiters, has_in_hand, is_held: false }
    }

    /// Admits a request of the wait set, which keeps its arrival number.
    fn resume(&mut self, mode: Mode, number: u64) -> Grant {
        self.enter(mode);
        let purpose = Purpose::Request;
        let (overtaken, has_waiters, has_in_hand) = (false, false, false);
        Grant { mode, purpose, number, overtaken, resumed: true, has_waiters, has_in_hand, is_held: false }
    }

    fn enter(&mut self, mode: Mode) {
        self.holders = match (mode, self.holders) {
            (Mode::Exclusive, Holders::None) => Holders::Writer,
            (Mode::Shared, Holders::None) => Holders::Readers(1),
            (Mode::Shared, Holders::Readers(n)) => Holders::Readers(n + 1),
            (mode, holders) => unreachable!("a {mode:?} grant conflicts with {holders:?}"),
        };
    }

    fn leave(&mut self, grant: &Grant) {
        self.locks -= u32::from(grant.purpose == Purpose::Lock);
        self.holders = match (grant.mode, self.holders) {
            (Mode::Exclusive, Holders::Writer) | (Mode::Shared, Holders::Readers(1)) => Holders::None,
            (Mode::Shared, Holders::Readers(n)) => Holders::Readers(n - 1),
            (mode, holders) => unreachable!("a {mode:?} grant is released to {holders:?}"),
        };
    }

    fn next_is_grantable(&self) -> bool {
        match self.wait_set.as_ref().and_then(|wait_set| wait_set.ready()) {
            _ if self.watchers.is_ready => !self.conflicts(Mode::Shared),
            Some(mode) => !self.conflicts(mode),
            None => self.head_is_grantable(),
        }
    }

    /// Whether the head of the queue can be admitted. The requests of the wait set and the read for the
    /// watchers come first if their condition is met.
    fn head_is_grantable(&self) -> bool {
        !self.is_wait_set_ready() && self.queue.front().is_some_and(|mode| !self.conflicts(mode))
    }

    /// Whether the condition of a request in the wait set, or of the watchers, is met.
    fn is_wait_set_ready(&self) -> bool {
        self.watchers.is_ready || self.wait_set.as_ref().is_some_and(|wait_set| wait_set.is_ready())
    }

    fn conflicts(&self, mode: Mode) -> bool {
        match self.holders {
            Holders::None => false,
            Holders::Readers(_) => mode == Mode::Exclusive,
            Holders::Writer => true,
        }
    }
}

/// The admission of one mailbox, behind a mutex. The mailbox's memory is a [`Block`](super::Block) of the
/// segment.
#[derive(Debug)]
pub(crate) struct SharedAdmission<J> {
    admission: Mutex<Admission<J>>,
}

impl<J> Default for SharedAdmission<J> {
    fn default() -> Self {
        SharedAdmission { admission: Mutex::new(Admission::default()) }
    }
}

impl<J> SharedAdmission<J> {
    /// See [`Admission::admit`].
    pub(crate) fn admit(&self, mode: Mode, purpose: Purpose, job: J) -> Admitted<J> {
        self.admission.lock().admit(mode, purpose, job)
    }

    /// See [`Admission::admit_unless_locked`].
    pub(crate) fn admit_unless_locked(&self, mode: Mode, purpose: Purpose, job: J) -> Admitted<J> {
        self.admission.lock().admit_unless_locked(mode, purpose, job)
    }

    /// See [`Admission::try_admit`].
    pub(crate) fn try_admit(&self, mode: Mode, purpose: Purpose) -> Option<Grant> {
        self.admission.lock().try_admit(mode, purpose)
    }

    /// Admits, executes `work` and ends the grant in one critical section. This is for work that takes less
    /// time than entering the section again. Longer work does nothing and returns `None`. The caller then
    /// gets the grant as `Err`. Returns `None` if the request cannot be admitted at once. See
    /// [`Admission::try_admit`] and [`Admission::release`].
    pub(crate) fn try_inline<R>(
        &self,
        mode: Mode,
        work: impl FnOnce(&mut Grant) -> Option<R>,
        contents: impl FnOnce() -> Contents,
        released: &mut Released<J>,
    ) -> Option<Result<R, Grant>> {
        let mut admission = self.admission.lock();
        let mut grant = admission.try_admit(mode, Purpose::Request)?;
        let Some(result) = work(&mut grant) else { return Some(Err(grant)) };
        admission.release(grant, contents, released);
        Some(Ok(result))
    }

    /// See [`Admission::release`]. The caller runs the admitted jobs, outside of the critical section.
    pub(crate) fn release(
        &self,
        grant: Grant,
        contents: impl FnOnce() -> Contents,
        released: &mut Released<J>,
    ) {
        self.admission.lock().release(grant, contents, released);
    }

    /// See [`Admission::wait_for`].
    pub(crate) fn wait_for(
        &self,
        grant: Grant,
        condition: Condition,
        contents: Contents,
        job: J,
        released: &mut Released<J>,
    ) -> Ticket {
        self.admission.lock().wait_for(grant, condition, contents, job, released)
    }

    /// See [`Admission::cancel`].
    pub(crate) fn cancel(&self, ticket: Ticket, released: &mut Released<J>) -> Option<J> {
        self.admission.lock().cancel(ticket, released)
    }

    /// Calls `visit` with the waiting job of a ticket; see [`Admission::waiter`].
    pub(crate) fn with_waiter<R>(&self, ticket: Ticket, visit: impl FnOnce(&mut J) -> R) -> Option<R> {
        self.admission.lock().waiter(ticket).map(visit)
    }

    /// Calls `visit` with the admission.
    pub(crate) fn inspect<R>(&self, visit: impl FnOnce(&Admission<J>) -> R) -> R {
        visit(&self.admission.lock())
    }

    /// See [`Admission::update_contents`].
    pub(crate) fn update_contents(&self, contents: Contents) -> bool {
        self.admission.lock().update_contents(contents)
    }

    /// See [`Admission::has_room_waiter`].
    pub(crate) fn has_room_waiter(&self) -> bool {
        self.admission.lock().has_room_waiter()
    }

    /// Calls `visit` with the messages in hand; see [`Admission::in_hand`].
    pub(crate) fn with_in_hand<R>(&self, visit: impl FnOnce(&mut Option<Box<InHand>>) -> R) -> R {
        visit(self.admission.lock().in_hand())
    }

    /// See [`Admission::give_back`].
    pub(crate) fn give_back(&self, version: u64, released: &mut Released<J>) -> bool {
        self.admission.lock().give_back(version, released)
    }

    /// See [`Admission::add_watcher`].
    pub(crate) fn add_watcher(&self) {
        self.admission.lock().add_watcher();
    }

    /// See [`Admission::remove_watcher`].
    pub(crate) fn remove_watcher(&self) {
        self.admission.lock().remove_watcher();
    }

    /// See [`Admission::await_message`].
    pub(crate) fn await_message(&self, version: u64, contents: impl FnOnce() -> Contents) -> bool {
        self.admission.lock().await_message(version, contents)
    }

    /// See [`Admission::waiting`].
    pub(crate) fn waiting(&self) -> usize {
        self.admission.lock().waiting()
    }

    /// See [`Admission::overtakes`].
    #[cfg(test)]
    pub(crate) fn overtakes(&self) -> u64 {
        self.admission.lock().overtakes()
    }
}

#[cfg(all(test, feature = "loom"))]
mod model;

#[cfg(all(test, not(feature = "loom")))]
mod tests;
