//! Leases: a lock ends with its time to live.

use std::thread;
use std::time::Duration;

use dipc_testkit::client::Client;
use dipc_testkit::server::Server;
use dipc_testkit::wait::wait_until;
use nix::sys::signal::Signal;

use crate::{LEASE, LOST, expect_free, served};

/// The four requests that are refused to a client whose lock has expired.
const GUARDED: [&str; 4] = ["r 0\n", "w 0\nno\n", "put 0\nno\n", "take 0\n"];

#[test]
fn a_silent_client_loses_its_lock_and_gets_an_event() {
    let server = served();
    let mut silent = server.connect();
    silent.lock("lock 0 ttl=0.1\n");
    let mut other = server.enqueue("lock 0 wait=inf\n");
    other.locked();
    silent.expect(LOST);
    assert_eq!(server.stat("leases_ended"), 1);
    silent.ask("ping\nw 1\nelsewhere\n", "OK\nOK v=1\n");
}

#[test]
fn the_event_of_a_lost_lock_has_the_version_and_the_line_ends_of_its_client() {
    let server = served();
    let mut client = server.connect();
    client.ask("w 2\r\nhello\r\n", "OK v=1\r\n");
    client.send("lock 2 ttl=0.1\r\n");
    assert!(client.line().starts_with("OK grant="));
    client.expect("EVENT 0 box=2 v=1 lost=lock\r\n\r\n");
}

#[test]
fn each_of_several_locks_has_its_own_lease() {
    let server = served();
    let mut client = server.connect();
    client.lock("lock 3 ttl=inf\n");
    client.send("lock 0,1 ttl=0.1\n");
    client.locked();
    client.expect("EVENT 0 box=0 v=0 lost=lock\n\nEVENT 0 box=1 v=0 lost=lock\n\n");
    assert_eq!(server.stat("locks_held"), 1);
    client.ask("w 3\nstill\n", "OK v=1\n");
}

/// The event of the first lost lock waits behind a large event that the client does not read.
#[test]
fn each_lease_ends_although_its_client_does_not_read() {
    const SIZE: usize = 900_000;
    let server = Server::start_with_socket("4 1024 0 1024");
    let mut holder = Client::unix(&server.socket());
    holder.ask("watch 3\n", "OK v=0\n");
    holder.lock("lock 0 ttl=3\n");
    holder.lock("lock 1 ttl=3.1\n");
    server.connect().ask(format!("w 3 {SIZE}\n{}\n", "x".repeat(SIZE)), "OK v=1\n");
    server.wait_for_stat("locks_held", |locks| locks == 0);
    assert_eq!(holder.event().1.len(), SIZE);
    holder.expect("EVENT 0 box=0 v=0 lost=lock\n\nEVENT 0 box=1 v=0 lost=lock\n\n");
}

#[test]
fn a_lost_lock_refuses_requests_until_it_is_acknowledged() {
    let server = served();
    for acknowledge in ["unlock 0\n", "unlock *\n"] {
        let mut client = server.connect();
        client.send("lock 0 ttl=0.05\n");
        client.locked();
        client.expect(LOST);
        for request in GUARDED.iter().chain(&GUARDED) {
            assert_eq!(client.refused(request), LEASE, "{request}");
        }
        client.ask("w 1 if=9\n\n", "NO conflict v=0\n");
        assert_eq!(client.refused(acknowledge), LEASE);
        client.ask("r 0\nw 0 if=9\n\nunlock *\n", "DATA 0 v=0 n=0\n\nNO conflict v=0\nOK\n");
        assert_eq!(client.refused("unlock 0\n"), LEASE);
    }
}

#[test]
fn a_lost_lock_can_be_locked_again() {
    let server = served();
    let mut client = server.connect();
    let old = client.lock("lock 0 ttl=0.05\n");
    client.expect(LOST);
    let new = client.lock("lock 0\n");
    assert!(new > old);
    client.ask("w 0\nmine\nunlock 0\n", "OK v=1\nOK\n");
}

/// The client sends before it reads that its lock is lost.
#[test]
fn a_late_write_of_an_old_holder_is_never_executed() {
    let server = served();
    let (ttl, longer) = ("0.3", Duration::from_millis(400));
    for round in 0..3 {
        let mut old = server.connect();
        let mut other = server.connect();
        old.lock(format!("lock 0 ttl={ttl}\n"));
        other.send("w 0 3\nnew\n");
        server.halt();
        // The lease expires while the server is stopped. No event reports that, so the test has to sleep.
        thread::sleep(longer);
        old.send("w 0\nlate\nput 0\nlate\ntake 0\nr 0\nunlock 0\n");
        server.signal(Signal::SIGCONT);
        let (header, _) = old.event();
        assert!(header.starts_with("EVENT 0 box=0 v=") && header.ends_with(" lost=lock"), "{header}");
        for _ in 0..5 {
            assert!(old.line().starts_with("ERR lease : "));
        }
        other.expect(format!("OK v={}\n", round + 1));
        other.ask("r 0\n", format!("DATA 3 v={} n=1\nnew\n", round + 1));
    }
}

#[test]
fn a_client_that_sends_requests_keeps_its_lock_beyond_its_ttl() {
    let server = served();
    let mut client = server.connect();
    client.lock("lock 0 ttl=3\n");
    // Any request renews the lease.
    let requests =
        [("ping\n", "OK\n"), ("r 0\n", "DATA 0 v=0 n=0\n\n"), ("w 1 if=9\n\n", "NO conflict v=0\n")];
    let mut round = 0;
    wait_until("the lock is older than its ttl", || {
        let (request, answer) = requests[round % requests.len()];
        round += 1;
        client.ask(request, answer);
        let line = server.connect().stat_lines("stat locks\n").pop().expect("a lock");
        let held = line.split("held_seconds=").nth(1).and_then(|rest| rest.split(' ').next());
        held.expect("held_seconds").parse::<f64>().expect("seconds") > 3.5
    });
    server.connect().ask("w 0 wait=0\n\n", "NO timeout\n");
}

#[test]
fn no_lock_is_held_longer_than_the_server_allows() {
    let server = Server::start("4 64 0 8 --max-hold 0.5");
    for ttl in ["", " ttl=inf", " ttl=100"] {
        let mut client = server.connect();
        client.lock(format!("lock 0{ttl}\n"));
        wait_until("the lock ends", || {
            client.send("ping\n");
            match client.line().as_str() {
                "OK" => false,
                lost => {
                    assert_eq!(lost, "EVENT 0 box=0 v=0 lost=lock by=max-hold");
                    true
                }
            }
        });
        client.expect("\nOK\n");
        assert_eq!(client.refused("w 0\nlate\n"), LEASE);
    }
    server.connect().ask("r 0 wait=0\n", "DATA 0 v=0 n=0\n\n");
}

#[test]
fn a_wait_of_a_holder_ends_with_its_lease() {
    let server = Server::start("4 1 0 1");
    let mut other = server.connect();
    other.lock("lock 1\n");
    other.ask(format!("put 2\n{}\n", "x".repeat(1000)), "OK v=1 n=1\n");
    let put = format!("put 2 wait=inf\n{}\n", "x".repeat(1000));
    for (request, answer) in [
        ("w 1 wait=inf\nno\n", "NO timeout\n"),
        ("r 1 wait=inf\n", "NO timeout v=0\n"),
        ("lock 1,2 wait=inf\n", "NO timeout\n"),
        ("take 3 wait=inf\n", "NO empty\n"),
        ("r 3 after=0 wait=inf\n", "NO timeout v=0\n"),
        (&put, "NO full\n"),
    ] {
        let mut holder = server.connect();
        holder.send(format!("lock 0 ttl=0.1\n{request}"));
        holder.locked();
        holder.expect(format!("{answer}{LOST}"));
        expect_free(&server);
    }
}

#[test]
fn a_wait_ends_with_its_lease_although_the_batch_goes_on() {
    let server = served();
    let mut holder = server.connect();
    holder.send("lock 0 ttl=0.1\ntake 1 wait=inf\nw 0\nlate\nping\n");
    holder.locked();
    holder.expect(format!("NO empty\n{LOST}"));
    assert!(holder.line().starts_with("ERR lease : "));
    holder.expect("OK\n");
    server.connect().ask("r 0\n", "DATA 0 v=0 n=0\n\n");
}
