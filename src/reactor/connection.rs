//! One client socket: what has arrived, what is to leave, and what it is busy with.
//!
//! The law: at most one batch is under way. While it is, nothing is read; while answers wait for the socket,
//! nothing new begins. So a connection holds at most one batch of input and one of output, and its answers
//! leave in order.

mod receiving;
mod sending;

use std::time::{Duration, Instant};

use mio::Interest;
use mio::event::Event;

use super::extras::Extras;
use super::input::Input;
use super::output::Output;
use super::phase::Phase;
use super::transport::Transport;
use super::watches::{Watch, WatchState};
use crate::protocol::{Framer, Limits};
use crate::workers::{Job, JobState};

pub(super) use receiving::{Received, SCRATCH_SIZE};
pub(super) use sending::Flushed;

/// How long a body of known length may make no progress.
pub(super) const BODY_PROGRESS: Duration = Duration::from_secs(30);

/// How long a client may take none of its answers.
pub(super) const WRITE_PROGRESS: Duration = Duration::from_secs(30);

/// How long a message that was taken waits for a socket that takes its answer only in parts. Until then it
/// goes back to its mailbox when the client vanishes, and nobody else is in; from then on it is the client's.
pub(super) const ACK_TIMEOUT: Duration = Duration::from_secs(1);

/// How long a connection that is to be closed is listened to, so that its last answers are not lost to a
/// reset.
pub(super) const LINGER: Duration = Duration::from_secs(2);

/// How often to see whether the client has all of them.
const LINGER_STEP: Duration = Duration::from_millis(50);

/// What every connection is registered for: bytes, urgent ones too, and with them the news that a client has
/// left.
pub(super) const READING: Interest = Interest::READABLE.add(Interest::PRIORITY);

/// What the poll tells of a socket.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Readiness {
    /// There are bytes, or the end.
    pub readable: bool,
    /// There is room for answers.
    pub writable: bool,
    /// There are urgent bytes.
    pub urgent: bool,
    /// The client has closed its writing half, or all.
    pub hung_up: bool,
    /// The connection is broken: nobody will read an answer.
    pub broken: bool,
}

impl From<&Event> for Readiness {
    fn from(event: &Event) -> Self {
        Readiness {
            readable: event.is_readable(),
            writable: event.is_writable(),
            urgent: event.is_priority(),
            hung_up: event.is_read_closed(),
            broken: event.is_error() || event.is_write_closed(),
        }
    }
}

/// One client.
#[derive(Debug)]
pub(super) struct Connection<T> {
    transport: T,
    /// Which connection of all that had this slot.
    pub generation: u32,
    phase: Phase,
    framer: Framer,
    input: Input,
    output: Output,
    /// Its name, locks and watches, if it has any.
    pub extras: Option<Box<Extras>>,
    /// The last progress: bytes received, or bytes that left.
    last_progress: Instant,
    /// Requests that have arrived.
    pub requests: u64,
    /// When it came, in seconds since the server started.
    pub accepted_at_s: u32,
    /// Bytes that had not arrived at the client when its socket was last full.
    unacknowledged: u32,
    /// The socket may have bytes.
    pub readable: bool,
    /// The client has closed its writing half, or all.
    pub hung_up: bool,
    /// The end of input was read.
    eof: bool,
    /// A short read does not mean that the socket is empty: a read ends at urgent data, and on a Unix-domain
    /// socket at passed descriptors.
    pub reads_end_early: bool,
    /// The kept input may hold complete requests: the turn that cut it had its share.
    buffered: bool,
    /// The kept input was the first thing received since the last answer.
    first_since_reply: bool,
    /// Silence has not completed the kept input.
    silence_tried: bool,
    /// It is registered for writing.
    wants_write: bool,
    /// It stands in the line for another turn.
    pub is_ready: bool,
}

const _: () = assert!(size_of::<Connection<socket2::Socket>>() <= 192, "a connection at rest is small");

impl<T: Transport> Connection<T> {
    /// A new client, idle.
    pub(super) fn new(transport: T, is_unix: bool, generation: u32, now: Instant) -> Self {
        Connection {
            transport,
            generation,
            phase: Phase::Idle,
            framer: Framer::default(),
            input: Input::default(),
            output: Output::default(),
            extras: None,
            last_progress: now,
            requests: 0,
            accepted_at_s: 0,
            unacknowledged: 0,
            readable: false,
            hung_up: false,
            eof: false,
            reads_end_early: is_unix,
            buffered: false,
            first_since_reply: false,
            silence_tried: false,
            wants_write: false,
            is_ready: false,
        }
    }

    /// The socket, to be registered.
    pub(super) fn transport(&self) -> &T {
        &self.transport
    }

    /// Bytes that it holds, itself counted.
    pub(super) fn memory(&self) -> usize {
        let job = match &self.phase {
            Phase::Flushing(job) => job.memory(),
            _ => 0,
        };
        let session = self.extras.as_ref().map_or(0, |session| session.memory());
        size_of::<Self>() + self.input.capacity() + self.output.capacity() + job + session
    }

    /// What it is busy with.
    pub(super) fn phase(&self) -> &Phase {
        &self.phase
    }

    /// Records what a poll says of the socket.
    pub(super) fn record_readiness(&mut self, readiness: Readiness) {
        let Readiness { readable, hung_up, urgent, .. } = readiness;
        self.readable |= readable || hung_up;
        self.hung_up |= hung_up;
        self.reads_end_early |= urgent;
    }

    /// The one way from a phase to another; what it was busy with comes back.
    pub(super) fn transition(&mut self, next: Phase) -> Phase {
        debug_assert!(self.phase.may_become(&next), "{:?} becomes {next:?}", self.phase);
        std::mem::replace(&mut self.phase, next)
    }

    /// Takes the job out whose answers wait for the socket.
    pub(super) fn take_flushing(&mut self) -> Option<Box<Job>> {
        match self.phase {
            Phase::Flushing(_) => match self.transition(Phase::Working) {
                Phase::Flushing(job) => Some(job),
                _ => None,
            },
            _ => None,
        }
    }

    /// Its batch is done, and it is listened to again: only from now on can it be slow to go on.
    pub(super) fn set_idle(&mut self, now: Instant) {
        self.transition(Phase::Idle);
        self.last_progress = now;
    }

    /// What it is to have beside its socket.
    pub(super) fn extras(&mut self, now: Instant) -> &mut Extras {
        self.extras.get_or_insert_with(|| Box::new(Extras::new(now)))
    }

    /// When the first of its leases ends.
    pub(super) fn lease_end(&self) -> Option<Instant> {
        self.extras.as_ref()?.leases.next_end()
    }

    /// Whether it gets events: such a client may stop reading for as long as it likes.
    pub(super) fn is_watcher(&self) -> bool {
        self.extras.as_ref().is_some_and(|session| !session.watches.is_empty())
    }

    /// Whether it has said its last word.
    pub(super) fn is_closing(&self) -> bool {
        matches!(self.phase, Phase::Lingering { .. } | Phase::Closed)
    }

    /// Whether it is registered for what it waits for now.
    pub(super) fn is_registered(&self) -> bool {
        self.wants_write == (self.has_output() || self.is_lagging())
    }

    /// The interest to register, when it is another one than before. Reading is always of interest, for with
    /// it comes the news that a client has left; writing only while output waits, or an event.
    pub(super) fn changed_interest(&mut self) -> Option<Interest> {
        if self.is_registered() {
            return None;
        }
        self.wants_write = !self.wants_write;
        Some(if self.wants_write { READING | Interest::WRITABLE } else { READING })
    }

    /// When this connection is to be looked at although nothing happens.
    pub(super) fn deadline(&self, quiet: Duration, limits: &Limits) -> Option<Instant> {
        let phase = match &self.phase {
            // A job that is with the workers comes home soon; then its leases are looked at.
            Phase::Working | Phase::Closed => return None,
            Phase::Lingering { until, .. } => return Some((self.last_progress + LINGER_STEP).min(*until)),
            Phase::Idle if self.is_at_rest() => return None,
            Phase::Idle if self.has_output() => None,
            Phase::Idle if self.input.is_empty() && !self.framer.is_discarding() => None,
            Phase::Idle if self.awaits_silence(quiet) => self.last_progress.checked_add(quiet),
            Phase::Idle if self.framer.awaits_octets(self.input.as_slice(), limits) => {
                Some(self.last_progress + BODY_PROGRESS)
            }
            Phase::Idle => None,
            Phase::Waiting { until, .. } => *until,
            Phase::Flushing(job) => match &job.state {
                JobState::InFlight(in_flight) => in_flight.until,
                _ => None,
            },
        };
        let slow = (self.has_output() && !self.is_watcher()).then(|| self.last_progress + WRITE_PROGRESS);
        [phase, slow, self.lease_end()].into_iter().flatten().min()
    }

    /// Whether it holds nothing: no bytes in either direction, no lock, no watch.
    fn is_at_rest(&self) -> bool {
        self.extras.is_none() && !self.has_output() && self.input.is_empty() && !self.framer.is_discarding()
    }

    /// Whether an event waits for room in its socket.
    fn is_lagging(&self) -> bool {
        let is_behind = |watch: &Watch| watch.state == WatchState::Lagging;
        self.extras.as_ref().is_some_and(|session| session.watches.iter().any(is_behind))
    }

    /// Whether silence may complete what is there.
    pub(super) fn awaits_silence(&self, quiet: Duration) -> bool {
        self.first_since_reply && !self.silence_tried && !quiet.is_zero()
    }

    /// Whether answers wait for the socket.
    pub(super) fn has_output(&self) -> bool {
        !self.output.is_empty()
    }

    /// Whether they have waited too long: the client has not taken any of them.
    pub(super) fn check_write_stall(&mut self, now: Instant) -> bool {
        if !self.has_output() || self.is_watcher() || self.last_progress + WRITE_PROGRESS > now {
            return false;
        }
        // The kernel may hold megabytes that a slow client takes bit by bit.
        let before = self.unacknowledged;
        self.record_unacknowledged();
        if self.unacknowledged < before {
            self.last_progress = now;
        }
        self.unacknowledged >= before
    }

    /// Whether there is anything to do now, without waiting for the client.
    pub(super) fn has_pending_input(&self) -> bool {
        self.buffered || self.readable || self.eof
    }
}
