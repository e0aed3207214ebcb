//! Durations on the command line, in seconds.

use std::time::Duration;

/// A number of seconds, or `inf`.
pub(crate) fn seconds(word: &str) -> Result<Duration, String> {
    if word == "inf" {
        return Ok(Duration::MAX);
    }
    let seconds: f64 = word.parse().map_err(|_| "not a number of seconds, and not inf".to_owned())?;
    Duration::try_from_secs_f64(seconds).map_err(|error| error.to_string())
}

/// A number of seconds above 0, and not `inf`.
pub(super) fn positive(word: &str) -> Result<Duration, String> {
    match seconds(word)? {
        Duration::ZERO | Duration::MAX => Err("must be more than 0 seconds, and not inf".to_owned()),
        time => Ok(time),
    }
}
