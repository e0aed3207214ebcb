//! How idle workers sleep, and how they are woken without a wake-up getting lost.
//!
//! *Going to sleep*: take the lock, look for work once more, wait. *Posting*: make the work visible, take the lock,
//! wake. If the post comes before the second look, the look finds it; if it comes after, the sleeper is already
//! waiting, because it has held the lock from its look until then. There is no third case.

use parking_lot::{Condvar, Mutex};

/// The sleepers of one pool.
#[derive(Debug, Default)]
pub struct Sleep {
    state: Mutex<State>,
    wake: Condvar,
}

#[derive(Debug, Default)]
struct State {
    sleeping: usize,
    stopping: bool,
}

impl Sleep {
    /// Returns true as soon as `has_work`, false when the pool stops. `has_work` looks wherever work is posted.
    pub fn until(&self, has_work: impl Fn() -> bool) -> bool {
        let mut state = self.state.lock();
        while !has_work() {
            if state.stopping {
                return false;
            }
            state.sleeping += 1;
            self.wake.wait(&mut state);
            state.sleeping -= 1;
        }
        true
    }

    /// Wakes one sleeper, if there is one. Called after the work was posted.
    pub fn wake_one(&self) {
        if self.state.lock().sleeping > 0 {
            self.wake.notify_one();
        }
    }

    /// Lets everybody go who finds no work.
    pub fn stop(&self) {
        self.state.lock().stopping = true;
        self.wake.notify_all();
    }

    /// How many sleep right now.
    pub fn sleeping(&self) -> usize {
        self.state.lock().sleeping
    }
}
