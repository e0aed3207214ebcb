//! Counters of a run: answers, failures and latencies.

use std::time::Duration;

use hdrhistogram::Histogram;

use super::systems::{Answer, Request, malformed};

/// The largest latency that is recorded, in ns, and the number of significant digits.
const LONGEST_NS: u64 = 3_600_000_000_000;
const DIGITS: u8 = 3;

pub(super) struct Tally {
    pub requests: u64,
    pub refusals: u64,
    pub errors: u64,
    /// Scheduled batches that were not sent before the end of the run.
    pub unsent: u64,
    /// Lost connections.
    pub lost: u64,
    pub first_failure: Option<String>,
    /// Latencies of batches, in ns.
    pub latencies: Histogram<u64>,
}

impl Tally {
    pub(super) fn new() -> Self {
        let latencies = Histogram::new_with_bounds(1, LONGEST_NS, DIGITS).expect("valid bounds");
        Tally { requests: 0, refusals: 0, errors: 0, unsent: 0, lost: 0, first_failure: None, latencies }
    }

    /// Resets the counters after the warm-up, except the failures.
    pub(super) fn restart(&mut self) {
        (self.requests, self.unsent) = (0, 0);
        self.latencies.reset();
    }

    /// Counts the answer to a request. Fails if the answer does not match the request.
    pub(super) fn count(&mut self, answer: Answer, request: Request, size: usize) -> std::io::Result<()> {
        self.requests += 1;
        match answer {
            Answer::No => {
                self.refusals += 1;
                self.first_failure.get_or_insert(format!("NO to a {request:?}"));
            }
            Answer::Error(line) => self.count_error(line),
            answer if request.is_answered_by(&answer, size) => {}
            answer => return Err(malformed(&format!("{answer:?} to a {request:?} of {size} bytes"))),
        }
        Ok(())
    }

    pub(super) fn count_error(&mut self, line: String) {
        self.errors += 1;
        self.first_failure.get_or_insert(line);
    }

    pub(super) fn connection_lost(&mut self, what: String) {
        self.lost += 1;
        self.first_failure.get_or_insert(what);
    }

    pub(super) fn record(&mut self, latency: Duration) {
        self.latencies.saturating_record(nanoseconds(latency));
    }

    /// Counts overdue batches with their wait so far.
    pub(super) fn count_unsent(&mut self, wait: Duration, batches: u64) {
        self.unsent += batches;
        self.latencies.saturating_record_n(nanoseconds(wait), batches);
    }

    /// The latency that a share of the batches did not exceed, in µs.
    pub(super) fn quantile_us(&self, share: f64) -> f64 {
        self.latencies.value_at_quantile(share) as f64 / 1000.0
    }
}

fn nanoseconds(time: Duration) -> u64 {
    time.as_nanos().clamp(1, LONGEST_NS.into()) as u64
}
