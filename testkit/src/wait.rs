//! Waiting for a condition, with a bound that only a hang reaches.

use std::thread;
use std::time::{Duration, Instant};

/// The longest time for which a test waits for an answer, for the end of a process or for a condition. It is
/// shorter than the server's default wait of 30 s, so a test of a request that must not wait fails if the
/// request waits.
pub const HANG: Duration = Duration::from_secs(20);

/// The first pause between two checks of a condition. Each further pause is twice as long.
const SHORTEST_PAUSE: Duration = Duration::from_millis(1);

/// The longest pause between two checks of a condition.
const LONGEST_PAUSE: Duration = Duration::from_millis(20);

/// Waits until the condition holds; fails after [`HANG`]. Between two checks it sleeps, so that the processor
/// is free for the server under test.
#[track_caller]
pub fn wait_until(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + HANG;
    let mut pause = SHORTEST_PAUSE;
    while !holds() {
        assert!(Instant::now() < deadline, "timed out: {what}");
        thread::sleep(pause);
        pause = (2 * pause).min(LONGEST_PAUSE);
    }
}
