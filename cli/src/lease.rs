//! A lease that is renewed while a command runs: that of a lock, or of a message in hand.

use std::ops::DerefMut;
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use dipc::client::{Client, Error};

use crate::failure::Failure;
use crate::supervisor::{Progress, Supervisor};

/// The lease without `--ttl`.
pub(crate) const TTL: Duration = Duration::from_secs(30);

/// Time between two renewals, and the longest time of an answer. A missing answer is noticed before the lease
/// ends.
pub(crate) fn interval(ttl: Duration) -> Duration {
    ttl / 3
}

/// Renews the lease of `guard` after every `interval`, until the command has ended or the lease is lost. Sets
/// the connection's timeout to `interval`. `events` reads the server's events, and fails if the lease is
/// lost. The inner error is why the lease was lost.
pub(crate) fn renew_until_end<G: DerefMut<Target = Client>>(
    supervisor: &mut Supervisor,
    guard: &mut G,
    interval: Duration,
    mut events: impl FnMut(&mut G) -> Result<(), Error>,
) -> Result<Result<Progress, Error>, Failure> {
    if let Err(error) = guard.set_timeout(Some(interval)) {
        return Ok(Err(error));
    }
    let mut renewal = Instant::now() + interval;
    loop {
        let progress = supervisor.progress()?;
        if progress != Progress::Running {
            return Ok(Ok(progress));
        }
        let is_readable = supervisor.wait_for_event(Some(guard.as_fd()), Some(renewal))?;
        let result = match (is_readable, Instant::now() >= renewal) {
            (_, true) => guard.ping().and_then(|()| events(guard)),
            (true, false) => events(guard),
            (false, false) => Ok(()),
        };
        if let Err(error) = result {
            return Ok(Err(error));
        }
        if Instant::now() >= renewal {
            renewal = Instant::now() + interval;
        }
    }
}
