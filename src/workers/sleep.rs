//! How idle workers sleep, and how they are woken without a wake-up getting lost.
//!
//! *Going to sleep*: take the lock, look for work once more, wait. *Posting*: make the work visible, take the lock,
//! wake. If the post comes before the second look, the look finds it; if it comes after, the sleeper is already
//! waiting, because it has held the lock from its look until then. There is no third case.
//!
//! A worker is *available* when it is awake and not in a long job: it will find whatever was posted before it sleeps.
//! So a post wakes somebody only when nobody is available, and many small jobs cost one wake-up, not one each. Whoever
//! starts a long job stops being available, and sees to it that somebody else is.

use crate::sync::{Condvar, Mutex};

/// The sleepers of one pool.
#[derive(Debug)]
pub struct Sleep {
    state: Mutex<State>,
    wake: Condvar,
}

#[derive(Debug)]
struct State {
    available: usize,
    /// Those who wait and were not woken. The waker counts a sleeper as available, not the sleeper itself, so that a
    /// second post does not wake a second one in between.
    sleeping: usize,
    stopping: bool,
}

impl Sleep {
    /// For `workers` workers, all awake.
    pub fn new(workers: usize) -> Self {
        let state = State { available: workers, sleeping: 0, stopping: false };
        Sleep { state: Mutex::new(state), wake: Condvar::new() }
    }

    /// Returns true as soon as `has_work`, false when the pool stops. `has_work` looks wherever work is posted.
    pub fn wait_for_work(&self, has_work: impl Fn() -> bool) -> bool {
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

    /// Work was posted: wakes a sleeper unless somebody is available.
    pub fn notify(&self) {
        self.wake_one_if_needed(&mut self.state.lock());
    }

    /// Runs a long job, with somebody else available meanwhile, as far as there is anybody.
    pub fn block_in_place<R>(&self, long_job: impl FnOnce() -> R) -> R {
        self.yield_availability();
        let result = long_job();
        self.state.lock().available += 1;
        result
    }

    /// Lets everybody go who finds no work.
    pub fn stop(&self) {
        let mut state = self.state.lock();
        state.stopping = true;
        state.available += std::mem::take(&mut state.sleeping);
        self.wake.notify_all();
    }

    /// How many sleep right now.
    pub fn sleeping(&self) -> usize {
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
