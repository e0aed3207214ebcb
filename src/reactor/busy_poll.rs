//! Decides whether the reactor polls busily before it sleeps.
//!
//! A client that sends one request after another waits longer for the server's wake-up than for the work, and
//! the wake-up costs the server more than a short busy poll. So busy polling continues as long as it finds
//! events. After each failure it becomes rarer, so a server with infrequent requests hardly ever polls
//! busily.
//!
//! Pure: the caller polls and records the result.

use std::time::Duration;

/// Largest number of sleeps between two busy polls.
const BACKOFF_MAX: u8 = 63;

/// The backoff that follows from the results of the last busy polls.
#[derive(Debug)]
pub(super) struct BusyPoll {
    /// Duration of a busy poll. Zero: there are none.
    duration: Duration,
    /// Number of sleeps between the last busy poll and the next one.
    backoff: u8,
    /// Sleeps left until the next busy poll.
    sleeps_left: u8,
}

impl BusyPoll {
    /// Busy polls of this duration, or none if it is zero.
    pub(super) fn new(duration: Duration) -> Self {
        BusyPoll { duration, backoff: 0, sleeps_left: 0 }
    }

    /// Counts a pause between events. Returns how long to poll busily in this pause. If it is `None`, the
    /// reactor sleeps at once.
    pub(super) fn count_pause(&mut self) -> Option<Duration> {
        let polls = self.sleeps_left == 0 && !self.duration.is_zero();
        self.sleeps_left = self.sleeps_left.saturating_sub(1);
        polls.then_some(self.duration)
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
        let mut busy_poll = BusyPoll::new(Duration::from_micros(30));
        let polls = |pause: &usize| {
            busy_poll.count_pause().is_some() && {
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
    fn a_duration_of_zero_is_none() {
        let mut busy_poll = BusyPoll::new(Duration::ZERO);
        assert!((0..1000).all(|_| busy_poll.count_pause().is_none()));
    }

    #[test]
    fn backs_off_when_it_finds_nothing() {
        assert!((15..25).contains(&busy_polls(|_| false)));
        assert!(busy_polls(|pause| pause > 500) > 400, "it becomes frequent again");
    }
}
