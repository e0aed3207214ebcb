//! [`Grant`] is the proof that a request was admitted to a mailbox. [`Ticket`] is the place of a request that
//! waits. Only [`Admission`](super::admission::Admission) creates grants and tickets.

/// How a request holds a mailbox.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    /// Together with other readers.
    Shared,
    /// Alone.
    Exclusive,
}

/// What a request is admitted for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// To be executed. The grant ends when the request is done.
    Request,
    /// To lock the mailbox. The grant ends when the client, its lease or its connection ends the lock.
    Lock,
}

/// The proof of admission. A lock is a grant that outlives its request.
/// [`Admission::release`](super::admission::Admission::release) consumes it.
#[derive(Debug, PartialEq, Eq)]
#[must_use = "a grant that is never released blocks its mailbox for ever"]
pub(crate) struct Grant {
    pub(super) mode: Mode,
    pub(super) purpose: Purpose,
    pub(super) number: u64,
    pub(super) overtaken: bool,
    pub(super) resumed: bool,
    pub(super) has_waiters: bool,
    pub(super) has_in_hand: bool,
    pub(super) is_held: bool,
}

impl Grant {
    /// How the holder holds the mailbox.
    pub(crate) fn mode(&self) -> Mode {
        self.mode
    }

    /// The arrival number of the admitted request.
    #[cfg(all(test, not(feature = "loom")))]
    pub(crate) fn number(&self) -> u64 {
        self.number
    }

    /// Whether a request that arrived later was admitted earlier. The law excludes this.
    /// [`Admission::overtakes`](super::admission::Admission::overtakes) counts such grants.
    pub(crate) fn overtaken(&self) -> bool {
        self.overtaken
    }

    /// Whether this grant admits a request from the wait set, whose condition is met now.
    pub(crate) fn resumed(&self) -> bool {
        self.resumed
    }

    /// Whether messages may be in hand.
    pub(crate) fn has_in_hand(&self) -> bool {
        self.has_in_hand
    }

    /// Records that a message was handed out.
    pub(crate) fn set_has_in_hand(&mut self) {
        self.has_in_hand = true;
    }

    /// Whether, when this grant was created, the wait set had requests or watchers waited for a message.
    /// Always false for a shared grant that admits a request from the wait set. No request joins the wait set
    /// while an exclusive grant is held.
    pub(crate) fn has_waiters(&self) -> bool {
        self.has_waiters
    }
}

/// A job's place in the queue or in the wait set. After the job has left this place, the ticket refers to no
/// job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ticket(pub(super) u64);
