//! The fixed pool of threads that does the work on the mailboxes. It owns no socket, and it never waits for a mailbox.
//!
//! A [`Job`] is a batch of requests of one connection with its way home. It is posted granted, [`run`] does as much of
//! it as needs no waiting, and it goes home with its answers through the [`Completions`]. What its release lets in
//! goes on the worker's own deque.

mod completions;
mod execute;
mod job;
mod pool;
mod sleep;

pub use completions::Completions;
pub use execute::{OUTPUT_HIGH_WATER, admission, answer, refuse, run, time_out};
pub use job::{ConnectionId, Job, Outcome, Tally};
pub use pool::Pool;

/// The mailboxes, with the jobs that wait in their queues.
pub type Mailboxes = crate::mailboxes::Mailboxes<Box<Job>>;
