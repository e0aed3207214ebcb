//! Takers that wait: plain ones and those that want a message in hand wait in one line.

use dipc_testkit::client::Client;

use crate::{small, with_messages};

#[test]
fn waiting_takers_of_both_kinds_are_served_in_the_order_of_arrival() {
    let server = small();
    let requests = ["take 0 ttl=60 wait=inf\n", "take 0 wait=inf\n"];
    let mut takers: Vec<Client> = (0..10).map(|n| server.enqueue(requests[n % 2])).collect();
    let mut putter = server.connect();
    for (version, taker) in (1..).zip(&mut takers) {
        // The messages in hand stay in the mailbox.
        putter.ask(format!("put 0\n{}\n", version % 10), format!("OK v={version} n={}\n", 1 + version / 2));
        let fields = if version % 2 == 1 { " tries=1" } else { "" };
        let count = if version % 2 == 1 { 1 + version / 2 } else { version / 2 };
        taker.expect(format!("DATA 1 v={version} n={count}{fields}\n{}\n", version % 10));
    }
    assert_eq!(server.stat("waiting"), 0);
    assert_eq!(server.stat_box(0, "in_hand"), 5);
}

#[test]
fn a_message_that_is_given_back_goes_to_the_first_waiting_taker() {
    let (server, mut worker) = with_messages(&["a"]);
    worker.ask("take 0 ttl=60\n", "DATA 1 v=1 n=1 tries=1\na\n");
    let mut first = server.enqueue("take 0 ttl=60 wait=inf\n");
    let mut second = server.enqueue("take 0 wait=inf\n");
    worker.ask("back 0 v=1\n", "OK\n");
    first.expect("DATA 1 v=1 n=1 tries=2\na\n");
    first.ask("back 0 v=1\n", "OK\n");
    second.expect("DATA 1 v=1 n=0\na\n");
}

#[test]
fn takers_wait_while_all_messages_are_in_hand() {
    let (server, mut worker) = with_messages(&["a", "b"]);
    worker.ask("take 0 ttl=60\ntake 0 ttl=60\n", "DATA 1 v=1 n=2 tries=1\na\nDATA 1 v=2 n=2 tries=1\nb\n");
    let mut taker = server.enqueue("take 0 ttl=60 wait=inf\n");
    worker.ask("take 0 wait=0\ntake 0 ttl=60 wait=.01\n", "NO empty\nNO empty\n");
    worker.ask("done 0 v=1\n", "OK n=1\n");
    worker.ask("put 0\nc\n", "OK v=3 n=2\n");
    taker.expect("DATA 1 v=3 n=2 tries=1\nc\n");
}

#[test]
fn a_lock_keeps_takes_and_their_ends_out() {
    let (server, mut worker) = with_messages(&["a", "b"]);
    worker.ask("take 0 ttl=60\n", "DATA 1 v=1 n=2 tries=1\na\n");
    let mut holder = server.connect();
    holder.ask("lock 0\n", "OK grant=1\n");
    worker.ask("done 0 v=1 wait=0\nback 0 v=1 wait=.01\n", "NO timeout\nNO timeout\n");
    holder.ask("take 0 ttl=60\n", "DATA 1 v=2 n=2 tries=1\nb\n");
    // No other client can put a message under this lock.
    holder.ask("take 0 wait=inf\n", "NO empty\n");
    holder.ask("done 0 v=2\n", "OK n=1\n");
    holder.ask("unlock 0\n", "OK\n");
    worker.ask("done 0 v=1\n", "OK n=0\n");
    worker.ask("lock 0 r\n", "OK grant=2\n");
    worker.ask("take 0 ttl=60\n", "ERR denied : your own lock of this mailbox is shared\n");
}

#[test]
fn a_batch_of_jobs_is_one_run() {
    let server = small();
    let mut client = server.connect();
    client.ask(
        "put 0\na\nput 0\nb\ntake 0 ttl=60\ntake 0 ttl=60\nback 0 v=1\n\
         take 0 ttl=60\ndone 0 v=2\ndone 0 v=1\nr 0\n",
        "OK v=1 n=1\nOK v=2 n=2\nDATA 1 v=1 n=2 tries=1\na\nDATA 1 v=2 n=2 tries=1\nb\nOK\n\
         DATA 1 v=1 n=2 tries=2\na\nOK n=1\nOK n=0\nDATA 0 v=2 n=0\n\n",
    );
}

#[test]
fn a_vanished_client_in_the_middle_of_the_line_costs_no_message() {
    let server = small();
    let mut vanishing = server.connect();
    server.send_waiting(&mut vanishing, "take 0 ttl=60 wait=inf\n");
    let mut next = server.enqueue("take 0 ttl=60 wait=inf\n");
    vanishing.reset();
    server.wait_for_stat("waiting", |waiting| waiting == 1);
    server.connect().ask("put 0\nkept\n", "OK v=1 n=1\n");
    next.expect("DATA 4 v=1 n=1 tries=1\nkept\n");
}
