//! Locks: grants that are held across requests, until unlock, disconnect, or the end of the lease.

use std::time::Duration;

use super::super::leases::Lease;
use super::super::transport::Transport;
use super::Server;
use super::drive::Acquired;
use crate::mailboxes::{Grant, Mode, Purpose, Released};
use crate::protocol::{LocalRequest, Refusal, Reply, Request, Wait};
use crate::workers::{
    Acquire, ConnectionId, Job, JobState, Lock, LockSet, Next, Outcome, WaitReason, pass_on, refuse, reply,
    time_out,
};

/// How long a client may be silent without losing its locks, unless its `lock` has `ttl=`.
pub(super) const LEASE: Duration = Duration::from_secs(30);

/// Largest number of mailboxes that one connection may lock. It may watch the same number.
pub(super) const MAILBOXES_MAX: usize = 1024;

impl<T: Transport> Server<T> {
    /// Continues the current request, a `lock`: acquires one mailbox after the other, in ascending order.
    /// Returns the job unless it waits.
    pub(super) fn lock(
        &mut self,
        id: ConnectionId,
        mut job: Box<Job>,
        mode: Mode,
        wait: Wait,
    ) -> Option<Box<Job>> {
        let begins = matches!(job.state, JobState::Ready) && pending(&job) == 0;
        if begins && let Some(refusal) = check_lock(&job) {
            refuse(&mut job, &refusal);
            return Some(job);
        }
        while let Some(mailbox) = next_wanted(&job) {
            job = match job.take_state() {
                JobState::Granted(grant) => {
                    self.hold(id, &mut job, mailbox, grant);
                    job
                }
                _ => match self.acquire(id, job, Acquire { mailbox, mode, purpose: Purpose::Lock, wait }) {
                    Acquired::Granted(granted) => granted,
                    Acquired::Waiting => return None,
                    Acquired::Locked(mut refused) => {
                        self.release_partial(id, &mut refused);
                        time_out(&mut refused, &self.mailboxes, WaitReason::Queue);
                        return Some(refused);
                    }
                    Acquired::Deadlock(mut refused) => {
                        self.release_partial(id, &mut refused);
                        refuse(&mut refused, &Refusal::Deadlock);
                        return Some(refused);
                    }
                },
            };
        }
        self.complete_lock(id, &mut job, mode);
        Some(job)
    }

    /// Adds an acquired mailbox to the locks of a client.
    fn hold(&mut self, id: ConnectionId, job: &mut Job, mailbox: u32, mut grant: Grant) {
        if grant.mode() == Mode::Exclusive {
            self.mailboxes.hold(mailbox, &mut grant);
        }
        job.tally.overtakes += u64::from(grant.overtaken());
        self.locks.begin(mailbox, id);
        job.locks.get_or_insert_default().add(mailbox, grant);
    }

    /// Answers a `lock` that has acquired all its mailboxes.
    fn complete_lock(&mut self, id: ConnectionId, job: &mut Job, mode: Mode) {
        let token = self.mailboxes.segment().next_token();
        let (now, max_hold) = (self.now, self.settings.max_hold);
        if let Some(mut client) = self.clients.get(id)
            && let Some(locks) = &mut job.locks
            && let Request::Local(LocalRequest::Lock(request)) = &job.requests[job.next].request
        {
            locks.complete();
            let ttl = request.ttl.unwrap_or(LEASE).min(max_hold);
            let eol = job.requests[job.next].style.eol();
            let leases = &mut client.extras(now).leases;
            leases.renew(now);
            for &mailbox in &request.mailboxes {
                leases.add(Lease {
                    mailbox,
                    mode,
                    token,
                    since: now,
                    ttl,
                    hard_deadline: now + max_hold,
                    eol,
                });
            }
        }
        reply(job, &Reply::Locked { grant: token }, Outcome::Locked);
    }

    /// Releases the mailboxes that a `lock` has acquired so far, because the `lock` cannot be completed.
    pub(super) fn release_partial(&mut self, id: ConnectionId, job: &mut Job) {
        let Some(locks) = &mut job.locks else { return };
        let ended = locks.take_pending();
        drop_if_empty(&mut job.locks);
        self.end_each(id, ended);
    }

    /// Answers the current request, an `unlock` of these mailboxes, or of all mailboxes that the client has
    /// locked.
    pub(super) fn unlock(
        &mut self,
        id: ConnectionId,
        job: &mut Job,
        mailboxes: Option<&[u32]>,
        token: Option<u64>,
    ) {
        let mut owned = Vec::new();
        if let Some(mut client) = self.clients.get(id)
            && let Some(extras) = &mut client.extras
        {
            let leases = &mut extras.leases;
            let has_token = |lease: &&Lease| token.is_none_or(|token| token == lease.token);
            match mailboxes {
                None => owned.extend(leases.iter().filter(has_token).map(|lease| lease.mailbox)),
                // Unlocking is all or none, as locking is.
                Some(list)
                    if list.iter().all(|mailbox| leases.of(*mailbox).is_some_and(|of| has_token(&of))) =>
                {
                    owned.extend_from_slice(list);
                }
                Some(_) => {}
            }
            owned.iter().for_each(|mailbox| _ = leases.remove(*mailbox));
        }
        let mut none = LockSet::default();
        let locks = job.locks.as_deref_mut().unwrap_or(&mut none);
        let is_right = match mailboxes {
            None => !locks.forget_all_expired() && (token.is_none() || !owned.is_empty()),
            Some(list) => {
                list.iter().for_each(|mailbox| locks.forget_expired(*mailbox));
                !owned.is_empty()
            }
        };
        let ended: Vec<Lock> = owned.into_iter().filter_map(|mailbox| locks.take(mailbox)).collect();
        drop_if_empty(&mut job.locks);
        match is_right {
            true => reply(job, &Reply::Ok, Outcome::Unlocked),
            false => refuse(job, &Refusal::Lease),
        }
        self.end_each(id, ended);
    }

    /// Ends the locks whose leases have expired. `locks` are the locks of the client. An event for each lost
    /// lock is appended to `events`.
    pub(super) fn expire_locks(
        &mut self,
        id: ConnectionId,
        expired: Vec<Lease>,
        locks: &mut Option<Box<LockSet>>,
        events: &mut Vec<u8>,
    ) {
        for Lease { mailbox, eol, hard_deadline, .. } in expired {
            let version = self.mailboxes.version(mailbox).unwrap_or(0);
            let by_max_hold = hard_deadline <= self.now;
            Reply::LockLost { mailbox, version, by_max_hold }.encode(eol, events);
            let locks = locks.as_mut().expect("every lease belongs to a lock");
            locks.expire(mailbox);
            let ended = locks.take(mailbox);
            self.end_each(id, ended);
            self.counters.leases_ended += 1;
        }
    }

    /// Ends a lock.
    pub(super) fn end_lock(&mut self, id: ConnectionId, lock: Lock) {
        let Lock { mailbox, grant } = lock;
        self.locks.end(mailbox, id);
        self.release(mailbox, grant);
    }

    fn end_each(&mut self, id: ConnectionId, ended: impl IntoIterator<Item = Lock>) {
        ended.into_iter().for_each(|lock| self.end_lock(id, lock));
    }

    /// Ends a grant, and submits the jobs and the watch read that this admits.
    pub(super) fn release(&mut self, mailbox: u32, grant: Grant) {
        let mut released = Released::default();
        self.mailboxes.release(mailbox, grant, &mut released);
        self.submit_released(mailbox, released);
    }

    /// Submits the jobs and the watch read that a release or a cancellation at a mailbox has admitted.
    pub(super) fn submit_released(&mut self, mailbox: u32, released: Released<Box<Job>>) {
        pass_on(mailbox, released, |next| self.submit_next(next));
    }

    pub(super) fn submit_next(&mut self, next: Next) {
        match next {
            Next::Job(job) => self.pool.submit(job),
            Next::Watch { mailbox, grant } => self.on_watch_admitted(mailbox, grant),
        }
    }
}

/// The reason to refuse a new `lock`, if there is one.
fn check_lock(job: &Job) -> Option<Refusal> {
    let wanted = wanted(job);
    let locks = job.locks.as_ref();
    if wanted.iter().any(|mailbox| locks.is_some_and(|locks| locks.holds(*mailbox))) {
        return Some(Refusal::Denied("you have locked this mailbox already"));
    }
    // Expired locks count, too: they are stored until the client acknowledges them.
    let count = wanted.len() + locks.map_or(0, |locks| locks.others(wanted));
    (count > MAILBOXES_MAX).then_some(Refusal::Count { max: MAILBOXES_MAX })
}

/// The mailboxes that the current request wants to lock.
fn wanted(job: &Job) -> &[u32] {
    match job.current().map(|framed| &framed.request) {
        Some(Request::Local(LocalRequest::Lock(request))) => &request.mailboxes,
        _ => &[],
    }
}

/// How many mailboxes the current request has acquired.
fn pending(job: &Job) -> usize {
    job.locks.as_ref().map_or(0, |locks| locks.pending())
}

/// The next mailbox that the current request, if it is a `lock`, has to acquire.
pub(super) fn next_wanted(job: &Job) -> Option<u32> {
    wanted(job).get(pending(job)).copied()
}

fn drop_if_empty(locks: &mut Option<Box<LockSet>>) {
    if locks.as_ref().is_some_and(|locks| locks.is_empty()) {
        *locks = None;
    }
}
