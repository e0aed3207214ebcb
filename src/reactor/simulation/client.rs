//! A client that sends random requests, reads at random times and closes its connection in every possible
//! way.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;
use std::time::Duration;

use super::pipe::{ClientEnd, Pipe};
use super::request::{ClientRequest, Wait};
use super::rng::Rng;
use crate::workers::ConnectionId;

/// Bytes of a mailbox. Clients also send longer bodies.
pub(super) const CAPACITY: usize = 64;
pub(super) const MAILBOXES: u32 = 4;
/// The mailbox whose messages are handed out. The other mailboxes are read, patched and watched instead.
pub(super) const JOBS: u32 = MAILBOXES - 1;

/// A client and the requests that it has not sent yet.
#[derive(Debug)]
pub(super) struct Client {
    pub id: ConnectionId,
    pub pipe: Rc<RefCell<Pipe>>,
    unsent: Vec<u8>,
    /// The queued requests, each with the number of unsent bytes up to its end.
    composed: VecDeque<(usize, Composed)>,
    /// Chance that a read is carried out, in percent.
    pub read_percent: usize,
    uses_crlf: bool,
    serial: usize,
    number: usize,
    sent_invalid: bool,
    has_quit: bool,
}

/// A request that is encoded and not completely sent.
#[derive(Clone, Debug)]
pub(super) struct Composed {
    pub request: ClientRequest,
    pub eol: &'static str,
    /// Whether the header states the length of the body.
    has_length: bool,
}

/// The part of the oracle's knowledge that makes random requests meaningful.
#[derive(Debug)]
pub(super) struct Hints {
    /// The newest known version of each mailbox.
    pub versions: Vec<u64>,
    /// The fencing tokens of the client's locks.
    pub grants: Vec<u64>,
    /// The mailboxes that the client has locked.
    pub held: Vec<u32>,
    /// The versions that the client has in hand.
    pub hands: Vec<u64>,
}

impl Client {
    pub(super) fn new(number: usize, id: ConnectionId, pipe: Rc<RefCell<Pipe>>, rng: &mut Rng) -> Self {
        Client {
            id,
            pipe,
            unsent: Vec::new(),
            composed: VecDeque::new(),
            read_percent: *rng.choose(&[100, 100, 80, 30, 5, 0]),
            uses_crlf: rng.chance(20),
            serial: 0,
            number,
            sent_invalid: false,
            has_quit: false,
        }
    }

    /// Whether the client may queue another request.
    pub(super) fn may_send(&self) -> bool {
        let pipe = self.pipe.borrow();
        pipe.client_end() == ClientEnd::Open
            && !self.has_quit
            && !pipe.is_dropped()
            && self.unsent.len() < 500
    }

    /// Whether the client still reads.
    pub(super) fn can_read(&self) -> bool {
        matches!(self.pipe.borrow().client_end(), ClientEnd::Open | ClientEnd::HalfClosed)
    }

    /// Encodes a request and queues it.
    pub(super) fn queue_request(&mut self, request: ClientRequest, rng: &mut Rng) {
        let eol = if self.uses_crlf { "\r\n" } else { "\n" };
        let has_length = rng.chance(60);
        self.has_quit |= request == ClientRequest::Quit;
        self.unsent.extend(request.encode(eol, has_length));
        self.composed.push_back((self.unsent.len(), Composed { request, eol, has_length }));
    }

    /// Whether there are unsent bytes.
    pub(super) fn has_unsent(&self) -> bool {
        !self.unsent.is_empty()
    }

    /// Sends as many bytes as the pipe accepts. Returns whether any bytes were sent, and the requests that
    /// are now sent completely.
    pub(super) fn send(&mut self) -> (bool, Vec<Composed>) {
        let sent = self.pipe.borrow_mut().send(&self.unsent);
        self.unsent.drain(..sent);
        self.composed.iter_mut().for_each(|(left, _)| *left = left.saturating_sub(sent));
        let count = self.composed.iter().take_while(|(left, _)| *left == 0).count();
        (sent > 0, self.composed.drain(..count).map(|(_, composed)| composed).collect())
    }

    /// Closes the connection. A request that lacks only its final end of line is complete when the input
    /// ends, so it counts as sent.
    pub(super) fn close(&mut self, end: ClientEnd) -> (ClientEnd, Option<Composed>) {
        let partially_sent = self.composed.front().filter(|(left, composed)| *left < encoded_len(composed));
        let (end, last) = match partially_sent {
            // A truncated line can be a valid line of another meaning. So an orderly end may only cut off a
            // part of a body whose length is stated.
            Some((_, composed)) if end != ClientEnd::Reset && !composed.has_length => {
                (ClientEnd::Reset, None)
            }
            Some((_, composed)) if end != ClientEnd::Reset && composed.request.body().is_none() => {
                (ClientEnd::Reset, None)
            }
            Some((left, composed))
                if *left > composed.request.body().map_or(0, <[u8]>::len) + composed.eol.len() =>
            {
                (ClientEnd::Reset, None)
            }
            Some(_) if end == ClientEnd::HalfClosed => (ClientEnd::Reset, None),
            Some((left, composed)) if end != ClientEnd::Reset && *left <= composed.eol.len() => {
                (end, Some(composed.clone()))
            }
            _ => (end, None),
        };
        self.pipe.borrow_mut().close_client(end);
        self.unsent.clear();
        self.composed.clear();
        (self.pipe.borrow().client_end(), last)
    }

    /// Whether the first queued request is sent in part.
    pub(super) fn is_partially_sent(&self) -> bool {
        self.composed.front().is_some_and(|(left, composed)| *left < encoded_len(composed))
    }

    /// Composes a random request.
    pub(super) fn random_request(&mut self, hints: &Hints, rng: &mut Rng) -> ClientRequest {
        let mailbox = rng.below(MAILBOXES as usize) as u32;
        if mailbox == JOBS {
            return self.random_job(hints, rng);
        }
        let version = hints.versions[mailbox as usize];
        let near = |rng: &mut Rng| (version + rng.below(4) as u64).saturating_sub(2);
        let sent_invalid = std::mem::take(&mut self.sent_invalid);
        match rng.below(100) {
            0..20 => {
                let after = rng.chance(60).then(|| near(rng));
                let part = rng.chance(20).then(|| (rng.below(20) as u64, rng.below(20) as u64));
                ClientRequest::Read { mailbox, after, part, wait: random_wait(rng) }
            }
            20..30 => {
                let expected = rng.chance(30).then(|| near(rng));
                let offset = rng.chance(25).then(|| rng.below(CAPACITY + 3) as u64);
                ClientRequest::Write {
                    mailbox,
                    expected,
                    offset,
                    body: self.random_body(rng),
                    wait: random_wait(rng),
                }
            }
            30..50 => ClientRequest::Put {
                mailbox,
                drop_oldest: rng.chance(25),
                body: self.random_body(rng),
                wait: random_wait(rng),
            },
            50..67 => ClientRequest::Take { mailbox, ttl: None, wait: random_wait(rng) },
            67..76 => {
                let ttl = *rng.choose(&[None, None, Some(500), Some(2000), Some(9000), Some(100_000)]);
                let ttl = ttl.map(Duration::from_millis);
                ClientRequest::Lock {
                    mailboxes: random_mailboxes(MAILBOXES, rng),
                    shared: rng.chance(35),
                    wait: random_wait(rng),
                    ttl,
                }
            }
            76..84 => {
                let grant = hints
                    .grants
                    .first()
                    .filter(|_| rng.chance(30))
                    .map(|grant| grant - u64::from(rng.chance(20)));
                let held = hints.held.first().filter(|_| rng.chance(80)).map(|mailbox| vec![*mailbox]);
                let mailboxes = if rng.chance(30) {
                    None
                } else {
                    Some(held.unwrap_or_else(|| random_mailboxes(MAILBOXES, rng)))
                };
                ClientRequest::Unlock { mailboxes, grant }
            }
            84..89 => ClientRequest::Watch {
                mailboxes: random_mailboxes(JOBS, rng),
                after: rng.chance(40).then(|| near(rng)),
            },
            89..91 => {
                ClientRequest::Unwatch { mailboxes: rng.chance(70).then(|| random_mailboxes(JOBS, rng)) }
            }
            91..97 if !sent_invalid => self.other_request(rng),
            _ if rng.chance(10) => ClientRequest::Quit,
            _ => ClientRequest::Info { line: "ping".into(), word: "OK" },
        }
    }

    /// A random request for the mailbox with jobs.
    fn random_job(&mut self, hints: &Hints, rng: &mut Rng) -> ClientRequest {
        let (mailbox, wait) = (JOBS, random_wait(rng));
        let ttl = Duration::from_millis(*rng.choose(&[300, 1_000, 5_000, 60_000, 200_000]));
        let version = match hints.hands.is_empty() {
            true => 1 + rng.below(20) as u64,
            false => *rng.choose(&hints.hands),
        };
        match rng.below(100) {
            0..30 => ClientRequest::Put { mailbox, drop_oldest: false, body: self.random_body(rng), wait },
            30..32 => {
                let (expected, offset, body) = (None, None, self.random_body(rng));
                ClientRequest::Write { mailbox, expected, offset, body, wait }
            }
            32..70 => ClientRequest::Take { mailbox, ttl: rng.chance(80).then_some(ttl), wait },
            70..85 => ClientRequest::Done { mailbox, version, wait },
            85..95 => ClientRequest::Back { mailbox, version, wait },
            _ => ClientRequest::Info { line: "ping".into(), word: "OK" },
        }
    }

    /// A request that concerns no mailbox, or is invalid.
    fn other_request(&mut self, rng: &mut Rng) -> ClientRequest {
        // Plain `stat` is left out: it reports the process id, so runs of one seed would differ.
        let info = |line: &str, word| ClientRequest::Info { line: line.into(), word };
        let invalid = |line: &str, code| ClientRequest::Invalid { line: line.into(), code };
        self.sent_invalid = true;
        match rng.below(10) {
            0 => info("stat conns", "DATA"),
            1 => info("stat locks", "DATA"),
            2 | 3 => info("stat box 1", "DATA"),
            4 => info(&format!("hello name=c{}", self.number), "OK"),
            5 => invalid("r 99", "box"),
            6 => invalid("blah", "verb"),
            7 => invalid("take 1 after=3", "syntax"),
            8 => invalid("lock 1,1", "syntax"),
            _ => invalid("r 1 wait=-1", "syntax"),
        }
    }

    /// A body that differs from every other body of the run.
    fn random_body(&mut self, rng: &mut Rng) -> Vec<u8> {
        self.serial += 1;
        let mut body = format!("c{}.{}.", self.number, self.serial).into_bytes();
        let len = match rng.below(20) {
            0 => CAPACITY,
            1 => CAPACITY + 1,
            2 | 3 => rng.below(CAPACITY),
            _ => rng.below(24),
        };
        let fill = b'a' + rng.below(26) as u8;
        body.resize(len.max(body.len()), fill);
        body
    }
}

/// Length of the encoded request.
fn encoded_len(composed: &Composed) -> usize {
    composed.request.encode(composed.eol, composed.has_length).len()
}

fn random_wait(rng: &mut Rng) -> Wait {
    match rng.below(20) {
        0..5 => Wait::For(Duration::ZERO),
        5..12 => Wait::For(Duration::from_millis(1 + rng.below(2500) as u64)),
        12..14 => Wait::For(Duration::from_millis(20_000 + rng.below(40_000) as u64)),
        14..17 => Wait::Default,
        _ => Wait::Forever,
    }
}

/// Some mailboxes below `end`.
fn random_mailboxes(end: u32, rng: &mut Rng) -> Vec<u32> {
    let mut mailboxes: Vec<u32> = (0..end).collect();
    rng.shuffle(&mut mailboxes);
    mailboxes.truncate(*rng.choose(&[1, 1, 1, 2, 2, 3]));
    mailboxes
}
