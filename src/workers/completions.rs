//! What the workers tell the reactor.

use std::{fmt, io};

use super::job::Completion;
use crate::sync::Mutex;

/// The queue between the workers and the reactor. The waker is called only for a reactor that sleeps: posting and
/// going to sleep happen under one lock, so either the reactor sees the post or the worker sees the sleeper.
pub struct Completions {
    inbox: Mutex<Inbox>,
    wake: Box<dyn Fn() -> io::Result<()> + Send + Sync>,
}

#[derive(Debug, Default)]
struct Inbox {
    completions: Vec<Completion>,
    reactor_sleeps: bool,
}

impl Completions {
    /// An empty queue that wakes its reader through `wake`.
    pub fn new(wake: impl Fn() -> io::Result<()> + Send + Sync + 'static) -> Self {
        Completions { inbox: Mutex::default(), wake: Box::new(wake) }
    }

    /// Sends completions and leaves `posted` empty.
    pub fn post(&self, posted: &mut Vec<Completion>) -> io::Result<()> {
        if posted.is_empty() {
            return Ok(());
        }
        let mut inbox = self.inbox.lock();
        let wake = std::mem::take(&mut inbox.reactor_sleeps);
        inbox.completions.append(posted);
        drop(inbox);
        if wake { (self.wake)() } else { Ok(()) }
    }

    /// Moves everything that has come to `drained`, which is empty.
    pub fn drain(&self, drained: &mut Vec<Completion>) {
        debug_assert!(drained.is_empty());
        let mut inbox = self.inbox.lock();
        inbox.reactor_sleeps = false;
        std::mem::swap(&mut inbox.completions, drained);
    }

    /// The reactor is about to poll. True when it may sleep; false when completions are there already.
    pub fn prepare_to_sleep(&self) -> bool {
        let mut inbox = self.inbox.lock();
        inbox.reactor_sleeps = inbox.completions.is_empty();
        inbox.reactor_sleeps
    }
}

impl fmt::Debug for Completions {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Completions").field("inbox", &self.inbox).finish_non_exhaustive()
    }
}

#[cfg(all(test, feature = "loom"))]
mod model;
