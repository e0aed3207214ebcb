//! All interleavings of a thread that posts and two workers: `cargo test --lib --features loom model`.
//!
//! After a lost wake-up a thread sleeps for ever; loom reports that as a deadlock.

use std::sync::Arc;

use loom::sync::atomic::{AtomicUsize, Ordering};
use loom::thread;

use super::*;

/// Posted jobs, and workers that sleep when there are none.
struct Pool {
    sleep: Sleep,
    /// Jobs that no worker has taken yet: the sum of [`SHORT`] or [`LONG`] for each.
    posted: AtomicUsize,
    finished: AtomicUsize,
    short_finished: Mutex<bool>,
    short_finished_changed: Condvar,
}

const SHORT: usize = 1;
const LONG: usize = 0x100;

impl Pool {
    fn post(&self, kind: usize) {
        self.push(kind);
        self.sleep.notify();
    }

    fn push(&self, kind: usize) {
        self.posted.fetch_add(kind, Ordering::SeqCst);
    }

    fn has_work(&self) -> bool {
        self.posted.load(Ordering::SeqCst) > 0
    }

    fn take(&self) -> Option<usize> {
        let kind = |posted: usize| if posted < LONG { SHORT } else { LONG };
        let without = |posted: usize| posted.checked_sub(kind(posted));
        let taken = self.posted.fetch_update(Ordering::SeqCst, Ordering::SeqCst, without);
        taken.ok().map(kind)
    }

    /// The loop of a worker. The worker that finishes the last of `all` jobs stops the pool.
    fn work(&self, all: usize, long_job: impl Fn(&Pool)) {
        loop {
            while let Some(kind) = self.take() {
                match kind {
                    LONG => self.sleep.block_in_place(|| long_job(self)),
                    _ => self.run_short(),
                }
                if self.finished.fetch_add(1, Ordering::SeqCst) + 1 == all {
                    self.sleep.stop();
                }
            }
            if !self.sleep.wait_for_work(|| self.has_work()) {
                return;
            }
        }
    }

    fn run_short(&self) {
        *self.short_finished.lock() = true;
        self.short_finished_changed.notify_all();
    }

    /// A long job that ends only after a short job, which another worker has to run.
    fn wait_for_short_job(&self) {
        let mut finished = self.short_finished.lock();
        while !*finished {
            self.short_finished_changed.wait(&mut finished);
        }
    }
}

/// Calls `post` while `workers` workers run `all` jobs.
fn explore(workers: usize, all: usize, post: fn(&Pool), long_job: fn(&Pool)) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(3);
    builder.check(move || {
        let pool = Arc::new(Pool {
            sleep: Sleep::new(workers),
            posted: AtomicUsize::new(0),
            finished: AtomicUsize::new(0),
            short_finished: Mutex::new(false),
            short_finished_changed: Condvar::new(),
        });
        let work = |_| {
            let pool = Arc::clone(&pool);
            thread::spawn(move || pool.work(all, long_job))
        };
        let workers: Vec<_> = (0..workers).map(work).collect();
        post(&pool);
        workers.into_iter().for_each(|worker| worker.join().expect("the worker did not panic"));
        assert_eq!(pool.finished.load(Ordering::SeqCst), all, "the pool stopped before the last job");
        assert_eq!(pool.sleep.sleeping(), 0);
    });
}

#[test]
fn model_every_posted_job_runs() {
    let post = |pool: &Pool| {
        pool.post(SHORT);
        pool.post(SHORT);
    };
    explore(1, 2, post, |_| {});
    explore(2, 2, post, |_| {});
}

#[test]
fn model_a_long_job_does_not_delay_queued_jobs() {
    let post = |pool: &Pool| {
        pool.push(LONG);
        pool.post(SHORT);
    };
    explore(2, 2, post, Pool::wait_for_short_job);
}

#[test]
fn model_a_long_job_does_not_delay_the_job_it_posts() {
    let long_job = |pool: &Pool| {
        pool.post(SHORT);
        pool.wait_for_short_job();
    };
    explore(2, 2, |pool| pool.post(LONG), long_job);
}

#[test]
fn model_stop_wakes_all_workers() {
    let post = |pool: &Pool| {
        pool.post(SHORT);
        pool.sleep.stop();
    };
    explore(2, 1, post, |_| {});
}
