//! Checks of the mailbox whose messages are handed out: each message is done at most once, is in one hand at
//! a time, and none is lost.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::super::client::JOBS;
use super::super::client_model::{Moment, PROGRESS_TIMEOUT, PendingRequest};
use super::super::reply::ParsedReply;
use super::super::request::ClientRequest;
use super::Oracle;

/// A message that a reply has handed out to a client.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Hand {
    ttl: Duration,
    requested: Moment,
    granted: Moment,
}

/// What is known of one message.
#[derive(Debug, Default)]
struct Message {
    /// The body, if the reply to its `put` or `w` was received.
    body: Option<Vec<u8>>,
    /// The bodies in replies that were received before that.
    seen: Vec<Vec<u8>>,
    tries: BTreeSet<u64>,
    /// The sequence number of the reply that has confirmed its removal.
    removed: Option<u64>,
}

/// The messages of the mailbox, as its clients see them.
#[derive(Debug, Default)]
pub(crate) struct Jobs {
    messages: BTreeMap<u64, Message>,
    /// The version of the newest confirmed `w`, and the sequence number of its reply. All older messages were
    /// removed by it.
    replaced: (u64, u64),
    /// The sequence number at which the last `w` was sent or answered. It was executed in between.
    last_write: u64,
    /// Versions whose `done` has no reply, because its client has disconnected.
    maybe_done: BTreeSet<u64>,
    /// Number of takes without `ttl=` whose replies were received in part.
    maybe_taken: usize,
    /// Whether a `w` has no reply.
    maybe_replaced: bool,
    /// The number of messages that could be taken, between two steps, with the sequence number at which it
    /// began.
    available: Vec<(u64, u64)>,
}

impl Jobs {
    /// This many messages are not in hand now.
    pub(crate) fn sample(&mut self, sequence: u64, available: u64) {
        if self.available.last().is_none_or(|(_, last)| *last != available) {
            self.available.push((sequence, available));
        }
    }

    /// The number of messages that are not in hand.
    pub(crate) fn available(&self) -> u64 {
        self.available.last().map_or(0, |(_, available)| *available)
    }

    fn was_empty(&self, since: u64) -> bool {
        let before = self.available.iter().rposition(|(sequence, _)| *sequence <= since).unwrap_or(0);
        self.available[before..].iter().any(|(_, available)| *available == 0)
    }

    fn record_body(&mut self, version: u64, body: &[u8]) {
        let message = self.messages.entry(version).or_default();
        assert!(message.body.is_none(), "version {version} is made twice");
        assert!(message.seen.iter().all(|seen| seen == body), "the body of version {version}");
        message.body = Some(body.to_vec());
    }

    /// A reply has this message.
    fn check_body(&mut self, version: u64, body: &[u8]) -> &mut Message {
        let message = self.messages.entry(version).or_default();
        assert!(message.body.as_ref().is_none_or(|known| known == body), "the body of version {version}");
        message.seen.push(body.to_vec());
        message
    }

    /// Checks that a message could be handed out or taken by a request that was sent at `sent`.
    fn check_there(&self, version: u64, sent: u64) {
        let removed = self.messages.get(&version).and_then(|message| message.removed);
        assert!(removed.is_none_or(|at| at >= sent), "version {version} was removed before");
        let (newest, at) = self.replaced;
        assert!(version >= newest || at >= sent, "version {version} was replaced by {newest} before");
    }

    fn remove(&mut self, version: u64, sequence: u64) {
        let before = self.messages.entry(version).or_default().removed.replace(sequence);
        assert!(before.is_none(), "version {version} is removed twice");
    }

    /// A client has disconnected before the reply to a request.
    pub(crate) fn record_unconfirmed(&mut self, request: &ClientRequest, partly_received: bool) {
        match request {
            ClientRequest::Done { version, .. } => _ = self.maybe_done.insert(*version),
            ClientRequest::Take { ttl: None, .. } => self.maybe_taken += usize::from(partly_received),
            ClientRequest::Write { .. } => self.maybe_replaced = true,
            _ => {}
        }
    }

    /// Checks that every message was removed by a request, after the mailbox has become empty.
    pub(crate) fn check_none_lost(&self) {
        let (newest, _) = self.replaced;
        let is_explained = |version: &u64| *version < newest || self.maybe_done.contains(version);
        let lost: Vec<u64> = self
            .messages
            .iter()
            .filter(|(version, message)| message.removed.is_none() && !is_explained(version))
            .map(|(version, _)| *version)
            .collect();
        assert!(self.maybe_replaced || lost.len() <= self.maybe_taken, "messages {lost:?} are lost");
    }
}

impl Oracle {
    /// Checks the successful reply to a request for the mailbox with jobs.
    pub(super) fn check_job(&mut self, client: usize, pending: &PendingRequest, reply: &ParsedReply) {
        let (sent, now) = (pending.sent.sequence, self.now.sequence);
        let version = || reply.number("v").expect("a version");
        match &pending.request {
            ClientRequest::Put { body, .. } => self.jobs.record_body(version(), body),
            ClientRequest::Write { body, .. } => {
                self.jobs.record_body(version(), body);
                self.jobs.replaced = self.jobs.replaced.max((version(), now));
                self.jobs.last_write = now;
            }
            ClientRequest::Take { ttl, .. } => {
                self.check_in_no_hand(version(), client, sent);
                self.jobs.check_there(version(), sent);
                let message = self.jobs.check_body(version(), &reply.body);
                match ttl {
                    None => self.jobs.remove(version(), now),
                    Some(ttl) => {
                        let tries = reply.number("tries").expect("a number");
                        assert!(message.tries.insert(tries), "version {} has tries={tries} twice", version());
                        let hand = Hand { ttl: *ttl, requested: pending.sent, granted: self.now };
                        self.models[client].hands.insert(version(), hand);
                    }
                }
            }
            ClientRequest::Done { version, .. } => {
                let hand = self.models[client].hands.remove(version);
                assert!(hand.is_some(), "done {version} by client {client}, which does not have it in hand");
                self.jobs.check_there(*version, sent);
                self.jobs.remove(*version, now);
            }
            ClientRequest::Back { version, .. } => {
                let hand = self.models[client].hands.remove(version);
                assert!(hand.is_some(), "back {version} by client {client}, which does not have it in hand");
            }
            other => unreachable!("{other:?}"),
        }
        self.check_effect(client, pending, JOBS, None);
    }

    /// Checks that no client certainly has a message in hand since before a request for it was sent.
    fn check_in_no_hand(&self, version: u64, client: usize, sent: u64) {
        for other in 0..self.models.len() {
            let Some(hand) = self.certainly_in_hand(other, version) else { continue };
            assert!(
                hand.granted.sequence >= sent,
                "version {version} goes to client {client}, and client {other} has it in hand"
            );
        }
    }

    /// The message, if a client certainly has it in hand: nothing can have ended that.
    fn certainly_in_hand(&self, client: usize, version: u64) -> Option<&Hand> {
        let model = &self.models[client];
        let hand = model.hands.get(&version)?;
        let ends = |pending: &PendingRequest| match &pending.request {
            ClientRequest::Done { version: ended, .. } | ClientRequest::Back { version: ended, .. } => {
                *ended == version
            }
            ClientRequest::Quit => true,
            _ => false,
        };
        let now = self.now.time;
        let is_slow = model.was_slow || model.slow_since.is_some_and(|since| since + PROGRESS_TIMEOUT <= now);
        let until = model.last_sent.time.max(hand.requested.time) + hand.ttl;
        let is_sure = model.is_open() && !is_slow && now < until && !model.outstanding.iter().any(ends);
        is_sure.then_some(hand)
    }

    /// Checks `ERR lease` to a `done` or `back`.
    pub(super) fn check_not_in_hand(&mut self, client: usize, pending: &PendingRequest, version: u64) {
        let has = self.certainly_in_hand(client, version).is_some();
        let hand = self.models[client].hands.remove(&version);
        let is_write = |pending: &PendingRequest| is_job_write(&pending.request);
        let is_unanswered = self.jobs.maybe_replaced
            || self.models.iter().any(|model| model.outstanding.iter().any(is_write));
        let may_be_replaced =
            is_unanswered || hand.is_some_and(|hand| self.jobs.last_write >= hand.requested.sequence);
        assert!(
            !has || may_be_replaced,
            "ERR lease to {:?}, and client {client} has the message in hand",
            pending.request
        );
    }

    /// Checks the event that a message was given back after a silence.
    pub(super) fn check_lost_take(&mut self, client: usize, version: u64, event: &ParsedReply) {
        let model = &mut self.models[client];
        let hand = model.hands.remove(&version);
        let hand =
            hand.unwrap_or_else(|| panic!("{event} to client {client}, which does not have it in hand"));
        let from = model.last_sent.time.max(hand.requested.time) + hand.ttl;
        assert!(self.now.time >= from, "{event} is too early: {:?} is before {from:?}", self.now.time);
    }

    /// Checks that a silent client has no message in hand whose time is over.
    pub(crate) fn check_no_overdue_hand(&self, client: usize) {
        let model = &self.models[client];
        // The time begins when the reply is written, with the events behind it.
        let since = |hand: &Hand| model.last_received.time.max(hand.requested.time);
        let overdue = model.hands.iter().find(|(_, hand)| since(hand) + hand.ttl <= self.now.time);
        assert!(overdue.is_none(), "client {client} still has {overdue:?} in hand at {:?}", self.now);
    }

    /// Checks `NO empty` to a request that was not sent behind others.
    pub(super) fn check_no_job(&self, pending: &PendingRequest, reply: &ParsedReply) {
        assert!(
            pending.is_pipelined || self.jobs.was_empty(pending.sent.sequence),
            "{reply}, but there was always a message that was not in hand"
        );
    }

    /// A `w` to the mailbox was sent.
    pub(super) fn record_job_write(&mut self, request: &ClientRequest) {
        if is_job_write(request) {
            self.jobs.last_write = self.now.sequence;
        }
    }
}

fn is_job_write(request: &ClientRequest) -> bool {
    matches!(request, ClientRequest::Write { mailbox: JOBS, .. })
}
