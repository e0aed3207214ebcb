//! Taken messages whose answers are not written yet.
//!
//! **The law**: a message counts as received when its answer is written. If
//! [`ACK_TIMEOUT`](super::super::connection::ACK_TIMEOUT) passes first, the message counts as received if all
//! earlier answers are written. Until the message is received or requeued, no other request is admitted to
//! the mailbox. Only [`Server::resolve`] acknowledges and requeues messages.

use super::super::phase::Phase;
use super::super::transport::Transport;
use super::Server;
use crate::mailboxes::InHand;
use crate::workers::{ConnectionId, InFlight, Job, JobState, Outcome, WaitReason, time_out};

/// The result of sending an answer with a taken message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Delivery {
    /// The message counts as received.
    Received,
    /// The answer cannot be written. The request is as if it had not begun.
    Failed,
    /// The client may have disconnected during the wait. The request counts as timed out.
    TimedOut,
}

impl<T: Transport> Server<T> {
    /// Acknowledges the message that a job has in flight, or requeues it in its mailbox.
    pub(super) fn resolve(&mut self, job: &mut Job, delivery: Delivery) {
        let in_flight = match job.take_state() {
            JobState::InFlight(in_flight) => in_flight,
            other => return job.state = other,
        };
        match delivery {
            Delivery::Received => {
                if let Some(grant) = in_flight.grant {
                    self.release(in_flight.mailbox, grant);
                }
                job.tally.count(Outcome::Taken);
                self.record_wait(job);
            }
            Delivery::Failed => self.requeue(job, in_flight),
            Delivery::TimedOut => {
                self.requeue(job, in_flight);
                time_out(job, &self.mailboxes, WaitReason::Queue);
            }
        }
    }

    fn requeue(&mut self, job: &mut Job, in_flight: InFlight) {
        let InFlight { mailbox, taken, tries, grant, answer_offset, .. } = in_flight;
        job.output.truncate(answer_offset);
        job.next -= 1;
        self.counters.requeued += 1;
        self.mailboxes.queue(mailbox).with_in_hand(|in_hand| InHand::restore(in_hand, &taken.located, tries));
        // In a damaged mailbox the message is lost in any case.
        match grant {
            Some(mut grant) => {
                let _ = self.mailboxes.write(mailbox, &mut grant).requeue(taken);
                self.release(mailbox, grant);
            }
            None => {
                let own = job.locks.as_mut().and_then(|locks| locks.grant(mailbox));
                let grant = own.expect("the message was taken under the client's own lock");
                let _ = self.mailboxes.write(mailbox, grant).requeue(taken);
            }
        }
    }

    /// Acknowledges or requeues the message in flight of a client, because `ACK_TIMEOUT` has passed or
    /// because a lease of the client ends. The message is requeued if earlier answers are unwritten, because
    /// then the client does not read. If they are written, the message is acknowledged.
    pub(super) fn ack_or_requeue(&mut self, id: ConnectionId) {
        let Some(mut client) = self.clients.get(id) else { return };
        let Phase::Flushing(job) = client.phase() else { return };
        let JobState::InFlight(InFlight { answer_offset, .. }) = job.state else { return };
        let delivery = match client.truncate_unsent(answer_offset) {
            true => Delivery::Failed,
            false => Delivery::Received,
        };
        let Some(mut job) = client.take_flushing() else { return };
        drop(client);
        self.resolve(&mut job, delivery);
        if let Some(mut client) = self.clients.get(id) {
            client.transition(Phase::Flushing(job));
        }
    }
}
