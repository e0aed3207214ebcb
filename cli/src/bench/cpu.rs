//! CPU time of a process of this machine.

use std::fs;
use std::time::Duration;

/// CPU time in ns; None: not known.
#[derive(Clone, Copy, Debug)]
pub struct Times {
    pub server: Option<f64>,
    pub own: Option<f64>,
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
        let server = server.and_then(|process| nanoseconds(&process.to_string()));
        Times { server, own: nanoseconds("self") }
    }

    pub fn since(self, before: Times) -> Self {
        let spent = |before: Option<f64>, now: Option<f64>| Some(now? - before?);
        Times { server: spent(before.server, self.server), own: spent(before.own, self.own) }
    }
}

/// Of all threads of a process (`self`, or its number), in ns; None: it is not there, or not to be seen.
pub fn nanoseconds(process: &str) -> Option<f64> {
    let mut total = 0.0;
    for thread in fs::read_dir(format!("/proc/{process}/task")).ok()? {
        // A thread may end between the listing and this.
        let schedstat = fs::read_to_string(thread.ok()?.path().join("schedstat")).unwrap_or_default();
        total += schedstat.split(' ').next().and_then(|ns| ns.parse::<f64>().ok()).unwrap_or(0.0);
    }
    Some(total)
}

/// Whether a process of this number is a dipc here: the server may be in a container, or behind a tunnel.
pub fn is_dipc(process: u32) -> bool {
    fs::read_to_string(format!("/proc/{process}/comm")).is_ok_and(|name| name.trim_end() == "dipc")
}
