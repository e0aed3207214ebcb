//! What a connection is busy with.
//!
//! ```text
//!                 a batch is cut           its mailbox is taken
//!        ┌──► Idle ──────────► Working ◄────────────────────► Queued
//!        │      │                 │ answers, more than           │ timeout
//!        │      │                 ▼ the socket takes             ▼
//!        │      │              Flushing                       answered, goes on
//!        └──────┼──── written ────┤
//!               │ end of input    │ the last answer
//!               ▼                 ▼
//!            Closed ◄───────── Lingering
//! ```
//!
//! Everything ends in Closed. A job that is queued or away comes back before anything else begins, and answers that wait
//! leave before anything new does: [`Phase::may_become`] says so, and is asserted at every change.

use std::time::Instant;

use crate::mailboxes::Ticket;
use crate::workers::Job;

/// What a connection is busy with.
#[derive(Debug)]
pub enum Phase {
    /// With nothing, or with receiving.
    Idle,
    /// A job is with the workers.
    Working,
    /// A job waits in the queue of a mailbox, or aside.
    Waiting {
        /// Which mailbox.
        mailbox: u32,
        /// Its place.
        ticket: Ticket,
        /// When it gives up.
        until: Option<Instant>,
    },
    /// Answers wait for the socket. The job has what is still to be done of its batch.
    Flushing(Box<Job>),
    /// Everything is said; what still arrives is thrown away.
    Lingering {
        /// How many bytes of it.
        discard_budget: u64,
        /// How long.
        until: Instant,
    },
    /// To be removed after this batch of events.
    Closed,
}

impl Phase {
    /// Whether this change is one of those drawn above.
    pub fn may_become(&self, next: &Phase) -> bool {
        use Phase::{Closed, Flushing, Idle, Lingering, Waiting, Working};
        match self {
            // What needs no mailbox is answered at once; a queued job may come home at any time, and must find it expected.
            Idle => !matches!(next, Waiting { .. }),
            Working => !matches!(next, Lingering { .. }),
            Waiting { .. } => matches!(next, Waiting { .. } | Working | Closed),
            Flushing(_) => matches!(next, Working | Closed),
            Lingering { .. } => matches!(next, Closed),
            Closed => false,
        }
    }
}
