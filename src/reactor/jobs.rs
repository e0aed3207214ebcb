//! The way of a job through the reactor: to its mailbox, to the workers, home, to the socket, and on.

use std::time::Duration;

use super::Stopping;
use super::connection::Phase;
use super::server::Server;
use super::stat::{self, Gauges};
use super::waiting::half_closed;
use super::wire::Wire;
use crate::protocol::{Reply, Request, Wait};
use crate::workers::{
    Completion, ConnectionId, Job, OUTPUT_HIGH_WATER, Outcome, Parked, admit, answer, time_out, with_grant,
};

/// At most one line of the log tells of clients with another protocol in this time.
const FOREIGN_SAID: Duration = Duration::from_secs(60);

impl<W: Wire> Server<W> {
    /// Brings a job on its way: answers what needs no mailbox, takes the place of the first request that does.
    pub(super) fn advance(&mut self, mut job: Box<Job>) {
        while job.current().is_some() && job.output.len() < OUTPUT_HIGH_WATER {
            let Some((mailbox, mode, wait)) = job.admission() else {
                if !answer(&mut job, &self.mailboxes) {
                    self.tell_stat(&mut job);
                }
                continue;
            };
            if wait != Wait::For(Duration::ZERO) {
                // Before it is queued: from then on a worker may admit, answer and send it home at any time.
                if let Some(connection) = self.connections.find(job.connection) {
                    connection.phase = Phase::Working;
                }
                return match admit(job, &self.mailboxes) {
                    Ok(granted) => self.submit(with_grant(granted)),
                    Err(parked) => self.park(parked),
                };
            }
            job.grant = self.mailboxes.queue(mailbox).try_admit(mode);
            if job.grant.is_some() {
                return self.submit(job);
            }
            time_out(&mut job, &self.mailboxes);
        }
        self.deliver(job);
    }

    /// Watches over a job that waits in a queue. Its earlier answers do not wait with it.
    pub(super) fn park(&mut self, parked: Parked) {
        let Parked { connection: id, mailbox, ticket, wait } = parked;
        let queue = self.mailboxes.queue(mailbox);
        let Some(connection) = self.connections.find(id) else {
            // Its client has left before anybody knew that it waits.
            return self.give_up(mailbox, ticket);
        };
        let take = |job: &mut Box<Job>| match connection.has_output() {
            true => Vec::new(),
            false => std::mem::take(&mut job.output),
        };
        // Nobody there: it was admitted meanwhile, and its answers are on the way.
        let Some(mut output) = queue.with_waiter(ticket, take) else { return };
        let until = match wait {
            Wait::Default => self.now.checked_add(self.settings.wait),
            Wait::For(wait) => self.now.checked_add(wait),
            Wait::Forever => None,
        };
        let until = if connection.hung_up { Some(half_closed(until, self.now)) } else { until };
        connection.phase = Phase::Queued { mailbox, ticket, until };
        if !output.is_empty()
            && let Err(error) = connection.send(&mut output, self.now)
        {
            return self.fail(id, &error);
        }
        self.settle(id);
    }

    pub(super) fn submit(&mut self, job: Box<Job>) {
        if let Some(connection) = self.connections.find(job.connection) {
            connection.phase = Phase::Working;
        }
        self.pool.submit(job);
    }

    pub(super) fn tell_stat(&mut self, job: &mut Job) {
        let (mut working, mut waiting, mut flushing) = (0, 0, 0);
        for connection in self.connections.iter() {
            match connection.phase {
                Phase::Working => working += 1,
                Phase::Queued { .. } => waiting += 1,
                Phase::Flushing(_) => flushing += 1,
                Phase::Idle | Phase::Lingering { .. } | Phase::Closed => {}
            }
        }
        let geometry = self.mailboxes.geometry();
        let gauges = Gauges {
            uptime: self.started.elapsed().as_secs(),
            epoch: self.mailboxes.segment().epoch(),
            connections: self.connections.len(),
            max_clients: self.settings.max_clients,
            working,
            waiting,
            flushing,
            workers: self.pool.workers(),
            workers_asleep: self.pool.asleep(),
            unaided: self.pool.unaided(),
            mailboxes: geometry.mailboxes,
            size: geometry.capacity,
            packet: geometry.packet,
        };
        self.counters.requests.absorb(&mut job.tally);
        let text = stat::text(&self.counters, &gauges);
        let eol = job.requests[job.answered].eol;
        Reply::Text(&text).encode(eol, &mut job.output);
        job.tally.count(Outcome::Told);
        job.answered += 1;
    }

    // ---- answers ----

    /// Starts the workers on what was granted, and takes in what they have finished.
    pub(super) fn bring_home(&mut self) {
        let mut completions = std::mem::take(&mut self.home);
        self.pool.dispatch(&mut completions);
        self.take_in(&mut completions);
        self.completions.drain(&mut completions);
        self.take_in(&mut completions);
        self.home = completions;
    }

    pub(super) fn take_in(&mut self, completions: &mut Vec<Completion>) {
        while !completions.is_empty() {
            for completion in completions.drain(..) {
                match completion {
                    Completion::Home(job) => self.come_home(job),
                    Completion::Parked(parked) => self.park(parked),
                }
            }
            self.pool.dispatch(completions);
        }
    }

    pub(super) fn come_home(&mut self, mut job: Box<Job>) {
        if let Some(connection) = self.connections.find(job.connection) {
            let waits = matches!(connection.phase, Phase::Working | Phase::Queued { .. });
            debug_assert!(
                waits,
                "one batch of a connection at a time, not one that comes home to {:?}",
                connection.phase
            );
            return self.deliver(job);
        }
        self.counters.requests.absorb(&mut job.tally);
        self.counters.stale_completions += 1;
        self.supplies.return_job(job);
    }

    /// Writes the answers of a job, after those that wait already, then goes on with it.
    pub(super) fn deliver(&mut self, mut job: Box<Job>) {
        let id = job.connection;
        self.counters.requests.absorb(&mut job.tally);
        let Some(connection) = self.connections.find(id) else { return self.supplies.return_job(job) };
        if connection.has_output() {
            connection.phase = Phase::Flushing(job);
            return self.settle(id);
        }
        if job.output.is_empty() {
            return self.go_on(job);
        }
        match connection.send(&mut job.output, self.now) {
            Ok(true) => self.go_on(job),
            Ok(false) => {
                connection.phase = Phase::Flushing(job);
                self.settle(id);
            }
            Err(error) => {
                self.supplies.return_job(job);
                self.fail(id, &error);
            }
        }
    }

    pub(super) fn flush(&mut self, id: ConnectionId) {
        let Some(connection) = self.connections.find(id) else { return };
        match connection.flush(self.now) {
            Ok(true) => {
                let phase = &mut connection.phase;
                let flushed =
                    matches!(phase, Phase::Flushing(_)).then(|| std::mem::replace(phase, Phase::Idle));
                self.settle(id);
                if let Some(Phase::Flushing(job)) = flushed {
                    self.deliver(job);
                }
            }
            Ok(false) => self.settle(id),
            Err(error) => self.fail(id, &error),
        }
    }

    /// All answers so far have left: the rest of the batch, or the end, or the next batch.
    pub(super) fn go_on(&mut self, job: Box<Job>) {
        let id = job.connection;
        if job.current().is_some() {
            return self.advance(job);
        }
        let closes = job.closes();
        if job.requests.last().is_some_and(|framed| framed.request == Request::Foreign) {
            self.say_foreign();
        }
        self.supplies.return_job(job);
        let Some(connection) = self.connections.find(id) else { return };
        connection.phase = Phase::Idle;
        if closes {
            self.say_goodbye(id);
        } else if connection.has_more() || self.stopping != Stopping::No {
            self.stand_in_line(id);
        } else {
            self.settle(id);
        }
    }

    /// Somebody speaks another protocol: perhaps a wrong port, perhaps a scan. A flood of them floods no log.
    fn say_foreign(&mut self) {
        let due = self.foreign_said.is_none_or(|at| at + FOREIGN_SAID <= self.now);
        if due {
            self.foreign_said = Some(self.now);
            log::warn!("a client spoke another protocol and was closed; this is said at most once a minute");
        }
    }
}
