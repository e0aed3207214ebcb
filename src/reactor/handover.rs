//! The old server's part of a handover: a new server takes over the listeners, the lock and the segment.
//!
//! ```text
//!            new server                          this server
//!   hello    geometry, addresses      ──────►    compares them
//!            prepares itself          ◄──────    ready, or refused: nothing has changed
//!   go                                ──────►    reads each client once more, at most for DRAIN_TIME
//!            maps the segment         ◄──────    descriptors; no job is left, and none begins
//!   ack                               ──────►    still waits?
//!            begins its epoch, serves ◄──────    commit: closes its listeners and connections, ends
//! ```
//!
//! **The law**: the handover is committed at the instant at which this server has sent [`COMMIT`]. Until then
//! only this server may accept and change the segment, and it continues if the new server ends, sends an
//! unexpected message or is late. From then on only the new server may do so, and this server never
//! continues. The message is sent in one place, and only as the answer to an [`ACK`] that is in time. If it
//! cannot be sent, the new server has not received it, so the handover is not committed.
//!
//! A new server that ends after the commit is a server that has crashed: the segment keeps every message.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::socket::{MsgFlags, recv};

use super::control::send_message;
use super::{FileCheck, Reactor};
use crate::workers::Mailboxes;

/// The beginning of the first message of a new server. The version of the handover and a line feed follow.
pub(crate) const HELLO: &[u8] = b"takeover ";

/// Largest number of bytes of a first message that this server reads. The rest is cut off.
pub(crate) const HELLO_MAX: usize = 1024;

/// The answer to [`HELLO`]: this server can hand over.
pub(crate) const READY: &[u8] = b"ready";

/// The beginning of an answer that ends the handover. An exit code of one digit, a blank and the reason
/// follow.
pub(crate) const REFUSED: &[u8] = b"refused ";

/// The new server is prepared, and asks for the descriptors.
pub(crate) const GO: &[u8] = b"go";

/// The new server has the descriptors, and could serve.
pub(crate) const ACK: &[u8] = b"ack";

/// The new server serves from now on.
pub(crate) const COMMIT: &[u8] = b"commit";

/// How long a new server may take to prepare itself. This server serves meanwhile.
pub(crate) const PREPARE_TIME: Duration = Duration::from_secs(5);

/// How long received requests are answered. Connections that are not at their end then are cut. The handover
/// takes a few milliseconds more, and at most 100 in sum.
pub(crate) const DRAIN_TIME: Duration = Duration::from_millis(60);

/// How long this server then waits for requests that a worker still executes. A copy of a gigabyte takes a
/// part of a second.
pub(crate) const QUIET_TIME: Duration = Duration::from_secs(1);

/// How long a new server may take to acknowledge the descriptors.
pub(crate) const ACK_TIME: Duration = Duration::from_secs(1);

/// The kind of a socket that is handed over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SocketKind {
    /// A listening TCP socket.
    Tcp,
    /// The listening TCP socket of the classic port.
    Classic,
    /// A listening Unix-domain socket.
    Unix,
    /// The UDP socket of the classic port.
    Udp,
}

/// Why a handover is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Refusal {
    /// The exit code of the new server, of one digit.
    pub code: u8,
    pub reason: String,
}

impl Refusal {
    fn new(code: u8, reason: &str) -> Self {
        Refusal { code, reason: reason.to_owned() }
    }

    /// The message to the new server.
    fn encode(&self) -> Vec<u8> {
        let Refusal { code, reason } = self;
        [REFUSED, format!("{code} {reason}").as_bytes()].concat()
    }

    /// The refusal in a message.
    pub(crate) fn decode(message: &[u8]) -> Option<Self> {
        let text = String::from_utf8_lossy(message.strip_prefix(REFUSED)?).into_owned();
        let (code, reason) = text.split_once(' ')?;
        Some(Refusal::new(code.parse().ok()?, reason))
    }
}

type Examine = dyn Fn(&[u8]) -> Result<(), Refusal>;
type SendDescriptors = dyn Fn(&OwnedFd, &[(SocketKind, BorrowedFd<'_>)]) -> io::Result<()>;

/// The functions of the instance for a handover.
pub(crate) struct Successor {
    /// Compares the first message of a new server with this server.
    pub examine: Box<Examine>,
    /// Sends the new server these sockets with the lock file and the segment, in one message.
    pub send: Box<SendDescriptors>,
}

/// The state of a handover. `peer` is the connection to the new server.
#[derive(Debug)]
pub(super) enum Handover {
    /// There is no new server.
    None,
    /// The new server prepares itself, until this instant.
    Preparing { peer: OwnedFd, until: Instant },
    /// The clients are read once more. At `cut_at` connections that are not at their end are cut.
    Draining { peer: OwnedFd, cut_at: Option<Instant>, until: Instant },
    /// The new server has the descriptors, and may acknowledge them until this instant.
    Offered { peer: OwnedFd, until: Instant },
    /// The new server serves.
    Committed,
}

impl Handover {
    /// Whether this server accepts and serves.
    pub(super) fn is_serving(&self) -> bool {
        matches!(self, Handover::None | Handover::Preparing { .. })
    }

    pub(super) fn is_committed(&self) -> bool {
        matches!(self, Handover::Committed)
    }

    /// When [`Reactor::advance_handover`] has to be called without an event.
    pub(super) fn next_deadline(&self) -> Option<Instant> {
        match self {
            Handover::None | Handover::Committed => None,
            Handover::Preparing { until, .. } | Handover::Offered { until, .. } => Some(*until),
            Handover::Draining { cut_at, until, .. } => Some(cut_at.unwrap_or(*until)),
        }
    }

    fn peer(&self) -> Option<&OwnedFd> {
        match self {
            Handover::None | Handover::Committed => None,
            Handover::Preparing { peer, .. }
            | Handover::Draining { peer, .. }
            | Handover::Offered { peer, .. } => Some(peer),
        }
    }
}

impl Reactor {
    // ---- the new server ----

    /// The mailboxes of this server.
    pub(crate) fn mailboxes(&self) -> &Mailboxes {
        &self.server.mailboxes
    }

    /// Listens on this control socket.
    pub(crate) fn set_control(&mut self, control: OwnedFd) -> io::Result<()> {
        self.control.replace(control, self.poll.registry())
    }

    // ---- the old server ----

    /// Answers the first message of a new server.
    pub(super) fn on_hello(&mut self, peer: OwnedFd, hello: &[u8]) {
        let examined = match &self.handover {
            _ if self.server.is_stopping() => Err(Refusal::new(1, "the running server is stopping")),
            Handover::None => (self.host.successor.examine)(hello),
            _ => Err(Refusal::new(3, "another takeover is in progress")),
        };
        match examined {
            Ok(()) if send_message(&peer, READY) => {
                self.handover = Handover::Preparing { peer, until: self.server.now() + PREPARE_TIME };
            }
            Ok(()) => {}
            Err(refusal) => {
                log::info!("takeover refused: {}", refusal.reason);
                send_message(&peer, &refusal.encode());
            }
        }
    }

    /// Reads what the new server has sent, up to the end of its connection.
    pub(super) fn read_handover(&mut self) {
        while let Some(peer) = self.handover.peer() {
            let mut message = [0; 16];
            match recv(peer.as_raw_fd(), &mut message, MsgFlags::MSG_DONTWAIT) {
                Err(Errno::EAGAIN | Errno::EINTR) => return,
                Ok(0) | Err(_) => self.cancel_handover("the new server has ended"),
                Ok(len) => match (&self.handover, &message[..len]) {
                    (Handover::Preparing { .. }, GO) => self.begin_handover(),
                    (Handover::Offered { .. }, ACK) => self.commit_handover(),
                    _ => self.cancel_handover("the new server has sent an unexpected message"),
                },
            }
        }
    }

    /// Does the next step of a handover, if it is due.
    pub(super) fn advance_handover(&mut self) {
        let now = self.server.now();
        match &mut self.handover {
            Handover::Preparing { until, .. } if *until <= now => {
                self.cancel_handover("the new server was not prepared in time");
            }
            Handover::Draining { .. } if self.server.is_quiet() => self.offer_descriptors(),
            Handover::Draining { cut_at: cut_at @ Some(_), .. } if cut_at.is_some_and(|at| at <= now) => {
                *cut_at = None;
                self.server.cut_connections();
            }
            Handover::Draining { until, .. } if *until <= now => {
                self.cancel_handover("a request is still executed");
            }
            Handover::Offered { until, .. } if *until <= now => {
                self.read_handover();
                if let Handover::Offered { .. } = self.handover {
                    self.cancel_handover("the new server did not acknowledge in time");
                }
            }
            _ => {}
        }
    }

    /// Begins to end all connections. No connection is accepted: the new server accepts those of the backlog.
    fn begin_handover(&mut self) {
        let Handover::Preparing { peer, .. } = std::mem::replace(&mut self.handover, Handover::None) else {
            return;
        };
        log::info!("handing over to a new server");
        for accepted in std::mem::take(&mut self.deferred) {
            self.reject_full(accepted);
        }
        self.server.begin_handover();
        let cut_at = self.server.now() + DRAIN_TIME;
        self.handover = Handover::Draining { peer, cut_at: Some(cut_at), until: cut_at + QUIET_TIME };
    }

    /// Sends the descriptors. From here on this server only waits.
    fn offer_descriptors(&mut self) {
        let udp = self.datagrams.iter().map(|datagrams| (SocketKind::Udp, datagrams.descriptor()));
        let sockets: Vec<_> = self.listeners.descriptors().chain(udp).collect();
        let Some(peer) = self.handover.peer() else { return };
        let sent = (self.host.successor.send)(peer, &sockets);
        match (sent, std::mem::replace(&mut self.handover, Handover::None)) {
            (Ok(()), Handover::Draining { peer, .. }) => {
                self.handover = Handover::Offered { peer, until: Instant::now() + ACK_TIME };
            }
            (sent, handover) => {
                self.handover = handover;
                let error = sent.err().map(|error| error.to_string()).unwrap_or_default();
                self.cancel_handover(&format!("cannot send the descriptors: {error}"));
            }
        }
    }

    /// Commits the handover.
    fn commit_handover(&mut self) {
        if !self.handover.peer().is_some_and(|peer| send_message(peer, COMMIT)) {
            return self.cancel_handover("the new server has ended");
        }
        self.handover = Handover::Committed;
        log::info!("a new server has taken over");
        self.control.close();
        self.listeners.hand_over(self.poll.registry());
        if let Some(datagrams) = self.datagrams.take() {
            datagrams.hand_over(self.poll.registry());
        }
        self.server.end_handover();
    }

    /// Ends a handover that is not committed. This server serves again.
    pub(super) fn cancel_handover(&mut self, reason: &str) {
        let handover = std::mem::replace(&mut self.handover, Handover::None);
        let Some(peer) = handover.peer() else { return self.handover = handover };
        log::warn!("not taken over: {reason}");
        // A new server that was late finds the message before the end of the connection.
        send_message(peer, &Refusal::new(1, reason).encode());
        if !handover.is_serving() {
            // Connections and packets that have arrived meanwhile are accepted now: `pending` is set.
            self.server.cancel_handover();
        }
    }

    /// Checks the files of the instance. After a handover they are those of the new server.
    pub(super) fn check_files(&mut self) -> FileCheck {
        match self.handover {
            Handover::Committed => FileCheck::default(),
            _ => (self.host.check_files)(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_keeps_its_code_and_its_reason() {
        let refusal = Refusal::new(4, "other sizes: 3 of 64 kB");
        assert_eq!(Refusal::decode(&refusal.encode()), Some(refusal));
        for message in ["", "ready", "refused", "refused 4", "refused x y"] {
            assert_eq!(Refusal::decode(message.as_bytes()), None, "{message}");
        }
    }
}
