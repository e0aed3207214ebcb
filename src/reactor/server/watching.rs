//! Watches and their events. The result of one read is sent to all watchers at its position, a bounded number
//! in each tick.

use std::sync::Arc;

use super::super::connection::Flushed;
use super::super::transport::Transport;
use super::super::watches::{Fanout, Watch, WatchPosition, WatchRead, WatchState};
use super::Server;
use super::locking::MAILBOXES_MAX;
use crate::mailboxes::Cursor;
use crate::protocol::{Framed, MailboxRequest, Refusal, Reply, Request, Wait};
use crate::workers::{
    Acquire, ConnectionId, Job, Outcome, Owner, WatchId, enqueue, refuse, refuse_and_end, reply,
};

/// Small events that one tick sends.
const EVENTS_PER_TICK: usize = 128;

/// Copying this many bytes takes as long as sending a small event, so they count as one.
const EVENT_BYTES: usize = 8 * 1024;

impl<T: Transport> Server<T> {
    /// Answers the current request, a `watch`.
    pub(super) fn watch(&mut self, id: ConnectionId, job: &mut Job, mailboxes: &[u32], after: Option<u64>) {
        let start = |mailbox: &u32| self.mailboxes.version(*mailbox).map(|version| after.unwrap_or(version));
        let Ok(versions) = mailboxes.iter().map(start).collect::<Result<Vec<_>, _>>() else {
            return refuse_and_end(job, Refusal::Internal);
        };
        let Some(mut client) = self.clients.get(id) else { return refuse(job, &Refusal::Drain) };
        let watches = &client.extras(self.now).watches;
        let others = watches.iter().filter(|watch| !mailboxes.contains(&watch.mailbox)).count();
        if others + mailboxes.len() > MAILBOXES_MAX {
            return refuse(job, &Refusal::Count { max: MAILBOXES_MAX });
        }
        client.transport().disable_user_timeout();
        drop(client);
        let eol = job.requests[job.next].eol;
        reply(job, &Reply::Watching { versions: &versions }, Outcome::Watched);
        self.end_watches(id, |mailbox| mailboxes.contains(&mailbox));
        let watch = |(&mailbox, version)| Watch { mailbox, version, eol, state: WatchState::Armed };
        self.subscribe(id, mailboxes.iter().zip(versions).map(watch).collect());
    }

    /// Ends the watches of these mailboxes.
    pub(super) fn end_watches(&mut self, id: ConnectionId, chosen: impl Fn(u32) -> bool) {
        let Some(mut client) = self.clients.get(id) else { return };
        let Some(extras) = &mut client.extras else { return };
        let ended: Vec<Watch> = extras.watches.extract_if(.., |watch| chosen(watch.mailbox)).collect();
        drop(client);
        ended.into_iter().for_each(|watch| self.leave_group(id, watch));
    }

    fn leave_group(&mut self, id: ConnectionId, watch: Watch) {
        if watch.state == WatchState::Armed
            && let Some(ticket) = self.watches.leave(watch.position(), id)
        {
            self.cancel_wait(watch.mailbox, ticket);
        }
    }

    /// Adds watches to the groups of their positions: new ones, or those of a client that reads again.
    fn subscribe(&mut self, id: ConnectionId, watches: Vec<Watch>) {
        if watches.is_empty() {
            return;
        }
        let Some(mut client) = self.clients.get(id) else { return };
        client.extras(self.now).watches.extend_from_slice(&watches);
        drop(client);
        for watch in watches {
            let read = self.watches.join(watch.position(), Cursor::at(watch.version), [id]);
            self.start_read(read);
        }
    }

    fn start_read(&mut self, read: Option<WatchRead>) {
        let Some(WatchRead { id, position, cursor }) = read else { return };
        let WatchPosition { mailbox, version, eol } = position;
        let mut job = self.pools.job(Owner::Watch(id));
        job.cursor = Some((mailbox, cursor));
        let (after, wait) = (Some(version), Wait::Forever);
        let read = MailboxRequest::Read { mailbox, after, offset: 0, len: None, wait };
        job.requests.push(Framed { request: Request::Mailbox(read), eol, body: 0..0 });
        match enqueue(job, &self.mailboxes, Acquire::from(&read)) {
            Ok(granted) => self.pool.submit(granted),
            Err(started) => self.on_wait_started(started),
        }
    }

    /// Handles the finished read of a group.
    pub(super) fn on_watch_read(&mut self, id: WatchId, mut job: Box<Job>) {
        let is_event = job.current().is_none() && !job.closes();
        if let (Some((from, members)), Some((_, to))) = (self.watches.take(id), job.cursor) {
            if is_event {
                let bytes = Arc::new(std::mem::take(&mut job.output));
                members.iter().for_each(|id| self.set_watch(*id, &from, from.version, WatchState::Pending));
                let (left, done) = (members.into_iter(), Vec::new());
                self.watches.push_fanout(Fanout { from, to, bytes, left, done });
            } else {
                // The mailbox is damaged: it has no further messages.
                members.into_iter().for_each(|id| self.close(id));
            }
        }
        self.pools.return_job(job);
    }

    /// Sends events, up to the budget of one tick.
    pub(crate) fn send_events(&mut self) {
        let mut budget = EVENTS_PER_TICK;
        while let Some(mut fanout) = self.watches.pop_fanout() {
            while budget > 0
                && let Some(id) = fanout.left.next()
            {
                budget = budget.saturating_sub(1 + fanout.bytes.len() / EVENT_BYTES);
                self.send_event(id, &mut fanout);
            }
            if budget == 0 {
                return self.watches.resume_fanout_later(fanout);
            }
            self.rejoin(fanout);
        }
    }

    fn send_event(&mut self, id: ConnectionId, fanout: &mut Fanout) {
        let Fanout { from, to, bytes, done, .. } = fanout;
        let Some(mut client) = self.clients.get(id) else { return };
        let has_output = client.has_output();
        let Some(watch) = client.watch(from) else { return };
        // The watch may have been replaced by one at another position.
        if watch.state != WatchState::Pending {
            return;
        }
        if has_output {
            watch.state = WatchState::Lagging;
            return;
        }
        match client.send_event(bytes, self.now) {
            Ok(flushed) => {
                let Some(watch) = client.watch(from) else { return };
                match flushed {
                    Flushed::WouldBlock => watch.state = WatchState::Lagging,
                    Flushed::All => watch.version = to.version,
                    Flushed::Partial | Flushed::BudgetSpent => {
                        (watch.version, watch.state) = (to.version, WatchState::Lagging);
                    }
                }
                self.counters.events_sent += u64::from(flushed != Flushed::WouldBlock);
                if flushed == Flushed::All {
                    done.push(id);
                }
            }
            Err(error) => {
                drop(client);
                self.fail(id, &error);
            }
        }
    }

    /// Ends a fan-out: the watchers that received the whole event join the group of the next position.
    fn rejoin(&mut self, fanout: Fanout) {
        let Fanout { from, to, bytes, mut done, .. } = fanout;
        let position = WatchPosition { version: to.version, ..from };
        done.retain(|id| {
            let Some(mut client) = self.clients.get(*id) else { return false };
            match client.watch(&position) {
                Some(watch) if watch.state == WatchState::Pending => {
                    watch.state = WatchState::Armed;
                    true
                }
                _ => false,
            }
        });
        self.pools.record_dropped(bytes.capacity());
        let read = self.watches.join(position, to, done);
        self.start_read(read);
    }

    /// Resumes the lagging watches of a client that reads again.
    pub(super) fn resume(&mut self, id: ConnectionId) {
        let Some(mut client) = self.clients.get(id) else { return };
        if client.has_output() {
            return;
        }
        let Some(extras) = &mut client.extras else { return };
        let is_lagging = |watch: &mut Watch| watch.state == WatchState::Lagging;
        let lagging = extras.watches.extract_if(.., is_lagging);
        let armed = lagging.map(|watch| Watch { state: WatchState::Armed, ..watch }).collect();
        drop(client);
        self.subscribe(id, armed);
    }

    fn set_watch(&mut self, id: ConnectionId, from: &WatchPosition, version: u64, state: WatchState) {
        if let Some(mut client) = self.clients.get(id)
            && let Some(watch) = client.watch(from)
        {
            (watch.version, watch.state) = (version, state);
        }
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
