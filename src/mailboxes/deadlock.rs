//! Whether a wait would never end by itself. Pure: it asks who holds what, and who waits where.
//!
//! Only a connection that holds a lock while it waits can be waited for without end; a request that runs comes to its
//! end. Whoever waits at a mailbox waits for *all* locks that are held there: one that shuts others out it conflicts with,
//! and beside a shared one it would be in already, if it did not stand behind somebody whom that lock keeps out. So the
//! places in the queue need not be looked at: a path leads from a mailbox to those who hold it, and from each of these to
//! the mailbox where it waits.

use std::collections::HashSet;

/// Whether `owner`, which holds locks, would wait for itself if it waited at `mailbox`. `holders` calls back with each
/// owner of a lock of a mailbox, `waits_at` tells where an owner waits.
///
/// Each mailbox is visited once: the cost is the number of locks that are reached.
pub fn would_deadlock<Owner: Copy + Eq>(
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
