//! Conditions of a quiescent server, that is, one that can do nothing more until the clock advances or a
//! client acts. Every request that still waits must have a reason, and must not wait longer than its limit.

use std::time::Duration;

use super::super::connection::ACK_TIMEOUT;
use super::client::{JOBS, MAILBOXES};
use super::client_model::PendingRequest;
use super::oracle::Oracle;
use super::pipe::ClientEnd;
use super::request::ClientRequest;
use super::world::CLIENTS_MAX;

/// How long a request may still wait after its client has stopped sending.
const HALF_CLOSED_WAIT: Duration = Duration::from_secs(1);

/// The state of a client's connection, read from the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum View {
    /// The connection does not exist, or is being closed.
    Closed,
    /// Output waits for the client to read.
    Blocked,
    /// The request waits for a mailbox: for admission, or for a condition.
    Waiting { mailbox: u32, for_condition: bool },
    /// The connection has no work.
    Idle,
    /// The connection has work, but no job, queue or buffer accounts for it.
    Stuck,
}

/// The state of a mailbox, read from the server.
#[derive(Clone, Copy, Debug)]
pub(super) struct MailboxView {
    /// Requests and watch reads that wait for admission.
    pub waiting: usize,
    /// Bytes of the largest message that still fits.
    pub room: Option<u64>,
}

impl Oracle {
    /// Checks all conditions of a quiescent server.
    pub(super) fn check_quiescence(&mut self, views: &[View], mailboxes: &[MailboxView]) {
        for (client, view) in views.iter().enumerate() {
            self.check_client(client, *view);
        }
        for mailbox in 0..MAILBOXES {
            self.check_mailbox(mailbox, views, &mailboxes[mailbox as usize]);
        }
        self.check_no_wait_cycle(views);
        let oldest = self
            .models
            .iter()
            .filter_map(|model| model.outstanding.front())
            .map(|pending| pending.sent.sequence);
        let oldest = oldest.min().unwrap_or(self.now.sequence);
        self.wait_graph.prune_before(oldest);
    }

    fn check_client(&mut self, client: usize, view: View) {
        let now = self.now;
        let model = &mut self.models[client];
        if !matches!(model.end, None | Some(ClientEnd::HalfClosed)) {
            return;
        }
        let request = model.outstanding.front().map(|pending| pending.request.clone());
        match (view, model.outstanding.front_mut()) {
            (View::Closed, _) => {}
            (View::Blocked, Some(pending)) => pending.queued_since = None,
            (View::Blocked, None) => {}
            (View::Idle, None) => assert_eq!(
                model.end, None,
                "client {client} has stopped sending, and its idle connection stays open"
            ),
            (View::Idle, Some(PendingRequest { request, .. })) => {
                panic!("client {client} has no reply: {request:?}")
            }
            (View::Stuck, _) => panic!("no job of client {client} is in progress: {request:?}"),
            (View::Waiting { .. }, None) => panic!("client {client} waits without a pending request"),
            (View::Waiting { mailbox, for_condition }, Some(pending)) => {
                let since = pending.quiescent_since.get_or_insert(now).time;
                // A request that does not wait for locks may wait behind messages in flight.
                let until = match pending.has_zero_wait() && !for_condition {
                    true => since + ACK_TIMEOUT * CLIENTS_MAX as u32,
                    false => pending.wait_ends_at(since).unwrap_or(Duration::MAX),
                };
                assert!(until > now.time, "client {client} waits too long: {pending:?} at {now:?}");
                if model.end == Some(ClientEnd::HalfClosed) {
                    // The limit restarts when the request begins to wait for a condition, and when a `lock`
                    // begins to wait for its next mailbox.
                    let known = pending.half_closed_since.filter(|(_, at)| *at == (mailbox, for_condition));
                    let (since, _) = *pending
                        .half_closed_since
                        .insert(known.unwrap_or((now.time, (mailbox, for_condition))));
                    assert!(
                        since + HALF_CLOSED_WAIT > now.time,
                        "client {client} has stopped sending, and its request waits too long"
                    );
                }
                if !for_condition && !pending.request.may_wait_for_condition() {
                    pending.queued_since.get_or_insert(now.sequence);
                }
            }
        }
        if view == View::Idle {
            self.check_no_overdue_hand(client);
        }
        if view != View::Blocked && view != View::Closed {
            let is_overdue = self.models[client].latest_lease_end().is_some_and(|until| until <= now.time);
            assert!(
                !is_overdue,
                "client {client} still has its locks at {now:?}: {:?}",
                self.models[client].locks
            );
        }
    }

    /// The clients that may exclude others from a mailbox, each with whether its lock is shared.
    fn possible_holders(&self, mailbox: u32, views: &[View]) -> Vec<(usize, bool)> {
        let mut holders = Vec::new();
        for (client, model) in self.models.iter().enumerate().filter(|(_, model)| !model.is_removed) {
            if let Some(lock) = model.locks.get(&mailbox) {
                holders.push((client, lock.shared));
            }
            let head = model.outstanding.front().map(|pending| &pending.request);
            match (views[client], head) {
                // A reply that the client has not received may have granted it the mailbox.
                (View::Blocked, _) => {
                    let concerns = |pending: &&PendingRequest| pending.request.mailboxes().contains(&mailbox);
                    holders.extend(model.outstanding.iter().filter(concerns).map(|_| (client, false)));
                }
                // The mailboxes before the one that the `lock` waits for are already held.
                (
                    View::Waiting { mailbox: waits, .. },
                    Some(ClientRequest::Lock { mailboxes, shared, .. }),
                ) if mailbox < waits && mailboxes.contains(&mailbox) => {
                    holders.push((client, *shared));
                }
                _ => {}
            }
        }
        holders
    }

    fn check_mailbox(&self, mailbox: u32, views: &[View], mailbox_view: &MailboxView) {
        let holders = self.possible_holders(mailbox, views);
        let is_free = holders.is_empty();
        let readers_may = holders.iter().all(|(_, shared)| *shared);
        let state = self.mailboxes[mailbox as usize].current();
        assert!(
            !is_free || mailbox_view.waiting == 0,
            "{} requests wait for mailbox {mailbox}, which is free",
            mailbox_view.waiting
        );
        let mut waits_exclusive = false;
        let mut putters = Vec::new();
        for (client, view) in views.iter().enumerate() {
            let View::Waiting { mailbox: at, for_condition } = view else { continue };
            let Some(pending) = self.models[client].outstanding.front() else { continue };
            if *at != mailbox {
                continue;
            }
            // A request that waits for a condition counts as well, because it may be first in the queue
            // again.
            waits_exclusive |= pending.request.is_exclusive();
            match &pending.request {
                ClientRequest::Take { .. } if mailbox == JOBS && *for_condition && is_free => {
                    let available = self.jobs.available();
                    assert_eq!(available, 0, "client {client} waits for a message that is not in hand");
                }
                ClientRequest::Take { .. } if *for_condition && is_free => {
                    assert_eq!(
                        state.count, 0,
                        "client {client} waits for a message, and mailbox {mailbox} has one"
                    );
                }
                ClientRequest::Read { after: Some(after), .. } if *for_condition && readers_may => {
                    let has_newer = state.count > 0 && state.version > *after;
                    assert!(
                        !has_newer,
                        "client {client} awaits a version after {after}, mailbox {mailbox} is in {state:?}"
                    );
                }
                ClientRequest::Put { body, .. } if *for_condition => {
                    putters.push((client, body.len() as u64))
                }
                _ => {}
            }
        }
        assert!(
            mailbox_view.waiting == 0 || !readers_may || waits_exclusive || is_free,
            "only readers wait for mailbox {mailbox}, which readers may enter"
        );
        if let [(client, len)] = putters[..]
            && is_free
        {
            let fits = mailbox_view.room.is_some_and(|room| room >= len);
            assert!(
                !fits,
                "client {client} waits for room for {len} bytes, and the room is {:?}",
                mailbox_view.room
            );
        }
        self.check_watchers(mailbox, views, mailbox_view.waiting == 0 && readers_may);
    }

    fn check_watchers(&self, mailbox: u32, views: &[View], is_free: bool) {
        let state = self.mailboxes[mailbox as usize].current();
        for (client, model) in self.models.iter().enumerate() {
            let is_reading = matches!(views[client], View::Idle | View::Waiting { .. }) && model.is_open();
            let Some(seen) = model.watches.get(&mailbox).filter(|_| is_reading && is_free) else { continue };
            let has_all = *seen >= state.version || state.count == 0;
            assert!(
                has_all,
                "client {client} watches mailbox {mailbox} and has seen {seen}, but it is in {state:?}"
            );
        }
    }

    /// Checks that no client waits for itself: follows all paths from each waiting client to the clients that
    /// certainly hold its mailbox.
    fn check_no_wait_cycle(&self, views: &[View]) {
        for start in 0..views.len() {
            let mut reached = vec![start];
            let mut next = 0;
            while let Some(&client) = reached.get(next) {
                next += 1;
                let View::Waiting { mailbox, .. } = views[client] else { continue };
                for holder in self.certain_holders(mailbox, views) {
                    assert!(
                        holder != start,
                        "clients {reached:?} wait in a cycle that mailbox {mailbox} completes"
                    );
                    if !reached.contains(&holder) {
                        reached.push(holder);
                    }
                }
            }
        }
    }

    fn certain_holders(&self, mailbox: u32, views: &[View]) -> Vec<usize> {
        let holds = |client: &usize| {
            let model = &self.models[*client];
            let holds_partly =
                match (views[*client], model.outstanding.front().map(|pending| &pending.request)) {
                    (View::Waiting { mailbox: waits, .. }, Some(ClientRequest::Lock { mailboxes, .. })) => {
                        mailbox < waits && mailboxes.contains(&mailbox)
                    }
                    _ => false,
                };
            model.certainly_holds(mailbox, self.now.time).is_some() || model.is_open() && holds_partly
        };
        (0..views.len()).filter(holds).collect()
    }
}
