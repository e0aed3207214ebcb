//! Checks of locks: which clients may hold them, and which requests they exclude.

use std::time::Duration;

use super::super::client_model::{DEFAULT_LEASE, HeldLock, MAX_HOLD, PendingRequest};
use super::super::history::State;
use super::super::reply::ParsedReply;
use super::super::request::ClientRequest;
use super::Oracle;

impl Oracle {
    pub(super) fn check_lock_granted(
        &mut self,
        client: usize,
        pending: &PendingRequest,
        reply: &ParsedReply,
        mailboxes: &[u32],
        shared: bool,
        ttl: Option<Duration>,
    ) {
        let grant = reply.number("grant").expect("a number");
        assert!(grant > pending.last_grant, "{reply} after a lock with grant={}", pending.last_grant);
        self.last_grant = self.last_grant.max(grant);
        // If more requests are pending, the lock may have ended before its reply is received.
        assert!(
            pending.overtaken_by.is_empty() || pending.is_pipelined,
            "{:?} was overtaken",
            pending.request
        );
        for &mailbox in mailboxes {
            self.check_not_locked_out(client, pending, mailbox, None);
            let state = self.mailboxes[mailbox as usize].current();
            let lock = HeldLock {
                shared,
                grant,
                ttl: ttl.unwrap_or(DEFAULT_LEASE).min(MAX_HOLD),
                requested: pending.sent,
                granted: self.now,
                state,
            };
            let model = &mut self.models[client];
            model.lost_locks.remove(&mailbox);
            let before = model.locks.insert(mailbox, lock);
            assert!(before.is_none(), "the client locked mailbox {mailbox} twice");
            self.check_no_conflicting_lock(client, mailbox, shared, grant);
            self.record_overtaking_lock(client, pending, mailbox, state);
        }
    }

    /// Checks that no other client holds a conflicting lock. Applies if the client certainly holds the
    /// mailbox now, since a late reply may describe a lock that has ended.
    pub(super) fn check_no_conflicting_lock(&self, client: usize, mailbox: u32, shared: bool, grant: u64) {
        let is_sure = self.models[client].certainly_holds(mailbox, self.now.time).is_some();
        for (other, model) in self.models.iter().enumerate().filter(|(other, _)| *other != client) {
            let lock = model.certainly_holds(mailbox, self.now.time);
            let both = is_sure && lock.is_some_and(|lock| !(lock.shared && shared));
            assert!(!both, "clients {client} and {other} have both locked mailbox {mailbox}");
            let same = model.locks.values().any(|lock| lock.grant == grant);
            assert!(!same, "grant={grant} is issued twice");
        }
    }

    pub(super) fn record_overtaking_lock(
        &mut self,
        client: usize,
        pending: &PendingRequest,
        mailbox: u32,
        state: State,
    ) {
        for (other, model) in self.models.iter_mut().enumerate().filter(|(_, model)| model.end.is_none()) {
            let Some(waiting) = model.outstanding.front_mut() else { continue };
            let before = waiting.queued_since.is_some_and(|since| since < pending.sent.sequence)
                && (pending.request.is_exclusive() || waiting.request.is_exclusive());
            if other != client && before && waiting.request.mailboxes() == [mailbox] {
                waiting.overtaken_by.push(state);
            }
        }
    }

    pub(super) fn check_lease_error(&mut self, client: usize, pending: &PendingRequest) {
        let model = &mut self.models[client];
        match &pending.request {
            ClientRequest::Unlock { mailboxes, grant } => {
                let has = |mailbox: &u32| {
                    model.locks.get(mailbox).is_some_and(|lock| grant.is_none_or(|grant| grant == lock.grant))
                };
                let lost = |mailbox: &u32| model.lost_locks.contains_key(mailbox);
                let is_valid = match mailboxes {
                    Some(list) => !list.iter().all(has) || list.iter().any(lost),
                    None => !model.lost_locks.is_empty() || grant.is_some() && !model.locks.keys().any(has),
                };
                assert!(is_valid, "ERR lease to {:?} with {:?}", pending.request, model.locks);
                match mailboxes {
                    Some(list) => list.iter().for_each(|mailbox| _ = model.lost_locks.remove(mailbox)),
                    None => {
                        model.lost_locks.clear();
                        let ended = self.remove_locks(client, None, *grant);
                        self.record_unlocked(client, &ended);
                    }
                }
            }
            ClientRequest::Read { mailbox, .. } | ClientRequest::Write { mailbox, .. } => {
                assert!(model.lost_locks.contains_key(mailbox), "no lock of mailbox {mailbox} has expired");
            }
            ClientRequest::Put { mailbox, .. } | ClientRequest::Take { mailbox, .. } => {
                assert!(model.lost_locks.contains_key(mailbox), "no lock of mailbox {mailbox} has expired");
            }
            ClientRequest::Done { mailbox, version, .. } | ClientRequest::Back { mailbox, version, .. }
                if !model.lost_locks.contains_key(mailbox) =>
            {
                self.check_not_in_hand(client, pending, *version);
            }
            ClientRequest::Done { .. } | ClientRequest::Back { .. } => {}
            other => panic!("ERR lease to {other:?}"),
        }
    }

    pub(super) fn remove_locks(
        &mut self,
        client: usize,
        list: Option<&[u32]>,
        grant: Option<u64>,
    ) -> Vec<u32> {
        let model = &mut self.models[client];
        let matches = |mailbox: &u32, lock: &HeldLock| {
            list.is_none_or(|list| list.contains(mailbox)) && grant.is_none_or(|grant| grant == lock.grant)
        };
        let ended: Vec<u32> =
            model.locks.iter().filter(|(m, lock)| matches(m, lock)).map(|(m, _)| *m).collect();
        ended.iter().for_each(|mailbox| _ = model.locks.remove(mailbox));
        ended
    }

    pub(super) fn record_unlocked(&mut self, client: usize, ended: &[u32]) {
        ended.iter().for_each(|mailbox| self.wait_graph.end_lock(client, *mailbox, self.now.sequence));
    }

    pub(super) fn check_denied(&self, client: usize, pending: &PendingRequest) {
        let model = &self.models[client];
        let own = |mailbox: &u32| match (&pending.request, model.locks.get(mailbox)) {
            (ClientRequest::Lock { .. }, lock) => lock.is_some(),
            (request, Some(lock)) => lock.shared && request.is_exclusive(),
            (_, None) => false,
        };
        let is_valid =
            pending.request.mailboxes().iter().any(own) || model.has_lost_lock_since(pending.sent.sequence);
        assert!(is_valid, "ERR denied to {:?} with {:?}", pending.request, model.locks);
    }

    pub(super) fn check_deadlock(&self, client: usize, pending: &PendingRequest) {
        let (mailboxes, since) = (pending.request.mailboxes(), pending.sent.sequence);
        let is_valid = self.wait_graph.may_have_closed_cycle(client, pending.number, &mailboxes, since);
        assert!(is_valid, "ERR deadlock to {:?} without a cycle of waits", pending.request);
    }
}
