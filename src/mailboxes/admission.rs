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
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The law, word for word, over a plain list of everybody who came and has not left.
    #[derive(Default)]
    struct Naive {
        /// Arrival, mode, whether it is in.
        present: Vec<(u64, Mode, bool)>,
    }

    impl Naive {
        /// Admits whoever may be admitted, in order; returns who that was.
        fn settle(&mut self) -> Vec<u64> {
            let mut let_in = Vec::new();
            for at in 0..self.present.len() {
                let (number, mode, is_in) = self.present[at];
                let others = || self.present.iter().filter(|other| other.2);
                let conflict = match mode {
                    Mode::Shared => others().any(|other| other.1 == Mode::Exclusive),
                    Mode::Exclusive => others().count() > 0,
                };
                if is_in {
                    continue;
                }
                if conflict {
                    break;
                }
                self.present[at].2 = true;
                let_in.push(number);
            }
            let_in
        }

        fn leave(&mut self, number: u64) -> Vec<u64> {
            self.present.retain(|entry| entry.0 != number);
            self.settle()
        }
    }

    #[derive(Clone, Debug)]
    enum Step {
        Admit(bool),
        TryAdmit(bool),
        Release(prop::sample::Index),
        Cancel(prop::sample::Index),
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let step = prop_oneof![
            4 => any::<bool>().prop_map(Step::Admit),
            1 => any::<bool>().prop_map(Step::TryAdmit),
            3 => any::<prop::sample::Index>().prop_map(Step::Release),
            2 => any::<prop::sample::Index>().prop_map(Step::Cancel),
        ];
        prop::collection::vec(step, 1..200)
    }

    fn mode(shared: bool) -> Mode {
        if shared { Mode::Shared } else { Mode::Exclusive }
    }

    proptest! {
        #[test]
        fn behaves_like_the_law_word_for_word(steps in steps()) {
            let mut admission = Admission::default();
            let mut naive = Naive::default();
            let mut holding: Vec<(u64, Grant)> = Vec::new();
            let mut tickets: Vec<(u64, Ticket)> = Vec::new();
            for (arrival, step) in (0u64..).zip(steps) {
                let mut admitted = Vec::new();
                let mut expected = Vec::new();
                match step {
                    Step::Admit(shared) => {
                        naive.present.push((arrival, mode(shared), false));
                        expected = naive.settle();
                        match admission.admit(mode(shared), arrival) {
                            Admitted::Granted(grant, job) => admitted.push((grant, job)),
                            Admitted::Queued(ticket) => tickets.push((arrival, ticket)),
                        }
                    }
                    Step::TryAdmit(shared) => {
                        naive.present.push((arrival, mode(shared), false));
                        expected = naive.settle();
                        if expected.is_empty() {
                            naive.leave(arrival);
                        }
                        admitted.extend(admission.try_admit(mode(shared)).map(|grant| (grant, arrival)));
                    }
                    Step::Release(which) if !holding.is_empty() => {
                        let (number, grant) = holding.remove(which.index(holding.len()));
                        expected = naive.leave(number);
                        admission.release(grant, &mut admitted);
                    }
                    Step::Cancel(which) if !tickets.is_empty() => {
                        let (number, ticket) = tickets[which.index(tickets.len())];
                        let waits = naive.present.iter().any(|entry| entry.0 == number && !entry.2);
                        if waits {
                            expected = naive.leave(number);
                        }
                        prop_assert_eq!(admission.cancel(ticket, &mut admitted), waits.then_some(number));
                    }
                    _ => {}
                }
                let found: Vec<u64> = admitted.iter().map(|(_, job)| *job).collect();
                prop_assert_eq!(found, expected);
                holding.extend(admitted.into_iter().map(|(grant, job)| (job, grant)));
                prop_assert!(!admission.head_is_grantable());
                prop_assert_eq!(admission.waiting(), naive.present.iter().filter(|entry| !entry.2).count());
                prop_assert_eq!(admission.overtakes(), 0);
            }
        }
    }

    #[test]
    fn a_cancelled_writer_frees_the_readers_behind_it() {
        let mut admission = Admission::default();
        let Admitted::Granted(reader, _) = admission.admit(Mode::Shared, "first") else { panic!() };
        let Admitted::Queued(writer) = admission.admit(Mode::Exclusive, "writer") else { panic!() };
        let Admitted::Queued(_) = admission.admit(Mode::Shared, "second") else { panic!() };
        let mut admitted = Vec::new();
        assert_eq!(admission.cancel(writer, &mut admitted), Some("writer"));
        assert_eq!(admitted.len(), 1);
        assert_eq!(admitted[0].1, "second");
        assert_eq!(admission.cancel(writer, &mut admitted), None);
        admission.release(reader, &mut admitted);
    }

    #[test]
    fn an_empty_queue_gives_its_room_back() {
        let mut admission = Admission::default();
        let Admitted::Granted(writer, _) = admission.admit(Mode::Exclusive, 0) else { panic!() };
        for job in 1..1000 {
            let Admitted::Queued(_) = admission.admit(Mode::Shared, job) else { panic!() };
        }
        let mut admitted = Vec::new();
        admission.release(writer, &mut admitted);
        assert_eq!(admitted.len(), 999);
        assert!(admission.queue.capacity() <= ROOM_KEPT);
    }
}
