//! A kill after a number of answers.

use std::hint::spin_loop;
use std::sync::atomic::{AtomicU64, Ordering};

use dipc_testkit::process::signal;
use dipc_testkit::server::Server;
use nix::sys::signal::Signal::SIGKILL;

/// When to kill the server: after a number of answers and a number of iterations of a loop.
#[derive(Debug)]
pub(crate) struct KillTrigger {
    server: u32,
    answers: u64,
    delay: u64,
    seen: AtomicU64,
}

impl KillTrigger {
    pub(crate) fn new(server: &Server, answers: u64, delay: u64) -> Self {
        KillTrigger { server: server.child.id(), answers, delay, seen: AtomicU64::new(0) }
    }

    /// Counts one more answer, and kills the server if it is the last one.
    pub(crate) fn count_answer(&self) {
        if self.seen.fetch_add(1, Ordering::Relaxed) + 1 == self.answers {
            (0..self.delay).for_each(|_| spin_loop());
            signal(self.server, SIGKILL);
        }
    }

    /// Whether the server was killed.
    pub(crate) fn has_fired(&self) -> bool {
        self.seen.load(Ordering::Relaxed) >= self.answers
    }
}
