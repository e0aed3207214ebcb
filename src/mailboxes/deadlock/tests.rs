//! The search against brute force: real queues, and a graph with every single edge drawn.

use std::collections::BTreeSet;

use super::super::{Admission, Admitted, Contents, Grant, Mode, Ticket};
use super::*;
use proptest::prelude::*;

const NOTHING: Contents = Contents { version: 0, count: 0, room: Some(1) };
const OWNERS: usize = 6;
const MAILBOXES: usize = 4;

/// Owners that lock mailboxes; each waits in at most one queue.
#[derive(Default)]
struct World {
    queues: [Admission<usize>; MAILBOXES],
    /// Who stands in a queue, in order, and how.
    lines: [Vec<(usize, Mode)>; MAILBOXES],
    locks: Vec<(usize, usize, Grant)>,
    waits: [Option<(usize, Ticket)>; OWNERS],
}

impl World {
    fn holders(&self, mailbox: usize) -> impl Iterator<Item = (usize, Mode)> {
        let here = move |lock: &&(usize, usize, Grant)| lock.1 == mailbox;
        self.locks.iter().filter(here).map(|(owner, _, grant)| (*owner, grant.mode()))
    }

    fn holds(&self, owner: usize, mailbox: usize) -> bool {
        self.holders(mailbox).any(|(holder, _)| holder == owner)
    }

    /// Whom somebody who stands in a queue, or would stand at its end, waits for: each conflicting holder, and each one
    /// before.
    fn waits_for(&self, mailbox: usize, mode: Mode, before: &[(usize, Mode)]) -> BTreeSet<usize> {
        let conflicts = |other: Mode| mode == Mode::Exclusive || other == Mode::Exclusive;
        let holders = self.holders(mailbox).filter(|(_, other)| conflicts(*other)).map(|(owner, _)| owner);
        holders.chain(before.iter().map(|(owner, _)| *owner)).collect()
    }

    /// Whether `owner` reaches itself, along every edge that there is.
    fn would_wait_for_itself(&self, owner: usize, mailbox: usize, mode: Mode) -> bool {
        let mut reached = self.waits_for(mailbox, mode, &self.lines[mailbox]);
        loop {
            let mut more = reached.clone();
            for other in &reached {
                let Some((mailbox, _)) = self.waits[*other] else { continue };
                let line = &self.lines[mailbox];
                let at = line.iter().position(|(waiter, _)| waiter == other).expect("it waits there");
                more.extend(self.waits_for(mailbox, line[at].1, &line[..at]));
            }
            if more == reached {
                return reached.contains(&owner);
            }
            reached = more;
        }
    }

    fn closes_cycle(&self, owner: usize, mailbox: usize) -> bool {
        would_deadlock(
            owner,
            mailbox as u32,
            |mailbox, found| found.extend(self.holders(mailbox as usize).map(|(owner, _)| owner)),
            |owner| self.waits[owner].map(|(mailbox, _)| mailbox as u32),
        )
    }

    fn admitted(&mut self, mailbox: usize, admitted: Vec<(Grant, usize)>) {
        for (grant, owner) in admitted {
            self.waits[owner] = None;
            self.lines[mailbox].retain(|(waiter, _)| *waiter != owner);
            self.locks.push((owner, mailbox, grant));
        }
    }

    fn unlock(&mut self, owner: usize) {
        while let Some(at) = self.locks.iter().position(|(holder, ..)| *holder == owner) {
            let (_, mailbox, grant) = self.locks.remove(at);
            let mut admitted = Vec::new();
            self.queues[mailbox].release(grant, || NOTHING, &mut admitted);
            self.admitted(mailbox, admitted);
        }
    }

    fn give_up(&mut self, owner: usize) {
        let Some((mailbox, ticket)) = self.waits[owner].take() else { return };
        self.lines[mailbox].retain(|(waiter, _)| *waiter != owner);
        let mut admitted = Vec::new();
        self.queues[mailbox].cancel(ticket, &mut admitted);
        self.admitted(mailbox, admitted);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    /// Whoever would have to wait is refused exactly when it would wait for itself.
    #[test]
    fn finds_exactly_the_cycles(steps in prop::collection::vec((0..OWNERS, 0..MAILBOXES, any::<bool>(), 0..8), 1..80)) {
        let mut world = World::default();
        for (owner, mailbox, shared, what) in steps {
            let mode = if shared { Mode::Shared } else { Mode::Exclusive };
            match what {
                0 => world.unlock(owner),
                1 => world.give_up(owner),
                _ if world.waits[owner].is_some() || world.holds(owner, mailbox) => {}
                _ => match world.queues[mailbox].try_admit(mode) {
                    Some(grant) => world.locks.push((owner, mailbox, grant)),
                    None => {
                        let expected = world.would_wait_for_itself(owner, mailbox, mode);
                        prop_assert_eq!(world.closes_cycle(owner, mailbox), expected);
                        if !expected {
                            let Admitted::Queued(ticket) = world.queues[mailbox].admit(mode, owner) else {
                                panic!("it could not be in a moment ago")
                            };
                            world.lines[mailbox].push((owner, mode));
                            world.waits[owner] = Some((mailbox, ticket));
                        }
                    }
                },
            }
        }
    }
}

/// A ring of so many owners: the last one closes it, nobody before.
#[test]
fn a_cycle_may_be_long() {
    const LENGTH: u32 = 1000;
    let holders = |mailbox: u32, found: &mut Vec<u32>| found.push(mailbox);
    for waiting in [0, 1, LENGTH / 2, LENGTH - 1] {
        let waits_at = |owner: u32| (owner < waiting).then_some((owner + 1) % LENGTH);
        let closes = would_deadlock(LENGTH - 1, 0, holders, waits_at);
        assert_eq!(closes, waiting == LENGTH - 1, "{waiting} of them wait");
    }
}
