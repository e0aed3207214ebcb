//! The oracle: hears everything that is asked and answered, and knows from the protocol alone what may not be.
//!
//! It does not foresee an answer; where requests race, several are right. It keeps what follows from those that were
//! given, and everything that is told must fit: to its request, to its mailbox's [`History`], to the locks and the clock.

mod locks;
mod others;
mod requests;

use super::client::{CAPACITY, Composed, Hints, MAILBOXES};
use super::client_model::{ClientModel, Moment, PROGRESS_TIMEOUT, PendingRequest};
use super::history::{Change, History};
use super::pipe::ClientEnd;
use super::reply::ParsedReply;
use super::request::ClientRequest;
use super::wait_graph::WaitGraph;

/// Everything that is known.
#[derive(Debug, Default)]
pub struct Oracle {
    pub now: Moment,
    pub models: Vec<ClientModel>,
    pub mailboxes: Vec<History>,
    pub wait_graph: WaitGraph,
    /// The highest number of a lock that was told.
    last_grant: u64,
    requests: u64,
    pub replies: u64,
    pub events: u64,
}

impl Oracle {
    pub fn new() -> Self {
        Oracle { mailboxes: (0..MAILBOXES).map(|_| History::default()).collect(), ..Oracle::default() }
    }

    /// A client comes; its number.
    pub fn enter(&mut self) -> usize {
        self.models.push(ClientModel::default());
        self.models.len() - 1
    }

    pub fn hints(&self, client: usize) -> Hints {
        let holds = &self.models[client].locks;
        Hints {
            versions: self.mailboxes.iter().map(|history| history.floor.version).collect(),
            grants: holds.values().map(|lock| lock.grant).collect(),
            held: holds.keys().copied().collect(),
        }
    }

    /// The last byte of a request has left its client.
    pub fn sent(&mut self, client: usize, composed: Composed) {
        self.requests += 1;
        let Composed { request, eol, .. } = composed;
        let locks = matches!(request, ClientRequest::Lock { .. });
        // What waits for its answer to be taken keeps its mailbox, too.
        let holds = locks || matches!(request, ClientRequest::Take { .. });
        self.wait_graph.add_request(client, self.requests, &request.mailboxes(), holds);
        let model = &mut self.models[client];
        let expired_locks = model.expired_leases(self.now.time);
        model.has_watched |= matches!(request, ClientRequest::Watch { .. });
        model.outstanding.push_back(PendingRequest {
            number: self.requests,
            request,
            eol,
            sent: self.now,
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

    pub fn left(&mut self, client: usize, how: ClientEnd) {
        self.models[client].end = Some(how);
    }

    /// Whether answers wait for a client: what it is told then was so before.
    pub fn blocked(&mut self, client: usize, is_blocked: bool) {
        self.models[client].has_unread_output = is_blocked;
        if is_blocked && let Some(pending) = self.models[client].outstanding.front_mut() {
            pending.queued_since = None;
            // What was taken in vain is asked for again.
            pending.half_closed_since = None;
            pending.overtaken_by.clear();
        }
    }

    /// Whether a client lets the server wait.
    pub fn note_slow(&mut self, client: usize, is_slow: bool) {
        let model = &mut self.models[client];
        model.was_slow |= model.slow_since.is_some_and(|since| since + PROGRESS_TIMEOUT <= self.now.time);
        model.slow_since = if is_slow { model.slow_since.or(Some(self.now.time)) } else { None };
    }

    /// The server has closed its end: not without a reason.
    pub fn dropped(&mut self, client: usize) {
        let model = &mut self.models[client];
        if !matches!(model.end, None | Some(ClientEnd::HalfClosed)) {
            return;
        }
        let quits =
            matches!(model.outstanding.front(), Some(PendingRequest { request: ClientRequest::Quit, .. }));
        let ended = model.end == Some(ClientEnd::HalfClosed) && model.outstanding.is_empty();
        assert!(
            quits || ended || model.was_slow,
            "client {client} is closed, slow since {:?}, and waits for {:?}",
            model.slow_since,
            model.outstanding.front()
        );
        model.end = Some(ClientEnd::Closed);
    }

    /// The server knows nothing of this client any more: what it was not told, nobody will be told.
    pub fn forgotten(&mut self, client: usize) {
        let model = &mut self.models[client];
        if std::mem::replace(&mut model.is_removed, true) {
            return;
        }
        // Nobody can tell whether a client that did not read was about to.
        let half_told = model.has_unread_output || !model.received.is_empty();
        for (at, pending) in std::mem::take(&mut model.outstanding).into_iter().enumerate() {
            let mailbox = pending.request.mailboxes().first().copied();
            let change = match pending.request {
                ClientRequest::Write { body, offset: None, .. } => Change::Replace(body),
                ClientRequest::Write { body, offset: Some(offset), .. } => {
                    Change::Patch(offset as usize, body)
                }
                ClientRequest::Put { body, drop_oldest, .. } => Change::Put { body, drop_oldest },
                // A message is lost only with a client that was being told of it.
                ClientRequest::Take { .. } if at == 0 && half_told => Change::Take,
                _ => continue,
            };
            self.mailboxes[mailbox.expect("that changes one") as usize].record_unconfirmed(change);
        }
        self.wait_graph.remove_client(client, self.now.tick);
    }

    /// Bytes have been handed to a client's socket; what they say.
    pub fn hear(&mut self, client: usize, bytes: &[u8]) -> Vec<String> {
        let model = &mut self.models[client];
        model.received.extend_from_slice(bytes);
        let mut received = Vec::new();
        while let Some(reply) = ParsedReply::parse_front(&mut self.models[client].received) {
            received.push(reply.to_string());
            assert!(!self.models[client].is_removed, "{reply} to one that is gone");
            if reply.word == "EVENT" {
                self.events += 1;
                self.judge_event(client, &reply);
            } else {
                self.replies += 1;
                self.judge(client, &reply);
            }
        }
        received
    }

    fn judge(&mut self, client: usize, reply: &ParsedReply) {
        let pending = self.models[client].outstanding.pop_front();
        let pending =
            pending.unwrap_or_else(|| panic!("client {client} was told {reply} and had pending nothing"));
        assert_eq!(reply.eol, pending.eol, "{reply} to {:?}", pending.request);
        let model = &mut self.models[client];
        assert!(
            !model.may_be_closed || matches!(pending.request, ClientRequest::Quit),
            "{reply} after the last word"
        );
        let kept = pending.expired_locks.iter().find(|mailbox| model.locks.contains_key(mailbox));
        assert!(kept.is_none(), "{reply}, pending too late to keep {kept:?}: {:?}", model.locks);
        let locked = matches!(pending.request, ClientRequest::Lock { .. }) && reply.word == "OK";
        self.wait_graph.finish_request(pending.number, locked, self.now.tick);
        match (reply.kind(), &pending.request) {
            (("ERR", code), ClientRequest::Invalid { code: right, .. }) if code == *right => {}
            ((word, _), ClientRequest::Info { word: right, .. }) if word == *right => {}
            (("ERR", "lease"), _) => self.judge_lease(client, &pending),
            (("ERR", "denied"), _) => self.judge_denied(client, &pending),
            (("ERR", "deadlock"), _) => self.judge_deadlock(client, &pending),
            (("ERR", "size"), _) => judge_size(&pending, reply),
            (("NO", _), _) => self.judge_no(client, &pending, reply),
            (("OK" | "DATA", _), request) if !request.mailboxes().is_empty() => {
                self.judge_done(client, &pending, reply)
            }
            (("OK", _), _) => self.judge_other(client, &pending, reply),
            _ => panic!("{reply} to {:?}", pending.request),
        }
        let model = &mut self.models[client];
        model.last_sent = pending.sent;
        model.last_replied = self.now;
    }
}

fn judge_size(pending: &PendingRequest, reply: &ParsedReply) {
    let max = reply.number("max").expect("a limit") as usize;
    let right = match &pending.request {
        ClientRequest::Write { body, offset: Some(offset), .. } if body.len() <= CAPACITY => {
            max == CAPACITY.saturating_sub(*offset as usize) && body.len() > max
                || *offset as usize > CAPACITY
        }
        request => max == CAPACITY && request.body().is_some_and(|body| body.len() > CAPACITY),
    };
    assert!(right, "{reply} to {:?}", pending.request);
}
