//! The fixed pool of threads that executes the requests for the mailboxes. A worker owns no socket, and never
//! waits for a mailbox.
//!
//! A [`Job`] is a batch of requests of one client. [`step`](step::step) interprets a job. A job is submitted
//! to the pool when its first request is admitted or covered by a lock of the client. The [`Pool`] runs short
//! jobs on the reactor's thread and posts the others to the workers. A worker returns a job with its answers
//! to the reactor through the [`Completions`]. If the mailbox of a later request is not free, the job waits
//! in the queue of that mailbox, and the worker continues with another job. The jobs that a release admits go
//! to the worker's own deque, which the worker serves first.

mod completions;
mod execute;
mod job;
mod lock_set;
mod pool;
mod receipts;
mod sleep;
mod step;
mod take;
mod transfer;

pub(crate) use completions::Completions;
pub(crate) use job::{
    Acquire, Completion, ConnectionId, InFlight, Job, JobState, Outcome, Owner, RecordedWait, Tally,
    WaitReason, WaitStarted,
};
pub(crate) use lock_set::{Lock, LockSet};
pub(crate) use pool::{INLINE_BUDGET, Pool};
pub(crate) use receipts::{Receipt, Receipts};
pub(crate) use step::{
    Enqueued, Next, OUTPUT_HIGH_WATER, Step, enqueue, hello, pass_on, refuse, refuse_and_end, rename, reply,
    step, time_out, wait_for,
};
pub(crate) use transfer::{SENT_MIN, execute_and_receive, execute_and_send, is_received};

#[cfg(all(test, not(feature = "loom")))]
pub(crate) use step::run;

/// The mailboxes, with the jobs that wait in their queues.
pub(crate) type Mailboxes = crate::mailboxes::Mailboxes<Box<Job>>;
