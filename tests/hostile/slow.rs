//! Clients that send slowly, or that announce data and do not send it.

use std::io::{BufRead, BufReader};
use std::net::Shutdown;

use dipc_testkit::descriptors;
use dipc_testkit::wait::wait_until;

use crate::scene::{KIB, MIB, Scene, expect, send};

/// Beginnings of requests that silence does not complete, the rest of each request, and its answer.
const BEGINNINGS: &[(&[u8], &[u8], &str)] = &[
    (b"", b"ping\n", "OK\n"),
    (b"w", b" 0 5\nhello\n", "OK v="),
    (b"w 0", b" 5\nhello\n", "OK v="),
    (b"w 0 5\nhel", b"lo\n", "OK v="),
    (b"w 0 5\r\n", b"hello\r\n", "OK v="),
    (b"w 0\n", b"hello\n", "OK v="),
    (b"w 99 5\nhel", b"lo\n", "ERR box "),
    (b"\n\n\n\r", b"\nping\r\n", "OK\r\n"),
    (b"\xff\xfa\x18", b"\0vt100\xff\xf0ping\n", "OK\n"),
    (b"w 0 9\n........", b"!!\n", "ERR frame "),
];

#[test]
fn a_thousand_slow_clients_cost_their_sent_bytes_and_delay_no_other_client() {
    const CLIENTS: usize = 1000;
    descriptors::allow(4096);
    let mut scene = Scene::new("4 64 0 8 --quiet-ms 50");
    let mut slow = scene.connect_many(CLIENTS);
    for (stream, (beginning, ..)) in slow.iter_mut().zip(BEGINNINGS.iter().cycle()) {
        send(stream, beginning);
    }
    scene.catch_up();
    scene.neighbour_is_served();
    // The neighbour falls silent after the slow clients. When silence has completed its request, the slow
    // clients have been silent long enough, too.
    scene.neighbour.ask("ping", "OK\n");
    assert_eq!(scene.neighbour.stat("completed_by_silence"), 1);
    let each = scene.grown() / CLIENTS as u64;
    println!("{each} bytes for each of {CLIENTS} slow clients");
    assert!(each <= 1024, "a slow client costs {each} bytes");
    assert_eq!(scene.neighbour.stat("writes"), 1);
    assert_eq!(scene.neighbour.stat("working") + scene.neighbour.stat("waiting"), 0);
    for (stream, (_, rest, answer)) in slow.iter_mut().zip(BEGINNINGS.iter().cycle()) {
        send(stream, rest);
        expect(stream, answer);
    }
    drop(slow);
    scene.ends_as_it_began();
    assert_eq!(scene.neighbour.stat("writes"), 1 + CLIENTS as u64 / 2);
}

#[test]
fn clients_that_send_byte_by_byte_are_answered_like_others() {
    const CLIENTS: usize = 100;
    let mut scene = Scene::new("4 64 0 8 --quiet-ms 0");
    let mut slow = scene.connect_many(CLIENTS);
    for byte in b"w 0 5\nhello\nr 2\r\nw 9\nhello\n" {
        slow.iter_mut().for_each(|stream| send(stream, [*byte]));
        scene.catch_up();
    }
    scene.neighbour_is_served();
    let mut versions = Vec::new();
    for stream in slow {
        let mut answers = BufReader::new(stream);
        let mut lines = (0..4).map(|_| {
            let mut line = String::new();
            answers.read_line(&mut line).expect("a line");
            line
        });
        let written = lines.next().expect("a line");
        versions
            .push(written.trim_end().strip_prefix("OK v=").expect("written").parse::<usize>().expect("v"));
        let rest: String = lines.collect();
        assert_eq!(rest, "DATA 0 v=0 n=0\r\n\r\nERR box max=3 : no mailbox 9; this server has 0 to 3\n");
    }
    versions.sort_unstable();
    assert!(versions.into_iter().eq(1..=CLIENTS), "each write made a version of its own");
    scene.ends_as_it_began();
}

#[test]
fn an_announced_length_costs_no_memory() {
    const CLIENTS: usize = 200;
    let mut scene = Scene::new("4 1024 0 1024");
    let mut announcers = scene.connect_many(CLIENTS);
    announcers.iter_mut().for_each(|stream| send(stream, "w 0 1048576\nhello"));
    scene.catch_up();
    let each = scene.grown() / CLIENTS as u64;
    println!("{each} bytes for each of {CLIENTS} clients that announce a mebibyte");
    assert!(each <= 2 * KIB, "an announced mebibyte costs {each} bytes");
    assert_eq!(scene.neighbour.stat("writes"), 1);
    drop(announcers);
    scene.ends_as_it_began();
    assert_eq!(scene.neighbour.stat("writes"), 1);
}

#[test]
fn an_announced_length_keeps_no_buffer_of_other_clients() {
    const CLIENTS: usize = 200;
    const BUSY: usize = 4;
    let mut scene = Scene::new("4 1024 0 1024");
    let mut busy = scene.connect_many(BUSY);
    let mut announcers = scene.connect_many(CLIENTS);
    let message = format!("w 0 1048576\n{}\n", "x".repeat(MIB as usize));
    for announcers in announcers.chunks_mut(BUSY) {
        for stream in &mut busy {
            send(stream, &message);
            let mut answer = [0; 5];
            std::io::Read::read_exact(stream, &mut answer).expect("answered");
            assert_eq!(&answer, b"OK v=");
            while answer[0] != b'\n' {
                std::io::Read::read_exact(stream, &mut answer[..1]).expect("answered");
            }
        }
        announcers.iter_mut().for_each(|stream| send(stream, "w 0 1048576\nhello"));
        scene.catch_up();
    }
    let grown = scene.grown();
    println!("{} kB for {CLIENTS} clients that announce a mebibyte beside {BUSY} that send it", grown / KIB);
    assert!(grown <= 32 * MIB, "{grown} bytes");
    drop((announcers, busy));
    scene.ends_as_it_began();
}

#[test]
fn a_body_in_transfer_costs_little_more_than_its_received_bytes() {
    const CLIENTS: usize = 100;
    const ARRIVED: usize = 20_000;
    let mut scene = Scene::new("4 1024 0 1024");
    let mut slow = scene.connect_many(CLIENTS);
    let beginning = format!("w 0 1048576\n{}", "x".repeat(ARRIVED));
    slow.iter_mut().for_each(|stream| send(stream, &beginning));
    wait_until("the server has received the sent bytes", || scene.grown() >= (CLIENTS * ARRIVED) as u64);
    scene.catch_up();
    let each = scene.grown() / CLIENTS as u64;
    println!("{each} bytes for each of {CLIENTS} clients that have sent {ARRIVED}");
    assert!(each <= 3 * ARRIVED as u64, "{ARRIVED} bytes that have arrived cost {each}");
    scene.neighbour_is_served();
    drop(slow);
    scene.ends_as_it_began();
    assert_eq!(scene.neighbour.stat("writes"), 1);
}

#[test]
fn a_body_that_pauses_is_not_copied() {
    const SIZE: usize = 16 * MIB as usize;
    let mut scene = Scene::new("2 16384 0 16384 --quiet-ms 20");
    let peak_before = scene.peak();
    let mut slow = scene.connect();
    send(&mut slow, format!("w 0 {SIZE}\n{}", "x".repeat(SIZE - 1)));
    wait_until("the server has received the sent bytes", || scene.grown() >= SIZE as u64 - MIB);
    // The neighbour falls silent after the sender of the body. When silence has completed two requests, the
    // body has paused for longer than the quiet time.
    scene.neighbour.ask("ping", "OK\n");
    scene.neighbour.ask("ping", "OK\n");
    let taken = scene.peak() - peak_before;
    println!("{taken} bytes for a body of {SIZE} that pauses");
    assert!(taken < SIZE as u64 * 3 / 2, "{taken} bytes were taken for {SIZE} that have arrived");
    send(&mut slow, "x\n");
    expect(&mut slow, "OK v=1\n");
    drop(slow);
    scene.ends_as_it_began();
}

#[test]
fn clients_that_keep_the_server_waiting_cost_no_processor_time() {
    let mut scene = Scene::new("4 64 0 64 --quiet-ms 1000");
    scene.neighbour.ask(format!("w 0 65536\n{}\n", "x".repeat(65536)), "OK v=1\n");
    let mut idle = scene.connect_many(50);
    for (number, stream) in idle.iter_mut().enumerate() {
        match number % 5 {
            0 => {}
            1 => send(stream, "w 0 5\nhel"),
            2 => send(stream, "w 99 70000\nhello"),
            _ => send(stream, "r 0\n".repeat(200)),
        }
        if number % 5 == 4 {
            stream.shutdown(Shutdown::Write).expect("half-closed");
        }
    }
    scene.wait_for_stat("flushing", |flushing| flushing == 20);
    scene.catch_up();
    scene.server.expect_idle(&mut scene.neighbour);
    drop(idle);
    scene.ends_as_it_began();
}
