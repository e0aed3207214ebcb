//! Watches and their events. One read gets the next message for all watchers at a position. The event with
//! this message is sent to a bounded number of these watchers in each tick.

use std::io;
use std::sync::Arc;

use super::super::budget::MICROSECOND;
use super::super::connection::Flushed;
use super::super::transport::Transport;
use super::super::watch_list::{Watch, WatchList, WatchState};
use super::super::watches::{Fanout, WATCH_MEMORY, WatchPosition};
use super::Server;
use super::locking::MAILBOXES_MAX;
use crate::mailboxes::Grant;
use crate::protocol::{Framed, MailboxRequest, Refusal, Reply, Request, Wait};
use crate::workers::{
    ConnectionId, Enqueued, Job, JobState, Outcome, Owner, enqueue, refuse, refuse_and_end, reply,
};

/// Cost of sending an event, without its bytes.
pub(super) const SEND_EVENT: usize = 4 * MICROSECOND;

/// Cost of a byte of an event, relative to a byte that is copied.
pub(super) const EVENT_BYTE: usize = 4;

/// The cursor is kept for lists with more messages than this number, because finding a message without a
/// cursor takes one step for each message before it.
const LONG_LIST: u64 = 64;

impl<T: Transport> Server<T> {
    /// Answers the current request, a `watch`.
    pub(super) fn watch(&mut self, id: ConnectionId, job: &mut Job, mailboxes: &[u32], after: Option<u64>) {
        let newest = mailboxes.iter().map(|mailbox| self.mailboxes.version(*mailbox));
        let Ok(mut versions) = newest.collect::<Result<Vec<_>, _>>() else {
            return refuse_and_end(job, Refusal::Internal);
        };
        if let Some(after) = after {
            if versions.iter().any(|version| after > *version) {
                return reply(job, &Reply::Ahead { versions: &versions }, Outcome::Ahead);
            }
            versions.fill(after);
        }
        let Some(mut client) = self.clients.get(id) else { return refuse(job, &Refusal::Drain) };
        let watches = &client.extras(self.now).watches;
        let again = mailboxes.iter().filter(|mailbox| watches.contains(**mailbox)).count();
        if watches.len() - again + mailboxes.len() > MAILBOXES_MAX {
            return refuse(job, &Refusal::Count { max: MAILBOXES_MAX });
        }
        client.transport().disable_user_timeout();
        drop(client);
        let eol = job.requests[job.next].style.eol();
        reply(job, &Reply::Watching { versions: &versions }, Outcome::Watched);
        self.end_watches(id, mailboxes);
        let position = |(mailbox, version): (&u32, &u64)| self.watches.position(*mailbox, *version, eol);
        let positions: Vec<WatchPosition> = mailboxes.iter().zip(&versions).map(position).collect();
        if let Some(mut client) = self.clients.get(id) {
            client.extras(self.now).watches.add(positions.iter().map(|position| Watch::new(*position)));
        }
        for position in positions {
            self.mailboxes.queue(position.mailbox).add_watcher();
            self.arm(position, id);
        }
    }

    /// Ends the watches of these mailboxes.
    pub(super) fn end_watches(&mut self, id: ConnectionId, mailboxes: &[u32]) {
        self.take_watches(id, |watches| {
            mailboxes.iter().filter_map(|mailbox| watches.remove(*mailbox)).collect()
        });
    }

    /// Ends all watches of a client.
    pub(super) fn end_all_watches(&mut self, id: ConnectionId) {
        self.take_watches(id, |watches| std::iter::from_fn(|| watches.pop()).collect());
    }

    /// Ends the watches that `take` removes.
    fn take_watches(&mut self, id: ConnectionId, take: impl FnOnce(&mut WatchList) -> Vec<Watch>) {
        let Some(mut client) = self.clients.get(id) else { return };
        let Some(extras) = &mut client.extras else { return };
        let ended = take(&mut extras.watches);
        drop(client);
        ended.into_iter().for_each(|watch| self.forget_watch(id, watch));
    }

    /// Ends a watch that has been removed from the list of its client. Cancels the waiting read of the
    /// mailbox if no watcher needs it any more.
    pub(super) fn forget_watch(&mut self, id: ConnectionId, watch: Watch) {
        let position = watch.position();
        self.pools.record_dropped(WATCH_MEMORY);
        self.mailboxes.queue(position.mailbox).remove_watcher();
        self.watches.disarm(position, id.slot);
        if let Some(ticket) = self.watches.unneeded_read(position.mailbox)
            && let Some(job) = self.cancel(position.mailbox, ticket)
        {
            self.watches.end_round(position.mailbox);
            self.pools.return_job(job);
        }
    }

    /// Lets a watch wait for the next message of its mailbox. Begins a round if the mailbox has none and
    /// already has a message for this watch.
    fn arm(&mut self, position: WatchPosition, id: ConnectionId) {
        self.watches.arm(position, id.slot);
        if !self.watches.has_round(position.mailbox) {
            self.begin_round(position.mailbox, position);
        }
    }

    /// Begins to read for the watchers at a position, if the mailbox has a newer message. If it has none, the
    /// watchers wait for it.
    fn begin_round(&mut self, mailbox: u32, position: WatchPosition) {
        if self.mailboxes.await_message(mailbox, position.version) {
            return self.watches.end_round(mailbox);
        }
        let job = self.watch_read(position);
        let Some(acquire) = job.acquire() else { return };
        match enqueue(job, &self.mailboxes, acquire) {
            Enqueued::Granted(granted) => self.pool.submit(granted),
            Enqueued::Waiting(started) => self.on_wait_started(started),
            Enqueued::Locked(_) => unreachable!("the read for watchers waits for locks"),
        }
    }

    /// Handles the admission of a read for the watchers of a mailbox. The mailbox has a message that they
    /// wait for.
    pub(super) fn on_watch_admitted(&mut self, mailbox: u32, grant: Grant) {
        match self.watches.first(mailbox) {
            Some(position) if !self.watches.has_round(mailbox) => {
                let job = self.watch_read(position);
                self.pool.submit(job.with_state(JobState::Granted(grant)));
            }
            // The watchers have left, or a new one has begun a round.
            _ => self.release(mailbox, grant),
        }
    }

    /// The read of the next message for the watchers at a position.
    fn watch_read(&mut self, position: WatchPosition) -> Box<Job> {
        let WatchPosition { mailbox, version, eol, .. } = position;
        let cursor = self.watches.begin_read(position);
        let mut job = self.pools.job(Owner::Watch(mailbox));
        job.cursor = Some((mailbox, cursor));
        let (after, wait) = (Some(version), Wait::Forever);
        let read = MailboxRequest::Read { mailbox, after, offset: 0, len: None, wait };
        job.requests.push(Framed { request: Request::Mailbox(read), style: eol.into(), body: 0..0 });
        job
    }

    /// Handles the finished read for watchers of a mailbox.
    pub(super) fn on_watch_read(&mut self, mailbox: u32, mut job: Box<Job>) {
        if let JobState::Exhausted(_, bytes) = job.state {
            return self.retry_watch_read(mailbox, job, bytes);
        }
        if let JobState::Granted(_) = job.state {
            return self.send_to_watchers(mailbox, job);
        }
        let Some(from) = self.watches.end_read(mailbox) else { return self.pools.return_job(job) };
        let is_damaged = job.closes();
        match (job.cursor, job.output.is_empty()) {
            (Some((_, to)), false) if !is_damaged => {
                let bytes = Arc::new(std::mem::take(&mut job.output));
                self.watches.begin_fanout(Fanout { from, to, bytes });
            }
            _ => {
                self.watches.end_round(mailbox);
                // A damaged mailbox has no further messages, so the connections of its watchers are closed.
                while is_damaged && let Some(slot) = self.watches.any_at(from) {
                    match self.clients.in_slot(slot) {
                        Some(id) => self.close(id),
                        None => self.watches.disarm(from, slot),
                    }
                }
                self.continue_round(mailbox);
            }
        }
        self.pools.return_job(job);
    }

    /// Sends events, up to the budget of one tick.
    pub(crate) fn send_events(&mut self) {
        while !self.budgets.events.is_spent()
            && let Some(fanout) = self.watches.fanout()
        {
            match self.watches.any_at(fanout.from) {
                Some(slot) => {
                    let fanout = fanout.clone();
                    self.budgets.events.charge(SEND_EVENT + fanout.bytes.len() * EVENT_BYTE);
                    self.send_event(slot, &fanout);
                }
                None => {
                    let mailbox = fanout.from.mailbox;
                    self.pools.record_dropped(fanout.bytes.capacity());
                    let is_long =
                        self.mailboxes.contents(mailbox).is_ok_and(|contents| contents.count > LONG_LIST);
                    self.watches.end_fanout(is_long);
                    self.continue_round(mailbox);
                }
            }
        }
    }

    /// Begins the next read for the watchers of a mailbox with the lowest version, if the mailbox has a newer
    /// message. Ends the round if it has none.
    pub(super) fn continue_round(&mut self, mailbox: u32) {
        match self.watches.first(mailbox) {
            Some(position) => self.begin_round(mailbox, position),
            None => self.watches.end_round(mailbox),
        }
    }

    /// Sends an event to one of its receivers. Afterwards the watch of this receiver is not armed at the
    /// position of the event any more.
    fn send_event(&mut self, slot: u32, fanout: &Fanout) {
        self.watches.disarm(fanout.from, slot);
        let Some(id) = self.clients.in_slot(slot) else { return };
        let Some(mut client) = self.clients.get(id).filter(|client| !client.is_closing()) else { return };
        let flushed = match client.has_output() {
            true => Ok(Flushed::WouldBlock),
            false => client.send_event(&fanout.bytes, self.now),
        };
        drop(client);
        self.end_event(id, fanout, flushed);
    }

    /// Records how much of an event a client has got. The watch of this client was disarmed.
    pub(super) fn end_event(&mut self, id: ConnectionId, fanout: &Fanout, flushed: io::Result<Flushed>) {
        let Fanout { from, to, .. } = fanout;
        let after = WatchPosition { version: to.version, is_late: false, ..*from };
        let (position, state) = match flushed {
            Ok(Flushed::All) => (after, WatchState::Armed),
            Ok(Flushed::WouldBlock) => (*from, WatchState::Lagging),
            Ok(Flushed::Partial | Flushed::BudgetSpent) => (after, WatchState::Lagging),
            Err(error) => return self.fail(id, &error),
        };
        let Some(mut client) = self.clients.get(id) else { return };
        client.extras(self.now).watches.set(position, state);
        drop(client);
        self.counters.events_sent += u64::from(position == after);
        if state == WatchState::Armed {
            self.watches.arm(after, id.slot);
        }
    }

    /// Resumes the lagging watches of a client that reads again.
    pub(super) fn resume(&mut self, id: ConnectionId) {
        let Some(mut client) = self.clients.get(id) else { return };
        if client.has_output() || !client.is_lagging() {
            return;
        }
        let watches = &mut client.extras(self.now).watches;
        let place = |watch: &Watch| {
            let WatchPosition { mailbox, version, eol, .. } = watch.position();
            self.watches.position(mailbox, version, eol)
        };
        let positions: Vec<WatchPosition> = watches.lagging().iter().map(place).collect();
        positions.iter().for_each(|position| watches.set(*position, WatchState::Armed));
        drop(client);
        positions.into_iter().for_each(|position| self.arm(position, id));
    }

    /// Sends an event that concerns only this client, between two answers.
    pub(super) fn push_event(&mut self, id: ConnectionId, mut event: Vec<u8>) {
        let Some(mut client) = self.clients.get(id) else { return };
        if client.is_closing() {
            return;
        }
        if client.has_output() {
            return client.append(&event);
        }
        if let Err(error) = client.send(&mut event, self.now) {
            drop(client);
            self.fail(id, &error);
        }
    }
}
