//! All interleavings of two workers that post and a reactor: `cargo test --lib --features loom model`.
//!
//! If a post does not wake the sleeping reactor, the reactor sleeps for ever. Loom reports that as a
//! deadlock.

use std::sync::Arc;

use loom::sync::atomic::{AtomicU32, Ordering};
use loom::thread;

use super::super::job::{ConnectionId, Job, Owner};
use super::*;
use crate::sync::Condvar;

/// Models the poll and the waker of the reactor: a wake-up before the poll is not lost.
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
    Completion::Done(Box::new(Job::new(Owner::Client(ConnectionId { slot, generation }))))
}

fn connection_of(owner: Owner) -> ConnectionId {
    match owner {
        Owner::Client(id) => id,
        other => panic!("no job of {other:?} was posted"),
    }
}

/// Each of `workers` workers posts `posts` completions; the reactor runs until it has received all
/// completions.
fn every_completion_is_received(workers: u32, posts: u32) {
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
            let post = move |number| {
                completions.post(&mut vec![completion(worker, number)]).expect("the waker does not fail")
            };
            thread::spawn(move || (0..posts).for_each(post))
        };
        let threads: Vec<_> = (0..workers).map(post).collect();
        let (received, sleeps) = react(&completions, &poll, workers * posts);
        threads.into_iter().for_each(|thread| thread.join().expect("the worker did not panic"));
        for worker in 0..workers {
            let of_worker = received.iter().filter(|id| id.slot == worker).map(|id| id.generation);
            assert!(of_worker.eq(0..posts), "the completions of a worker are received in another order");
        }
        assert!(poll.wakes.load(Ordering::SeqCst) <= sleeps, "a reactor that does not sleep was woken");
    });
}

/// Runs the reactor. Returns the completions in the order in which they were received, and how often it
/// slept.
fn react(completions: &Completions, poll: &Poll, all: u32) -> (Vec<ConnectionId>, u32) {
    let (mut received, mut drained, mut sleeps) = (Vec::new(), Vec::new(), 0);
    loop {
        completions.drain(&mut drained);
        received.extend(drained.drain(..).map(|completion| match completion {
            Completion::Done(job) => connection_of(job.owner),
            Completion::WaitStarted(waiting) => connection_of(waiting.owner),
            Completion::Watch { mailbox, .. } => panic!("no watch of mailbox {mailbox} was posted"),
        }));
        if received.len() == all as usize {
            return (received, sleeps);
        }
        if completions.prepare_to_sleep() {
            sleeps += 1;
            poll.sleep();
        }
    }
}

#[test]
fn model_every_completion_is_received() {
    every_completion_is_received(1, 2);
    every_completion_is_received(2, 1);
}
