//! The search, compared with brute force: real queues, and a graph with all edges.

use std::collections::BTreeSet;

use super::super::{Admission, Admitted, Contents, Grant, Mode, Purpose, Released, Ticket};
use super::*;
use proptest::prelude::*;

const NOTHING: Contents = Contents::of_list(0, 0, Some(1));
const OWNERS: usize = 6;
const MAILBOXES: usize = 4;

/// Owners that lock mailboxes; each waits in at most one queue.
#[derive(Default)]
struct World {
    queues: [Admission<usize>; MAILBOXES],
    /// The owners and modes in each queue, in order.
    queued: [Vec<(usize, Mode)>; MAILBOXES],
    locks: Vec<(usize, usize, Grant)>,
    waits: [Option<(usize, Ticket)>; OWNERS],
}

impl World {
    fn holders(&self, mailbox: usize) -> impl Iterator<Item = (usize, Mode)> {
        let is_of_mailbox = move |lock: &&(usize, usize, Grant)| lock.1 == mailbox;
        self.locks.iter().filter(is_of_mailbox).map(|(owner, _, grant)| (*owner, grant.mode()))
    }

    fn holds(&self, owner: usize, mailbox: usize) -> bool {
        self.holders(mailbox).any(|(holder, _)| holder == owner)
    }

    /// The owners that a waiter waits for: every conflicting holder, and every owner queued before it.
    fn waits_for(&self, mailbox: usize, mode: Mode, before: &[(usize, Mode)]) -> BTreeSet<usize> {
        let conflicts = |other: Mode| mode == Mode::Exclusive || other == Mode::Exclusive;
        let holders = self.holders(mailbox).filter(|(_, other)| conflicts(*other)).map(|(owner, _)| owner);
        holders.chain(before.iter().map(|(owner, _)| *owner)).collect()
    }

    /// Whether `owner` reaches itself along the edges.
    fn reaches_itself(&self, owner: usize, mailbox: usize, mode: Mode) -> bool {
        let mut reached = self.waits_for(mailbox, mode, &self.queued[mailbox]);
        loop {
            let mut more = reached.clone();
            for other in &reached {
                let Some((mailbox, _)) = self.waits[*other] else { continue };
                let queued = &self.queued[mailbox];
                let at = queued.iter().position(|(waiter, _)| waiter == other).expect("it is queued");
                more.extend(self.waits_for(mailbox, queued[at].1, &queued[..at]));
            }
            if more == reached {
                return reached.contains(&owner);
            }
            reached = more;
        }
    }

    /// Searches at most `step` steps at a time.
    fn would_deadlock(&self, owner: usize, mailbox: usize, step: usize) -> bool {
        let mut search = Search::new(owner, mailbox as u32);
        loop {
            match search.advance(self, &mut step.clone()) {
                Found::NotYet => {}
                found => return found == Found::Cycle,
            }
        }
    }

    fn admitted(&mut self, mailbox: usize, admitted: Vec<(Grant, usize)>) {
        for (grant, owner) in admitted {
            self.waits[owner] = None;
            self.queued[mailbox].retain(|(waiter, _)| *waiter != owner);
            self.locks.push((owner, mailbox, grant));
        }
    }

    fn unlock(&mut self, owner: usize) {
        while let Some(at) = self.locks.iter().position(|(holder, ..)| *holder == owner) {
            let (_, mailbox, grant) = self.locks.remove(at);
            let mut released = Released::default();
            self.queues[mailbox].release(grant, || NOTHING, &mut released);
            self.admitted(mailbox, released.jobs);
        }
    }

    fn cancel(&mut self, owner: usize) {
        let Some((mailbox, ticket)) = self.waits[owner].take() else { return };
        self.queued[mailbox].retain(|(waiter, _)| *waiter != owner);
        let mut released = Released::default();
        self.queues[mailbox].cancel(ticket, &mut released);
        self.admitted(mailbox, released.jobs);
    }
}

impl Waits<usize> for World {
    fn holder(&self, mailbox: u32, after: Option<usize>) -> Option<usize> {
        let holders = self.holders(mailbox as usize).map(|(holder, _)| holder);
        holders.filter(|holder| after.is_none_or(|after| after < *holder)).min()
    }

    fn holds(&self, mailbox: u32, owner: usize) -> bool {
        World::holds(self, owner, mailbox as usize)
    }

    fn waiting_on(&self, owner: usize) -> Option<u32> {
        self.waits[owner].map(|(mailbox, _)| mailbox as u32)
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    /// An owner that has to wait is refused exactly if it would wait for itself.
    #[test]
    fn finds_exactly_the_cycles(
        steps in prop::collection::vec((0..OWNERS, 0..MAILBOXES, any::<bool>(), 0..8), 1..80),
    ) {
        let mut world = World::default();
        for (owner, mailbox, shared, action) in steps {
            let mode = if shared { Mode::Shared } else { Mode::Exclusive };
            match action {
                0 => world.unlock(owner),
                1 => world.cancel(owner),
                _ if world.waits[owner].is_some() || world.holds(owner, mailbox) => {}
                _ => match world.queues[mailbox].try_admit(mode, Purpose::Lock) {
                    Some(grant) => world.locks.push((owner, mailbox, grant)),
                    None => {
                        let expected = world.reaches_itself(owner, mailbox, mode);
                        prop_assert_eq!(world.would_deadlock(owner, mailbox, 1), expected);
                        prop_assert_eq!(world.would_deadlock(owner, mailbox, usize::MAX), expected);
                        if !expected {
                            let queue = &mut world.queues[mailbox];
                            let Admitted::Queued(ticket) = queue.admit(mode, Purpose::Lock, owner) else {
                                panic!("admitted, although try_admit refused")
                            };
                            world.queued[mailbox].push((owner, mode));
                            world.waits[owner] = Some((mailbox, ticket));
                        }
                    }
                },
            }
        }
    }
}

/// Owners in a ring: owner `n` holds mailbox `n`. The first `waiting` owners wait for the next mailbox.
struct Ring {
    length: u32,
    waiting: u32,
}

impl Waits<u32> for Ring {
    fn holder(&self, mailbox: u32, after: Option<u32>) -> Option<u32> {
        after.is_none().then_some(mailbox)
    }

    fn holds(&self, mailbox: u32, owner: u32) -> bool {
        mailbox == owner
    }

    fn waiting_on(&self, owner: u32) -> Option<u32> {
        (owner < self.waiting).then_some((owner + 1) % self.length)
    }
}

#[test]
fn a_long_cycle_is_found() {
    const LENGTH: u32 = 1000;
    for waiting in [0, 1, LENGTH / 2, LENGTH - 1] {
        let ring = Ring { length: LENGTH, waiting };
        let found = Search::new(LENGTH - 1, 0).advance(&ring, &mut usize::MAX.clone());
        assert_eq!(found == Found::Cycle, waiting == LENGTH - 1, "{waiting} of them wait");
    }
}

/// A regression test: each step of a search once visited all locks of an owner again for each mailbox. The
/// cost of N clients with N locks was quadratic.
#[test]
fn a_search_visits_each_lock_once() {
    let ring = Ring { length: 100, waiting: 50 };
    let mut steps = 1000;
    assert_eq!(Search::new(99, 0).advance(&ring, &mut steps), Found::Nothing);
    assert!(1000 - steps <= 2 * 51, "{} steps for 51 locks", 1000 - steps);
}

/// The waits of a path that was found in steps may never have existed together.
#[test]
fn a_cycle_of_waits_that_have_ended_is_not_reported() {
    let mut search = Search::new(3, 0);
    assert_eq!(search.advance(&Ring { length: 4, waiting: 3 }, &mut 5), Found::NotYet);
    assert_eq!(
        search.advance(&Ring { length: 4, waiting: 0 }, &mut 1000),
        Found::Nothing,
        "the first wait has ended"
    );
    assert_eq!(
        search.advance(&Ring { length: 4, waiting: 3 }, &mut 1000),
        Found::Nothing,
        "the search is over"
    );
}
