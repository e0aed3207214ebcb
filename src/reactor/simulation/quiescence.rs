//! What must be true when the server has done all that it can do without the clock and the clients: whoever waits then
//! waits for a reason, and not for longer than it may.

use std::time::Duration;

use super::client::MAILBOXES;
use super::client_model::PendingRequest;
use super::oracle::Oracle;
use super::pipe::ClientEnd;
use super::request::ClientRequest;

/// How long a request still waits whose client sends nothing more.
const HALF_CLOSED_WAIT: Duration = Duration::from_secs(1);

/// What a client's connection is at, seen from inside the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sight {
    /// There is none, or it says goodbye.
    Gone,
    /// It waits for its client to read.
    Blocked,
    /// Its request waits for a mailbox, in the queue or aside.
    Waits { mailbox: u32, aside: bool },
    /// It has nothing to do.
    Idle,
    /// It is at something that nobody works on.
    Stranded,
}

/// A mailbox, seen from inside.
#[derive(Clone, Copy, Debug)]
pub struct Queue {
    /// How many wait to be admitted, standing reads too.
    pub waiting: usize,
    /// How many messages it could still take in, in bytes.
    pub room: Option<u64>,
}

impl Oracle {
    /// Checks everything that holds at rest.
    pub fn rest(&mut self, sights: &[Sight], queues: &[Queue]) {
        for (client, sight) in sights.iter().enumerate() {
            self.rest_client(client, *sight);
        }
        for mailbox in 0..MAILBOXES {
            self.rest_mailbox(mailbox, sights, &queues[mailbox as usize]);
        }
        self.nobody_waits_in_a_circle(sights);
        let oldest =
            self.models.iter().filter_map(|model| model.outstanding.front()).map(|pending| pending.sent.tick);
        let oldest = oldest.min().unwrap_or(self.now.tick);
        self.wait_graph.prune_before(oldest);
    }

    fn rest_client(&mut self, client: usize, sight: Sight) {
        let now = self.now;
        let model = &mut self.models[client];
        if !matches!(model.end, None | Some(ClientEnd::HalfClosed)) {
            return;
        }
        let request = model.outstanding.front().map(|pending| pending.request.clone());
        match (sight, model.outstanding.front_mut()) {
            (Sight::Gone, _) => {}
            (Sight::Blocked, Some(pending)) => pending.queued_since = None,
            (Sight::Blocked, None) => {}
            (Sight::Idle, None) => assert_eq!(model.end, None, "client {client} has ended, and stays"),
            (Sight::Idle, Some(PendingRequest { request, .. })) => {
                panic!("client {client} is not answered: {request:?}")
            }
            (Sight::Stranded, _) => panic!("nobody works for client {client}: {request:?}"),
            (Sight::Waits { .. }, None) => panic!("client {client} waits, and has pending nothing"),
            (Sight::Waits { mailbox, aside }, Some(pending)) => {
                let since = pending.quiescent_since.get_or_insert(now).time;
                let until = pending.wait_ends_at(since).unwrap_or(Duration::MAX);
                assert!(until > now.time, "client {client} waits too long: {pending:?} at {now:?}");
                if model.end == Some(ClientEnd::HalfClosed) {
                    // It begins anew when the request was in and is set aside, and at every mailbox of a lock.
                    let known = pending.half_closed_since.filter(|(_, at)| *at == (mailbox, aside));
                    let (since, _) =
                        *pending.half_closed_since.insert(known.unwrap_or((now.time, (mailbox, aside))));
                    assert!(since + HALF_CLOSED_WAIT > now.time, "client {client} has ended, and waits on");
                }
                if !aside && !pending.request.may_wait_for_condition() {
                    pending.queued_since.get_or_insert(now.tick);
                }
            }
        }
        if sight != Sight::Blocked && sight != Sight::Gone {
            let over = self.models[client].latest_lease_end().is_some_and(|until| until <= now.time);
            assert!(!over, "client {client} still has its locks at {now:?}: {:?}", self.models[client].locks);
        }
    }

    /// Who keeps others out of a mailbox, and whether readers too.
    fn holders(&self, mailbox: u32, sights: &[Sight]) -> Vec<(usize, bool)> {
        let mut holders = Vec::new();
        for (client, model) in self.models.iter().enumerate().filter(|(_, model)| !model.is_removed) {
            if let Some(lock) = model.locks.get(&mailbox) {
                holders.push((client, lock.shared));
            }
            let head = model.outstanding.front().map(|pending| &pending.request);
            match (sights[client], head) {
                // What it was not told yet may be anything.
                (Sight::Blocked, _) => {
                    let about = |pending: &&PendingRequest| pending.request.mailboxes().contains(&mailbox);
                    holders.extend(model.outstanding.iter().filter(about).map(|_| (client, false)));
                }
                // Those before the one that it waits for it has.
                (
                    Sight::Waits { mailbox: waits, .. },
                    Some(ClientRequest::Lock { mailboxes, shared, .. }),
                ) if mailbox < waits && mailboxes.contains(&mailbox) => {
                    holders.push((client, *shared));
                }
                _ => {}
            }
        }
        holders
    }

    fn rest_mailbox(&self, mailbox: u32, sights: &[Sight], queue: &Queue) {
        let holders = self.holders(mailbox, sights);
        let is_free = holders.is_empty();
        let readers_may = holders.iter().all(|(_, shared)| *shared);
        let state = self.mailboxes[mailbox as usize].current();
        assert!(
            !is_free || queue.waiting == 0,
            "{} wait for mailbox {mailbox}, which is free",
            queue.waiting
        );
        let mut waits_exclusive = false;
        let mut putters = Vec::new();
        for (client, sight) in sights.iter().enumerate() {
            let Sight::Waits { mailbox: at, aside } = sight else { continue };
            let Some(pending) = self.models[client].outstanding.front() else { continue };
            if *at != mailbox {
                continue;
            }
            // One who is back from aside is next, too.
            waits_exclusive |= pending.request.is_exclusive();
            match &pending.request {
                ClientRequest::Take { .. } if *aside && is_free => {
                    assert_eq!(
                        state.count, 0,
                        "client {client} waits for a message, and there is one in {mailbox}"
                    );
                }
                ClientRequest::Read { after: Some(after), .. } if *aside && readers_may => {
                    let news = state.count > 0 && state.version > *after;
                    assert!(
                        !news,
                        "client {client} waits for news after {after}, and {mailbox} is in {state:?}"
                    );
                }
                ClientRequest::Put { body, .. } if *aside => putters.push((client, body.len() as u64)),
                _ => {}
            }
        }
        assert!(
            queue.waiting == 0 || !readers_may || waits_exclusive || is_free,
            "only readers wait for {mailbox}"
        );
        if let [(client, len)] = putters[..]
            && is_free
        {
            let fits = queue.room.is_some_and(|room| room >= len);
            assert!(!fits, "client {client} waits for room for {len} bytes, and there is {:?}", queue.room);
        }
        self.rest_watchers(mailbox, sights, queue.waiting == 0 && readers_may);
    }

    fn rest_watchers(&self, mailbox: u32, sights: &[Sight], is_open: bool) {
        let state = self.mailboxes[mailbox as usize].current();
        for (client, model) in self.models.iter().enumerate() {
            let reads = matches!(sights[client], Sight::Idle | Sight::Waits { .. }) && model.is_open();
            let Some(seen) = model.watches.get(&mailbox).filter(|_| reads && is_open) else { continue };
            let has_all = *seen >= state.version || state.count == 0;
            assert!(has_all, "client {client} watches {mailbox}, has seen {seen}, and it is in {state:?}");
        }
    }

    /// Looks at every way from one who waits to those who hold what it waits for.
    fn nobody_waits_in_a_circle(&self, sights: &[Sight]) {
        for start in 0..sights.len() {
            let mut reached = vec![start];
            let mut next = 0;
            while let Some(&client) = reached.get(next) {
                next += 1;
                let Sight::Waits { mailbox, .. } = sights[client] else { continue };
                for holder in self.sure_holders(mailbox, sights) {
                    assert!(
                        holder != start,
                        "{reached:?} wait for each other in a circle, at {mailbox} in the end"
                    );
                    if !reached.contains(&holder) {
                        reached.push(holder);
                    }
                }
            }
        }
    }

    fn sure_holders(&self, mailbox: u32, sights: &[Sight]) -> Vec<usize> {
        let holds = |client: &usize| {
            let model = &self.models[*client];
            let partly = match (sights[*client], model.outstanding.front().map(|pending| &pending.request)) {
                (Sight::Waits { mailbox: waits, .. }, Some(ClientRequest::Lock { mailboxes, .. })) => {
                    mailbox < waits && mailboxes.contains(&mailbox)
                }
                _ => false,
            };
            model.certainly_holds(mailbox, self.now.time).is_some() || model.is_open() && partly
        };
        (0..sights.len()).filter(holds).collect()
    }
}
