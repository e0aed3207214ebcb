//! The phases of a connection.
//!
//! ```text
//!              a batch is framed       waits, or is admitted
//!        ┌──► Idle ──────────► Working ◄────────────────────► Waiting
//!        │      │                 │ more replies than            │ timeout
//!        │      │                 ▼ the socket takes             ▼
//!        │      │              Flushing                   replied to, continues
//!        └──────┼── all written ──┤
//!               │ end of input    │ the last reply
//!               ▼                 ▼
//!            Closed ◄───────── Lingering
//! ```
//!
//! Every phase may end in Closed. A job is completed and its replies are written before the next job of the
//! connection begins. [`Phase::may_become`] defines the transitions and is asserted at every change.

use std::time::Instant;

use crate::mailboxes::Ticket;
use crate::workers::Job;

/// The phase of a connection.
#[derive(Debug)]
pub(super) enum Phase {
    /// The connection has no job. It may be receiving a request.
    Idle,
    /// The pool has the job, or will have it.
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
    /// The connection is to be removed after this batch of events.
    Closed,
}

impl Phase {
    /// Whether the diagram above contains this transition.
    pub(super) fn may_become(&self, next: &Phase) -> bool {
        use Phase::{Closed, Flushing, Idle, Lingering, Waiting, Working};
        match self {
            // A request that needs no mailbox is completed at once. A waiting job may complete at any time,
            // and its connection must be ready for that.
            Idle => !matches!(next, Waiting { .. }),
            Working => !matches!(next, Lingering { .. }),
            Waiting { .. } => matches!(next, Waiting { .. } | Working | Closed),
            Flushing(_) => matches!(next, Working | Closed),
            Lingering { .. } => matches!(next, Closed),
            Closed => false,
        }
    }
}
