//! A batch of requests of one connection, on its way to the workers and home.

use std::time::Instant;

use super::lock_set::{Access, LockSet};
use crate::mailboxes::{Condition, Cursor, Grant, Mode, Taken, Ticket};
use crate::protocol::{Framed, Request, Wait};

/// Whose a job is. A slot is used again, a generation is not: what comes home to another generation is dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ConnectionId {
    /// Place in the table of connections.
    pub slot: u32,
    /// Which connection of all that had that place.
    pub generation: u32,
}

/// Requests in, answers out. It travels in one piece and is used again, so a request costs no allocation.
#[derive(Debug)]
pub struct Job {
    /// The way home.
    pub connection: ConnectionId,
    /// The bytes that the bodies of the requests lie in.
    pub input: Vec<u8>,
    /// The requests, in order.
    pub requests: Vec<Framed>,
    /// How many of them are answered.
    pub answered: usize,
    /// Admission to the mailbox of the first request that is not answered.
    pub grant: Option<Grant>,
    /// What that request did not find when it was in.
    pub blocked_on: Option<Condition>,
    /// The last wait that the reactor has noticed.
    pub waiting: Option<Waiting>,
    /// The locks of the connection, if it ever had any.
    pub locks: Option<Box<LockSet>>,
    /// A message that was taken for the last answer, until that has been written.
    pub in_flight: Option<InFlight>,
    /// Where the last `r after=` of a long list has ended, so that the next one need not look for it.
    pub read_cursor: Option<(u32, Cursor)>,
    /// This is a standing read for watchers: where they stand. Its answer is an event.
    pub watch_cursor: Option<Cursor>,
    /// The answers, as they go to the socket.
    pub output: Vec<u8>,
    /// What became of the requests.
    pub tally: Tally,
}

/// A request that has to wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Waiting {
    /// Which of the job's requests.
    pub request: usize,
    /// Where.
    pub mailbox: u32,
    /// Since when.
    pub since: Instant,
    /// It was in, and waits for something there.
    pub aside: bool,
}

/// A message between its mailbox and the client that takes it. The mailbox stays as it is until that client has it.
#[derive(Debug)]
pub struct InFlight {
    /// Which mailbox.
    pub mailbox: u32,
    /// How to put the message back.
    pub taken: Taken,
    /// Admission to the mailbox; `None` under the connection's own lock.
    pub grant: Option<Grant>,
    /// Where its answer starts in the output.
    pub answer: usize,
    /// The request has waited for it.
    pub waited: bool,
    /// When the message counts as received, if the socket takes its answer only in parts.
    pub until: Option<Instant>,
}

impl Job {
    /// A job without requests.
    pub fn new(connection: ConnectionId) -> Self {
        Job {
            connection,
            input: Vec::new(),
            requests: Vec::new(),
            answered: 0,
            grant: None,
            blocked_on: None,
            waiting: None,
            locks: None,
            in_flight: None,
            read_cursor: None,
            watch_cursor: None,
            output: Vec::new(),
            tally: Tally::default(),
        }
    }

    /// The first request that is not answered.
    pub fn current(&self) -> Option<&Framed> {
        self.requests.get(self.answered)
    }

    /// The current request is answered; the next one is current.
    pub fn advance(&mut self) {
        self.answered += 1;
        self.blocked_on = None;
    }

    /// Whether it would do harm to wait for a client that may be gone: others wait for what it holds, or it would take a
    /// message away.
    pub fn needs_its_client(&self) -> bool {
        self.has_locks() || matches!(self.current(), Some(Framed { request: Request::Take { .. }, .. }))
    }

    /// Whether the connection ends when everything is answered.
    pub fn closes(&self) -> bool {
        self.requests.last().is_some_and(|framed| framed.request.closes())
    }

    /// The mailbox that the current request reads or changes, how, and how long it waits for that; `None` when it does
    /// neither.
    pub fn admission(&self) -> Option<(u32, Mode, Wait)> {
        match self.current()?.request {
            Request::Read { mailbox, wait, .. } => Some((mailbox, Mode::Shared, wait)),
            Request::Write { mailbox, wait, .. }
            | Request::Put { mailbox, wait, .. }
            | Request::Take { mailbox, wait } => Some((mailbox, Mode::Exclusive, wait)),
            _ => None,
        }
    }

    /// What the connection may do in `mailbox` without being admitted.
    pub fn access(&self, mailbox: u32, mode: Mode) -> Access {
        self.locks.as_ref().map_or(Access::Unlocked, |held| held.access(mailbox, mode))
    }

    /// Whether somebody could wait for this connection while it waits itself.
    pub fn has_locks(&self) -> bool {
        self.locks.as_ref().is_some_and(|held| held.has_locks())
    }

    /// Bytes of memory that it holds, itself counted, without what its requests and locks point to.
    pub fn memory(&self) -> usize {
        let requests = self.requests.capacity() * size_of::<Framed>();
        size_of::<Self>() + requests + self.input.capacity() + self.output.capacity()
    }

    /// Bytes that the requests which are not answered bring along.
    pub fn body_bytes(&self) -> usize {
        self.requests[self.answered..].iter().map(|framed| framed.body.len()).sum()
    }
}

/// A job that waits in the queue of a mailbox: the news of it, for whoever owns the clock.
#[derive(Clone, Copy, Debug)]
pub struct WaitStarted {
    /// Whose job it is.
    pub connection: ConnectionId,
    /// Where it waits.
    pub mailbox: u32,
    /// Its place there.
    pub ticket: Ticket,
    /// How long it is to wait.
    pub wait: Wait,
}

/// What comes to the reactor.
#[derive(Debug)]
pub enum Completion {
    /// A job with its answers; what is left of its batch cannot go on for now.
    Done(Box<Job>),
    /// A job stays in a queue. By the time this is read it may have gone on: the queue knows.
    WaitStarted(WaitStarted),
}

/// What became of a request, for `stat`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// A message was read.
    Read,
    /// A message was written.
    Written,
    /// A message was added.
    Put,
    /// A message was taken.
    Taken,
    /// A lock was given.
    Locked,
    /// A lock was given back.
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

/// How many requests came to which [`Outcome`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    counts: [u64; Tally::NAMES.len()],
    /// Requests that somebody passed. Stays 0.
    pub overtakes: u64,
}

impl Tally {
    /// The names in `stat`, in the order of [`Outcome`].
    const NAMES: [&'static str; 26] = [
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
    pub fn count(&mut self, outcome: Outcome) {
        self.counts[outcome as usize] += 1;
    }

    /// Adds what `other` counted, and empties it.
    pub fn merge(&mut self, other: &mut Tally) {
        for (sum, count) in self.counts.iter_mut().zip(&mut other.counts) {
            *sum += std::mem::take(count);
        }
        self.overtakes += std::mem::take(&mut other.overtakes);
    }

    /// Each name with its count.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, u64)> {
        Tally::NAMES.into_iter().zip(self.counts)
    }

    /// All requests.
    pub fn total(&self) -> u64 {
        self.counts.iter().sum()
    }
}
