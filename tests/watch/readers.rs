//! Readers that wait for a newer message: `r BOX after=V`.

use std::thread;

use dipc_testkit::client::Client;
use dipc_testkit::process::text;
use dipc_testkit::server::Server;

use crate::{follow, served};

#[test]
fn all_waiting_readers_get_a_new_message() {
    let server = served();
    let mut readers: Vec<Client> = (0..10).map(|_| server.enqueue("r 0 after=0 wait=inf\n")).collect();
    let mut taker = server.enqueue("take 0 wait=inf\n");
    let mut writer = server.connect();
    // Readers come before takers, so that they see a message before it is taken.
    writer.ask("put 0\na\n", "OK v=1 n=1\n");
    readers.iter_mut().for_each(|reader| reader.expect("DATA 1 v=1 n=1\na\n"));
    taker.expect("DATA 1 v=1 n=0\na\n");
    let mut later = server.enqueue("r 0 after=1 wait=inf\n");
    assert_eq!(server.stat("waiting"), 1);
    writer.ask("w 0\nb\nw 0\nc\n", "OK v=2\nOK v=3\n");
    assert!(["DATA 1 v=2 n=1", "DATA 1 v=3 n=1 lost=1"].contains(&later.data().0.as_str()));
    readers[0]
        .ask("r 0 after=0 off=0 len=0\nr 0 after=3 wait=0.01\n", "DATA 0 v=3 n=1 lost=2\n\nNO timeout v=3\n");
}

#[test]
fn a_waiting_reader_that_vanishes_affects_no_other_reader() {
    let server = served();
    let mut vanishing = server.connect();
    server.send_waiting(&mut vanishing, "r 0 after=0 wait=inf\n");
    let mut half = server.enqueue("r 0 after=0 wait=inf\n");
    let mut stays = server.enqueue("r 0 after=0 wait=inf\n");
    vanishing.reset();
    half.half_close();
    half.expect("NO timeout v=0\n");
    half.expect_end();
    server.wait_for_stat("waiting", |waiting| waiting == 1);
    server.connect().ask("w 0\nx\n", "OK v=1\n");
    stays.expect("DATA 1 v=1 n=1\nx\n");
    assert_eq!(server.stat("abandoned"), 1);
}

#[test]
fn a_reader_follows_a_list_by_its_versions() {
    let server = served();
    thread::scope(|scope| {
        scope.spawn(|| {
            let mut reader = server.connect();
            let mut seen = 0;
            while seen < 1000 {
                reader.send(format!("r 0 after={seen} wait=inf\n"));
                seen = follow(seen, &reader.data().0);
            }
        });
        let mut writer = server.connect();
        for version in 1..=1000 {
            writer.send("put 0 full=drop\nnews\n");
            assert!(writer.line().starts_with(&format!("OK v={version} ")));
        }
    });
}

/// The first answer fills the socket, so the answer to the first waiting read is still unsent when the
/// second waiting read begins.
#[test]
fn an_answer_is_sent_although_the_next_request_waits_and_the_socket_was_full() {
    const SIZE: usize = 900_000;
    let server = Server::start_with_socket("2 1024 0 1024 --workers 2");
    let mut writer = server.connect();
    writer.ask(format!("w 1 {SIZE}\n{}\n", "x".repeat(SIZE)), "OK v=1\n");
    let mut reader = Client::unix(&server.socket());
    server.send_waiting(&mut reader, "r 1\nr 0 after=0 wait=inf\nr 0 after=1 wait=inf\n");
    writer.ask("w 0\na\n", "OK v=1\n");
    server.wait_for_stat("workers_asleep", |asleep| asleep == 2);
    assert_eq!(reader.data().1.len(), SIZE);
    reader.expect("DATA 1 v=1 n=1\na\n");
    writer.ask("w 0\nb\n", "OK v=2\n");
    reader.expect("DATA 1 v=2 n=1\nb\n");
}

/// The server stores the position of a client in a long list. The position must be correct after messages
/// were taken or replaced.
#[test]
fn the_read_cursor_of_a_long_list_survives_takes_and_writes() {
    let server = Server::start("2 64 0 64");
    let (mut reader, mut other) = (server.connect(), server.connect());
    let put = |client: &mut Client, mailbox: u32, from: u64, to: u64| {
        (from..to).for_each(|number| client.send(format!("put {mailbox}\n{number}\n")));
        (from..to).for_each(|number| assert!(client.line().starts_with(&format!("OK v={number} "))));
    };
    let read = |client: &mut Client, mailbox: u32, after: u64, version: u64| {
        client.send(format!("r {mailbox} after={after}\n"));
        let (header, data) = client.data();
        let lost = version - after - 1;
        let end = if lost > 0 { format!(" lost={lost}") } else { String::new() };
        assert!(header.contains(&format!(" v={version} ")) && header.ends_with(&end), "{header}");
        assert_eq!(text(&data), version.to_string());
    };
    put(&mut other, 0, 1, 301);
    put(&mut other, 1, 1, 201);
    (0..100).for_each(|after| read(&mut reader, 0, after, after + 1));
    // Another mailbox is read in between, and then another version.
    read(&mut reader, 1, 100, 101);
    read(&mut reader, 0, 100, 101);
    read(&mut reader, 0, 7, 8);
    read(&mut reader, 0, 101, 102);
    // The last read message and some after it are taken.
    (1..=150).for_each(|version| {
        other.send("take 0\n");
        assert_eq!(text(&other.data().1), version.to_string());
    });
    read(&mut reader, 0, 102, 151);
    read(&mut reader, 0, 151, 152);
    // A write replaces the list, and the list grows again over the same memory.
    other.ask("w 0\n301\n", "OK v=301\n");
    put(&mut other, 0, 302, 502);
    read(&mut reader, 0, 152, 301);
    read(&mut reader, 0, 301, 302);
    other.ask("w 0\n502\n", "OK v=502\n");
    put(&mut other, 0, 503, 703);
    read(&mut reader, 0, 302, 502);
    (502..702).for_each(|after| read(&mut reader, 0, after, after + 1));
    reader.ask("r 0 after=702 wait=0\n", "NO timeout v=702\n");
}
