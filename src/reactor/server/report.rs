//! The replies of `stat`, for people and for programs. A reply about the server or about one mailbox has a
//! line `name value` for each value. A reply about one mailbox also has a line for each lock. A reply about
//! all connections or all locks has a line for each of them, with a list of `key=value`.

use std::fmt::Write;
use std::time::Instant;

use super::super::extras::Extras;
use super::super::leases::Lease;
use super::super::phase::Phase;
use super::super::stat::{self, Gauges};
use super::super::transport::Transport;
use super::Server;
use crate::mailboxes::Mode;
use crate::memory;
use crate::protocol::{Name, Reply, Topic};
use crate::workers::{ConnectionId, Job, Outcome, reply};

/// Largest number of bytes of a part of `stat conns`, `stat locks` or `stat names`. A part with a single line
/// may be larger.
pub(super) const PART_MAX: usize = 32 * 1024;

/// Largest number of bytes of a line of `stat names`.
const LINE_MAX: usize = 80;

/// Largest number of locks that `stat` of a mailbox shows.
pub(super) const HOLDERS_MAX: usize = 64;

impl<T: Transport> Server<T> {
    /// Answers the current request of a job, a `stat`.
    pub(super) fn render_stat(&mut self, id: ConnectionId, topic: Topic, job: &mut Job) {
        self.counters.requests.merge(&mut job.tally);
        let mut text = String::new();
        let written = match topic {
            Topic::Server => self.render_server(id, &mut text).map(|()| None),
            Topic::Mailbox(mailbox) => self.render_mailbox(mailbox, &mut text).map(|()| None),
            Topic::Connections { from } => self.render_connections(from, &mut text),
            Topic::Locks { from } => self.render_locks(from, &mut text),
            Topic::Names { from } => self.render_names(from, &mut text),
        };
        let more = written.expect("writing to a string cannot fail");
        reply(job, &Reply::Part { text: &text, more }, Outcome::Info);
    }

    fn render_server(&self, asking: ConnectionId, text: &mut String) -> std::fmt::Result {
        let (mut working, mut waiting, mut flushing, mut watching) = (0, 0, 0, 0);
        for (id, connection) in self.clients.iter() {
            watching += usize::from(connection.is_watcher());
            match connection.phase() {
                // The `stat` itself is not counted.
                Phase::Working => working += usize::from(id != asking),
                Phase::Waiting { .. } => waiting += 1,
                Phase::Flushing(_) => flushing += 1,
                Phase::Idle | Phase::Lingering { .. } | Phase::Closed => {}
            }
        }
        let geometry = self.mailboxes.geometry();
        let gauges = Gauges {
            uptime: self.now.saturating_duration_since(self.started).as_secs(),
            epoch: self.mailboxes.segment().epoch(),
            connections: self.clients.len(),
            max_clients: self.settings.max_clients,
            client_memory: memory::used(),
            client_memory_max: self.settings.client_memory,
            working,
            waiting,
            flushing,
            watching,
            watched: self.watches.mailboxes(),
            locks: self.locks.len(),
            workers: self.pool.workers(),
            workers_asleep: self.pool.asleep(),
            inline_jobs: self.pool.inline_jobs(),
            posted: self.pool.posted(),
            longest_tick: self.tick_times.longest,
            long_ticks: self.tick_times.long,
            mailboxes: geometry.mailboxes,
            size: geometry.capacity,
            packet: geometry.packet,
        };
        stat::write(text, &self.counters, &gauges)
    }

    fn render_mailbox(&self, mailbox: u32, text: &mut String) -> std::fmt::Result {
        writeln!(text, "mailbox {mailbox}")?;
        let name = self.mailboxes.names().of(mailbox);
        writeln!(text, "name {}", name.as_ref().map_or("-", Name::as_str))?;
        match self.mailboxes.contents(mailbox) {
            Ok(contents) => {
                writeln!(text, "version {}\nmessages {}", contents.version, contents.count)?;
                writeln!(text, "bytes {}", self.mailboxes.message_bytes(mailbox))?;
                writeln!(text, "room {}", contents.room.unwrap_or(0))?;
            }
            Err(damaged) => writeln!(text, "damaged {damaged}")?,
        }
        let queue = self.mailboxes.queue(mailbox);
        let (held, waiting, waiting_for_condition, overtakes, watchers, first) = queue.inspect(|queue| {
            let first = queue.first_waiter().and_then(|job| job.wait).map(|wait| wait.since);
            let waiting = (queue.waiting(), queue.waiting_for_condition());
            (queue.holders(), waiting.0, waiting.1, queue.overtakes(), queue.watchers(), first)
        });
        let in_hand = queue.inspect(|queue| queue.in_hand_count());
        writeln!(text, "in_hand {in_hand}")?;
        let (mode, holders) = held.map_or(("free", 0), |(mode, count)| (mode_name(mode), count));
        writeln!(text, "held {mode}\nholders {holders}")?;
        for holder in self.locks.holders(mailbox).take(HOLDERS_MAX) {
            if let Some((lease, extras)) = self.lease(holder, mailbox) {
                write!(text, "lock ")?;
                self.render_lease(text, holder, lease, extras)?;
            }
        }
        let oldest = first.map_or(0, |since| self.millis_since(since));
        let longest = self.longest_waits.get(&mailbox).map_or(0, |longest| longest.as_millis());
        writeln!(text, "waiting {waiting}\naside {waiting_for_condition}\noldest_wait_ms {oldest}")?;
        writeln!(text, "longest_wait_ms {}\novertakes {overtakes}", longest.max(oldest))?;
        writeln!(text, "watchers {watchers}")
    }

    /// Renders a part of the connections, from this slot on. Returns the slot at which the next part begins.
    fn render_connections(&self, from: u64, text: &mut String) -> Result<Option<u64>, std::fmt::Error> {
        for (id, connection) in self.clients.from(usize::try_from(from).unwrap_or(usize::MAX)) {
            let end = text.len();
            let extras = connection.extras.as_deref();
            write!(text, "{} name={}", id.generation, name_of(extras))?;
            let age = self.now.saturating_duration_since(self.started).as_secs()
                - u64::from(connection.accepted_at_s);
            write!(text, " age_seconds={age} requests={}", connection.requests)?;
            match connection.phase() {
                Phase::Waiting { mailbox, .. } => write!(text, " phase=waiting waits={mailbox}")?,
                Phase::Flushing(_) => write!(text, " phase=flushing waits=-")?,
                Phase::Working => write!(text, " phase=working waits=-")?,
                Phase::Idle => write!(text, " phase=idle waits=-")?,
                Phase::Lingering { .. } | Phase::Closed => write!(text, " phase=leaving waits=-")?,
            }
            let locks = extras.iter().flat_map(|extras| extras.leases.iter().map(|lease| lease.mailbox));
            let watches = extras.iter().flat_map(|extras| extras.watches.mailboxes());
            write!(text, " locks=")?;
            write_list(text, locks)?;
            write!(text, " watches=")?;
            write_list(text, watches)?;
            writeln!(text)?;
            if text.len() > PART_MAX && end > 0 {
                text.truncate(end);
                return Ok(Some(u64::from(id.slot)));
            }
        }
        Ok(None)
    }

    /// Renders a part of the locks, in the order of their mailboxes. Returns where the next part begins: a
    /// mailbox and a slot.
    fn render_locks(&self, from: u64, text: &mut String) -> Result<Option<u64>, std::fmt::Error> {
        for (mailbox, holder) in self.locks.from((from >> 32) as u32, from as u32) {
            // A `lock` that waits for other mailboxes has no lease.
            let Some((lease, extras)) = self.lease(holder, mailbox) else { continue };
            let end = text.len();
            write!(text, "{mailbox} ")?;
            self.render_lease(text, holder, lease, extras)?;
            if text.len() > PART_MAX && end > 0 {
                text.truncate(end);
                return Ok(Some(u64::from(mailbox) << 32 | u64::from(holder.slot)));
            }
        }
        Ok(None)
    }

    /// Renders a part of the names, in the order of their mailboxes. Returns the mailbox at which the next
    /// part begins.
    fn render_names(&self, from: u64, text: &mut String) -> Result<Option<u64>, std::fmt::Error> {
        let mut next = u32::try_from(from).ok();
        while let Some((mailbox, name)) = next.and_then(|from| self.mailboxes.names().from(from)) {
            if text.len() > PART_MAX - LINE_MAX {
                return Ok(Some(u64::from(mailbox)));
            }
            writeln!(text, "{mailbox} {name}")?;
            next = mailbox.checked_add(1);
        }
        Ok(None)
    }

    fn render_lease(
        &self,
        text: &mut String,
        id: ConnectionId,
        lease: &Lease,
        extras: &Extras,
    ) -> std::fmt::Result {
        let held = self.now.saturating_duration_since(lease.since).as_secs_f64();
        let left = extras.leases.end(lease).saturating_duration_since(self.now).as_secs_f64();
        let (holder, name, mode) = (id.generation, name_of(Some(extras)), mode_name(lease.mode));
        let token = lease.token;
        let waiting = self.mailboxes.queue(lease.mailbox).waiting();
        writeln!(
            text,
            "holder={holder} name={name} mode={mode} grant={token} held_seconds={held:.3} \
             lease_seconds={left:.3} waiting={waiting}"
        )
    }

    fn lease(&self, id: ConnectionId, mailbox: u32) -> Option<(&Lease, &Extras)> {
        let extras = self.clients.look(id)?.extras.as_deref()?;
        let lease = extras.leases.of(mailbox)?;
        Some((lease, extras))
    }

    fn millis_since(&self, then: Instant) -> u128 {
        self.now.saturating_duration_since(then).as_millis()
    }
}

fn name_of(extras: Option<&Extras>) -> &str {
    extras.and_then(|extras| extras.name.as_deref()).unwrap_or("-")
}

fn mode_name(mode: Mode) -> &'static str {
    match mode {
        Mode::Shared => "shared",
        Mode::Exclusive => "exclusive",
    }
}

/// Writes the numbers of mailboxes with commas between them, or `-` if there is none.
fn write_list(text: &mut String, mailboxes: impl Iterator<Item = u32>) -> std::fmt::Result {
    let start = text.len();
    for mailbox in mailboxes {
        if text.len() > start {
            text.push(',');
        }
        write!(text, "{mailbox}")?;
    }
    if text.len() == start {
        text.push('-');
    }
    Ok(())
}
