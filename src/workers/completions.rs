//! What the workers tell the reactor.

use std::io;

use mio::Waker;
use parking_lot::Mutex;

use super::job::Completion;

/// The queue between the workers and the reactor. The waker is called only for a reactor that sleeps: posting and
/// going to sleep happen under one lock, so either the reactor sees the post or the worker sees the sleeper.
#[derive(Debug)]
pub struct Completions {
    inbox: Mutex<Inbox>,
    waker: Waker,
}

#[derive(Debug, Default)]
struct Inbox {
    completions: Vec<Completion>,
    reactor_sleeps: bool,
}

impl Completions {
    /// An empty queue that wakes its reader through `waker`.
    pub fn new(waker: Waker) -> Self {
        Completions { inbox: Mutex::default(), waker }
    }

    /// Sends completions and leaves `posted` empty.
    pub fn post(&self, posted: &mut Vec<Completion>) -> io::Result<()> {
        if posted.is_empty() {
            return Ok(());
        }
        let mut inbox = self.inbox.lock();
        inbox.completions.append(posted);
        let wake = std::mem::take(&mut inbox.reactor_sleeps);
        drop(inbox);
        if wake { self.waker.wake() } else { Ok(()) }
    }

    /// Moves everything that has come to `drained`, which is empty.
    pub fn drain(&self, drained: &mut Vec<Completion>) {
        debug_assert!(drained.is_empty());
        let mut inbox = self.inbox.lock();
        inbox.reactor_sleeps = false;
        std::mem::swap(&mut inbox.completions, drained);
    }

    /// The reactor is about to poll. True when it may sleep; false when completions are there already.
    pub fn sleep(&self) -> bool {
        let mut inbox = self.inbox.lock();
        inbox.reactor_sleeps = inbox.completions.is_empty();
        inbox.reactor_sleeps
    }
}
