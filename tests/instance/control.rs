//! Errors of single calls at the control socket and at the poll.

use dipc_testkit::client::Client;
use dipc_testkit::descriptors;
use dipc_testkit::process::run;
use dipc_testkit::server::Server;
use nix::sys::signal::Signal;

use crate::tracer::attach;

/// Cause: the poll is edge-triggered, and an error of accept4(2) lost the event. So the server never read the
/// request to stop, and dipcrm killed it.
#[test]
fn an_error_of_the_control_socket_does_not_lose_a_request_to_stop() {
    for error in ["ECONNABORTED", "EINTR", "ENOMEM", "EMFILE", "ENFILE", "ENOBUFS"] {
        let mut server = Server::start("4 64 0 8");
        let Some(_strace) = attach(server.pid(), &format!("accept4:error={error}:when=1..2")) else { return };
        run(&mut server.dipcrm()).expect_success();
        assert_eq!(server.wait(), Some(0), "{error}: it was killed");
    }
}

/// Cause: a control connection that could not be registered was closed, and dipcrm took that for an answer.
#[test]
fn a_control_connection_that_cannot_be_registered_is_made_again() {
    let mut server = Server::start("4 64 0 8");
    let Some(_strace) = attach(server.pid(), "epoll_ctl:error=ENOSPC:when=1") else { return };
    run(&mut server.dipcrm()).expect_success();
    assert_eq!(server.wait(), Some(0), "it was killed");
}

/// Cause: the server kept a client whose registration had failed, and no event ever announced it.
#[test]
fn a_client_that_cannot_be_registered_is_told_and_closed() {
    let server = Server::start("4 64 0 8");
    let mut first = server.connect();
    first.ask("ping\n", "OK\n");
    let Some(_strace) = attach(server.pid(), "epoll_ctl:error=ENOSPC:when=1") else { return };
    let mut client = server.connect();
    client.expect("ERR busy max=1 : too many clients, try again\n");
    client.expect_end();
    first.ask("ping\n", "OK\n");
    server.wait_for_stat("connections", |count| count == 2);
    assert_eq!(first.stat("closed_by_error"), 1);
}

/// Cause: `max=` was the number of clients before the batch in which this one was accepted.
#[test]
fn max_is_the_number_of_clients_that_are_served() {
    let server = Server::start("4 64 0 8");
    let mut first = server.connect();
    first.ask("ping\n", "OK\n");
    descriptors::limit(server.pid(), descriptors::limit_with_room_for(server.pid(), 4));
    server.halt();
    let mut clients: Vec<Client> = (0..12).map(|_| server.connect()).collect();
    server.signal(Signal::SIGCONT);
    clients.iter_mut().for_each(|client| client.send("ping\n"));
    let answers: Vec<String> = clients.iter_mut().map(Client::line).collect();
    let served = answers.iter().filter(|answer| *answer == "OK").count() + 1;
    let busy = format!("ERR busy max={served} : too many clients, try again");
    assert!(answers.iter().all(|answer| *answer == "OK" || *answer == busy), "{served}: {answers:?}");
    assert!(answers.contains(&busy), "{answers:?}");
}
