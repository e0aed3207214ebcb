//! A tick, and the steps of a job in it: the job is received, admitted, executed and answered.

use std::sync::Arc;

use super::super::Stopping;
use super::super::budget::MICROSECOND;
use super::super::connection::{ACK_TIMEOUT, BYTES_PER_FLUSH, Flushed, Readiness, Received};
use super::super::phase::Phase;
use super::super::transport::Transport;
use super::Server;
use super::inflight::Delivery;
use super::memory::{memory_of, use_of};
use crate::mailboxes::{Condition, Found, Grant, Mode};
use crate::memory::{self, Use};
use crate::protocol::{HEADER_MAX, HEADERS_MAX, LocalRequest, Refusal, Reply, Request};
use crate::workers::{
    Acquire, Completion, ConnectionId, Enqueued, Job, JobState, Outcome, Owner, Step, WaitReason, enqueue,
    hello, refuse, rename, reply, step, time_out, wait_for,
};

/// Largest number of connections that go on without an event in one tick, before the next poll.
const CONTINUING_PER_TICK: usize = 64;

/// Number of connections without an event, and of completions, that are handled in each tick even if the
/// budget is spent.
const HANDLED_MIN: usize = 2;

/// Cost of receiving from a socket.
const RECEIVE: usize = MICROSECOND;

/// Cost of a byte of a header line, relative to a byte that is copied. A header line may contain a list of
/// numbers, which are parsed and sorted.
const HEADER_BYTE: usize = 64;

/// Cost of a byte of an answer that needs no mailbox, such as that to `help`.
const ANSWER_BYTE: usize = 8;

/// Cost of writing the answers of a job.
const DELIVER: usize = 4 * MICROSECOND;

/// The result of a request for admission.
pub(super) enum Acquired {
    /// The request was admitted.
    Granted(Box<Job>),
    /// The job is in the queue.
    Waiting,
    /// A lock excludes the request, and the request does not wait for locks.
    Locked(Box<Job>),
    /// The wait would complete a cycle.
    Deadlock(Box<Job>),
}

impl<T: Transport> Server<T> {
    // ---- ticks and events ----

    /// Handles connections that go on, expired deadlines, completions, events and the backlog.
    pub(crate) fn finish_tick(&mut self) {
        self.run_continuing();
        self.expire_deadlines();
        self.drain_completions();
        self.send_events();
        self.work_off_backlog();
        self.run_granted();
        // Returning memory to the system takes milliseconds if there is much of it.
        if self.backlog.is_empty() && !self.clients.has_ready() {
            self.pools.trim(self.now);
        }
    }

    /// Handles the connections whose events the last tick has left, up to the budget. To be called before the
    /// events of this tick are handled.
    pub(crate) fn run_postponed(&mut self) {
        for _ in 0..self.clients.postponed() {
            if self.budgets.receiving.is_spent() {
                break;
            }
            let Some(id) = self.clients.pop_postponed() else { break };
            self.on_scheduled(id);
        }
    }

    /// Handles the connections that go on without an event, up to [`CONTINUING_PER_TICK`] and the budget.
    pub(crate) fn run_continuing(&mut self) {
        for handled in 0..self.clients.continuing().min(CONTINUING_PER_TICK) {
            if handled >= HANDLED_MIN && self.budgets.receiving.is_spent() {
                break;
            }
            let Some(id) = self.clients.pop_continuing() else { break };
            self.on_scheduled(id);
        }
    }

    /// Handles a connection without a further event.
    fn on_scheduled(&mut self, id: ConnectionId) {
        match self.clients.look(id) {
            Some(client) if client.has_output() => self.flush(id),
            Some(client) => {
                let writable = client.is_lagging();
                self.on_ready(id, Readiness { writable, ..Readiness::default() });
            }
            None => {}
        }
    }

    /// Handles the readiness of a socket that a poll has reported. If the budget of this tick is spent, the
    /// event is left for the next tick.
    pub(crate) fn on_event(&mut self, id: ConnectionId, readiness: Readiness) {
        // A client leaves once, and the end of its connection costs little. Its slot may be wanted.
        if !self.budgets.receiving.is_spent() || readiness.broken || readiness.hung_up {
            return self.on_ready(id, readiness);
        }
        if let Some(mut client) = self.clients.get(id) {
            client.postpone();
        }
    }

    /// Handles the readiness of a socket. [`Clients::record_readiness`](super::super::clients::Clients) has
    /// recorded it before.
    pub(crate) fn on_ready(&mut self, id: ConnectionId, readiness: Readiness) {
        if readiness.writable {
            self.on_writable(id);
        }
        let Some(mut client) = self.clients.get(id) else { return };
        match client.phase() {
            // The readiness is recorded. Every client is read after the last wait has ended, or if the
            // handover is cancelled.
            Phase::Idle if self.stopping == Stopping::EndingWaits => return,
            Phase::Idle if matches!(self.stopping, Stopping::HandedOver(_)) => {
                drop(client);
                return self.close_gracefully(id);
            }
            Phase::Idle if client.is_drained => return,
            // The connection has had its share of a tick, and goes on after the events of this one.
            Phase::Idle if client.is_ready && !readiness.broken => return,
            Phase::Idle if !client.has_output() => {}
            Phase::Idle | Phase::Waiting { .. } | Phase::Flushing(_) if readiness.broken => {
                drop(client);
                return self.close(id);
            }
            Phase::Waiting { .. } if client.hung_up => {
                drop(client);
                return self.shorten_wait(id);
            }
            Phase::Lingering { .. } => {
                drop(client);
                return self.discard(id);
            }
            // The client is read again when its answers have been written.
            Phase::Idle | Phase::Waiting { .. } | Phase::Flushing(_) | Phase::Working | Phase::Closed => {
                return;
            }
        }
        self.budgets.receiving.charge(RECEIVE);
        let memory = client.receive_memory();
        if !memory::has_room(memory, Use::Brief) {
            drop(client);
            if !self.free_for_client(id, memory, Use::Brief) {
                return;
            }
            let Some(found) = self.clients.get(id) else { return };
            client = found;
        }
        let mut received = client.receive(&mut self.scratch, &mut self.pools, self.now);
        if let Ok(Received::Data(framed)) = received {
            drop(client);
            if self.receive_message(id, framed) {
                return;
            }
            let Some(found) = self.clients.get(id) else { return };
            client = found;
            client.load_data();
            received = client.receive(&mut self.scratch, &mut self.pools, self.now);
        }
        match received {
            Ok(Received::Batch(mut job)) => {
                // The buffer of a large body is longer than its request.
                let headers = (job.input.len() - job.body_bytes()).min(HEADERS_MAX + HEADER_MAX);
                self.budgets.receiving.charge(headers * HEADER_BYTE);
                let expired = client.begin(&mut job, self.now);
                drop(client);
                if !expired.is_empty() {
                    self.expire_locks(id, expired, &mut job.locks, &mut job.output);
                }
                self.drive(id, job);
                if self.pool.is_cache_budget_spent() {
                    // The granted jobs run now, while their large messages are in the cache.
                    self.run_granted();
                }
            }
            Ok(Received::WouldBlock) if self.stopping == Stopping::HandingOver => {
                drop(client);
                self.end_idle(id);
            }
            Ok(Received::WouldBlock) if self.stopping != Stopping::No => {
                drop(client);
                self.close_gracefully(id);
            }
            Ok(Received::WouldBlock)
                if client.has_incomplete_input() && !memory::has_room(0, Use::Lasting) =>
            {
                drop(client);
                self.free_for_client(id, 0, Use::Lasting);
            }
            Ok(Received::WouldBlock) => {}
            Ok(Received::BudgetSpent | Received::Data(_)) => client.schedule(),
            Ok(Received::Exhausted(bytes)) => {
                drop(client);
                if self.free_for_client(id, bytes, memory::use_of_buffer(bytes))
                    && let Some(mut client) = self.clients.get(id)
                {
                    client.schedule();
                }
            }
            Ok(Received::Eof) => {
                drop(client);
                self.close(id);
            }
            Err(error) => {
                drop(client);
                self.fail(id, &error);
            }
        }
    }

    fn on_writable(&mut self, id: ConnectionId) {
        match self.clients.look(id) {
            Some(client) if client.has_output() => self.flush(id),
            Some(_) => self.resume(id),
            None => {}
        }
    }

    // ---- the current request ----

    /// Moves a client's job forward until the pool, a queue, the backlog or the connection has the job, or
    /// until its batch is finished.
    pub(super) fn drive(&mut self, id: ConnectionId, mut job: Box<Job>) {
        loop {
            let before = job.output.len();
            let next = step(&mut job, &self.mailboxes);
            self.budgets.receiving.charge((job.output.len() - before) * ANSWER_BYTE);
            job = match next {
                Step::Execute(_) => return self.pool.submit(job),
                Step::Send(acquire) => match self.send_message(id, job, acquire) {
                    Some(sent) => sent,
                    None => return,
                },
                Step::Acquire(acquire) => match self.acquire(id, job, acquire) {
                    Acquired::Granted(granted) => granted,
                    Acquired::Waiting => return,
                    Acquired::Locked(mut refused) => {
                        time_out(&mut refused, &self.mailboxes, WaitReason::Queue);
                        refused
                    }
                    Acquired::Deadlock(mut refused) => {
                        refuse(&mut refused, &Refusal::Deadlock);
                        refused
                    }
                },
                Step::Await { acquire, grant, condition } => {
                    match self.await_condition(id, job, acquire, grant, condition) {
                        Some(refused) => refused,
                        None => return,
                    }
                }
                Step::Memory(bytes) => match self.free_for_job(id, job, bytes) {
                    Some(job) => job,
                    None => return,
                },
                Step::Local => match self.serve_or_defer(id, job) {
                    Some(served) => served,
                    None => return,
                },
                Step::Write | Step::Finished => match self.deliver(id, job) {
                    Some(delivered) => delivered,
                    None => return,
                },
            };
        }
    }

    /// Moves a job to the wait set of its mailbox. Returns the refused job if the wait would complete a
    /// cycle.
    fn await_condition(
        &mut self,
        id: ConnectionId,
        mut job: Box<Job>,
        acquire: Acquire,
        grant: Grant,
        condition: Condition,
    ) -> Option<Box<Job>> {
        let (found, search) = self.search(id, acquire.mailbox);
        if found == Found::Cycle {
            self.release(acquire.mailbox, grant);
            refuse(&mut job, &Refusal::Deadlock);
            return Some(job);
        }
        let mailboxes = Arc::clone(&self.mailboxes);
        let started = wait_for(job, &mailboxes, acquire, grant, condition, |next| self.submit_next(next));
        self.on_wait_started(started);
        if found == Found::NotYet {
            self.search_later(id, started.ticket, search);
        }
        None
    }

    /// Admits the current request of a job, or queues the job. Only the reactor's thread queues the first
    /// request of a batch, so the order of arrival is a total order.
    pub(super) fn acquire(&mut self, id: ConnectionId, mut job: Box<Job>, acquire: Acquire) -> Acquired {
        let Acquire { mailbox, mode, purpose, .. } = acquire;
        let mut unfinished = None;
        // A request that does not wait for locks waits for no client, so it completes no cycle.
        if job.has_locks() && !acquire.has_zero_wait() {
            if let Some(grant) = self.mailboxes.queue(mailbox).try_admit(mode, purpose) {
                job.state = JobState::Granted(grant);
                return Acquired::Granted(job);
            }
            unfinished = match self.search(id, mailbox) {
                (Found::Cycle, _) => return Acquired::Deadlock(job),
                (Found::NotYet, search) => Some(search),
                (Found::Nothing, _) => None,
            };
        }
        match enqueue(job, &self.mailboxes, acquire) {
            Enqueued::Granted(granted) => Acquired::Granted(granted),
            Enqueued::Locked(refused) => Acquired::Locked(refused),
            Enqueued::Waiting(started) => {
                self.on_wait_started(started);
                if let Some(search) = unfinished {
                    self.search_later(id, started.ticket, search);
                }
                Acquired::Waiting
            }
        }
    }

    /// Serves the current request, which concerns the connection itself, its locks or watches, or the whole
    /// server. Returns the job if it can continue now.
    pub(super) fn serve(&mut self, id: ConnectionId, mut job: Box<Job>) -> Option<Box<Job>> {
        let Request::Local(request) = &job.requests[job.next].request else { return Some(job) };
        let memory = memory_of(request);
        let is_stat = matches!(request, LocalRequest::Stat(_));
        let has_room = memory::has_room(memory, use_of(&job, memory))
            && (!is_stat || memory::reserve(&mut job.output, memory).is_ok());
        if matches!(job.state, JobState::Ready) && !has_room {
            job.state = JobState::Exhausted(None, job.output.len() + memory);
            return Some(job);
        }
        let Request::Local(request) = &mut job.requests[job.next].request else { return Some(job) };
        match request {
            LocalRequest::Lock(request) => {
                let mode = if request.shared { Mode::Shared } else { Mode::Exclusive };
                let wait = request.wait;
                return self.lock(id, job, mode, wait);
            }
            LocalRequest::Unlock { mailboxes, grant } => {
                let (mailboxes, token) = (mailboxes.take(), *grant);
                self.unlock(id, &mut job, mailboxes.as_deref(), token);
            }
            LocalRequest::Watch { mailboxes, after } => {
                let (mailboxes, after) = (std::mem::take(mailboxes), *after);
                self.watch(id, &mut job, &mailboxes, after);
                // The answer names the versions at which the watches start, so it is written before the first
                // event.
                return self.deliver(id, job);
            }
            LocalRequest::Unwatch { mailboxes } => {
                let mailboxes = mailboxes.take();
                match mailboxes {
                    Some(mailboxes) => self.end_watches(id, &mailboxes),
                    None => self.end_all_watches(id),
                }
                reply(&mut job, &Reply::Ok, Outcome::Watched);
            }
            LocalRequest::Hello { name } => {
                let name = std::mem::take(name);
                if let Some(mut client) = self.clients.get(id) {
                    client.extras(self.now).name = Some(name);
                }
                reply(&mut job, &hello(&self.mailboxes), Outcome::Info);
            }
            LocalRequest::Name { mailbox, change } => {
                let (mailbox, change) = (*mailbox, change.take());
                rename(&mut job, &self.mailboxes, mailbox, change);
            }
            LocalRequest::Stat(topic) => {
                let topic = *topic;
                self.render_stat(id, topic, &mut job);
            }
        }
        Some(job)
    }

    // ---- completions ----

    /// Runs admitted jobs or hands them to the workers, then handles the completions of the workers.
    pub(super) fn drain_completions(&mut self) {
        self.run_granted();
        if self.backlog.completions.is_empty() {
            let mut completions = std::mem::take(&mut self.completions_buf);
            self.completions.drain(&mut completions);
            self.backlog.completions.extend(completions.drain(..));
            self.completions_buf = completions;
        }
        for handled in 0.. {
            if handled >= HANDLED_MIN && self.budgets.sending.is_spent() {
                break;
            }
            let Some(completion) = self.backlog.completions.pop_front() else { break };
            self.budgets.sending.charge(DELIVER);
            self.on_completion(completion);
        }
        self.run_granted();
    }

    /// Runs admitted jobs or hands them to the workers.
    pub(super) fn run_granted(&mut self) {
        let mut completions = std::mem::take(&mut self.completions_buf);
        self.pool.dispatch(&mut completions);
        self.on_completions(&mut completions);
        self.completions_buf = completions;
    }

    /// Handles completions, and the completions of the jobs that are admitted and executed meanwhile.
    fn on_completions(&mut self, completions: &mut Vec<Completion>) {
        while !completions.is_empty() {
            for completion in completions.drain(..) {
                self.on_completion(completion);
            }
            self.pool.dispatch(completions);
        }
    }

    pub(crate) fn on_completion(&mut self, completion: Completion) {
        match completion {
            Completion::WaitStarted(started) => self.on_wait_started(started),
            Completion::Watch { mailbox, grant } => self.on_watch_admitted(mailbox, grant),
            Completion::Done(job) => match job.owner {
                Owner::Client(id) => self.on_job_done(id, job),
                Owner::Packet(_) => self.drive_packet(job),
                Owner::Watch(mailbox) => self.on_watch_read(mailbox, job),
            },
        }
    }

    fn on_job_done(&mut self, id: ConnectionId, job: Box<Job>) {
        if let Some(job) = self.check_returned(id, job) {
            self.drive(id, job);
        }
    }

    /// Takes back a job from a worker or from the backlog. Returns the job if its connection is still open.
    /// If the connection is closed, the job is ended.
    pub(super) fn check_returned(&mut self, id: ConnectionId, mut job: Box<Job>) -> Option<Box<Job>> {
        self.record_wait(&mut job);
        match self.clients.look(id) {
            None => {
                self.counters.stale_completions += 1;
                self.abandon(job);
                return None;
            }
            Some(client) if matches!(client.phase(), Phase::Working) && client.lease_end().is_none() => {}
            Some(_) => self.end_wait(id, &mut job),
        }
        Some(job)
    }

    /// Handles the return of the job of a client that has waited or has leases. The phase of the connection
    /// becomes `Working`, and leases that have expired meanwhile end.
    fn end_wait(&mut self, id: ConnectionId, job: &mut Job) {
        let Some(mut client) = self.clients.get(id) else { return };
        let is_expected = matches!(client.phase(), Phase::Working | Phase::Waiting { .. });
        debug_assert!(is_expected, "this job is not the connection's current batch: {:?}", client.phase());
        client.transition(Phase::Working);
        let expired = client.take_expired_leases(self.now);
        drop(client);
        if !expired.is_empty() {
            // A message that was taken under a lock is requeued before the lock ends.
            self.resolve(job, Delivery::Failed);
            self.expire_locks(id, expired, &mut job.locks, &mut job.output);
        }
    }

    // ---- answers ----

    /// Writes the answers of a job behind the answers that wait already. When all answers of the batch are
    /// written, the client is read again. Returns the job if its answers so far are written and its batch is
    /// not finished.
    fn deliver(&mut self, id: ConnectionId, mut job: Box<Job>) -> Option<Box<Job>> {
        let Some(mut client) = self.clients.get(id) else {
            self.abandon(job);
            return None;
        };
        if let JobState::InFlight(_) = job.state
            && (client.has_output() || client.hung_up && job.has_waited())
        {
            // A mailbox does not wait for a client that does not read, or that may have disconnected during
            // the wait.
            let outcome = match client.hung_up && job.has_waited() {
                true => Delivery::TimedOut,
                false => Delivery::Failed,
            };
            drop(client);
            self.resolve(&mut job, outcome);
            client = self.clients.get(id)?;
        }
        let flushed = match (client.has_output(), job.output.is_empty()) {
            (true, _) => Ok(Flushed::WouldBlock),
            (false, true) => Ok(Flushed::All),
            (false, false) => {
                self.budgets.sending.charge(job.output.len().min(BYTES_PER_FLUSH));
                client.send(&mut job.output, self.now)
            }
        };
        match flushed {
            Ok(Flushed::All) if matches!(job.state, JobState::InFlight(_)) => {
                drop(client);
                self.resolve(&mut job, Delivery::Received);
                Some(job)
            }
            Ok(Flushed::All) if job.current().is_some() => Some(job),
            Ok(Flushed::All) => {
                client.end(&mut job, self.now);
                if !job.closes() && (client.has_pending_input() || self.stopping != Stopping::No) {
                    client.schedule();
                }
                drop(client);
                self.finish(id, job);
                None
            }
            Ok(flushed) => {
                if let JobState::InFlight(in_flight) = &mut job.state {
                    in_flight.deadline = self.now.checked_add(ACK_TIMEOUT);
                }
                self.counters.requests.merge(&mut job.tally);
                client.transition(Phase::Flushing(job));
                if flushed == Flushed::BudgetSpent {
                    client.schedule();
                }
                None
            }
            Err(error) => {
                drop(client);
                self.abandon(job);
                self.fail(id, &error);
                None
            }
        }
    }

    /// Writes the unwritten output, then continues the job and the watches that waited for the socket.
    pub(super) fn flush(&mut self, id: ConnectionId) {
        let Some(mut client) = self.clients.get(id) else { return };
        self.budgets.receiving.charge(client.unwritten().min(BYTES_PER_FLUSH));
        match client.flush(self.now) {
            Ok(Flushed::All) => {}
            Ok(Flushed::BudgetSpent) => return client.schedule(),
            Ok(Flushed::Partial | Flushed::WouldBlock) => return,
            Err(error) => {
                drop(client);
                return self.fail(id, &error);
            }
        }
        let emptied = client.take_emptied();
        match client.phase() {
            Phase::Idle if client.has_pending_input() || self.stopping != Stopping::No => client.schedule(),
            &Phase::Waiting { mailbox, ticket, .. } => {
                // The job may contain answers that could not be written while earlier answers were unwritten.
                // A job that was admitted meanwhile still contains them when it returns.
                let queue = self.mailboxes.queue(mailbox);
                let kept = queue.with_waiter(ticket, |job| std::mem::take(&mut job.output));
                if let Some(mut output) = kept.filter(|output| !output.is_empty())
                    && let Err(error) = client.send(&mut output, self.now)
                {
                    drop(client);
                    return self.fail(id, &error);
                }
            }
            _ => {}
        }
        let flushed = client.take_flushing();
        drop(client);
        self.resume(id);
        if let Some(mut job) = flushed {
            if job.output.is_empty() {
                job.output = emptied;
            }
            self.resolve(&mut job, Delivery::Received);
            if let Some(job) = self.deliver(id, job) {
                self.drive(id, job);
            }
        }
    }

    /// Ends a job whose answers are all written.
    fn finish(&mut self, id: ConnectionId, mut job: Box<Job>) {
        self.counters.requests.merge(&mut job.tally);
        if job.closes() {
            if job.requests.last().is_some_and(|framed| framed.request == Request::Foreign) {
                self.warn_foreign();
            }
            self.close_gracefully(id);
        } else if self.stopping == Stopping::HandingOver {
            self.end_unless_buffered(id);
        }
        self.pools.return_job(job);
    }
}
