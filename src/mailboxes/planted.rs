//! Bugs planted on purpose. A test that would not find them proves nothing.

/// One planted bug.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bug {
    /// A waiter that leaves the queue does not let in whoever stood behind it.
    CancelWithoutNext,
    /// Whether to queue is decided under the lock, but the queueing happens under a second one.
    SeparateLocks,
}
