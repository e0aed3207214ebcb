//! The oracle: it records every request and every reply, and checks them against the protocol alone.
//!
//! The oracle does not predict replies, because several replies are valid when requests race. The oracle
//! derives facts from the replies received so far. Every further reply must be consistent with its request,
//! with the [`History`] of its mailbox, with the locks and with the clock.

mod events;
mod jobs;
mod locks;
mod requests;
mod runs;

use std::collections::BTreeMap;

use super::client::{CAPACITY, Composed, Hints, JOBS, MAILBOXES};
use super::client_model::{ClientModel, Moment, PROGRESS_TIMEOUT, PendingRequest};
use super::history::{Change, History};
use super::pipe::ClientEnd;
use super::reply::ParsedReply;
use super::request::ClientRequest;
use super::wait_graph::WaitGraph;
pub(super) use jobs::Hand;
use jobs::Jobs;
pub(super) use runs::LastWrite;

/// Everything that is known from requests, replies and events.
#[derive(Debug, Default)]
pub(super) struct Oracle {
    pub now: Moment,
    pub models: Vec<ClientModel>,
    /// The histories of the mailboxes. That of the mailbox with jobs has only samples.
    pub mailboxes: Vec<History>,
    pub jobs: Jobs,
    pub wait_graph: WaitGraph,
    /// The highest fencing token of any reply.
    last_grant: u64,
    request_count: u64,
    /// Number of bursts of requests so far.
    bursts: u64,
    /// The current burst, if its requests arrive together.
    burst: Option<u64>,
    /// When each client was last known to have a request or a watch that may wait for a condition of a
    /// mailbox.
    last_conditions: BTreeMap<(u32, runs::Kind, usize), u64>,
    pub replies: u64,
    pub events: u64,
    /// Pairs of writes of one run whose versions were checked.
    pub runs_checked: u64,
}

impl Oracle {
    pub(super) fn new() -> Self {
        Oracle { mailboxes: (0..MAILBOXES).map(|_| History::default()).collect(), ..Oracle::default() }
    }

    /// Adds a client. Returns its number.
    pub(super) fn add_client(&mut self) -> usize {
        self.models.push(ClientModel::default());
        self.models.len() - 1
    }

    pub(super) fn hints(&self, client: usize) -> Hints {
        let locks = &self.models[client].locks;
        Hints {
            versions: self.mailboxes.iter().map(|history| history.floor.version).collect(),
            grants: locks.values().map(|lock| lock.grant).collect(),
            held: locks.keys().copied().collect(),
            hands: self.models[client].hands.keys().copied().collect(),
        }
    }

    /// The last byte of a request has been sent.
    pub(super) fn request_sent(&mut self, client: usize, composed: Composed) {
        self.request_count += 1;
        let Composed { request, eol, .. } = composed;
        let is_lock = matches!(request, ClientRequest::Lock { .. });
        // A `take` holds its mailbox until its reply is acknowledged.
        let holds = is_lock || matches!(request, ClientRequest::Take { .. });
        self.record_job_write(&request);
        self.wait_graph.add_request(client, self.request_count, &request.mailboxes(), is_lock, holds);
        let model = &mut self.models[client];
        let expired_locks = model.expired_leases(self.now.time);
        model.has_watched |= matches!(request, ClientRequest::Watch { .. });
        model.outstanding.push_back(PendingRequest {
            number: self.request_count,
            request,
            eol,
            sent: self.now,
            burst: self.burst,
            floors: self.mailboxes.iter().map(|history| history.floor).collect(),
            last_grant: self.last_grant,
            is_pipelined: !model.outstanding.is_empty(),
            quiescent_since: None,
            half_closed_since: None,
            queued_since: None,
            overtaken_by: Vec::new(),
            expired_locks,
        });
        if let [.., before, _] = model.outstanding.make_contiguous() {
            before.is_pipelined = true;
        }
    }

    pub(super) fn client_closed(&mut self, client: usize, end: ClientEnd) {
        self.models[client].end = Some(end);
    }

    /// Records whether the server holds output for a client. If it does, later replies may describe an
    /// earlier state.
    pub(super) fn set_blocked(&mut self, client: usize, is_blocked: bool) {
        self.models[client].has_unread_output = is_blocked;
        if is_blocked && let Some(pending) = self.models[client].outstanding.front_mut() {
            pending.queued_since = None;
            // The message of an unread `take` is requeued and the request is queued again.
            pending.half_closed_since = None;
            pending.overtaken_by.clear();
        }
    }

    /// Records whether a client delays the server.
    pub(super) fn record_slow(&mut self, client: usize, is_slow: bool) {
        let model = &mut self.models[client];
        model.was_slow |= model.slow_since.is_some_and(|since| since + PROGRESS_TIMEOUT <= self.now.time);
        model.slow_since = if is_slow { model.slow_since.or(Some(self.now.time)) } else { None };
    }

    /// The server has closed the connection. Checks that there was a reason.
    pub(super) fn server_closed(&mut self, client: usize) {
        let model = &mut self.models[client];
        if !matches!(model.end, None | Some(ClientEnd::HalfClosed)) {
            return;
        }
        let has_quit =
            matches!(model.outstanding.front(), Some(PendingRequest { request: ClientRequest::Quit, .. }));
        let has_ended = model.end == Some(ClientEnd::HalfClosed) && model.outstanding.is_empty();
        assert!(
            has_quit || has_ended || model.was_slow,
            "the server closed client {client}, slow since {:?}, with the pending request {:?}",
            model.slow_since,
            model.outstanding.front()
        );
        model.end = Some(ClientEnd::Closed);
    }

    /// The server has removed the connection and all its jobs. The outcome of its pending requests stays
    /// unknown.
    pub(super) fn client_removed(&mut self, client: usize) {
        self.record_conditions();
        let model = &mut self.models[client];
        if std::mem::replace(&mut model.is_removed, true) {
            return;
        }
        // The reply to a `take` may follow output that the client did not read.
        let partly_received = model.has_unread_output || !model.received.is_empty();
        for (at, pending) in std::mem::take(&mut model.outstanding).into_iter().enumerate() {
            let mailbox = pending.request.mailboxes().first().copied();
            if mailbox == Some(JOBS) {
                self.jobs.record_unconfirmed(&pending.request, at == 0 && partly_received);
                continue;
            }
            let change = match pending.request {
                ClientRequest::Write { body, offset: None, .. } => Change::Replace(body),
                ClientRequest::Write { body, offset: Some(offset), .. } => {
                    Change::Patch(offset as usize, body)
                }
                ClientRequest::Put { body, drop_oldest, .. } => Change::Put { body, drop_oldest },
                // A message can be lost only if its reply was partly received.
                ClientRequest::Take { .. } if at == 0 && partly_received => Change::Take,
                _ => continue,
            };
            self.mailboxes[mailbox.expect("a change concerns a mailbox") as usize].record_unconfirmed(change);
        }
        self.wait_graph.remove_client(client, self.now.sequence);
    }

    /// Checks the bytes written to a client's socket. Returns the complete replies and events as text.
    pub(super) fn receive(&mut self, client: usize, bytes: &[u8]) -> Vec<String> {
        let model = &mut self.models[client];
        model.received.extend_from_slice(bytes);
        if !bytes.is_empty() {
            model.last_received = self.now;
        }
        let mut received = Vec::new();
        while let Some(reply) = ParsedReply::parse_front(&mut self.models[client].received) {
            received.push(reply.to_string());
            assert!(!self.models[client].is_removed, "{reply} to a removed client");
            if reply.word == "EVENT" {
                self.events += 1;
                self.check_event(client, &reply);
            } else {
                self.replies += 1;
                self.check_reply(client, &reply);
            }
        }
        received
    }

    fn check_reply(&mut self, client: usize, reply: &ParsedReply) {
        self.record_conditions();
        let pending = self.models[client].outstanding.pop_front();
        let pending =
            pending.unwrap_or_else(|| panic!("client {client} received {reply} without a pending request"));
        assert_eq!(reply.eol, pending.eol, "{reply} to {:?}", pending.request);
        let model = &mut self.models[client];
        let still_held = pending.expired_locks.iter().find(|mailbox| model.locks.contains_key(mailbox));
        assert!(
            still_held.is_none(),
            "{reply}: the lock of {still_held:?} had expired before the request: {:?}",
            model.locks
        );
        let locked = matches!(pending.request, ClientRequest::Lock { .. }) && reply.word == "OK";
        self.wait_graph.finish_request(pending.number, locked, self.now.sequence);
        match (reply.kind(), &pending.request) {
            (("ERR", code), ClientRequest::Invalid { code: expected, .. }) if code == *expected => {}
            ((word, _), ClientRequest::Info { word: expected, .. }) if word == *expected => {}
            (("ERR", "lease"), _) => self.check_lease_error(client, &pending),
            (("ERR", "denied"), _) => self.check_denied(client, &pending),
            (("ERR", "deadlock"), _) => self.check_deadlock(client, &pending),
            (("ERR", "size"), _) => check_size(&pending, reply),
            (("NO", _), _) => self.check_no(client, &pending, reply),
            (("OK" | "DATA", _), request) if request.mailboxes() == [JOBS] && !request.is_lock() => {
                self.check_job(client, &pending, reply)
            }
            (("OK" | "DATA", _), request) if !request.mailboxes().is_empty() => {
                self.check_done(client, &pending, reply)
            }
            (("OK", _), _) => self.check_other_reply(client, &pending, reply),
            _ => panic!("{reply} to {:?}", pending.request),
        }
        self.check_run(client, &pending, reply);
        let model = &mut self.models[client];
        model.last_sent = pending.sent;
        model.last_replied = self.now;
    }
}

fn check_size(pending: &PendingRequest, reply: &ParsedReply) {
    let max = reply.number("max").expect("a limit") as usize;
    let is_valid = match &pending.request {
        ClientRequest::Write { body, offset: Some(offset), .. } if body.len() <= CAPACITY => {
            max == CAPACITY.saturating_sub(*offset as usize) && body.len() > max
                || *offset as usize > CAPACITY
        }
        request => max == CAPACITY && request.body().is_some_and(|body| body.len() > CAPACITY),
    };
    assert!(is_valid, "{reply} to {:?}", pending.request);
}
