//! The fixed pool of threads that does the work on the mailboxes. It owns no socket, and it never waits for a mailbox.
//!
//! A [`Job`] is a batch of requests of one connection with its way home. It is submitted granted. The [`Pool`] runs a short
//! one on the reactor's own thread and posts the others to its threads. [`run`] answers one request after the other, and
//! the job goes home with its answers, from a worker through the [`Completions`]. Where the next mailbox is not free, the
//! job stays in that queue, and whoever ran it goes on with another one, next with those that its releases have let in.

mod completions;
mod execute;
mod job;
mod lock_set;
mod pool;
mod sleep;

pub use completions::Completions;
pub use execute::{
    OUTPUT_HIGH_WATER, admit, answer, refuse, refuse_access, refuse_and_end, run, time_out, wait_for,
    with_grant,
};
pub use job::{Completion, ConnectionId, InFlight, Job, Outcome, Tally, WaitStarted, Waiting};
pub use lock_set::{Access, Lock, LockSet};
pub use pool::Pool;

/// The mailboxes, with the jobs that wait in their queues.
pub type Mailboxes = crate::mailboxes::Mailboxes<Box<Job>>;
