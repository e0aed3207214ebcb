//! How long a server takes to stop.

use std::io::ErrorKind;
use std::time::{Duration, Instant};

use dipc_testkit::client::Client;
use dipc_testkit::server::Server;
use dipc_testkit::wait::wait_until;
use nix::sys::signal::Signal;

use crate::{connect_error, expect_large_messages, stuck_client};

/// How long a stopping server waits for clients that do not read their answers.
const GRACE: Duration = Duration::from_secs(5);

/// Expects that a server stops without waiting for [`GRACE`]. On a busy machine, one stop may take that long
/// without such a wait. A server that waits takes that long in every try.
#[track_caller]
fn expect_no_grace(stop: impl Fn()) {
    const TRIES: usize = 3;
    let is_quick = |_| {
        let started = Instant::now();
        stop();
        started.elapsed() < GRACE
    };
    assert!((0..TRIES).any(is_quick), "each of {TRIES} stops took {GRACE:?} or longer");
}

/// When the stop ends the holder's lock, the taker is admitted. No message arrives in a server that is
/// stopping.
#[test]
fn a_taker_that_a_stop_admits_to_an_empty_mailbox_does_not_delay_the_stop() {
    expect_no_grace(|| {
        let mut server = Server::start("1 64 0 64");
        let mut holder = server.connect();
        holder.lock("lock 0\n");
        let mut taker = server.enqueue("take 0 wait=inf\n");
        server.signal(Signal::SIGTERM);
        taker.expect("ERR drain : the server is stopping\n");
        taker.expect_end();
        assert_eq!(server.wait(), Some(0));
    });
}

#[test]
fn idle_clients_do_not_delay_a_stop() {
    expect_no_grace(|| {
        let mut server = Server::start("4 64 0 8");
        let mut clients: Vec<Client> = (0..50).map(|_| server.connect()).collect();
        clients.iter_mut().for_each(|client| client.ask("ping\n", "OK\n"));
        server.signal(Signal::SIGTERM);
        clients.iter_mut().for_each(|client| client.expect_end());
        assert_eq!(server.wait(), Some(0));
    });
}

#[test]
fn no_client_is_accepted_while_the_last_answers_are_sent() {
    let mut server = Server::start("1 64 0 64");
    let mut client = stuck_client(&server);
    server.signal(Signal::SIGTERM);
    wait_until("the port is closed", || connect_error(server.port) == Some(ErrorKind::ConnectionRefused));
    assert!(server.child.try_wait().expect("our child").is_none(), "the server still answers");
    expect_large_messages(&mut client, 10);
    drop(client);
    assert_eq!(server.wait(), Some(0));
}

#[test]
fn a_second_signal_stops_at_once() {
    for second in [Signal::SIGTERM, Signal::SIGINT] {
        expect_no_grace(|| {
            let mut server = Server::start("1 64 0 64");
            let _client = stuck_client(&server);
            server.signal(Signal::SIGTERM);
            wait_until("the port is closed", || connect_error(server.port).is_some());
            assert!(server.child.try_wait().expect("our child").is_none(), "the server still answers");
            server.signal(second);
            assert_eq!(server.wait(), Some(0));
        });
    }
}

#[test]
fn a_client_that_reads_nothing_keeps_a_server_alive_for_five_seconds() {
    let mut server = Server::start("1 64 0 64");
    let _client = stuck_client(&server);
    let started = Instant::now();
    server.signal(Signal::SIGTERM);
    assert_eq!(server.wait(), Some(0));
    assert!(started.elapsed() >= GRACE, "the server waited only {:?}", started.elapsed());
}
