//! The end: of a connection, and of the server.

use std::io;
use std::time::Duration;

use super::Stopping;
use super::phase::Phase;
use super::server::Server;
use super::transport::Transport;
use crate::protocol::Refusal;
use crate::workers::{ConnectionId, refuse_and_end};

/// How long stopping may take.
pub const DRAIN: Duration = Duration::from_secs(5);

impl<W: Transport> Server<W> {
    /// Ends a connection when its client has read the last answer. Nobody waits for what it holds meanwhile.
    pub(super) fn close_gracefully(&mut self, id: ConnectionId) {
        self.forget_watches(id);
        let Some(connection) = self.connections.find(id) else { return };
        let held = connection.extras.take().and_then(|session| session.locks);
        self.end_locks(id, held);
        let Some(connection) = self.connections.find(id) else { return };
        if connection.linger(self.now) { self.discard(id) } else { self.close(id) }
    }

    pub(super) fn discard(&mut self, id: ConnectionId) {
        let Some(connection) = self.connections.find(id) else { return };
        if connection.discard(&mut self.scratch, self.now) { self.rearm(id) } else { self.close(id) }
    }

    pub(super) fn fail(&mut self, id: ConnectionId, error: &io::Error) {
        log::debug!("connection {}: {error}", id.slot);
        self.counters.closed_by_error += 1;
        self.close(id);
    }

    /// The end. A place in a queue is given up, so that whoever stands behind it moves on; so are locks and watches.
    pub(super) fn close(&mut self, id: ConnectionId) {
        let Some(connection) = self.connections.find(id) else { return };
        if let &Phase::Waiting { mailbox, ticket, .. } = connection.phase() {
            self.cancel_wait(mailbox, ticket);
        }
        self.forget_watches(id);
        let Some(connection) = self.connections.find(id) else { return };
        self.deadlines.disarm(id);
        self.pools.record_dropped(connection.memory());
        self.closed.push(id);
        let held = connection.extras.take().and_then(|session| session.locks);
        if let Phase::Flushing(job) = connection.transition(Phase::Closed) {
            self.abandon(job);
        }
        self.end_locks(id, held);
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
                self.schedule(id);
            }
            if self.waits_for_condition(id) {
                self.end_wait_for_drain(id);
            }
        }
    }

    /// Whether a connection waits for something that nobody may bring any more.
    pub(super) fn waits_for_condition(&self, id: ConnectionId) -> bool {
        let Some(Phase::Waiting { mailbox, ticket, .. }) =
            self.connections.look(id).map(|found| found.phase())
        else {
            return false;
        };
        self.mailboxes.queue(*mailbox).with_waiter(*ticket, |job| job.blocked_on.is_some()).unwrap_or(false)
    }

    /// Tells who waits that the server stops, behind the answers that it has not taken yet. Its locks end at once.
    pub(super) fn end_wait_for_drain(&mut self, id: ConnectionId) {
        // Whoever has just been let in is answered instead.
        let Some(mut job) = self.cancel_current(id) else { return };
        refuse_and_end(&mut job, Refusal::Drain);
        if let Some(session) = self.connections.find(id).and_then(|found| found.extras.as_mut()) {
            session.leases.clear();
        }
        self.end_locks(id, job.locks.take());
        self.deliver(job);
    }

    /// The time is over: who still waits is told so.
    pub(super) fn end_drain(&mut self) {
        for id in self.connections.ids() {
            self.end_wait_for_drain(id);
            self.close(id);
        }
        self.remove_closed();
    }
}
