//! A client: asks whatever comes to its mind, reads when it likes, and leaves in every way there is.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;
use std::time::Duration;

use super::pipe::{End, Pipe};
use super::request::{ClientRequest, Wait};
use super::rng::Rng;
use crate::workers::ConnectionId;

/// Bytes of a mailbox; a client also asks for more.
pub const CAPACITY: usize = 64;
pub const MAILBOXES: u32 = 3;

/// A client, and what it has not sent yet.
#[derive(Debug)]
pub struct Client {
    pub id: ConnectionId,
    pub pipe: Rc<RefCell<Pipe>>,
    outbox: Vec<u8>,
    /// With how many bytes of the outbox each is sent.
    composed: VecDeque<(usize, Composed)>,
    /// How often it reads, in percent.
    pub attention: usize,
    is_telnet: bool,
    serial: usize,
    number: usize,
    was_wrong: bool,
    has_quit: bool,
}

/// A request that is ready to be sent.
#[derive(Clone, Debug)]
pub struct Composed {
    pub request: ClientRequest,
    pub eol: &'static str,
    /// The length of its body is said before it.
    has_length: bool,
}

/// What a client knows when it makes up its mind.
#[derive(Debug)]
pub struct Hints {
    /// About the newest version of each mailbox.
    pub versions: Vec<u64>,
    /// The numbers of its locks.
    pub grants: Vec<u64>,
    /// What it has locked.
    pub held: Vec<u32>,
}

impl Client {
    pub fn new(number: usize, id: ConnectionId, pipe: Rc<RefCell<Pipe>>, rng: &mut Rng) -> Self {
        Client {
            id,
            pipe,
            outbox: Vec::new(),
            composed: VecDeque::new(),
            attention: *rng.choose(&[100, 100, 80, 30, 5, 0]),
            is_telnet: rng.chance(20),
            serial: 0,
            number,
            was_wrong: false,
            has_quit: false,
        }
    }

    /// Whether it may still ask.
    pub fn asks(&self) -> bool {
        let pipe = self.pipe.borrow();
        pipe.client() == End::Open && !self.has_quit && !pipe.is_dropped() && self.outbox.len() < 500
    }

    /// Whether it still reads.
    pub fn reads(&self) -> bool {
        matches!(self.pipe.borrow().client(), End::Open | End::Half)
    }

    /// Writes a request down.
    pub fn compose(&mut self, request: ClientRequest, rng: &mut Rng) {
        let eol = if self.is_telnet { "\r\n" } else { "\n" };
        let has_length = rng.chance(60);
        self.has_quit |= request == ClientRequest::Quit;
        self.outbox.extend(request.encode(eol, has_length));
        self.composed.push_back((self.outbox.len(), Composed { request, eol, has_length }));
    }

    /// Whether there is something to be sent.
    pub fn has_more(&self) -> bool {
        !self.outbox.is_empty()
    }

    /// Sends what the pipe takes: whether that is anything, and those requests that are all sent now.
    pub fn send(&mut self) -> (bool, Vec<Composed>) {
        let sent = self.pipe.borrow_mut().send(&self.outbox);
        self.outbox.drain(..sent);
        self.composed.iter_mut().for_each(|(end, _)| *end = end.saturating_sub(sent));
        let count = self.composed.iter().take_while(|(end, _)| *end == 0).count();
        (sent > 0, self.composed.drain(..count).map(|(_, composed)| composed).collect())
    }

    /// Leaves. A request that lacks only its end of line is complete when nothing follows: it counts as sent.
    pub fn leave(&mut self, how: End) -> (End, Option<Composed>) {
        let halfway = self.composed.front().filter(|(end, composed)| *end < size(composed));
        let (how, last) = match halfway {
            // Half a line may look like a whole one: only data of a known length is cut by a clean end.
            Some((_, composed)) if how != End::Reset && !composed.has_length => (End::Reset, None),
            Some((_, composed)) if how != End::Reset && composed.request.body().is_none() => {
                (End::Reset, None)
            }
            Some((end, composed))
                if *end > composed.request.body().map_or(0, <[u8]>::len) + composed.eol.len() =>
            {
                (End::Reset, None)
            }
            Some(_) if how == End::Half => (End::Reset, None),
            Some((end, composed)) if how != End::Reset && *end <= composed.eol.len() => {
                (how, Some(composed.clone()))
            }
            _ => (how, None),
        };
        self.pipe.borrow_mut().leave(how);
        self.outbox.clear();
        self.composed.clear();
        (self.pipe.borrow().client(), last)
    }

    /// Whether a part of a request is sent and the rest is not.
    pub fn is_halfway(&self) -> bool {
        self.composed.front().is_some_and(|(end, composed)| *end < size(composed))
    }

    /// Makes up something to ask.
    pub fn think(&mut self, hints: &Hints, rng: &mut Rng) -> ClientRequest {
        let mailbox = rng.below(MAILBOXES as usize) as u32;
        let version = hints.versions[mailbox as usize];
        let near = |rng: &mut Rng| (version + rng.below(4) as u64).saturating_sub(2);
        let wrong = std::mem::take(&mut self.was_wrong);
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
                    body: self.body(rng),
                    wait: random_wait(rng),
                }
            }
            30..50 => ClientRequest::Put {
                mailbox,
                drop_oldest: rng.chance(25),
                body: self.body(rng),
                wait: random_wait(rng),
            },
            50..67 => ClientRequest::Take { mailbox, wait: random_wait(rng) },
            67..76 => {
                let ttl = *rng.choose(&[None, None, Some(500), Some(2000), Some(9000), Some(100_000)]);
                let ttl = ttl.map(Duration::from_millis);
                ClientRequest::Lock {
                    mailboxes: some(rng),
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
                let mailboxes = if rng.chance(30) { None } else { Some(held.unwrap_or_else(|| some(rng))) };
                ClientRequest::Unlock { mailboxes, grant }
            }
            84..89 => ClientRequest::Watch { mailboxes: some(rng), after: rng.chance(40).then(|| near(rng)) },
            89..91 => ClientRequest::Unwatch { mailboxes: rng.chance(70).then(|| some(rng)) },
            91..97 if !wrong => self.other(rng),
            _ if rng.chance(10) => ClientRequest::Quit,
            _ => ClientRequest::Info { line: "ping".into(), word: "OK" },
        }
    }

    /// Something beside the mailboxes, or wrong.
    fn other(&mut self, rng: &mut Rng) -> ClientRequest {
        // Not `stat` alone: it tells the number of the process, and lives would differ.
        let told = |line: &str, word| ClientRequest::Info { line: line.into(), word };
        let wrong = |line: &str, code| ClientRequest::Invalid { line: line.into(), code };
        self.was_wrong = true;
        match rng.below(10) {
            0 => told("stat conns", "DATA"),
            1 => told("stat locks", "DATA"),
            2 | 3 => told("stat box 1", "DATA"),
            4 => told(&format!("hello name=c{}", self.number), "OK"),
            5 => wrong("r 99", "box"),
            6 => wrong("blah", "verb"),
            7 => wrong("take 1 after=3", "syntax"),
            8 => wrong("lock 1,1", "syntax"),
            _ => wrong("r 1 wait=-1", "syntax"),
        }
    }

    /// Data like nobody else's.
    fn body(&mut self, rng: &mut Rng) -> Vec<u8> {
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

/// Bytes of a request.
fn size(composed: &Composed) -> usize {
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

fn some(rng: &mut Rng) -> Vec<u32> {
    let mut mailboxes: Vec<u32> = (0..MAILBOXES).collect();
    rng.shuffle(&mut mailboxes);
    mailboxes.truncate(*rng.choose(&[1, 1, 1, 2, 2, 3]));
    mailboxes
}
