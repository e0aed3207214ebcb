//! Cycles through locks and through the queue of a mailbox.

use dipc_testkit::client::Client;

use crate::{DEADLOCK, expect_locked, holder, served};

/// The five requests that wait for a mailbox.
fn ways(mailbox: usize) -> [String; 5] {
    [
        format!("r {mailbox} wait=inf\n"),
        format!("w {mailbox} wait=inf\nx\n"),
        format!("put {mailbox}\nx\n"),
        format!("take {mailbox} wait=inf\n"),
        format!("lock {mailbox} wait=inf\n"),
    ]
}

#[test]
fn a_request_that_completes_a_cycle_of_two_is_refused_and_keeps_its_lock() {
    let server = served(2);
    for waits in ways(1) {
        for closes in ways(0) {
            let mut first = holder(&server, "0");
            let mut second = holder(&server, "1");
            server.send_waiting(&mut first, &waits);
            assert_eq!(second.refused(&closes), DEADLOCK, "{waits} then {closes}");
            // A second try is refused as well.
            assert_eq!(second.refused(&closes), DEADLOCK);
            expect_locked(&server, 1);
            second.ask("put 1 full=drop\nfor a taker\nunlock 1\n", "OK v=");
            second.line();
            second.expect("OK\n");
            assert!(!first.line().starts_with("ERR"), "{waits}");
        }
    }
    assert_eq!(server.stat("err_deadlock"), 50);
}

/// In a ring of clients, each client waits for the mailbox of the next client. The request of the last
/// client, which would close the ring, is refused.
fn expect_ring_is_refused(clients: usize) {
    let server = served(clients);
    let mut ring: Vec<Client> = (0..clients).map(|number| holder(&server, &number.to_string())).collect();
    for (number, client) in ring.iter_mut().enumerate().take(clients - 1) {
        server.send_waiting(client, format!("w {} wait=inf\nfrom {number}\n", number + 1));
    }
    let mut last = ring.pop().expect("a ring");
    assert_eq!(last.refused("w 0 wait=inf\nx\n"), DEADLOCK);
    last.ask("ping\n", "OK\n");
    assert_eq!(server.stat("waiting"), clients as u64 - 1, "the other requests still wait");
    last.ask("unlock *\n", "OK\n");
    for client in ring.iter_mut().rev() {
        client.expect("OK v=1\n");
        client.ask("unlock *\n", "OK\n");
    }
    last.ask("w 0\nat last\n", "OK v=1\n");
    assert_eq!(server.stat("err_deadlock"), 1);
}

#[test]
fn a_cycle_of_three() {
    expect_ring_is_refused(3);
}

#[test]
fn a_cycle_of_ten() {
    expect_ring_is_refused(10);
}

#[test]
fn a_cycle_of_three_hundred() {
    expect_ring_is_refused(300);
}

#[test]
fn a_cycle_through_shared_locks() {
    let server = served(2);
    let mut first = holder(&server, "0 r");
    let mut second = holder(&server, "1 r");
    // A read does not wait beside a shared lock.
    first.ask("r 1\n", "DATA 0 v=0 n=0\n\n");
    server.send_waiting(&mut first, "w 1 wait=inf\nx\n");
    assert_eq!(second.refused("w 0 wait=inf\nx\n"), DEADLOCK);
    second.ask("unlock 1\n", "OK\n");
    first.expect("OK v=1\n");
}

#[test]
fn a_cycle_through_one_of_several_shared_locks() {
    let server = served(3);
    let mut sharers = [holder(&server, "0 r"), holder(&server, "0 r"), holder(&server, "0 r")];
    let mut writer = holder(&server, "1");
    server.send_waiting(&mut writer, "w 0 wait=inf\nx\n");
    // The other holders may wait for another mailbox.
    let mut other = holder(&server, "2");
    server.send_waiting(&mut sharers[0], "r 2\n");
    assert_eq!(sharers[1].refused("r 1\n"), DEADLOCK);
    sharers[1].ask("unlock 0\n", "OK\n");
    assert_eq!(sharers[2].refused("r 1\n"), DEADLOCK);
    other.ask("unlock 2\n", "OK\n");
    sharers[0].expect("DATA 0 v=0 n=0\n\n");
    assert_eq!(sharers[0].refused("r 1\n"), DEADLOCK);
    sharers[0].ask("unlock 0\n", "OK\n");
    sharers[2].ask("unlock 0\n", "OK\n");
    writer.expect("OK v=1\n");
}

#[test]
fn a_cycle_through_an_earlier_waiter_of_the_queue() {
    let server = served(2);
    let mut sharer = holder(&server, "1 r");
    let mut reader = holder(&server, "0");
    let mut writer = server.enqueue("w 1 wait=inf\nx\n");
    // The read would be admitted beside the shared lock, but the writer is before it in the queue.
    server.send_waiting(&mut reader, "r 1 wait=inf\n");
    assert_eq!(sharer.refused("r 0 wait=inf\n"), DEADLOCK);
    sharer.ask("unlock 1\n", "OK\n");
    writer.expect("OK v=1\n");
    reader.expect("DATA 1 v=1 n=1\nx\n");
}

#[test]
fn a_cycle_completed_by_a_later_waiter_of_the_queue() {
    let server = served(2);
    let mut sharer = holder(&server, "1 r");
    let mut reader = holder(&server, "0");
    let mut writer = server.enqueue("w 1 wait=inf\nx\n");
    server.send_waiting(&mut sharer, "r 0 wait=inf\n");
    assert_eq!(reader.refused("r 1 wait=inf\n"), DEADLOCK);
    reader.ask("unlock 0\n", "OK\n");
    sharer.expect("DATA 0 v=0 n=0\n\n");
    sharer.ask("unlock 1\n", "OK\n");
    writer.expect("OK v=1\n");
}
