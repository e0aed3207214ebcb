//! Checks of replies that describe a mailbox, and of waits that end without success.

use super::super::client::{CAPACITY, JOBS};
use super::super::client_model::{DEFAULT_WAIT, PendingRequest};
use super::super::history::{Change, State};
use super::super::reply::ParsedReply;
use super::super::request::ClientRequest;
use super::Oracle;

impl Oracle {
    pub(super) fn check_done(&mut self, client: usize, pending: &PendingRequest, reply: &ParsedReply) {
        if let ClientRequest::Lock { mailboxes, shared, ttl, .. } = &pending.request {
            assert_eq!(reply.word, "OK");
            return self.check_lock_granted(client, pending, reply, mailboxes, *shared, *ttl);
        }
        let mailbox = pending.request.mailboxes()[0];
        let (version, count) = (reply.number("v").expect("a version"), reply.number("n"));
        let history = &mut self.mailboxes[mailbox as usize];
        let state_of = |count: Option<u64>| State { version, count: count.expect("a count") };
        let (word, state) = match &pending.request {
            ClientRequest::Read { after: None, part, .. } => {
                match count {
                    Some(0) => assert!(reply.body.is_empty(), "{reply} of an empty mailbox"),
                    _ => history.record_view(version, *part, &reply.body),
                }
                ("DATA", Some(state_of(count)))
            }
            ClientRequest::Read { after: Some(after), part, .. } => {
                let lost = reply.number("lost").unwrap_or(0);
                assert_eq!(version, after + 1 + lost, "{reply} after {after}");
                history.record_view(version, *part, &reply.body);
                let count = count.expect("a count");
                // If versions are lost, this is the oldest message.
                ("DATA", (lost > 0).then(|| State { version: version + count - 1, count }))
            }
            ClientRequest::Write { offset, body, expected, .. } => {
                assert!(
                    expected.is_none_or(|expected| expected + 1 == version),
                    "{reply} to if={expected:?}"
                );
                let state = State { version, count: 1 };
                let change = match offset {
                    None => Change::Replace(body.clone()),
                    Some(offset) => Change::Patch(*offset as usize, body.clone()),
                };
                history.record_change(state, change);
                ("OK", Some(state))
            }
            ClientRequest::Put { body, drop_oldest, .. } => {
                history.record_change(
                    state_of(count),
                    Change::Put { body: body.clone(), drop_oldest: *drop_oldest },
                );
                ("OK", Some(state_of(count)))
            }
            ClientRequest::Take { .. } => {
                let count = count.expect("a count");
                let state = State { version: version + count, count };
                history.record_view(version, None, &reply.body);
                history.record_change(state, Change::Take);
                ("DATA", Some(state))
            }
            other => unreachable!("{other:?}"),
        };
        assert_eq!(reply.word, word);
        assert!(
            pending.request.body().is_none_or(|body| body.len() <= CAPACITY),
            "{reply} to a body larger than the mailbox"
        );
        self.check_effect(client, pending, mailbox, state);
    }

    /// Checks a request that was admitted while its mailbox was in `state`: the state is not older than the
    /// known states, no other client had locked the mailbox, and no waiting request was overtaken.
    pub(super) fn check_effect(
        &mut self,
        client: usize,
        pending: &PendingRequest,
        mailbox: u32,
        state: Option<State>,
    ) {
        let history = &mut self.mailboxes[mailbox as usize];
        if let Some(state) = state {
            assert!(
                state >= pending.floors[mailbox as usize],
                "{state:?} is older than a state known before"
            );
            history.record_state(state);
            let was_current = history.was_in(pending.sent.sequence, |sample, _| sample == state);
            assert!(
                was_current || pending.is_pipelined,
                "mailbox {mailbox} was never in {state:?} while the request was pending"
            );
            let overtaking = pending.overtaken_by.iter().find(|passed| **passed < state);
            assert!(
                overtaking.is_none(),
                "a later request made {overtaking:?} before the {state:?} of {pending:?}"
            );
        }
        let model = &self.models[client];
        assert!(!model.lost_locks.contains_key(&mailbox), "done although the lock has expired");
        let denied =
            model.locks.get(&mailbox).is_some_and(|lock| lock.shared) && pending.request.is_exclusive();
        assert!(
            !denied || model.has_lost_lock_since(pending.sent.sequence),
            "done under the client's own shared lock"
        );
        self.check_not_locked_out(client, pending, mailbox, state);
        self.record_overtaking(
            client,
            pending,
            mailbox,
            state.unwrap_or(self.mailboxes[mailbox as usize].current()),
        );
    }

    /// Checks that no other client held a lock that excludes this request from before it was sent until now.
    pub(super) fn check_not_locked_out(
        &self,
        client: usize,
        pending: &PendingRequest,
        mailbox: u32,
        state: Option<State>,
    ) {
        for (other, model) in self.models.iter().enumerate().filter(|(other, _)| *other != client) {
            let Some(lock) = model.certainly_holds(mailbox, self.now.time) else { continue };
            if lock.shared && !pending.request.is_exclusive() {
                continue;
            }
            let is_locked_before = lock.granted.sequence < pending.sent.sequence;
            assert!(
                !is_locked_before,
                "client {other} has locked mailbox {mailbox}, and {:?} of client {client} was done",
                pending.request
            );
            let is_changed_since = state.is_some_and(|state| state > lock.state);
            assert!(
                !is_changed_since,
                "{state:?} was made while client {other} held mailbox {mailbox} since {:?}",
                lock.state
            );
        }
    }

    /// Records that this request overtook the requests that were queued before it was sent. Such a request
    /// may already be admitted without a reply. In this case the state in its own reply shows that it was not
    /// overtaken.
    pub(super) fn record_overtaking(
        &mut self,
        client: usize,
        pending: &PendingRequest,
        mailbox: u32,
        state: State,
    ) {
        let model = &self.models[client];
        if model.locks.contains_key(&mailbox) || model.has_lost_lock_since(pending.sent.sequence) {
            return;
        }
        for other in self.models.iter_mut().filter(|model| model.end.is_none()) {
            let Some(waiting) = other.outstanding.front_mut() else { continue };
            // A waiting shared lock may already be granted, so another reader can be admitted at the same
            // time.
            if matches!(waiting.request, ClientRequest::Lock { shared: true, .. })
                && !pending.request.is_exclusive()
            {
                continue;
            }
            if waiting.queued_since.is_some_and(|since| since < pending.sent.sequence)
                && waiting.request.mailboxes() == [mailbox]
            {
                waiting.overtaken_by.push(state);
            }
        }
    }

    pub(super) fn check_no(&mut self, client: usize, pending: &PendingRequest, reply: &ParsedReply) {
        if let ("ahead", ClientRequest::Watch { mailboxes, after: Some(after) }) =
            (reply.reason.as_str(), &pending.request)
        {
            return self.check_ahead(pending, mailboxes, *after, reply);
        }
        let mailboxes = pending.request.mailboxes();
        let &[mailbox, ..] = &mailboxes[..] else { panic!("{reply} to {:?}", pending.request) };
        let history = &self.mailboxes[mailbox as usize];
        let since = pending.sent.sequence;
        let in_isolation = !pending.is_pipelined;
        let version = reply.number("v");
        match (reply.reason.as_str(), &pending.request) {
            ("conflict", ClientRequest::Write { expected: Some(expected), .. }) => {
                let version = version.expect("the version");
                assert!(version != *expected && version >= pending.floors[mailbox as usize].version);
                assert!(
                    !in_isolation || history.was_in(since, |state, _| state.version == version),
                    "{reply}, but the mailbox was never in this state"
                );
                return self.check_effect(client, pending, mailbox, None);
            }
            ("multi", ClientRequest::Write { offset: Some(_), .. }) => {
                assert!(
                    !in_isolation || history.was_in(since, |state, _| state.count > 1),
                    "{reply}, but there were never several messages"
                );
                return self.check_effect(client, pending, mailbox, None);
            }
            ("ahead", ClientRequest::Read { after: Some(after), .. }) => {
                let version = version.expect("a reader is told the version");
                assert!(version < *after && version >= pending.floors[mailbox as usize].version, "{reply}");
                return;
            }
            ("empty", ClientRequest::Take { mailbox: JOBS, .. }) => self.check_no_job(pending, reply),
            ("empty", ClientRequest::Take { .. }) => {
                assert!(
                    !in_isolation || history.was_in(since, |state, _| state.count == 0),
                    "{reply}, but the mailbox was never empty"
                );
            }
            ("full", ClientRequest::Put { drop_oldest: false, body, .. }) => {
                let full = |_, room: Option<u64>| room.is_none_or(|room| room < body.len() as u64);
                let contended = self.wait_graph.had_other_client(client, mailbox, since);
                assert!(
                    !in_isolation || contended || history.was_in(since, full),
                    "{reply}, but the mailbox was never full"
                );
            }
            ("locked", ClientRequest::Lock { .. }) => {
                assert!(pending.has_zero_wait(), "{reply} to a lock that waits");
            }
            ("timeout", ClientRequest::Lock { .. }) => {
                assert!(!pending.has_zero_wait(), "{reply} to a lock that does not wait");
            }
            ("timeout", ClientRequest::Read { .. }) => {
                let version = version.expect("a reader is told the version");
                assert!(
                    version >= pending.floors[mailbox as usize].version,
                    "{reply} is older than a state known before"
                );
            }
            ("timeout", _) => {}
            _ => panic!("{reply} to {:?}", pending.request),
        }
        let waits_for_newer = matches!(pending.request, ClientRequest::Read { after: Some(_), .. });
        if matches!(reply.reason.as_str(), "locked" | "timeout") && !waits_for_newer {
            self.check_contended(client, pending, reply);
        }
        self.check_not_too_early(client, pending, reply);
    }

    /// Checks the reply to a `watch` with a version that one of its mailboxes has not reached.
    fn check_ahead(&self, pending: &PendingRequest, mailboxes: &[u32], after: u64, reply: &ParsedReply) {
        let versions = reply.field("v").expect("versions").split(',');
        let versions: Vec<u64> = versions.map(|version| version.parse().expect("a version")).collect();
        assert_eq!(versions.len(), mailboxes.len());
        assert!(versions.iter().any(|version| *version < after), "{reply} to a watch after {after}");
        for (mailbox, version) in mailboxes.iter().zip(versions) {
            assert!(version >= pending.floors[*mailbox as usize].version, "{reply} is too old");
        }
    }

    /// Checks that a request could have been excluded: by another client, or by reads for watchers. A request
    /// that does not wait can only be excluded by a lock, unless a worker was stopped for the longest wait.
    pub(super) fn check_contended(&self, client: usize, pending: &PendingRequest, reply: &ParsedReply) {
        let has_waited = self.now.time >= pending.sent.time + DEFAULT_WAIT;
        let needs_lock = pending.has_zero_wait() && !has_waited && !self.may_end_early(client, pending);
        let is_contended = pending.request.mailboxes().into_iter().any(|mailbox| {
            let since = pending.sent.sequence;
            match needs_lock {
                true => self.wait_graph.had_other_lock(client, mailbox, since),
                false => {
                    self.wait_graph.had_other_client(client, mailbox, since)
                        || self.models.iter().any(|model| model.has_watched)
                }
            }
        });
        assert!(is_contended, "{reply}, but no other client used or locked the mailbox");
    }

    /// Whether a wait may end before its time: with a lease of the client, or because the client has stopped
    /// sending.
    fn may_end_early(&self, client: usize, pending: &PendingRequest) -> bool {
        let model = &self.models[client];
        let holds_lock = pending.request.mailboxes().iter().any(|mailbox| model.locks.contains_key(mailbox));
        let may_have_expired = model.earliest_lease_end().is_some_and(|from| self.now.time >= from);
        holds_lock
            || may_have_expired
            || model.has_lost_lock_since(pending.sent.sequence)
            || model.end.is_some()
    }

    /// Checks that the wait did not end early.
    pub(super) fn check_not_too_early(&self, client: usize, pending: &PendingRequest, reply: &ParsedReply) {
        let has_waited = pending.wait_ends_at(pending.sent.time).is_some_and(|at| self.now.time >= at);
        assert!(
            has_waited || self.may_end_early(client, pending),
            "{reply} is too early: sent at {:?}, now {:?}",
            pending.sent,
            self.now
        );
    }
}
