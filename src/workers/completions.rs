//! The queue of completions from the workers to the reactor.

use std::{fmt, io};

use super::job::Completion;
use crate::sync::Mutex;

/// The queue between the workers and the reactor. The waker is called only if the reactor sleeps. Posting and
/// going to sleep use one mutex, so either the reactor sees the completion, or the worker sees that the
/// reactor sleeps and wakes it.
pub(crate) struct Completions {
    state: Mutex<State>,
    wake: Box<dyn Fn() -> io::Result<()> + Send + Sync>,
}

#[derive(Debug, Default)]
struct State {
    completions: Vec<Completion>,
    reactor_sleeps: bool,
}

impl Completions {
    /// An empty queue that wakes the reactor by calling `wake`.
    pub(crate) fn new(wake: impl Fn() -> io::Result<()> + Send + Sync + 'static) -> Self {
        Completions { state: Mutex::default(), wake: Box::new(wake) }
    }

    /// Appends the completions of `posted`, and leaves `posted` empty. Wakes the reactor if it sleeps.
    pub(crate) fn post(&self, posted: &mut Vec<Completion>) -> io::Result<()> {
        if posted.is_empty() {
            return Ok(());
        }
        let mut state = self.state.lock();
        let wake = std::mem::take(&mut state.reactor_sleeps);
        state.completions.append(posted);
        drop(state);
        if wake { (self.wake)() } else { Ok(()) }
    }

    /// Moves all completions to `drained`, which must be empty.
    pub(crate) fn drain(&self, drained: &mut Vec<Completion>) {
        debug_assert!(drained.is_empty());
        let mut state = self.state.lock();
        state.reactor_sleeps = false;
        std::mem::swap(&mut state.completions, drained);
    }

    /// Announces that the reactor is about to poll. Returns true if it may sleep, false if there are
    /// completions.
    pub(crate) fn prepare_to_sleep(&self) -> bool {
        let mut state = self.state.lock();
        state.reactor_sleeps = state.completions.is_empty();
        state.reactor_sleeps
    }
}

impl fmt::Debug for Completions {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Completions").field("state", &self.state).finish_non_exhaustive()
    }
}

#[cfg(all(test, feature = "loom"))]
mod model;
