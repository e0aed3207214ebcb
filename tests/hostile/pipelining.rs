//! Pipelines of many requests.

use std::io::{BufRead, BufReader};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use crate::scene::{MIB, Scene, expect, send};

#[test]
fn two_hundred_thousand_requests_at_once_are_answered_in_order_and_delay_nobody() {
    const PAIRS: u32 = 100_000;
    let scene = &mut Scene::new("4 64 0 8");
    let mut writing = scene.stranger();
    let mut answers = BufReader::new(writing.try_clone().expect("cloned"));
    let done = &AtomicBool::new(false);
    let served = thread::scope(|scope| {
        scope.spawn(move || {
            for first in (0..PAIRS).step_by(1000) {
                let request = |number| format!("w 0 6\n{number:06}\nr 0\n");
                send(&mut writing, (first..first + 1000).map(request).collect::<String>());
            }
        });
        scope.spawn(move || {
            let mut line = String::new();
            for number in 0..PAIRS {
                line.clear();
                for _ in 0..3 {
                    answers.read_line(&mut line).expect("a line");
                }
                let version = number + 1;
                assert_eq!(line, format!("OK v={version}\nDATA 6 v={version} n=1\n{number:06}\n"));
            }
            done.store(true, Ordering::Release);
        });
        let mut served = 0;
        while !done.load(Ordering::Acquire) {
            scene.neighbour_is_served();
            served += 1;
            assert!(scene.grown() < 2 * MIB, "{} bytes more", scene.grown());
        }
        served
    });
    assert!(served > 5, "the neighbour was served {served} times only");
    assert_eq!(scene.neighbour.stat("writes"), u64::from(PAIRS) + 1);
    scene.ends_as_it_began();
}

#[test]
fn ten_thousand_requests_are_answered_to_whoever_reads_only_afterwards() {
    let mut scene = Scene::new("4 64 0 8");
    let mut stream = scene.stranger();
    let requests: String = (0..5_000).map(|number| format!("w 0\n{number}\nr 9\n")).collect();
    send(&mut stream, requests);
    scene.neighbour_is_served();
    let refused = "ERR box max=3 : mailboxes are numbered 0 to 3\n";
    let answers: String = (1..=5_000).map(|version| format!("OK v={version}\n{refused}")).collect();
    expect(&mut stream, answers);
    drop(stream);
    assert_eq!(scene.neighbour.stat("err_box"), 5_000);
    scene.ends_as_it_began();
}
