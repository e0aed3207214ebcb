//! Cycles through messages or room that a mailbox lacks, and through several mailboxes.

use crate::{DEADLOCK, expect_free, expect_locked, holder, served};

#[test]
fn a_cycle_through_a_message_or_room_that_only_the_other_client_could_provide() {
    let full = format!("put 1\n{}\n", "x".repeat(1024));
    for (prepare, waits, provides, answer) in [
        ("", "take 1 wait=inf\n", "put 1\nm\n", "DATA 1 v=1 n=0\nm\n"),
        ("", "r 1 after=0 wait=inf\n", "put 1\nm\n", "DATA 1 v=1 n=1\nm\n"),
        (&full, "put 1 wait=inf\nm\n", "take 1\n", "OK v=2 n=1\n"),
    ] {
        let server = served(2);
        let mut first = holder(&server, "0");
        if !prepare.is_empty() {
            first.ask(prepare, "OK v=1 n=1\n");
        }
        // The request is admitted, and its condition does not hold. So later requests are executed before it.
        server.send_waiting(&mut first, waits);
        let mut second = holder(&server, "1");
        assert_eq!(second.refused("r 0 wait=inf\n"), DEADLOCK, "{waits}");
        second.send(provides);
        let answered = second.line();
        assert!(answered.starts_with("OK v=1") || answered == "DATA 1024 v=1 n=0", "{answered}");
        second.send("unlock 1\n");
        first.expect(answer);
        first.ask("unlock 0\n", "OK\n");
        expect_free(&server, 0);
    }
}

#[test]
fn a_cycle_completed_by_a_wait_for_a_message() {
    let server = served(2);
    let mut sharer = holder(&server, "1 r");
    let mut reader = holder(&server, "0");
    server.send_waiting(&mut sharer, "w 0 wait=inf\nx\n");
    // A read is admitted beside the shared lock, but no client could send a newer message.
    assert_eq!(reader.refused("r 1 after=0 wait=inf\n"), DEADLOCK);
    assert_eq!(reader.refused("take 1 wait=inf\n"), DEADLOCK);
    reader.ask("r 1 after=0 wait=0\nunlock 0\n", "NO timeout v=0\nOK\n");
    sharer.expect("OK v=1\n");
}

#[test]
fn a_cycle_through_any_of_several_mailboxes() {
    let server = served(6);
    let mut first = holder(&server, "0,2,4");
    let mut second = holder(&server, "1,3,5");
    server.send_waiting(&mut first, "lock 3 wait=inf\n");
    for mailbox in [0, 2, 4] {
        assert_eq!(second.refused(format!("w {mailbox} wait=inf\nx\n")), DEADLOCK);
    }
    second.ask("unlock 1,5\n", "OK\n");
    assert_eq!(second.refused("r 2 wait=inf\n"), DEADLOCK);
    second.ask("unlock 3\n", "OK\n");
    first.locked();
}

#[test]
fn a_lock_of_several_that_completes_a_cycle_releases_its_mailboxes() {
    let server = served(6);
    let mut first = holder(&server, "5");
    let mut second = holder(&server, "3");
    server.send_waiting(&mut second, "w 5 wait=inf\nx\n");
    assert_eq!(first.refused("lock 4,3,2,1 wait=inf\n"), DEADLOCK);
    [1, 2, 4].into_iter().for_each(|mailbox| expect_free(&server, mailbox));
    expect_locked(&server, 5);
    first.ask("unlock 5\n", "OK\n");
    second.expect("OK v=1\n");
}

#[test]
fn a_cycle_through_a_mailbox_that_a_waiting_lock_of_several_holds() {
    let server = served(3);
    let mut first = holder(&server, "2");
    let mut second = server.enqueue("lock 1,2 wait=inf\n");
    expect_locked(&server, 1);
    assert_eq!(first.refused("w 1 wait=inf\nx\n"), DEADLOCK);
    first.ask("unlock 2\n", "OK\n");
    second.locked();
}
