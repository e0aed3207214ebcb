//! Bugs planted on purpose: a test that would not find them proves nothing. Each names the mistake that it is.
//!
//! Without the feature `planted-bugs` no bug is ever planted, and nothing of this is left in the program.

/// One planted bug.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(not(feature = "planted-bugs"), allow(dead_code, reason = "only tests plant them"))]
pub enum Bug {
    /// Whom a waiter lets in that gives up is not run.
    CancelRunsNobody,
    /// A request renews leases that have ended.
    LeaseNeverTooLate,
    /// A request that waits has no deadline.
    WaitWithoutEnd,
    /// A message that was taken for a client that has vanished does not go back.
    TakeNotUndone,
    /// Watchers that have an event stand at the newest version, not behind the event.
    RegroupedAtNewest,
    /// Nobody looks who waits for whom.
    DeadlockUnchecked,
    /// A lock stays when its client vanishes while its job is with the workers.
    LockOutlivesClient,
    /// The news that a lock was lost is told before the answers of what was done under it.
    NewsBeforeAnswers,
    /// The answer to `watch` leaves with the rest of its batch, events before it.
    EventsBeforeWatch,
    /// Answers that a waiting job has brought along wait with it.
    EarlierAnswersWait,
    /// A message goes to a client that has not even taken the answers before it.
    TakenUnread,
}

/// Whether this thread runs with this bug: never, except in the tests that plant it.
#[cfg(not(feature = "planted-bugs"))]
pub const fn is_planted(_: Bug) -> bool {
    false
}

#[cfg(feature = "planted-bugs")]
pub use switch::is_planted;
#[cfg(all(test, feature = "planted-bugs"))]
pub use switch::with;

#[cfg(feature = "planted-bugs")]
mod switch {
    use std::cell::Cell;

    use super::Bug;

    thread_local! {
        static PLANTED: Cell<Option<Bug>> = const { Cell::new(None) };
    }

    /// Whether this thread runs with this bug.
    pub fn is_planted(bug: Bug) -> bool {
        PLANTED.get() == Some(bug)
    }

    /// Runs `test` with a bug: on this thread, where a model runs all of its own, and in children that it forks.
    #[cfg(test)]
    pub fn with<R>(bug: Bug, test: impl FnOnce() -> R) -> R {
        struct Planted;

        impl Drop for Planted {
            fn drop(&mut self) {
                PLANTED.set(None);
            }
        }

        PLANTED.set(Some(bug));
        let _until_the_end = Planted;
        test()
    }
}
