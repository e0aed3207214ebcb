//! How long a server takes to stop.

use std::io::ErrorKind;
use std::time::{Duration, Instant};

use dipc_testkit::client::Client;
use dipc_testkit::server::Server;
use dipc_testkit::wait::wait_until;
use nix::sys::signal::Signal;

use crate::{connect_error, expect_large_messages, stuck_client};

/// The end of the lock lets it in while the server stops already: what it needs comes no more, and it is told at once.
#[test]
fn who_is_let_in_by_the_end_and_misses_something_does_not_delay_it() {
    let mut server = Server::start("1 64 0 64");
    let mut holder = server.connect();
    holder.lock("lock 0\n");
    let mut taker = server.enqueue("take 0 wait=inf\n");
    let started = Instant::now();
    server.signal(Signal::SIGTERM);
    taker.expect("ERR drain : the server is stopping\n");
    taker.expect_end();
    assert_eq!(server.wait(), Some(0));
    assert!(started.elapsed() < Duration::from_secs(4), "it took its time");
}

#[test]
fn clients_that_ask_nothing_keep_no_server_alive() {
    let mut server = Server::start("4 64 0 8");
    let mut clients: Vec<Client> = (0..50).map(|_| server.connect()).collect();
    clients.iter_mut().for_each(|client| client.ask("ping\n", "OK\n"));
    let started = Instant::now();
    server.signal(Signal::SIGTERM);
    clients.iter_mut().for_each(|client| client.expect_end());
    assert_eq!(server.wait(), Some(0));
    assert!(started.elapsed() < Duration::from_secs(4), "it waits for them");
}

#[test]
fn nobody_is_let_in_while_the_last_ones_are_answered() {
    let mut server = Server::start("1 64 0 64");
    let mut client = stuck_client(&server);
    server.signal(Signal::SIGTERM);
    wait_until("the door closes", || connect_error(server.port) == Some(ErrorKind::ConnectionRefused));
    assert!(server.child.try_wait().expect("our child").is_none(), "it still answers");
    expect_large_messages(&mut client, 10);
    drop(client);
    assert_eq!(server.wait(), Some(0));
}

#[test]
fn a_second_signal_stops_at_once() {
    for second in [Signal::SIGTERM, Signal::SIGINT] {
        let mut server = Server::start("1 64 0 64");
        let _client = stuck_client(&server);
        let started = Instant::now();
        server.signal(Signal::SIGTERM);
        wait_until("the door closes", || connect_error(server.port).is_some());
        assert!(server.child.try_wait().expect("our child").is_none(), "it still answers");
        server.signal(second);
        assert_eq!(server.wait(), Some(0));
        assert!(started.elapsed() < Duration::from_secs(4), "it took its time");
    }
}

#[test]
fn a_client_that_reads_nothing_keeps_a_server_alive_for_five_seconds() {
    let mut server = Server::start("1 64 0 64");
    let _client = stuck_client(&server);
    let started = Instant::now();
    server.signal(Signal::SIGTERM);
    assert_eq!(server.wait(), Some(0));
    let taken = started.elapsed();
    assert!((Duration::from_secs(4)..Duration::from_secs(15)).contains(&taken), "{taken:?}");
}
