//! [`Miss`]: the reasons why a local read has no result.

use std::fmt;

/// Why a local read has no result. Nothing has changed, and the buffer has no meaningful contents.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Miss {
    /// A client has locked the mailbox exclusively, or its last take is not acknowledged. The server can be
    /// asked, in the queue of the mailbox.
    Held,
    /// The mailbox was changed during each of several tries. The server can be asked.
    Busy,
    /// The mailboxes were removed or replaced; see [`Local::reopen`](super::Local::reopen).
    Retired,
    /// The memory of the mailbox is damaged.
    Damaged,
    /// The mailbox has not reached the version of the cursor, or the cursor is one of mailboxes that were
    /// replaced.
    Ahead {
        /// The version of the mailbox.
        version: u64,
    },
    /// There is no mailbox of this number.
    NoMailbox {
        /// The highest number of a mailbox.
        max: u32,
    },
    /// The wait is for more than [`WAIT_MAX`](super::WAIT_MAX) mailboxes.
    TooMany,
}

impl fmt::Display for Miss {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Miss::Held => f.write_str("the mailbox is held: locked, or its last take is not acknowledged"),
            Miss::Busy => f.write_str("the mailbox was changed during each try"),
            Miss::Retired => f.write_str("the mailboxes were removed or replaced"),
            Miss::Damaged => f.write_str("the memory of the mailbox is damaged"),
            Miss::Ahead { version } => {
                write!(f, "the cursor is ahead of the mailbox, which has version {version}")
            }
            Miss::NoMailbox { max } => write!(f, "no such mailbox: the last one is {max}"),
            Miss::TooMany => write!(f, "more than {} mailboxes", super::WAIT_MAX),
        }
    }
}

impl std::error::Error for Miss {}
