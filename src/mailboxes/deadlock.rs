//! The search for cycles of waits. Pure: [`Waits`] tells which owners hold a mailbox, and which mailbox an
//! owner waits for.
//!
//! Only a connection that waits while it holds a lock can be part of a cycle, because a running request ends
//! by itself. A request that waits for a mailbox waits for *all* locks that are held there: either the
//! request itself conflicts with these locks, or an earlier waiter conflicts with them and must be admitted
//! first. So the search ignores the order of the queue: edges lead from a mailbox to the owners that hold it,
//! and from an owner to the mailbox that it waits for.
//!
//! A search visits each lock once. A long search is divided into steps, and its request is queued before the
//! search ends. Other waits may begin and end between two steps. The result is exact nevertheless, because
//! the waits and locks of a cycle do not end by themselves. The search therefore finds every cycle that
//! existed when the search began. A cycle that is completed later is found by the search of the wait that
//! completes it. A cycle is reported only if all its waits and locks exist at that moment.

use std::collections::{HashMap, HashSet};
use std::hash::Hash;

/// The state of a search after some steps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Found {
    /// More steps are needed.
    NotYet,
    /// The owner waits for itself.
    Cycle,
    /// The owner does not wait for itself.
    Nothing,
}

/// The graph of waits at this moment.
pub(crate) trait Waits<Owner> {
    /// The first owner of a lock of a mailbox, or the first owner after `after`. The order of the owners does
    /// not change.
    fn holder(&self, mailbox: u32, after: Option<Owner>) -> Option<Owner>;
    /// Whether an owner holds a lock of a mailbox.
    fn holds(&self, mailbox: u32, owner: Owner) -> bool;
    /// The mailbox that an owner waits for.
    fn waiting_on(&self, owner: Owner) -> Option<u32>;
}

/// The search for a cycle of waits that `owner`, which holds locks, would complete by waiting for `mailbox`.
#[derive(Debug)]
pub(crate) struct Search<Owner> {
    owner: Owner,
    mailbox: u32,
    /// Each mailbox that was reached, with the lock and the wait that lead to it: the locked mailbox, and the
    /// owner of the lock, which waits for the reached mailbox. `None` for the first mailbox.
    reached: HashMap<u32, Option<(u32, Owner)>>,
    to_visit: Vec<u32>,
    /// Owners that were reached.
    seen: HashSet<Owner>,
    /// The mailbox that is being visited, and the last visited owner of its locks.
    visiting: Option<(u32, Option<Owner>)>,
}

impl<Owner: Copy + Eq + Hash> Search<Owner> {
    pub(crate) fn new(owner: Owner, mailbox: u32) -> Self {
        let reached = HashMap::from([(mailbox, None)]);
        Search { owner, mailbox, reached, to_visit: vec![mailbox], seen: HashSet::new(), visiting: None }
    }

    /// Takes at most `steps` steps, and subtracts the number of steps taken. A step visits one lock, or finds
    /// that a mailbox has no further locks.
    pub(crate) fn advance(&mut self, waits: &impl Waits<Owner>, steps: &mut usize) -> Found {
        loop {
            let Some((mailbox, last)) = self.visiting.or_else(|| Some((self.to_visit.pop()?, None))) else {
                return Found::Nothing;
            };
            if *steps == 0 {
                self.visiting = Some((mailbox, last));
                return Found::NotYet;
            }
            *steps -= 1;
            let Some(holder) = waits.holder(mailbox, last) else {
                self.visiting = None;
                continue;
            };
            self.visiting = Some((mailbox, Some(holder)));
            if holder == self.owner {
                if self.exists(waits, mailbox) {
                    return Found::Cycle;
                }
                *self = Search::new(self.owner, self.mailbox);
            } else if self.seen.insert(holder)
                && let Some(next) = waits.waiting_on(holder)
                && !self.reached.contains_key(&next)
            {
                self.reached.insert(next, Some((mailbox, holder)));
                self.to_visit.push(next);
            }
        }
    }

    /// Whether the waits and locks that lead to a mailbox still exist.
    fn exists(&self, waits: &impl Waits<Owner>, mut mailbox: u32) -> bool {
        while let Some(Some((before, holder))) = self.reached.get(&mailbox) {
            if waits.waiting_on(*holder) != Some(mailbox) || !waits.holds(*before, *holder) {
                return false;
            }
            mailbox = *before;
        }
        true
    }
}

#[cfg(all(test, not(feature = "loom")))]
mod tests;
