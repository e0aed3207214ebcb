//! The room in a mailbox, and the messages that are dropped to make room.

use crate::{put, small};

#[test]
fn each_further_message_costs_four_bytes() {
    let server = small();
    let mut client = server.connect();
    client.ask(put(1024), "OK v=1 n=1\n");
    client.ask("put 0 0 wait=0\n\n", "NO full\n");
    client.ask("take 0\n", format!("DATA 1024 v=1 n=0\n{}\n", "x".repeat(1024)));
    client.ask(put(1000), "OK v=2 n=1\n");
    client.ask("put 0 21 wait=0\n012345678901234567890\n", "NO full\n");
    client.ask("put 0 20 wait=0\n01234567890123456789\n", "OK v=3 n=2\n");
    client.ask("put 0 0 wait=0\n\n", "NO full\n");
    client.ask("w 0\nx\n", "OK v=4\n");
    client.ask("put 0 1020 wait=0\n", "");
    client.ask(format!("{}\n", "x".repeat(1020)), "NO full\n");
    client.send(format!("put 0 1019 wait=0\n{}\n", "x".repeat(1019)));
    client.expect("OK v=5 n=2\n");
    assert_eq!(client.refused(format!("put 0 1025\n{}\n", "x".repeat(1025))), "size max=1024");
}

#[test]
fn full_drop_drops_the_oldest_messages_until_there_is_room() {
    let server = small();
    let mut client = server.connect();
    for count in 1..=4 {
        client.ask(put(200), format!("OK v={count} n={count}\n"));
    }
    // 816 of 1028 bytes are used.
    client.ask(format!("put 0 208 full=drop\n{}\n", "y".repeat(208)), "OK v=5 n=5\n");
    client.ask("put 0 0 full=drop\n\n", "OK v=6 n=5\n");
    client.ask("r 0 after=0\n", format!("DATA 200 v=2 n=5 lost=1\n{}\n", "x".repeat(200)));
    client.ask(format!("put 0 600 full=drop\n{}\n", "z".repeat(600)), "OK v=7 n=4\n");
    client.ask(format!("put 0 1024 full=drop\n{}\n", "z".repeat(1024)), "OK v=8 n=1\n");
    client.ask("put 0 1 full=drop\n.\n", "OK v=9 n=1\n");
    client.ask("take 0\n", "DATA 1 v=9 n=0\n.\n");
}

#[test]
fn a_log_keeps_the_newest_messages() {
    let server = small();
    let mut client = server.connect();
    for version in 1..=2000 {
        // Each message needs 16 bytes, so the mailbox has room for 64.
        client.ask(
            format!("put 0 full=drop\n{version:012}\n"),
            format!("OK v={version} n={}\n", version.min(64)),
        );
    }
    client.ask("r 0 after=0\n", format!("DATA 12 v=1937 n=64 lost=1936\n{:012}\n", 1937));
}
