//! The work that one tick of the reactor may do, so that no client delays the other clients for long. Pure.
//!
//! Work is measured in the unit of the pool: the bytes that could be copied in the same time. Each step is
//! charged to the budget of its kind with an estimate of its cost. When this budget is spent, further steps
//! of the kind are left for the next tick, in order. A step is never divided, so a tick costs at most
//! [`TICK_WORK`] and one step of each kind.

use std::time::{Duration, Instant};

use crate::workers::INLINE_BUDGET;

/// A microsecond of work.
pub(super) const MICROSECOND: usize = 8 * 1024;

/// Receiving and framing requests, serving requests of little cost, and continuing to write answers.
const RECEIVING_WORK: usize = 300 * MICROSECOND;

/// Writing the answers of jobs, and handling deadlines.
const SENDING_WORK: usize = 250 * MICROSECOND;

/// Sending events to watchers.
const EVENTS_WORK: usize = 250 * MICROSECOND;

/// Serving requests with long lists or answers.
const SERVING_WORK: usize = 100 * MICROSECOND;

/// Ending the watches and locks of closed connections.
const ENDING_WORK: usize = 65 * MICROSECOND;

/// Searching for cycles of waits.
const SEARCHING_WORK: usize = 60 * MICROSECOND;

/// The work of a tick, without one step of each kind: at most two milliseconds.
pub(super) const TICK_WORK: usize =
    RECEIVING_WORK + INLINE_BUDGET + SENDING_WORK + EVENTS_WORK + SERVING_WORK + ENDING_WORK + SEARCHING_WORK;
const _: () = assert!(TICK_WORK <= 2000 * MICROSECOND);

/// A tick that takes longer is counted.
const LONG_TICK: Duration = Duration::from_millis(2);

/// The budget for one kind of work, and the rest of it in the current tick.
#[derive(Debug)]
pub(super) struct Budget {
    left: usize,
    work: usize,
}

impl Budget {
    fn new(work: usize) -> Self {
        Budget { left: work, work }
    }

    pub(super) fn is_spent(&self) -> bool {
        self.left == 0
    }

    /// What may still be charged.
    pub(super) fn left(&self) -> usize {
        self.left
    }

    /// Charges the cost of a step, which may exceed the rest of the budget.
    pub(super) fn charge(&mut self, cost: usize) {
        self.left = self.left.saturating_sub(cost);
    }

    fn refill(&mut self) {
        self.left = self.work;
    }
}

/// The budgets of the current tick, by kind of work.
#[derive(Debug)]
pub(super) struct Budgets {
    pub receiving: Budget,
    pub sending: Budget,
    pub events: Budget,
    pub serving: Budget,
    pub ending: Budget,
    pub searching: Budget,
}

impl Default for Budgets {
    fn default() -> Self {
        Budgets {
            receiving: Budget::new(RECEIVING_WORK),
            sending: Budget::new(SENDING_WORK),
            events: Budget::new(EVENTS_WORK),
            serving: Budget::new(SERVING_WORK),
            ending: Budget::new(ENDING_WORK),
            searching: Budget::new(SEARCHING_WORK),
        }
    }
}

impl Budgets {
    /// Begins a tick.
    pub(super) fn refill(&mut self) {
        let Budgets { receiving, sending, events, serving, ending, searching } = self;
        [receiving, sending, events, serving, ending, searching].into_iter().for_each(Budget::refill);
    }
}

/// How long the ticks take.
#[derive(Debug, Default)]
pub(super) struct TickTimes {
    /// The longest tick.
    pub longest: Duration,
    /// Ticks above two milliseconds.
    pub long: u64,
}

impl TickTimes {
    /// Records a tick.
    pub(super) fn record(&mut self, begin: Instant, end: Instant) {
        let tick = end.saturating_duration_since(begin);
        self.longest = self.longest.max(tick);
        self.long += u64::from(tick > LONG_TICK);
    }
}
