//! When the next batch is to be sent: as soon as a connection is free, or at its time in a schedule.

use std::os::fd::AsRawFd;
use std::time::{Duration, Instant};

use mio::unix::SourceFd;
use mio::{Interest, Registry, Token};
use nix::sys::time::TimeSpec;
use nix::sys::timer::TimerSetTimeFlags;
use nix::sys::timerfd::{ClockId, Expiration, TimerFd, TimerFlags};

/// Groups of batches that are counted as one.
const GROUPS: u64 = 10_000;

#[derive(Clone, Debug)]
pub enum Pacing {
    /// A connection sends its next batch when it has all the answers to the last one. A slow answer holds up what would
    /// have been asked meanwhile, so latencies look better than they are to somebody who comes at any time.
    Closed,
    /// Batch N has its time, whether or not the server keeps up, and its latency counts from there.
    Open { start: Instant, interval_ns: f64, sent: u64 },
}

impl Pacing {
    /// `rate`: batches in a second.
    pub fn new(rate: Option<f64>, start: Instant) -> Self {
        rate.map_or(Pacing::Closed, |rate| Pacing::Open { start, interval_ns: 1e9 / rate, sent: 0 })
    }

    /// The time of the next batch; None: any time.
    pub fn next(&self) -> Option<Instant> {
        match *self {
            Pacing::Closed => None,
            Pacing::Open { start, interval_ns, sent } => Some(time(start, interval_ns, sent)),
        }
    }

    /// How many batches should have been sent by then, and were not: in groups, so that a hopeless schedule is counted in
    /// no time, with the wait of the oldest of each.
    pub fn overdue(&self, end: Instant) -> Vec<(Duration, u64)> {
        let Pacing::Open { start, interval_ns, sent } = *self else { return Vec::new() };
        let due = ((end.saturating_duration_since(start).as_nanos() as f64 / interval_ns) as u64).max(sent);
        let group = (due - sent).div_ceil(GROUPS).max(1);
        let groups = (sent..due).step_by(group as usize);
        let wait = |batch| end.saturating_duration_since(time(start, interval_ns, batch));
        groups.map(|batch| (wait(batch), group.min(due - batch))).collect()
    }

    /// The next batch goes out, if its time has come: the time that it was meant for.
    pub fn take(&mut self, now: Instant) -> Option<Instant> {
        let next = self.next().unwrap_or(now);
        if next > now {
            return None;
        }
        if let Pacing::Open { sent, .. } = self {
            *sent += 1;
        }
        Some(next)
    }
}

fn time(start: Instant, interval_ns: f64, batch: u64) -> Instant {
    start + Duration::from_nanos((batch as f64 * interval_ns) as u64)
}

/// Wakes the poll at an instant, much more exactly than its timeout of whole milliseconds.
pub struct Timer(TimerFd);

impl Timer {
    /// Edge-triggered, so nobody has to read it.
    pub fn new(registry: &Registry, token: Token) -> std::io::Result<Self> {
        let timer_fd =
            TimerFd::new(ClockId::CLOCK_MONOTONIC, TimerFlags::TFD_NONBLOCK | TimerFlags::TFD_CLOEXEC)?;
        let descriptor = std::os::fd::AsFd::as_fd(&timer_fd).as_raw_fd();
        registry.register(&mut SourceFd(&descriptor), token, Interest::READABLE)?;
        Ok(Timer(timer_fd))
    }

    pub fn set(&self, after: Duration) -> std::io::Result<()> {
        let after = TimeSpec::from_duration(after.max(Duration::from_nanos(1)));
        Ok(self.0.set(Expiration::OneShot(after), TimerSetTimeFlags::empty())?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_schedule_does_not_wait_for_the_server() {
        let start = Instant::now();
        let after = |milliseconds| start + Duration::from_millis(milliseconds);
        let mut pacing = Pacing::new(Some(1000.0), start);
        assert_eq!((pacing.take(start), pacing.take(start)), (Some(start), None));
        assert_eq!(pacing.next(), Some(after(1)));
        // The server was slow: what should have been sent meanwhile is late, each by its own time.
        let late: Vec<_> = std::iter::from_fn(|| pacing.take(after(4))).collect();
        assert_eq!(late, [after(1), after(2), after(3), after(4)]);
        assert_eq!(pacing.overdue(after(4)), []);
        assert_eq!(pacing.overdue(after(7)), [2, 1].map(|wait| (Duration::from_millis(wait), 1)));
        let hopeless = Pacing::new(Some(1e8), start).overdue(start + Duration::from_secs(3600));
        assert_eq!(hopeless.len() as u64, GROUPS);
        assert_eq!(hopeless.iter().map(|(_, batches)| batches).sum::<u64>(), 360_000_000_000);
        let mut closed = Pacing::new(None, start);
        assert_eq!((closed.take(after(7)), closed.next()), (Some(after(7)), None));
    }
}
