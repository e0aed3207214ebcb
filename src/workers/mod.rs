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
mod step;

pub use completions::Completions;
pub use job::{
    Acquire, Completion, ConnectionId, InFlight, Job, JobState, Outcome, Owner, Tally, WaitReason, WaitStart,
    WaitStarted, WatchId,
};
pub use lock_set::{Lock, LockSet};
pub use pool::Pool;
pub use step::{
    OUTPUT_HIGH_WATER, Step, enqueue, hello, refuse, refuse_and_end, reply, run, step, time_out, wait_for,
    with_grant,
};

/// The mailboxes, with the jobs that wait in their queues.
pub type Mailboxes = crate::mailboxes::Mailboxes<Box<Job>>;
