//! The admission of one mailbox, shared by threads. Every operation is one critical section. No job runs in
//! it, except small ones: see [`SharedAdmission::try_inline`].

use super::admission::{Admission, Admitted, Condition, Grant, Mode, Ticket};
use super::block::Contents;
use crate::sync::Mutex;

/// The admission of one mailbox, behind a lock. The mailbox's memory is a [`Block`](super::Block) of the
/// segment.
#[derive(Debug)]
pub(crate) struct SharedAdmission<J> {
    admission: Mutex<Admission<J>>,
}

impl<J> Default for SharedAdmission<J> {
    fn default() -> Self {
        SharedAdmission { admission: Mutex::new(Admission::default()) }
    }
}

impl<J> SharedAdmission<J> {
    /// See [`Admission::admit`].
    pub(crate) fn admit(&self, mode: Mode, job: J) -> Admitted<J> {
        self.admission.lock().admit(mode, job)
    }

    /// See [`Admission::try_admit`].
    pub(crate) fn try_admit(&self, mode: Mode) -> Option<Grant> {
        self.admission.lock().try_admit(mode)
    }

    /// Admits, executes `work` and ends the grant in one critical section. This is for work that takes less
    /// time than entering the section again. Other work declines by returning `None`; then the caller gets
    /// the grant, as `Err`. Returns `None` if the request cannot be admitted at once. See
    /// [`Admission::try_admit`] and [`Admission::release`].
    pub(crate) fn try_inline<R>(
        &self,
        mode: Mode,
        work: impl FnOnce(&mut Grant) -> Option<R>,
        contents: impl FnOnce() -> Contents,
        admitted: &mut Vec<(Grant, J)>,
    ) -> Option<Result<R, Grant>> {
        let mut admission = self.admission.lock();
        let mut grant = admission.try_admit(mode)?;
        let Some(result) = work(&mut grant) else { return Some(Err(grant)) };
        admission.release(grant, contents, admitted);
        Some(Ok(result))
    }

    /// See [`Admission::release`]. The caller runs the admitted jobs, outside of the critical section.
    pub(crate) fn release(
        &self,
        grant: Grant,
        contents: impl FnOnce() -> Contents,
        admitted: &mut Vec<(Grant, J)>,
    ) {
        self.admission.lock().release(grant, contents, admitted);
    }

    /// See [`Admission::wait_for`].
    pub(crate) fn wait_for(
        &self,
        grant: Grant,
        condition: Condition,
        contents: Contents,
        job: J,
        admitted: &mut Vec<(Grant, J)>,
    ) -> Ticket {
        self.admission.lock().wait_for(grant, condition, contents, job, admitted)
    }

    /// See [`Admission::cancel`].
    pub(crate) fn cancel(&self, ticket: Ticket, admitted: &mut Vec<(Grant, J)>) -> Option<J> {
        self.admission.lock().cancel(ticket, admitted)
    }

    /// Calls `visit` with the waiting job of a ticket; see [`Admission::waiter`].
    pub(crate) fn with_waiter<R>(&self, ticket: Ticket, visit: impl FnOnce(&mut J) -> R) -> Option<R> {
        self.admission.lock().waiter(ticket).map(visit)
    }

    /// Calls `visit` with the admission.
    pub(crate) fn inspect<R>(&self, visit: impl FnOnce(&Admission<J>) -> R) -> R {
        visit(&self.admission.lock())
    }

    /// See [`Admission::update_contents`].
    pub(crate) fn update_contents(&self, contents: Contents) -> bool {
        self.admission.lock().update_contents(contents)
    }

    /// See [`Admission::has_room_waiter`].
    pub(crate) fn has_room_waiter(&self) -> bool {
        self.admission.lock().has_room_waiter()
    }

    /// See [`Admission::waiting`].
    pub(crate) fn waiting(&self) -> usize {
        self.admission.lock().waiting()
    }

    /// See [`Admission::overtakes`].
    #[cfg(test)]
    pub(crate) fn overtakes(&self) -> u64 {
        self.admission.lock().overtakes()
    }
}

#[cfg(all(test, feature = "loom"))]
mod model;
