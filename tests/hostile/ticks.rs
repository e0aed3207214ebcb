//! Requests with long lists and long answers, from many clients at once. If each of them were served in one
//! tick of the reactor, 64 clients would stop the server for seconds.

use std::fmt::Write;

use dipc_testkit::client::{Client, field};
use dipc_testkit::server::Server;
use dipc_testkit::wait::wait_until;
use nix::sys::signal::Signal;

/// Number of the clients that send long requests.
const CLIENTS: usize = 64;

/// A list of mailboxes as long as a header line allows.
fn list(from: usize, to: usize) -> String {
    let mut list = from.to_string();
    for mailbox in from + 1..to {
        if list.len() > 1000 {
            break;
        }
        write!(list, ",{mailbox}").expect("written");
    }
    list
}

/// Sends `burst` from all clients. It has `requests` requests that `stat` counts as `counter`. Expects that
/// another client, which sends its request afterwards, is answered before all these requests are served, and
/// that all of them are served in the end.
fn another_client_is_answered_during(
    server: &Server,
    clients: &mut [Client],
    burst: &str,
    counter: &str,
    requests: u64,
) {
    let mut other = server.connect();
    let before = other.stat(counter);
    let expected = before + clients.len() as u64 * requests;
    clients.iter_mut().for_each(|client| client.send(burst));
    other.send("w 1999\nhonest\n");
    assert!(other.line().starts_with("OK v="));
    let served = other.stat(counter);
    assert!(served < expected, "{burst:.40}: the other client was answered after all {expected} requests");
    server.wait_for_stat(counter, |served| served >= expected);
}

fn connect(server: &Server) -> Vec<Client> {
    (0..CLIENTS).map(|_| server.connect()).collect()
}

/// Reads all answers of a client, up to that of a `ping`.
fn read_all(client: &mut Client) {
    client.send("ping\n");
    while client.line() != "OK" {}
}

#[test]
fn lists_of_watches_delay_no_other_client() {
    const REQUESTS: usize = 10;
    let server = Server::start("2000 1 0 8");
    let clients = &mut connect(&server);
    let burst = format!("watch {}\nunwatch *\n", list(100, 1000)).repeat(REQUESTS);
    another_client_is_answered_during(&server, clients, &burst, "watches", 2 * REQUESTS as u64);
}

#[test]
fn lists_of_locks_delay_no_other_client() {
    const REQUESTS: usize = 10;
    let server = Server::start("2000 1 0 8");
    let clients = &mut connect(&server);
    for client in clients.iter_mut() {
        client.lock(format!("lock {} r\n", list(100, 1000)));
    }
    let burst = format!("unlock {0}\nlock {0} r\n", list(100, 1000)).repeat(REQUESTS);
    another_client_is_answered_during(&server, clients, &burst, "locks", REQUESTS as u64);
}

#[test]
fn long_statistics_delay_no_other_client() {
    /// The answers to this many requests fit into the buffers of the sockets.
    const REQUESTS: usize = 10;
    let server = Server::start("2000 1 0 8");
    let clients = &mut connect(&server);
    for client in clients.iter_mut() {
        client.lock(format!("lock {} r\n", list(100, 1000)));
        client.send(format!("watch {}\n", list(100, 1000)));
        assert!(client.line().starts_with("OK v="));
    }
    for request in ["stat conns\n", "stat locks\n"] {
        another_client_is_answered_during(
            &server,
            clients,
            &request.repeat(REQUESTS),
            "told",
            REQUESTS as u64,
        );
    }
}

/// A part has at most 32 kB, and the parts together have each lock once.
#[test]
fn statistics_are_answered_in_parts() {
    const LOCKS: usize = 1000;
    let server = Server::start("2000 1 0 8");
    let mut client = server.connect();
    client.send((0..LOCKS).map(|mailbox| format!("lock {mailbox}\n")).collect::<String>());
    (0..LOCKS).for_each(|_| _ = client.locked());
    let (mut lines, mut parts, mut from) = (Vec::new(), 0, 0);
    loop {
        client.send(format!("stat locks from={from}\n"));
        let (header, text) = client.data();
        assert!(text.len() <= 32 * 1024, "a part of {} bytes", text.len());
        lines.extend(String::from_utf8(text).expect("text").lines().map(str::to_owned));
        parts += 1;
        if !header.contains(" more=") {
            break;
        }
        from = field(&header, "more");
    }
    let mailboxes: Vec<usize> =
        lines.iter().map(|line| line.split(' ').next().expect("a word").parse().expect("a number")).collect();
    assert_eq!(mailboxes, (0..LOCKS).collect::<Vec<_>>());
    assert!(parts > 1, "one part");
    assert_eq!(client.stat_lines("stat locks\n").len(), LOCKS);
}

/// The watches and locks of clients that have disconnected end in later ticks. Until then the slots of these
/// clients are not used again, so no new client gets events of their watches.
#[test]
fn clients_that_leave_with_long_lists_delay_no_other_client() {
    let server = Server::start("2000 1 0 8");
    let mut clients = connect(&server);
    for client in &mut clients {
        client.lock(format!("lock {} r\n", list(100, 1000)));
        client.send(format!("watch {}\n", list(1000, 1999)));
        assert!(client.line().starts_with("OK v="));
    }
    clients.into_iter().for_each(Client::reset);
    let mut other = server.connect();
    other.ask("w 1999\nhonest\n", "OK v=1\n");
    server.wait_for_stat("locks_held", |locks| locks == 0);
    server.wait_for_stat("standing_reads", |watched| watched == 0);
    for _ in 0..CLIENTS {
        let mut new = server.connect();
        other.send("w 1000\nnews\n");
        assert!(other.line().starts_with("OK v="));
        new.ask("ping\n", "OK\n");
    }
    other.ask("w 100\nfree\n", "OK v=1\n");
}

/// Waits with many locks. `CLIENTS` clients hold `CLIENTS` shared locks each. More clients wait for these
/// mailboxes, and share the lock of `START`. So a search that begins at `START` visits all these locks.
struct LongWaits {
    server: Server,
    /// Holds `OF_FIRST`. A search begins at its request for `START`.
    first: Client,
    /// Holds `OF_LAST`, which the search visits last.
    last: Client,
    waiting: Vec<Client>,
    _holding: Vec<Client>,
}

/// The mailbox that all waiting clients have locked.
const START: usize = CLIENTS + 2;

/// The mailbox of the last client.
const OF_LAST: usize = CLIENTS + 3;

/// The mailbox of the first client.
const OF_FIRST: usize = CLIENTS + 4;

impl LongWaits {
    fn new() -> Self {
        let server = Server::start("2000 1 0 8");
        let mut holding = connect(&server);
        for client in &mut holding {
            client.lock(format!("lock {} r ttl=600\n", list(0, CLIENTS)));
        }
        let mut last = server.connect();
        last.lock(format!("lock {OF_LAST} ttl=600\n"));
        let mut waiting: Vec<Client> = (0..=CLIENTS).map(|_| server.connect()).collect();
        for client in &mut waiting {
            client.lock(format!("lock {START} r ttl=600\n"));
        }
        let mut first = server.connect();
        first.lock(format!("lock {OF_FIRST} ttl=600\n"));
        for (client, mailbox) in waiting.iter_mut().zip(0..) {
            // The search visits last the mailbox for which the first of these clients waits.
            let wanted = if mailbox == 0 { OF_LAST } else { mailbox - 1 };
            server.send_waiting(client, format!("w {wanted} 1 wait=inf\nx\n"));
        }
        LongWaits { server, first, last, waiting, _holding: holding }
    }
}

#[test]
fn a_long_search_finds_the_cycle_of_waits() {
    let mut waits = LongWaits::new();
    let LongWaits { server, first, last, .. } = &mut waits;
    server.send_waiting(last, format!("w {OF_FIRST} 1 wait=inf\nx\n"));
    first.send(format!("w {START} 1 wait=inf\nx\n").repeat(20));
    let mut other = server.connect();
    other.ask("w 1999\nhonest\n", "OK v=1\n");
    (0..20).for_each(|_| {
        assert_eq!(first.line(), "ERR deadlock : the holder of this lock is waiting for one of yours")
    });
}

#[test]
fn a_request_waits_in_its_place_during_a_long_search() {
    let mut waits = LongWaits::new();
    let LongWaits { server, first, waiting, .. } = &mut waits;
    server.send_waiting(first, format!("w {START} 1 wait=inf\nx\n"));
    let mut later = server.enqueue(format!("w {START} 1 wait=inf\ny\n"));
    waiting.clear();
    first.expect("OK v=1\n");
    later.expect("OK v=2\n");
}

#[test]
fn a_server_with_much_work_left_stops() {
    let mut server = Server::start("2000 1 0 8");
    let mut clients = connect(&server);
    let burst = format!("watch {}\nunwatch *\n", list(100, 1000)).repeat(60);
    clients.iter_mut().for_each(|client| client.send(&burst));
    server.signal(Signal::SIGTERM);
    assert_eq!(server.wait(), Some(0));
}

/// A client with many long requests and a client with one are served in turn.
#[test]
fn long_requests_of_several_clients_are_served_in_turn() {
    const REQUESTS: u64 = 50;
    let server = Server::start("2000 1 0 8");
    let [mut many, mut one] = [server.connect(), server.connect()];
    let long = list(100, 1000);
    many.send(format!("watch {long}\nunwatch *\n").repeat(REQUESTS as usize));
    one.send(format!("watch {long}\n"));
    assert!(one.line().starts_with("OK v="));
    let served = one.stat("watches");
    assert!(served < 2 * REQUESTS, "the other client was answered after all {served} requests");
}

/// A client gets the answers to its long requests in order.
#[test]
fn long_requests_are_answered_in_order() {
    let server = Server::start("2000 1 0 8");
    let mut client = server.connect();
    let long = list(100, 1000);
    let count = long.split(',').count();
    for version in 1..=3 {
        client.send(format!("watch {long}\nping\nw 5\nx\nunwatch {long}\nstat locks\nr 5\n"));
        client.expect(format!("OK v={}\nOK\nOK v={version}\nOK\n", vec!["0"; count].join(",")));
        client.expect(format!("DATA 0\n\nDATA 1 v={version} n=1\nx\n"));
    }
    read_all(&mut client);
    wait_until("no watch is left", || server.stat("watching") == 0);
}
