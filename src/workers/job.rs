//! A batch of requests of one client: the requests, the index of the current one, and the answers so far.

use std::time::{Duration, Instant};

use super::lock_set::{Access, LockSet};
use super::receipts::Receipts;
use crate::mailboxes::{Condition, Cursor, Grant, Mode, Purpose, Taken, Ticket};
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
    /// To the sender of a packet of UDP, with this slot in the table of senders.
    Packet(u32),
    /// To watchers of this mailbox: the answer of their read is an event. A mailbox has at most one such
    /// read.
    Watch(u32),
}

/// A batch of requests, and the answers to them. A job is passed between threads as one pointer and is
/// reused, so a request costs no allocation.
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
    /// The messages that the client has in hand, if there are any.
    pub receipts: Option<Box<Receipts>>,
    /// The mailbox and the cursor of the last `r after=` of a long list, or of the read for the watchers.
    pub cursor: Option<(u32, Cursor)>,
    /// The last wait that the reactor has recorded.
    pub wait: Option<RecordedWait>,
    /// The answers, as they go to the socket.
    pub output: Vec<u8>,
    pub tally: Tally,
    /// Large messages are copied, and not sent from their mailbox.
    pub copies: bool,
}

/// The state of the current request of a job.
///
/// ```text
///     Ready ──► answered                                        the request needs no mailbox
///     Ready ──► Granted                                         the mailbox is free
///     Ready ──► Waiting(Queue) ──► Granted                      the mailbox is not free
///     Granted ──► answered
///     Granted ──► Blocked ──► Waiting(Condition) ──► Granted    the condition does not hold
///     Granted ──► InFlight ──► acknowledged or requeued         the answer has a taken message
///     Waiting ──► answered                                      the wait has timed out
/// ```
///
/// After an answer and after an acknowledgement the job is [`Ready`](JobState::Ready) for its next request,
/// and after a requeue for the same request. A request that the client's own lock covers is executed without
/// a grant, in the state `Ready`. A job is [`Exhausted`](JobState::Exhausted) if there is no memory for its
/// answer, until the reactor has freed memory or refuses the request.
#[derive(Debug)]
pub(crate) enum JobState {
    /// The request is not admitted: it has not begun, or the client's own lock covers it.
    Ready,
    /// The request was admitted to its mailbox.
    Granted(Grant),
    /// The request was admitted, and its mailbox does not meet the condition.
    Blocked(Grant, Condition),
    /// The job is in the queue or the wait set of a mailbox.
    Waiting(WaitReason),
    /// The request before the current one took a message, and the answer with this message has not been
    /// written yet.
    InFlight(InFlight),
    /// The answer needs this many bytes of memory, which were not available. The grant is the admission of
    /// the request, if it was admitted.
    Exhausted(Option<Grant>, usize),
}

/// Why a job waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum WaitReason {
    /// To be admitted.
    Queue,
    /// For a change of the mailbox.
    Condition(Condition),
}

/// A wait that the reactor has recorded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RecordedWait {
    /// Index of the request.
    pub request: usize,
    pub mailbox: u32,
    /// When the request began to wait. A requeued `take` waits again, and keeps the time of its first wait.
    pub since: Instant,
    pub reason: WaitReason,
}

/// A message that was taken from its mailbox, and whose answer is not yet written. No other request is
/// admitted to the mailbox until the message is acknowledged or requeued.
#[derive(Debug)]
pub(crate) struct InFlight {
    pub mailbox: u32,
    /// How to put the message back.
    pub taken: Taken,
    /// How often the message was handed out before.
    pub tries: u32,
    /// Admission to the mailbox; `None` under the client's own lock.
    pub grant: Option<Grant>,
    /// Offset of the answer in the output.
    pub answer_offset: usize,
    /// At this instant the message is acknowledged or requeued. `None` until the answer waits for the socket.
    pub deadline: Option<Instant>,
}

/// The admission that a request needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Acquire {
    pub mailbox: u32,
    pub mode: Mode,
    pub purpose: Purpose,
    pub wait: Wait,
}

impl Acquire {
    /// Whether the request has `wait=0`: it waits for requests in execution, but for no lock and no
    /// condition.
    pub(crate) fn has_zero_wait(&self) -> bool {
        self.wait == Wait::For(Duration::ZERO)
    }
}

impl From<&MailboxRequest> for Acquire {
    fn from(request: &MailboxRequest) -> Self {
        let (mailbox, mode, wait) = match *request {
            MailboxRequest::Read { mailbox, wait, .. } => (mailbox, Mode::Shared, wait),
            MailboxRequest::Write { mailbox, wait, .. }
            | MailboxRequest::Put { mailbox, wait, .. }
            | MailboxRequest::Take { mailbox, wait, .. }
            | MailboxRequest::Done { mailbox, wait, .. }
            | MailboxRequest::Version { mailbox, wait, .. }
            | MailboxRequest::Back { mailbox, wait, .. } => (mailbox, Mode::Exclusive, wait),
        };
        Acquire { mailbox, mode, purpose: Purpose::Request, wait }
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
            receipts: None,
            cursor: None,
            wait: None,
            output: Vec::new(),
            tally: Tally::default(),
            copies: false,
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

    /// The admission that the current request needs, if it reads or changes a mailbox.
    pub(crate) fn acquire(&self) -> Option<Acquire> {
        self.mailbox_request(self.next).map(Acquire::from)
    }

    /// Whether a wait of the job ends at once when its client may have disconnected: other clients may wait
    /// for the locks of this client, or the current request would take a message.
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

    /// Whether the client holds locks. Other clients may wait for these locks while this client waits.
    pub(crate) fn has_locks(&self) -> bool {
        self.locks.as_ref().is_some_and(|locks| locks.has_locks())
    }

    /// How long the current request may wait.
    pub(crate) fn wait_limit(&self) -> Wait {
        match self.current().map(|framed| &framed.request) {
            Some(Request::Local(LocalRequest::Lock(lock))) => lock.wait,
            Some(Request::Mailbox(request)) => Acquire::from(request).wait,
            _ => Wait::Default,
        }
    }

    /// Whether the reactor has recorded the wait of the current request. A ticket does not show this, because
    /// the requests of a run have one ticket: the wait that was recorded may be that of an earlier request,
    /// which was admitted, while the current request waits for a condition.
    pub(crate) fn is_known_to_wait(&self) -> bool {
        self.wait.is_some_and(|wait| wait.request == self.next)
    }

    /// Whether the request that was answered last had to wait.
    pub(crate) fn has_waited(&self) -> bool {
        self.wait.is_some_and(|wait| wait.request + 1 == self.next)
    }

    /// Whether the job holds a grant, not counting its locks.
    pub(crate) fn holds_grant(&self) -> bool {
        match &self.state {
            JobState::Granted(_) | JobState::Blocked(..) => true,
            JobState::InFlight(in_flight) => in_flight.grant.is_some(),
            JobState::Exhausted(grant, _) => grant.is_some(),
            JobState::Ready | JobState::Waiting(_) => false,
        }
    }

    /// Takes the state, and leaves the job ready.
    pub(crate) fn take_state(&mut self) -> JobState {
        std::mem::replace(&mut self.state, JobState::Ready)
    }

    /// Resumes a request that was [`JobState::Exhausted`].
    pub(crate) fn resume_exhausted(&mut self) {
        self.state = match self.take_state() {
            JobState::Exhausted(Some(grant), _) => JobState::Granted(grant),
            JobState::Exhausted(None, _) => JobState::Ready,
            other => other,
        };
    }

    /// Sets the state, and returns the job.
    pub(crate) fn with_state(mut self: Box<Self>, state: JobState) -> Box<Self> {
        self.state = state;
        self
    }

    /// Bytes of memory of the job and its buffers, without the boxed arguments of its requests, its locks and
    /// its receipts.
    pub(crate) fn memory(&self) -> usize {
        let requests = self.requests.capacity() * size_of::<Framed>();
        size_of::<Self>() + requests + self.input.capacity() + self.output.capacity()
    }

    /// Bytes of the bodies of all requests without an answer.
    pub(crate) fn body_bytes(&self) -> usize {
        self.requests[self.next..].iter().map(|framed| framed.body.len()).sum()
    }
}

/// A job has begun to wait at a mailbox. When the reactor receives this completion, the job may have been
/// admitted, or may wait for a later request of the same run. The mailbox's queue and wait set have the
/// current state.
#[derive(Clone, Copy, Debug)]
pub(crate) struct WaitStarted {
    pub owner: Owner,
    pub mailbox: u32,
    pub ticket: Ticket,
}

/// A message from the pool to the reactor.
#[derive(Debug)]
pub(crate) enum Completion {
    /// The job has answers, or needs the reactor for its next step.
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
    /// A message was written, or a version was raised.
    Written,
    /// A message was added.
    Put,
    /// A message was taken or handed out.
    Taken,
    /// A message in hand was removed.
    Done,
    /// A message in hand was given back.
    Back,
    /// A lock was granted.
    Locked,
    /// A lock was released.
    Unlocked,
    /// `watch` or `unwatch` was answered.
    Watched,
    /// `ping`, `help`, `hello`, `stat`, `name` or a negotiation of telnet was answered.
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
    /// `ERR busy`.
    Busy,
    /// `ERR drain`.
    Drain,
    /// `ERR internal`.
    Internal,
    /// The bytes belong to another protocol, such as HTTP.
    Foreign,
}

impl From<&Refusal> for Outcome {
    fn from(refusal: &Refusal) -> Self {
        match refusal {
            Refusal::Syntax(_) => Outcome::Syntax,
            Refusal::Verb(_) => Outcome::Verb,
            Refusal::Mailbox { .. } | Refusal::UnknownName { .. } => Outcome::Mailbox,
            Refusal::Size { .. } | Refusal::Count { .. } | Refusal::InHand { .. } => Outcome::Size,
            Refusal::Lease | Refusal::NotInHand => Outcome::Lease,
            Refusal::Deadlock => Outcome::Deadlock,
            Refusal::Denied(_) => Outcome::Denied,
            Refusal::Frame(_) => Outcome::Frame,
            Refusal::Drain => Outcome::Drain,
            Refusal::Busy { .. } | Refusal::Memory => Outcome::Busy,
            Refusal::Internal => Outcome::Internal,
        }
    }
}

/// The number of requests with each [`Outcome`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    counts: [u64; Tally::NAMES.len()],
    /// A bit for each count that is not 0. A batch usually has one or two outcomes, so [`Tally::merge`] skips
    /// most counts.
    counted: u32,
    /// Number of requests that were admitted after a request that arrived later. Stays 0.
    pub overtakes: u64,
}

const _: () = assert!(Tally::NAMES.len() <= u32::BITS as usize, "one bit for each count");

impl Tally {
    /// The names in `stat`, in the order of [`Outcome`].
    const NAMES: [&'static str; 30] = [
        "reads",
        "writes",
        "puts",
        "takes",
        "dones",
        "backs",
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
        "err_busy",
        "err_drain",
        "err_internal",
        "foreign_protocols",
    ];

    /// Counts one request with this outcome.
    pub(crate) fn count(&mut self, outcome: Outcome) {
        self.counts[outcome as usize] += 1;
        self.counted |= 1 << outcome as u32;
    }

    /// Adds the counts of `other`, and sets them to 0.
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

    /// Number of all requests.
    pub(crate) fn total(&self) -> u64 {
        self.counts.iter().sum()
    }
}
