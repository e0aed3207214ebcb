//! Whether the reactor looks out for the next event before it sleeps.
//!
//! A client that sends one request after the other waits longer for the server to be woken than for its answer, and to be
//! woken costs the server more than a short look. So it looks out, and as long as that finds something it goes on doing
//! so. A look-out in vain makes the next ones rarer: a server whose requests are far apart hardly ever looks out.
//!
//! Pure: it decides, and is told what came of it.

use std::time::Duration;

/// How long a look-out lasts.
pub const SPIN: Duration = Duration::from_micros(30);

/// Sleeps between two look-outs at most.
const BACKOFF_MAX: u8 = 63;

/// What the last look-outs have come to.
#[derive(Debug, Default)]
pub struct BusyPoll {
    /// Sleeps before the next one after one in vain.
    backoff: u8,
    /// Those that are left.
    left: u8,
}

impl BusyPoll {
    /// Whether to look out now, or to sleep at once.
    pub fn is_due(&mut self) -> bool {
        let is_due = self.left == 0;
        self.left = self.left.saturating_sub(1);
        is_due
    }

    /// It has found something, or nothing.
    pub fn record(&mut self, found: bool) {
        self.backoff = if found { 0 } else { (2 * self.backoff + 1).min(BACKOFF_MAX) };
        self.left = self.backoff;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How many of 1,000 pauses begin with a look-out that would find something or not.
    fn looks(finds: impl Fn(usize) -> bool) -> usize {
        let mut lookout = BusyPoll::default();
        let look = |pause: &usize| {
            lookout.is_due() && {
                lookout.record(finds(*pause));
                true
            }
        };
        (0..1000).filter(look).count()
    }

    #[test]
    fn it_goes_on_while_it_finds_something() {
        assert_eq!(looks(|_| true), 1000);
        // One now and then in vain makes hardly a difference.
        assert!(looks(|pause| pause % 50 != 0) > 950);
    }

    #[test]
    fn it_becomes_rare_when_there_is_nothing_to_find() {
        assert!((15..25).contains(&looks(|_| false)));
        assert!(looks(|pause| pause > 500) > 400, "and comes back");
    }
}
