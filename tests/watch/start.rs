//! Where a watch starts, and which mailboxes it has.

use dipc_testkit::client::{Client, field};
use dipc_testkit::process::text;
use dipc_testkit::server::Server;

use crate::{follow, served};

#[test]
fn a_watch_is_answered_before_its_first_event() {
    let server = Server::start("2 1024 0 1024");
    let mut client = server.connect();
    client.ask("w 0\nnews\n", "OK v=1\n");
    client.ask(format!("w 1 900000\n{}\n", "x".repeat(900_000)), "OK v=1\n");
    for _ in 0..100 {
        let mut watcher = server.connect();
        // The read between the watch and its event takes time.
        watcher.send("watch 0 after=0\nr 1\n");
        watcher.expect("OK v=0\n");
        let mut kinds = [watcher.message().0, watcher.message().0];
        kinds.sort();
        assert_eq!(kinds, ["DATA 900000 v=1 n=1", "EVENT 4 box=0 v=1"]);
    }
}

#[test]
fn a_watcher_gets_every_message_after_its_watch() {
    let server = served();
    let mut writer = server.connect();
    writer.ask("w 0\nold\n", "OK v=1\n");
    let mut watcher = server.connect();
    watcher.ask("watch 0\n", "OK v=1\n");
    writer.ask("w 0\nnew\n", "OK v=2\n");
    watcher.expect("EVENT 3 box=0 v=2\nnew\n");
    writer.ask("put 0 5\na\nb\nc\n", "OK v=3 n=2\n");
    watcher.expect("EVENT 5 box=0 v=3\na\nb\nc\n");
    writer.ask("put 0 0\n\n", "OK v=4 n=3\n");
    watcher.expect("EVENT 0 box=0 v=4\n\n");
    writer.ask("w 0\nhello\nw 0 off=0\nj\n", "OK v=5\nOK v=6\n");
    // The second write may replace the first before its event is made.
    expect_caught_up(&mut watcher, 4, 6, "jello");
    // A take and a refused write make no event.
    writer.ask("take 0\nw 0 if=1\nx\n", "DATA 5 v=6 n=0\njello\nNO conflict v=6\n");
    watcher.ask("ping\n", "OK\n");
}

/// Expects events after version `from` up to `to`, whose message is `last`. Each version has an event or
/// counts as lost.
#[track_caller]
fn expect_caught_up(watcher: &mut Client, from: u64, to: u64, last: &str) {
    let mut seen = from;
    while seen < to {
        let (header, message) = watcher.event();
        seen = follow(seen, &header);
        if seen == to {
            assert_eq!(text(&message), last);
        }
    }
    assert_eq!(seen, to);
}

#[test]
fn a_watch_starts_at_the_version_of_an_empty_mailbox() {
    let server = served();
    let mut client = server.connect();
    client.ask("watch 0\n", "OK v=0\n");
    server.connect().ask("put 0\na\n", "OK v=1 n=1\n");
    client.expect("EVENT 1 box=0 v=1\na\n");
    client.ask("take 0\nwatch 0\n", "DATA 1 v=1 n=0\na\nOK v=1\n");
    server.connect().ask("put 0\nb\n", "OK v=2 n=1\n");
    client.expect("EVENT 1 box=0 v=2\nb\n");
}

#[test]
fn after_starts_at_any_version_and_counts_lost_messages() {
    let server = served();
    let mut writer = server.connect();
    writer
        .ask("put 0\na\nput 0\nb\nput 0\nc\nput 0\nd\n", "OK v=1 n=1\nOK v=2 n=2\nOK v=3 n=3\nOK v=4 n=4\n");
    writer.ask("take 0\n", "DATA 1 v=1 n=3\na\n");
    let mut watcher = server.connect();
    watcher.ask("watch 0 after=2\n", "OK v=2\nEVENT 1 box=0 v=3\nc\nEVENT 1 box=0 v=4\nd\n");
    let mut watcher = server.connect();
    watcher.ask("watch 0 after=0\n", "OK v=0\nEVENT 1 box=0 v=2 lost=1\nb\nEVENT 1 box=0 v=3\nc\n");
    watcher.expect("EVENT 1 box=0 v=4\nd\n");
}

/// The client knows a version of another life of the mailbox. Its watch waited for that version in silence,
/// while all messages before it were lost.
#[test]
fn a_version_that_a_mailbox_has_not_reached_is_not_watched() {
    let server = served();
    let mut writer = server.connect();
    writer.ask("put 0\na\nput 0\nb\n", "OK v=1 n=1\nOK v=2 n=2\n");
    let mut watcher = server.connect();
    watcher.ask("watch 1\n", "OK v=0\n");
    watcher.ask("watch 0 after=3\n", "NO ahead v=2\n");
    watcher.ask("watch 0,1 after=1\n", "NO ahead v=2,0\n");
    assert_eq!(server.stat("standing_reads"), 1, "nothing is watched in addition");
    watcher.ask("r 0 after=3 wait=inf\nr 0 after=3 wait=0\n", "NO ahead v=2\nNO ahead v=2\n");
    writer.ask("put 0\nc\nput 1\nd\n", "OK v=3 n=3\nOK v=1 n=1\n");
    watcher.expect("EVENT 1 box=1 v=1\nd\n");
    watcher.ask("watch 0 after=3\n", "OK v=3\n");
    writer.ask("put 0\ne\n", "OK v=4 n=4\n");
    watcher.expect("EVENT 1 box=0 v=4\ne\n");
}

/// A client that comes back finds out whether the mailboxes are those that it knew.
#[test]
fn the_life_of_the_mailboxes_lasts_as_long_as_their_memory() {
    let life = |server: &Server| {
        let mut client = server.connect();
        client.send("hello\n");
        field(&client.line(), "life")
    };
    let mut server = served();
    let first = life(&server);
    assert_eq!(life(&server), first);
    server.kill();
    server.restart(&format!("4 64 {} 8", server.port));
    assert_eq!(life(&server), first, "the mailboxes live on");
    assert_ne!(life(&served()), first);
}

#[test]
fn several_mailboxes_are_watched_at_once() {
    let server = served();
    let mut writer = server.connect();
    writer.ask("w 2\na\nw 0\nb\nw 0\nc\n", "OK v=1\nOK v=1\nOK v=2\n");
    let mut watcher = server.connect();
    // The answer lists the versions in the order of the request.
    watcher.ask("watch 2,0,1\n", "OK v=1,2,0\n");
    for (mailbox, version) in [(1, 1), (0, 3), (2, 2), (1, 2)] {
        writer.ask(format!("w {mailbox}\nx\n"), format!("OK v={version}\n"));
        watcher.expect(format!("EVENT 1 box={mailbox} v={version}\nx\n"));
    }
    writer.ask("w 3\nx\n", "OK v=1\n");
    watcher.ask("watch 3,0 after=0\n", "OK v=0,0\n");
    let mut events = [watcher.event().0, watcher.event().0];
    events.sort();
    assert_eq!(events, ["EVENT 1 box=0 v=3 lost=2", "EVENT 1 box=3 v=1"]);
}

#[test]
fn a_client_watches_at_most_1024_mailboxes() {
    let server = Server::start("1100 1 0 1");
    let mut client = server.connect();
    let list = |from: u32, count: u32| {
        (from..from + count).map(|mailbox| mailbox.to_string()).collect::<Vec<_>>().join(",")
    };
    for part in 0..1024 / 128 {
        client.ask(
            format!("watch {}\n", list(part * 128, 128)),
            format!("OK v={}\n", vec!["0"; 128].join(",")),
        );
    }
    client.ask("watch 1024\n", "ERR size max=1024 : at most 1024 mailboxes at a time\n");
    // A mailbox that is watched again does not count twice.
    client.ask("watch 5,1000\n", "OK v=0,0\n");
    client.ask("unwatch 0\nwatch 1024\n", "OK\nOK v=0\n");
    assert_eq!(client.refused("watch 1,1025\n"), "size max=1024");
    server.connect().ask("w 1024\nx\nw 1025\nx\nw 0\nx\nw 7\nx\n", "OK v=1\nOK v=1\nOK v=1\nOK v=1\n");
    let mut events = [client.event().0, client.event().0];
    events.sort();
    assert_eq!(events, ["EVENT 1 box=1024 v=1", "EVENT 1 box=7 v=1"]);
    client.ask("unwatch *\nping\n", "OK\nOK\n");
    assert_eq!((server.stat("watching"), server.stat("standing_reads")), (0, 0));
}

#[test]
fn a_watch_that_is_refused_watches_nothing() {
    let server = served();
    let mut client = server.connect();
    assert_eq!(client.refused("watch 0,4\n"), "box max=3");
    for request in ["watch 0,0\n", "watch 0 wait=1\n", "watch 0 1\n", "watch 0 after=x\n"] {
        assert_eq!(client.refused(request), "syntax", "{request}");
    }
    assert_eq!(client.refused("watch *\n"), "box max=3");
    server.connect().ask("w 0\nx\n", "OK v=1\n");
    client.ask("ping\n", "OK\n");
    assert_eq!((server.stat("watching"), server.stat("standing_reads")), (0, 0));
}
