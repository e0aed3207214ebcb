//! Clients that do not read their answers.

use std::net::Shutdown;

use dipc_testkit::client::{Client, reset};
use dipc_testkit::wait::wait_until;

use crate::scene::{KIB, MIB, Scene, send, send_until_it_blocks};

#[test]
fn clients_that_never_read_cost_a_mebibyte_and_one_answer_each() {
    const CLIENTS: u64 = 16;
    let mut scene = Scene::new("4 64 0 64");
    let message = "x".repeat(65536);
    scene.neighbour.ask(format!("w 0 65536\n{message}\n"), "OK v=1\n");
    let mut greedy = scene.connect_many(CLIENTS as usize);
    greedy.iter_mut().for_each(|stream| send(stream, "r 0\n".repeat(1000)));
    scene.wait_for_stat("flushing", |flushing| flushing == CLIENTS);
    let each = scene.grown() / CLIENTS;
    println!("{each} bytes for each of {CLIENTS} clients that do not read");
    assert!(each <= MIB + 2 * 64 * KIB, "a client that does not read costs {each} bytes");
    // A client that does not read holds no mailbox.
    scene.neighbour_is_served();
    scene.neighbour.ask("w 0 5\nhello\n", "OK v=2\n");
    scene.neighbour.ask("r 0\n", "DATA 5 v=2 n=1\nhello\n");
    assert_eq!(scene.neighbour.stat("connections"), CLIENTS + 1);
    drop(greedy);
    scene.wait_for_stat("closed_by_error", |closed| closed == CLIENTS);
    scene.ends_as_it_began();
}

#[test]
fn the_memory_of_unread_answers_is_given_back() {
    const CLIENTS: u64 = 64;
    let mut scene = Scene::new("4 64 0 64");
    scene.neighbour.ask(format!("w 0 65536\n{}\n", "x".repeat(65536)), "OK v=1\n");
    for round in 1..=6 {
        let mut greedy = scene.connect_many(CLIENTS as usize);
        greedy.iter_mut().for_each(|stream| send(stream, "r 0\n".repeat(300)));
        wait_until("the server keeps answers for all clients", || scene.grown() > CLIENTS * MIB);
        drop(greedy);
        scene.wait_for_stat("closed_by_error", |closed| closed == round * CLIENTS);
        scene.ends_as_it_began();
        wait_until("the memory is given back", || scene.grown() < 4 * MIB);
    }
}

#[test]
fn a_client_that_reads_late_gets_every_answer() {
    let mut scene = Scene::new("4 64 0 64");
    let message = "x".repeat(65536);
    scene.neighbour.ask(format!("w 0 65536\n{message}\n"), "OK v=1\n");
    let mut late = scene.connect();
    send(&mut late, "r 0\n".repeat(300) + "ping\n");
    late.shutdown(Shutdown::Write).expect("half-closed");
    scene.wait_for_stat("flushing", |flushing| flushing == 1);
    scene.neighbour.ask("w 0 5\nhello\n", "OK v=2\n");
    let mut client = Client::over(late);
    let mut versions = Vec::new();
    for _ in 0..300 {
        let (header, data) = client.data();
        match &header[..] {
            "DATA 65536 v=1 n=1" => assert!(data == message.as_bytes()),
            "DATA 5 v=2 n=1" => assert_eq!(data, b"hello"),
            other => panic!("{other}"),
        }
        versions.push(header.contains("v=2"));
    }
    assert!(versions.is_sorted() && versions[299], "a late read shows the content at its execution");
    client.expect("OK\n");
    client.expect_end();
    scene.ends_as_it_began();
}

#[test]
fn the_server_reads_no_more_from_a_client_that_never_reads() {
    let mut scene = Scene::new("4 64 0 8");
    for round in 1..=2 {
        let mut stream = scene.connect();
        let mut sent = 0;
        wait_until("the server reads no more", || {
            sent += send_until_it_blocks(&mut stream, "help\n".repeat(10_000).as_bytes(), 64 * MIB);
            assert!(sent < 64 * MIB, "{sent} bytes of requests were accepted");
            scene.neighbour.stat("flushing") == 1
        });
        scene.neighbour_is_served();
        assert!(scene.neighbour.stat("told") < sent / 10, "nearly all requests are still to be read");
        assert!(scene.grown() < 2 * MIB, "{} bytes more", scene.grown());
        reset(stream).expect("reset");
        scene.wait_for_stat("closed_by_error", |closed| closed == round);
        scene.ends_as_it_began();
    }
}
