//! Finished jobs on their way home to the reactor.

use std::io;

use mio::Waker;
use parking_lot::Mutex;

use super::job::Job;

/// The queue between the workers and the reactor. The waker is called only for a reactor that sleeps: posting and
/// going to sleep happen under one lock, so either the reactor sees the job or the worker sees the sleeper.
#[derive(Debug)]
pub struct Completions {
    inbox: Mutex<Inbox>,
    waker: Waker,
}

#[derive(Debug, Default)]
struct Inbox {
    jobs: Vec<Box<Job>>,
    reactor_sleeps: bool,
}

impl Completions {
    /// An empty queue that wakes its reader through `waker`.
    pub fn new(waker: Waker) -> Self {
        Completions { inbox: Mutex::default(), waker }
    }

    /// Sends jobs home and leaves `jobs` empty.
    pub fn post(&self, jobs: &mut Vec<Box<Job>>) -> io::Result<()> {
        if jobs.is_empty() {
            return Ok(());
        }
        let mut inbox = self.inbox.lock();
        inbox.jobs.append(jobs);
        let wake = std::mem::take(&mut inbox.reactor_sleeps);
        drop(inbox);
        if wake { self.waker.wake() } else { Ok(()) }
    }

    /// Moves all jobs that have come home to `jobs`, which is empty.
    pub fn drain(&self, jobs: &mut Vec<Box<Job>>) {
        debug_assert!(jobs.is_empty());
        let mut inbox = self.inbox.lock();
        inbox.reactor_sleeps = false;
        std::mem::swap(&mut inbox.jobs, jobs);
    }

    /// The reactor is about to poll. True when it may sleep; false when jobs are there already.
    pub fn sleep(&self) -> bool {
        let mut inbox = self.inbox.lock();
        inbox.reactor_sleeps = inbox.jobs.is_empty();
        inbox.reactor_sleeps
    }
}
