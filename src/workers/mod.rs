//! The fixed pool of threads that does the work on the mailboxes. It owns no socket, and it never waits for a mailbox.
//!
//! A [`Job`] is a batch of requests of one connection with its way home. It is posted granted, [`run`] answers one request
//! after the other, and it goes home with its answers through the [`Completions`]. Where the next mailbox is not free,
//! the job stays in that queue, and the worker goes on with another one. What a release lets in goes on the worker's
//! own deque.

mod completions;
mod execute;
mod held;
mod job;
mod pool;
mod sleep;

pub use completions::Completions;
pub use execute::{
    OUTPUT_HIGH_WATER, admit, answer, refuse, refuse_and_end, refuse_right, run, set_aside, time_out,
    with_grant,
};
pub use held::{Held, Lock, Right};
pub use job::{Completion, ConnectionId, Job, Outcome, Parked, Taking, Tally, Waiting};
pub use pool::Pool;

/// The mailboxes, with the jobs that wait in their queues.
pub type Mailboxes = crate::mailboxes::Mailboxes<Box<Job>>;
