//! The optional arguments of requests. The meaning of `wait` is the same in all: [`Client`](super::Client)
//! defines it.

use std::time::Duration;

/// The arguments of [`read_with`](crate::Client::read_with).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ReadOptions {
    /// Bytes to skip at the start of the message. A read from an offset beyond the end returns no bytes.
    pub off: Option<u64>,
    /// The largest number of bytes to return.
    pub len: Option<u64>,
    /// Reads the oldest message newer than this version, and waits for one when there is none.
    pub after: Option<u64>,
    /// The limit of the wait.
    pub wait: Option<Duration>,
}

/// The arguments of [`write_with`](crate::Client::write_with).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WriteOptions {
    /// The version that the mailbox must have. With another version the write fails with
    /// [`Reason::Conflict`](crate::Reason::Conflict). 0 is the version of a mailbox that was never written.
    pub if_version: Option<u64>,
    /// Patches the message from this byte on. The message grows when the data reaches beyond its end. Zeros
    /// fill a gap. If the mailbox has several messages, the write fails with
    /// [`Reason::Multi`](crate::Reason::Multi).
    pub off: Option<u64>,
    /// The limit of the wait.
    pub wait: Option<Duration>,
}

/// The arguments of [`put_with`](crate::Client::put_with).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PutOptions {
    /// Removes the oldest messages when there is no room, instead of waiting for room.
    pub drop: bool,
    /// The limit of the wait.
    pub wait: Option<Duration>,
}

/// The arguments of [`lock_with`](crate::Client::lock_with).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LockOptions {
    /// Locks for reading: other clients can read and take shared locks, and no client can write.
    pub shared: bool,
    /// The lease: the lock ends when this connection sends no request for this time. The default is 30 s.
    pub ttl: Option<Duration>,
    /// The limit of the wait. With [`Duration::ZERO`] a lock that is not free fails with
    /// [`Reason::Locked`](crate::Reason::Locked).
    pub wait: Option<Duration>,
}

/// The arguments of [`take_job_with`](crate::Client::take_job_with).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct JobOptions {
    /// The message is given back when this connection sends no request for this time. The default is 30 s.
    /// Zero and [`Duration::MAX`] are refused with [`Code::Syntax`](crate::Code::Syntax).
    pub ttl: Option<Duration>,
    /// The limit of the wait.
    pub wait: Option<Duration>,
}
