//! The send time of the next batch: as soon as a connection is free, or at a scheduled time.

use std::os::fd::AsRawFd;
use std::time::{Duration, Instant};

use mio::unix::SourceFd;
use mio::{Interest, Registry, Token};
use nix::sys::time::TimeSpec;
use nix::sys::timer::TimerSetTimeFlags;
use nix::sys::timerfd::{ClockId, Expiration, TimerFd, TimerFlags};

/// Maximum number of groups in which overdue batches are counted.
const GROUPS: u64 = 10_000;

#[derive(Clone, Debug)]
pub(super) enum Pacing {
    /// A connection sends its next batch when the previous one is answered. A slow answer delays the later
    /// batches, whose latency does not include that delay: latencies look better than for clients that send
    /// at arbitrary times.
    Closed,
    /// Every batch has a scheduled time, even if the server is too slow. Its latency counts from that time.
    Open { start: Instant, interval_ns: f64, sent: u64 },
}

impl Pacing {
    /// `rate`: batches per second.
    pub(super) fn new(rate: Option<f64>, start: Instant) -> Self {
        rate.map_or(Pacing::Closed, |rate| Pacing::Open { start, interval_ns: 1e9 / rate, sent: 0 })
    }

    /// The scheduled time of the next batch. None: any time.
    pub(super) fn next(&self) -> Option<Instant> {
        match *self {
            Pacing::Closed => None,
            Pacing::Open { start, interval_ns, sent } => Some(time(start, interval_ns, sent)),
        }
    }

    /// The batches that are overdue at `end`, as pairs of a wait and a number of batches. Batches are
    /// grouped, so that counting takes little time even if billions are overdue; the wait of a group is that
    /// of its oldest batch.
    pub(super) fn overdue(&self, end: Instant) -> Vec<(Duration, u64)> {
        let Pacing::Open { start, interval_ns, sent } = *self else { return Vec::new() };
        let due = ((end.saturating_duration_since(start).as_nanos() as f64 / interval_ns) as u64).max(sent);
        let group = (due - sent).div_ceil(GROUPS).max(1);
        let groups = (sent..due).step_by(group as usize);
        let wait = |batch| end.saturating_duration_since(time(start, interval_ns, batch));
        groups.map(|batch| (wait(batch), group.min(due - batch))).collect()
    }

    /// Takes the next batch from the schedule if it is due. Returns its scheduled time.
    pub(super) fn take(&mut self, now: Instant) -> Option<Instant> {
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

/// A timer that wakes the poll. It is more precise than the poll's timeout, which is in whole milliseconds.
pub(super) struct Timer(TimerFd);

impl Timer {
    /// Registered edge-triggered, so its expirations need not be read.
    pub(super) fn new(registry: &Registry, token: Token) -> std::io::Result<Self> {
        let timer_fd =
            TimerFd::new(ClockId::CLOCK_MONOTONIC, TimerFlags::TFD_NONBLOCK | TimerFlags::TFD_CLOEXEC)?;
        let descriptor = std::os::fd::AsFd::as_fd(&timer_fd).as_raw_fd();
        registry.register(&mut SourceFd(&descriptor), token, Interest::READABLE)?;
        Ok(Timer(timer_fd))
    }

    pub(super) fn set(&self, after: Duration) -> std::io::Result<()> {
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
        // The server was slow: the batches that became due meanwhile keep their scheduled times.
        let late: Vec<_> = std::iter::from_fn(|| pacing.take(after(4))).collect();
        assert_eq!(late, [after(1), after(2), after(3), after(4)]);
        assert_eq!(pacing.overdue(after(4)), []);
        assert_eq!(pacing.overdue(after(7)), [2, 1].map(|wait| (Duration::from_millis(wait), 1)));
        let overloaded = Pacing::new(Some(1e8), start).overdue(start + Duration::from_secs(3600));
        assert_eq!(overloaded.len() as u64, GROUPS);
        assert_eq!(overloaded.iter().map(|(_, batches)| batches).sum::<u64>(), 360_000_000_000);
        let mut closed = Pacing::new(None, start);
        assert_eq!((closed.take(after(7)), closed.next()), (Some(after(7)), None));
    }
}
