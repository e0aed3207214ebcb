//! Large work is left to the workers.

use dipc_testkit::client::Client;
use dipc_testkit::server::Server;
use nix::sys::signal::Signal::SIGCONT;

#[test]
fn a_small_change_of_a_large_message_is_work_for_a_worker() {
    let server = Server::start("1 8192 0 8192");
    let mut client = server.connect();
    client.ask(format!("w 0 8388608\n{}\n", "x".repeat(8 << 20)), "OK v=1\n");
    let before = client.stat("jobs_unaided");
    // Each change copies the whole message, which would block the reactor.
    (2..50).for_each(|version| client.ask("w 0 1 off=0\ny\n", format!("OK v={version}\n")));
    assert_eq!(client.stat("jobs_unaided") - before, 0, "done by the reactor");
}

#[test]
fn small_requests_that_make_a_mailbox_large_are_work_for_a_worker() {
    let server = Server::start("1 1024 0 1024");
    let mut client = server.connect();
    let before = client.stat("jobs_unaided");
    // In one packet: the first request makes the mailbox large, the next ones copy it, and the last one
    // empties it.
    let requests =
        ["w 0 1 off=1048575\nx\n".to_owned(), "w 0 1 off=0\nx\n".repeat(100), "w 0 0\n\n".to_owned()];
    client.send(requests.concat());
    (1..=102).for_each(|version| client.expect(format!("OK v={version}\n")));
    assert_eq!(client.stat("jobs_unaided") - before, 0, "done by the reactor");
}

/// The cost of a job has to be computed when the job begins. When it is admitted, the mailbox is still small.
#[test]
fn a_mailbox_that_grows_in_the_same_tick_is_work_for_a_worker() {
    const READERS: usize = 40;
    const SIZE: usize = 100_000;
    let server = Server::start("64 100 0 100");
    let mut writer = server.connect();
    let mut readers: Vec<Client> = (0..READERS).map(|_| server.connect()).collect();
    readers.iter_mut().for_each(|client| client.ask("ping\n", "OK\n"));
    let before = server.stat("jobs_posted");
    server.halt();
    let message = "x".repeat(SIZE);
    writer.send(format!("w 0 {SIZE}\n{message}\n"));
    let reads = |mailbox: usize| format!("r {mailbox}\n{}", "r 0\n".repeat(11));
    readers.iter_mut().zip(1..).for_each(|(client, mailbox)| client.send(reads(mailbox)));
    server.signal(SIGCONT);
    let answers = "DATA 0 v=0 n=0\n\n".to_owned() + &format!("DATA {SIZE} v=1 n=1\n{message}\n").repeat(11);
    readers.iter_mut().for_each(|client| client.expect(&answers));
    assert_eq!(server.stat("jobs_posted") - before, READERS as u64, "left to the workers");
}

#[test]
fn each_tick_has_its_own_inline_budget() {
    let server = Server::start("1 64 0 64");
    let mut client = server.connect();
    let before = client.stat("jobs_unaided");
    // Together, these jobs exceed the budget of one tick.
    (0..1000).for_each(|_| client.ask("r 0\n", "DATA 0 v=0 n=0\n\n"));
    assert_eq!(client.stat("jobs_unaided") - before, 1000, "done by the reactor");
}

#[test]
fn a_thousand_readers_behind_a_lock_are_not_answered_in_one_tick() {
    const CLIENTS: usize = 1000;
    let server = Server::start("1 64 0 64");
    let mut holder = server.connect();
    holder.ask("lock 0\n", "OK grant=1\n");
    let mut waiting: Vec<_> = (0..CLIENTS).map(|_| server.connect()).collect();
    waiting.iter_mut().for_each(|client| client.send("r 0\n"));
    server.wait_for_stat("waiting", |count| count == CLIENTS as u64);
    let before = server.stat("jobs_posted");
    holder.ask("unlock 0\n", "OK\n");
    waiting.iter_mut().for_each(|client| client.expect("DATA 0 v=0 n=0\n\n"));
    // If the reactor answered all of them, it would handle no other event meanwhile.
    let posted = server.stat("jobs_posted") - before;
    assert!(posted > CLIENTS as u64 / 2, "only {posted} jobs were posted");
}

#[test]
fn other_requests_are_admitted_after_a_run_of_patches_has_copied_the_message_twice() {
    let server = Server::start("1 100 0 100");
    let mut holder = server.connect();
    holder.ask(format!("w 0 100000\n{}\n", "x".repeat(100_000)), "OK v=1\n");
    holder.ask("lock 0\n", "OK grant=1\n");
    let mut patcher = server.enqueue("w 0 1 off=0\ny\n".repeat(20));
    let mut reader = server.enqueue("r 0 len=0\n");
    holder.ask("unlock 0\n", "OK\n");
    reader.expect("DATA 0 v=3 n=1\n\n");
    (2..=21).for_each(|version| patcher.expect(format!("OK v={version}\n")));
}

#[test]
fn other_requests_are_admitted_after_a_run_of_reads_has_searched_a_long_list() {
    const MESSAGES: usize = 10_000;
    let server = Server::start("1 100 0 100");
    let mut holder = server.connect();
    for from in (0..MESSAGES).step_by(100) {
        holder.send("put 0 0\n\n".repeat(100));
        (from + 1..=from + 100).for_each(|count| holder.expect(format!("OK v={count} n={count}\n")));
    }
    holder.ask("lock 0\n", "OK grant=1\n");
    let mut reader = server.enqueue("r 0 after=9000\n".repeat(3));
    let mut writer = server.enqueue("put 0 0\n\n");
    holder.ask("unlock 0\n", "OK\n");
    writer.expect("OK v=10001 n=10001\n");
    reader.expect("DATA 0 v=9001 n=10000\n\n");
    reader.expect("DATA 0 v=9001 n=10001\n\n".repeat(2));
}

#[test]
fn without_an_inline_budget_the_workers_execute_all_requests() {
    let server = Server::start("1 1024 0 1024 --inline-kb 0");
    let mut client = server.connect();
    let large = "x".repeat(100_000);
    for (version, data) in [(1, "small"), (2, &large)] {
        let len = data.len();
        client.ask(format!("w 0 {len}\n{data}\n"), format!("OK v={version}\n"));
        client.ask("r 0\n", format!("DATA {len} v={version} n=1\n{data}\n"));
    }
    assert_eq!(client.stat("jobs_posted"), 4);
    let by_reactor = ["jobs_unaided", "sent_uncopied", "received_uncopied"];
    assert_eq!(by_reactor.map(|name| client.stat(name)), [0; 3]);
}
