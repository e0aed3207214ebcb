//! Messages that are done out of order leave holes: what the other requests see of them.

use dipc_testkit::client::Client;
use dipc_testkit::server::Server;

use crate::{small, with_messages};

/// Takes all messages of mailbox 0, and ends those with these versions.
fn finish(worker: &mut Client, count: u64, versions: &[u64]) {
    for _ in 0..count {
        worker.send("take 0 ttl=60\n");
        worker.data();
    }
    for (done, version) in (1..).zip(versions) {
        worker.ask(format!("done 0 v={version}\n"), format!("OK n={}\n", count - done));
    }
}

#[test]
fn reads_skip_holes_and_count_them_as_lost() {
    let (server, mut worker) = with_messages(&["a", "b", "c", "d", "e"]);
    finish(&mut worker, 5, &[2, 3, 5]);
    let mut reader = server.connect();
    reader.ask("r 0\n", "DATA 1 v=5 n=2\nd\n");
    reader.ask("r 0 after=0\n", "DATA 1 v=1 n=2\na\n");
    reader.ask("r 0 after=1\n", "DATA 1 v=4 n=2 lost=2\nd\n");
    reader.ask("r 0 after=2\n", "DATA 1 v=4 n=2 lost=1\nd\n");
    reader.ask("r 0 after=4 wait=0\n", "NO timeout v=5\n");
    reader.ask("r 0 after=5 wait=0\n", "NO timeout v=5\n");
    reader.ask("r 0 after=6 wait=0\n", "NO ahead v=5\n");
    reader.ask("w 0 if=4\nno\n", "NO conflict v=5\n");
    reader.ask("put 0\nf\n", "OK v=6 n=3\n");
    reader.ask("r 0 after=4\n", "DATA 1 v=6 n=3 lost=1\nf\n");
    reader.ask("w 0 if=6\nonly\n", "OK v=7\n");
    assert_eq!(server.stat_box(0, "in_hand"), 0);
    worker.ask(
        "done 0 v=1\n",
        "ERR lease : this connection does not have that message in hand, or no longer\n",
    );
}

#[test]
fn a_watcher_gets_what_is_left_with_an_exact_number_of_lost_messages() {
    let (server, mut worker) = with_messages(&["a", "b", "c", "d"]);
    finish(&mut worker, 4, &[2, 3]);
    let mut watcher = server.connect();
    watcher.ask("watch 0 after=0\n", "OK v=0\n");
    watcher.expect("EVENT 1 box=0 v=1\na\nEVENT 1 box=0 v=4 lost=2\nd\n");
    worker.ask("done 0 v=4\ndone 0 v=1\nput 0\ne\n", "OK n=1\nOK n=0\nOK v=5 n=1\n");
    watcher.expect("EVENT 1 box=0 v=5\ne\n");
}

#[test]
fn a_watcher_waits_while_all_newer_messages_are_done() {
    let (server, mut worker) = with_messages(&["a", "b"]);
    finish(&mut worker, 2, &[2]);
    let mut watcher = server.connect();
    watcher.ask("watch 0 after=1\n", "OK v=1\n");
    let mut reader = server.enqueue("r 0 after=1 wait=inf\n");
    worker.ask("put 0\nc\n", "OK v=3 n=2\n");
    watcher.expect("EVENT 1 box=0 v=3 lost=1\nc\n");
    reader.expect("DATA 1 v=3 n=2 lost=1\nc\n");
}

#[test]
fn room_comes_back_as_soon_as_the_oldest_message_is_done() {
    let server = small();
    let mut worker = server.connect();
    let message = "x".repeat(400);
    worker.ask(format!("put 0\n{message}\nput 0\n{message}\n"), "OK v=1 n=1\nOK v=2 n=2\n");
    finish(&mut worker, 2, &[2]);
    let mut putter = server.enqueue(format!("put 0 wait=inf\n{message}\n"));
    worker.ask("put 0 wait=0\n1\n", "NO full\n");
    worker.ask("done 0 v=1\n", "OK n=0\n");
    putter.expect("OK v=3 n=1\n");
}

#[test]
fn a_dropping_put_drops_the_oldest_messages_even_in_hand() {
    let server = small();
    let mut worker = server.connect();
    let message = "x".repeat(300);
    for version in 1..=3 {
        worker.ask(format!("put 0\n{message}\n"), format!("OK v={version} n={version}\n"));
    }
    finish(&mut worker, 3, &[2]);
    worker.ask(format!("put 0 full=drop\n{message}\n"), "OK v=4 n=2\n");
    let lease = "ERR lease : this connection does not have that message in hand, or no longer\n";
    worker.ask("done 0 v=1\n", lease);
    worker.ask("done 0 v=3\n", "OK n=1\n");
    worker.ask("take 0\n", format!("DATA 300 v=4 n=0\n{message}\n"));
}

#[test]
fn a_patch_of_the_only_message_that_is_left_ends_what_is_in_hand() {
    let (server, mut worker) = with_messages(&["aaa", "bbb", "ccc"]);
    finish(&mut worker, 3, &[2]);
    worker.ask("w 0 off=1\nX\n", "NO multi\n");
    worker.ask("done 0 v=3\n", "OK n=1\n");
    worker.ask("w 0 off=1\nX\n", "OK v=4\n");
    worker.ask(
        "done 0 v=1\n",
        "ERR lease : this connection does not have that message in hand, or no longer\n",
    );
    server.connect().ask("take 0\n", "DATA 3 v=4 n=0\naXa\n");
}

#[test]
fn a_plain_take_behind_messages_in_hand_takes_the_oldest_that_is_not_in_hand() {
    let (server, mut worker) = with_messages(&["a", "b", "c"]);
    worker.ask("take 0 ttl=60\n", "DATA 1 v=1 n=3 tries=1\na\n");
    let mut other = server.connect();
    other.ask("take 0\n", "DATA 1 v=2 n=2\nb\n");
    other.ask("take 0\n", "DATA 1 v=3 n=1\nc\n");
    other.ask("take 0 wait=0\n", "NO empty\n");
    worker.ask("done 0 v=1\n", "OK n=0\n");
    assert_eq!(server.stat_box(0, "room"), 1024);
}

/// More than all buffers of a socket hold.
const HUGE: usize = 32 << 20;

#[test]
fn a_plain_take_behind_messages_in_hand_is_undone_when_its_client_vanishes() {
    let server = Server::start("1 32769 0 32769");
    let mut worker = server.connect();
    worker.ask("put 0\na\n", "OK v=1 n=1\n");
    worker.ask(format!("put 0 {HUGE}\n{}\n", "h".repeat(HUGE)), "OK v=2 n=2\n");
    worker.ask("put 0\nc\n", "OK v=3 n=3\n");
    worker.ask("take 0 ttl=60\n", "DATA 1 v=1 n=3 tries=1\na\n");
    for _ in 0..2 {
        let mut vanishing = server.connect();
        vanishing.send("take 0\n");
        server.wait_for_stat("flushing", |flushing| flushing == 1);
        assert_eq!(server.stat_box(0, "messages"), 2);
        vanishing.reset();
        server.wait_for_stat_box(0, "messages", |messages| messages == 3);
    }
    // The message is at its place in the line again, and was not handed out by a `take` with `ttl=`.
    worker.send("take 0 ttl=60\n");
    assert_eq!(worker.data().0, format!("DATA {HUGE} v=2 n=3 tries=1"));
    worker.ask("done 0 v=1\ntake 0\ndone 0 v=2\n", "OK n=2\nDATA 1 v=3 n=1\nc\nOK n=0\n");
}
