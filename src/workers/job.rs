//! A batch of requests of one client: the requests, the index of the current one, and the answers so far.

use std::time::{Duration, Instant};

use super::lock_set::{Access, LockSet};
use crate::mailboxes::{Condition, Cursor, Grant, Mode, Taken, Ticket};
use crate::protocol::{Framed, LocalRequest, MailboxRequest, Refusal, Request, Wait};

/// The id of a connection. A completion is dropped if its generation is not the current one of the slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct ConnectionId {
    /// Index in the table of connections.
    pub slot: u32,
    /// Number of the connection, counted over all slots.
    pub generation: u32,
}

/// Where the answers of a job go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Owner {
    /// To a client.
    Client(ConnectionId),
    /// To watchers of this mailbox: the answer of their read is an event. A mailbox has at most one such
    /// read.
    Watch(u32),
}

/// Requests in, answers out. A job travels as one pointer and is reused, so a request costs no allocation.
#[derive(Debug)]
pub(crate) struct Job {
    pub owner: Owner,
    /// The bytes that contain the bodies of the requests.
    pub input: Vec<u8>,
    pub requests: Vec<Framed>,
    /// Index of the first request without an answer: the current one.
    pub next: usize,
    pub state: JobState,
    /// The locks of the client, if it holds any or has not acknowledged an expired one.
    pub locks: Option<Box<LockSet>>,
    /// Where the last `r after=` of a long list ended, or the position of the watchers.
    pub cursor: Option<(u32, Cursor)>,
    /// The last wait that the reactor has handled.
    pub wait: Option<WaitStart>,
    /// The answers, as they go to the socket.
    pub output: Vec<u8>,
    pub tally: Tally,
}

/// The state of the current request of a job.
///
/// ```text
///     Ready ──► Granted ──► answered: Ready, for the next request
///       │          ▲ │
///       ▼          │ ├──► Blocked ──► Waiting(Condition) ──► Granted
///     Waiting(Queue) └──► InFlight ──► acknowledged or requeued: Ready
/// ```
#[derive(Debug)]
pub(crate) enum JobState {
    /// It has not begun, or a client's own lock covers it.
    Ready,
    /// It was admitted to its mailbox.
    Granted(Grant),
    /// It was admitted, and its mailbox does not meet the condition.
    Blocked(Grant, Condition),
    /// The job is in the queue or the wait set of a mailbox.
    Waiting(WaitReason),
    /// It is answered by a message that was taken, and the answer has not been written yet.
    InFlight(InFlight),
}

/// Why a job waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum WaitReason {
    /// To be admitted.
    Queue,
    /// For a change of the mailbox.
    Condition(Condition),
}

/// The start of a wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct WaitStart {
    /// Index of the request.
    pub request: usize,
    pub mailbox: u32,
    /// A request that waits again, as a requeued `take` does, keeps its first instant.
    pub since: Instant,
    pub reason: WaitReason,
}

/// A message that was removed from its mailbox and is not received yet. No other request is admitted until
/// then.
#[derive(Debug)]
pub(crate) struct InFlight {
    pub mailbox: u32,
    /// How to put the message back.
    pub taken: Taken,
    /// Admission to the mailbox; `None` under the client's own lock.
    pub grant: Option<Grant>,
    /// Offset of its answer in the output.
    pub answer: usize,
    /// When the message counts as received, if the socket takes its answer only in parts.
    pub until: Option<Instant>,
}

/// What a request needs of a mailbox.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Acquire {
    pub mailbox: u32,
    pub mode: Mode,
    pub wait: Wait,
}

impl Acquire {
    /// Whether the request does not wait at all.
    pub(crate) fn tries_once(&self) -> bool {
        self.wait == Wait::For(Duration::ZERO)
    }
}

impl From<&MailboxRequest> for Acquire {
    fn from(request: &MailboxRequest) -> Self {
        match *request {
            MailboxRequest::Read { mailbox, wait, .. } => Acquire { mailbox, mode: Mode::Shared, wait },
            MailboxRequest::Write { mailbox, wait, .. }
            | MailboxRequest::Put { mailbox, wait, .. }
            | MailboxRequest::Take { mailbox, wait } => Acquire { mailbox, mode: Mode::Exclusive, wait },
        }
    }
}

impl Job {
    /// A job without requests.
    pub(crate) fn new(owner: Owner) -> Self {
        Job {
            owner,
            input: Vec::new(),
            requests: Vec::new(),
            next: 0,
            state: JobState::Ready,
            locks: None,
            cursor: None,
            wait: None,
            output: Vec::new(),
            tally: Tally::default(),
        }
    }

    /// The first request without an answer.
    pub(crate) fn current(&self) -> Option<&Framed> {
        self.requests.get(self.next)
    }

    /// Advances to the next request: the current one is answered.
    pub(crate) fn advance(&mut self) {
        self.next += 1;
    }

    /// The request with this index, if it reads or changes a mailbox.
    pub(crate) fn mailbox_request(&self, index: usize) -> Option<&MailboxRequest> {
        match &self.requests.get(index)?.request {
            Request::Mailbox(request) => Some(request),
            _ => None,
        }
    }

    /// What the current request needs of a mailbox, if it reads or changes one.
    pub(crate) fn acquire(&self) -> Option<Acquire> {
        self.mailbox_request(self.next).map(Acquire::from)
    }

    /// Whether the job may not wait for a client that may be gone: other clients wait for what it holds, or
    /// it would take a message.
    pub(crate) fn needs_its_client(&self) -> bool {
        self.has_locks() || matches!(self.mailbox_request(self.next), Some(MailboxRequest::Take { .. }))
    }

    /// Whether the connection ends when all requests are answered.
    pub(crate) fn closes(&self) -> bool {
        self.requests.last().is_some_and(|framed| framed.request.closes())
    }

    /// What the client's locks allow in a mailbox.
    pub(crate) fn access(&self, mailbox: u32, mode: Mode) -> Access {
        self.locks.as_ref().map_or(Access::Unlocked, |locks| locks.access(mailbox, mode))
    }

    /// Whether other clients could wait for this one while it waits itself.
    pub(crate) fn has_locks(&self) -> bool {
        self.locks.as_ref().is_some_and(|locks| locks.has_locks())
    }

    /// How long the current request waits.
    pub(crate) fn wait_limit(&self) -> Wait {
        match self.current().map(|framed| &framed.request) {
            Some(Request::Local(LocalRequest::Lock(lock))) => lock.wait,
            Some(Request::Mailbox(request)) => Acquire::from(request).wait,
            _ => Wait::Default,
        }
    }

    /// Whether the reactor was told that the current request waits. A job that has been admitted may have
    /// come to the wait of a later request, in the wait set, with the ticket of the earlier one.
    pub(crate) fn is_known_to_wait(&self) -> bool {
        self.wait.is_some_and(|wait| wait.request == self.next)
    }

    /// Whether the request that was answered last had to wait.
    pub(crate) fn has_waited(&self) -> bool {
        self.wait.is_some_and(|wait| wait.request + 1 == self.next)
    }

    /// Whether the job keeps other requests out of a mailbox, apart from its locks.
    pub(crate) fn holds_grant(&self) -> bool {
        match &self.state {
            JobState::Granted(_) | JobState::Blocked(..) => true,
            JobState::InFlight(in_flight) => in_flight.grant.is_some(),
            JobState::Ready | JobState::Waiting(_) => false,
        }
    }

    /// Takes the state, and leaves the job ready.
    pub(crate) fn take_state(&mut self) -> JobState {
        std::mem::replace(&mut self.state, JobState::Ready)
    }

    /// The job in a state.
    pub(crate) fn with_state(mut self: Box<Self>, state: JobState) -> Box<Self> {
        self.state = state;
        self
    }

    /// Bytes of memory, itself included, without the memory of its requests and locks.
    pub(crate) fn memory(&self) -> usize {
        let requests = self.requests.capacity() * size_of::<Framed>();
        size_of::<Self>() + requests + self.input.capacity() + self.output.capacity()
    }

    /// Bytes of the bodies of all requests without an answer.
    pub(crate) fn body_bytes(&self) -> usize {
        self.requests[self.next..].iter().map(|framed| framed.body.len()).sum()
    }
}

/// A job has begun to wait at a mailbox. By the time the reactor reads this the job may have been admitted,
/// or wait for a later request of the same run: the queue knows.
#[derive(Clone, Copy, Debug)]
pub(crate) struct WaitStarted {
    pub owner: Owner,
    pub mailbox: u32,
    pub ticket: Ticket,
}

/// A message from the pool to the reactor.
#[derive(Debug)]
pub(crate) enum Completion {
    /// The job has answers, and needs the reactor to go on.
    Done(Box<Job>),
    WaitStarted(WaitStarted),
    /// The read for the watchers of a mailbox was admitted.
    Watch {
        mailbox: u32,
        grant: Grant,
    },
}

/// The outcome of a request, for `stat`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// A message was read.
    Read,
    /// A message was written.
    Written,
    /// A message was added.
    Put,
    /// A message was taken.
    Taken,
    /// A lock was granted.
    Locked,
    /// A lock was released.
    Unlocked,
    /// `watch` or `unwatch` was answered.
    Watched,
    /// `ping`, `help`, `hello` or `stat` was answered.
    Info,
    /// `q`.
    Quit,
    /// `NO timeout`.
    Timeout,
    /// `NO conflict`.
    Conflict,
    /// `NO empty`.
    Empty,
    /// `NO full`.
    Full,
    /// `NO locked`.
    NotLocked,
    /// `NO multi`.
    Multi,
    /// `NO ahead`.
    Ahead,
    /// `ERR syntax`.
    Syntax,
    /// `ERR verb`.
    Verb,
    /// `ERR box`.
    Mailbox,
    /// `ERR size`.
    Size,
    /// `ERR lease`.
    Lease,
    /// `ERR deadlock`.
    Deadlock,
    /// `ERR denied`.
    Denied,
    /// `ERR frame`.
    Frame,
    /// `ERR drain`.
    Drain,
    /// `ERR internal`.
    Internal,
    /// Another protocol.
    Foreign,
}

impl From<&Refusal> for Outcome {
    fn from(refusal: &Refusal) -> Self {
        match refusal {
            Refusal::Syntax(_) => Outcome::Syntax,
            Refusal::Verb(_) => Outcome::Verb,
            Refusal::Mailbox { .. } => Outcome::Mailbox,
            Refusal::Size { .. } | Refusal::Count { .. } => Outcome::Size,
            Refusal::Lease => Outcome::Lease,
            Refusal::Deadlock => Outcome::Deadlock,
            Refusal::Denied(_) => Outcome::Denied,
            Refusal::Frame(_) => Outcome::Frame,
            Refusal::Drain => Outcome::Drain,
            Refusal::Internal | Refusal::Busy { .. } => Outcome::Internal,
        }
    }
}

/// How many requests came to which [`Outcome`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    counts: [u64; Tally::NAMES.len()],
    /// A bit for each count that is not 0. A batch has one or two outcomes, so [`Tally::merge`] skips most
    /// counts.
    counted: u32,
    /// Places in a queue that were overtaken. Stays 0.
    pub overtakes: u64,
}

const _: () = assert!(Tally::NAMES.len() <= u32::BITS as usize, "one bit for each count");

impl Tally {
    /// The names in `stat`, in the order of [`Outcome`].
    const NAMES: [&'static str; 27] = [
        "reads",
        "writes",
        "puts",
        "takes",
        "locks",
        "unlocks",
        "watches",
        "told",
        "quits",
        "no_timeout",
        "no_conflict",
        "no_empty",
        "no_full",
        "no_locked",
        "no_multi",
        "no_ahead",
        "err_syntax",
        "err_verb",
        "err_box",
        "err_size",
        "err_lease",
        "err_deadlock",
        "err_denied",
        "err_frame",
        "err_drain",
        "err_internal",
        "foreign_protocols",
    ];

    /// Counts one.
    pub(crate) fn count(&mut self, outcome: Outcome) {
        self.counts[outcome as usize] += 1;
        self.counted |= 1 << outcome as u32;
    }

    /// Adds what `other` counted, and empties it.
    pub(crate) fn merge(&mut self, other: &mut Tally) {
        self.counted |= other.counted;
        while other.counted != 0 {
            let outcome = other.counted.trailing_zeros() as usize;
            self.counts[outcome] += std::mem::take(&mut other.counts[outcome]);
            other.counted &= other.counted - 1;
        }
        self.overtakes += std::mem::take(&mut other.overtakes);
    }

    /// Each name with its count.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&'static str, u64)> {
        Tally::NAMES.into_iter().zip(self.counts)
    }

    /// All requests.
    pub(crate) fn total(&self) -> u64 {
        self.counts.iter().sum()
    }
}
