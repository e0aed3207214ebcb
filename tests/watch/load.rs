//! Many watchers, and watchers that do not read.

use dipc_testkit::client::Client;
use dipc_testkit::descriptors;
use dipc_testkit::server::Server;
use dipc_testkit::wait::wait_until;

use crate::{follow, served};

/// Each watch at a version of its own had a job of about 500 bytes.
#[test]
fn a_watch_costs_at_most_64_bytes_whatever_its_version() {
    const WATCHES: usize = 1024;
    const CLIENTS: usize = 100;
    /// The connections, and what the allocator keeps.
    const ROOM: u64 = 2 << 20;
    let server = Server::start("1024 1 0 1");
    let before = server.own_memory();
    let mut writer = server.connect();
    for mailbox in 0..WATCHES {
        writer.send(format!("w {mailbox}\n\n").repeat(CLIENTS) + &format!("take {mailbox}\n"));
        (1..=CLIENTS).for_each(|version| writer.expect(format!("OK v={version}\n")));
        writer.expect(format!("DATA 0 v={CLIENTS} n=0\n\n"));
    }
    let mut watchers: Vec<Client> = (0..CLIENTS).map(|_| server.connect()).collect();
    for (client, start) in watchers.iter_mut().zip(1..) {
        client.send((0..WATCHES).map(|n| format!("watch {n} after={start}\n")).collect::<String>());
        (0..WATCHES).for_each(|_| client.expect(format!("OK v={start}\n")));
    }
    assert_eq!(server.stat("standing_reads"), WATCHES as u64, "mailboxes are watched");
    let grown = server.own_memory() - before;
    assert!(grown < (WATCHES * CLIENTS * 64) as u64 + ROOM, "{grown} bytes more");
    assert!(grown > ROOM, "the watches cost memory");
    drop(watchers);
    server.wait_for_stat("standing_reads", |watched| watched == 0);
    wait_until("the memory is freed", || server.own_memory() < before + ROOM);
}

/// The watchers do not read while a hundred megabytes are written. No other client is delayed, and the server
/// stores nothing for the watchers. When they read again, each version is in an event or is counted as lost.
#[test]
fn watchers_that_do_not_read_cost_no_memory_and_catch_up() {
    const WRITES: u64 = 100_000;
    const WATCHERS: usize = 20;
    const ROOM: u64 = 16 << 20;
    let server = Server::start("2 64 0 8");
    let mut watchers: Vec<Client> = (0..WATCHERS).map(|_| server.connect()).collect();
    watchers.iter_mut().for_each(|watcher| watcher.ask("watch 0\n", "OK v=0\n"));
    let before = server.own_memory();
    let mut writer = server.connect();
    let message = "m".repeat(1000);
    for part in 0..WRITES / 1000 {
        writer.send(format!("w 0 1000\n{message}\n").repeat(1000));
        (1..=1000).for_each(|version| writer.expect(format!("OK v={}\n", part * 1000 + version)));
    }
    let grown = server.own_memory().saturating_sub(before);
    assert!(grown < ROOM, "{grown} bytes more for {WATCHERS} watchers");
    assert_eq!(server.stat("closed_slow_readers"), 0);
    for watcher in &mut watchers {
        let (mut seen, mut events) = (0, 0);
        while seen < WRITES {
            let (header, data) = watcher.event();
            seen = follow(seen, &header);
            events += 1;
            assert_eq!(data.len(), 1000);
        }
        assert!(events < WRITES, "a watcher that did not read has lost no version");
        watcher.ask("ping\n", "OK\n");
    }
    writer.ask("w 0\nlast\n", format!("OK v={}\n", WRITES + 1));
    watchers.iter_mut().for_each(|watcher| watcher.expect(format!("EVENT 4 box=0 v={}\nlast\n", WRITES + 1)));
}

/// A watcher that is less than a mailbox behind gets every message.
#[test]
fn a_log_is_followed_without_a_gap() {
    const WINDOW: u64 = 100;
    let server = served();
    let mut watcher = server.connect();
    watcher.ask("watch 0\n", "OK v=0\n");
    let mut writer = server.connect();
    for window in 0..50 {
        // The mailbox has room for 100 messages of 100 bytes.
        writer.send(format!("put 0 full=drop\n{}\n", "l".repeat(100)).repeat(WINDOW as usize));
        for version in window * WINDOW + 1..=(window + 1) * WINDOW {
            let (header, _) = watcher.event();
            assert_eq!(header, format!("EVENT 100 box=0 v={version}"));
            assert!(writer.line().starts_with(&format!("OK v={version} n=")));
        }
    }
}

#[test]
fn a_watcher_that_falls_behind_a_log_continues_with_the_oldest_message() {
    let server = Server::start("1 1 0 1");
    let mut writer = server.connect();
    // The mailbox has room for 64 of these messages.
    for version in 1..=1000 {
        writer.ask(
            format!("put 0 full=drop\n{version:012}\n"),
            format!("OK v={version} n={}\n", version.min(64)),
        );
    }
    let mut watcher = server.connect();
    watcher.ask("watch 0 after=10\n", "OK v=10\nEVENT 12 box=0 v=937 lost=926\n000000000937\n");
    (938..=1000).for_each(|version| watcher.expect(format!("EVENT 12 box=0 v={version}\n{version:012}\n")));
}

#[test]
fn two_thousand_watchers_get_a_write_while_other_clients_are_answered() {
    const WATCHERS: usize = 2000;
    descriptors::allow(WATCHERS as u64 + 100);
    let server = served();
    let mut watchers: Vec<Client> = (0..WATCHERS).map(|_| server.connect()).collect();
    watchers.iter_mut().for_each(|watcher| watcher.ask("watch 0\n", "OK v=0\n"));
    assert_eq!((server.stat("watching"), server.stat("standing_reads")), (WATCHERS as u64, 1));
    let (mut writer, mut other) = (server.connect(), server.connect());
    let mut version = 0;
    let mut answered_in_between = false;
    wait_until("a client is answered while events are sent", || {
        version += 1;
        writer.ask("w 0\nnews\n", format!("OK v={version}\n"));
        while other.stat("events_sent") < version * WATCHERS as u64 {
            answered_in_between |= other.stat("events_sent") % WATCHERS as u64 != 0;
        }
        let event = format!("EVENT 4 box=0 v={version}\nnews\n");
        watchers.iter_mut().for_each(|watcher| watcher.expect(&event));
        answered_in_between
    });
    drop(watchers);
    server.wait_for_stat("watching", |watching| watching == 0);
    server.wait_for_stat("standing_reads", |reads| reads == 0);
}
