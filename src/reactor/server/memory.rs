//! What the server does when the memory for clients is used up. First it frees pooled memory. Then it closes
//! clients that do not read their answers, beginning with the largest unread answers. If that does not
//! suffice, it refuses the request that needs memory, and closes its client. Unread events close no client,
//! because all watchers share them.

use std::time::Duration;

use super::super::transport::Transport;
use super::super::watches::WATCH_MEMORY;
use super::Server;
use super::report::PART_MAX;
use crate::memory::{self, Use};
use crate::protocol::{Eol, LocalRequest, MAILBOX_NAME_MAX, MailboxRequest, Refusal, Reply, Request};
use crate::workers::{ConnectionId, Job, JobState, Outcome, refuse_and_end};

/// Largest number of clients that are closed together.
const CLOSED_AT_ONCE: usize = 4;

/// Memory of a lock: its grant, its lease, and its entries in the tables of locks and holders.
const LOCK_MEMORY: usize = 320;

/// Memory of the name of a mailbox, in two tables.
const NAME_MEMORY: usize = 4 * MAILBOX_NAME_MAX;

/// Largest number of suspended rounds that are resumed together.
const RESUMED_AT_ONCE: usize = 32;

/// Delay after which a round is resumed that was suspended for lack of memory.
const ROUND_RETRY: Duration = Duration::from_millis(100);

/// Shortest time between two log lines about used up memory.
const WARN_INTERVAL: Duration = Duration::from_secs(60);

/// The result of [`Server::make_room`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Room {
    /// The memory is available.
    Available,
    /// Clients were closed. More of them can be closed in the next tick.
    Later,
    /// No memory can be freed.
    None,
}

/// The memory that serving a request takes.
pub(super) fn memory_of(request: &LocalRequest) -> usize {
    match request {
        LocalRequest::Lock(request) => request.mailboxes.len() * LOCK_MEMORY,
        // The positions, before they are added to the tables, take about as much as the entries.
        LocalRequest::Watch { mailboxes, .. } => mailboxes.len() * WATCH_MEMORY * 2,
        LocalRequest::Stat(_) => 2 * PART_MAX,
        LocalRequest::Name { .. } => NAME_MEMORY,
        LocalRequest::Unlock { .. } | LocalRequest::Unwatch { .. } | LocalRequest::Hello { .. } => 0,
    }
}

/// How the current request uses these bytes: an answer that is not large is used briefly.
pub(super) fn use_of(job: &Job, bytes: usize) -> Use {
    match job.current().map(|framed| &framed.request) {
        Some(Request::Local(LocalRequest::Stat(_))) => Use::Brief,
        Some(Request::Local(_) | Request::Mailbox(MailboxRequest::Take { ttl: Some(_), .. })) => Use::Lasting,
        _ => memory::use_of_buffer(bytes),
    }
}

impl<T: Transport> Server<T> {
    /// Frees memory for the current request of a job. Returns the job if it can continue, or if it was
    /// refused. Otherwise the job is in the backlog, or its client was closed.
    pub(super) fn free_for_job(
        &mut self,
        id: ConnectionId,
        mut job: Box<Job>,
        bytes: usize,
    ) -> Option<Box<Job>> {
        let room = self.make_room(bytes, use_of(&job, bytes));
        if self.clients.look(id).is_none() {
            self.abandon(job);
            return None;
        }
        match room {
            Room::Available => job.resume_exhausted(),
            Room::Later => {
                self.backlog.defer(id, job);
                return None;
            }
            Room::None => {
                self.refuse_for_memory(&mut job);
            }
        }
        Some(job)
    }

    /// Refuses the current request of a job, because there is no memory for its answer. Ends its grant.
    pub(super) fn refuse_for_memory(&mut self, job: &mut Job) {
        let acquire = job.acquire();
        if let (JobState::Exhausted(Some(grant), _), Some(acquire)) = (job.take_state(), acquire) {
            self.release(acquire.mailbox, grant);
        }
        refuse_and_end(job, Refusal::Memory);
    }

    /// Frees memory for bytes that a client sends. Returns whether the memory is available. If it cannot be
    /// freed, the client is refused.
    pub(super) fn free_for_client(&mut self, id: ConnectionId, bytes: usize, usage: Use) -> bool {
        let room = self.make_room(bytes, usage);
        let Some(mut client) = self.clients.get(id) else { return false };
        match room {
            Room::Available => {}
            Room::Later => client.schedule(),
            Room::None => {
                let mut answer = Vec::new();
                Reply::Refused(&Refusal::Memory).encode(Eol::Lf, &mut answer);
                let sent = client.send(&mut answer, self.now);
                drop(client);
                self.counters.requests.count(Outcome::Busy);
                match sent {
                    Ok(_) => self.close_gracefully(id),
                    Err(error) => self.fail(id, &error),
                }
            }
        }
        room == Room::Available
    }

    /// Frees memory for a packet of UDP. Returns whether it is available.
    pub(super) fn free_for_packet(&mut self, bytes: usize) -> bool {
        memory::has_room(bytes, Use::Brief) || self.make_room(bytes, Use::Brief) == Room::Available
    }

    /// Frees memory for a request that begins to wait, because its memory is kept as long as it waits. If no
    /// memory can be freed, the request is refused.
    pub(super) fn free_for_wait(&mut self, id: ConnectionId) {
        if self.make_room(0, Use::Lasting) == Room::None
            && let Some(mut job) = self.cancel_current(id)
        {
            refuse_and_end(&mut job, Refusal::Memory);
            self.drive(id, job);
        }
    }

    /// Frees memory until `bytes` are available.
    fn make_room(&mut self, bytes: usize, usage: Use) -> Room {
        let is_available =
            || memory::refill_spare() && memory::has_room(bytes, usage) && memory::is_available(bytes);
        if is_available() {
            return Room::Available;
        }
        self.warn_of_used_memory();
        for _ in 0..CLOSED_AT_ONCE {
            self.pools.clear();
            if is_available() {
                return Room::Available;
            }
            let Some(largest) = self.clients.largest_unread() else { return Room::None };
            self.counters.closed_for_memory += 1;
            self.close(largest);
        }
        Room::Later
    }

    fn warn_of_used_memory(&mut self) {
        let is_due = self.memory_warned_at.is_none_or(|at| at + WARN_INTERVAL <= self.now);
        if is_due {
            self.memory_warned_at = Some(self.now);
            let (used, max) = (memory::used() / 1024, self.settings.client_memory / 1024);
            log::warn!(
                "the clients use {used} kB of the {max} kB that --client-memory allows; clients that do not \
                 read their answers are closed, and requests may be refused; logged at most once a minute"
            );
        }
    }

    // ---- reads for watchers ----

    /// Tries the read for the watchers of a mailbox again, after memory has been freed. If there is none, the
    /// round of the mailbox is suspended. The watchers stay at their versions, so they miss nothing.
    pub(super) fn retry_watch_read(&mut self, mailbox: u32, mut job: Box<Job>, bytes: usize) {
        if self.make_room(bytes, memory::use_of_buffer(bytes)) == Room::Available {
            job.resume_exhausted();
            return self.pool.submit(job);
        }
        if let JobState::Exhausted(Some(grant), _) = job.take_state() {
            self.release(mailbox, grant);
        }
        self.pools.return_job(job);
        self.watches.suspend_round(mailbox);
        self.rounds_resume_at = self.now + ROUND_RETRY;
    }

    /// Resumes suspended rounds, if it is time.
    pub(super) fn resume_suspended_rounds(&mut self) {
        if self.rounds_resume_at > self.now {
            return;
        }
        for _ in 0..RESUMED_AT_ONCE {
            let Some(mailbox) = self.watches.take_suspended() else { break };
            self.continue_round(mailbox);
        }
    }
}
