//! Takers that wait for a message, and putters that wait for room.

use dipc_testkit::client::Client;

use crate::{put, small};

#[test]
fn waiting_takers_get_messages_in_the_order_of_arrival() {
    let server = small();
    let mut takers: Vec<Client> = (0..10).map(|_| server.enqueue("take 0 wait=inf\n")).collect();
    let mut putter = server.connect();
    for (version, taker) in (1..).zip(&mut takers) {
        putter.ask(format!("put 0\n{version}\n"), format!("OK v={version} n=1\n"));
        taker.expect(format!("DATA {} v={version} n=0\n{version}\n", version.to_string().len()));
    }
    assert_eq!(server.stat("waiting"), 0);
}

#[test]
fn several_messages_of_one_send_go_to_several_takers_in_order() {
    let server = small();
    let mut takers: Vec<Client> = (0..5).map(|_| server.enqueue("take 0 wait=inf\n")).collect();
    let mut putter = server.connect();
    // A waiting taker gets a message before the next request of this batch is executed.
    putter.send("put 0\na\nput 0\nb\nput 0\nc\nput 0\nd\nw 0\ne\nput 0\nf\n");
    for (version, (taker, message)) in (1..).zip(takers.iter_mut().zip(["a", "b", "c", "d", "e"])) {
        taker.expect(format!("DATA 1 v={version} n=0\n{message}\n"));
    }
    (1..=4).for_each(|version| putter.expect(format!("OK v={version} n=1\n")));
    putter.expect("OK v=5\nOK v=6 n=1\n");
}

#[test]
fn a_write_wakes_a_taker_and_a_wait_times_out() {
    let server = small();
    let mut taker = server.enqueue("take 0 wait=inf\n");
    server.connect().ask("w 0\nhello\n", "OK v=1\n");
    taker.expect("DATA 5 v=1 n=0\nhello\n");
    taker.ask("take 0 wait=0.01\ntake 0 wait=0\n", "NO empty\nNO empty\n");
    taker.ask(put(1024), "OK v=2 n=1\n");
    taker.ask("put 0 wait=0.01\nx\nput 0 wait=0\nx\n", "NO full\nNO full\n");
    assert_eq!((server.stat("no_empty"), server.stat("no_full"), server.stat("no_timeout")), (2, 2, 0));
}

#[test]
fn waiting_putters_get_room_in_order_and_a_small_message_passes_no_large_one() {
    let server = small();
    let mut client = server.connect();
    client.ask(put(500), "OK v=1 n=1\n");
    client.ask(put(400), "OK v=2 n=2\n");
    let mut big = server.enqueue(put(600));
    let mut small = server.enqueue("put 0\nsmall\n");
    let mut last = server.enqueue("put 0\nlast\n");
    // There would be room, but the waiting putters are first.
    client.ask("put 0 1 wait=0\nx\n", "NO full\n");
    // A read does not wait for room.
    client.ask("r 0 len=1\n", "DATA 1 v=2 n=2\nx\n");
    client.ask("take 0\n", format!("DATA 500 v=1 n=1\n{}\n", "x".repeat(500)));
    big.expect("OK v=3 n=2\n");
    small.expect("OK v=4 n=3\n");
    last.expect("OK v=5 n=4\n");
    assert_eq!(server.stat("waiting"), 0);
}

#[test]
fn requests_that_need_no_room_pass_waiting_putters() {
    let server = small();
    let mut client = server.connect();
    client.ask(put(1024), "OK v=1 n=1\n");
    let mut putter = server.enqueue(put(1000));
    client.ask(format!("put 0 1024 full=drop\n{}\n", "d".repeat(1024)), "OK v=2 n=1\n");
    client.ask(format!("w 0 1024\n{}\n", "w".repeat(1024)), "OK v=3\n");
    assert_eq!(server.stat("waiting"), 1);
    client.ask("w 0\nshort\n", "OK v=4\n");
    putter.expect("OK v=5 n=2\n");
}

#[test]
fn a_waiting_putter_that_vanishes_does_not_block_the_queue() {
    let server = small();
    let mut client = server.connect();
    client.ask(put(500), "OK v=1 n=1\n");
    let mut big = server.connect();
    server.send_waiting(&mut big, put(1000));
    let mut small = server.enqueue("put 0\nsmall\n");
    big.reset();
    small.expect("OK v=2 n=2\n");
}

#[test]
fn a_waiting_taker_that_vanishes_costs_no_message() {
    let server = small();
    for how in ["reset", "kill"] {
        let mut vanishing = server.connect();
        server.send_waiting(&mut vanishing, "take 0 wait=inf\n");
        let mut next = server.enqueue("take 0 wait=inf\n");
        match how {
            "reset" => vanishing.reset(),
            _ => {
                let mut child = vanishing.give_away();
                child.kill().expect("killed");
                child.wait().expect("our child");
            }
        }
        let gone = |waiting| waiting == 1;
        server.wait_for_stat("waiting", gone);
        server.connect().send("put 0\nkept\n");
        assert_eq!(next.data().1, b"kept", "{how}");
    }
}
