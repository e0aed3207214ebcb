//! Every interleaving of two workers that post and a reactor: `cargo test --lib --features loom model`.
//!
//! A post that the reactor is not told of leaves it asleep for ever; loom calls that a deadlock.

use std::sync::Arc;

use loom::sync::atomic::{AtomicU32, Ordering};
use loom::thread;

use super::super::job::{ConnectionId, Job};
use super::*;
use crate::sync::Condvar;

/// What the reactor sleeps in. Like the kernel's, it remembers a wake-up that came before the sleep.
struct Poll {
    woken: Mutex<bool>,
    wake: Condvar,
    wakes: AtomicU32,
}

impl Poll {
    fn wake(&self) {
        self.wakes.fetch_add(1, Ordering::SeqCst);
        *self.woken.lock() = true;
        self.wake.notify_one();
    }

    fn sleep(&self) {
        let mut woken = self.woken.lock();
        while !*woken {
            self.wake.wait(&mut woken);
        }
        *woken = false;
    }
}

fn completion(slot: u32, generation: u32) -> Completion {
    Completion::Done(Box::new(Job::new(ConnectionId { slot, generation })))
}

/// Each worker posts so often; the reactor goes on until it has everything.
fn every_post_is_seen(workers: u32, posts: u32) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(3);
    builder.check(move || {
        let poll = Poll { woken: Mutex::new(false), wake: Condvar::new(), wakes: AtomicU32::new(0) };
        let poll = Arc::new(poll);
        let waker = Arc::clone(&poll);
        let wake = move || {
            waker.wake();
            Ok(())
        };
        let completions = Arc::new(Completions::new(wake));
        let post = |worker| {
            let completions = Arc::clone(&completions);
            let post = move |count| completions.post(&mut vec![completion(worker, count)]).expect("woken");
            thread::spawn(move || (0..posts).for_each(post))
        };
        let threads: Vec<_> = (0..workers).map(post).collect();
        let (seen, sleeps) = react(&completions, &poll, workers * posts);
        threads.into_iter().for_each(|thread| thread.join().expect("a worker ends"));
        for worker in 0..workers {
            let of_worker = seen.iter().filter(|id| id.slot == worker).map(|id| id.generation);
            assert!(of_worker.eq(0..posts), "in the order in which they were posted");
        }
        assert!(poll.wakes.load(Ordering::SeqCst) <= sleeps, "a reactor that does not sleep was woken");
    });
}

/// The reactor: what came, in order, and how often it slept.
fn react(completions: &Completions, poll: &Poll, all: u32) -> (Vec<ConnectionId>, u32) {
    let (mut seen, mut drained, mut sleeps) = (Vec::new(), Vec::new(), 0);
    loop {
        completions.drain(&mut drained);
        seen.extend(drained.drain(..).map(|completion| match completion {
            Completion::Done(job) => job.connection,
            Completion::WaitStarted(parked) => parked.connection,
        }));
        if seen.len() == all as usize {
            return (seen, sleeps);
        }
        if completions.prepare_to_sleep() {
            sleeps += 1;
            poll.sleep();
        }
    }
}

#[test]
fn model_every_post_is_seen() {
    every_post_is_seen(1, 2);
    every_post_is_seen(2, 1);
}
