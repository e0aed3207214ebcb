//! One client socket, with its received bytes, its unwritten replies and its phase.
//!
//! The law: a connection has at most one batch at a time. During a batch the socket is not read, and no batch
//! begins while replies wait for the socket. So a connection stores at most one batch of input and one of
//! output, and its replies are sent in order.

mod data;
mod input;
mod output;

use std::time::{Duration, Instant};

use mio::Interest;
use mio::event::Event;

use super::extras::Extras;
use super::phase::Phase;
use super::transport::Transport;
use crate::protocol::{Framing, Limits, Silence};
use crate::workers::{Job, JobState};
use input::Input;
use output::Output;

pub(super) use data::DataError;
pub(super) use input::{Received, SCRATCH_SIZE};
pub(super) use output::{BYTES_PER_FLUSH, Flushed};

/// Longest time without progress of a body whose length is known.
pub(super) const BODY_PROGRESS: Duration = Duration::from_secs(30);

/// Longest time without progress of a client that does not read its replies.
pub(super) const WRITE_PROGRESS: Duration = Duration::from_secs(30);

/// Longest time that a taken message is in flight because its reply is not completely written. Until then the
/// mailbox of the message stays blocked, and the message is requeued if the client disconnects. Afterwards
/// the message is requeued if earlier replies are unwritten. If they are written, the message counts as
/// received.
pub(super) const ACK_TIMEOUT: Duration = Duration::from_secs(1);

/// Longest time that a closing connection discards received bytes. Without it, a reset could destroy the last
/// replies.
pub(super) const LINGER: Duration = Duration::from_secs(2);

/// Interval of the checks whether the client has received all replies.
const LINGER_STEP: Duration = Duration::from_millis(50);

/// The interest of every connection: bytes and urgent bytes. It includes the event that the client has
/// disconnected.
pub(super) const READING: Interest = Interest::READABLE.add(Interest::PRIORITY);

/// The silence that completes a request at the classic port of which more bytes probably follow.
const LONG_SILENCE: Duration = Duration::from_secs(1);

/// The listener through which a client has connected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ListenerKind {
    /// The TCP port.
    Tcp,
    /// The classic port.
    Classic,
    /// The Unix-domain socket.
    Unix,
}

/// What the poll reports about a socket.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Readiness {
    /// There are bytes, or the end of input.
    pub readable: bool,
    /// There is room for replies.
    pub writable: bool,
    /// There are urgent bytes.
    pub urgent: bool,
    /// The client has closed its writing half or the connection.
    pub hung_up: bool,
    /// The connection is broken: the client will not read a reply.
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
    /// Distinguishes the connection from earlier ones in the same slot.
    pub generation: u32,
    phase: Phase,
    framing: Framing,
    input: Input,
    output: Output,
    /// The name, locks and watches, if there are any.
    pub extras: Option<Box<Extras>>,
    /// When bytes were last received or written.
    last_progress: Instant,
    /// Number of received requests.
    pub requests: u64,
    /// When the connection was accepted, in seconds since the server started.
    pub accepted_at_s: u32,
    /// The result of [`Connection::unread_kb`] that the table of clients has recorded.
    pub recorded_unread_kb: u32,
    /// The socket may have bytes.
    pub readable: bool,
    /// The client has closed its writing half or the connection.
    pub hung_up: bool,
    /// The end of input was read.
    eof: bool,
    /// A short read does not mean that the socket is empty. A read ends at urgent data, and on a Unix-domain
    /// socket also at passed descriptors.
    pub reads_end_early: bool,
    /// The input may contain complete requests, because the last batch was full.
    buffered: bool,
    /// The input begins with the first byte received since the last reply.
    first_since_reply: bool,
    /// A silence has passed and has not completed the input.
    silence_tried: bool,
    /// The output begins with the rest of an event.
    has_events: bool,
    /// The socket is registered for writing.
    wants_write: bool,
    /// The connection is handled without a further event.
    pub is_ready: bool,
    /// The client is not read again, because a new server takes over.
    pub is_drained: bool,
    /// The data of the request in the input is received into memory, not into its mailbox.
    loads_data: bool,
    /// The last request was large, so the next one probably is, too.
    expects_data: bool,
    /// The socket is readable when about this many kB have arrived; 0 if it is readable as usual.
    low_water_kb: u16,
}

const _: () = assert!(size_of::<Connection<socket2::Socket>>() <= 192, "an idle connection is small");

impl<T: Transport> Connection<T> {
    /// The idle connection of a new client.
    pub(super) fn new(transport: T, listener: ListenerKind, generation: u32, now: Instant) -> Self {
        Connection {
            transport,
            generation,
            phase: Phase::Idle,
            framing: if listener == ListenerKind::Classic { Framing::classic() } else { Framing::default() },
            input: Input::default(),
            output: Output::default(),
            extras: None,
            last_progress: now,
            requests: 0,
            accepted_at_s: 0,
            recorded_unread_kb: 0,
            readable: false,
            hung_up: false,
            eof: false,
            reads_end_early: listener == ListenerKind::Unix,
            buffered: false,
            first_since_reply: false,
            silence_tried: false,
            has_events: false,
            wants_write: false,
            is_ready: false,
            is_drained: false,
            loads_data: false,
            expects_data: false,
            low_water_kb: 0,
        }
    }

    /// The socket, for its registration with the poll.
    pub(super) fn transport(&self) -> &T {
        &self.transport
    }

    /// Bytes of memory, including the value itself.
    pub(super) fn memory(&self) -> usize {
        let job = match &self.phase {
            Phase::Flushing(job) => job.memory(),
            _ => 0,
        };
        let extras = self.extras.as_ref().map_or(0, |extras| extras.memory());
        size_of::<Self>() + self.input.capacity() + self.output.capacity() + job + extras
    }

    /// Memory of answers that the client has not read, in kB.
    pub(super) fn unread_kb(&self) -> u32 {
        let flushing = match &self.phase {
            Phase::Flushing(job) => job.memory(),
            _ => 0,
        };
        let output = if self.has_output() { self.output.capacity() } else { 0 };
        u32::try_from((flushing + output).div_ceil(1024)).unwrap_or(u32::MAX)
    }

    /// Frees the buffers of a connection that is closed.
    pub(super) fn free_buffers(&mut self) {
        (self.input, self.output) = (Input::default(), Output::default());
    }

    /// The phase of the connection.
    pub(super) fn phase(&self) -> &Phase {
        &self.phase
    }

    /// Records the result of a poll.
    pub(super) fn record_readiness(&mut self, readiness: Readiness) {
        let Readiness { readable, hung_up, urgent, .. } = readiness;
        self.readable |= readable || hung_up;
        self.hung_up |= hung_up;
        self.reads_end_early |= urgent;
    }

    /// Changes the phase. Returns the previous one. No other function changes it.
    pub(super) fn transition(&mut self, next: Phase) -> Phase {
        debug_assert!(self.phase.may_become(&next), "{:?} becomes {next:?}", self.phase);
        std::mem::replace(&mut self.phase, next)
    }

    /// Takes the job whose replies wait for the socket, if there is one.
    pub(super) fn take_flushing(&mut self) -> Option<Box<Job>> {
        match self.phase {
            Phase::Flushing(_) => match self.transition(Phase::Working) {
                Phase::Flushing(job) => Some(job),
                _ => None,
            },
            _ => None,
        }
    }

    /// Ends a batch: the socket is read again. The time that the client takes for its next bytes counts from
    /// now on.
    pub(super) fn set_idle(&mut self, now: Instant) {
        self.transition(Phase::Idle);
        self.last_progress = now;
    }

    /// The extras, created if there are none.
    pub(super) fn extras(&mut self, now: Instant) -> &mut Extras {
        self.extras.get_or_insert_with(|| Box::new(Extras::new(now)))
    }

    /// The earliest end of a lease.
    pub(super) fn lease_end(&self) -> Option<Instant> {
        self.extras.as_ref()?.leases.next_end()
    }

    /// When the first message in hand is given back. While a job has them, none is.
    pub(super) fn hand_end(&self) -> Option<Instant> {
        self.extras.as_ref()?.hand_end()
    }

    /// Whether the client holds locks or leases, or has messages in hand.
    pub(super) fn holds_any(&self) -> bool {
        let holds = |extras: &Extras| {
            extras.locks.is_some() || extras.receipts.is_some() || extras.leases.next_end().is_some()
        };
        self.extras.as_deref().is_some_and(holds)
    }

    /// Whether the client watches a mailbox.
    pub(super) fn is_watcher(&self) -> bool {
        self.extras.as_ref().is_some_and(|extras| !extras.watches.is_empty())
    }

    /// Whether the last reply was sent, or the connection is closed.
    pub(super) fn is_closing(&self) -> bool {
        matches!(self.phase, Phase::Lingering { .. } | Phase::Closed)
    }

    /// Whether the registered interest is the current one.
    pub(super) fn is_registered(&self) -> bool {
        self.wants_write == (self.has_output() || self.is_lagging())
    }

    /// The interest to register, or `None` if it has not changed. It always includes reading, which also
    /// reports that the client has disconnected. It includes writing only while replies or an event wait for
    /// the socket.
    pub(super) fn changed_interest(&mut self) -> Option<Interest> {
        if self.is_registered() {
            return None;
        }
        self.wants_write = !self.wants_write;
        Some(if self.wants_write { READING | Interest::WRITABLE } else { READING })
    }

    /// When this connection must be handled if no event comes earlier.
    pub(super) fn deadline(&self, quiet: Duration, limits: &Limits) -> Option<Instant> {
        let phase = match &self.phase {
            // A worker completes the job soon. Leases are checked then.
            Phase::Working | Phase::Closed => return None,
            Phase::Lingering { until, .. } => return Some((self.last_progress + LINGER_STEP).min(*until)),
            // Silence must not complete a request of a client that is not read any more. A client whose turn
            // is still to come may have sent the rest in time.
            Phase::Idle if self.has_output() || self.is_drained || self.is_ready => None,
            Phase::Idle if self.input.is_empty() && !self.framing.is_discarding() => None,
            Phase::Idle if let Some(silence) = self.awaited_silence(quiet, limits) => {
                self.last_progress.checked_add(silence)
            }
            Phase::Idle if self.framing.awaits_octets(self.input.as_slice(), limits) => {
                Some(self.last_progress + BODY_PROGRESS)
            }
            Phase::Idle => None,
            Phase::Waiting { until, .. } => *until,
            Phase::Flushing(job) => match &job.state {
                JobState::InFlight(in_flight) => in_flight.deadline,
                _ => None,
            },
        };
        let slow = self.has_replies().then(|| self.last_progress + WRITE_PROGRESS);
        [phase, slow, self.lease_end(), self.hand_end()].into_iter().flatten().min()
    }

    /// Whether the connection needs neither a deadline nor another interest. Between two events this is true
    /// of most connections.
    #[inline]
    pub(super) fn is_quiet(&self) -> bool {
        let has_bytes = || !self.input.is_empty() || self.framing.is_discarding();
        let is_calm =
            matches!(self.phase, Phase::Working) || matches!(self.phase, Phase::Idle) && !has_bytes();
        is_calm
            && self.extras.is_none()
            && !self.has_output()
            && !self.wants_write
            && self.recorded_unread_kb == 0
    }

    /// Whether an event waits for room in the socket.
    pub(super) fn is_lagging(&self) -> bool {
        self.extras.as_ref().is_some_and(|extras| extras.watches.is_lagging())
    }

    /// How long a silence must be to complete the buffered bytes.
    pub(super) fn awaited_silence(&self, quiet: Duration, limits: &Limits) -> Option<Duration> {
        if self.silence_tried || quiet.is_zero() {
            return None;
        }
        match self.framing.silence(self.input.as_slice(), self.first_since_reply, limits) {
            Silence::Never => None,
            Silence::Short => Some(quiet),
            Silence::Long => Some(quiet.max(LONG_SILENCE)),
        }
    }

    /// Whether replies wait for the socket. A client may leave events unread for any time.
    fn has_replies(&self) -> bool {
        self.has_output() && !self.has_events
    }

    /// Whether replies or the rest of an event wait for the socket.
    pub(super) fn has_output(&self) -> bool {
        !self.output.is_empty()
    }

    /// Whether the client has received none of the waiting replies for [`WRITE_PROGRESS`].
    pub(super) fn check_write_stall(&mut self, now: Instant) -> bool {
        if !self.has_replies() || self.last_progress + WRITE_PROGRESS > now {
            return false;
        }
        // A slow client may still be receiving megabytes that the kernel has buffered.
        let before = self.output.unacknowledged;
        self.record_unacknowledged();
        if self.output.unacknowledged < before {
            self.last_progress = now;
        }
        self.output.unacknowledged >= before
    }

    /// Whether a part of a request is buffered.
    pub(super) fn has_incomplete_input(&self) -> bool {
        !self.input.is_empty()
    }

    /// Number of bytes of the output that are not written.
    pub(super) fn unwritten(&self) -> usize {
        self.output.len()
    }

    /// Whether the buffered bytes may contain a complete request.
    pub(super) fn has_buffered_requests(&self) -> bool {
        self.buffered
    }

    /// Whether there may be input to handle, without waiting for an event.
    pub(super) fn has_pending_input(&self) -> bool {
        self.buffered || self.readable || self.eof
    }
}
