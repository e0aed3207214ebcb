//! The phases of a connection.
//!
//! ```text
//!       all replies are written
//!      ┌────────────────────────┐
//!      ▼   a batch is framed    │   waits; is admitted or times out
//!    Idle ──────────────────► Working ◄────────────────────► Waiting
//!      │                       │   ▲
//!      │ the last reply        │   │ the replies so far are written
//!      │ is written            │   │
//!      ▼                       ▼   │
//!  Lingering                 Flushing: more replies than the socket takes
//!      │ end of input
//!      ▼
//!    Closed
//! ```
//!
//! Every phase may change to Closed. A job is completed and its replies are written before the next job of
//! the connection begins. [`Phase::may_become`] is asserted at every change.

use std::time::Instant;

use crate::mailboxes::Ticket;
use crate::workers::Job;

/// The phase of a connection.
#[derive(Debug)]
pub(super) enum Phase {
    /// The connection has no job. It may be receiving a request.
    Idle,
    /// The reactor or the pool has the job.
    Working,
    /// A job waits in the queue of a mailbox, or for a condition of it.
    Waiting {
        /// The mailbox.
        mailbox: u32,
        /// The job's place in the queue.
        ticket: Ticket,
        /// When the wait ends.
        until: Option<Instant>,
    },
    /// Replies wait for the socket. The job contains the remaining requests of its batch.
    Flushing(Box<Job>),
    /// All replies are written. Received bytes are discarded.
    Lingering {
        /// How many bytes may still be discarded.
        discard_budget: u64,
        /// When the connection is closed.
        until: Instant,
    },
    /// The connection is to be removed after the events of this poll.
    Closed,
}

impl Phase {
    /// Whether the phase may change to `next`. Every transition of the diagram above is allowed.
    pub(super) fn may_become(&self, next: &Phase) -> bool {
        use Phase::{Closed, Flushing, Idle, Lingering, Waiting, Working};
        match self {
            // A connection waits only with a job, and the start of a batch changes `Idle` to `Working`.
            Idle => !matches!(next, Waiting { .. }),
            Working => !matches!(next, Lingering { .. }),
            Waiting { .. } => matches!(next, Waiting { .. } | Working | Closed),
            Flushing(_) => matches!(next, Working | Closed),
            Lingering { .. } => matches!(next, Closed),
            Closed => false,
        }
    }
}
