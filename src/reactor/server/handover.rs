//! The end of all connections for a new server, and the way back.
//!
//! A server that hands over answers the requests that it has received, ends every wait with `ERR drain`, and
//! closes its connections. **The law**: when [`Server::is_quiet`] is true, no job exists and no client can
//! send a request. So the segment does not change until [`Server::cancel_handover`].

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

    /// Lets every connection be read once more. It is closed when the requests that have arrived are answered.
    /// Clients that watch or hold are first, because they are told before time is up.
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
            client.readable = true;
            client.schedule();
        }
    }

    /// Ends the connections that are not closing yet, whatever they do. Requests that wait are answered.
    pub(in crate::reactor) fn cut_connections(&mut self) {
        for id in self.clients.ids() {
            self.end_wait_for_drain(id);
            if self.clients.look(id).is_some_and(|client| !client.is_closing()) {
                self.close(id);
            }
        }
    }

    /// Whether every connection is closing, and no job is left. A worker may still execute the job of a
    /// connection that was cut.
    pub(in crate::reactor) fn is_quiet(&self) -> bool {
        self.pools.outstanding() == 0
            && self.backlog.is_empty()
            && self.packets.is_empty()
            && !self.watches.has_fanouts()
            && self.clients.iter().all(|(_, client)| client.is_closing())
    }

    /// Serves again: the new server has not taken over.
    pub(in crate::reactor) fn cancel_handover(&mut self) {
        self.stopping = Stopping::No;
        self.cancel_drain();
        // Requests that have arrived while waits were ended cause no second event.
        self.clients.ids().into_iter().for_each(|id| self.read_again(id));
    }

    /// Ends this server, which has handed over, when its clients have received their last answers.
    pub(in crate::reactor) fn end_handover(&mut self) {
        self.stopping = Stopping::Draining(self.now + LAST_ANSWERS);
    }

    /// Ends a connection whose batch is answered, unless more requests of it are buffered. Its socket is not
    /// read again: a client that sends a request for each answer would never be idle.
    pub(super) fn end_unless_buffered(&mut self, id: ConnectionId) {
        if self.clients.look(id).is_some_and(|client| !client.has_buffered_requests()) {
            self.announce_and_close(id);
        }
    }

    /// Closes a connection without a request. A client that watches, or that holds a lock or a message, is
    /// answered `ERR drain` first, so it learns at once that its watches and locks have ended.
    pub(super) fn announce_and_close(&mut self, id: ConnectionId) {
        let Some(mut client) = self.clients.get(id) else { return };
        let Some(eol) = client.extras.as_deref().and_then(held_eol) else {
            drop(client);
            return self.close_gracefully(id);
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
        // If the socket has not taken the reply, the connection is closed when it has.
        if self.clients.look(id).is_some_and(|client| !client.has_output()) {
            self.close_gracefully(id);
        }
    }
}

/// The end of line of a client that watches, or that holds a lock or a message.
fn held_eol(extras: &Extras) -> Option<Eol> {
    let lock = extras.leases.iter().next().map(|lease| lease.eol);
    let receipt = || extras.receipts.as_ref().and_then(|receipts| receipts.eol());
    lock.or_else(|| extras.watches.eol()).or_else(receipt)
}
