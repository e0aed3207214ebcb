//! The end of all connections for a new server, and the way back.
//!
//! A server that hands over ends every wait with `ERR drain`, reads each client once more, and answers these
//! requests. It closes the connections of clients that watch or hold. The other connections are closed when
//! the new server has taken over, which therefore serves earlier. If the handover is cancelled, they
//! continue.
//!
//! **The law**: when [`Server::is_quiet`] is true, no job exists and no request is received. So the segment
//! does not change until [`Server::cancel_handover`].

use std::time::Duration;

use super::super::Stopping;
use super::super::connection::Connection;
use super::super::extras::Extras;
use super::super::transport::Transport;
use super::Server;
use crate::protocol::{Eol, Refusal, Reply};
use crate::workers::ConnectionId;

/// How long the last answers of a server that has handed over may be on their way.
const LAST_ANSWERS: Duration = Duration::from_secs(1);

impl<T: Transport> Server<T> {
    /// Begins to end all connections. First all waits end: a lock that ends with its connection must not be
    /// handed to a request whose wait ends, too.
    pub(in crate::reactor) fn begin_handover(&mut self) {
        self.stopping = Stopping::EndingWaits;
        self.drain_waiting_later();
    }

    /// Lets every client be read once more. Those that watch or hold are first, because they are told before
    /// time is up.
    pub(super) fn end_connections(&mut self) {
        self.stopping = Stopping::HandingOver;
        let holds = |client: &Connection<T>| client.extras.as_deref().and_then(held_eol).is_some();
        let open = self.clients.iter().filter(|(_, client)| !client.is_closing());
        let mut clients: Vec<_> = open.map(|(id, client)| (!holds(client), id)).collect();
        clients.sort_by_key(|(is_last, _)| *is_last);
        clients.into_iter().for_each(|(_, id)| self.read_again(id));
    }

    fn read_again(&mut self, id: ConnectionId) {
        if let Some(mut client) = self.clients.get(id) {
            client.is_drained = false;
            client.readable = true;
            client.schedule();
        }
    }

    /// Closes the connections that are not at their end, whatever they do. Requests that wait are answered.
    pub(in crate::reactor) fn cut_connections(&mut self) {
        for id in self.clients.ids() {
            self.end_wait_for_drain(id);
            if self.clients.look(id).is_some_and(|client| !is_at_its_end(client)) {
                self.close(id);
            }
        }
    }

    /// Whether every connection is at its end, and no job is left. A worker may still execute the job of a
    /// connection that was cut.
    pub(in crate::reactor) fn is_quiet(&self) -> bool {
        self.pools.outstanding() == 0
            && self.backlog.is_empty()
            && self.packets.is_empty()
            && !self.watches.has_fanouts()
            && self.clients.iter().all(|(_, client)| is_at_its_end(client))
    }

    /// Serves again: the new server has not taken over.
    pub(in crate::reactor) fn cancel_handover(&mut self) {
        self.stopping = Stopping::No;
        self.cancel_drain();
        // Requests that have arrived meanwhile cause no second event.
        self.clients.ids().into_iter().for_each(|id| self.read_again(id));
    }

    /// Closes all connections, because a new server has taken over. The server ends when its clients have
    /// received their last answers.
    pub(in crate::reactor) fn end_handover(&mut self) {
        self.stopping = Stopping::HandedOver(self.now + LAST_ANSWERS);
        self.clients.ids().into_iter().for_each(|id| self.read_again(id));
    }

    /// Ends a connection whose batch is answered, unless more requests of it are buffered. Its socket is not
    /// read again: a client that sends a request for each answer would never be idle.
    pub(super) fn end_unless_buffered(&mut self, id: ConnectionId) {
        if self.clients.look(id).is_some_and(|client| !client.has_buffered_requests()) {
            self.end_idle(id);
        }
    }

    /// Ends a connection without a request. A client that watches, or that holds a lock or a message, is
    /// answered `ERR drain` and closed: no other client may get its lock before it learns of the end. Another
    /// client is not read again.
    pub(super) fn end_idle(&mut self, id: ConnectionId) {
        let Some(mut client) = self.clients.get(id) else { return };
        let Some(eol) = client.extras.as_deref().and_then(held_eol) else {
            return client.is_drained = true;
        };
        let held = client.extras.as_mut().map(|extras| {
            extras.leases.clear();
            (extras.locks.take(), extras.receipts.take())
        });
        drop(client);
        let (locks, receipts) = held.unwrap_or_default();
        self.end_held(id, locks, receipts);
        self.end_all_watches(id);
        let mut reply = Vec::new();
        Reply::Refused(&Refusal::Drain).encode(eol, &mut reply);
        self.push_event(id, reply);
        // If the socket has not taken the reply, the connection ends when it has.
        if self.clients.look(id).is_some_and(|client| !client.has_output()) {
            self.close_gracefully(id);
        }
    }
}

/// Whether the client is not read any more.
fn is_at_its_end<T: Transport>(client: &Connection<T>) -> bool {
    client.is_closing() || client.is_drained
}

/// The end of line of a client that watches, or that holds a lock or a message.
fn held_eol(extras: &Extras) -> Option<Eol> {
    let lock = extras.leases.iter().next().map(|lease| lease.eol);
    let receipt = || extras.receipts.as_ref().and_then(|receipts| receipts.eol());
    lock.or_else(|| extras.watches.eol()).or_else(receipt)
}
