//! The fixed pool of threads that does the work on the mailboxes. It owns no socket, and it never waits for a
//! mailbox.
//!
//! A [`Job`] is a batch of requests of one client. [`step`](step::step) interprets it. It is submitted when
//! its first request is admitted. The [`Pool`] runs a short job on the reactor's own thread and posts the
//! others to its threads. The job returns to the reactor with its answers, from a worker through the
//! [`Completions`]. If the mailbox of a later request is not free, the job stays in the queue of that
//! mailbox, and the worker continues with another job: first with those that its releases have admitted.

mod completions;
mod execute;
mod job;
mod lock_set;
mod pool;
mod sleep;
mod step;

pub(crate) use completions::Completions;
pub(crate) use job::{
    Acquire, Completion, ConnectionId, InFlight, Job, JobState, Outcome, Owner, Tally, WaitReason, WaitStart,
    WaitStarted,
};
pub(crate) use lock_set::{Lock, LockSet};
pub(crate) use pool::{INLINE_BUDGET, Pool};
pub(crate) use step::{
    Next, Step, enqueue, hello, pass_on, refuse, refuse_and_end, reply, step, time_out, wait_for,
};

#[cfg(all(test, not(feature = "loom")))]
pub(crate) use step::run;

/// The mailboxes, with the jobs that wait in their queues.
pub(crate) type Mailboxes = crate::mailboxes::Mailboxes<Box<Job>>;
