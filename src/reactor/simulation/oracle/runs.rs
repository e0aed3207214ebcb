//! A run is a sequence of consecutive requests of one batch for one mailbox. It is executed under one grant.
//!
//! Runs are admitted in the order in which they were queued, and a grant lasts for at most one run. So no
//! other client's change lies between two consecutive writes of one run. There are two exceptions. A change
//! of the mailbox may have met the condition of another request that waited, or one of the two writes may
//! have waited for room itself.

use super::super::client_model::PendingRequest;
use super::super::reply::ParsedReply;
use super::super::request::ClientRequest;
use super::Oracle;

/// The last reply to a client, if it was to a write.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LastWrite {
    burst: u64,
    mailbox: u32,
    version: u64,
    /// The write may have waited for room. In this case its run has ended after it.
    may_have_waited: bool,
}

impl Oracle {
    /// A client begins to send. If `arrives_together`, the requests that the client sends until the next call
    /// arrive together.
    pub(crate) fn begin_burst(&mut self, arrives_together: bool) {
        self.record_conditions();
        self.bursts += 1;
        self.burst = arrives_together.then_some(self.bursts);
    }

    /// Checks the version of a write against that of the write before it.
    pub(super) fn check_run(&mut self, client: usize, pending: &PendingRequest, reply: &ParsedReply) {
        let last = self.models[client].last_write.take();
        let is_write = matches!(pending.request, ClientRequest::Write { .. } | ClientRequest::Put { .. });
        let Some(burst) = pending.burst.filter(|_| is_write && reply.word == "OK") else { return };
        let version = reply.number("v").expect("a version");
        let mailbox = pending.request.mailboxes()[0];
        let waited = self.may_have_waited_for_room(pending, mailbox);
        self.models[client].last_write = Some(LastWrite { burst, mailbox, version, may_have_waited: waited });
        let is_run =
            |last: &LastWrite| last.burst == burst && last.mailbox == mailbox && !last.may_have_waited;
        if let Some(last) = last.filter(is_run)
            && !waited
            && !self.may_have_waited(client, mailbox, pending.sent.sequence)
        {
            assert_eq!(version, last.version + 1, "another client's change interrupts a run: {pending:?}");
            self.runs_checked += 1;
        }
    }

    /// The version in the last reply to a client, if this reply was to a write.
    pub(crate) fn last_version(&self, client: usize) -> Option<u64> {
        self.models[client].last_write.map(|last| last.version)
    }

    /// Records which requests and watches may wait for a condition at this moment.
    pub(super) fn record_conditions(&mut self) {
        for (client, model) in self.models.iter().enumerate().filter(|(_, model)| !model.is_removed) {
            for pending in &model.outstanding {
                let (kind, mailboxes) = condition_of(&pending.request);
                for mailbox in mailboxes {
                    self.last_conditions.insert((mailbox, kind, client), self.now.sequence);
                }
            }
            for mailbox in model.watches.keys() {
                self.last_conditions.insert((*mailbox, Kind::Watch, client), self.now.sequence);
            }
        }
    }

    /// Whether a request itself may have waited for room.
    fn may_have_waited_for_room(&self, pending: &PendingRequest, mailbox: u32) -> bool {
        let ClientRequest::Put { drop_oldest: false, body, .. } = &pending.request else { return false };
        let is_full = |_, room: Option<u64>| room.is_none_or(|room| room < body.len() as u64);
        self.mailboxes[mailbox as usize].was_in(pending.sent.sequence, is_full)
    }

    /// Whether another client's request, or any watch, may have waited for a condition of a mailbox since the
    /// sequence number `since`.
    fn may_have_waited(&self, client: usize, mailbox: u32, since: u64) -> bool {
        self.last_conditions.iter().any(|(&(of, kind, other), &last)| {
            of == mailbox && last >= since && (other != client || kind == Kind::Watch)
        })
    }
}

/// A possible waiter for a condition. The read of a watch waits independently of its client's requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    Request,
    Watch,
}

fn condition_of(request: &ClientRequest) -> (Kind, Vec<u32>) {
    match request {
        ClientRequest::Take { .. }
        | ClientRequest::Put { drop_oldest: false, .. }
        | ClientRequest::Read { after: Some(_), .. } => (Kind::Request, request.mailboxes()),
        ClientRequest::Watch { .. } => (Kind::Watch, request.mailboxes()),
        _ => (Kind::Request, Vec::new()),
    }
}
