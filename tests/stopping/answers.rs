//! Received requests are answered before the server ends.

use std::fs;

use dipc_testkit::client::Client;
use dipc_testkit::process::run;
use dipc_testkit::server::Server;
use dipc_testkit::wait::wait_until;
use nix::sys::signal::Signal;

use crate::{Restartable, connect_error, expect_large_messages, large_message, send_before_signal};

#[test]
fn a_pipeline_that_has_arrived_is_answered_before_the_end() {
    for signal in [Signal::SIGTERM, Signal::SIGINT] {
        let mut restartable = Restartable::start();
        let mut client = restartable.connect();
        client.ask("ping\n", "OK\n");
        send_before_signal(&restartable.server, &mut client, "w 0 5\nhello\n".repeat(1000), signal);
        for version in 1..=1000 {
            client.expect(format!("OK v={version}\n"));
        }
        client.expect_end();
        assert_eq!(restartable.server.wait(), Some(0));
        // Every answered write is in the segment.
        restartable.again();
        restartable.connect().ask("r 0\n", "DATA 5 v=1000 n=1\nhello\n");
    }
}

#[test]
fn dipcrm_lets_a_pipeline_be_answered() {
    let mut server = Server::start("4 64 0 8");
    let mut client = server.connect();
    client.ask("ping\n", "OK\n");
    server.halt();
    client.send("w 0 5\nhello\n".repeat(1000));
    let mut dipcrm = server.dipcrm();
    let dipcrm = std::thread::spawn(move || run(&mut dipcrm));
    server.signal(Signal::SIGCONT);
    for version in 1..=1000 {
        client.expect(format!("OK v={version}\n"));
    }
    client.expect_end();
    assert_eq!(server.wait(), Some(0));
    assert_eq!(dipcrm.join().expect("no panic").code, Some(0));
}

#[test]
fn answers_larger_than_all_buffers_are_sent_before_the_end() {
    let mut server = Server::start("1 64 0 64");
    let mut client = large_message(&server);
    send_before_signal(&server, &mut client, "r 0\n".repeat(150), Signal::SIGTERM);
    expect_large_messages(&mut client, 150);
    client.expect_end();
    assert_eq!(server.wait(), Some(0));
}

#[test]
fn many_clients_are_answered_before_the_end() {
    let mut server = Server::start("4 64 0 8");
    let mut clients: Vec<Client> = (0..100).map(|_| server.connect()).collect();
    clients.iter_mut().for_each(|client| client.ask("ping\n", "OK\n"));
    server.halt();
    clients.iter_mut().for_each(|client| client.send("ping\nhelp\nr 0\n"));
    server.signal(Signal::SIGTERM);
    server.signal(Signal::SIGCONT);
    for client in &mut clients {
        client.expect("OK\n");
        assert!(client.data().0.starts_with("DATA "));
        client.expect("DATA 0 v=0 n=0\n\n");
        client.expect_end();
    }
    assert_eq!(server.wait(), Some(0));
}

#[test]
fn a_client_that_is_not_accepted_yet_is_answered() {
    let mut server = Server::start_with_socket("4 64 0 8");
    server.halt();
    // The kernel completes the connections, and keeps the bytes that the clients send.
    let mut clients = [server.connect(), Client::unix(&server.socket())];
    clients.iter_mut().for_each(|client| client.send("ping\n"));
    server.signal(Signal::SIGTERM);
    server.signal(Signal::SIGCONT);
    for client in &mut clients {
        client.expect("OK\n");
        client.expect_end();
    }
    assert_eq!(server.wait(), Some(0));
}

#[test]
fn no_answer_is_lost_when_the_client_sends_another_request() {
    let mut server = Server::start("1 64 0 64");
    let mut client = large_message(&server);
    send_before_signal(&server, &mut client, "r 0\n".repeat(20), Signal::SIGTERM);
    // The server has written all answers and closed its sending half, but the client has read few of them.
    let local = format!(" 0100007F:{:04X} ", server.port);
    wait_until("the server has sent everything", || {
        let sockets = fs::read_to_string("/proc/net/tcp").expect("readable");
        // FIN_WAIT1 or FIN_WAIT2. Source: linux/include/net/tcp_states.h
        let ended = |line: &str| ["04", "05"].contains(&line.split_whitespace().nth(3).unwrap_or_default());
        sockets.lines().filter(|line| line.contains(&local)).any(ended)
    });
    client.send("ping\n");
    expect_large_messages(&mut client, 20);
    client.expect_end();
    drop(client);
    assert_eq!(server.wait(), Some(0));
}

/// The answer to the first request fills the socket. The server sends it completely, and then the refusal of
/// the waiting request.
#[test]
fn a_waiting_client_with_unread_answers_gets_them_all() {
    const SIZE: usize = 900_000;
    let mut server = Server::start_with_socket("2 1024 0 1024");
    server.connect().ask(format!("w 1 {SIZE}\n{}\n", "x".repeat(SIZE)), "OK v=1\n");
    let mut reader = Client::unix(&server.socket());
    server.send_waiting(&mut reader, "r 1\ntake 0 wait=inf\nping\n");
    server.signal(Signal::SIGTERM);
    wait_until("the port is closed", || connect_error(server.port).is_some());
    assert_eq!(reader.data().1.len(), SIZE);
    reader.expect("ERR drain : the server is stopping\n");
    reader.expect_end();
    assert_eq!(server.wait(), Some(0));
}

#[test]
fn a_request_cut_short_changes_nothing() {
    let mut restartable = Restartable::start();
    let mut client = restartable.connect();
    client.ask("w 0 5\nhello\n", "OK v=1\n");
    send_before_signal(&restartable.server, &mut client, "w 0 10\nworld", Signal::SIGTERM);
    client.expect_end();
    assert_eq!(restartable.server.wait(), Some(0));
    restartable.again();
    restartable.connect().ask("r 0\n", "DATA 5 v=1 n=1\nhello\n");
}
