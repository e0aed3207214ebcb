//! The oracle's model of one client: its pending requests, and the locks and watches that follow from its
//! replies.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use super::history::State;
use super::oracle::{Hand, LastWrite};
use super::pipe::ClientEnd;
use super::request::{ClientRequest, Wait};

/// Lease of a lock without `ttl=`.
pub(super) const DEFAULT_LEASE: Duration = Duration::from_secs(30);
/// Longest time that a lock may be held.
pub(super) const MAX_HOLD: Duration = Duration::from_secs(40);
/// Default wait of requests without `wait=`.
pub(super) const DEFAULT_WAIT: Duration = Duration::from_secs(30);

/// Longest time without progress that the server tolerates: a client reads nothing, or a request stays
/// incomplete.
pub(super) const PROGRESS_TIMEOUT: Duration = Duration::from_secs(30);

/// A point of a run. The sequence number orders the events that happen at the same virtual time.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Moment {
    pub sequence: u64,
    pub time: Duration,
}

/// A request that was sent completely and has no reply yet.
#[derive(Clone, Debug)]
pub(super) struct PendingRequest {
    /// The sequence number of the request, counted over all clients.
    pub number: u64,
    pub request: ClientRequest,
    pub eol: &'static str,
    pub sent: Moment,
    /// The burst in which the last byte of the request was sent. Requests of one burst arrive together.
    pub burst: Option<u64>,
    /// The newest known state of each mailbox when the request was sent.
    pub floors: Vec<State>,
    /// The highest fencing token known when the request was sent.
    pub last_grant: u64,
    /// Whether other requests of the same client were pending at the same time.
    pub is_pipelined: bool,
    /// The first time that the request was found waiting in a quiescent server.
    pub quiescent_since: Option<Moment>,
    /// The first time that the request was found waiting in a quiescent server after its client had stopped
    /// sending, and where: the mailbox, and whether the request waits for a condition.
    pub half_closed_since: Option<(Duration, (u32, bool))>,
    /// The sequence number at which the request was first found in the queue of its mailbox.
    pub queued_since: Option<u64>,
    /// The states named by the replies to requests that were sent later and admitted earlier.
    pub overtaken_by: Vec<State>,
    /// Mailboxes whose locks had expired when the request was sent, whether or not the client had been told.
    pub expired_locks: Vec<u32>,
}

/// A lock that a reply has granted.
#[derive(Clone, Debug)]
pub(super) struct HeldLock {
    pub shared: bool,
    pub grant: u64,
    pub ttl: Duration,
    pub requested: Moment,
    pub granted: Moment,
    /// The state of the mailbox when the lock was granted.
    pub state: State,
}

/// One client.
#[derive(Debug, Default)]
pub(super) struct ClientModel {
    pub outstanding: VecDeque<PendingRequest>,
    pub received: Vec<u8>,
    pub locks: BTreeMap<u32, HeldLock>,
    /// Expired locks that the client was told of and has not acknowledged, with the time of the event.
    pub lost_locks: BTreeMap<u32, Moment>,
    /// When the client was last told of an expired lock.
    pub last_lock_loss: Option<Moment>,
    /// The messages that replies have handed out to the client, by version.
    pub hands: BTreeMap<u64, Hand>,
    /// The last seen version of each watched mailbox.
    pub watches: BTreeMap<u32, u64>,
    /// Whether the client has ever watched a mailbox. The server may finish a read for a watcher after the
    /// watch has ended.
    pub has_watched: bool,
    pub end: Option<ClientEnd>,
    /// When the last replied request was sent, and when its reply was received.
    pub last_sent: Moment,
    pub last_replied: Moment,
    /// When the last bytes were received, which may be those of an event behind a reply.
    pub last_received: Moment,
    /// Whether the server has removed the connection and all its jobs.
    pub is_removed: bool,
    /// When the client began to leave output unread or a request incomplete. `None` if it does neither.
    pub slow_since: Option<Duration>,
    /// Whether the client was slow for a whole progress timeout at any time.
    pub was_slow: bool,
    /// Whether the server holds output that the client has not read.
    pub has_unread_output: bool,
    /// The last reply, if it was to a write.
    pub last_write: Option<LastWrite>,
}

impl PendingRequest {
    /// When the wait ends if it began at `since`.
    pub(super) fn wait_ends_at(&self, since: Duration) -> Option<Duration> {
        match self.request.wait()? {
            Wait::Default => Some(since + DEFAULT_WAIT),
            Wait::For(wait) => Some(since + wait),
            Wait::Forever => None,
        }
    }

    pub(super) fn has_zero_wait(&self) -> bool {
        self.request.wait() == Some(Wait::For(Duration::ZERO))
    }
}

impl ClientModel {
    pub(super) fn is_open(&self) -> bool {
        self.end.is_none()
    }

    /// A lower bound for the end of the first lease.
    pub(super) fn earliest_lease_end(&self) -> Option<Duration> {
        self.locks.keys().map(|mailbox| self.earliest_lease_end_of(*mailbox)).min()
    }

    /// A lower bound for the end of the lease of one mailbox.
    pub(super) fn earliest_lease_end_of(&self, mailbox: u32) -> Duration {
        let lock = &self.locks[&mailbox];
        (self.last_sent.time.max(lock.requested.time) + lock.ttl).min(lock.requested.time + MAX_HOLD)
    }

    /// An upper bound for the end of the first lease, if the client sends nothing more.
    pub(super) fn latest_lease_end(&self) -> Option<Duration> {
        self.locks.values().map(|lock| self.latest_lease_end_of(lock)).min()
    }

    /// The locks that have certainly expired: no pending request could have renewed their leases.
    pub(super) fn expired_leases(&self, now: Duration) -> Vec<u32> {
        let is_silent = self.outstanding.is_empty();
        let ended = self.locks.iter().filter(|(_, lock)| is_silent && self.latest_lease_end_of(lock) <= now);
        ended.map(|(mailbox, _)| *mailbox).collect()
    }

    fn latest_lease_end_of(&self, lock: &HeldLock) -> Duration {
        let quiescent_since = self.outstanding.front().and_then(|pending| pending.quiescent_since);
        let renewed = self.last_replied.time.max(quiescent_since.map_or(Duration::ZERO, |since| since.time));
        (renewed.max(lock.granted.time) + lock.ttl).min(lock.granted.time + MAX_HOLD)
    }

    /// The lock of a mailbox if the client certainly holds it at `now`: the lock was granted, and nothing can
    /// have ended it.
    pub(super) fn certainly_holds(&self, mailbox: u32, now: Duration) -> Option<&HeldLock> {
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

    /// Whether the client was told of an expired lock since `sequence`. If so, it is uncertain which requests
    /// ran under the lock.
    pub(super) fn has_lost_lock_since(&self, sequence: u64) -> bool {
        self.last_lock_loss.is_some_and(|at| at.sequence >= sequence)
    }
}
