//! The mailboxes: who may be in, and what they hold. Knows no thread, socket or clock.
//!
//! [`Admission`] is the queue of one mailbox, [`Block`] its memory, [`Segment`] the memory of all. [`Mailboxes`] is
//! the table: it asks for a [`Grant`] wherever memory is touched.

mod admission;
mod block;
mod deadlock;
mod ring;
mod segment;
mod shared_admission;
mod wait_set;

pub use admission::{Admission, Admitted, Condition, Grant, Mode, Ticket};
pub use block::{Block, Contents, Control, Cursor, Damaged, Message, Patched, Recovered, Taken};
pub use deadlock::would_deadlock;
pub use ring::Ring;
pub use segment::{CAPACITY_MAX, Geometry, Segment, SegmentError};
pub use shared_admission::SharedAdmission;

/// The table of all mailboxes, with waiting jobs of type `J`.
#[derive(Debug)]
pub struct Mailboxes<J> {
    queues: Box<[SharedAdmission<J>]>,
    segment: Segment,
}

impl<J> Mailboxes<J> {
    /// The mailboxes of a segment; nobody is in, nobody waits.
    pub fn new(segment: Segment) -> Self {
        let queues = (0..segment.geometry().mailboxes).map(|_| SharedAdmission::default()).collect();
        Mailboxes { queues, segment }
    }

    /// How many mailboxes of which size.
    pub fn geometry(&self) -> Geometry {
        self.segment.geometry()
    }

    /// The segment of all mailboxes.
    pub fn segment(&self) -> &Segment {
        &self.segment
    }

    /// The queue of a mailbox.
    pub fn queue(&self, mailbox: u32) -> &SharedAdmission<J> {
        &self.queues[mailbox as usize]
    }

    /// The newest version of a mailbox, without a grant.
    pub fn version(&self, mailbox: u32) -> Result<u64, Damaged> {
        self.segment.control(mailbox).version()
    }

    /// What a mailbox holds, without a grant.
    pub fn contents(&self, mailbox: u32) -> Result<Contents, Damaged> {
        self.segment.control(mailbox).contents(self.geometry().capacity)
    }

    /// Bytes of all messages of a mailbox, their frames not counted, without a grant.
    pub fn message_bytes(&self, mailbox: u32) -> u64 {
        let control = self.segment.control(mailbox);
        let count = self.contents(mailbox).map_or(0, |contents| contents.count);
        control.live_bytes().saturating_sub(count * block::ENTRY_HEADER as u64)
    }

    /// Ends a grant that the queue of a mailbox gave; see [`Admission::release`].
    pub fn release(&self, mailbox: u32, grant: Grant, admitted: &mut Vec<(Grant, J)>) {
        self.queue(mailbox).release(grant, || self.contents_or_unlimited(mailbox), admitted);
    }

    /// Does `work` under a grant that ends with it, unless it declines; see [`SharedAdmission::try_inline`].
    pub fn try_inline<R>(
        &self,
        mailbox: u32,
        mode: Mode,
        work: impl FnOnce(&mut Grant) -> Option<R>,
        admitted: &mut Vec<(Grant, J)>,
    ) -> Option<Result<R, Grant>> {
        self.queue(mailbox).try_inline(mode, work, || self.contents_or_unlimited(mailbox), admitted)
    }

    /// Ends a grant whose job misses something; see [`Admission::wait_for`].
    pub fn wait_for(
        &self,
        mailbox: u32,
        grant: Grant,
        condition: Condition,
        job: J,
        admitted: &mut Vec<(Grant, J)>,
    ) -> Ticket {
        let contents = self.contents_or_unlimited(mailbox);
        self.queue(mailbox).wait_for(grant, condition, contents, job, admitted)
    }

    /// Whether a request of a mailbox's wait set can go on now, so that the holder of `grant` has to leave.
    pub fn must_yield(&self, mailbox: u32, grant: &Grant) -> bool {
        grant.mode() == Mode::Exclusive
            && grant.has_waiters()
            && self.queue(mailbox).is_condition_met(self.contents_or_unlimited(mailbox))
    }

    /// A damaged mailbox has whatever anybody needs: they come in, and hear of the damage.
    fn contents_or_unlimited(&self, mailbox: u32) -> Contents {
        let anything = Contents { version: u64::MAX, count: 1, room: Some(u64::MAX) };
        self.contents(mailbox).unwrap_or(anything)
    }

    /// The memory of a mailbox, under a grant that its own queue gave.
    #[allow(unsafe_code, reason = "the grant is the proof that the segment asks for")]
    pub fn read<'a>(&'a self, mailbox: u32, _grant: &'a Grant) -> impl std::ops::Deref<Target = Block<'a>> {
        // SAFETY: the grant lives as long as the block; a shared reference to the block only reads.
        ReadOnly(unsafe { self.segment.block(mailbox) })
    }

    /// The memory of a mailbox, to be changed, under an exclusive grant that its own queue gave.
    #[allow(unsafe_code, reason = "the grant is the proof that the segment asks for")]
    pub fn write<'a>(&'a self, mailbox: u32, grant: &'a mut Grant) -> Block<'a> {
        assert_eq!(grant.mode(), Mode::Exclusive, "only a writer writes");
        // SAFETY: the grant lives as long as the block, and admits nobody else.
        unsafe { self.segment.block(mailbox) }
    }
}

/// A block that cannot be written to.
struct ReadOnly<'a>(Block<'a>);

impl<'a> std::ops::Deref for ReadOnly<'a> {
    type Target = Block<'a>;

    fn deref(&self) -> &Block<'a> {
        &self.0
    }
}
