//! Requests that wait for a mailbox, and the deadlines of requests and clients.

use std::time::{Duration, Instant};

use super::super::Stopping;
use super::super::budget::MICROSECOND;
use super::super::phase::Phase;
use super::super::transport::Transport;
use super::Server;
use crate::mailboxes::{Released, Ticket};
use crate::memory::{self, Use};
use crate::protocol::Wait;
use crate::workers::{ConnectionId, Job, JobState, Owner, RecordedWait, WaitReason, WaitStarted, time_out};

/// How long a request still waits after its client has closed the writing half. A TCP client that has
/// disconnected completely looks the same, and its request must not keep its place in the queue for the full
/// wait.
pub(super) const HALF_CLOSED_WAIT: Duration = Duration::from_secs(1);

/// Cost of an expired deadline, with its answer.
const EXPIRE: usize = 4 * MICROSECOND;

impl<T: Transport> Server<T> {
    /// Sets the deadline of a job that has begun to wait, and writes the answers that it contains already.
    pub(super) fn on_wait_started(&mut self, started: WaitStarted) {
        let WaitStarted { owner, mailbox, ticket } = started;
        match owner {
            Owner::Client(id) => self.on_client_waits(id, mailbox, ticket),
            Owner::Packet(_) => {}
            Owner::Watch(_) => self.watches.set_ticket(mailbox, ticket),
        }
    }

    fn on_client_waits(&mut self, id: ConnectionId, mailbox: u32, ticket: Ticket) {
        let now = self.now;
        let Some(mut client) = self.clients.get(id) else {
            // The client disconnected before the reactor handled the start of the wait.
            return self.cancel_wait(mailbox, ticket);
        };
        let has_output = client.has_output();
        let begin_wait = |job: &mut Box<Job>| {
            let JobState::Waiting(reason) = job.state else { return None };
            let before = job.wait.filter(|before| before.request == job.next);
            let since = before.map_or(now, |before| before.since);
            job.wait = Some(RecordedWait { request: job.next, mailbox, since, reason });
            let output = if has_output { Vec::new() } else { std::mem::take(&mut job.output) };
            Some((output, since, reason, job.wait_limit(), job.needs_its_client()))
        };
        // If there is no waiter, the job was admitted meanwhile, and its completion follows.
        let waiter = self.mailboxes.queue(mailbox).with_waiter(ticket, begin_wait).flatten();
        let Some((mut output, since, reason, wait, needs_its_client)) = waiter else { return };
        let until = match wait {
            // With `wait=0`, no request before it waits for a lock, so the wait is short.
            Wait::Default | Wait::For(Duration::ZERO) => since.checked_add(self.settings.wait),
            Wait::For(wait) => since.checked_add(wait),
            Wait::Forever => None,
        };
        let until = [until, client.lease_end()].into_iter().flatten().min();
        let until = match client.hung_up {
            true => Some(half_closed(until, now, needs_its_client)),
            false => until,
        };
        client.transition(Phase::Waiting { mailbox, ticket, until });
        if !output.is_empty()
            && let Err(error) = client.send(&mut output, now)
        {
            drop(client);
            return self.fail(id, &error);
        }
        drop(client);
        if self.ends_wait(reason) {
            return self.end_wait_for_drain(id);
        }
        if !memory::has_room(0, Use::Lasting) {
            self.free_for_wait(id);
        }
    }

    /// Whether a request that begins to wait is answered `ERR drain` instead.
    fn ends_wait(&self, reason: WaitReason) -> bool {
        match self.stopping {
            Stopping::No => false,
            Stopping::EndingWaits | Stopping::HandingOver | Stopping::HandedOver(_) => true,
            Stopping::Draining(_) | Stopping::Now => reason != WaitReason::Queue,
        }
    }

    /// Shortens the wait of a client that has closed its writing half.
    pub(super) fn shorten_wait(&mut self, id: ConnectionId) {
        let Some(mut client) = self.clients.get(id) else { return };
        let &Phase::Waiting { mailbox, ticket, until } = client.phase() else { return };
        let at_once = self.mailboxes.queue(mailbox).with_waiter(ticket, |job| job.needs_its_client());
        let until = Some(half_closed(until, self.now, at_once == Some(true)));
        client.transition(Phase::Waiting { mailbox, ticket, until });
    }

    /// Whether the request of a client waits for a condition of a mailbox.
    pub(super) fn waits_for_condition(&self, id: ConnectionId) -> bool {
        let Some(&Phase::Waiting { mailbox, ticket, .. }) =
            self.clients.look(id).map(|client| client.phase())
        else {
            return false;
        };
        let is_condition =
            |job: &mut Box<Job>| matches!(job.state, JobState::Waiting(WaitReason::Condition(_)));
        self.mailboxes.queue(mailbox).with_waiter(ticket, is_condition).unwrap_or(false)
    }

    // ---- cancelling ----

    /// Takes a client's job out of its queue, and releases what its `lock` has acquired so far. Returns
    /// `None` if the job was admitted meanwhile. Its completion follows.
    pub(super) fn cancel_current(&mut self, id: ConnectionId) -> Option<Box<Job>> {
        let mut client = self.clients.get(id)?;
        let &Phase::Waiting { mailbox, ticket, .. } = client.phase() else { return None };
        client.transition(Phase::Working);
        drop(client);
        let mut job = self.cancel(mailbox, ticket)?;
        self.release_partial(id, &mut job);
        Some(job)
    }

    /// Takes the job of a disconnected client out of its queue, and ends the job.
    pub(super) fn cancel_wait(&mut self, mailbox: u32, ticket: Ticket) {
        if let Some(job) = self.cancel(mailbox, ticket) {
            self.counters.abandoned += 1;
            self.abandon(job);
        }
    }

    /// Takes a job out of a queue, and submits the jobs that this admits.
    pub(super) fn cancel(&mut self, mailbox: u32, ticket: Ticket) -> Option<Box<Job>> {
        let mut released = Released::default();
        let job = self.mailboxes.queue(mailbox).cancel(ticket, &mut released);
        self.submit_released(mailbox, released);
        job
    }

    /// Answers the current request of a job that was cancelled: its wait has timed out.
    fn time_out_cancelled(&mut self, job: &mut Job) {
        let reason = match job.state {
            JobState::Waiting(reason) => reason,
            _ => WaitReason::Queue,
        };
        time_out(job, &self.mailboxes, reason);
    }

    /// Records the admission wait of a finished request. A requeued `take` keeps its first wait.
    pub(super) fn record_wait(&mut self, job: &mut Job) {
        let done = job.next - usize::from(matches!(job.state, JobState::InFlight(_)));
        let is_over = |wait: &mut RecordedWait| wait.request < done && wait.reason == WaitReason::Queue;
        if let Some(RecordedWait { mailbox, since, .. }) = job.wait.take_if(is_over) {
            let longest = self.longest_waits.entry(mailbox).or_default();
            *longest = self.now.saturating_duration_since(since).max(*longest);
        }
    }

    // ---- deadlines ----

    pub(crate) fn expire_deadlines(&mut self) {
        while !self.budgets.sending.is_spent()
            && let Some(id) = self.clients.expire(self.now)
        {
            self.budgets.sending.charge(EXPIRE);
            self.expire(id);
        }
        self.resume_suspended_rounds();
        match self.stopping {
            Stopping::Draining(until) if until <= self.now => self.end_drain(),
            Stopping::HandedOver(until) if until <= self.now => self.stop_at_once(),
            _ => {}
        }
    }

    fn expire(&mut self, id: ConnectionId) {
        let now = self.now;
        let Some(mut client) = self.clients.get(id) else { return };
        if client.check_write_stall(now) {
            drop(client);
            self.counters.closed_slow_readers += 1;
            return self.close(id);
        }
        if client.lease_end().is_some_and(|end| end <= now) {
            drop(client);
            return self.expire_leases(id);
        }
        if client.hand_end().is_some_and(|end| end <= now) {
            drop(client);
            return self.expire_receipts(id);
        }
        match *client.phase() {
            Phase::Flushing(_) => {
                drop(client);
                self.ack_or_requeue(id);
            }
            Phase::Idle if client.has_output() => {}
            Phase::Idle if client.awaits_silence() => {
                if let Some(mut job) = client.complete_on_silence(&mut self.pools) {
                    let expired = client.begin(&mut job, now);
                    drop(client);
                    self.counters.completed_by_silence += 1;
                    self.expire_locks(id, expired, &mut job.locks, &mut job.output);
                    self.drive(id, job);
                }
            }
            Phase::Idle if client.awaits_data() => {
                client.load_data();
                client.schedule();
            }
            Phase::Idle => {
                drop(client);
                self.counters.closed_slow_bodies += 1;
                self.close(id);
            }
            Phase::Waiting { mailbox, ticket, until } if until.is_some_and(|until| until <= now) => {
                let is_known =
                    self.mailboxes.queue(mailbox).with_waiter(ticket, |job| job.is_known_to_wait());
                if is_known == Some(false) {
                    // The request with this deadline was admitted. A later request of its run waits now, and
                    // the reactor has not handled the start of that wait yet.
                    client.transition(Phase::Working);
                    return;
                }
                drop(client);
                if let Some(job) = self.cancel_current(id) {
                    self.on_wait_timeout(id, job);
                }
            }
            Phase::Lingering { .. } => {
                if client.check_linger(now) {
                    drop(client);
                    self.close(id);
                }
            }
            Phase::Waiting { .. } | Phase::Working | Phase::Closed => {}
        }
    }

    fn on_wait_timeout(&mut self, id: ConnectionId, mut job: Box<Job>) {
        self.time_out_cancelled(&mut job);
        self.record_wait(&mut job);
        self.drive(id, job);
    }

    /// Ends the leases of a client that was silent for too long, or that has held a lock for too long.
    fn expire_leases(&mut self, id: ConnectionId) {
        self.ack_or_requeue(id);
        // The wait of a client with a lease ends with the lease.
        let waiting = self.cancel_current(id);
        let Some(mut client) = self.clients.get(id) else { return };
        let now = self.now;
        if let Some(mut job) = waiting {
            let expired = client.take_expired_leases(now);
            drop(client);
            self.time_out_cancelled(&mut job);
            self.expire_locks(id, expired, &mut job.locks, &mut job.output);
            return self.drive(id, job);
        }
        let mut events = Vec::new();
        match client.take_flushing() {
            Some(mut job) => {
                let expired = client.take_expired_leases(now);
                drop(client);
                self.expire_locks(id, expired, &mut job.locks, &mut events);
                job.output.extend_from_slice(&events);
                if let Some(mut client) = self.clients.get(id) {
                    client.transition(Phase::Flushing(job));
                }
            }
            // The job was admitted a moment ago. When it is done, the leases of its client are checked.
            None if matches!(client.phase(), Phase::Working) => {}
            None => {
                let mut locks = client.extras(now).locks.take();
                let expired = client.take_expired_leases(now);
                drop(client);
                self.expire_locks(id, expired, &mut locks, &mut events);
                if let Some(mut client) = self.clients.get(id) {
                    client.extras(now).locks = locks;
                }
                self.push_event(id, events);
            }
        }
    }
}

/// The new end of the wait of a client that has closed its writing half, and that may have disconnected.
/// `at_once` is true if the client holds locks, because other clients may wait for them. It is also true if
/// the request would take a message.
fn half_closed(until: Option<Instant>, now: Instant, at_once: bool) -> Instant {
    let soon = if at_once { now } else { now + HALF_CLOSED_WAIT };
    until.map_or(soon, |until| until.min(soon))
}
