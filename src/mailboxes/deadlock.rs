//! The search for cycles of waits. Pure: [`Waits`] tells which owners hold a mailbox, and where an owner
//! waits.
//!
//! Only a connection that waits while it holds a lock can be part of a cycle, because a running request ends
//! by itself. A request that waits for a mailbox waits for *all* locks that are held there. It conflicts with
//! an exclusive lock. A request compatible with a shared lock waits only if an earlier waiter conflicts with
//! that lock. So the search ignores the order of the queue: edges lead from a mailbox to the owners that hold
//! it, and from an owner to the mailbox that it waits for.
//!
//! A search visits each lock once. It can be long, so it goes on in steps, while its request waits in its
//! place already. Other waits may begin and end between two steps. The result is exact nevertheless: the
//! waits and locks of a cycle do not end by themselves, so the search finds a cycle that existed when it
//! began, and a cycle that was completed later is found by the search of the wait that completed it. A cycle
//! is reported only if all its waits and locks exist at that moment.

use std::collections::{HashMap, HashSet};
use std::hash::Hash;

/// How far a search has come.
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
    /// The first owner of a lock of a mailbox, in an order that does not change, or the first one after
    /// `after`.
    fn holder(&self, mailbox: u32, after: Option<Owner>) -> Option<Owner>;
    /// Whether an owner holds a lock of a mailbox.
    fn holds(&self, mailbox: u32, owner: Owner) -> bool;
    /// The mailbox that an owner waits for.
    fn waiting_on(&self, owner: Owner) -> Option<u32>;
}

/// A search: whether `owner`, which holds locks, completes a cycle of waits if it waits for `mailbox`.
#[derive(Debug)]
pub(crate) struct Search<Owner> {
    owner: Owner,
    mailbox: u32,
    /// Each mailbox that was reached, with the lock and the wait that lead to it: a mailbox, and the owner
    /// that holds it.
    reached: HashMap<u32, Option<(u32, Owner)>>,
    to_visit: Vec<u32>,
    /// Owners that were reached.
    seen: HashSet<Owner>,
    /// The mailbox that is being visited, and its last holder that was visited.
    visiting: Option<(u32, Option<Owner>)>,
}

impl<Owner: Copy + Eq + Hash> Search<Owner> {
    pub(crate) fn new(owner: Owner, mailbox: u32) -> Self {
        let reached = HashMap::from([(mailbox, None)]);
        Search { owner, mailbox, reached, to_visit: vec![mailbox], seen: HashSet::new(), visiting: None }
    }

    /// Visits at most `steps` locks, and subtracts their number.
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

    /// Whether the waits and locks that lead to a mailbox exist.
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
