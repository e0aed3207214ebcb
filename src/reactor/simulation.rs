//! A seeded simulation of the whole server. Clients, workers, sockets and the clock are virtual, and one seed
//! determines every random choice.
//!
//! `cargo test --lib simulation` runs 256 seeds. `DIPC_SEEDS=N` sets another number of seeds, and
//! `DIPC_SEED=S` repeats the run of one seed exactly. A run that fails prints its seed, the failing step and
//! the last entries of its trace.
//!
//! The rules are in [`Oracle`](oracle::Oracle) and in `quiescence`. [`World`] drives the server and its
//! clients.

mod client;
mod client_model;
mod handover;
mod history;
mod oracle;
mod pipe;
mod quiescence;
mod regressions;
mod reply;
mod request;
mod rng;
mod turns;
mod wait_graph;
mod world;

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::rc::Rc;
use std::time::Instant;

use world::World;

/// Seeds of an ordinary test run.
const SEEDS: u64 = 256;

/// Steps of one run.
const STEPS: usize = 300;

/// Counts of one run, for the summary.
#[derive(Default)]
struct Run {
    replies: u64,
    events: u64,
    /// Pairs of consecutive writes whose versions were checked: one grant must cover both.
    pairs: u64,
}

/// Runs one seed. Prints the trace if the run fails.
fn run_seed(seed: u64, steps: usize) -> Run {
    let trace = Rc::new(RefCell::new(VecDeque::new()));
    let current_step = Cell::new(0);
    let run = catch_unwind(AssertUnwindSafe(|| {
        let mut world = World::new(seed, Rc::clone(&trace));
        for step in 0..steps {
            current_step.set(step);
            world.step();
        }
        current_step.set(steps);
        world.finish();
        let oracle = &world.oracle;
        Run { replies: oracle.replies, events: oracle.events, pairs: oracle.runs_checked }
    }));
    run.unwrap_or_else(|panic| {
        eprintln!(
            "seed {seed} fails at step {} of {steps}; DIPC_SEED={seed} repeats this run",
            current_step.get()
        );
        trace.borrow().iter().for_each(|line| eprintln!("    {line}"));
        let message =
            panic.downcast_ref::<String>().map(String::as_str).or(panic.downcast_ref::<&str>().copied());
        eprintln!("seed {seed}: {}", message.unwrap_or_default());
        resume_unwind(panic)
    })
}

fn env_number(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|value| value.parse().expect("a number"))
}

#[test]
fn every_run_follows_the_rules() {
    let seeds = match (env_number("DIPC_SEED"), env_number("DIPC_SEEDS")) {
        (Some(seed), _) => seed..seed + 1,
        (None, count) => 0..count.unwrap_or(SEEDS),
    };
    let steps = env_number("DIPC_STEPS").map_or(STEPS, |steps| steps as usize);
    let started = Instant::now();
    let runs = seeds.end - seeds.start;
    let mut total = Run::default();
    for seed in seeds {
        let run = run_seed(seed, steps);
        total.replies += run.replies;
        total.events += run.events;
        total.pairs += run.pairs;
    }
    let seconds = started.elapsed().as_secs_f64();
    let rate = (runs * steps as u64) as f64 / seconds;
    let Run { replies, events, pairs } = total;
    println!(
        "{runs} runs in {seconds:.1} s: {rate:.0} steps/s, {replies} replies, {events} events, {pairs} pairs"
    );
    assert!(runs < SEEDS || pairs > 0, "no run of requests was checked");
}
