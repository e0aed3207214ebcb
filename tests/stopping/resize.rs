//! A next start with `--resize`.

use std::fs;

use crate::Restartable;

#[test]
fn resize_takes_messages_versions_names_and_locks_over() {
    let mut restartable = Restartable::start();
    let mut client = restartable.connect();
    client.ask("put 0\na\nput 0\nb\nput 0\nc\n", "OK v=1 n=1\nOK v=2 n=2\nOK v=3 n=3\n");
    client.ask("take 0 ttl=60\ntake 0 ttl=60\n", "DATA 1 v=1 n=3 tries=1\na\nDATA 1 v=2 n=3 tries=1\nb\n");
    client.ask("done 0 v=2\nname 3 jobs\nlock 1\n", "OK n=2\nOK name=jobs\nOK grant=1\n");
    let life = life(&mut restartable.connect());
    for (mailboxes, packet) in [("100 256", "256"), ("5 1", "1"), ("4 64", "8")] {
        restartable.kill();
        restartable.restart(mailboxes, &format!("{packet} --resize"));
        let mut client = restartable.connect();
        client.ask("r 0 after=0\n", "DATA 1 v=1 n=2\na\n");
        client.ask("r 0 after=1\n", "DATA 1 v=3 n=2 lost=1\nc\n");
        client.ask("name 3\n", "OK name=jobs\n");
        assert_eq!(self::life(&mut client), life, "versions go on, so cursors stay valid");
    }
    assert_eq!(restartable.server.stat("epoch"), 4);
    let mut client = restartable.connect();
    client.ask("lock 1\n", "OK grant=2\n");
    client.ask("take 0\nput 0\nd\n", "DATA 1 v=1 n=1\na\nOK v=4 n=2\n");
}

fn life(client: &mut dipc_testkit::client::Client) -> u64 {
    client.send("hello\n");
    dipc_testkit::client::field(&client.line(), "life")
}

#[test]
fn a_resize_that_does_not_fit_is_refused_and_changes_nothing() {
    let mut restartable = Restartable::start();
    restartable.connect().ask(format!("w 3 2000\n{}\n", "x".repeat(2000)), "OK v=1\n");
    restartable.stop();
    let before = fs::read(restartable.segment()).expect("the segment");
    for (mailboxes, reason) in [
        ("3 64", "mailbox 3 would be left out, and has messages: 1"),
        ("4 1", "mailbox 3 has messages of 2004 bytes, more than 1 kB"),
    ] {
        let said = restartable.refused(mailboxes, "8 --resize", 4);
        assert!(said.contains(reason), "{said}");
        assert!(fs::read(restartable.segment()).expect("kept") == before, "{mailboxes}");
    }
    restartable.again();
    assert_eq!(restartable.server.stat("epoch"), 2);
    let mut client = restartable.connect();
    client.send("r 3\n");
    assert_eq!(client.data().1.len(), 2000);
}

#[test]
fn resize_without_another_size_or_without_a_segment_is_an_ordinary_start() {
    let mut restartable = Restartable::start();
    restartable.connect().ask("w 0\nhello\n", "OK v=1\n");
    restartable.stop();
    restartable.restart("4 64", "8 --resize");
    restartable.connect().ask("r 0\n", "DATA 5 v=1 n=1\nhello\n");
    restartable.stop();
    fs::remove_file(restartable.segment()).expect("removed");
    restartable.restart("2 1", "1 --resize");
    restartable.connect().ask("r 0\n", "DATA 0 v=0 n=0\n\n");
    // A running server is not resized.
    let said = restartable.refused("4 64", "8 --resize", 3);
    assert!(said.contains("in use"), "{said}");
}

#[test]
fn another_packet_size_needs_no_resize() {
    let mut restartable = Restartable::start();
    restartable.connect().ask("w 0\nhello\n", "OK v=1\n");
    restartable.stop();
    restartable.restart("4 64", "9");
    let mut client = restartable.connect();
    client.ask("r 0\n", "DATA 5 v=1 n=1\nhello\n");
    client.ask(format!("w 0 9216\n{}\n", "x".repeat(9216)), "OK v=2\n");
}
