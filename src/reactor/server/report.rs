//! What `stat` answers: of the server, of one mailbox, of all connections, of all locks. Lines of a name and
//! a value, for a person and for a program; where there are many things of a kind, a line for each, its value
//! a list of `key=value`.

use std::fmt::Write;
use std::time::Instant;

use super::super::connection::Connection;
use super::super::extras::Extras;
use super::super::leases::Lease;
use super::super::phase::Phase;
use super::super::stat::{self, Gauges};
use super::super::transport::Transport;
use super::Server;
use crate::mailboxes::Mode;
use crate::protocol::{Reply, Topic};
use crate::workers::{ConnectionId, Job, Outcome, WaitReason, reply};

impl<T: Transport> Server<T> {
    /// Answers the `stat` that is a job's current request.
    pub(super) fn render_stat(&mut self, id: ConnectionId, topic: Topic, job: &mut Job) {
        self.counters.requests.merge(&mut job.tally);
        let mut text = String::new();
        let written = match topic {
            Topic::Server => self.render_server(id, &mut text),
            Topic::Mailbox(mailbox) => self.render_mailbox(mailbox, &mut text),
            Topic::Connections => self.render_connections(&mut text),
            Topic::Locks => self.render_locks(&mut text),
        };
        written.expect("a string takes everything");
        reply(job, &Reply::Text(&text), Outcome::Info);
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
            working,
            waiting,
            flushing,
            watching,
            watch_reads: self.watches.len(),
            locks: self.locks.len(),
            workers: self.pool.workers(),
            workers_asleep: self.pool.asleep(),
            inline_jobs: self.pool.inline_jobs(),
            posted: self.pool.posted(),
            mailboxes: geometry.mailboxes,
            size: geometry.capacity,
            packet: geometry.packet,
        };
        stat::write(text, &self.counters, &gauges)
    }

    fn render_mailbox(&self, mailbox: u32, text: &mut String) -> std::fmt::Result {
        writeln!(text, "mailbox {mailbox}")?;
        match self.mailboxes.contents(mailbox) {
            Ok(contents) => {
                writeln!(text, "version {}\nmessages {}", contents.version, contents.count)?;
                writeln!(text, "bytes {}", self.mailboxes.message_bytes(mailbox))?;
                writeln!(text, "room {}", contents.room.unwrap_or(0))?;
            }
            Err(damaged) => writeln!(text, "damaged {damaged}")?,
        }
        let queue = self.mailboxes.queue(mailbox);
        let (held, waiting, aside, overtakes) = queue.inspect(|queue| {
            (queue.holders(), queue.waiting(), queue.waiting_for_condition(), queue.overtakes())
        });
        let (how, count) = held.map_or(("free", 0), |(mode, count)| (mode_name(mode), count));
        writeln!(text, "held {how}\nholders {count}")?;
        for holder in self.locks.holders(mailbox) {
            if let Some((lease, session)) = self.lease(holder, mailbox) {
                write!(text, "lock ")?;
                self.render_lease(text, holder, lease, session)?;
            }
        }
        let waits = self.waits_for(mailbox);
        let oldest = waits.iter().min().map_or(0, |since| self.millis_since(*since));
        let longest = self.longest_waits.get(&mailbox).map_or(0, |longest| longest.as_millis());
        writeln!(text, "waiting {waiting}\naside {aside}\noldest_wait_ms {oldest}")?;
        writeln!(text, "longest_wait_ms {}\novertakes {overtakes}", longest.max(oldest))?;
        let watches = |(_, connection): (ConnectionId, &Connection<T>)| {
            let session = connection.extras.as_ref()?;
            session.watches.iter().any(|watch| watch.mailbox == mailbox).then_some(())
        };
        writeln!(text, "watchers {}", self.clients.iter().filter_map(watches).count())
    }

    fn render_connections(&self, text: &mut String) -> std::fmt::Result {
        for (id, connection) in self.clients.iter() {
            let session = connection.extras.as_deref();
            write!(text, "{} name={}", id.generation, name_of(session))?;
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
            let locks = session.iter().flat_map(|session| session.leases.iter().map(|lease| lease.mailbox));
            let watches =
                session.iter().flat_map(|session| session.watches.iter().map(|watch| watch.mailbox));
            writeln!(text, " locks={} watches={}", list(locks), list(watches))?;
        }
        Ok(())
    }

    fn render_locks(&self, text: &mut String) -> std::fmt::Result {
        let sessions = self.clients.iter().filter_map(|(id, found)| Some((id, found.extras.as_deref()?)));
        let leases =
            sessions.flat_map(|(id, session)| session.leases.iter().map(move |lease| (lease, id, session)));
        let mut locks: Vec<_> = leases.collect();
        locks.sort_unstable_by_key(|(lease, id, _)| (lease.mailbox, *id));
        for (lease, id, session) in locks {
            write!(text, "{} ", lease.mailbox)?;
            self.render_lease(text, id, lease, session)?;
        }
        Ok(())
    }

    fn render_lease(
        &self,
        text: &mut String,
        id: ConnectionId,
        lease: &Lease,
        session: &Extras,
    ) -> std::fmt::Result {
        let held = self.now.saturating_duration_since(lease.since).as_secs_f64();
        let left = session.leases.end(lease).saturating_duration_since(self.now).as_secs_f64();
        let (holder, name, mode) = (id.generation, name_of(Some(session)), mode_name(lease.mode));
        let number = lease.token;
        let waiting = self.mailboxes.queue(lease.mailbox).waiting();
        writeln!(
            text,
            "holder={holder} name={name} mode={mode} grant={number} held_seconds={held:.3} lease_seconds={left:.3} \
             waiting={waiting}"
        )
    }

    fn lease(&self, id: ConnectionId, mailbox: u32) -> Option<(&Lease, &Extras)> {
        let session = self.clients.look(id)?.extras.as_deref()?;
        let lease = session.leases.of(mailbox)?;
        Some((lease, session))
    }

    /// Since when each request waits that wants to be in a mailbox.
    fn waits_for(&self, wanted: u32) -> Vec<Instant> {
        let since = |(_, connection): (ConnectionId, &Connection<T>)| match *connection.phase() {
            Phase::Waiting { mailbox, ticket, .. } if mailbox == wanted => {
                let queue = self.mailboxes.queue(mailbox);
                queue.with_waiter(ticket, |job| job.wait.filter(|wait| wait.reason == WaitReason::Queue))?
            }
            _ => None,
        };
        self.clients.iter().filter_map(since).map(|waiting| waiting.since).collect()
    }

    fn millis_since(&self, then: Instant) -> u128 {
        self.now.saturating_duration_since(then).as_millis()
    }
}

fn name_of(session: Option<&Extras>) -> &str {
    session.and_then(|session| session.name.as_deref()).unwrap_or("-")
}

fn mode_name(mode: Mode) -> &'static str {
    match mode {
        Mode::Shared => "shared",
        Mode::Exclusive => "exclusive",
    }
}

fn list(mailboxes: impl Iterator<Item = u32>) -> String {
    let words: Vec<_> = mailboxes.map(|mailbox| mailbox.to_string()).collect();
    if words.is_empty() { "-".into() } else { words.join(",") }
}
