//! Many clients, and many mailboxes.

use std::io::Write;
use std::net::TcpStream;
use std::sync::{Mutex, MutexGuard, PoisonError};

use dipc_testkit::client::{Client, reset};
use dipc_testkit::descriptors;
use dipc_testkit::server::Server;
use dipc_testkit::wait::wait_until;
use nix::sys::signal::Signal::{SIGCONT, SIGSTOP};
use nix::sys::statvfs::statvfs;

use crate::DESCRIPTORS;

#[test]
fn ten_thousand_idle_clients_cost_512_bytes_each() {
    const CLIENTS: usize = 10_000;
    let _turn = many_descriptors();
    let server = Server::start("4 64 0 8");
    descriptors::limit(server.pid(), DESCRIPTORS);
    let before = server.own_memory();
    let mut clients: Vec<Client> = (0..CLIENTS).map(|_| server.connect()).collect();
    clients[0].ask("w 0 5\nhello\n", "OK v=1\n");
    clients.iter_mut().for_each(|client| client.ask("ping\nr 0\n", "OK\nDATA 5 v=1 n=1\nhello\n"));
    expect_idle_at(&server, 512, before, CLIENTS);
    assert_eq!(clients[0].stat("connections"), CLIENTS as u64);
    assert_eq!(clients[0].stat("connections_busy"), 0);
    // The idle clients are still connected, and the table of clients is full.
    let mut extra = server.connect();
    extra.expect("ERR busy max=10000");
    clients.iter_mut().rev().for_each(|client| client.ask("ping\n", "OK\n"));
}

#[test]
fn idle_clients_give_their_buffers_back() {
    const CLIENTS: usize = 10_000;
    const SIZE: usize = 4096;
    let _turn = many_descriptors();
    let server = Server::start("1 4 0 4 --quiet-ms 0");
    let before = server.own_memory();
    let mut clients: Vec<Client> = (0..CLIENTS).map(|_| server.connect()).collect();
    let message = format!("w 0 {SIZE}\n{}", "x".repeat(SIZE));
    clients.iter_mut().for_each(|client| client.send(&message));
    let burst = before + (CLIENTS * SIZE) as u64;
    wait_until("the server holds all messages but their end", || server.own_memory() >= burst);
    clients.iter_mut().for_each(|client| client.send("\n"));
    clients.iter_mut().for_each(|client| assert!(client.line().starts_with("OK v=")));
    // The clients are idle. Their buffers are returned to the system, except for some that the server keeps
    // for reuse.
    expect_idle_at(&server, 1024, before, CLIENTS);
}

#[test]
fn three_thousand_simultaneous_connections_are_all_served() {
    const CLIENTS: usize = 3_000;
    let _turn = many_descriptors();
    let server = Server::start("4 64 0 8");
    // While the server is stopped, the backlog takes all connections without a retry.
    server.signal(SIGSTOP);
    let mut clients: Vec<Client> = (0..CLIENTS).map(|_| server.connect()).collect();
    clients.iter_mut().for_each(|client| client.send("ping\n"));
    server.signal(SIGCONT);
    clients.iter_mut().for_each(|client| client.expect("OK\n"));
    assert_eq!(clients[0].stat("connections_accepted"), CLIENTS as u64);
    assert_eq!(clients[0].stat("accepts_stuck"), 0);
}

#[test]
fn five_thousand_resets_leak_no_descriptor_and_no_memory() {
    const CYCLES: u64 = 5_000;
    const AT_ONCE: u64 = 250;
    let server = Server::start("4 64 0 8");
    let mut client = server.connect();
    client.ask("w 0\nhello\n", "OK v=1\n");
    let connect_and_reset = |number: u64| {
        let mut stream = TcpStream::connect(("127.0.0.1", server.port)).expect("connected");
        // The reset comes in silence, in a header, in a body, with one answer in transfer, with many, and
        // after `q`.
        let sent: &[u8] = match number % 6 {
            0 => b"",
            1 => b"r",
            2 => b"w 1 4096\nhalf",
            3 => b"r 0\n",
            4 => &b"r 0\n".repeat(100),
            _ => b"ping\nq\n",
        };
        stream.write_all(sent).expect("sent");
        reset(stream).expect("reset");
    };
    let mut connected = 1;
    let mut when_closed = |more: u64| {
        connected += more;
        wait_until("all are accepted", || client.stat("connections_accepted") == connected);
        wait_until("all are closed", || client.stat("connections") == 1);
        (server.descriptors(), server.own_memory())
    };
    // In a first cycle, all clients are connected at the same time. So the server has allocated the memory
    // for that number of clients.
    server.signal(SIGSTOP);
    (0..AT_ONCE).for_each(connect_and_reset);
    server.signal(SIGCONT);
    when_closed(AT_ONCE);
    let mut cycles = |times: u64| {
        let cycle = |_| {
            (0..AT_ONCE).for_each(connect_and_reset);
            when_closed(AT_ONCE)
        };
        (0..times / AT_ONCE).map(cycle).last().expect("some")
    };
    let before = cycles(CYCLES / 5);
    let after = cycles(CYCLES);
    println!("descriptors {} and {}, memory {} and {}", before.0, after.0, before.1, after.1);
    assert_eq!(after.0, before.0, "descriptors");
    let grown = after.1.saturating_sub(before.1);
    assert!(grown <= 50 * CYCLES, "{grown} bytes more after {CYCLES} resets");
}

#[test]
fn a_million_mailboxes_cost_the_server_at_most_256_bytes_each() {
    const MAILBOXES: u64 = 1_000_000;
    let shared = statvfs("/dev/shm").expect("/dev/shm");
    let available = shared.blocks_available() * shared.fragment_size();
    if available < MAILBOXES * 2_400 {
        eprintln!("not tested: /dev/shm has room for only {available} bytes");
        return;
    }
    let small = Server::start("1 1 0 1");
    let server = Server::start(&format!("{MAILBOXES} 1 0 1"));
    let each = server.own_memory().saturating_sub(small.own_memory()) / MAILBOXES;
    println!("{each} bytes for each of {MAILBOXES} mailboxes");
    assert!(each <= 256, "a mailbox costs {each} bytes");
    let mut client = server.connect();
    for mailbox in [0, 1, MAILBOXES / 2, MAILBOXES - 2, MAILBOXES - 1] {
        client.ask(format!("w {mailbox} 1024\n{mailbox:01024}\n"), "OK v=1\n");
    }
    for mailbox in [0, 1, MAILBOXES / 2, MAILBOXES - 2, MAILBOXES - 1] {
        client.ask(format!("r {mailbox}\n"), format!("DATA 1024 v=1 n=1\n{mailbox:01024}\n"));
    }
    client.ask(format!("r {}\n", MAILBOXES - 3), "DATA 0 v=0 n=0\n\n");
    client.ask(
        format!("r {MAILBOXES}\n"),
        "ERR box max=999999 : no mailbox 1000000; this server has 0 to 999999\n",
    );
}

/// Expects that each of `clients` idle clients costs the server at most `most` bytes.
fn expect_idle_at(server: &Server, most: u64, before: u64, clients: usize) {
    let each = || server.own_memory().saturating_sub(before) / clients as u64;
    wait_until(&format!("an idle client costs {most} bytes"), || each() <= most);
    println!("{} bytes for each of {clients} idle clients", each());
}

/// Allows this process a descriptor for its end of each connection. The descriptors are enough for one such
/// test at a time.
fn many_descriptors() -> MutexGuard<'static, ()> {
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
    let guard = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let hard = descriptors::hard_limit();
    assert!(hard >= DESCRIPTORS, "this test needs {DESCRIPTORS} descriptors, the limit is {hard}");
    descriptors::allow(hard);
    guard
}
