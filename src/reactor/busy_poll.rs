//! Decides whether the reactor polls busily before it sleeps.
//!
//! A client that sends one request after another waits longer for the server's wake-up than for the work, and
//! the wake-up costs the server more than a short busy poll. So busy polling continues as long as it finds
//! events. After each failure it becomes rarer, so a server with infrequent requests hardly ever polls
//! busily.
//!
//! Pure: the caller polls and records the result.

use std::time::Duration;

/// Duration of a busy poll.
pub(super) const SPIN: Duration = Duration::from_micros(30);

/// Largest number of sleeps between two busy polls.
const BACKOFF_MAX: u8 = 63;

/// The backoff that follows from the results of the last busy polls.
#[derive(Debug, Default)]
pub(super) struct BusyPoll {
    /// Number of sleeps between the last busy poll and the next one.
    backoff: u8,
    /// Sleeps left until the next busy poll.
    sleeps_left: u8,
}

impl BusyPoll {
    /// Counts a pause between events. Returns whether to poll busily in this pause. If not, the reactor
    /// sleeps at once.
    pub(super) fn count_pause(&mut self) -> bool {
        let polls = self.sleeps_left == 0;
        self.sleeps_left = self.sleeps_left.saturating_sub(1);
        polls
    }

    /// Records whether a busy poll found an event.
    pub(super) fn record(&mut self, found: bool) {
        self.backoff = if found { 0 } else { (2 * self.backoff + 1).min(BACKOFF_MAX) };
        self.sleeps_left = self.backoff;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Counts how many of 1,000 pauses begin with a busy poll.
    fn busy_polls(finds: impl Fn(usize) -> bool) -> usize {
        let mut busy_poll = BusyPoll::default();
        let polls = |pause: &usize| {
            busy_poll.count_pause() && {
                busy_poll.record(finds(*pause));
                true
            }
        };
        (0..1000).filter(polls).count()
    }

    #[test]
    fn continues_while_it_finds_events() {
        assert_eq!(busy_polls(|_| true), 1000);
        // A failure now and then makes hardly any difference.
        assert!(busy_polls(|pause| pause % 50 != 0) > 950);
    }

    #[test]
    fn backs_off_when_it_finds_nothing() {
        assert!((15..25).contains(&busy_polls(|_| false)));
        assert!(busy_polls(|pause| pause > 500) > 400, "it becomes frequent again");
    }
}
