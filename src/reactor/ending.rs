//! The end: of a connection, and of the server.

use std::io;
use std::time::Duration;

use super::Stopping;
use super::connection::{Connection, Phase};
use super::server::Server;
use super::wire::Wire;
use crate::protocol::Refusal;
use crate::workers::{ConnectionId, refuse};

/// How long stopping may take.
pub const DRAIN: Duration = Duration::from_secs(5);

impl<W: Wire> Server<W> {
    pub(super) fn say_goodbye(&mut self, id: ConnectionId) {
        let Some(connection) = self.connections.find(id) else { return };
        if connection.linger(self.now) { self.discard(id) } else { self.close(id) }
    }

    pub(super) fn discard(&mut self, id: ConnectionId) {
        let Some(connection) = self.connections.find(id) else { return };
        if connection.discard(&mut self.scratch, self.now) { self.settle(id) } else { self.close(id) }
    }

    pub(super) fn fail(&mut self, id: ConnectionId, error: &io::Error) {
        log::debug!("connection {}: {error}", id.slot);
        self.counters.closed_by_error += 1;
        self.close(id);
    }

    /// The end. A place in a queue is given up, so that whoever stands behind it moves on.
    pub(super) fn close(&mut self, id: ConnectionId) {
        if let Some(Connection { phase: Phase::Queued { mailbox, ticket, .. }, .. }) =
            self.connections.find(id)
        {
            let (mailbox, ticket) = (*mailbox, *ticket);
            self.give_up(mailbox, ticket);
        }
        if let Some(connection) = self.connections.find(id) {
            self.deadlines.disarm(id);
            self.supplies.note_dropped(connection.memory());
            connection.phase = Phase::Closed;
            self.closed.push(id);
        }
    }

    /// Removes who has closed; whether that was anybody.
    pub(super) fn remove_closed(&mut self) -> bool {
        let any = !self.closed.is_empty();
        self.closed.drain(..).for_each(|id| self.connections.remove(id));
        any
    }

    /// Begins to stop: everybody has a last turn, and is told goodbye when nothing of theirs is left to do.
    pub(super) fn drain(&mut self) {
        self.stopping = Stopping::Draining(self.now + DRAIN);
        for id in self.connections.ids() {
            if let Some(connection) = self.connections.find(id) {
                connection.readable = true;
                self.stand_in_line(id);
            }
        }
    }

    /// The time is over: who still waits is told so.
    pub(super) fn end_drain(&mut self) {
        for id in self.connections.ids() {
            if let Some(mut job) = self.leave_queue(id) {
                refuse(&mut job, &Refusal::Drain);
                if let Some(connection) = self.connections.find(id)
                    && !connection.has_output()
                {
                    let _ = connection.send(&mut job.output, self.now);
                }
            }
            self.close(id);
        }
        self.remove_closed();
    }
}
