//! Clients that leave.

use std::io::Read;
use std::net::Shutdown;

use dipc_testkit::client::reset;
use dipc_testkit::wait::wait_until;

use crate::scene::{MIB, Scene, send};

#[test]
fn a_client_that_half_closes_gets_every_answer() {
    let mut scene = Scene::new("4 64 0 64");
    let message = "x".repeat(65536);
    scene.neighbour.ask(format!("w 0 65536\n{message}\n"), "OK v=1\n");
    let large = format!("DATA 65536 v=1 n=1\n{message}\n").repeat(100);
    for (requests, answers) in [
        ("ping\n".to_owned(), "OK\n".to_owned()),
        ("r 2\n".into(), "DATA 0 v=0 n=0\n\n".into()),
        ("r 2\r\n".into(), "DATA 0 v=0 n=0\r\n\r\n".into()),
        ("ping\n".repeat(10_000), "OK\n".repeat(10_000)),
        ("r 0\n".repeat(100), large),
        ("w 3 5\nhello\n".into(), "OK v=1\n".into()),
        (String::new(), String::new()),
    ] {
        let mut stream = scene.connect();
        send(&mut stream, &requests);
        stream.shutdown(Shutdown::Write).expect("half-closed");
        let mut found = String::new();
        stream.read_to_string(&mut found).expect("the end");
        assert!(found == answers, "{} bytes instead of {}", found.len(), answers.len());
    }
    scene.ends_as_it_began();
    assert_eq!(scene.neighbour.stat("closed_by_error"), 0);
}

#[test]
fn a_reset_in_the_middle_of_a_request_executes_nothing() {
    let mut scene = Scene::new("4 64 0 8 --quiet-ms 0");
    let large = format!("w 0 8192\n{}", "x".repeat(8191));
    let discarded = format!("w 0 8193\n{}", "x".repeat(8193));
    let beginnings = [
        "",
        "w",
        "w 0",
        "w 0 5\n",
        "w 0 5\nhell",
        "w 0 5\nhello",
        "w 0\nhello",
        "w 0\r\nhello\r",
        "r 1",
        &large,
        &discarded,
    ];
    for read_before in [true, false] {
        for beginning in beginnings {
            let mut stream = scene.connect();
            send(&mut stream, beginning);
            if read_before {
                scene.catch_up();
            }
            reset(stream).expect("reset");
        }
    }
    let resets = 2 * beginnings.len() as u64;
    scene.wait_for_stat("closed_by_error", |closed| closed == resets);
    scene.ends_as_it_began();
    scene.neighbour.ask("r 0\n", "DATA 0 v=0 n=0\n\n");
    assert_eq!(scene.neighbour.stat("writes"), 1);
}

#[test]
fn a_reset_with_answers_unread_is_an_end_like_any_other() {
    let mut scene = Scene::new("4 64 0 64");
    scene.neighbour.ask(format!("w 0 65536\n{}\n", "x".repeat(65536)), "OK v=1\n");
    for round in 1..=5 {
        let mut unread = scene.connect_many(4);
        send(&mut unread[0], "ping\n");
        send(&mut unread[1], "r 0\n");
        send(&mut unread[2], "r 0\n".repeat(500));
        send(&mut unread[3], "r 0\n".repeat(500) + "w 3 5\nhello\n");
        let half = unread.pop().expect("four");
        half.shutdown(Shutdown::Write).expect("half-closed");
        unread.push(half);
        scene.wait_for_stat("flushing", |flushing| flushing == 2);
        scene.catch_up();
        unread.into_iter().for_each(|stream| reset(stream).expect("reset"));
        scene.wait_for_stat("closed_by_error", |closed| closed == 4 * round);
        scene.ends_as_it_began();
    }
    scene.neighbour.ask("r 3\n", "DATA 0 v=0 n=0\n\n");
}

#[test]
fn a_received_write_is_done_although_its_client_has_vanished() {
    let mut scene = Scene::new("4 64 0 8");
    for version in 1..=200 {
        let mut stream = scene.connect();
        send(&mut stream, format!("w 0 4\n{version:04}\n"));
        drop(stream);
        wait_until("the write is done", || {
            scene.neighbour.send("r 0 len=0\n");
            scene.neighbour.data().0 == format!("DATA 0 v={version} n=1")
        });
        scene.neighbour.ask("r 0\n", format!("DATA 4 v={version} n=1\n{version:04}\n"));
    }
    scene.ends_as_it_began();
}

#[test]
fn writes_of_clients_that_reset_are_whole_or_not_done() {
    const CLIENTS: u64 = 500;
    let mut scene = Scene::new("4 64 0 64");
    for number in 0..CLIENTS {
        let mut stream = scene.connect();
        let letter = char::from(b'a' + (number % 26) as u8).to_string();
        // Every second write lacks its last byte.
        let end = if number % 2 == 0 { "\n" } else { "" };
        send(&mut stream, format!("w 0 65536\n{}{end}", letter.repeat(65536)));
        reset(stream).expect("reset");
    }
    scene.neighbour.send("r 0\n");
    let (_, data) = scene.neighbour.data();
    assert!(data.iter().all(|byte| *byte == data[0]), "a message of one client only");
    scene.catch_up();
    wait_until("only the neighbour is connected", || scene.neighbour.stat("connections") == 1);
    assert!(scene.neighbour.stat("writes") <= 1 + CLIENTS / 2);
    let closed = scene.neighbour.stat("closed_by_error") + scene.neighbour.stat("stale_completions");
    assert!(closed >= CLIENTS / 2, "{closed} resets were seen");
    wait_until("the descriptors are back", || scene.server.descriptors() == scene.descriptors);
    scene.neighbour_is_served();
}

#[test]
fn a_thousand_clients_that_connect_and_leave_cost_no_memory() {
    let mut scene = Scene::new("4 64 0 8");
    for number in 0..1000 {
        let stream = scene.connect();
        match number % 3 {
            0 => drop(stream),
            1 => reset(stream).expect("reset"),
            _ => stream.shutdown(Shutdown::Both).expect("closed"),
        }
    }
    scene.catch_up();
    scene.ends_as_it_began();
    assert!(scene.grown() < MIB, "{} bytes more", scene.grown());
}
