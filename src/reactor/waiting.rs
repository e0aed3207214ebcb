//! What the passing of time does: to requests that wait for a mailbox, and to clients that let the server wait.

use std::time::{Duration, Instant};

use super::Stopping;
use super::phase::Phase;
use super::server::Server;
use super::transport::Transport;
use super::watches::NOBODY;
use crate::mailboxes::Ticket;
use crate::planted::{Bug, is_planted};
use crate::workers::{ConnectionId, Job, Waiting, time_out, with_grant};

/// How long a request still waits after its client has closed the writing half. A client that left altogether looks
/// the same, and shall not keep its place for the full wait.
pub const HALF_CLOSED_WAIT: Duration = Duration::from_secs(1);

impl<W: Transport> Server<W> {
    pub(super) fn expire_deadlines(&mut self) {
        while let Some(id) = self.deadlines.expire(self.now) {
            let Some(connection) = self.connections.find(id) else { continue };
            match connection.deadline(self.settings.quiet, &self.limits) {
                Some(at) if at <= self.now => self.expire(id),
                _ => self.rearm(id),
            }
        }
        if let Stopping::Draining(until) = self.stopping
            && until <= self.now
        {
            self.end_drain();
        }
    }

    fn expire(&mut self, id: ConnectionId) {
        let now = self.now;
        let Some(connection) = self.connections.find(id) else { return };
        if connection.check_write_stall(now) {
            self.counters.closed_slow_readers += 1;
            return self.close(id);
        }
        if connection.lease_end().is_some_and(|end| end <= now) {
            return self.expire_leases(id);
        }
        match connection.phase() {
            Phase::Flushing(_) => {
                self.ack_or_requeue(id);
                self.rearm(id);
            }
            Phase::Idle if connection.has_output() => self.rearm(id),
            Phase::Idle if connection.awaits_silence(self.settings.quiet) => {
                match connection.complete_on_silence(id, &self.limits, &mut self.pools) {
                    Some(job) => {
                        self.counters.completed_by_silence += 1;
                        self.begin(job);
                    }
                    None => self.rearm(id),
                }
            }
            Phase::Idle => {
                self.counters.closed_slow_bodies += 1;
                self.close(id);
            }
            Phase::Waiting { until, .. } if until.is_some_and(|until| until <= now) => {
                if let Some(job) = self.cancel_current(id) {
                    self.on_wait_timeout(job);
                }
            }
            Phase::Lingering { .. } => match connection.linger_done(now) {
                true => self.close(id),
                false => self.rearm(id),
            },
            Phase::Waiting { .. } => self.rearm(id),
            Phase::Working | Phase::Closed => {}
        }
    }

    /// The client was silent for too long, or has held a lock for too long.
    fn expire_leases(&mut self, id: ConnectionId) {
        self.ack_or_requeue(id);
        // A request that waits under the lease waits no longer than it.
        if let Some(mut job) = self.cancel_current(id) {
            time_out(&mut job, &self.mailboxes);
            self.expire_locks(id, &mut job.locks, &mut job.output);
            return self.advance(job);
        }
        let Some(connection) = self.connections.find(id) else { return };
        let mut news = Vec::new();
        let mut held = match connection.phase_mut() {
            // It has just been let in: this is looked at when it comes home.
            Phase::Working => return,
            Phase::Flushing(job) => job.locks.take(),
            _ => connection.extras(self.now).locks.take(),
        };
        self.expire_locks(id, &mut held, &mut news);
        let Some(connection) = self.connections.find(id) else { return self.end_locks(id, held) };
        match connection.phase_mut() {
            Phase::Flushing(job) => {
                job.locks = held;
                job.output.extend_from_slice(&news);
                self.rearm(id);
            }
            _ => {
                connection.extras(self.now).locks = held;
                self.push_event(id, news);
            }
        }
    }

    fn on_wait_timeout(&mut self, mut job: Box<Job>) {
        time_out(&mut job, &self.mailboxes);
        self.record_wait(&mut job);
        self.advance(job);
    }

    /// Gives up the place of a connection's request, and what it has taken of several. `None` when it has just been
    /// admitted: its answer is on the way.
    pub(super) fn cancel_current(&mut self, id: ConnectionId) -> Option<Box<Job>> {
        let connection = self.connections.find(id)?;
        let &Phase::Waiting { mailbox, ticket, .. } = connection.phase() else { return None };
        connection.transition(Phase::Working);
        let mut job = self.cancel(mailbox, ticket)?;
        self.release_partial(&mut job);
        Some(job)
    }

    /// Takes a job out of a queue, and submits whoever that lets in.
    fn cancel(&mut self, mailbox: u32, ticket: Ticket) -> Option<Box<Job>> {
        let mut admitted = Vec::new();
        let job = self.mailboxes.queue(mailbox).cancel(ticket, &mut admitted);
        if is_planted(Bug::CancelRunsNobody) {
            std::mem::forget(std::mem::take(&mut admitted));
        }
        admitted.into_iter().for_each(|granted| self.submit(with_grant(granted)));
        job
    }

    /// Gives up a place whose client is no more.
    pub(super) fn cancel_wait(&mut self, mailbox: u32, ticket: Ticket) {
        if let Some(job) = self.cancel(mailbox, ticket) {
            // A standing read has no client that could leave.
            self.counters.abandoned += u64::from(job.connection.slot != NOBODY);
            self.abandon(job);
        }
    }

    /// Notes how long a request has waited to be admitted that waits no more. One that took a message may have to do so
    /// again, and has not waited anew then.
    pub(super) fn record_wait(&mut self, job: &mut Job) {
        let done = job.answered - usize::from(job.in_flight.is_some());
        if let Some(Waiting { mailbox, since, .. }) =
            job.waiting.take_if(|waiting| waiting.request < done && !waiting.aside)
        {
            let longest = self.longest_waits.entry(mailbox).or_default();
            *longest = self.now.saturating_duration_since(since).max(*longest);
        }
    }

    /// Registers what the state of a connection asks for: its interest and its deadline.
    pub(super) fn rearm(&mut self, id: ConnectionId) {
        let Some(connection) = self.connections.find(id) else { return };
        if !connection.is_registered() {
            self.to_reregister.push(id);
        }
        if let Some(at) = connection.deadline(self.settings.quiet, &self.limits) {
            self.deadlines.arm(id, at);
        }
    }
}

/// When a request gives up whose client has closed its writing half: at once, when others wait for what that client holds,
/// or when a message could be taken for somebody who is gone.
pub(super) fn half_closed(until: Option<Instant>, now: Instant, at_once: bool) -> Instant {
    let soon = if at_once { now } else { now + HALF_CLOSED_WAIT };
    until.map_or(soon, |until| until.min(soon))
}
