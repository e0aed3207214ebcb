//! Locks of several mailboxes.

use std::thread;
use std::time::Duration;

use dipc_testkit::process::cpu_time;
use dipc_testkit::server::Server;

use crate::{LEASE, served};

#[test]
fn a_lock_of_several_mailboxes_is_all_or_none() {
    let server = served();
    let mut holder = server.connect();
    holder.lock("lock 2\n");
    let mut client = server.connect();
    let mut other = server.connect();
    for (list, wait, answer) in [
        ("1,2,3", "0", "NO locked\n"),
        ("3,2,1", "0", "NO locked\n"),
        ("3,1,2", "0.01", "NO timeout\n"),
        ("2,0", "0.01", "NO timeout\n"),
    ] {
        client.ask(format!("lock {list} wait={wait}\n"), answer);
        for free in [0, 1, 3] {
            other.ask(format!("w {free} wait=0 if=9\n\n"), "NO conflict v=0\n");
        }
        client.ask("w 1 wait=0 if=9\n\n", "NO conflict v=0\n");
        assert_eq!(client.refused("unlock 1\n"), LEASE);
    }
    holder.ask("unlock 2\n", "OK\n");
    let grant = client.lock("lock 3,2,1 wait=0\n");
    for locked in [1, 2, 3] {
        other.ask(format!("w {locked} wait=0\n\n"), "NO timeout\n");
    }
    client.ask(format!("unlock 2 grant={grant}\nunlock * grant={grant}\n"), "OK\nOK\n");
    other.ask("w 1 wait=0\n\nw 2 wait=0\n\nw 3 wait=0\n\n", "OK v=1\nOK v=1\nOK v=1\n");
}

#[test]
fn several_mailboxes_are_locked_in_ascending_order_whatever_the_list() {
    let server = served();
    let mut holder = server.connect();
    holder.lock("lock 2\n");
    let mut client = server.enqueue("lock 3,2,1,0\n");
    let mut other = server.connect();
    // The client has locked mailboxes 0 and 1, waits for 2, and has not tried 3.
    other.ask("w 0 wait=0\n\nw 1 wait=0\n\nw 3 wait=0\n\n", "NO timeout\nNO timeout\nOK v=1\n");
    holder.ask("unlock 2\n", "OK\n");
    client.locked();
    other.ask("w 3 wait=0\n\n", "NO timeout\n");
}

#[test]
fn a_waiting_lock_of_several_releases_its_mailboxes_when_its_client_leaves() {
    let server = served();
    let mut holder = server.connect();
    holder.lock("lock 2\n");
    let mut client = server.connect();
    server.send_waiting(&mut client, "lock 0,1,2 wait=inf\n");
    let mut others = [server.enqueue("w 0\nx\n"), server.enqueue("lock 1\n"), server.enqueue("w 2\nx\n")];
    client.reset();
    others[0].expect("OK v=1\n");
    others[1].locked();
    holder.ask("unlock 2\n", "OK\n");
    others[2].expect("OK v=1\n");
}

#[test]
fn lists_in_any_order_never_wait_for_each_other() {
    const ROUNDS: usize = 50;
    let server = served();
    let lists = ["0,1,2,3", "3,2,1,0", "2,0", "0,2", "1,3 r", "3,1 r", "2,1,3", "3"];
    thread::scope(|scope| {
        for list in lists {
            let mut client = server.connect();
            scope.spawn(move || {
                for _ in 0..ROUNDS {
                    client.lock(format!("lock {list} wait=inf\n"));
                    client.ask("unlock *\n", "OK\n");
                }
            });
        }
    });
    assert_eq!(server.stat("locks"), (ROUNDS * lists.len()) as u64);
    assert_eq!((server.stat("err_deadlock"), server.stat("locks_held")), (0, 0));
}

/// The server stores the expired locks of a client, so their number needs a bound.
#[test]
fn expired_locks_count_until_the_client_acknowledges_them() {
    let server = Server::start("2000 1 0 1");
    let mut client = server.connect();
    let list =
        |from: u32| (from..from + 128).map(|mailbox| mailbox.to_string()).collect::<Vec<_>>().join(",");
    for part in 0..8 {
        client.lock(format!("lock {} ttl=0.001\n", list(part * 128)));
        (0..128).for_each(|_| assert!(client.event().0.ends_with(" lost=lock")));
    }
    assert_eq!(client.refused("lock 1500\n"), "size max=1024");
    // The same mailboxes again do not count twice.
    client.lock(format!("lock {}\n", list(0)));
    assert_eq!(client.refused("lock 1500\n"), "size max=1024");
    assert_eq!(client.refused("unlock *\n"), "lease");
    client.lock("lock 1500\n");
}

#[test]
fn a_client_locks_at_most_1024_mailboxes() {
    let server = Server::start("1100 1 0 1");
    let mut client = server.connect();
    let list = |from: u32, count: u32| {
        (from..from + count).map(|mailbox| mailbox.to_string()).collect::<Vec<_>>().join(",")
    };
    let grants: Vec<u64> =
        (0..1024 / 128).map(|part| client.lock(format!("lock {}\n", list(part * 128, 128)))).collect();
    assert_eq!(server.stat("locks_held"), 1024);
    client.ask("lock 1024\n", "ERR size max=1024 : at most 1024 mailboxes at a time\n");
    client.ask("unlock 0\n", "OK\n");
    assert_eq!(client.refused("lock 1024,1025 wait=0\n"), "size max=1024");
    server.connect().ask("w 1024 wait=0\n\n", "OK v=1\n");
    client.lock("lock 1025\n");
    client.ask(format!("unlock * grant={}\n", grants[7]), "OK\n");
    assert_eq!(server.stat("locks_held"), 1024 - 128);
    drop(client);
    server.wait_for_stat("locks_held", |locks| locks == 0);
}

/// The cost of a list must be proportional to its length. If it grew with the square of the length, or with
/// the length times the number of held locks, this test would need half a minute of processor time, and all
/// clients would be delayed.
#[test]
fn long_lists_are_locked_and_unlocked_many_times() {
    const CPU_MAX: Duration = Duration::from_secs(10);
    let server = Server::start("1024 1 0 1");
    let mut client = server.connect();
    let list = |from: usize, to: usize| (from..to).map(|n| n.to_string()).collect::<Vec<_>>().join(",");
    for from in (300..1000).step_by(100) {
        client.lock(format!("lock {}\n", list(from, from + 100)));
    }
    let long = list(0, 280);
    let before = cpu_time(server.pid());
    for _ in 0..200 {
        client.lock(format!("lock {long}\n"));
        client.ask(format!("unlock {long}\n"), "OK\n");
    }
    let spent = cpu_time(server.pid()) - before;
    println!("{spent:?} of processor time");
    assert!(spent < CPU_MAX, "the server has used {spent:?} of processor time");
    assert_eq!(client.stat("locks_held"), 700);
}
