//! What `stat` shows. The reactor counts; nobody else has to.

use std::fmt::Write;

use crate::workers::Tally;

/// What happened since the start, besides the requests themselves.
#[derive(Debug, Default)]
pub struct Counters {
    /// What became of the requests.
    pub requests: Tally,
    /// Clients let in.
    pub accepted: u64,
    /// Clients turned away because of the limit.
    pub busy_clients: u64,
    /// Clients turned away for want of a descriptor.
    pub busy_descriptors: u64,
    /// How often accept(2) had to be put off.
    pub accept_failures: u64,
    /// Completions for connections that were gone.
    pub stale_completions: u64,
    /// Requests that left their queue because their client did.
    pub abandoned: u64,
    /// Connections closed because a body made no progress.
    pub closed_slow_bodies: u64,
    /// Connections closed because they took none of their answers.
    pub closed_slow_readers: u64,
    /// Connections that ended with an error of the socket.
    pub closed_by_error: u64,
    /// Messages that went back to their mailbox because their taker was gone.
    pub requeued: u64,
    /// Locks that ran out.
    pub leases_ended: u64,
    /// Events that were sent to watchers.
    pub events_sent: u64,
    /// Requests that silence completed.
    pub completed_by_silence: u64,
}

/// What is true at this moment.
#[derive(Debug, Default)]
pub struct Gauges {
    /// Seconds since the start.
    pub uptime: u64,
    /// Starts of this segment.
    pub epoch: u64,
    /// Clients.
    pub connections: usize,
    /// Clients that may be.
    pub max_clients: usize,
    /// Clients whose request is being worked on.
    pub working: usize,
    /// Clients whose request waits for a mailbox.
    pub waiting: usize,
    /// Clients whose answers wait for them.
    pub flushing: usize,
    /// Clients that watch mailboxes.
    pub watching: usize,
    /// Reads that wait for the next message for them.
    pub watch_reads: usize,
    /// Mailboxes that are locked, counted once for each holder.
    pub locks: usize,
    /// Threads of the pool.
    pub workers: usize,
    /// Those of them that sleep.
    pub workers_asleep: usize,
    /// Jobs that the reactor ran itself.
    pub inline_jobs: u64,
    pub posted: u64,
    /// Mailboxes.
    pub mailboxes: u32,
    /// Bytes of each.
    pub size: u64,
    /// Bytes of a request.
    pub packet: u64,
}

/// Writes the lines `name value`.
pub fn write(text: &mut String, counters: &Counters, gauges: &Gauges) -> std::fmt::Result {
    let mut written = Ok(());
    let mut line = |name: &str, value: u64| {
        let line = writeln!(text, "{name} {value}");
        written = written.and(line);
    };
    line("uptime_seconds", gauges.uptime);
    line("pid", u64::from(std::process::id()));
    line("epoch", gauges.epoch);
    line("mailboxes", u64::from(gauges.mailboxes));
    line("size_bytes", gauges.size);
    line("packet_bytes", gauges.packet);
    line("workers", gauges.workers as u64);
    line("workers_asleep", gauges.workers_asleep as u64);
    line("max_clients", gauges.max_clients as u64);
    line("connections", gauges.connections as u64);
    line("connections_accepted", counters.accepted);
    line("connections_busy", counters.busy_clients);
    line("connections_no_descriptor", counters.busy_descriptors);
    line("accepts_stuck", counters.accept_failures);
    line("closed_slow_bodies", counters.closed_slow_bodies);
    line("closed_slow_readers", counters.closed_slow_readers);
    line("closed_by_error", counters.closed_by_error);
    line("working", gauges.working as u64);
    line("waiting", gauges.waiting as u64);
    line("flushing", gauges.flushing as u64);
    line("watching", gauges.watching as u64);
    line("standing_reads", gauges.watch_reads as u64);
    line("locks_held", gauges.locks as u64);
    line("requests", counters.requests.total());
    counters.requests.iter().for_each(|(name, count)| line(name, count));
    line("completed_by_silence", counters.completed_by_silence);
    line("abandoned", counters.abandoned);
    line("untaken", counters.requeued);
    line("leases_ended", counters.leases_ended);
    line("events_sent", counters.events_sent);
    line("stale_completions", counters.stale_completions);
    line("jobs_unaided", gauges.inline_jobs);
    line("jobs_posted", gauges.posted);
    line("overtakes", counters.requests.overtakes);
    written
}
