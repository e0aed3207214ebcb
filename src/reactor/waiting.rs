//! What the passing of time does: to requests that wait for a mailbox, and to clients that let the server wait.

use std::time::{Duration, Instant};

use super::Stopping;
use super::connection::Phase;
use super::server::Server;
use super::wire::Wire;
use crate::mailboxes::Ticket;
use crate::workers::{ConnectionId, Job, time_out, with_grant};

/// How long a request still waits after its client has closed the writing half. A client that left altogether looks
/// the same, and shall not keep its place for the full wait.
pub const HALF_CLOSED_WAIT: Duration = Duration::from_secs(1);

impl<W: Wire> Server<W> {
    pub(super) fn expire_deadlines(&mut self) {
        while let Some(id) = self.deadlines.expire(self.now) {
            let Some(connection) = self.connections.find(id) else { continue };
            match connection.deadline(self.settings.quiet, &self.limits) {
                Some(at) if at <= self.now => self.expire(id),
                _ => self.settle(id),
            }
        }
        if let Stopping::Draining(until) = self.stopping
            && until <= self.now
        {
            self.end_drain();
        }
    }

    pub(super) fn expire(&mut self, id: ConnectionId) {
        let Some(connection) = self.connections.find(id) else { return };
        if connection.is_stuck(self.now) {
            self.counters.closed_slow_readers += 1;
            return self.close(id);
        }
        match connection.phase {
            Phase::Idle if connection.awaits_quiet(self.settings.quiet) => {
                match connection.quiet(id, &self.limits, &mut self.supplies) {
                    Some(job) => {
                        self.counters.completed_by_silence += 1;
                        self.advance(job);
                    }
                    None => self.settle(id),
                }
            }
            Phase::Idle => {
                self.counters.closed_slow_bodies += 1;
                self.close(id);
            }
            Phase::Queued { .. } => {
                if let Some(mut job) = self.leave_queue(id) {
                    time_out(&mut job, &self.mailboxes);
                    self.advance(job);
                }
            }
            Phase::Lingering { .. } => match connection.has_lingered(self.now) {
                true => self.close(id),
                false => self.settle(id),
            },
            Phase::Flushing(_) | Phase::Working | Phase::Closed => {}
        }
    }

    /// Gives up the place of a connection's request. `None` when it has just been admitted: its answer is on the way.
    pub(super) fn leave_queue(&mut self, id: ConnectionId) -> Option<Box<Job>> {
        let connection = self.connections.find(id)?;
        let Phase::Queued { mailbox, ticket, .. } = connection.phase else { return None };
        connection.phase = Phase::Working;
        self.cancel(mailbox, ticket)
    }

    /// Takes a job out of a queue, and submits whoever that lets in.
    pub(super) fn cancel(&mut self, mailbox: u32, ticket: Ticket) -> Option<Box<Job>> {
        let mut admitted = Vec::new();
        let job = self.mailboxes.queue(mailbox).cancel(ticket, &mut admitted);
        admitted.into_iter().for_each(|granted| self.submit(with_grant(granted)));
        job
    }

    pub(super) fn give_up(&mut self, mailbox: u32, ticket: Ticket) {
        if let Some(job) = self.cancel(mailbox, ticket) {
            self.counters.abandoned += 1;
            self.supplies.return_job(job);
        }
    }

    /// Registers what the state of a connection asks for: its interest and its deadline.
    pub(super) fn settle(&mut self, id: ConnectionId) {
        let Some(connection) = self.connections.find(id) else { return };
        if !connection.is_registered() {
            self.unregistered.push(id);
        }
        if let Some(at) = connection.deadline(self.settings.quiet, &self.limits) {
            self.deadlines.arm(id, at);
        }
    }
}

/// When a request gives up whose client has closed its writing half.
pub(super) fn half_closed(until: Option<Instant>, now: Instant) -> Instant {
    let soon = now + HALF_CLOSED_WAIT;
    until.map_or(soon, |until| until.min(soon))
}
