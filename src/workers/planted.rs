//! Bugs planted on purpose. A test that would not find them proves nothing.

use std::cell::Cell;

/// One planted bug.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bug {
    /// A worker looks for work, then takes the lock, then sleeps.
    LooksBeforeTheLock,
    /// Whoever is in a long job still counts as available.
    LongJobStaysAvailable,
    /// Whoever starts a long job does not see to it that somebody else is available.
    LongJobWakesNobody,
    /// The pool is told to stop, those who sleep are not.
    StopWakesNobody,
    /// Whether to wake is decided under the lock, but the push happens under a second one.
    DecidesBeforeThePush,
    /// The reactor says that it sleeps whether or not there is something for it.
    SleepsWithoutLooking,
    /// A reactor that was woken is woken again by every post.
    WakesAgain,
}

thread_local! {
    static PLANTED: Cell<Option<Bug>> = const { Cell::new(None) };
}

/// Whether this thread runs with this bug.
pub fn is_planted(bug: Bug) -> bool {
    PLANTED.get() == Some(bug)
}

/// The look of somebody who looks for work, which with [`Bug::LooksBeforeTheLock`] is for the first time an old one.
pub fn old_look(has_work: impl Fn() -> bool) -> impl Fn() -> bool {
    let old = Cell::new(is_planted(Bug::LooksBeforeTheLock).then(&has_work));
    move || old.take().unwrap_or_else(&has_work)
}

/// Runs `test` with a bug, on this thread, where a model runs all of its own.
#[cfg(all(test, feature = "loom"))]
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
