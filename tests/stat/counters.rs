//! Counters and gauges of the server.

use std::collections::BTreeMap;
use std::fs::File;
use std::os::unix::fs::FileExt;

use dipc_testkit::client::Client;
use dipc_testkit::process::text;
use dipc_testkit::server::Server;
use dipc_testkit::wait::wait_until;
use nix::sys::signal::Signal;

use crate::{numbers, served};

/// The counters of finished requests.
fn outcomes(client: &mut Client) -> BTreeMap<String, u64> {
    const NAMES: [&str; 27] = [
        "reads",
        "writes",
        "puts",
        "takes",
        "locks",
        "unlocks",
        "watches",
        "told",
        "quits",
        "no_timeout",
        "no_conflict",
        "no_empty",
        "no_full",
        "no_locked",
        "no_multi",
        "no_ahead",
        "err_syntax",
        "err_verb",
        "err_box",
        "err_size",
        "err_lease",
        "err_deadlock",
        "err_denied",
        "err_frame",
        "err_drain",
        "err_internal",
        "foreign_protocols",
    ];
    let numbers = numbers(client, "stat\n");
    let number =
        |name: &str| numbers.get(name).unwrap_or_else(|| panic!("no {name}")).parse().expect("a number");
    assert_eq!(NAMES.iter().map(|name| number(name)).sum::<u64>(), number("requests"));
    NAMES.iter().map(|name| ((*name).to_owned(), number(name))).collect()
}

/// Expects that `provoke` increases one counter by one. The `stat` that reads the counters increases `told`.
#[track_caller]
fn expect_counted(asking: &mut Client, counter: &str, provoke: impl FnOnce()) {
    let mut expected = outcomes(asking);
    provoke();
    *expected.get_mut("told").expect("told") += 1;
    *expected.get_mut(counter).expect("a counter") += 1;
    assert_eq!(outcomes(asking), expected);
}

#[test]
fn each_outcome_of_a_request_increases_its_own_counter_by_one() {
    let server = served();
    let mut asking = server.connect();
    let mut client = server.connect();
    let full = "x".repeat(1024);
    for (counter, request) in [
        ("reads", "r 0\n"),
        ("writes", "w 0\nx\n"),
        ("puts", "put 0\nx\n"),
        ("takes", "take 0\n"),
        ("no_timeout", "r 0 after=2 wait=0.001\n"),
        ("no_ahead", "r 0 after=9\n"),
        ("no_ahead", "watch 0,1 after=9\n"),
        ("no_conflict", "w 0 if=9\nx\n"),
        ("no_empty", "take 1 wait=0\n"),
        ("locks", "lock 0,1,2\n"),
        ("err_denied", "lock 2\n"),
        ("unlocks", "unlock *\n"),
        ("err_lease", "unlock 0\n"),
        ("watches", "watch 3\n"),
        ("watches", "unwatch 3\n"),
        ("told", "ping\n"),
        ("told", "help\n"),
        ("told", "hello\n"),
        ("told", "hello name=me\n"),
        ("told", "stat 3\n"),
        ("told", "stat conns\n"),
        ("told", "stat locks\n"),
        ("err_syntax", "r 0 nonsense=1\n"),
        ("err_verb", "nonsense\n"),
        ("err_box", "r 4\n"),
        ("err_box", "w 4 1\nx\n"),
        ("err_size", &format!("w 0 1025\nx{full}\n")),
        ("err_size", &format!("w 0\nx{full}\n")),
        ("writes", &format!("w 0\n{full}\n")),
        ("no_full", "put 0 wait=0\nx\n"),
        ("no_full", "put 0 wait=0.001\nx\n"),
        ("puts", "put 0 full=drop\nx\n"),
        ("puts", "put 0\nx\n"),
        ("no_multi", "w 0 off=0\nx\n"),
    ] {
        expect_counted(&mut asking, counter, || {
            client.send(request);
            client.message();
        });
    }
}

#[test]
fn outcomes_that_involve_two_clients_are_counted_once() {
    let server = served();
    let mut asking = server.connect();
    let (mut first, mut second) = (server.connect(), server.connect());
    first.lock("lock 0\n");
    for (counter, request, answer) in [
        ("no_locked", "lock 0 wait=0\n", "NO locked\n"),
        ("no_timeout", "lock 0 wait=0.001\n", "NO timeout\n"),
        ("no_timeout", "w 0 wait=0\nx\n", "NO timeout\n"),
        ("no_timeout", "take 0 wait=0\n", "NO timeout\n"),
    ] {
        expect_counted(&mut asking, counter, || second.ask(request, answer));
    }
    second.lock("lock 1\n");
    server.send_waiting(&mut first, "r 1\n");
    expect_counted(&mut asking, "err_deadlock", || assert_eq!(second.refused("r 0\n"), "deadlock"));
}

#[test]
fn an_expired_lease_and_its_refusals_are_counted() {
    let server = served();
    let mut asking = server.connect();
    let mut client = server.connect();
    client.send("lock 0 ttl=0.01\n");
    client.locked();
    client.expect("EVENT 0 box=0 v=0 lost=lock\n\n");
    assert_eq!((asking.stat("leases_ended"), asking.stat("err_lease")), (1, 0));
    for request in ["r 0\n", "w 0\nx\n", "put 0\nx\n", "take 0\n", "unlock 0\n"] {
        expect_counted(&mut asking, "err_lease", || assert_eq!(client.refused(request), "lease"));
    }
    assert_eq!(asking.stat("leases_ended"), 1);
}

#[test]
fn ends_of_connections_are_counted() {
    let server = served();
    let mut asking = server.connect();
    let segment = server.directory.path().join(format!("{}/segment", server.port));
    let segment = File::options().write(true).open(segment).expect("the segment");
    // The control areas of 128 bytes follow the header page. That of mailbox 3 is damaged.
    segment.write_all_at(&[0xa5; 128], 4096 + 3 * 128).expect("damaged");
    for (counter, request) in [
        ("quits", "q\n"),
        ("quits", "quit 3\n"),
        ("err_frame", "w 0 five\n"),
        ("err_frame", "w 0 1\nxx"),
        ("foreign_protocols", "GET / HTTP/1.1\r\n"),
        ("err_internal", "r 3\n"),
        ("err_internal", "take 3\n"),
        ("err_size", "w 0 1048577\n"),
    ] {
        expect_counted(&mut asking, counter, || {
            let mut client = server.connect();
            client.send(request);
            client.read_to_end();
        });
    }
}

/// A client with more answers than all buffers hold is still answered while the server stops.
#[test]
fn a_request_refused_by_a_stop_is_counted() {
    let mut server = Server::start("2 64 0 64");
    let mut asking = server.connect();
    asking.ask(format!("w 0 65000\n{}\n", "x".repeat(65_000)), "OK v=1\n");
    let mut waiting = server.enqueue("take 1 wait=inf\n");
    asking.send("r 0\n".repeat(400) + "stat\n");
    server.wait_for_stat("flushing", |flushing| flushing == 1);
    server.signal(Signal::SIGTERM);
    waiting.expect("ERR drain : the server is stopping\n");
    (0..400).for_each(|_| assert_eq!(asking.data().1.len(), 65_000));
    let stat = text(&asking.data().1);
    assert!(stat.lines().any(|line| line == "err_drain 1"), "{stat}");
    asking.expect_end();
    assert_eq!(server.wait(), Some(0));
}

#[test]
fn the_gauges_count_connections_waits_watches_and_locks() {
    let server = served();
    let mut asking = server.connect();
    let mut gauges = || {
        let numbers = numbers(&mut asking, "stat\n");
        ["connections", "waiting", "watching", "standing_reads", "locks_held"]
            .map(|name| numbers[name].clone())
    };
    assert_eq!(gauges(), ["1", "0", "0", "0", "0"]);
    let mut clients = [server.connect(), server.connect(), server.connect(), server.connect()];
    clients[0].lock("lock 0,1 r\n");
    clients[1].lock("lock 1,2 r\n");
    clients[2].ask("watch 0,3\n", "OK v=0,0\n");
    clients[3].ask("watch 3\n", "OK v=0\n");
    assert_eq!(gauges(), ["5", "0", "2", "2", "4"]);
    clients[3].send("w 0 wait=inf\nx\n");
    wait_until("the writer waits", || gauges() == ["5", "1", "2", "2", "4"]);
    let [first, second, mut watcher, mut writer] = clients;
    drop((first, second));
    writer.expect("OK v=1\n");
    watcher.expect("EVENT 1 box=0 v=1\nx\n");
    watcher.ask("unwatch *\n", "OK\n");
    wait_until("the lockers have left", || gauges() == ["3", "0", "1", "1", "0"]);
}
