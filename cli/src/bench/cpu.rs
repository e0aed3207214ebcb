//! CPU time of a process on this machine.

use std::fs;
use std::time::Duration;

use nix::time::{ClockId, clock_getcpuclockid};
use nix::unistd::Pid;

/// Minimum number of clock ticks for the share of the kernel. With fewer ticks the share is noise.
const TICKS_MIN: f64 = 20.0;

/// All process ids are below this limit. Source: PID_MAX_LIMIT in include/linux/threads.h.
const PID_LIMIT: i32 = 4 * 1024 * 1024;

/// CPU times of the server and of this process. None: unknown.
#[derive(Clone, Copy, Debug)]
pub(super) struct Times {
    /// The server's time, in ns.
    pub server: Option<f64>,
    /// The server's time in the program and in the kernel, in clock ticks.
    pub split: Option<Split>,
    /// The time of this process, in ns.
    pub own: Option<f64>,
}

/// CPU time in the program and in the kernel, in clock ticks.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Split {
    pub program: f64,
    pub kernel: f64,
}

/// CPU times, duration and number of requests, from the first request to the last answer.
pub(super) struct Usage {
    pub times: Times,
    pub elapsed: Duration,
    pub requests: u64,
}

impl Times {
    /// CPU times since the start of the processes.
    pub(super) fn now(server: Option<u32>) -> Self {
        let split = server.and_then(split);
        let own = read(ClockId::CLOCK_PROCESS_CPUTIME_ID);
        Times { server: server.and_then(nanoseconds), split, own }
    }

    pub(super) fn since(self, before: Times) -> Self {
        let spent = |before: Option<f64>, now: Option<f64>| Some(now? - before?);
        let split = self.split.zip(before.split).map(|(now, before)| Split {
            program: now.program - before.program,
            kernel: now.kernel - before.kernel,
        });
        Times { server: spent(before.server, self.server), split, own: spent(before.own, self.own) }
    }

    /// The kernel's share of the server's time, 0 to 1. None: unknown.
    pub(super) fn kernel_share(&self) -> Option<f64> {
        let Split { program, kernel } = self.split?;
        (program + kernel >= TICKS_MIN).then(|| kernel / (program + kernel))
    }
}

/// CPU time of all threads of a process. None: no such process. Source: proc_pid_stat(5), utime and stime.
fn split(process: u32) -> Option<Split> {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    // The name, in parentheses, may contain any bytes. utime is the 12th field after it.
    let mut fields = stat.rsplit_once(')')?.1.split_ascii_whitespace().skip(11);
    let mut next = || fields.next()?.parse().ok();
    Some(Split { program: next()?, kernel: next()? })
}

/// CPU time of all threads of a process, including ended threads, in ns. None: no such process.
pub(super) fn nanoseconds(process: u32) -> Option<f64> {
    // The system would truncate a larger number to the id of another process.
    let process = i32::try_from(process).ok().filter(|process| (1..PID_LIMIT).contains(process))?;
    clock_getcpuclockid(Pid::from_raw(process)).ok().and_then(read)
}

/// Reads a CPU clock in ns. Unlike /proc, the clock includes the current time slice of a running thread.
fn read(clock: ClockId) -> Option<f64> {
    let time = Duration::from(clock.now().ok()?);
    Some(time.as_nanos() as f64)
}

/// Whether the process with this id is named `dipc`. The id that a server in a container or on another
/// machine reports may belong to a different process here.
pub(super) fn is_dipc(process: u32) -> bool {
    fs::read_to_string(format!("/proc/{process}/comm")).is_ok_and(|name| name.trim_end() == "dipc")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_share_of_the_kernel_is_measured() {
        let before = Times::now(Some(std::process::id()));
        // Runs until the process has used enough clock ticks, some of them in the kernel.
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
