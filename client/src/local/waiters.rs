//! The flags of the mailboxes that processes wait for.
//!
//! **The law**: a wake-up is never lost. A waiter loads the bells, sets the flags, and then looks for news.
//! The server stores a change and then looks at the flag of its mailbox; if it is set, the server clears it
//! and rings the bell. Each side has a fence between its store and its look, so at least one of them sees the
//! other. The bell has another value then, and the kernel lets no process sleep at it.

use std::fs::File;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use super::files::{Instance, is_unlinked};
use super::map::Map;
use super::sync::{AtomicU32, Ordering, fence};

/// Longest sleep between two looks if there are no flags: the file is missing.
pub(super) const POLL: Duration = Duration::from_millis(10);

/// The file of the flags, mapped. Each start of a server makes a new one.
#[derive(Clone, Debug)]
pub(super) struct Waiters(Arc<Mapped>);

#[derive(Debug)]
struct Mapped {
    file: File,
    map: Map,
}

impl Waiters {
    /// Opens the flags of the present server.
    pub(super) fn open(instance: &Instance, mailboxes: u32) -> io::Result<Self> {
        let file = instance.waiters()?;
        let size = mailboxes as usize * size_of::<u32>();
        if file.metadata()?.len() != size as u64 {
            return Err(io::Error::other("the file of the waiters does not fit the mailboxes"));
        }
        let map = Map::writable(&file, size)?;
        Ok(Waiters(Arc::new(Mapped { file, map })))
    }

    /// Whether the file was replaced: no server reads these flags.
    pub(super) fn is_unlinked(&self) -> bool {
        is_unlinked(&self.0.file)
    }

    /// Announces a wait for changes of these mailboxes, with these bells. Returns the values of the bells.
    /// The caller then looks for news, and sleeps at the bells if there is none.
    pub(super) fn announce(&self, mailboxes: impl Iterator<Item = u32>, bells: &[&AtomicU32]) -> Vec<u32> {
        let flags = mailboxes.map(|mailbox| self.0.map.u32(mailbox as usize * size_of::<u32>()));
        announce(flags, bells)
    }
}

/// Loads bells and sets flags, before the caller looks for news. Returns the values of the bells.
pub(super) fn announce<'a>(flags: impl Iterator<Item = &'a AtomicU32>, bells: &[&AtomicU32]) -> Vec<u32> {
    let seen = bells.iter().map(|bell| bell.load(Ordering::Acquire)).collect();
    flags.for_each(|flag| flag.store(1, Ordering::Relaxed));
    // The look for news must not happen before these stores: see the law.
    fence(Ordering::SeqCst);
    seen
}
