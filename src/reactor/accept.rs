//! Accepts connections, and rejects those for which the server has no slot or no descriptor.

use std::mem::MaybeUninit;
use std::net::Shutdown;
use std::os::fd::AsRawFd;
use std::time::Duration;

use mio::unix::SourceFd;
use socket2::Socket;

use super::Reactor;
use super::clients::token_of;
use super::connection::READING;
use super::listeners::{AcceptEnd, AcceptOutcome, Accepted};
use super::phase::Phase;
use crate::protocol::{Eol, Refusal, Reply};

/// Largest number of connections accepted per tick.
const ACCEPTS_PER_TICK: usize = 16;

/// Largest number of accepted connections that wait for a slot.
const DEFERRED_MAX: usize = 16;

/// Delay after which a failed accept is retried.
const ACCEPT_RETRY: Duration = Duration::from_millis(100);

/// Largest number of calls of [`Reactor::accept`] when the server stops. It is enough for the largest
/// backlog.
const DRAIN_ROUNDS: usize = 4096 / ACCEPTS_PER_TICK;

impl Reactor {
    /// Accepts new connections. If the connection table is full, a new connection is deferred until every
    /// event of this poll is handled and every closed connection is removed, since this may free a slot.
    pub(super) fn accept(&mut self) {
        for accepted in std::mem::take(&mut self.deferred) {
            let may_free_slot = !self.poll_drained || self.server.removes_clients();
            match (self.server.is_full(), may_free_slot) {
                (false, _) => self.register_client(accepted),
                (true, true) => self.deferred.push(accepted),
                (true, false) => self.reject_full(accepted),
            }
        }
        if self.accept_retry_at.is_some_and(|at| at <= self.server.now()) {
            self.accept_retry_at = None;
        }
        if self.listeners.pending && self.accept_retry_at.is_none() {
            self.accept_pending();
        }
    }

    /// Accepts the connections that are in the backlog when the server stops.
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
        let free_slots = self.server.max_clients().saturating_sub(self.server.clients.len());
        let budget = ACCEPTS_PER_TICK.min((free_slots + DEFERRED_MAX).saturating_sub(self.deferred.len()));
        let mut new_clients = Vec::new();
        let mut rejected = 0;
        let (clients, max) = (self.server.clients.len(), self.server.max_clients());
        let end = self.listeners.accept_batch(budget, |outcome| match outcome {
            AcceptOutcome::Ok(accepted) => new_clients.push(accepted),
            AcceptOutcome::NoDescriptor(accepted) => {
                rejected += 1;
                // The number of clients that have a descriptor, including the clients of this batch.
                reject(&accepted.socket, &busy((clients + new_clients.len()).min(max)));
            }
        });
        self.server.counters.busy_descriptors += rejected;
        for accepted in new_clients {
            if self.server.is_full() { self.deferred.push(accepted) } else { self.register_client(accepted) }
        }
        self.listeners.pending = end != AcceptEnd::WouldBlock;
        if let AcceptEnd::Failed(errno) = end {
            if self.server.counters.accept_failures == 0 {
                log::warn!("cannot accept: {errno}; further failures are counted and not logged");
            }
            self.server.counters.accept_failures += 1;
            self.accept_retry_at = Some(self.server.now() + ACCEPT_RETRY);
        }
    }

    fn register_client(&mut self, accepted: Accepted) {
        let Accepted { socket, listener } = accepted;
        let fd = socket.as_raw_fd();
        let id = self.server.add_client(socket, listener);
        if let Err(error) = self.poll.registry().register(&mut SourceFd(&fd), token_of(id), READING) {
            // No event would ever announce this client, so it is rejected at once.
            let clients = self.server.clients.iter();
            let served = clients.filter(|(_, client)| !matches!(client.phase(), Phase::Closed)).count() - 1;
            if let Some(client) = self.server.clients.look(id) {
                reject(client.transport(), &busy(served));
            }
            self.server.fail(id, &error);
        }
    }

    /// Rejects a connection: there is no slot for it.
    pub(super) fn reject_full(&mut self, accepted: Accepted) {
        self.server.counters.busy_clients += 1;
        reject(&accepted.socket, &busy(self.server.max_clients()));
    }
}

fn busy(max: usize) -> Vec<u8> {
    let mut reply = Vec::new();
    Reply::Refused(&Refusal::Busy { max }).encode(Eol::Lf, &mut reply);
    reply
}

/// Tells a client why it is rejected, without waiting for it.
fn reject(socket: &Socket, reply: &[u8]) {
    // Bytes that the socket does not take at once are lost. The server does not wait for room in the socket,
    // and the client sees the close in any case.
    let _ = socket.send(reply);
    let _ = socket.shutdown(Shutdown::Write);
    let mut unread = [MaybeUninit::uninit(); 1024];
    let _ = socket.recv(&mut unread);
}
