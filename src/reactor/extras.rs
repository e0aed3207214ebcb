//! What only some connections have: a name, locks, watched mailboxes. The others do not pay for it.

use std::time::{Duration, Instant};

use crate::mailboxes::{Cursor, Mode};
use crate::protocol::Eol;
use crate::workers::LockSet;

/// The lasting part of a connection.
#[derive(Debug)]
pub struct Extras {
    /// What `hello name=` said.
    pub name: Option<Box<str>>,
    /// Its locks, unless a job has taken them along.
    pub locks: Option<Box<LockSet>>,
    /// When they end.
    pub leases: Vec<Lease>,
    /// The last request: all leases are counted from there.
    pub last_renewal: Instant,
    /// The mailboxes that it watches.
    pub watches: Vec<Watch>,
    /// Where its last `r after=` of a long list has ended.
    pub read_cursor: Option<(u32, Cursor)>,
}

/// How long a lock lasts.
#[derive(Clone, Copy, Debug)]
pub struct Lease {
    /// The mailbox that is locked.
    pub mailbox: u32,
    /// How.
    pub mode: Mode,
    /// The number that the client was told.
    pub fencing_token: u64,
    /// Since when.
    pub since: Instant,
    /// How long the client may be silent.
    pub ttl: Duration,
    /// When it ends, silent or not.
    pub hard_deadline: Instant,
    /// How to end the lines that tell of it.
    pub eol: Eol,
}

/// A mailbox that a connection watches.
#[derive(Clone, Copy, Debug)]
pub struct Watch {
    /// Which.
    pub mailbox: u32,
    /// The version of the last message that was sent.
    pub version: u64,
    /// How to end the lines of an event.
    pub eol: Eol,
    /// What it waits for.
    pub state: WatchState,
}

/// What a watcher waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WatchState {
    /// For news, together with the others that stand at its version.
    Armed,
    /// For its turn: there is an event for it, or it has just had one.
    Pending,
    /// For its client to read on.
    Lagging,
}

impl Extras {
    /// One without anything.
    pub fn new(now: Instant) -> Self {
        Extras {
            name: None,
            locks: None,
            leases: Vec::new(),
            last_renewal: now,
            watches: Vec::new(),
            read_cursor: None,
        }
    }

    /// Bytes of memory that it holds, itself counted.
    pub fn memory(&self) -> usize {
        let leases = self.leases.capacity() * size_of::<Lease>();
        let held = self.locks.as_ref().map_or(0, |held| held.memory());
        size_of::<Self>() + leases + self.watches.capacity() * size_of::<Watch>() + held
    }

    /// When the first lease ends, if the client stays silent.
    pub fn lease_end(&self) -> Option<Instant> {
        self.leases.iter().map(|lease| lease.end(self.last_renewal)).min()
    }

    /// Takes out the leases that have ended.
    pub fn take_ended(&mut self, now: Instant) -> Vec<Lease> {
        let renewed = self.last_renewal;
        self.leases.extract_if(.., |lease| lease.end(renewed) <= now).collect()
    }

    /// The watch of a mailbox.
    pub fn watch(&mut self, mailbox: u32) -> Option<&mut Watch> {
        self.watches.iter_mut().find(|watch| watch.mailbox == mailbox)
    }
}

impl Lease {
    /// When it ends, if the client's last request was then.
    pub fn end(&self, renewed: Instant) -> Instant {
        renewed.checked_add(self.ttl).map_or(self.hard_deadline, |silent| silent.min(self.hard_deadline))
    }
}
