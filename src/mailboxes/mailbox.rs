//! The admission of one mailbox, shared by threads: every operation is one critical section, and no job runs inside.

use super::admission::{Admission, Admitted, Grant, Mode, Ticket};
use crate::sync::Mutex;

/// One mailbox's queue. Its memory is a [`Block`](super::Block) of the segment.
#[derive(Debug)]
pub struct Mailbox<J> {
    admission: Mutex<Admission<J>>,
}

impl<J> Default for Mailbox<J> {
    fn default() -> Self {
        Mailbox { admission: Mutex::new(Admission::default()) }
    }
}

impl<J> Mailbox<J> {
    /// See [`Admission::admit`].
    pub fn admit(&self, mode: Mode, job: J) -> Admitted<J> {
        #[cfg(feature = "planted-bugs")]
        if self.admission.lock().planted == Some(super::planted::Bug::SeparateLocks) {
            return match self.try_admit(mode) {
                Some(grant) => Admitted::Granted(grant, job),
                None => Admitted::Queued(self.admission.lock().enqueue(mode, job)),
            };
        }
        self.admission.lock().admit(mode, job)
    }

    /// See [`Admission::try_admit`].
    pub fn try_admit(&self, mode: Mode) -> Option<Grant> {
        self.admission.lock().try_admit(mode)
    }

    /// See [`Admission::release`]. The jobs that it lets in are run by the caller, after it.
    pub fn release(&self, grant: Grant, admitted: &mut Vec<(Grant, J)>) {
        self.admission.lock().release(grant, admitted);
    }

    /// See [`Admission::cancel`].
    pub fn cancel(&self, ticket: Ticket, admitted: &mut Vec<(Grant, J)>) -> Option<J> {
        self.admission.lock().cancel(ticket, admitted)
    }

    /// What `look` makes of the job at a place in the queue; see [`Admission::waiter`].
    pub fn with_waiter<R>(&self, ticket: Ticket, look: impl FnOnce(&mut J) -> R) -> Option<R> {
        self.admission.lock().waiter(ticket).map(look)
    }

    /// See [`Admission::waiting`].
    pub fn waiting(&self) -> usize {
        self.admission.lock().waiting()
    }

    /// See [`Admission::overtakes`].
    pub fn overtakes(&self) -> u64 {
        self.admission.lock().overtakes()
    }
}

#[cfg(all(test, feature = "loom", feature = "planted-bugs"))]
mod model;
