//! More clients than `--max-clients`.

use std::io::Write;
use std::net::TcpStream;
use std::thread;

use dipc_testkit::client::Client;
use dipc_testkit::server::Server;
use dipc_testkit::wait::{HANG, wait_until};
use nix::sys::signal::Signal::{SIGCONT, SIGSTOP};

use crate::expect_busy;

#[test]
fn beyond_the_limit_of_clients_connections_get_busy_and_the_others_are_served() {
    let server = Server::start("4 64 0 8 --max-clients 50");
    let mut clients: Vec<Client> = (0..50).map(|_| server.connect()).collect();
    clients.iter_mut().for_each(|client| client.ask("ping\n", "OK\n"));
    let descriptors = server.descriptors();
    // All connect before the server continues.
    server.signal(SIGSTOP);
    let mut extras: Vec<Client> = (0..500).map(|_| server.connect()).collect();
    server.signal(SIGCONT);
    extras.iter_mut().for_each(expect_busy(50));
    wait_until("their descriptors are free", || server.descriptors() == descriptors);
    clients.iter_mut().for_each(|client| client.ask("ping\n", "OK\n"));
    assert_eq!(clients[0].stat("connections"), 50);
    assert_eq!(clients[0].stat("connections_busy"), 500);
    assert_eq!(clients[0].stat("connections_no_descriptor"), 0);
}

#[test]
fn clients_beyond_the_limit_that_send_first_get_busy() {
    let server = Server::start("4 64 0 64 --max-clients 1");
    let mut client = server.connect();
    client.ask("ping\n", "OK\n");
    let message = format!("w 0 65536\n{}\n", "x".repeat(65536));
    for sent in ["ping\n", "r 0", &message] {
        let mut extra = TcpStream::connect(("127.0.0.1", server.port)).expect("connected");
        extra.set_read_timeout(Some(HANG)).expect("set");
        // The send may fail because the server has closed the connection. The answer must arrive
        // nevertheless.
        let _ = extra.write_all(sent.as_bytes());
        expect_busy(1)(&mut Client::over(extra));
    }
    client.ask("r 0\n", "DATA 0 v=0 n=0\n\n");
}

#[test]
fn connections_to_the_unix_socket_beyond_the_limit_get_busy() {
    let server = Server::start_with_socket("4 64 0 8 --max-clients 2");
    let path = server.socket();
    let mut clients = [server.connect(), Client::unix(&path)];
    clients.iter_mut().for_each(|client| client.ask("ping\n", "OK\n"));
    for _ in 0..20 {
        expect_busy(2)(&mut Client::unix(&path));
        expect_busy(2)(&mut server.connect());
    }
    let [stays, leaves] = &mut clients;
    leaves.send("q\n");
    leaves.expect_end();
    wait_until("a slot is free", || stays.stat("connections") == 1);
    Client::unix(&path).ask("ping\n", "OK\n");
}

#[test]
fn new_clients_are_served_as_soon_as_others_have_left() {
    let server = Server::start("4 64 0 8 --max-clients 50");
    let mut clients: Vec<Client> = (0..50).map(|_| server.connect()).collect();
    clients.iter_mut().for_each(|client| client.ask("ping\n", "OK\n"));
    for round in 0..100 {
        expect_busy(50)(&mut server.connect());
        let stay = 1 + round % 49;
        clients.truncate(stay);
        wait_until("the others have left", || clients[0].stat("connections") == stay as u64);
        clients.extend((stay..50).map(|_| server.connect()));
        clients.iter_mut().for_each(|client| client.ask("ping\n", "OK\n"));
    }
    assert_eq!(clients[0].stat("connections_busy"), 100);
}

#[test]
fn a_client_that_left_before_the_next_connects_has_freed_its_slot() {
    const CLIENTS: usize = 8;
    let server = Server::start_with_socket(&format!("4 64 0 8 --max-clients {CLIENTS}"));
    let path = server.socket();
    // Over a Unix-domain socket, the server sees the end of input at once. The client does not call close(2),
    // because a process that another test is starting may have inherited the socket.
    let connect_and_leave = || {
        let mut client = Client::unix(&path);
        client.ask("ping\n", "OK\n");
        client.half_close();
    };
    // There are never more clients than slots.
    thread::scope(|scope| {
        for _ in 0..CLIENTS {
            scope.spawn(|| (0..500).for_each(|_| connect_and_leave()));
        }
    });
}
