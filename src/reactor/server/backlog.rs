//! Work that is left for later ticks: requests with long lists or answers, completions, the watches and locks
//! of clients that have disconnected, searches for cycles of waits, and clients to be drained. Each kind is
//! done in order, up to its budget.

use std::collections::VecDeque;

use super::super::Stopping;
use super::super::budget::MICROSECOND;
use super::super::clients::Clients;
use super::super::connection::Connection;
use super::super::extras::Extras;
use super::super::locks::Locks;
use super::super::phase::Phase;
use super::super::transport::Transport;
use super::Server;
use super::report::{HOLDERS_MAX, PART_MAX};
use crate::mailboxes::{Found, Search, Ticket, Waits};
use crate::protocol::{LocalRequest, Refusal, Request, Topic};
use crate::workers::{Completion, ConnectionId, Job, LockSet, Mailboxes, Receipts, refuse};

/// Requests up to this cost are served when they are received.
const LIGHT: usize = 16 * MICROSECOND;

/// Cost of beginning or ending a lock.
const LOCK: usize = 2 * MICROSECOND;

/// Cost of beginning or ending a watch.
const WATCH: usize = 2 * MICROSECOND;

/// Cost of a visited lock in a search.
const SEARCH_STEP: usize = MICROSECOND / 32;

/// Largest number of locks that a search visits before its request is queued.
const SEARCH_AT_ONCE: usize = 256;

/// Largest number of locks, watches, leases and messages in hand that are ended together.
const ENDED_AT_ONCE: usize = 32;

/// The work that is left.
#[derive(Debug, Default)]
pub(super) struct Backlog {
    /// Jobs whose current request costs more than [`LIGHT`], came when the budget was spent, or needs memory
    /// that is still to be freed.
    #[allow(clippy::vec_box, reason = "a job travels as one pointer")]
    jobs: VecDeque<(ConnectionId, Box<Job>)>,
    /// Completions of the workers that were not handled.
    pub completions: VecDeque<Completion>,
    endings: VecDeque<Ending>,
    searches: VecDeque<Searching>,
    /// Clients that are still to be drained.
    draining: VecDeque<ConnectionId>,
}

/// The watches, leases, locks and messages in hand of a client whose connection ends. Freeing the memory of
/// many entries takes long.
#[derive(Debug)]
struct Ending {
    id: ConnectionId,
    extras: Option<Box<Extras>>,
    locks: Option<Box<LockSet>>,
    receipts: Option<Box<Receipts>>,
    /// Whether the connection is removed when all of them have ended. Until then its slot is not reused.
    removes: bool,
}

impl Ending {
    /// Number of locks, watches, leases and messages in hand that are left.
    fn len(&self) -> usize {
        let of = |extras: &Extras| extras.watches.len() + extras.leases.iter().len();
        let locks = self.locks.as_ref().map_or(0, |locks| locks.len());
        let receipts = self.receipts.as_ref().map_or(0, |receipts| receipts.len());
        self.extras.as_deref().map_or(0, of) + locks + receipts
    }
}

/// An unfinished search for a cycle of waits. The request that it was begun for waits meanwhile.
#[derive(Debug)]
struct Searching {
    id: ConnectionId,
    ticket: Ticket,
    search: Search<ConnectionId>,
}

impl Backlog {
    /// Whether closed connections have watches, locks or messages in hand left.
    pub(super) fn has_endings(&self) -> bool {
        !self.endings.is_empty()
    }

    /// Leaves a job for a later tick.
    pub(super) fn defer(&mut self, id: ConnectionId, job: Box<Job>) {
        self.jobs.push_back((id, job));
    }

    pub(super) fn is_empty(&self) -> bool {
        let Backlog { jobs, completions, endings, searches, draining } = self;
        jobs.is_empty()
            && completions.is_empty()
            && endings.is_empty()
            && searches.is_empty()
            && draining.is_empty()
    }
}

/// The graph of waits of all clients.
struct WaitGraph<'a, T> {
    locks: &'a Locks,
    clients: &'a Clients<T>,
    mailboxes: &'a Mailboxes,
}

impl<T: Transport> Waits<ConnectionId> for WaitGraph<'_, T> {
    fn holder(&self, mailbox: u32, after: Option<ConnectionId>) -> Option<ConnectionId> {
        self.locks.holder(mailbox, after)
    }

    fn holds(&self, mailbox: u32, owner: ConnectionId) -> bool {
        self.locks.holds(mailbox, owner)
    }

    /// Asks the queue, because the job may be admitted already.
    fn waiting_on(&self, owner: ConnectionId) -> Option<u32> {
        let &Phase::Waiting { mailbox, ticket, .. } = self.clients.look(owner)?.phase() else { return None };
        self.mailboxes.queue(mailbox).with_waiter(ticket, |_| mailbox)
    }
}

impl<T: Transport> Server<T> {
    /// Does work of the backlog, up to the budgets of this tick.
    pub(crate) fn work_off_backlog(&mut self) {
        self.serve_deferred();
        self.end_leftovers();
        self.search_cycles();
        self.drain_clients();
    }

    // ---- requests ----

    /// Serves the current request of a job, which concerns only the reactor. If the request costs more than
    /// [`LIGHT`], or if the budget is spent, the job is left for [`Server::work_off_backlog`]. Returns the
    /// job if it can continue now.
    pub(super) fn serve_or_defer(&mut self, id: ConnectionId, job: Box<Job>) -> Option<Box<Job>> {
        let cost = self.cost(id, &job);
        if cost > LIGHT || self.budgets.receiving.is_spent() {
            self.backlog.defer(id, job);
            return None;
        }
        self.budgets.receiving.charge(cost);
        self.serve(id, job)
    }

    /// Serves one request of each job in turn, so that the clients share the budget.
    fn serve_deferred(&mut self) {
        while !self.budgets.serving.is_spent()
            && let Some((id, job)) = self.backlog.jobs.pop_front()
        {
            let Some(job) = self.check_returned(id, job) else { continue };
            self.budgets.serving.charge(self.cost(id, &job));
            if let Some(job) = self.serve(id, job) {
                self.drive(id, job);
            }
        }
    }

    /// The cost of the current request.
    fn cost(&self, id: ConnectionId, job: &Job) -> usize {
        let Some(Request::Local(request)) = job.current().map(|framed| &framed.request) else { return 0 };
        let extras = || self.clients.look(id).and_then(|client| client.extras.as_deref());
        let watches = || extras().map_or(0, |extras| extras.watches.len());
        match request {
            LocalRequest::Lock(request) => request.mailboxes.len() * LOCK,
            LocalRequest::Unlock { mailboxes: Some(list), .. } => list.len() * LOCK,
            LocalRequest::Unlock { mailboxes: None, .. } => {
                extras().map_or(0, |extras| extras.leases.iter().len()) * LOCK
            }
            LocalRequest::Watch { mailboxes, .. } => mailboxes.len() * WATCH + watches() * MICROSECOND / 16,
            LocalRequest::Unwatch { mailboxes: Some(list) } => list.len() * WATCH,
            LocalRequest::Unwatch { mailboxes: None } => watches() * WATCH,
            LocalRequest::Hello { .. } | LocalRequest::Name { .. } => MICROSECOND,
            LocalRequest::Stat(Topic::Server) => 10 * MICROSECOND + self.clients.len() * MICROSECOND / 128,
            LocalRequest::Stat(Topic::Mailbox(mailbox)) => {
                let holders = self.locks.holders(*mailbox).take(HOLDERS_MAX).count();
                8 * MICROSECOND + holders * MICROSECOND
            }
            LocalRequest::Stat(Topic::Connections { .. } | Topic::Locks { .. } | Topic::Names { .. }) => {
                PART_MAX / 128 * MICROSECOND
            }
        }
    }

    // ---- the end of connections ----

    /// Ends the watches, locks and messages in hand of a closed connection, and removes the connection
    /// afterwards.
    pub(super) fn end_all(&mut self, id: ConnectionId, mut extras: Option<Box<Extras>>) {
        let locks = extras.as_mut().and_then(|extras| extras.locks.take());
        let receipts = extras.as_mut().and_then(|extras| extras.receipts.take());
        self.end_or_defer(Ending { id, extras, locks, receipts, removes: true });
    }

    /// Ends the locks and the messages in hand of a client whose connection ends. If there are many, they are
    /// left for [`Server::work_off_backlog`].
    pub(super) fn end_held(
        &mut self,
        id: ConnectionId,
        locks: Option<Box<LockSet>>,
        receipts: Option<Box<Receipts>>,
    ) {
        if locks.is_some() || receipts.is_some() {
            self.end_or_defer(Ending { id, extras: None, locks, receipts, removes: false });
        }
    }

    fn end_or_defer(&mut self, ending: Ending) {
        match ending.len() > ENDED_AT_ONCE {
            true => self.backlog.endings.push_back(ending),
            false => self.end(ending),
        }
    }

    fn end_leftovers(&mut self) {
        while !self.budgets.ending.is_spent()
            && let Some(ending) = self.backlog.endings.pop_front()
        {
            self.budgets.ending.charge(ENDED_AT_ONCE * MICROSECOND);
            self.end(ending);
        }
    }

    /// Ends at most [`ENDED_AT_ONCE`] locks, watches, leases and messages in hand. Leaves the others in the
    /// backlog.
    fn end(&mut self, mut ending: Ending) {
        let id = ending.id;
        for _ in 0..ENDED_AT_ONCE {
            if let Some(lock) = ending.locks.as_mut().and_then(|locks| locks.pop()) {
                self.end_lock(id, lock);
            } else if let Some(receipt) = ending.receipts.as_mut().and_then(|receipts| receipts.pop()) {
                self.give_back(receipt);
            } else if let Some(extras) = &mut ending.extras {
                if let Some(watch) = extras.watches.pop() {
                    self.forget_watch(id, watch);
                } else if !extras.leases.pop() {
                    break;
                }
            }
        }
        if ending.len() > 0 {
            return self.backlog.endings.push_front(ending);
        }
        if ending.removes {
            self.clients.remove_later(id);
        }
    }

    // ---- cycles of waits ----

    /// Searches for a cycle of waits that this client would complete if it waited at a mailbox. Returns the
    /// result and the search. If the result is [`Found::NotYet`], the client begins to wait, and
    /// [`Server::search_later`] continues the search.
    pub(super) fn search(&mut self, id: ConnectionId, mailbox: u32) -> (Found, Search<ConnectionId>) {
        let mut search = Search::new(id, mailbox);
        let (found, steps) = self.advance(&mut search, SEARCH_AT_ONCE);
        self.budgets.receiving.charge(steps * SEARCH_STEP);
        (found, search)
    }

    /// Lets a search be continued while its client waits with this ticket.
    pub(super) fn search_later(&mut self, id: ConnectionId, ticket: Ticket, search: Search<ConnectionId>) {
        self.backlog.searches.push_back(Searching { id, ticket, search });
    }

    /// Continues a search. Returns its result and the number of locks that were visited.
    fn advance(&self, search: &mut Search<ConnectionId>, limit: usize) -> (Found, usize) {
        let Server { locks, clients, mailboxes, .. } = self;
        let mut left = limit;
        let found = search.advance(&WaitGraph { locks, clients, mailboxes }, &mut left);
        (found, limit - left)
    }

    fn search_cycles(&mut self) {
        while !self.budgets.searching.is_spent()
            && let Some(mut searching) = self.backlog.searches.pop_front()
        {
            let Searching { id, ticket, search } = &mut searching;
            let id = *id;
            let waits = match self.clients.look(id).map(|client| client.phase()) {
                Some(&Phase::Waiting { mailbox, ticket: current, .. }) => {
                    current == *ticket && self.mailboxes.queue(mailbox).with_waiter(current, |_| ()).is_some()
                }
                _ => false,
            };
            if !waits {
                continue;
            }
            let limit = self.budgets.searching.left() / SEARCH_STEP + 1;
            let (found, steps) = self.advance(search, limit);
            self.budgets.searching.charge(steps * SEARCH_STEP);
            match found {
                Found::NotYet => self.backlog.searches.push_front(searching),
                Found::Nothing => {}
                Found::Cycle => {
                    if let Some(mut job) = self.cancel_current(id) {
                        refuse(&mut job, &Refusal::Deadlock);
                        self.drive(id, job);
                    }
                }
            }
        }
    }

    // ---- draining ----

    /// Queues all clients to be drained.
    pub(super) fn drain_later(&mut self) {
        self.backlog.draining = self.clients.ids().into();
    }

    /// Queues the clients that wait to be drained.
    pub(super) fn drain_waiting_later(&mut self) {
        let is_waiting = |client: &Connection<T>| matches!(client.phase(), Phase::Waiting { .. });
        let waiting = self.clients.iter().filter(|(_, client)| is_waiting(client));
        self.backlog.draining = waiting.map(|(id, _)| id).collect();
    }

    /// Forgets the clients that are still to be drained, because the server continues.
    pub(super) fn cancel_drain(&mut self) {
        self.backlog.draining.clear();
    }

    fn drain_clients(&mut self) {
        while !self.budgets.sending.is_spent()
            && let Some(id) = self.backlog.draining.pop_front()
        {
            self.budgets.sending.charge(4 * MICROSECOND);
            self.drain_client(id);
        }
        if self.stopping == Stopping::EndingWaits && self.backlog.draining.is_empty() {
            self.end_connections();
        }
    }
}
