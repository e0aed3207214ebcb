//! Every interleaving of a poster and two workers: `cargo test --lib --features loom model`.
//!
//! A wake-up that is lost leaves a thread asleep for ever; loom calls that a deadlock.

use std::sync::Arc;

use loom::sync::atomic::{AtomicUsize, Ordering};
use loom::thread;

use super::*;

/// Jobs that were posted, and workers that sleep when there are none.
struct Pool {
    sleep: Sleep,
    /// Jobs that nobody has taken yet: [`SHORT`] or [`LONG`] for each.
    posted: AtomicUsize,
    ran: AtomicUsize,
    short_ran: Mutex<bool>,
    tell: Condvar,
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

    fn find(&self) -> Option<usize> {
        let kind = |posted: usize| if posted < LONG { SHORT } else { LONG };
        let without = |posted: usize| posted.checked_sub(kind(posted));
        let taken = self.posted.fetch_update(Ordering::SeqCst, Ordering::SeqCst, without);
        taken.ok().map(kind)
    }

    /// The life of a worker. Whoever runs the last of `all` jobs stops the pool.
    fn work(&self, all: usize, long_job: impl Fn(&Pool)) {
        loop {
            while let Some(kind) = self.find() {
                match kind {
                    LONG => self.sleep.block_in_place(|| long_job(self)),
                    _ => self.run_short(),
                }
                if self.ran.fetch_add(1, Ordering::SeqCst) + 1 == all {
                    self.sleep.stop();
                }
            }
            if !self.sleep.wait_for_work(|| self.has_work()) {
                return;
            }
        }
    }

    fn run_short(&self) {
        *self.short_ran.lock() = true;
        self.tell.notify_all();
    }

    /// As long as a job can be: others have to go on without it.
    fn until_a_short_one_ran(&self) {
        let mut ran = self.short_ran.lock();
        while !*ran {
            self.tell.wait(&mut ran);
        }
    }
}

/// `post`s beside so many workers, which run `all` jobs.
fn explore(workers: usize, all: usize, post: fn(&Pool), long_job: fn(&Pool)) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(3);
    builder.check(move || {
        let pool = Arc::new(Pool {
            sleep: Sleep::new(workers),
            posted: AtomicUsize::new(0),
            ran: AtomicUsize::new(0),
            short_ran: Mutex::new(false),
            tell: Condvar::new(),
        });
        let work = |_| {
            let pool = Arc::clone(&pool);
            thread::spawn(move || pool.work(all, long_job))
        };
        let workers: Vec<_> = (0..workers).map(work).collect();
        post(&pool);
        workers.into_iter().for_each(|worker| worker.join().expect("a worker ends"));
        assert_eq!(pool.ran.load(Ordering::SeqCst), all, "the pool stopped before all was done");
        assert_eq!(pool.sleep.sleeping(), 0);
    });
}

fn nothing_posted_is_left() {
    let post = |pool: &Pool| {
        pool.post(SHORT);
        pool.post(SHORT);
    };
    explore(1, 2, post, |_| {});
    explore(2, 2, post, |_| {});
}

fn others_go_on_beside_a_long_job() {
    let post = |pool: &Pool| {
        pool.push(LONG);
        pool.post(SHORT);
    };
    explore(2, 2, post, Pool::until_a_short_one_ran);
}

fn what_a_long_job_lets_in_does_not_wait_for_it() {
    let long_job = |pool: &Pool| {
        pool.post(SHORT);
        pool.until_a_short_one_ran();
    };
    explore(2, 2, |pool| pool.post(LONG), long_job);
}

fn a_stop_comes_when_all_is_done() {
    let post = |pool: &Pool| {
        pool.post(SHORT);
        pool.sleep.stop();
    };
    // Nobody runs so many that it would stop the pool.
    explore(2, 1, post, |_| {});
}

#[test]
fn model_nothing_posted_is_left() {
    nothing_posted_is_left();
}

#[test]
fn model_others_go_on_beside_a_long_job() {
    others_go_on_beside_a_long_job();
}

#[test]
fn model_what_a_long_job_lets_in_does_not_wait_for_it() {
    what_a_long_job_lets_in_does_not_wait_for_it();
}

#[test]
fn model_a_stop_comes_when_all_is_done() {
    a_stop_comes_when_all_is_done();
}
