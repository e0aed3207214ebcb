//! Recorded histories: 64 clients read, write, put, take and lock at the same time, and some of them
//! disconnect in the middle of a request. The recorded history must be possible. `check.rs` defines the
//! possible histories. A failure names the requests that contradict each other.
//!
//! The environment variable `DIPC_HISTORY_SEED` sets the seed (default 1). `DIPC_HISTORY_STEPS` sets the
//! number of steps of each client (default 300).

mod check;
mod handmade;
mod jobs;
mod operation;
mod recorder;

use std::sync::Barrier;
use std::thread;
use std::time::Instant;

use dipc_testkit::server::Server;

use check::check;
use operation::{Operation, What};
use recorder::{CALM, MAILBOXES, Recorder};

const CLIENTS: usize = 64;

fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |value| value.parse().expect("a number"))
}

#[test]
fn the_history_of_sixty_four_clients_is_possible() {
    let (seed, steps) = (setting("DIPC_HISTORY_SEED", 1), setting("DIPC_HISTORY_STEPS", 300));
    let server = Server::start(&format!("{} 1024 0 1024 --workers 3", MAILBOXES.len()));
    let start = Instant::now();
    let all_here = Barrier::new(CLIENTS);
    let record = |number| {
        let mut recorder = Recorder::new(number, server.port, start, seed);
        all_here.wait();
        (0..steps).for_each(|step| recorder.step(step));
        (recorder.operations, recorder.holds)
    };
    let recorded: Vec<_> = thread::scope(|scope| {
        let record = &record;
        let clients: Vec<_> = (0..CLIENTS).map(|number| scope.spawn(move || record(number))).collect();
        clients.into_iter().map(|client| client.join().expect("a client thread without a panic")).collect()
    });
    server.wait_for_stat("connections", |count| count == 1);
    let mut last = Recorder::new(CLIENTS, server.port, start, seed);
    last.drain();
    let (mut operations, mut holds) = (last.operations, last.holds);
    for (more_operations, more_holds) in recorded {
        operations.extend(more_operations);
        holds.extend(more_holds);
    }
    check(&operations, &holds).unwrap_or_else(|error| panic!("seed {seed}: {error}"));
    assert_eq!(server.stat("overtakes"), 0);
    let ran = ["jobs_unaided", "jobs_posted"].map(|name| server.stat(name));
    assert!(
        ran.iter().all(|&jobs| jobs > 100),
        "jobs executed by the reactor and by the workers: {ran:?}, expected more than 100 each"
    );
    assert!(
        holds.iter().any(|hold| hold.shared) && holds.iter().any(|hold| !hold.shared),
        "no shared lock was held, or no exclusive lock was held"
    );
    let happened: [fn(&Operation) -> bool; 8] = [
        |operation| matches!(operation.what, What::Next { lost: 1.., .. }),
        |operation| matches!(operation.what, What::NothingNewer { .. }),
        |operation| matches!(operation.what, What::Conflict { .. }),
        |operation| matches!(operation.what, What::Write { only_at: Some(_), .. }),
        |operation| matches!(operation.what, What::Put { made: None, .. }),
        |operation| matches!(operation.what, What::Take { taken: None }),
        |operation| matches!(operation.what, What::Empty) && operation.mailbox == CALM,
        |operation| matches!(operation.what, What::Full) && operation.mailbox == CALM,
    ];
    for (number, happened) in happened.iter().enumerate() {
        assert!(operations.iter().any(happened), "no operation matches predicate {number} of `happened`");
    }
}
