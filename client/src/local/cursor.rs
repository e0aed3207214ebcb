//! [`Cursor`]: the position of a local reader in the versions of a mailbox.

/// The position of a local reader in the versions of a mailbox, for [`Local::after`](super::Local::after).
///
/// A cursor remembers the mailboxes that it was used with. After these were replaced it is refused with
/// [`Miss::Ahead`](super::Miss::Ahead), also if its version exists again. The reader then continues with a
/// new cursor, and tells its user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cursor {
    pub(super) mailbox: u32,
    pub(super) version: u64,
    pub(super) life: Option<u64>,
    pub(super) place: Option<Place>,
}

/// Where the entry behind a cursor begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    /// The mapping and the epoch in which the position is valid.
    pub mapping: u64,
    pub epoch: u64,
    pub next: u64,
}

impl Cursor {
    /// A cursor before the oldest message of a mailbox.
    pub fn new(mailbox: u32) -> Self {
        Cursor::at(mailbox, 0)
    }

    /// A cursor behind this version of a mailbox.
    pub fn at(mailbox: u32, version: u64) -> Self {
        Cursor { mailbox, version, life: None, place: None }
    }

    /// The number of the mailbox.
    pub fn mailbox(&self) -> u32 {
        self.mailbox
    }

    /// The version of the message that was read last.
    pub fn version(&self) -> u64 {
        self.version
    }
}

impl Place {
    pub(super) fn is_of(&self, mapping: u64, epoch: u64) -> bool {
        (self.mapping, self.epoch) == (mapping, epoch)
    }
}
