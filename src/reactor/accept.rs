//! Who comes: a place at the table, or a word why there is none.

use std::mem::MaybeUninit;
use std::net::Shutdown;
use std::os::fd::AsRawFd;
use std::time::Duration;

use mio::unix::SourceFd;
use socket2::Socket;

use super::Reactor;
use super::connection::READING;
use super::connections::token_of;
use super::listeners::{AcceptEnd, AcceptOutcome, Accepted};
use crate::protocol::{Eol, Refusal, Reply};

/// Connections that one turn accepts.
const ACCEPTS_PER_TICK: usize = 256;

/// Newcomers that wait in the hall.
const DEFERRED_MAX: usize = 16;

/// When to try again to accept after the system lacked something.
const ACCEPT_RETRY: Duration = Duration::from_millis(100);

/// Turns that the backlog has at most when the server stops: as many as it can fill.
const DRAIN_ROUNDS: usize = 4096 / ACCEPTS_PER_TICK;

impl Reactor {
    /// Lets in who stands before the doors. Who finds no place waits in the hall until all events have been looked at:
    /// whoever left before this newcomer came has left a place, but the news of that may be in one of them.
    pub(super) fn accept(&mut self) {
        for newcomer in std::mem::take(&mut self.deferred) {
            match (self.server.is_full(), self.poll_drained) {
                (false, _) => self.register_client(newcomer),
                (true, false) => self.deferred.push(newcomer),
                (true, true) => self.reject_full(newcomer),
            }
        }
        if self.accept_retry_at.is_some_and(|at| at <= self.server.now) {
            self.accept_retry_at = None;
        }
        if self.listeners.pending && self.accept_retry_at.is_none() {
            self.accept_pending();
        }
    }

    /// Lets in who has come before the doors close for ever.
    pub(super) fn accept_remaining(&mut self) {
        self.accept_retry_at = None;
        self.listeners.pending = true;
        for _ in 0..DRAIN_ROUNDS {
            self.accept();
            if !self.listeners.pending {
                break;
            }
        }
    }

    fn accept_pending(&mut self) {
        let places = self.server.settings.max_clients.saturating_sub(self.server.connections.len());
        let share = ACCEPTS_PER_TICK.min((places + DEFERRED_MAX).saturating_sub(self.deferred.len()));
        let mut arrived = Vec::new();
        let mut excess = 0;
        let clients = self.server.connections.len();
        let backlog = self.listeners.accept_batch(share, |arrival| match arrival {
            AcceptOutcome::Ok(newcomer) => arrived.push(newcomer),
            AcceptOutcome::NoDescriptor(newcomer) => {
                excess += 1;
                reject(&newcomer.socket, &busy(clients));
            }
        });
        self.server.counters.busy_descriptors += excess;
        for newcomer in arrived {
            if self.server.is_full() { self.deferred.push(newcomer) } else { self.register_client(newcomer) }
        }
        self.listeners.pending = backlog != AcceptEnd::WouldBlock;
        if let AcceptEnd::Failed(errno) = backlog {
            if self.server.counters.accept_failures == 0 {
                log::warn!("cannot accept for now: {errno}; this is said once");
            }
            self.server.counters.accept_failures += 1;
            self.accept_retry_at = Some(self.server.now + ACCEPT_RETRY);
        }
    }

    fn register_client(&mut self, newcomer: Accepted) {
        let Accepted { socket, is_unix } = newcomer;
        let fd = socket.as_raw_fd();
        let id = self.server.add_client(socket, is_unix);
        if let Err(error) = self.poll.registry().register(&mut SourceFd(&fd), token_of(id), READING) {
            self.server.fail(id, &error);
        }
    }

    fn reject_full(&mut self, newcomer: Accepted) {
        self.server.counters.busy_clients += 1;
        reject(&newcomer.socket, &busy(self.server.settings.max_clients));
    }
}

fn busy(max: usize) -> Vec<u8> {
    let mut answer = Vec::new();
    Reply::Refused(&Refusal::Busy { max }).encode(Eol::Lf, &mut answer);
    answer
}

/// Tells a client why it is not served, as far as that is possible without waiting for it.
fn reject(socket: &Socket, answer: &[u8]) {
    // What cannot be said at once is not said: the place is needed, and the client sees the end anyhow.
    let _ = socket.send(answer);
    let _ = socket.shutdown(Shutdown::Write);
    let mut unread = [MaybeUninit::uninit(); 1024];
    let _ = socket.recv(&mut unread);
}
