//! One client socket: what has arrived, what is to leave, and what it is busy with.
//!
//! ```text
//!                 a batch is cut           its mailbox is taken
//!        ┌──► Idle ──────────► Working ◄────────────────────► Queued
//!        │      │                 │ answers, more than           │ timeout
//!        │      │                 ▼ the socket takes             ▼
//!        │      │              Flushing                       answered, goes on
//!        └──────┼──── written ────┤
//!               │ end of input    │ the last answer
//!               ▼                 ▼
//!            Closed ◄───────── Lingering
//! ```
//!
//! The law: at most one batch is under way. While it is, nothing is read; while answers wait for the socket, nothing new
//! begins. So a connection holds at most one batch of input and one of output, and its answers leave in order.

use std::io;
use std::time::{Duration, Instant};

use mio::Interest;
use mio::event::Event;

use super::input::Input;
use super::output::Output;
use super::session::{Session, Watch, WatchState};
use super::supplies::Supplies;
use super::wire::Wire;
use crate::mailboxes::Ticket;
use crate::protocol::{Cut, Framed, Framer, Limits, SWALLOW_MAX};
use crate::workers::{ConnectionId, Job};

/// Requests that one turn of a connection takes.
pub const REQUESTS_PER_TURN: usize = 32;

/// Bytes that one turn of a connection reads.
pub const BYTES_PER_TURN: usize = 256 * 1024;

/// Bytes that one turn of a connection writes.
pub const WRITE_PER_TURN: usize = 1024 * 1024;

/// Bytes that the reactor reads at once when it does not know what is coming.
pub const SCRATCH_SIZE: usize = 16 * 1024;

/// Missing bytes from which on they are read to where they stay, instead of being copied there.
const DIRECT_MIN: usize = 4 * 1024;

/// Bytes that a body's buffer grows by at once, at most.
const GROWTH_MAX: usize = 256 * 1024;

/// How long a body of known length may make no progress.
pub const BODY_PROGRESS: Duration = Duration::from_secs(30);

/// How long a client may take none of its answers.
pub const WRITE_PROGRESS: Duration = Duration::from_secs(30);

/// How long a message that was taken waits for a socket that takes its answer only in parts. Until then it goes back to
/// its mailbox when the client vanishes, and nobody else is in; from then on it is the client's.
pub const TAKING: Duration = Duration::from_secs(1);

/// How long a connection that is to be closed is listened to, so that its last answers are not lost to a reset.
pub const LINGER: Duration = Duration::from_secs(2);

/// How often to see whether the client has all of them.
const LINGER_STEP: Duration = Duration::from_millis(50);

/// What every connection is registered for: bytes, urgent ones too, and with them the news that a client has left.
pub const READING: Interest = Interest::READABLE.add(Interest::PRIORITY);

/// What a connection is busy with.
#[derive(Debug)]
pub enum Phase {
    /// With nothing, or with receiving.
    Idle,
    /// A job is with the workers.
    Working,
    /// A job waits in the queue of a mailbox, or aside.
    Queued {
        /// Which mailbox.
        mailbox: u32,
        /// Its place.
        ticket: Ticket,
        /// When it gives up.
        until: Option<Instant>,
    },
    /// Answers wait for the socket. The job has what is still to be done of its batch.
    Flushing(Box<Job>),
    /// Everything is said; what still arrives is thrown away.
    Lingering {
        /// How many bytes of it.
        patience: u64,
        /// How long.
        until: Instant,
    },
    /// To be removed after this batch of events.
    Closed,
}

/// What a turn found.
#[derive(Debug)]
pub enum Turn {
    /// A batch of complete requests.
    Batch(Box<Job>),
    /// No complete request; the next event tells when to look again.
    Rest,
    /// It has had its share; there may be more.
    Again,
    /// The client will send nothing more.
    End,
}

/// How much of what waited has left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sent {
    /// All of it.
    All,
    /// A part; the socket has no room for more.
    Part,
    /// Nothing: the socket has no room.
    Nothing,
    /// The share of one turn; the socket may have room for more.
    Share,
}

/// What the poll tells of a socket.
#[derive(Clone, Copy, Debug, Default)]
pub struct Happened {
    /// There are bytes, or the end.
    pub readable: bool,
    /// There is room for answers.
    pub writable: bool,
    /// There are urgent bytes.
    pub urgent: bool,
    /// The client has closed its writing half, or all.
    pub hung_up: bool,
    /// The connection is broken: nobody will read an answer.
    pub gone: bool,
}

impl From<&Event> for Happened {
    fn from(event: &Event) -> Self {
        Happened {
            readable: event.is_readable(),
            writable: event.is_writable(),
            urgent: event.is_priority(),
            hung_up: event.is_read_closed(),
            gone: event.is_error() || event.is_write_closed(),
        }
    }
}

/// One client.
#[derive(Debug)]
pub struct Connection<W> {
    wire: W,
    /// Which connection of all that had this slot.
    pub generation: u32,
    /// What it is busy with.
    pub phase: Phase,
    framer: Framer,
    input: Input,
    output: Output,
    /// Its name, locks and watches, if it has any.
    pub session: Option<Box<Session>>,
    /// The last progress: bytes received, or bytes that left.
    since: Instant,
    /// Requests that have arrived.
    pub requests: u64,
    /// When it came, in seconds since the server started.
    pub entered: u32,
    /// Bytes that had not arrived at the client when its socket was last full.
    unacknowledged: u32,
    /// The socket may have bytes.
    pub readable: bool,
    /// The client has closed its writing half, or all.
    pub hung_up: bool,
    /// The end of input was read.
    ended: bool,
    /// A short read does not mean that the socket is empty: a read ends at urgent data, and on a Unix-domain socket at
    /// passed descriptors.
    pub reads_end_early: bool,
    /// The kept input may hold complete requests: the turn that cut it had its share.
    more: bool,
    /// The kept input was the first thing received since the last answer.
    alone: bool,
    /// Silence has not completed the kept input.
    quiet_tried: bool,
    /// It is registered for writing.
    wants_write: bool,
    /// It stands in the line for another turn.
    pub in_line: bool,
}

const _: () = assert!(size_of::<Connection<socket2::Socket>>() <= 192, "a connection at rest is small");

impl<W: Wire> Connection<W> {
    /// A new client, idle.
    pub fn new(wire: W, is_unix: bool, generation: u32, now: Instant) -> Self {
        Connection {
            wire,
            generation,
            phase: Phase::Idle,
            framer: Framer::default(),
            input: Input::default(),
            output: Output::default(),
            session: None,
            since: now,
            requests: 0,
            entered: 0,
            unacknowledged: 0,
            readable: false,
            hung_up: false,
            ended: false,
            reads_end_early: is_unix,
            more: false,
            alone: false,
            quiet_tried: false,
            wants_write: false,
            in_line: false,
        }
    }

    /// The socket, to be registered.
    pub fn wire(&self) -> &W {
        &self.wire
    }

    /// Bytes that it holds, itself counted.
    pub fn memory(&self) -> usize {
        let job = match &self.phase {
            Phase::Flushing(job) => job.input.capacity() + job.output.capacity(),
            _ => 0,
        };
        size_of::<Self>() + self.input.capacity() + self.output.capacity() + job
    }

    /// What it is to have beside its socket.
    pub fn session(&mut self, now: Instant) -> &mut Session {
        self.session.get_or_insert_with(|| Box::new(Session::new(now)))
    }

    /// When the first of its leases ends.
    pub fn lease_end(&self) -> Option<Instant> {
        self.session.as_ref()?.lease_end()
    }

    /// Whether it gets events: such a client may stop reading for as long as it likes.
    pub fn is_watcher(&self) -> bool {
        self.session.as_ref().is_some_and(|session| !session.watches.is_empty())
    }

    /// Whether it has said its last word.
    pub fn is_leaving(&self) -> bool {
        matches!(self.phase, Phase::Lingering { .. } | Phase::Closed)
    }

    /// Whether it is registered for what it waits for now.
    pub fn is_registered(&self) -> bool {
        self.wants_write == (self.has_output() || self.is_behind())
    }

    /// The interest to register, when it is another one than before. Reading is always of interest, for with it comes
    /// the news that a client has left; writing only while output waits, or an event.
    pub fn changed_interest(&mut self) -> Option<Interest> {
        if self.is_registered() {
            return None;
        }
        self.wants_write = !self.wants_write;
        Some(if self.wants_write { READING | Interest::WRITABLE } else { READING })
    }

    /// When this connection is to be looked at although nothing happens.
    pub fn deadline(&self, quiet: Duration, limits: &Limits) -> Option<Instant> {
        let phase = match &self.phase {
            // A job that is with the workers comes home soon; then its leases are looked at.
            Phase::Working | Phase::Closed => return None,
            Phase::Lingering { until, .. } => return Some((self.since + LINGER_STEP).min(*until)),
            Phase::Idle if self.has_output() => None,
            Phase::Idle if self.input.is_empty() && !self.framer.is_swallowing() => None,
            Phase::Idle if self.awaits_quiet(quiet) => self.since.checked_add(quiet),
            Phase::Idle if self.framer.awaits_octets(self.input.as_slice(), limits) => {
                Some(self.since + BODY_PROGRESS)
            }
            Phase::Idle => None,
            Phase::Queued { until, .. } => *until,
            Phase::Flushing(job) => job.taken.as_ref().and_then(|taking| taking.until),
        };
        let slow = (self.has_output() && !self.is_watcher()).then(|| self.since + WRITE_PROGRESS);
        [phase, slow, self.lease_end()].into_iter().flatten().min()
    }

    /// Whether an event waits for room in its socket.
    fn is_behind(&self) -> bool {
        let is_behind = |watch: &Watch| watch.state == WatchState::Behind;
        self.session.as_ref().is_some_and(|session| session.watches.iter().any(is_behind))
    }

    /// Whether silence may complete what is there.
    pub fn awaits_quiet(&self, quiet: Duration) -> bool {
        self.alone && !self.quiet_tried && !quiet.is_zero()
    }

    /// Whether answers wait for the socket.
    pub fn has_output(&self) -> bool {
        !self.output.is_empty()
    }

    /// Whether they have waited too long: the client has not taken any of them.
    pub fn is_stuck(&mut self, now: Instant) -> bool {
        if !self.has_output() || self.is_watcher() || self.since + WRITE_PROGRESS > now {
            return false;
        }
        // The kernel may hold megabytes that a slow client takes bit by bit.
        let before = self.unacknowledged;
        self.note_unacknowledged();
        if self.unacknowledged < before {
            self.since = now;
        }
        self.unacknowledged == before
    }

    /// Whether there is anything to do now, without waiting for the client.
    pub fn has_more(&self) -> bool {
        self.more || self.readable || self.ended
    }

    /// Cuts the next batch from what is there and what can be read now.
    pub fn turn(
        &mut self,
        id: ConnectionId,
        scratch: &mut [u8],
        limits: &Limits,
        supplies: &mut Supplies,
        now: Instant,
    ) -> io::Result<Turn> {
        debug_assert!(matches!(self.phase, Phase::Idle));
        let mut job = supplies.job(id);
        let mut received = 0;
        let mut missing = 0;
        if self.more {
            missing = self.cut_kept(&mut job, limits, supplies);
        }
        while job.requests.is_empty() && self.readable && received < BYTES_PER_TURN {
            let direct = if missing >= DIRECT_MIN { missing.min(self.growth()) } else { 0 };
            let room = if direct > 0 { direct } else { scratch.len() };
            let result = match direct {
                0 => self.wire.read(scratch),
                len => self.input.read_from(&mut self.wire, len),
            };
            let read = match result {
                Ok(read) => read,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.readable = false;
                    break;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            };
            if read == 0 {
                (self.readable, self.ended) = (false, true);
                break;
            }
            received += read;
            self.since = now;
            self.quiet_tried = false;
            // A short read has emptied the socket: the next arrival makes an event. Only the end of input, which has
            // been announced already, is still to be fetched.
            self.readable = read == room || self.hung_up || self.reads_end_early;
            missing = match direct {
                0 => self.cut_scratch(&scratch[..read], &mut job, limits, supplies),
                _ => self.cut_kept(&mut job, limits, supplies),
            };
        }
        if job.requests.is_empty() && self.ended {
            self.finish(&mut job, limits);
        }
        if !job.requests.is_empty() {
            return Ok(Turn::Batch(job));
        }
        supplies.return_job(job);
        Ok(match () {
            () if self.ended => Turn::End,
            () if self.readable => Turn::Again,
            () => Turn::Rest,
        })
    }

    /// Takes what is there as a request when it lacks nothing but its end of line.
    pub fn quiet(&mut self, id: ConnectionId, limits: &Limits, supplies: &mut Supplies) -> Option<Box<Job>> {
        self.quiet_tried = true;
        let mut job = supplies.job(id);
        self.finish(&mut job, limits);
        if job.requests.is_empty() {
            supplies.return_job(job);
            return None;
        }
        Some(job)
    }

    /// By how much a body's buffer grows: memory follows what has arrived, not what was announced.
    fn growth(&self) -> usize {
        self.input.as_slice().len().clamp(SCRATCH_SIZE, GROWTH_MAX)
    }

    /// Makes what is there a request, if it lacks only its end of line.
    fn finish(&mut self, job: &mut Job, limits: &Limits) {
        if !self.alone || !self.framer.may_finish(self.input.as_slice(), limits) {
            return;
        }
        self.input.extend(b"\n");
        let Some(mut framed) = self.framer.finish(self.input.as_slice(), limits) else {
            return self.input.shorten(1);
        };
        let (bytes, start) = self.input.take();
        move_body(&mut framed, start);
        job.input = bytes;
        job.requests.push(framed);
        self.alone = false;
    }

    /// Cuts from bytes just received. What is left is kept.
    fn cut_scratch(
        &mut self,
        bytes: &[u8],
        job: &mut Job,
        limits: &Limits,
        supplies: &mut Supplies,
    ) -> usize {
        if !self.input.is_empty() {
            self.input.extend(bytes);
            return self.cut_kept(job, limits, supplies);
        }
        self.alone |= !self.framer.is_swallowing();
        let (used, missing) = self.cut(bytes, &mut job.requests, limits);
        if !job.requests.is_empty() {
            job.input.extend_from_slice(&bytes[..used]);
        }
        if used < bytes.len() {
            if !self.input.has_room() {
                self.input.keep_in(supplies.buffer());
            }
            self.input.extend(&bytes[used..]);
        }
        missing
    }

    /// Cuts from what was kept. Whichever is shorter is copied, the batch or the rest.
    fn cut_kept(&mut self, job: &mut Job, limits: &Limits, supplies: &mut Supplies) -> usize {
        let mut input = std::mem::take(&mut self.input);
        let (used, missing) = self.cut(input.as_slice(), &mut job.requests, limits);
        let rest = input.as_slice().len() - used;
        if job.requests.is_empty() || used < rest {
            if !job.requests.is_empty() {
                job.input.extend_from_slice(&input.as_slice()[..used]);
            }
            input.consume(used);
            self.input = input;
        } else {
            if rest > 0 {
                self.input.keep_in(supplies.buffer());
                self.input.extend(&input.as_slice()[used..]);
            }
            let (bytes, start) = input.take();
            job.requests.iter_mut().for_each(|framed| move_body(framed, start));
            supplies.return_buffer(std::mem::replace(&mut job.input, bytes));
        }
        if self.input.is_empty() {
            supplies.return_buffer(self.input.take().0);
        }
        missing
    }

    /// Cuts at most one batch from the front of `bytes`; tells how many it took and how many the next request lacks.
    fn cut(&mut self, bytes: &[u8], found: &mut Vec<Framed>, limits: &Limits) -> (usize, usize) {
        let mut used = 0;
        self.more = false;
        loop {
            match self.framer.next(&bytes[used..], limits) {
                Cut::NotYet(missing) => return (used, missing),
                Cut::Skip(len) => used += len,
                Cut::Closed => return (bytes.len(), 0),
                Cut::Request(mut framed, len) => {
                    move_body(&mut framed, used);
                    found.push(framed);
                    used += len;
                    self.alone = false;
                    if found.len() == REQUESTS_PER_TURN {
                        self.more = used < bytes.len();
                        return (used, 0);
                    }
                }
            }
        }
    }

    /// Writes answers, when none wait. When all have left their memory comes back; else they are kept, and writing goes
    /// on when the socket has room.
    pub fn send(&mut self, answers: &mut Vec<u8>, now: Instant) -> io::Result<Sent> {
        self.output.keep(std::mem::take(answers));
        self.since = now;
        let sent = self.write()?;
        if sent == Sent::All {
            *answers = self.output.take();
        }
        Ok(sent)
    }

    /// Writes what waits.
    pub fn flush(&mut self, now: Instant) -> io::Result<Sent> {
        let sent = self.write()?;
        if sent != Sent::Nothing {
            self.since = now;
        }
        if sent == Sent::All {
            let buffer = self.output.take();
            // The rest of the batch goes on with the memory of its beginning.
            if let Phase::Flushing(job) = &mut self.phase
                && job.output.is_empty()
            {
                job.output = buffer;
            }
        }
        Ok(sent)
    }

    /// Writes an event, when nothing waits. What the socket does not take is kept, unless it takes nothing.
    pub fn send_event(&mut self, event: &[u8], now: Instant) -> io::Result<Sent> {
        debug_assert!(!self.has_output(), "an event comes between two answers");
        let written = loop {
            match self.wire.write(event) {
                Ok(written) => break written,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break 0,
                Err(error) => return Err(error),
            }
        };
        if written == 0 || written == event.len() {
            return Ok(if written == 0 { Sent::Nothing } else { Sent::All });
        }
        self.since = now;
        self.output.keep(event[written..].to_vec());
        Ok(Sent::Part)
    }

    /// Adds a few bytes to the answers that wait.
    pub fn append(&mut self, bytes: &[u8]) {
        self.output.append(bytes);
    }

    fn write(&mut self) -> io::Result<Sent> {
        let sent = self.output.write_to(&mut self.wire, WRITE_PER_TURN)?;
        if matches!(sent, Sent::Part | Sent::Nothing) {
            self.note_unacknowledged();
        }
        Ok(sent)
    }

    fn note_unacknowledged(&mut self) {
        self.unacknowledged = u32::try_from(self.wire.unacknowledged()).unwrap_or(u32::MAX);
    }

    /// Says goodbye: the client reads the last answer and then the end. False when there is nobody to wait for.
    pub fn linger(&mut self, now: Instant) -> bool {
        self.input = Input::default();
        if self.ended || self.wire.end().is_err() {
            return false;
        }
        self.since = now;
        self.readable = true;
        self.phase = Phase::Lingering { patience: SWALLOW_MAX, until: now + LINGER };
        true
    }

    /// Whether a goodbye may end: the client's side has everything, or has had the time to take it.
    pub fn has_lingered(&mut self, now: Instant) -> bool {
        let Phase::Lingering { until, .. } = self.phase else { return false };
        self.since = now;
        until <= now || self.wire.unacknowledged() == 0
    }

    /// Throws away what still arrives. False when the client has closed too, or does not stop.
    pub fn discard(&mut self, scratch: &mut [u8], now: Instant) -> bool {
        let Phase::Lingering { patience, .. } = &mut self.phase else { unreachable!("only said goodbye") };
        loop {
            match self.wire.read(scratch) {
                Ok(0) => return false,
                Ok(read) if read as u64 > *patience => return false,
                Ok(read) => {
                    *patience -= read as u64;
                    self.since = now;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return error.kind() == io::ErrorKind::WouldBlock,
            }
        }
    }
}

fn move_body(framed: &mut Framed, by: usize) {
    if let Some(body) = framed.request.body_mut() {
        *body = body.start + by..body.end + by;
    }
}
