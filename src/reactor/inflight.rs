//! Messages between their mailbox and the client that takes them.
//!
//! The law: a message is the client's when its answer has been written. Until then nobody else is in the mailbox, and the
//! message can go back to where it was.

use super::phase::Phase;
use super::server::Server;
use super::transport::Transport;
use crate::planted::{Bug, is_planted};
use crate::workers::{ConnectionId, Job, Outcome, time_out};

impl<W: Transport> Server<W> {
    /// The answer has been written: the message is the client's.
    pub(super) fn ack(&mut self, job: &mut Job) {
        let Some(taking) = job.in_flight.take() else { return };
        if let Some(grant) = taking.grant {
            self.release(taking.mailbox, grant);
        }
        job.tally.count(Outcome::Taken);
        self.record_wait(job);
    }

    /// The same for a client that was given its time to take the answer. One that has not even taken the answers before
    /// it does not read: the message goes back.
    pub(super) fn ack_or_requeue(&mut self, id: ConnectionId) {
        let Some(connection) = self.connections.find(id) else { return };
        let Phase::Flushing(job) = connection.phase() else { return };
        let Some(answer) = job.in_flight.as_ref().map(|taking| taking.answer) else { return };
        let is_back = connection.truncate_unsent(if is_planted(Bug::TakenUnread) { 0 } else { answer });
        let Phase::Flushing(mut job) = connection.transition(Phase::Working) else { return };
        if is_back {
            self.requeue(&mut job);
        } else {
            self.ack(&mut job);
        }
        if let Some(connection) = self.connections.find(id) {
            connection.transition(Phase::Flushing(job));
        }
    }

    /// A client that has hung up while it waited may be gone, and its answer would be written to nobody.
    pub(super) fn requeue_and_time_out(&mut self, job: &mut Job) {
        self.requeue(job);
        time_out(job, &self.mailboxes);
    }

    /// The answer cannot be written: the message goes back to where it was, and the request is as if it had not begun.
    pub(super) fn requeue(&mut self, job: &mut Job) {
        let Some(taking) = job.in_flight.take() else { return };
        let mailbox = taking.mailbox;
        let is_own = taking.grant.is_none();
        let own = || job.locks.as_mut().expect("taken under a lock").borrow(mailbox);
        let mut grant = taking.grant.unwrap_or_else(own);
        // A mailbox that is damaged has lost the message anyhow.
        let _ = self.mailboxes.write(mailbox, &mut grant).requeue(taking.taken);
        job.output.truncate(taking.answer);
        job.answered -= 1;
        self.counters.requeued += 1;
        match &mut job.locks {
            Some(held) if is_own => held.put_back(mailbox, grant),
            _ => self.release(mailbox, grant),
        }
    }
}
