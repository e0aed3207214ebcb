//! Few descriptors, or none left.

use std::fs;
use std::process::{Command, Stdio};

use dipc_testkit::client::Client;
use dipc_testkit::descriptors;
use dipc_testkit::directory::Directory;
use dipc_testkit::port::port_in;
use dipc_testkit::process::{after, first_line, run, text};
use dipc_testkit::program;
use dipc_testkit::server::Server;
use dipc_testkit::wait::wait_until;

use crate::{DESCRIPTORS, expect_busy};

#[test]
fn a_server_with_few_descriptors_serves_as_many_clients_as_it_can() {
    let server = start_with_descriptors(60, "4 64 0 8").expect("60 are enough");
    let mut clients: Vec<Client> = (0..60 - 32).map(|_| server.connect()).collect();
    clients.iter_mut().for_each(|client| client.ask("ping\n", "OK\n"));
    for _ in 0..100 {
        expect_busy(60 - 32)(&mut server.connect());
    }
    assert_eq!(clients[0].stat("max_clients"), 60 - 32);
    clients.pop();
    clients[0].ask("ping\n", "OK\n");
    server.connect().ask("ping\n", "OK\n");
}

#[test]
fn with_any_number_of_descriptors_a_server_serves_or_fails_with_a_reason() {
    let mut served = false;
    for descriptors in 4..40 {
        match start_with_descriptors(descriptors, "1 1 0 1") {
            Err(said) => assert!(said.contains("Too many open files"), "{descriptors} descriptors: {said:?}"),
            Ok(server) => {
                let mut client = server.connect();
                client.send("ping\n");
                let answer = client.line();
                assert!(
                    answer == "OK" || answer.starts_with("ERR busy"),
                    "{descriptors} descriptors: {answer}"
                );
                served = answer == "OK";
            }
        }
    }
    assert!(served, "39 are enough");
}

#[test]
fn without_a_descriptor_connections_get_busy_and_the_server_is_idle() {
    let server = Server::start("4 64 0 8 --quiet-ms 1000");
    let mut clients: Vec<Client> = (0..20).map(|_| server.connect()).collect();
    clients.iter_mut().for_each(|client| client.ask("ping\n", "OK\n"));
    descriptors::limit(server.pid(), descriptors::limit_with_room_for(server.pid(), 0));
    let mut extras: Vec<Client> = (0..300).map(|_| server.connect()).collect();
    extras.iter_mut().for_each(expect_busy(20));
    assert_eq!(clients[0].stat("connections_no_descriptor"), 300);
    assert_eq!(clients[0].stat("connections_busy"), 0);
    server.expect_idle(&mut clients[0]);
    // One client leaves and another connects; then the server is full again.
    for _ in 0..50 {
        clients.pop();
        wait_until("a descriptor is free", || clients[0].stat("connections") == 19);
        clients.push(server.connect());
        clients.iter_mut().for_each(|client| client.ask("ping\n", "OK\n"));
        expect_busy(20)(&mut server.connect());
    }
    descriptors::limit(server.pid(), DESCRIPTORS.min(descriptors::hard_limit()));
    let mut more: Vec<Client> = (0..100).map(|_| server.connect()).collect();
    more.iter_mut().for_each(|client| client.ask("ping\n", "OK\n"));
}

#[test]
fn a_connection_in_the_backlog_is_served_when_there_are_descriptors_again() {
    let server = Server::start("4 64 0 8 --quiet-ms 1000");
    let mut client = server.connect();
    client.ask("ping\n", "OK\n");
    // No descriptor is left, not even one to reject a connection.
    descriptors::limit(server.pid(), 3);
    let mut extras: Vec<Client> = (0..40).map(|_| server.connect()).collect();
    extras.iter_mut().for_each(|extra| extra.send("ping\n"));
    wait_until("the server has failed to accept", || client.stat("accepts_stuck") > 0);
    server.expect_idle(&mut client);
    descriptors::limit(server.pid(), DESCRIPTORS.min(descriptors::hard_limit()));
    extras.iter_mut().for_each(|extra| extra.expect("OK\n"));
    assert_eq!(client.stat("connections_no_descriptor"), 0);
}

#[test]
fn connections_get_busy_again_after_a_time_without_any_descriptor() {
    let server = Server::start("4 64 0 8");
    let mut client = server.connect();
    client.ask("ping\n", "OK\n");
    let room_for_ten = descriptors::limit_with_room_for(server.pid(), 10);
    descriptors::limit(server.pid(), 3);
    let mut extra = server.connect();
    extra.send("ping\n");
    wait_until("the server has failed to accept", || client.stat("accepts_stuck") > 0);
    // The server may open ten more descriptors. Connections beyond these get `ERR busy`.
    descriptors::limit(server.pid(), room_for_ten);
    extra.expect("OK\n");
    let mut extras: Vec<Client> = (0..30).map(|_| server.connect()).collect();
    extras.iter_mut().for_each(|extra| extra.send("ping\n"));
    let answers: Vec<String> = extras.iter_mut().map(Client::line).collect();
    let served = answers.iter().filter(|answer| *answer == "OK").count();
    let busy = answers.iter().filter(|answer| answer.starts_with("ERR busy max=")).count();
    assert!(served >= 8 && served + busy == 30, "{answers:?}");
}

#[test]
fn a_server_without_a_descriptor_is_stopped_in_order() {
    let mut server = Server::start("4 64 0 8");
    let mut client = server.connect();
    client.ask("ping\n", "OK\n");
    descriptors::limit(server.pid(), descriptors::limit_with_room_for(server.pid(), 0));
    expect_busy(1)(&mut server.connect());
    run(&mut server.dipcrm()).expect_success();
    assert_eq!(server.wait(), Some(0), "stopped, not killed");
}

/// A server that may open at most `descriptors` descriptors, or the message with which its start failed.
fn start_with_descriptors(descriptors: u64, arguments: &str) -> Result<Server, String> {
    let directory = Directory::new();
    let mut dipc = Command::new(program::dipc());
    dipc.args(arguments.split_whitespace()).arg("--dir").arg(directory.path());
    dipc.args(["--foreground", "--log-level", "off"]);
    let mut command = after(&format!("ulimit -n {descriptors}"), &dipc);
    let command = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("sh");
    match port_in(&first_line(&mut child)) {
        Some(port) => Ok(Server { port, classic: None, directory, child }),
        None => Err(text(&child.wait_with_output().expect("its output").stderr)),
    }
}

/// The table grew while connections were accepted, which stopped the reactor for 10 milliseconds each time.
#[test]
fn the_table_of_descriptors_does_not_grow_while_connections_are_accepted() {
    let server = Server::start("4 64 0 8 --max-clients 1000");
    let size = || {
        let status = fs::read_to_string(format!("/proc/{}/status", server.pid())).expect("the server lives");
        let line = status.lines().find_map(|line| line.strip_prefix("FDSize:")).expect("FDSize");
        line.trim().parse::<usize>().expect("a number")
    };
    assert!(size() >= 1000, "the table has {} places", size());
}
