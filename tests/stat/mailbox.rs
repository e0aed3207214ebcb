//! `stat BOX`.

use std::fs::File;
use std::os::unix::fs::FileExt;

use dipc_testkit::client::Client;
use dipc_testkit::wait::wait_until;

use crate::{numbers, served, value};

#[test]
fn stat_of_a_mailbox_shows_its_content() {
    let server = served();
    let mut client = server.connect();
    let contents = |client: &mut Client, request: &str| {
        let numbers = numbers(client, request);
        ["mailbox", "version", "messages", "bytes", "room", "held"].map(|name| numbers[name].clone())
    };
    assert_eq!(contents(&mut client, "stat 2\n"), ["2", "0", "0", "0", "1024", "free"]);
    client.ask("put 2\nhello\nput 2\nworld!\n", "OK v=1 n=1\nOK v=2 n=2\n");
    assert_eq!(contents(&mut client, "stat 2\n"), ["2", "2", "2", "11", "1005", "free"]);
    client.ask("take 2\n", "DATA 5 v=1 n=1\nhello\n");
    assert_eq!(contents(&mut client, "stat box 2\n"), ["2", "2", "1", "6", "1014", "free"]);
    client.ask(format!("w 2\n{}\n", "x".repeat(1024)), "OK v=3\n");
    assert_eq!(contents(&mut client, "stat 2\n"), ["2", "3", "1", "1024", "0", "free"]);
    assert_eq!(client.refused("stat 4\n"), "box max=3");
    assert_eq!(client.refused("stat nonsense\n"), "box max=3");
    assert_eq!(client.refused("stat *\n"), "syntax");
}

#[test]
fn stat_of_a_mailbox_shows_holders_waiters_and_watchers() {
    let server = served();
    let mut asking = server.connect();
    let mut holder = server.connect();
    holder.send("hello name=boss\n");
    holder.line();
    let grant = holder.lock("lock 1 ttl=100\n");
    let mut waiting = [server.enqueue("r 1\n"), server.enqueue("w 1\nx\n"), server.enqueue("lock 1\n")];
    let mut watcher = server.connect();
    watcher.ask("watch 1,2\n", "OK v=0,0\n");
    let lines = numbers(&mut asking, "stat 1\n");
    let picked = ["held", "holders", "aside", "watchers", "overtakes"].map(|name| lines[name].clone());
    assert_eq!(picked, ["exclusive", "1", "0", "1", "0"]);
    // The standing read of the watchers may wait, too.
    assert!(["3", "4"].contains(&lines["waiting"].as_str()), "{lines:?}");
    let lock = &lines["lock"];
    assert_eq!((value(lock, "name"), value(lock, "mode")), ("boss", "exclusive"));
    assert_eq!(value(lock, "grant"), grant.to_string());
    let seconds = |key: &str| value(lock, key).parse::<f64>().expect("seconds");
    assert!(seconds("held_seconds") >= 0.0 && (0.0..=100.0).contains(&seconds("lease_seconds")), "{lock}");
    holder.ask("unlock 1\n", "OK\n");
    waiting[0].expect("DATA 0 v=0 n=0\n\n");
    waiting[1].expect("OK v=1\n");
    waiting[2].locked();
    let lines = numbers(&mut asking, "stat 1\n");
    assert_eq!((lines["held"].as_str(), lines["holders"].as_str()), ("exclusive", "1"));
}

#[test]
fn waits_for_a_message_are_counted_as_aside() {
    let server = served();
    let mut asking = server.connect();
    let mut waiting = [
        server.enqueue("take 0 wait=inf\n"),
        server.enqueue("r 0 after=0 wait=inf\n"),
        server.enqueue("take 0 wait=inf\n"),
    ];
    let lines = numbers(&mut asking, "stat 0\n");
    let picked = ["held", "waiting", "aside"].map(|name| lines[name].clone());
    assert_eq!(picked, ["free", "0", "3"]);
    // These requests wait for a message, not for the mailbox.
    assert_eq!(lines["oldest_wait_ms"], "0");
    asking.ask("put 0\nx\n", "OK v=1 n=1\n");
    waiting[1].expect("DATA 1 v=1 n=1\nx\n");
    waiting[0].expect("DATA 1 v=1 n=0\nx\n");
    assert_eq!(numbers(&mut asking, "stat 0\n")["aside"], "1");
}

#[test]
fn the_oldest_wait_grows_and_the_longest_wait_stays() {
    let server = served();
    let mut asking = server.connect();
    let millis = |asking: &mut Client, name: &str| {
        numbers(asking, "stat 0\n")[name].parse::<u64>().expect("milliseconds")
    };
    let mut holder = server.connect();
    holder.lock("lock 0\n");
    assert_eq!((millis(&mut asking, "oldest_wait_ms"), millis(&mut asking, "longest_wait_ms")), (0, 0));
    let mut first = server.enqueue("r 0\n");
    wait_until("the wait of the reader grows", || millis(&mut asking, "oldest_wait_ms") >= 50);
    assert!(millis(&mut asking, "longest_wait_ms") >= 50, "the wait is the longest so far");
    holder.ask("unlock 0\n", "OK\n");
    first.expect("DATA 0 v=0 n=0\n\n");
    wait_until("no request waits", || millis(&mut asking, "oldest_wait_ms") == 0);
    let longest = millis(&mut asking, "longest_wait_ms");
    assert!(longest >= 50, "{longest}");
    first.ask("r 0\n", "DATA 0 v=0 n=0\n\n");
    assert_eq!(millis(&mut asking, "longest_wait_ms"), longest);
    assert_eq!(numbers(&mut asking, "stat 1\n")["longest_wait_ms"], "0", "no request waited for mailbox 1");
}

#[test]
fn a_wait_that_timed_out_counts_as_the_longest() {
    let server = served();
    let mut holder = server.connect();
    holder.lock("lock 0\n");
    server.connect().ask("w 0 wait=0.06\nx\n", "NO timeout\n");
    let longest = numbers(&mut holder, "stat 0\n")["longest_wait_ms"].parse::<u64>().expect("milliseconds");
    assert!(longest >= 60, "{longest}");
}

#[test]
fn a_shared_lock_has_a_line_for_each_holder() {
    let server = served();
    let mut sharers = [server.connect(), server.connect(), server.connect()];
    for sharer in &mut sharers {
        sharer.lock("lock 3 r\n");
    }
    let lines = sharers[0].stat_lines("stat 3\n");
    assert!(
        lines.contains(&"held shared".to_owned()) && lines.contains(&"holders 3".to_owned()),
        "{lines:?}"
    );
    let locks: Vec<_> = lines.iter().filter_map(|line| line.strip_prefix("lock ")).collect();
    assert!(locks.len() == 3 && locks.iter().all(|lock| value(lock, "mode") == "shared"), "{lines:?}");
}

#[test]
fn stat_of_a_damaged_mailbox_reports_the_damage() {
    let server = served();
    let segment = server.directory.path().join(format!("{}/segment", server.port));
    let segment = File::options().write(true).open(segment).expect("the segment");
    segment.write_all_at(&[0xa5; 128], 4096).expect("damaged");
    let lines = server.connect().stat_lines("stat 0\n");
    assert!(lines[2].starts_with("damaged "), "{lines:?}");
}
