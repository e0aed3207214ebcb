//! The queue of completions from the workers to the reactor.

use std::{fmt, io};

use super::job::Completion;
use crate::sync::Mutex;

/// The queue between the workers and the reactor. The waker is called only if the reactor sleeps. Posting and
/// going to sleep use one lock, so either the reactor sees the completion, or the worker sees that the
/// reactor sleeps and wakes it.
pub(crate) struct Completions {
    inbox: Mutex<Inbox>,
    wake: Box<dyn Fn() -> io::Result<()> + Send + Sync>,
}

#[derive(Debug, Default)]
struct Inbox {
    completions: Vec<Completion>,
    reactor_sleeps: bool,
}

impl Completions {
    /// An empty queue that wakes the reactor by calling `wake`.
    pub(crate) fn new(wake: impl Fn() -> io::Result<()> + Send + Sync + 'static) -> Self {
        Completions { inbox: Mutex::default(), wake: Box::new(wake) }
    }

    /// Appends the completions of `posted`, and leaves `posted` empty. Wakes the reactor if it sleeps.
    pub(crate) fn post(&self, posted: &mut Vec<Completion>) -> io::Result<()> {
        if posted.is_empty() {
            return Ok(());
        }
        let mut inbox = self.inbox.lock();
        let wake = std::mem::take(&mut inbox.reactor_sleeps);
        inbox.completions.append(posted);
        drop(inbox);
        if wake { (self.wake)() } else { Ok(()) }
    }

    /// Moves all completions to `drained`, which is empty.
    pub(crate) fn drain(&self, drained: &mut Vec<Completion>) {
        debug_assert!(drained.is_empty());
        let mut inbox = self.inbox.lock();
        inbox.reactor_sleeps = false;
        std::mem::swap(&mut inbox.completions, drained);
    }

    /// Announces that the reactor is about to poll. Returns true if it may sleep, false if there are
    /// completions.
    pub(crate) fn prepare_to_sleep(&self) -> bool {
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
