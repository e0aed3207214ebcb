//! CPU time of a process of this machine.

use std::fs;
use std::time::Duration;

use nix::time::{ClockId, clock_getcpuclockid};
use nix::unistd::Pid;

/// Ticks of the kernel's clock from which on they tell where the time was spent: of fewer, chance decides.
const TICKS_MIN: f64 = 20.0;

/// Numbers of processes are below. Source: PID_MAX_LIMIT in include/linux/threads.h.
const PID_LIMIT: i32 = 4 * 1024 * 1024;

/// CPU time in ns; None: not known.
#[derive(Clone, Copy, Debug)]
pub struct Times {
    pub server: Option<f64>,
    /// The server's, split by where it was, as exactly as the kernel knows that.
    pub split: Option<Split>,
    pub own: Option<f64>,
}

/// CPU time in the program and in the kernel, in the kernel's ticks.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Split {
    pub program: f64,
    pub kernel: f64,
}

/// What was used from the first request until the last one was answered.
pub struct Usage {
    pub times: Times,
    pub elapsed: Duration,
    pub requests: u64,
}

impl Times {
    /// Since these processes began.
    pub fn now(server: Option<u32>) -> Self {
        let split = server.and_then(split);
        let own = read(ClockId::CLOCK_PROCESS_CPUTIME_ID);
        Times { server: server.and_then(nanoseconds), split, own }
    }

    pub fn since(self, before: Times) -> Self {
        let spent = |before: Option<f64>, now: Option<f64>| Some(now? - before?);
        let split = self.split.zip(before.split).map(|(now, before)| Split {
            program: now.program - before.program,
            kernel: now.kernel - before.kernel,
        });
        Times { server: spent(before.server, self.server), split, own: spent(before.own, self.own) }
    }

    /// How much of the server's time the kernel had, 0 to 1; None: nobody knows.
    pub fn kernel_share(&self) -> Option<f64> {
        let Split { program, kernel } = self.split?;
        (program + kernel >= TICKS_MIN).then(|| kernel / (program + kernel))
    }
}

/// Of all threads of a process; None: it is not there. Source: proc_pid_stat(5), utime and stime.
fn split(process: u32) -> Option<Split> {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    // The name, in brackets, may hold anything; utime is the 12th field behind it.
    let mut fields = stat.rsplit_once(')')?.1.split_ascii_whitespace().skip(11);
    let mut next = || fields.next()?.parse().ok();
    Some(Split { program: next()?, kernel: next()? })
}

/// Of all threads of a process, also of those that have ended, in ns; None: it is not there.
pub fn nanoseconds(process: u32) -> Option<f64> {
    // A larger number would be cut off, and mean another one.
    let process = i32::try_from(process).ok().filter(|process| (1..PID_LIMIT).contains(process))?;
    clock_getcpuclockid(Pid::from_raw(process)).ok().and_then(read)
}

/// Up to now, unlike what /proc says of a thread that runs.
fn read(clock: ClockId) -> Option<f64> {
    let time = Duration::from(clock.now().ok()?);
    Some(time.as_nanos() as f64)
}

/// Whether a process of this number is a dipc here: the server may be in a container, or behind a tunnel.
pub fn is_dipc(process: u32) -> bool {
    fs::read_to_string(format!("/proc/{process}/comm")).is_ok_and(|name| name.trim_end() == "dipc")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_has_its_share_of_a_process() {
        let before = Times::now(Some(std::process::id()));
        // Until the clock of the kernel has ticked often enough, and in there.
        while Times::now(Some(std::process::id()))
            .since(before)
            .kernel_share()
            .is_none_or(|share| share == 0.0)
        {}
        let spent = Times::now(Some(std::process::id())).since(before);
        assert!(spent.server > Some(0.0) && spent.kernel_share() <= Some(1.0), "{spent:?}");
        assert_eq!(split(u32::MAX), None);
        assert_eq!([nanoseconds(PID_LIMIT as u32 - 1), nanoseconds(i32::MAX as u32)], [None; 2]);
    }
}
