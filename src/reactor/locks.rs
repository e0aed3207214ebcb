//! Locks: grants that outlive the request they were given to, until they are given back, or their connection ends, or
//! its lease runs out.
//!
//! The law: only this thread begins and ends locks, and lets a connection that holds any wait. So while it looks who
//! waits for whom, no such wait begins or ends, and what it finds is true.

use std::time::Duration;

use super::extras::Lease;
use super::phase::Phase;
use super::server::Server;
use super::transport::Transport;
use crate::mailboxes::{Grant, Mode, would_deadlock};
use crate::planted::{Bug, is_planted};
use crate::protocol::{Refusal, Reply, Request, Wait};
use crate::workers::{ConnectionId, Job, Lock, LockSet, Outcome, admit, refuse, time_out, with_grant};

/// How long a client may be silent without losing its locks, if it does not say.
pub const LEASE: Duration = Duration::from_secs(30);

/// Mailboxes that one connection may lock, and that it may watch.
pub const MAILBOXES_MAX: usize = 1024;

/// What became of a request that wanted to be in a mailbox.
pub(super) enum Acquired {
    /// The job has its grant.
    Granted(Box<Job>),
    /// The job lies in the queue.
    Queued,
    /// It would wait for itself.
    Deadlock(Box<Job>),
}

impl<W: Transport> Server<W> {
    /// Takes a place for the current request of a job.
    pub(super) fn enqueue(&mut self, mut job: Box<Job>, mailbox: u32, mode: Mode, wait: Wait) -> Acquired {
        let id = job.connection;
        if job.has_locks() {
            job.grant = self.mailboxes.queue(mailbox).try_admit(mode);
            if job.grant.is_some() {
                return Acquired::Granted(job);
            }
            if self.would_deadlock(id, mailbox) {
                return Acquired::Deadlock(job);
            }
        }
        // Before it is queued: from then on a worker may admit, answer and send it home at any time.
        self.set_working(id);
        match admit(job, &self.mailboxes, mailbox, mode, wait) {
            Ok(granted) => Acquired::Granted(with_grant(granted)),
            Err(parked) => {
                self.on_wait_started(parked);
                Acquired::Queued
            }
        }
    }

    /// Whether a connection would wait for itself if it waited at a mailbox.
    pub(super) fn would_deadlock(&self, id: ConnectionId, mailbox: u32) -> bool {
        if is_planted(Bug::DeadlockUnchecked) {
            return false;
        }
        let holders = |mailbox, found: &mut Vec<_>| found.extend(self.holders(mailbox));
        would_deadlock(id, mailbox, holders, |holder| self.waiting_on(holder))
    }

    /// Who has locked a mailbox.
    pub(super) fn holders(&self, mailbox: u32) -> impl Iterator<Item = ConnectionId> {
        let first = ConnectionId { slot: 0, generation: 0 };
        let last = ConnectionId { slot: u32::MAX, generation: u32::MAX };
        self.lock_holders.range((mailbox, first)..=(mailbox, last)).map(|(_, holder)| *holder)
    }

    /// Where a connection waits. It may have been let in without this thread knowing yet: the queue knows.
    fn waiting_on(&self, id: ConnectionId) -> Option<u32> {
        let &Phase::Waiting { mailbox, ticket, .. } = self.connections.look(id)?.phase() else { return None };
        self.mailboxes.queue(mailbox).with_waiter(ticket, |_| mailbox)
    }

    /// Goes on with the `lock` that is a job's current request: takes one mailbox after the other, in ascending order.
    /// `None` while it waits.
    pub(super) fn lock(&mut self, mut job: Box<Job>) -> Option<Box<Job>> {
        let Request::Lock(request) = &job.requests[job.answered].request else {
            unreachable!("called for a lock")
        };
        let (wait, mode) = (request.wait, if request.shared { Mode::Shared } else { Mode::Exclusive });
        let begins = job.grant.is_none() && !has_pending(&job);
        if begins && let Some(refusal) = self.check_lock(&job) {
            refuse(&mut job, &refusal);
            return Some(job);
        }
        while let Some(mailbox) = next_wanted(&job) {
            if let Some(grant) = job.grant.take() {
                self.hold(&mut job, mailbox, grant);
                continue;
            }
            if wait == Wait::For(Duration::ZERO) {
                job.grant = self.mailboxes.queue(mailbox).try_admit(mode);
                if job.grant.is_none() {
                    self.release_partial(&mut job);
                    time_out(&mut job, &self.mailboxes);
                    return Some(job);
                }
                continue;
            }
            match self.enqueue(job, mailbox, mode, wait) {
                Acquired::Granted(granted) => job = granted,
                Acquired::Queued => return None,
                Acquired::Deadlock(refused) => {
                    job = refused;
                    self.release_partial(&mut job);
                    refuse(&mut job, &Refusal::Deadlock);
                    return Some(job);
                }
            }
        }
        self.locked(&mut job);
        Some(job)
    }

    fn check_lock(&mut self, job: &Job) -> Option<Refusal> {
        let Request::Lock(request) = &job.requests[job.answered].request else {
            unreachable!("called for a lock")
        };
        let held = job.locks.as_ref();
        let again = |mailbox: &u32| held.is_some_and(|held| held.holds(*mailbox));
        if request.mailboxes.iter().any(again) {
            return Some(Refusal::Denied("you have locked this mailbox already"));
        }
        // Those that were lost, too: they are remembered until the client says that it knows.
        let count = request.mailboxes.len() + held.map_or(0, |held| held.others(&request.mailboxes));
        (count > MAILBOXES_MAX).then_some(Refusal::Count { max: MAILBOXES_MAX })
    }

    /// A mailbox of a `lock` is taken.
    fn hold(&mut self, job: &mut Job, mailbox: u32, grant: Grant) {
        job.tally.overtakes += u64::from(grant.overtaken());
        self.lock_holders.insert((mailbox, job.connection));
        job.locks.get_or_insert_default().add(Lock::new(mailbox, grant));
    }

    /// All mailboxes of a `lock` are taken.
    fn locked(&mut self, job: &mut Job) {
        let number = self.mailboxes.segment().next_token();
        let Job { requests, answered, locks: held, connection, output, tally, .. } = job;
        let framed = &requests[*answered];
        let Request::Lock(request) = &framed.request else { unreachable!("called for a lock") };
        let held = held.get_or_insert_default();
        held.set_fencing_token(number);
        let now = self.now;
        let max_hold = self.settings.max_hold;
        let ttl = request.ttl.unwrap_or(LEASE).min(max_hold);
        let Some(connection) = self.connections.find(*connection) else { return };
        let session = connection.extras(now);
        session.last_renewal = now;
        for &mailbox in &request.mailboxes {
            held.forget_expired(mailbox);
            let mode = if request.shared { Mode::Shared } else { Mode::Exclusive };
            let last = now + max_hold;
            session.leases.push(Lease {
                mailbox,
                mode,
                fencing_token: number,
                since: now,
                ttl,
                hard_deadline: last,
                eol: framed.eol,
            });
        }
        Reply::Locked { grant: number }.encode(framed.eol, output);
        tally.count(Outcome::Locked);
        job.advance();
    }

    /// Gives back what a `lock` has taken that cannot have all it wants.
    pub(super) fn release_partial(&mut self, job: &mut Job) {
        let Some(held) = &mut job.locks else { return };
        for lock in held.take(|lock| lock.fencing_token == 0) {
            self.end_lock(job.connection, lock);
        }
        forget_if_empty(&mut job.locks);
    }

    /// Answers the `unlock` that is a job's current request.
    pub(super) fn unlock(&mut self, job: &mut Job) {
        let Job { requests, answered, locks: held, connection, output, tally, .. } = job;
        let framed = &requests[*answered];
        let Request::Unlock { mailboxes, grant } = &framed.request else {
            unreachable!("called for an unlock")
        };
        let mut none = LockSet::default();
        let locks = held.as_deref_mut().unwrap_or(&mut none);
        let is_number = |lock: &Lock| grant.is_none_or(|grant| grant == lock.fencing_token);
        let (ended, good) = match mailboxes {
            None => {
                let lost = locks.forget_all_expired();
                let ended = locks.take(|lock| is_number(lock));
                let good = !lost && (grant.is_none() || !ended.is_empty());
                (ended, good)
            }
            Some(list) => {
                for mailbox in list {
                    locks.forget_expired(*mailbox);
                }
                let is_ours = |mailbox: &u32| {
                    locks.locks().iter().any(|lock| lock.mailbox == *mailbox && is_number(lock))
                };
                // All or none, as they are locked.
                let good = list.iter().all(is_ours);
                (locks.take(|lock| good && list.contains(&lock.mailbox)), good)
            }
        };
        let (reply, outcome) = match good {
            true => (Reply::Ok, Outcome::Unlocked),
            false => (Reply::Refused(&Refusal::Lease), Outcome::Lease),
        };
        reply.encode(framed.eol, output);
        tally.count(outcome);
        forget_if_empty(held);
        let id = *connection;
        for lock in ended {
            self.end_lease(id, lock.mailbox);
            self.end_lock(id, lock);
        }
        job.advance();
    }

    /// Ends the locks of a connection whose leases have run out. `held` is where its locks are; `news` gets what the client
    /// is to be told.
    pub(super) fn expire_locks(
        &mut self,
        id: ConnectionId,
        held: &mut Option<Box<LockSet>>,
        news: &mut Vec<u8>,
    ) {
        let Some(connection) = self.connections.find(id) else { return };
        let ended = connection.extras(self.now).take_ended(self.now);
        for lease in ended {
            let mailbox = lease.mailbox;
            let version = self.mailboxes.version(mailbox).unwrap_or(0);
            Reply::LockLost { mailbox, version }.encode(lease.eol, news);
            let held = held.as_mut().expect("a lease is of a lock that is held");
            held.expire(mailbox);
            for lock in held.take(|lock| lock.mailbox == mailbox) {
                self.end_lock(id, lock);
            }
            self.counters.leases_ended += 1;
        }
    }

    /// Ends all locks of a connection that is no more.
    pub(super) fn end_locks(&mut self, id: ConnectionId, held: Option<Box<LockSet>>) {
        let Some(mut held) = held else { return };
        for lock in held.take(|_| true) {
            self.end_lock(id, lock);
        }
    }

    fn end_lease(&mut self, id: ConnectionId, mailbox: u32) {
        if let Some(connection) = self.connections.find(id) {
            connection.extras(self.now).leases.retain(|lease| lease.mailbox != mailbox);
        }
    }

    fn end_lock(&mut self, id: ConnectionId, lock: Lock) {
        let mailbox = lock.mailbox;
        self.lock_holders.remove(&(mailbox, id));
        self.release(mailbox, lock.into_grant());
    }

    /// Ends a grant, and submits whoever that lets in.
    pub(super) fn release(&mut self, mailbox: u32, grant: Grant) {
        let mut admitted = Vec::new();
        self.mailboxes.release(mailbox, grant, &mut admitted);
        admitted.into_iter().for_each(|granted| self.submit(with_grant(granted)));
    }
}

/// Whether the current request of a job has taken some of the mailboxes it wants.
fn has_pending(job: &Job) -> bool {
    job.locks.as_ref().is_some_and(|held| held.pending() > 0)
}

/// The next mailbox that a `lock` wants: it has taken those before.
pub(super) fn next_wanted(job: &Job) -> Option<u32> {
    let Request::Lock(request) = &job.current()?.request else { return None };
    let taken = job.locks.as_ref().map_or(0, |held| held.pending());
    request.mailboxes.get(taken).copied()
}

fn forget_if_empty(held: &mut Option<Box<LockSet>>) {
    if held.as_ref().is_some_and(|held| held.is_empty()) {
        *held = None;
    }
}
