//! Events: from a standing read to everybody who waited for it, some at a time, so that others are served in between.

use std::collections::btree_set;
use std::sync::Arc;

use super::connection::Flushed;
use super::extras::{Watch, WatchState};
use super::locks::MAILBOXES_MAX;
use super::server::Server;
use super::transport::Transport;
use super::watches::{Group, StandingRead, WatchPosition};
use crate::mailboxes::{Cursor, Mode};
use crate::planted::{Bug, is_planted};
use crate::protocol::{Framed, Refusal, Reply, Request, Wait};
use crate::workers::{ConnectionId, Job, Outcome, admit, refuse, refuse_and_end, with_grant};

/// Events that one turn of the loop sends, if they are small.
const EVENTS_PER_TICK: usize = 128;

/// Bytes for which an event counts as one more: copying them takes as long as sending a small one.
const EVENT_BYTES: usize = 8 * 1024;

/// An event on its way to those who watch.
#[derive(Debug)]
pub(super) struct Fanout {
    /// Where they stood.
    from: WatchPosition,
    /// Where they stand when they have it.
    to: Cursor,
    bytes: Arc<Vec<u8>>,
    /// Those who are still to get it, and those who have.
    left: btree_set::IntoIter<ConnectionId>,
    done: Vec<ConnectionId>,
}

impl<W: Transport> Server<W> {
    /// Answers the `watch` that is a job's current request.
    pub(super) fn watch(&mut self, job: &mut Job) {
        let Job { requests, answered, connection: id, .. } = job;
        let Framed { request: Request::Watch { mailboxes, after }, eol, .. } = &requests[*answered] else {
            unreachable!("called for a watch")
        };
        let (id, eol) = (*id, *eol);
        let Some(connection) = self.connections.find(id) else { return };
        let watched =
            |mailbox: &u32| self.mailboxes.version(*mailbox).map(|version| after.unwrap_or(version));
        let Ok(versions) = mailboxes.iter().map(watched).collect::<Result<Vec<_>, _>>() else {
            return refuse_and_end(job, Refusal::Internal);
        };
        let session = connection.extras(self.now);
        let others = session.watches.iter().filter(|watch| !mailboxes.contains(&watch.mailbox)).count();
        if others + mailboxes.len() > MAILBOXES_MAX {
            return refuse(job, &Refusal::Count { max: MAILBOXES_MAX });
        }
        connection.transport().disable_user_timeout();
        Reply::Watching { versions: &versions }.encode(eol, &mut job.output);
        for (&mailbox, version) in mailboxes.iter().zip(versions) {
            self.forget_watch(id, mailbox);
            self.subscribe(id, Watch { mailbox, version, eol, state: WatchState::Armed });
        }
        job.tally.count(Outcome::Watched);
        job.advance();
    }

    /// Answers the `unwatch` that is a job's current request.
    pub(super) fn unwatch(&mut self, job: &mut Job) {
        let Framed { request: Request::Unwatch { mailboxes }, eol, .. } = &job.requests[job.answered] else {
            unreachable!("called for an unwatch")
        };
        match mailboxes {
            Some(list) => list.iter().for_each(|mailbox| self.forget_watch(job.connection, *mailbox)),
            None => self.forget_watches(job.connection),
        }
        Reply::Ok.encode(*eol, &mut job.output);
        job.tally.count(Outcome::Watched);
        job.advance();
    }

    /// Ends all watches of a connection.
    pub(super) fn forget_watches(&mut self, id: ConnectionId) {
        let Some(session) = self.connections.find(id).and_then(|connection| connection.extras.as_mut())
        else {
            return;
        };
        for watch in std::mem::take(&mut session.watches) {
            self.leave_group(id, watch);
        }
    }

    fn forget_watch(&mut self, id: ConnectionId, mailbox: u32) {
        let Some(session) = self.connections.find(id).and_then(|connection| connection.extras.as_mut())
        else {
            return;
        };
        if let Some(at) = session.watches.iter().position(|watch| watch.mailbox == mailbox) {
            let watch = session.watches.swap_remove(at);
            self.leave_group(id, watch);
        }
    }

    fn leave_group(&mut self, id: ConnectionId, watch: Watch) {
        if watch.state == WatchState::Armed
            && let Some(ticket) = self.watches.leave(position(&watch), id)
        {
            self.cancel_wait(watch.mailbox, ticket);
        }
    }

    /// A new watch, or one whose client reads again: it stands where it has stopped.
    fn subscribe(&mut self, id: ConnectionId, watch: Watch) {
        let Some(connection) = self.connections.find(id) else { return };
        connection.extras(self.now).watches.push(watch);
        let read = self.watches.join(position(&watch), Cursor::at(watch.version), [id]);
        self.start_reading(read);
    }

    fn start_reading(&mut self, read: Option<StandingRead>) {
        let Some(StandingRead { id, stand: WatchPosition { mailbox, version, eol }, cursor }) = read else {
            return;
        };
        let mut job = self.pools.job(id);
        job.watch_cursor = Some(cursor);
        let (after, wait) = (Some(version), Wait::Forever);
        job.requests.push(Framed {
            request: Request::Read { mailbox, after, offset: 0, len: None, wait },
            eol,
            body: 0..0,
        });
        match admit(job, &self.mailboxes, mailbox, Mode::Shared, wait) {
            Ok(granted) => self.submit(with_grant(granted)),
            Err(parked) => self.on_wait_started(parked),
        }
    }

    /// A standing read has come home.
    pub(super) fn on_watch_read(&mut self, mut job: Box<Job>) {
        let watchers = self.watches.take(job.connection);
        let standing = job.watch_cursor.take();
        let is_event = job.current().is_none() && !job.closes();
        if let (Some((from, Group { members, .. })), Some(to)) = (watchers, standing) {
            if is_event {
                let bytes = Arc::new(std::mem::take(&mut job.output));
                members.iter().for_each(|id| self.set_watch(*id, &from, from.version, WatchState::Pending));
                self.fanouts.push_back(Fanout {
                    from,
                    to,
                    bytes,
                    left: members.into_iter(),
                    done: Vec::new(),
                });
            } else {
                // The mailbox is damaged: there is nothing more to see there.
                members.into_iter().for_each(|id| self.close(id));
            }
        }
        self.pools.return_job(job);
    }

    /// Sends events, as many as one turn may.
    pub(super) fn send_events(&mut self) {
        let mut budget = EVENTS_PER_TICK;
        while let Some(mut delivery) = self.fanouts.pop_front() {
            while budget > 0
                && let Some(id) = delivery.left.next()
            {
                budget = budget.saturating_sub(1 + delivery.bytes.len() / EVENT_BYTES);
                self.send_event(id, &mut delivery);
            }
            if budget == 0 {
                return self.fanouts.push_front(delivery);
            }
            self.rejoin(delivery);
        }
    }

    fn send_event(&mut self, id: ConnectionId, delivery: &mut Fanout) {
        let Fanout { from, to, bytes, done, .. } = delivery;
        let Some(connection) = self.connections.find(id) else { return };
        let has_output = connection.has_output();
        let Some(session) = &mut connection.extras else { return };
        let Some(watch) = session.watch(from.mailbox) else { return };
        // It may have begun to watch anew in the meantime, from elsewhere.
        if watch.state != WatchState::Pending || position(watch) != *from {
            return;
        }
        if has_output {
            watch.state = WatchState::Lagging;
            return;
        }
        match connection.send_event(bytes, self.now) {
            Ok(Flushed::WouldBlock) => {
                self.set_watch(id, from, from.version, WatchState::Lagging);
                self.rearm(id);
            }
            Ok(sent) => {
                self.counters.events_sent += 1;
                if sent == Flushed::All {
                    self.set_watch(id, from, to.version, WatchState::Pending);
                    done.push(id);
                } else {
                    self.set_watch(id, from, to.version, WatchState::Lagging);
                    self.rearm(id);
                }
            }
            Err(error) => self.fail(id, &error),
        }
    }

    /// Everybody has an event: those who took it stand behind it now.
    fn rejoin(&mut self, delivery: Fanout) {
        let Fanout { from, to, bytes, mut done, .. } = delivery;
        let stand = WatchPosition { version: to.version, ..from };
        done.retain(|id| {
            let watch = self
                .connections
                .find(*id)
                .and_then(|connection| connection.extras.as_mut()?.watch(from.mailbox));
            match watch {
                Some(watch) if watch.state == WatchState::Pending && position(watch) == stand => {
                    watch.state = WatchState::Armed;
                    true
                }
                _ => false,
            }
        });
        self.pools.record_dropped(bytes.capacity());
        let (stand, to) = self.forget_place(stand, to, &done);
        let read = self.watches.join(stand, to, done);
        self.start_reading(read);
    }

    /// The bug [`RegroupedAtNewest`](Bug::RegroupedAtNewest): where nothing is planted, they stand where they stood.
    fn forget_place(
        &mut self,
        stand: WatchPosition,
        to: Cursor,
        members: &[ConnectionId],
    ) -> (WatchPosition, Cursor) {
        if !is_planted(Bug::RegroupedAtNewest) {
            return (stand, to);
        }
        let version = self.mailboxes.version(stand.mailbox).unwrap_or(stand.version);
        members.iter().for_each(|id| self.set_watch(*id, &stand, version, WatchState::Armed));
        (WatchPosition { version, ..stand }, Cursor::at(version))
    }

    /// The client of a connection reads again: its watches go on where they have stopped.
    pub(super) fn resume(&mut self, id: ConnectionId) {
        let Some(connection) = self.connections.find(id) else { return };
        if connection.has_output() {
            return;
        }
        let Some(session) = &mut connection.extras else { return };
        let behind: Vec<Watch> =
            session.watches.extract_if(.., |watch| watch.state == WatchState::Lagging).collect();
        for watch in behind {
            self.subscribe(id, Watch { state: WatchState::Armed, ..watch });
        }
    }

    fn set_watch(&mut self, id: ConnectionId, from: &WatchPosition, version: u64, state: WatchState) {
        let watch =
            self.connections.find(id).and_then(|connection| connection.extras.as_mut()?.watch(from.mailbox));
        if let Some(watch) = watch
            && position(watch) == *from
        {
            (watch.version, watch.state) = (version, state);
        }
    }

    /// Tells a client something that it has not asked for, between two answers.
    pub(super) fn push_event(&mut self, id: ConnectionId, mut news: Vec<u8>) {
        let Some(connection) = self.connections.find(id) else { return };
        if connection.is_closing() {
            return;
        }
        if connection.has_output() {
            connection.append(&news);
            // Its next lease has its own end.
            return self.rearm(id);
        }
        match connection.send(&mut news, self.now) {
            Ok(_) => self.rearm(id),
            Err(error) => self.fail(id, &error),
        }
    }
}

fn position(watch: &Watch) -> WatchPosition {
    let &Watch { mailbox, version, eol, .. } = watch;
    WatchPosition { mailbox, version, eol }
}
