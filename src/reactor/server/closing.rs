//! The end of a connection, and of the server.

use std::io;
use std::time::Duration;

use super::super::Stopping;
use super::super::phase::Phase;
use super::super::transport::Transport;
use super::Server;
use super::inflight::Delivery;
use crate::protocol::Refusal;
use crate::workers::{ConnectionId, Job, JobState, Owner, refuse_and_end};

/// How long a stop may take.
pub(crate) const DRAIN: Duration = Duration::from_secs(5);

/// Shortest time between two log lines about clients with another protocol.
const FOREIGN_WARN_INTERVAL: Duration = Duration::from_secs(60);

impl<T: Transport> Server<T> {
    /// Closes a connection after its client has received the last answer. The locks of the client end now,
    /// its messages in hand are given back, and it gets no more events.
    pub(super) fn close_gracefully(&mut self, id: ConnectionId) {
        let Some(mut client) = self.clients.get(id) else { return };
        let held = client.extras.as_mut().map(|extras| {
            extras.leases.clear();
            (extras.locks.take(), extras.receipts.take())
        });
        // The bytes that are discarded are read as they arrive.
        if client.awaits_data() {
            client.load_data();
        }
        let lingers = client.linger(self.now);
        drop(client);
        let (locks, receipts) = held.unwrap_or_default();
        self.end_held(id, locks, receipts);
        if lingers { self.discard(id) } else { self.close(id) }
    }

    /// Discards the bytes that a client still sends while its connection is closed gracefully.
    pub(super) fn discard(&mut self, id: ConnectionId) {
        let Some(mut client) = self.clients.get(id) else { return };
        if !client.discard(&mut self.scratch, self.now) {
            drop(client);
            self.close(id);
        }
    }

    /// Closes a connection whose socket has failed.
    pub(crate) fn fail(&mut self, id: ConnectionId, error: &io::Error) {
        log::debug!("connection {}: {error}", id.slot);
        self.counters.closed_by_error += 1;
        self.close(id);
    }

    /// Closes a connection at once. Cancels the wait of its request, so the requests behind this request can
    /// be admitted. Ends its locks and watches, and gives back its messages in hand.
    pub(super) fn close(&mut self, id: ConnectionId) {
        if let Some(&Phase::Waiting { mailbox, ticket, .. }) =
            self.clients.look(id).map(|client| client.phase())
        {
            self.cancel_wait(mailbox, ticket);
        }
        let Some(mut client) = self.clients.get(id) else { return };
        self.pools.record_dropped(client.memory());
        let extras = client.extras.take();
        drop(client);
        if let Some(Phase::Flushing(job)) = self.clients.close(id) {
            self.abandon(job);
        }
        self.end_all(id, extras);
    }

    // ---- the server ----

    /// Whether the server has answered everything, or must stop at once.
    pub(crate) fn has_stopped(&self) -> bool {
        match self.stopping {
            Stopping::No | Stopping::EndingWaits | Stopping::HandingOver => false,
            Stopping::Draining(_) => self.clients.len() == 0 && self.packets.is_empty(),
            Stopping::HandedOver(_) => self.clients.len() == 0,
            Stopping::Now => true,
        }
    }

    pub(crate) fn is_stopping(&self) -> bool {
        matches!(self.stopping, Stopping::Draining(_) | Stopping::HandedOver(_) | Stopping::Now)
    }

    /// Lets the server stop without a further answer.
    pub(crate) fn stop_at_once(&mut self) {
        self.stopping = Stopping::Now;
    }

    /// Begins to stop. Every connection is read once more, and closed gracefully when it has no more
    /// requests.
    pub(crate) fn drain(&mut self) {
        self.stopping = Stopping::Draining(self.now + DRAIN);
        self.drain_later();
    }

    /// Schedules a client to be read once more. Ends the wait of its request if the request waits for a
    /// condition of a mailbox, because a draining server does not wait for further requests that could meet
    /// the condition. If a new server takes over, every wait ends, and the client is read later.
    pub(super) fn drain_client(&mut self, id: ConnectionId) {
        if self.stopping == Stopping::EndingWaits {
            return self.end_wait_for_drain(id);
        }
        if let Some(mut client) = self.clients.get(id) {
            client.readable = true;
            client.schedule();
        }
        if self.waits_for_condition(id) {
            self.end_wait_for_drain(id);
        }
    }

    /// Answers a waiting request `ERR drain`, after the unwritten answers of its client. The locks of the
    /// client end at once.
    pub(super) fn end_wait_for_drain(&mut self, id: ConnectionId) {
        // A request that was admitted a moment ago is answered instead.
        let Some(mut job) = self.cancel_current(id) else { return };
        refuse_and_end(&mut job, Refusal::Drain);
        if let Some(mut client) = self.clients.get(id)
            && let Some(extras) = &mut client.extras
        {
            extras.leases.clear();
        }
        self.end_held(id, job.locks.take(), job.receipts.take());
        self.drive(id, job);
    }

    /// Ends the drain: answers the remaining waiting requests `ERR drain`. All other state ends with the
    /// process.
    pub(super) fn end_drain(&mut self) {
        for id in self.clients.ids() {
            self.end_wait_for_drain(id);
        }
        self.stopping = Stopping::Now;
    }

    /// Ends the pool's threads.
    pub(crate) fn stop(self) {
        log::info!("stopped; {} requests were answered", self.counters.requests.total());
        self.pool.stop();
    }

    /// Ends the job of a client whose connection is closed: requeues a taken message, releases grants and
    /// locks, and gives back the messages in hand.
    pub(super) fn abandon(&mut self, mut job: Box<Job>) {
        self.resolve(&mut job, Delivery::Failed);
        let mailbox =
            job.acquire().map(|acquire| acquire.mailbox).or_else(|| super::locking::next_wanted(&job));
        let state = job.take_state();
        let grant = match state {
            JobState::Granted(grant) | JobState::Blocked(grant, _) => Some(grant),
            JobState::Exhausted(grant, _) => grant,
            JobState::Ready | JobState::Waiting(_) | JobState::InFlight(_) => None,
        };
        if let (Some(grant), Some(mailbox)) = (grant, mailbox) {
            self.release(mailbox, grant);
        }
        if let Owner::Client(id) = job.owner {
            self.end_held(id, job.locks.take(), job.receipts.take());
        }
        self.counters.requests.merge(&mut job.tally);
        self.pools.return_job(job);
    }

    /// Logs that a client has used another protocol. The reason may be a wrong port or a port scan. The
    /// interval between two warnings is at least [`FOREIGN_WARN_INTERVAL`].
    pub(super) fn warn_foreign(&mut self) {
        let is_due = self.foreign_warned_at.is_none_or(|at| at + FOREIGN_WARN_INTERVAL <= self.now);
        if is_due {
            self.foreign_warned_at = Some(self.now);
            log::warn!("a client spoke another protocol and was closed; logged at most once a minute");
        }
    }
}
