//! Pipelines of many requests.

use std::io::{BufRead, BufReader};
use std::net::Shutdown;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use crate::scene::{MIB, Scene, expect, send};

/// The pipeline continues until the neighbour has been served several times during it.
#[test]
fn two_hundred_thousand_requests_at_once_are_answered_in_order_and_delay_no_other_client() {
    const PAIRS: u32 = 100_000;
    const PAIRS_MAX: u32 = 10 * PAIRS;
    const SERVED: u32 = 6;
    let scene = &mut Scene::new("4 64 0 8");
    let mut writing = scene.connect();
    let mut answers = BufReader::new(writing.try_clone().expect("cloned"));
    let is_enough = &AtomicBool::new(false);
    let sent = thread::scope(|scope| {
        let writer = scope.spawn(move || {
            let mut sent = 0;
            while sent < PAIRS || (sent < PAIRS_MAX && !is_enough.load(Ordering::Acquire)) {
                let request = |number| format!("w 0 9\n{number:09}\nr 0\n");
                send(&mut writing, (sent..sent + 1000).map(request).collect::<String>());
                sent += 1000;
            }
            writing.shutdown(Shutdown::Write).expect("half-closed");
            sent
        });
        let reader = scope.spawn(move || {
            let mut answered = 0;
            loop {
                let mut lines = String::new();
                while lines.matches('\n').count() < 3 && answers.read_line(&mut lines).expect("a line") > 0 {}
                if lines.is_empty() {
                    return answered;
                }
                let version = answered + 1;
                assert_eq!(lines, format!("OK v={version}\nDATA 9 v={version} n=1\n{answered:09}\n"));
                answered += 1;
            }
        });
        for _ in 0..SERVED {
            assert!(!reader.is_finished(), "the pipeline has ended");
            scene.neighbour_is_served();
            assert!(scene.grown() < 2 * MIB, "{} bytes more", scene.grown());
        }
        is_enough.store(true, Ordering::Release);
        let sent = writer.join().expect("all is sent");
        assert_eq!(reader.join().expect("all is answered"), sent);
        sent
    });
    assert_eq!(scene.neighbour.stat("writes"), u64::from(sent) + 1);
    scene.ends_as_it_began();
}

#[test]
fn ten_thousand_requests_are_answered_to_a_client_that_reads_afterwards() {
    let mut scene = Scene::new("4 64 0 8");
    let mut stream = scene.connect();
    let requests: String = (0..5_000).map(|number| format!("w 0\n{number}\nr 9\n")).collect();
    send(&mut stream, requests);
    scene.neighbour_is_served();
    let refused = "ERR box max=3 : no mailbox 9; this server has 0 to 3\n";
    let answers: String = (1..=5_000).map(|version| format!("OK v={version}\n{refused}")).collect();
    expect(&mut stream, answers);
    drop(stream);
    assert_eq!(scene.neighbour.stat("err_box"), 5_000);
    scene.ends_as_it_began();
}
