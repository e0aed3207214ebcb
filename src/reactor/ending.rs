//! The end: of a connection, and of the server.

use std::io;
use std::time::Duration;

use signal_hook::consts::SIGHUP;

use super::connection::{Connection, Phase};
use super::{Reactor, Stopping};
use crate::protocol::Refusal;
use crate::workers::{ConnectionId, refuse};

/// How long stopping may take.
pub const DRAIN: Duration = Duration::from_secs(5);

impl Reactor {
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

    pub(super) fn remove_closed(&mut self) {
        if self.closed.is_empty() {
            return;
        }
        for id in self.closed.drain(..) {
            self.connections.remove(id);
        }
        // A descriptor is free: whoever stands before the door is let in now, not at the next timer.
        self.accept_again = None;
    }

    pub(super) fn take_signals(&mut self) {
        let signals: Vec<_> = self.signals.pending().collect();
        for signal in signals {
            match signal {
                SIGHUP => (self.reopen_log)(),
                _ => {
                    log::info!("signal {signal}");
                    self.stop();
                }
            }
        }
    }

    /// Begins to stop, or at the second call stops.
    pub(super) fn stop(&mut self) {
        if self.stopping != Stopping::No {
            self.stopping = Stopping::Now;
            return;
        }
        self.stopping = Stopping::Draining(self.now + DRAIN);
        self.empty_backlog();
        self.doors.close();
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
