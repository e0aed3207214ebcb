//! The mailboxes: their admission and their memory. This module uses no thread, socket or clock.
//!
//! [`Admission`](admission::Admission) is the queue of one mailbox, [`Block`] is its memory, and [`Segment`]
//! is the memory of all mailboxes. [`Mailboxes`] is the table of all mailboxes. It requires a [`Grant`] for
//! every access to the messages of a mailbox.

mod admission;
mod block;
mod deadlock;
mod grant;
mod in_hand;
mod queue;
mod resize;
mod segment;
mod wait_set;
mod waiters;

#[cfg(all(test, not(feature = "loom")))]
pub(crate) use admission::Admission;
pub(crate) use admission::{Admitted, Released, SharedAdmission};
pub(crate) use block::{
    Block, Contents, Cursor, Damaged, Incoming, Located, Message, Patched, Recovered, Taken,
};
pub(crate) use deadlock::{Found, Search, Waits};
pub(crate) use grant::{Grant, Mode, Purpose, Ticket};
pub(crate) use in_hand::{Candidate, IN_HAND_MEMORY, InHand};
pub(crate) use segment::{CAPACITY_MAX, Geometry, Retired, Ring, Segment, SegmentError};
pub(crate) use wait_set::Condition;
pub(crate) use waiters::Waiters;

use crate::protocol::{Name, Names};

/// The table of all mailboxes, with waiting jobs of type `J`.
#[derive(Debug)]
pub(crate) struct Mailboxes<J> {
    admissions: Box<[SharedAdmission<J>]>,
    segment: Segment,
    /// The names in the segment.
    names: Names,
}

impl<J> Mailboxes<J> {
    /// The mailboxes of a segment, without holders and waiters.
    pub(crate) fn new(segment: Segment) -> Self {
        let admissions = (0..segment.geometry().mailboxes).map(|_| SharedAdmission::default()).collect();
        let names = Names::new(segment.names());
        Mailboxes { admissions, segment, names }
    }

    /// Number and sizes of the mailboxes.
    pub(crate) fn geometry(&self) -> Geometry {
        self.segment.geometry()
    }

    /// The segment of all mailboxes.
    pub(crate) fn segment(&self) -> &Segment {
        &self.segment
    }

    /// The names of the mailboxes.
    pub(crate) fn names(&self) -> &Names {
        &self.names
    }

    /// Gives a mailbox this name, or none. Returns the other mailbox if one has this name. To be called by
    /// one thread.
    pub(crate) fn set_name(&self, mailbox: u32, name: Option<Name>) -> Result<(), u32> {
        let taken = name.as_ref().and_then(|name| self.names.find(name.as_str().as_bytes()));
        if let Some(other) = taken.filter(|other| *other != mailbox) {
            return Err(other);
        }
        self.segment.set_name(mailbox, name.as_ref());
        self.names.set(mailbox, name);
        Ok(())
    }

    /// Gives mailboxes these names, each mailbox and each name once. Another mailbox with one of these names
    /// loses it.
    pub(crate) fn set_names(&self, names: Vec<(u32, Name)>) {
        for (mailbox, name) in names {
            if let Err(other) = self.set_name(mailbox, Some(name.clone())) {
                let freed = self.set_name(other, None).and_then(|()| self.set_name(mailbox, Some(name)));
                debug_assert!(freed.is_ok(), "no other mailbox has the name");
            }
        }
    }

    /// The admission of a mailbox.
    pub(crate) fn queue(&self, mailbox: u32) -> &SharedAdmission<J> {
        &self.admissions[mailbox as usize]
    }

    /// The newest version of a mailbox, without a grant.
    pub(crate) fn version(&self, mailbox: u32) -> Result<u64, Damaged> {
        self.segment.control(mailbox).version()
    }

    /// The contents of a mailbox, without a grant.
    pub(crate) fn contents(&self, mailbox: u32) -> Result<Contents, Damaged> {
        self.segment.control(mailbox).contents(self.geometry().capacity)
    }

    /// Bytes of the payloads of all messages and holes of a mailbox, without a grant.
    pub(crate) fn message_bytes(&self, mailbox: u32) -> u64 {
        let control = self.segment.control(mailbox);
        let entries = self.contents(mailbox).map_or(0, |contents| contents.entries);
        control.live_bytes().saturating_sub(entries * block::ENTRY_HEADER as u64)
    }

    /// Keeps readers of the shared memory out until the grant, which is exclusive, is released.
    pub(crate) fn hold(&self, mailbox: u32, grant: &mut Grant) {
        assert_eq!(grant.mode(), Mode::Exclusive, "readers of the shared memory may read beside readers");
        if !std::mem::replace(&mut grant.is_held, true) {
            self.segment.control(mailbox).set_held(true);
        }
    }

    /// Ends a grant for a mailbox; see [`Admission::release`](admission::Admission::release).
    pub(crate) fn release(&self, mailbox: u32, grant: Grant, released: &mut Released<J>) {
        if grant.is_held {
            self.segment.control(mailbox).set_held(false);
        }
        let mode = grant.mode();
        self.queue(mailbox).release(grant, || self.contents_or_unlimited(mailbox), released);
        self.notify(mailbox, mode);
    }

    /// Wakes the processes that wait for a change of a mailbox in the shared memory, after a grant of this
    /// mode has ended.
    fn notify(&self, mailbox: u32, mode: Mode) {
        if mode == Mode::Exclusive {
            self.segment.notify(mailbox);
        }
    }

    /// Executes `work` under a grant and ends the grant; see [`SharedAdmission::try_inline`].
    pub(crate) fn try_inline<R>(
        &self,
        mailbox: u32,
        mode: Mode,
        work: impl FnOnce(&mut Grant) -> Option<R>,
        released: &mut Released<J>,
    ) -> Option<Result<R, Grant>> {
        let contents = || self.contents_or_unlimited(mailbox);
        let result = self.queue(mailbox).try_inline(mode, work, contents, released);
        if let Some(Ok(_)) = &result {
            self.notify(mailbox, mode);
        }
        result
    }

    /// Ends a grant whose job is blocked on a condition; see
    /// [`Admission::wait_for`](admission::Admission::wait_for).
    pub(crate) fn wait_for(
        &self,
        mailbox: u32,
        grant: Grant,
        condition: Condition,
        job: J,
        released: &mut Released<J>,
    ) -> Ticket {
        assert!(!grant.is_held, "a take is answered, so it does not wait");
        let mode = grant.mode();
        let contents = self.contents_or_unlimited(mailbox);
        let ticket = self.queue(mailbox).wait_for(grant, condition, contents, job, released);
        // Earlier requests of the run may have changed the mailbox.
        self.notify(mailbox, mode);
        ticket
    }

    /// Lets the read for the watchers of a mailbox wait for a message newer than `version`. Returns false if
    /// the mailbox has such a message; see [`Admission::await_message`](admission::Admission::await_message).
    pub(crate) fn await_message(&self, mailbox: u32, version: u64) -> bool {
        self.queue(mailbox).await_message(version, || self.contents_or_unlimited(mailbox))
    }

    /// Whether the holder of `grant` must release it, because a request of the wait set or the read for the
    /// watchers is ready.
    pub(crate) fn must_yield(&self, mailbox: u32, grant: &Grant) -> bool {
        grant.mode() == Mode::Exclusive
            && grant.has_waiters()
            && self.queue(mailbox).update_contents(self.contents_or_unlimited(mailbox))
    }

    /// The contents of a mailbox. For a damaged mailbox, contents that meet every condition: all its waiters
    /// are admitted, and each of them is answered with the error.
    fn contents_or_unlimited(&self, mailbox: u32) -> Contents {
        let (all, none) = (u64::MAX, 0);
        let unlimited =
            Contents { version: all, newest: all, count: all, in_hand: none, entries: none, room: Some(all) };
        self.contents(mailbox).unwrap_or(unlimited)
    }

    /// The memory of a mailbox for reading, under a grant for this mailbox.
    #[allow(unsafe_code, reason = "the grant is the proof that the segment requires")]
    pub(crate) fn read<'a>(
        &'a self,
        mailbox: u32,
        _grant: &'a Grant,
    ) -> impl std::ops::Deref<Target = Block<'a>> {
        // SAFETY: the grant lives as long as the block; a shared reference to the block only reads.
        ReadOnly(unsafe { self.segment.block(mailbox) })
    }

    /// The memory of a mailbox for writing, under an exclusive grant for this mailbox.
    #[allow(unsafe_code, reason = "the grant is the proof that the segment requires")]
    pub(crate) fn write<'a>(&'a self, mailbox: u32, grant: &'a mut Grant) -> Block<'a> {
        assert_eq!(grant.mode(), Mode::Exclusive, "writing needs an exclusive grant");
        // SAFETY: the grant lives as long as the block, and excludes all other holders.
        unsafe { self.segment.block(mailbox) }
    }
}

/// A block without methods that change it.
struct ReadOnly<'a>(Block<'a>);

impl<'a> std::ops::Deref for ReadOnly<'a> {
    type Target = Block<'a>;

    fn deref(&self) -> &Block<'a> {
        &self.0
    }
}
