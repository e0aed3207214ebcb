//! What a request may say beyond its mailbox. Waits are as [`Client`](super::Client) has them.

use std::time::Duration;

/// How to read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ReadOptions {
    /// Leaves out so many bytes.
    pub off: Option<u64>,
    /// At most so many bytes.
    pub len: Option<u64>,
    /// The oldest message newer than this version; waits for one.
    pub after: Option<u64>,
    /// How long to wait.
    pub wait: Option<Duration>,
}

/// How to write.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WriteOptions {
    /// Only when the mailbox is at this version, else [`Reason::Conflict`](super::Reason::Conflict).
    pub if_version: Option<u64>,
    /// Patches the message from this byte on.
    pub off: Option<u64>,
    /// How long to wait.
    pub wait: Option<Duration>,
}

/// How to put.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PutOptions {
    /// The oldest messages make room, instead of waiting for it.
    pub drop: bool,
    /// How long to wait.
    pub wait: Option<Duration>,
}

/// How to lock.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LockOptions {
    /// Others may read, and lock it like this; nobody writes.
    pub shared: bool,
    /// Silence of this connection after which the lock ends by itself; 30 s unless given.
    pub ttl: Option<Duration>,
    /// How long to wait.
    pub wait: Option<Duration>,
}
