//! `unlock`, and fencing tokens.

use dipc_testkit::port::Port;
use dipc_testkit::server::Server;
use nix::sys::signal::Signal;

use crate::{LEASE, expect_free, served};

#[test]
fn unlock_is_for_held_locks_and_is_all_or_none() {
    let server = served();
    let mut client = server.connect();
    client.ask("unlock *\n", "OK\n");
    assert_eq!(client.refused("unlock 0\n"), LEASE);
    let first = client.lock("lock 0,1\n");
    let second = client.lock("lock 2\n");
    assert_eq!(second, first + 1);
    assert_eq!(client.refused("unlock 0,3\n"), LEASE);
    assert_eq!(client.refused(format!("unlock 0,2 grant={first}\n")), LEASE);
    assert_eq!(client.refused(format!("unlock 2 grant={first}\n")), LEASE);
    assert_eq!(client.refused(format!("unlock * grant={}\n", second + 1)), LEASE);
    assert_eq!(server.stat("locks_held"), 3, "nothing was unlocked");
    client.ask(format!("unlock * grant={first}\n"), "OK\n");
    let mut other = server.connect();
    other.ask("w 0 wait=0\n\nw 1 wait=0\n\nw 2 wait=0\n\n", "OK v=1\nOK v=1\nNO timeout\n");
    assert_eq!(other.refused(format!("unlock 2 grant={second}\n")), LEASE);
    client.ask("unlock 2,2\n", "ERR syntax");
    client.line();
    client.ask("unlock 2\nunlock *\n", "OK\nOK\n");
}

#[test]
fn an_old_fencing_token_does_not_unlock_a_newer_lock() {
    let server = served();
    let mut client = server.connect();
    let old = client.lock("lock 0\n");
    client.ask("unlock 0\n", "OK\n");
    let new = client.lock("lock 0\n");
    assert!(new > old);
    assert_eq!(client.refused(format!("unlock 0 grant={old}\n")), LEASE);
    server.connect().ask("lock 0 wait=0\n", "NO locked\n");
    client.ask(format!("unlock 0 grant={new}\n"), "OK\n");
    expect_free(&server);
}

#[test]
fn fencing_tokens_grow_and_locks_end_with_every_end_of_the_server() {
    let port = Port::reserve();
    let arguments = format!("4 64 {} 8", port.number);
    let mut server = Server::start(&arguments);
    let mut last = 0;
    for signal in [Signal::SIGTERM, Signal::SIGKILL, Signal::SIGKILL, Signal::SIGTERM] {
        let mut client = server.connect();
        for request in ["lock 0 ttl=inf\n", "lock 2,1\n", "lock 3 r\n"] {
            let grant = client.lock(request);
            assert!(grant > last, "{grant} after {last}");
            last = grant;
        }
        server.signal(signal);
        server.wait();
        client.expect_end();
        server.restart(&arguments);
        assert_eq!(server.stat("locks_held"), 0);
        let mut other = server.connect();
        other.ask("w 0 wait=0 if=9\n\nw 3 wait=0 if=9\n\n", "NO conflict v=0\nNO conflict v=0\n");
    }
}
