//! The oracle: hears everything that is asked and answered, and knows from the protocol alone what may not be.
//!
//! It does not foresee an answer; where requests race, several are right. It keeps what follows from those that were
//! given, and everything that is told must fit: to its request, to its mailbox's [`History`], to the locks and the clock.

mod events;
mod locks;
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
    request_count: u64,
    pub replies: u64,
    pub events: u64,
}

impl Oracle {
    pub fn new() -> Self {
        Oracle { mailboxes: (0..MAILBOXES).map(|_| History::default()).collect(), ..Oracle::default() }
    }

    /// A client comes; its number.
    pub fn add_client(&mut self) -> usize {
        self.models.push(ClientModel::default());
        self.models.len() - 1
    }

    pub fn hints(&self, client: usize) -> Hints {
        let locks = &self.models[client].locks;
        Hints {
            versions: self.mailboxes.iter().map(|history| history.floor.version).collect(),
            grants: locks.values().map(|lock| lock.grant).collect(),
            held: locks.keys().copied().collect(),
        }
    }

    /// The last byte of a request has left its client.
    pub fn request_sent(&mut self, client: usize, composed: Composed) {
        self.request_count += 1;
        let Composed { request, eol, .. } = composed;
        let is_lock = matches!(request, ClientRequest::Lock { .. });
        // What waits for its answer to be taken keeps its mailbox, too.
        let holds = is_lock || matches!(request, ClientRequest::Take { .. });
        self.wait_graph.add_request(client, self.request_count, &request.mailboxes(), holds);
        let model = &mut self.models[client];
        let expired_locks = model.expired_leases(self.now.time);
        model.has_watched |= matches!(request, ClientRequest::Watch { .. });
        model.outstanding.push_back(PendingRequest {
            number: self.request_count,
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

    pub fn client_closed(&mut self, client: usize, end: ClientEnd) {
        self.models[client].end = Some(end);
    }

    /// Whether answers wait for a client: what it is told then was so before.
    pub fn set_blocked(&mut self, client: usize, is_blocked: bool) {
        self.models[client].has_unread_output = is_blocked;
        if is_blocked && let Some(pending) = self.models[client].outstanding.front_mut() {
            pending.queued_since = None;
            // What was taken in vain is asked for again.
            pending.half_closed_since = None;
            pending.overtaken_by.clear();
        }
    }

    /// Whether a client lets the server wait.
    pub fn record_slow(&mut self, client: usize, is_slow: bool) {
        let model = &mut self.models[client];
        model.was_slow |= model.slow_since.is_some_and(|since| since + PROGRESS_TIMEOUT <= self.now.time);
        model.slow_since = if is_slow { model.slow_since.or(Some(self.now.time)) } else { None };
    }

    /// The server has closed its end: not without a reason.
    pub fn server_closed(&mut self, client: usize) {
        let model = &mut self.models[client];
        if !matches!(model.end, None | Some(ClientEnd::HalfClosed)) {
            return;
        }
        let has_quit =
            matches!(model.outstanding.front(), Some(PendingRequest { request: ClientRequest::Quit, .. }));
        let has_ended = model.end == Some(ClientEnd::HalfClosed) && model.outstanding.is_empty();
        assert!(
            has_quit || has_ended || model.was_slow,
            "client {client} is closed, slow since {:?}, and waits for {:?}",
            model.slow_since,
            model.outstanding.front()
        );
        model.end = Some(ClientEnd::Closed);
    }

    /// The server knows nothing of this client any more: what it was not told, nobody will be told.
    pub fn client_removed(&mut self, client: usize) {
        let model = &mut self.models[client];
        if std::mem::replace(&mut model.is_removed, true) {
            return;
        }
        // Nobody can tell whether a client that did not read was about to.
        let partly_received = model.has_unread_output || !model.received.is_empty();
        for (at, pending) in std::mem::take(&mut model.outstanding).into_iter().enumerate() {
            let mailbox = pending.request.mailboxes().first().copied();
            let change = match pending.request {
                ClientRequest::Write { body, offset: None, .. } => Change::Replace(body),
                ClientRequest::Write { body, offset: Some(offset), .. } => {
                    Change::Patch(offset as usize, body)
                }
                ClientRequest::Put { body, drop_oldest, .. } => Change::Put { body, drop_oldest },
                // A message is lost only with a client that was being told of it.
                ClientRequest::Take { .. } if at == 0 && partly_received => Change::Take,
                _ => continue,
            };
            self.mailboxes[mailbox.expect("that changes one") as usize].record_unconfirmed(change);
        }
        self.wait_graph.remove_client(client, self.now.sequence);
    }

    /// Bytes have been handed to a client's socket; what they say.
    pub fn receive(&mut self, client: usize, bytes: &[u8]) -> Vec<String> {
        let model = &mut self.models[client];
        model.received.extend_from_slice(bytes);
        let mut received = Vec::new();
        while let Some(reply) = ParsedReply::parse_front(&mut self.models[client].received) {
            received.push(reply.to_string());
            assert!(!self.models[client].is_removed, "{reply} to one that is gone");
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
        let pending = self.models[client].outstanding.pop_front();
        let pending =
            pending.unwrap_or_else(|| panic!("client {client} was told {reply} and had pending nothing"));
        assert_eq!(reply.eol, pending.eol, "{reply} to {:?}", pending.request);
        let model = &mut self.models[client];
        assert!(
            !model.may_be_closed || matches!(pending.request, ClientRequest::Quit),
            "{reply} after the last word"
        );
        let still_held = pending.expired_locks.iter().find(|mailbox| model.locks.contains_key(mailbox));
        assert!(still_held.is_none(), "{reply}, pending too late to keep {still_held:?}: {:?}", model.locks);
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
            (("OK" | "DATA", _), request) if !request.mailboxes().is_empty() => {
                self.check_done(client, &pending, reply)
            }
            (("OK", _), _) => self.check_other_reply(client, &pending, reply),
            _ => panic!("{reply} to {:?}", pending.request),
        }
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
