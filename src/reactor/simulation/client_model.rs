//! One client, as the oracle sees it: what it waits to be told, and what it has been told.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use super::history::State;
use super::pipe::ClientEnd;
use super::request::{ClientRequest, Wait};

/// How long a client may be silent that holds a lock and has not said.
pub const DEFAULT_LEASE: Duration = Duration::from_secs(30);
/// How long anybody may hold a lock.
pub const MAX_HOLD: Duration = Duration::from_secs(40);
/// How long a request waits that does not say.
pub const DEFAULT_WAIT: Duration = Duration::from_secs(30);

/// How long a client may read nothing, or leave a request half sent.
pub const PROGRESS_TIMEOUT: Duration = Duration::from_secs(30);

/// A point in the simulation: the steps order what happens at one time.
#[derive(Clone, Copy, Debug, Default)]
pub struct Moment {
    pub sequence: u64,
    pub time: Duration,
}

/// A request that was sent in whole and is not answered yet.
#[derive(Clone, Debug)]
pub struct PendingRequest {
    /// Which of all.
    pub number: u64,
    pub request: ClientRequest,
    pub eol: &'static str,
    pub sent: Moment,
    /// What had been told of each mailbox by then.
    pub floors: Vec<State>,
    /// The highest number of a lock by then.
    pub last_grant: u64,
    /// Others of the same client were under way.
    pub is_pipelined: bool,
    /// Since when it is known to wait, with nothing else to do for the server.
    pub quiescent_since: Option<Moment>,
    /// The same, since its client sends nothing more: at which mailbox, and whether aside.
    pub half_closed_since: Option<(Duration, (u32, bool))>,
    /// Since when it is known to stand in its mailbox's queue.
    pub queued_since: Option<u64>,
    /// What those were told who came later and were through earlier.
    pub overtaken_by: Vec<State>,
    /// Locks that had run out by then, whether their client knew it or not.
    pub expired_locks: Vec<u32>,
}

/// A lock that a client was told it has.
#[derive(Clone, Debug)]
pub struct HeldLock {
    pub shared: bool,
    pub grant: u64,
    pub ttl: Duration,
    pub requested: Moment,
    pub granted: Moment,
    /// What the mailbox was like.
    pub state: State,
}

/// One client.
#[derive(Debug, Default)]
pub struct ClientModel {
    pub outstanding: VecDeque<PendingRequest>,
    pub received: Vec<u8>,
    pub locks: BTreeMap<u32, HeldLock>,
    /// Locks that have run out, with when the client was told, until it says that it knows.
    pub lost_locks: BTreeMap<u32, Moment>,
    /// When it was last told that a lock has run out.
    pub last_lock_loss: Option<Moment>,
    /// The last version seen of each mailbox it watches.
    pub watches: BTreeMap<u32, u64>,
    /// It has watched something at some time: reading for it goes on for a while.
    pub has_watched: bool,
    pub end: Option<ClientEnd>,
    /// When the last request that was answered was sent, and when that was answered.
    pub last_sent: Moment,
    pub last_replied: Moment,
    /// The server may close: it was asked to, or has said why.
    pub may_be_closed: bool,
    /// The server has no memory of it any more.
    pub is_removed: bool,
    /// Since when it has not read what is there for it, or has left a request half sent.
    pub slow_since: Option<Duration>,
    /// It was so for long enough to be closed.
    pub was_slow: bool,
    /// Answers waited for it to read.
    pub has_unread_output: bool,
}

impl PendingRequest {
    /// When it gives up, if it began to wait at `since`.
    pub fn wait_ends_at(&self, since: Duration) -> Option<Duration> {
        match self.request.wait()? {
            Wait::Default => Some(since + DEFAULT_WAIT),
            Wait::For(wait) => Some(since + wait),
            Wait::Forever => None,
        }
    }

    pub fn tries_once(&self) -> bool {
        self.request.wait() == Some(Wait::For(Duration::ZERO))
    }
}

impl ClientModel {
    pub fn is_open(&self) -> bool {
        self.end.is_none() && !self.may_be_closed
    }

    /// Before this none of its leases has ended.
    pub fn earliest_lease_end(&self) -> Option<Duration> {
        self.locks.keys().map(|mailbox| self.earliest_lease_end_of(*mailbox)).min()
    }

    /// Before this the lease of a mailbox has not ended.
    pub fn earliest_lease_end_of(&self, mailbox: u32) -> Duration {
        let lock = &self.locks[&mailbox];
        (self.last_sent.time.max(lock.requested.time) + lock.ttl).min(lock.requested.time + MAX_HOLD)
    }

    /// By then the first of its leases has ended, if nothing more was asked.
    pub fn latest_lease_end(&self) -> Option<Duration> {
        self.locks.values().map(|lock| self.latest_lease_end_of(lock)).min()
    }

    /// The locks that have certainly run out by now, by silence: nothing is under way that could have renewed them.
    pub fn expired_leases(&self, now: Duration) -> Vec<u32> {
        let is_silent = self.outstanding.is_empty();
        let ended = self.locks.iter().filter(|(_, lock)| is_silent && self.latest_lease_end_of(lock) <= now);
        ended.map(|(mailbox, _)| *mailbox).collect()
    }

    fn latest_lease_end_of(&self, lock: &HeldLock) -> Duration {
        let quiescent_since = self.outstanding.front().and_then(|pending| pending.quiescent_since);
        let renewed = self.last_replied.time.max(quiescent_since.map_or(Duration::ZERO, |since| since.time));
        (renewed.max(lock.granted.time) + lock.ttl).min(lock.granted.time + MAX_HOLD)
    }

    /// Whether it certainly holds a mailbox at this time: it was told so, and has done nothing to end it.
    pub fn certainly_holds(&self, mailbox: u32, now: Duration) -> Option<&HeldLock> {
        let unlocks = |pending: &PendingRequest| match &pending.request {
            ClientRequest::Unlock { mailboxes, .. } => {
                mailboxes.as_ref().is_none_or(|list| list.contains(&mailbox))
            }
            ClientRequest::Quit => true,
            _ => false,
        };
        let lock = self.locks.get(&mailbox)?;
        let is_slow = self.was_slow || self.slow_since.is_some_and(|since| since + PROGRESS_TIMEOUT <= now);
        let sure = self.is_open()
            && !is_slow
            && now < self.earliest_lease_end_of(mailbox)
            && !self.outstanding.iter().any(unlocks);
        sure.then_some(lock)
    }

    /// Whether a lock ran out since, so that it is not sure which requests were made under it.
    pub fn has_lost_lock_since(&self, sequence: u64) -> bool {
        self.last_lock_loss.is_some_and(|at| at.sequence >= sequence)
    }
}
