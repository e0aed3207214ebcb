//! The values that `stat` shows. Only the reactor changes the counters.

use std::fmt::Write;
use std::time::Duration;

use crate::workers::Tally;

/// Counts since the start of the server.
#[derive(Debug, Default)]
pub(super) struct Counters {
    /// Requests, by outcome.
    pub requests: Tally,
    /// Accepted clients.
    pub accepted: u64,
    /// Clients rejected because of the limit of clients.
    pub busy_clients: u64,
    /// Clients rejected because no descriptor was left.
    pub busy_descriptors: u64,
    /// Failures of accept(2).
    pub accept_failures: u64,
    /// Jobs that returned after their connection had been closed.
    pub stale_completions: u64,
    /// Requests that left their queue because their client disconnected.
    pub abandoned: u64,
    /// Connections closed because a body made no progress.
    pub closed_slow_bodies: u64,
    /// Connections closed because the client read no replies.
    pub closed_slow_readers: u64,
    /// Requests over UDP.
    pub packets: u64,
    /// Requests and answers over UDP that were dropped, because too many of them were in progress.
    pub packets_dropped: u64,
    /// Connections closed to free the memory of their unread answers.
    pub closed_for_memory: u64,
    /// Connections closed because of a socket error.
    pub closed_by_error: u64,
    /// Taken messages that were requeued because the client of the `take` did not receive the answer.
    pub requeued: u64,
    /// Messages in hand that were given back because their connection had ended or was silent.
    pub given_back: u64,
    /// Expired locks.
    pub leases_ended: u64,
    /// Events sent to watchers.
    pub events_sent: u64,
    /// Large messages sent from their mailbox itself.
    pub sent_uncopied: u64,
    /// Large messages received into their mailbox itself.
    pub received_uncopied: u64,
    /// Requests completed because no further bytes arrived.
    pub completed_by_silence: u64,
    /// Files without their names at the last check of the instance's files.
    pub files_missing: u64,
    /// Files without their names that were restored.
    pub files_restored: u64,
    /// Lines that the log has dropped.
    pub log_lines_dropped: u64,
}

/// Values at this moment.
#[derive(Debug, Default)]
pub(super) struct Gauges {
    /// Seconds since the start.
    pub uptime: u64,
    /// How often this segment was opened.
    pub epoch: u64,
    /// Connected clients.
    pub connections: usize,
    /// Limit of clients.
    pub max_clients: usize,
    /// Bytes of memory for clients.
    pub client_memory: usize,
    /// Limit of the memory for clients, in bytes.
    pub client_memory_max: usize,
    /// Clients in the phase `Working`.
    pub working: usize,
    /// Clients whose request waits for a mailbox.
    pub waiting: usize,
    /// Clients with unwritten replies.
    pub flushing: usize,
    /// Clients that watch mailboxes.
    pub watching: usize,
    /// Mailboxes whose watchers wait for the next message.
    pub watched: usize,
    /// Locked mailboxes, counted once for each holder.
    pub locks: usize,
    /// Threads of the pool.
    pub workers: usize,
    /// Sleeping threads of the pool.
    pub workers_asleep: usize,
    /// Jobs that the reactor ran itself.
    pub inline_jobs: u64,
    /// Jobs that were posted to the workers.
    pub posted: u64,
    /// The longest tick of the reactor.
    pub longest_tick: Duration,
    /// Ticks of more than two milliseconds.
    pub long_ticks: u64,
    /// Mailboxes of the segment.
    pub mailboxes: u32,
    /// Bytes of each mailbox.
    pub size: u64,
    /// Largest number of bytes of a request.
    pub packet: u64,
}

/// Writes one line `name value` for each value.
pub(super) fn write(text: &mut String, counters: &Counters, gauges: &Gauges) -> std::fmt::Result {
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
    line("client_memory_bytes", gauges.client_memory as u64);
    line("client_memory_max_bytes", gauges.client_memory_max as u64);
    line("connections", gauges.connections as u64);
    line("connections_accepted", counters.accepted);
    line("connections_busy", counters.busy_clients);
    line("connections_no_descriptor", counters.busy_descriptors);
    line("accepts_stuck", counters.accept_failures);
    line("packets", counters.packets);
    line("packets_dropped", counters.packets_dropped);
    line("closed_slow_bodies", counters.closed_slow_bodies);
    line("closed_slow_readers", counters.closed_slow_readers);
    line("closed_for_memory", counters.closed_for_memory);
    line("closed_by_error", counters.closed_by_error);
    line("working", gauges.working as u64);
    line("waiting", gauges.waiting as u64);
    line("flushing", gauges.flushing as u64);
    line("watching", gauges.watching as u64);
    line("standing_reads", gauges.watched as u64);
    line("locks_held", gauges.locks as u64);
    line("requests", counters.requests.total());
    counters.requests.iter().for_each(|(name, count)| line(name, count));
    line("completed_by_silence", counters.completed_by_silence);
    line("abandoned", counters.abandoned);
    line("untaken", counters.requeued);
    line("given_back", counters.given_back);
    line("leases_ended", counters.leases_ended);
    line("events_sent", counters.events_sent);
    line("sent_uncopied", counters.sent_uncopied);
    line("received_uncopied", counters.received_uncopied);
    line("stale_completions", counters.stale_completions);
    line("jobs_unaided", gauges.inline_jobs);
    line("jobs_posted", gauges.posted);
    line("tick_longest_us", u64::try_from(gauges.longest_tick.as_micros()).unwrap_or(u64::MAX));
    line("ticks_above_2ms", gauges.long_ticks);
    line("files_missing", counters.files_missing);
    line("files_restored", counters.files_restored);
    line("log_lines_dropped", counters.log_lines_dropped);
    line("overtakes", counters.requests.overtakes);
    written
}
