//! The search for cycles of waits. Pure: callbacks tell which owners hold a mailbox, and where an owner
//! waits.
//!
//! Only a connection that waits while it holds a lock can be part of a cycle, because a running request ends
//! by itself. A request that waits for a mailbox waits for *all* locks that are held there. It conflicts with
//! an exclusive lock. A request compatible with a shared lock waits only if an earlier waiter conflicts with
//! that lock. So the search ignores the order of the queue: edges lead from a mailbox to the owners that hold
//! it, and from an owner to the mailbox that it waits for.

use std::collections::HashSet;

/// Whether `owner`, which holds locks, would complete a cycle of waits if it waited for `mailbox`. `holders`
/// appends the owners of all locks of a mailbox. `waiting_on` returns the mailbox that an owner waits for.
///
/// Each mailbox is visited once, so the cost is the number of locks that are reached.
pub(crate) fn would_deadlock<Owner: Copy + Eq>(
    owner: Owner,
    mailbox: u32,
    mut holders: impl FnMut(u32, &mut Vec<Owner>),
    mut waiting_on: impl FnMut(Owner) -> Option<u32>,
) -> bool {
    let mut visited = HashSet::from([mailbox]);
    let mut to_visit = vec![mailbox];
    let mut found = Vec::new();
    while let Some(mailbox) = to_visit.pop() {
        holders(mailbox, &mut found);
        for holder in found.drain(..) {
            if holder == owner {
                return true;
            }
            if let Some(next) = waiting_on(holder)
                && visited.insert(next)
            {
                to_visit.push(next);
            }
        }
    }
    false
}

#[cfg(all(test, not(feature = "loom")))]
mod tests;
