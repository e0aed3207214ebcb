//! The end of a watch.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use dipc_testkit::client::Client;

use crate::served;

#[test]
fn after_unwatch_there_are_no_events() {
    let server = served();
    let mut watcher = server.connect();
    let mut writer = server.connect();
    watcher.ask("watch 0,1\nunwatch 0\n", "OK v=0,0\nOK\n");
    writer.ask("w 0\nx\nw 1\nx\n", "OK v=1\nOK v=1\n");
    watcher.expect("EVENT 1 box=1 v=1\nx\n");
    watcher.ask("unwatch 2\nunwatch 0,3\nunwatch *\nunwatch *\n", "OK\nOK\nOK\nOK\n");
    writer.ask("w 0\nx\nw 1\nx\n", "OK v=2\nOK v=2\n");
    watcher.ask("ping\n", "OK\n");
    assert_eq!((server.stat("watching"), server.stat("standing_reads")), (0, 0));
}

#[test]
fn no_event_follows_the_answer_to_unwatch() {
    let server = served();
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            let mut writer = server.connect();
            while !done.load(Ordering::Relaxed) {
                writer.send("w 0\nx\n");
                writer.line();
            }
        });
        let mut watcher = server.connect();
        for _ in 0..300 {
            watcher.send("watch 0\n");
            assert!(watcher.line().starts_with("OK v="));
            watcher.event();
            watcher.send("unwatch 0\n");
            while watcher.message().0 != "OK" {}
            watcher.ask("ping\n", "OK\n");
        }
        done.store(true, Ordering::Relaxed);
    });
}

#[test]
fn a_second_watch_of_a_mailbox_replaces_the_first() {
    let server = served();
    let mut client = server.connect();
    let mut writer = server.connect();
    client.ask("watch 0\nwatch 0\nwatch 0\n", "OK v=0\nOK v=0\nOK v=0\n");
    writer.ask("put 0\na\n", "OK v=1 n=1\n");
    client.expect("EVENT 1 box=0 v=1\na\n");
    client.ask("watch 0 after=0\n", "OK v=0\nEVENT 1 box=0 v=1\na\n");
    writer.ask("put 0\nb\n", "OK v=2 n=2\n");
    client.expect("EVENT 1 box=0 v=2\nb\n");
    client.ask("watch 0 after=2\nping\n", "OK v=2\nOK\n");
    assert_eq!((server.stat("watching"), server.stat("standing_reads")), (1, 1));
}

#[test]
fn watchers_that_reset_leave_no_watch_behind() {
    let server = served();
    let mut writer = server.connect();
    for round in 0..5 {
        let mut watchers: Vec<Client> = (0..40).map(|_| server.connect()).collect();
        for (number, watcher) in watchers.iter_mut().enumerate() {
            watcher.send(format!("watch {},{} after={round}\n", number % 4, (number + 1) % 4));
            watcher.line();
        }
        assert_eq!(server.stat("watching"), 40);
        // Some watchers have an event in transfer, and some wait for one.
        writer.send("w 0\nx\nw 1\nx\nw 2\nx\nw 3\nx\n");
        watchers.into_iter().for_each(Client::reset);
        (0..4).for_each(|_| assert!(writer.line().starts_with("OK v=")));
        server.wait_for_stat("watching", |watching| watching == 0);
        server.wait_for_stat("standing_reads", |reads| reads == 0);
    }
    let mailbox = writer.stat_lines("stat 0\n");
    assert!(
        mailbox.contains(&"watchers 0".to_owned()) && mailbox.contains(&"aside 0".to_owned()),
        "{mailbox:?}"
    );
}
