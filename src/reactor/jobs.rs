//! The way of a job through the reactor: to its mailbox, to the workers, home, to the socket, and on.

use std::time::Duration;

use super::Stopping;
use super::connection::{ACK_TIMEOUT, Flushed};
use super::locks::{Acquired, next_wanted};
use super::phase::Phase;
use super::server::Server;
use super::transport::Transport;
use super::waiting::half_closed;
use super::watches::NOBODY;
use crate::planted::{Bug, is_planted};
use crate::protocol::{Refusal, Request, Wait};
use crate::workers::{
    Access, Completion, ConnectionId, Job, OUTPUT_HIGH_WATER, WaitStarted, Waiting, answer, refuse,
    refuse_access, time_out, wait_for,
};

/// At most one line of the log tells of clients with another protocol in this time.
const FOREIGN_WARN_INTERVAL: Duration = Duration::from_secs(60);

impl<W: Transport> Server<W> {
    /// A new batch of requests: a sign of life, which renews the leases that have not ended yet.
    pub(super) fn begin(&mut self, mut job: Box<Job>) {
        let id = job.connection;
        let now = self.now;
        let Some(connection) = self.connections.find(id) else { return self.abandon(job) };
        connection.requests += job.requests.len() as u64;
        if let Some(session) = &mut connection.extras {
            job.locks = session.locks.take();
            job.read_cursor = session.read_cursor;
            let has_ended = session.lease_end().is_some_and(|end| end <= now);
            if has_ended && !is_planted(Bug::LeaseNeverTooLate) {
                self.expire_locks(id, &mut job.locks, &mut job.output);
            }
            if let Some(session) = self.connections.find(id).and_then(|found| found.extras.as_mut()) {
                session.last_renewal = now;
            }
        }
        self.advance(job);
    }

    /// Brings a job on its way: answers what needs no mailbox, takes the place of the first request that does.
    pub(super) fn advance(&mut self, mut job: Box<Job>) {
        if job.blocked_on.is_some() && job.grant.is_some() {
            return self.wait_aside(job);
        }
        while job.current().is_some() && job.output.len() < OUTPUT_HIGH_WATER {
            let Some((mailbox, mode, wait)) = job.admission() else {
                if !answer(&mut job, &self.mailboxes) {
                    let watches = matches!(job.requests[job.answered].request, Request::Watch { .. });
                    match self.serve(job) {
                        // Its answer says where it starts, and leaves before its first event can.
                        Some(served) if watches && !is_planted(Bug::EventsBeforeWatch) => {
                            return self.deliver(served);
                        }
                        Some(served) => job = served,
                        None => return,
                    }
                }
                continue;
            };
            match job.access(mailbox, mode) {
                Access::Unlocked => {}
                Access::Owned => return self.submit(job),
                right @ (Access::Insufficient | Access::Expired) => {
                    refuse_access(&mut job, right);
                    continue;
                }
            }
            if wait == Wait::For(Duration::ZERO) {
                job.grant = self.mailboxes.queue(mailbox).try_admit(mode);
                if job.grant.is_some() {
                    return self.submit(job);
                }
                time_out(&mut job, &self.mailboxes);
                continue;
            }
            match self.enqueue(job, mailbox, mode, wait) {
                Acquired::Granted(granted) => return self.submit(granted),
                Acquired::Queued => return,
                Acquired::Deadlock(refused) => {
                    job = refused;
                    refuse(&mut job, &Refusal::Deadlock);
                }
            }
        }
        self.deliver(job);
    }

    /// Does what only this thread can: the current request concerns the connection itself, or all. `None` while it waits.
    fn serve(&mut self, mut job: Box<Job>) -> Option<Box<Job>> {
        match &job.requests[job.answered].request {
            Request::Lock(_) => return self.lock(job),
            Request::Unlock { .. } => self.unlock(&mut job),
            Request::Watch { .. } => self.watch(&mut job),
            Request::Unwatch { .. } => self.unwatch(&mut job),
            Request::Hello { .. } => self.hello(&mut job),
            Request::Stat(topic) => self.render_stat(*topic, &mut job),
            other => unreachable!("{other:?} is for the workers"),
        }
        Some(job)
    }

    /// Remembers the name of a client.
    fn hello(&mut self, job: &mut Job) {
        let Request::Hello { name } = &mut job.requests[job.answered].request else {
            unreachable!("a hello")
        };
        let name = name.take();
        if let Some(connection) = self.connections.find(job.connection) {
            connection.extras(self.now).name = name;
        }
        answer(job, &self.mailboxes);
    }

    /// A request of a connection with locks was in and has missed something.
    fn wait_aside(&mut self, mut job: Box<Job>) {
        let (mailbox, ..) = job.admission().expect("it was in a mailbox");
        if self.would_deadlock(job.connection, mailbox) {
            if let Some(grant) = job.grant.take() {
                self.release(mailbox, grant);
            }
            refuse(&mut job, &Refusal::Deadlock);
            return self.advance(job);
        }
        self.set_working(job.connection);
        let mut admitted = Vec::new();
        let parked = wait_for(job, &self.mailboxes, |job| admitted.push(job));
        admitted.into_iter().for_each(|job| self.submit(job));
        self.on_wait_started(parked);
    }

    /// Watches over a job that waits in a queue. Its earlier answers do not wait with it.
    pub(super) fn on_wait_started(&mut self, parked: WaitStarted) {
        let WaitStarted { connection: id, mailbox, ticket, wait } = parked;
        if id.slot == NOBODY {
            if !self.watches.set_ticket(id, ticket) {
                self.cancel_wait(mailbox, ticket);
            }
            return;
        }
        let now = self.now;
        let queue = self.mailboxes.queue(mailbox);
        let Some(connection) = self.connections.find(id) else {
            // Its client has left before anybody knew that it waits.
            return self.cancel_wait(mailbox, ticket);
        };
        let has_output = connection.has_output();
        let look = |job: &mut Box<Job>| {
            let aside = job.blocked_on.is_some();
            let before = job.waiting.filter(|waiting| waiting.request == job.answered);
            let since = before.map_or(now, |waiting| waiting.since);
            job.waiting = Some(Waiting { request: job.answered, mailbox, since, aside });
            let output = if has_output { Vec::new() } else { std::mem::take(&mut job.output) };
            (output, since, job.needs_its_client())
        };
        // Nobody there: it was admitted meanwhile, and its answers are on the way.
        let Some((mut output, since, needs_its_client)) = queue.with_waiter(ticket, look) else { return };
        let until = match wait {
            Wait::Default => since.checked_add(self.settings.wait),
            Wait::For(wait) => since.checked_add(wait),
            Wait::Forever => None,
        };
        let until = [until, connection.lease_end()].into_iter().flatten().min();
        let until = match connection.hung_up {
            true => Some(half_closed(until, now, needs_its_client)),
            false => until,
        };
        let until = until.filter(|_| !is_planted(Bug::WaitWithoutEnd));
        connection.transition(Phase::Waiting { mailbox, ticket, until });
        if !output.is_empty()
            && let Err(error) = connection.send(&mut output, now)
        {
            return self.fail(id, &error);
        }
        if self.stopping != Stopping::No && self.waits_for_condition(id) {
            return self.end_wait_for_drain(id);
        }
        self.rearm(id);
    }

    pub(super) fn set_working(&mut self, id: ConnectionId) {
        if let Some(connection) = self.connections.find(id) {
            connection.transition(Phase::Working);
        }
    }

    pub(super) fn submit(&mut self, job: Box<Job>) {
        self.set_working(job.connection);
        self.pool.submit(job);
    }

    // ---- answers ----

    /// Runs what was granted, or starts the workers on it, and takes in what they have finished.
    pub(super) fn drain_completions(&mut self) {
        self.run_granted();
        let mut completions = std::mem::take(&mut self.completions_buf);
        self.completions.drain(&mut completions);
        self.on_completions(&mut completions);
        self.completions_buf = completions;
    }

    /// Runs what was granted, or starts the workers on it.
    pub(super) fn run_granted(&mut self) {
        let mut completions = std::mem::take(&mut self.completions_buf);
        self.pool.dispatch(&mut completions);
        self.on_completions(&mut completions);
        self.completions_buf = completions;
    }

    /// Takes in what has come home, and what comes home of the jobs that this lets in.
    fn on_completions(&mut self, completions: &mut Vec<Completion>) {
        while !completions.is_empty() {
            for completion in completions.drain(..) {
                self.on_completion(completion);
            }
            self.pool.dispatch(completions);
        }
    }

    pub(super) fn on_completion(&mut self, completion: Completion) {
        match completion {
            Completion::Done(job) if job.connection.slot == NOBODY => self.on_watch_read(job),
            Completion::Done(job) => self.on_job_done(job),
            Completion::WaitStarted(parked) => self.on_wait_started(parked),
        }
    }

    fn on_job_done(&mut self, mut job: Box<Job>) {
        let id = job.connection;
        let Some(connection) = self.connections.find(id) else {
            self.counters.stale_completions += 1;
            return self.abandon(job);
        };
        let is_expected = matches!(connection.phase(), Phase::Working | Phase::Waiting { .. });
        debug_assert!(
            is_expected,
            "one batch of a connection at a time, not one that comes home to {:?}",
            connection.phase()
        );
        let lease_ended = connection.lease_end().is_some_and(|end| end <= self.now);
        connection.transition(Phase::Working);
        self.record_wait(&mut job);
        if lease_ended {
            // What was taken under a lock goes back under it.
            self.requeue(&mut job);
            self.expire_locks(id, &mut job.locks, &mut job.output);
            if is_planted(Bug::NewsBeforeAnswers) {
                let news = job.output.windows(6).rposition(|bytes| bytes == b"EVENT ").unwrap_or(0);
                job.output.rotate_left(news);
            }
        }
        // What was taken is held until its answer is written; other answers may wait for the rest of the batch.
        if job.in_flight.is_none() { self.advance(job) } else { self.deliver(job) }
    }

    /// Writes the answers of a job, after those that wait already, then goes on with it.
    pub(super) fn deliver(&mut self, mut job: Box<Job>) {
        let id = job.connection;
        let now = self.now;
        let Some(connection) = self.connections.find(id) else { return self.abandon(job) };
        if connection.hung_up && job.in_flight.as_ref().is_some_and(|taking| taking.waited) {
            self.requeue_and_time_out(&mut job);
        }
        let Some(connection) = self.connections.find(id) else { return self.abandon(job) };
        if connection.has_output() {
            // A mailbox does not wait for a client that does not read.
            self.requeue(&mut job);
            return self.keep_flushing(id, job);
        }
        if job.output.is_empty() {
            return self.go_on(job);
        }
        match connection.send(&mut job.output, now) {
            Ok(Flushed::All) => {
                self.ack(&mut job);
                self.go_on(job);
            }
            Ok(sent) => {
                if let Some(taking) = &mut job.in_flight {
                    taking.until = now.checked_add(ACK_TIMEOUT);
                }
                self.keep_flushing(id, job);
                if sent == Flushed::BudgetSpent {
                    self.schedule(id);
                }
            }
            Err(error) => {
                self.abandon(job);
                self.fail(id, &error);
            }
        }
    }

    fn keep_flushing(&mut self, id: ConnectionId, mut job: Box<Job>) {
        self.counters.requests.merge(&mut job.tally);
        if let Some(connection) = self.connections.find(id) {
            connection.transition(Phase::Flushing(job));
        }
        self.rearm(id);
    }

    /// Writes what waits; then goes on with what has waited for that.
    pub(super) fn flush(&mut self, id: ConnectionId) {
        let Some(connection) = self.connections.find(id) else { return };
        match connection.flush(self.now) {
            Ok(Flushed::All) => {
                let emptied = connection.take_emptied();
                let flushed = matches!(connection.phase(), Phase::Flushing(_))
                    .then(|| connection.transition(Phase::Working));
                if matches!(connection.phase(), Phase::Idle)
                    && (connection.has_pending_input() || self.stopping != Stopping::No)
                {
                    self.schedule(id);
                }
                if !is_planted(Bug::EarlierAnswersWait) {
                    self.send_kept(id);
                }
                self.resume(id);
                self.rearm(id);
                if let Some(Phase::Flushing(mut job)) = flushed {
                    if job.output.is_empty() {
                        job.output = emptied;
                    }
                    self.ack(&mut job);
                    self.deliver(job);
                }
            }
            Ok(Flushed::BudgetSpent) => self.schedule(id),
            Ok(Flushed::Partial | Flushed::WouldBlock) => self.rearm(id),
            Err(error) => self.fail(id, &error),
        }
    }

    /// The job of a connection that waits may have kept answers because those before them had not left.
    fn send_kept(&mut self, id: ConnectionId) {
        let Some(connection) = self.connections.find(id) else { return };
        let &Phase::Waiting { mailbox, ticket, .. } = connection.phase() else { return };
        let queue = self.mailboxes.queue(mailbox);
        // Nobody there: it was admitted meanwhile, and brings them home.
        let kept = queue.with_waiter(ticket, |job| std::mem::take(&mut job.output));
        if let Some(mut output) = kept
            && !output.is_empty()
            && let Err(error) = connection.send(&mut output, self.now)
        {
            self.fail(id, &error);
        }
    }

    /// All answers so far have left: the rest of the batch, or the end, or the next batch.
    fn go_on(&mut self, mut job: Box<Job>) {
        let id = job.connection;
        if job.current().is_some() {
            return self.advance(job);
        }
        self.counters.requests.merge(&mut job.tally);
        let closes = job.closes();
        if job.requests.last().is_some_and(|framed| framed.request == Request::Foreign) {
            self.warn_foreign();
        }
        let (held, place) = (job.locks.take(), job.read_cursor);
        self.pools.return_job(job);
        let Some(connection) = self.connections.find(id) else { return self.end_locks(id, held) };
        if place.is_some() {
            connection.extras(self.now).read_cursor = place;
        }
        if held.is_some() {
            connection.extras(self.now).locks = held;
        }
        connection.set_idle(self.now);
        if closes {
            self.close_gracefully(id);
        } else if connection.has_pending_input() || self.stopping != Stopping::No {
            self.schedule(id);
        } else {
            self.rearm(id);
        }
    }

    /// A job whose connection is no more: what it has taken goes back, what it holds ends.
    pub(super) fn abandon(&mut self, mut job: Box<Job>) {
        if is_planted(Bug::TakeNotUndone) {
            self.ack(&mut job);
        }
        if is_planted(Bug::LockOutlivesClient) {
            std::mem::forget(job.locks.take());
        }
        self.requeue(&mut job);
        if let Some(grant) = job.grant.take() {
            let mailbox = job.admission().map(|(mailbox, ..)| mailbox).or_else(|| next_wanted(&job));
            self.release(mailbox.expect("a grant is for the current request"), grant);
        }
        self.end_locks(job.connection, job.locks.take());
        self.counters.requests.merge(&mut job.tally);
        self.pools.return_job(job);
    }

    /// Somebody speaks another protocol: perhaps a wrong port, perhaps a scan. A flood of them floods no log.
    fn warn_foreign(&mut self) {
        let due = self.foreign_warned_at.is_none_or(|at| at + FOREIGN_WARN_INTERVAL <= self.now);
        if due {
            self.foreign_warned_at = Some(self.now);
            log::warn!("a client spoke another protocol and was closed; this is said at most once a minute");
        }
    }
}
