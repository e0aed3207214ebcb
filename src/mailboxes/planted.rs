//! Bugs planted on purpose. A test that would not find them proves nothing.

use std::cell::Cell;

/// One planted bug.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bug {
    /// A waiter that leaves the queue does not let in whoever stood behind it.
    CancelWithoutNext,
    /// Whether to queue is decided under the lock, but the queueing happens under a second one.
    SeparateLocks,
    /// A request that misses something leaves the mailbox under the lock, but is set aside under a second one.
    LeavesBeforeItIsAside,
    /// What frees a mailbox lets in the first of those who may be in together.
    AdmitsOneAtATime,
    /// A reader goes in beside readers although a writer waits.
    ReadersPassTheWriter,
    /// Those who are back from aside stand behind the queue.
    AsideComesLast,
    /// Of those who wait for room, whoever fits goes first.
    SmallerPutPasses,
    /// A taker takes before the readers have seen what it takes.
    TakersBeforeReaders,
    /// Who waited for news still counts as waiting when it is in.
    RemembersTheLowest,
    /// Readers stand aside in the order in which they were set aside.
    AsideOutOfOrder,
    /// A write is committed before its payload lies there.
    CommitsBeforeThePayload,
    /// The word that makes a record the state is stored before the record.
    CommitsBeforeTheRecord,
}

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
