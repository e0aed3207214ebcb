//! How idle workers sleep, and how they are woken without lost wake-ups.
//!
//! *Going to sleep*: lock the mutex, look for work again, wait. *Posting*: make the work visible, lock the
//! mutex, wake. If the post locks the mutex first, the worker's look finds the work. If the worker locks it
//! first, the worker already waits when the post wakes it, because the worker keeps the mutex from its look
//! until its wait. There is no third case.
//!
//! A worker is *available* when it is awake and not in a long job: before it sleeps, it will find any posted
//! work. So a post wakes a worker only if none is available, and many small jobs cost one wake-up, not one
//! each. A worker that begins a long job stops being available, and wakes another worker if none is available
//! then.

use crate::sync::{Condvar, Mutex};

/// The sleeping workers of one pool.
#[derive(Debug)]
pub(super) struct Sleep {
    state: Mutex<State>,
    wake: Condvar,
}

#[derive(Debug)]
struct State {
    available: usize,
    /// Number of workers that wait and were not woken. The thread that wakes a worker counts that worker as
    /// available at once. A second post before the worker runs therefore wakes no other worker.
    sleeping: usize,
    stopping: bool,
}

impl Sleep {
    /// The state of `workers` workers, all awake.
    pub(super) fn new(workers: usize) -> Self {
        let state = State { available: workers, sleeping: 0, stopping: false };
        Sleep { state: Mutex::new(state), wake: Condvar::new() }
    }

    /// Blocks until `has_work` returns true or the pool stops. Returns whether there is work. `has_work`
    /// checks all queues that work is posted to.
    pub(super) fn wait_for_work(&self, has_work: impl Fn() -> bool) -> bool {
        let mut state = self.state.lock();
        while !has_work() {
            if state.stopping {
                return false;
            }
            state.available -= 1;
            state.sleeping += 1;
            self.wake.wait(&mut state);
        }
        true
    }

    /// Wakes a sleeping worker, unless one is available. To be called after posting work.
    pub(super) fn notify(&self) {
        self.wake_one_if_needed(&mut self.state.lock());
    }

    /// Runs a long job. Another worker is made available first, if one sleeps and none is available.
    pub(super) fn block_in_place<R>(&self, long_job: impl FnOnce() -> R) -> R {
        self.yield_availability();
        let result = long_job();
        self.state.lock().available += 1;
        result
    }

    /// Ends all waits. From now on a worker that finds no work does not wait.
    pub(super) fn stop(&self) {
        let mut state = self.state.lock();
        state.stopping = true;
        state.available += std::mem::take(&mut state.sleeping);
        self.wake.notify_all();
    }

    /// Number of sleeping workers.
    pub(super) fn sleeping(&self) -> usize {
        self.state.lock().sleeping
    }

    fn yield_availability(&self) {
        let mut state = self.state.lock();
        state.available -= 1;
        self.wake_one_if_needed(&mut state);
    }

    fn wake_one_if_needed(&self, state: &mut State) {
        if state.available == 0 && state.sleeping > 0 {
            state.sleeping -= 1;
            state.available += 1;
            self.wake.notify_one();
        }
    }
}

#[cfg(all(test, feature = "loom"))]
mod model;
