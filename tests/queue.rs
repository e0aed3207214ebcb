//! Lists of messages over the real server: `put`, `take`, `full=drop`, and what they do to `w` and `r`.
#![allow(missing_docs)]

use std::collections::HashMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use dipc_testkit::client::{Client, field};
use dipc_testkit::directory::Directory;
use dipc_testkit::port::Port;
use dipc_testkit::process::text;
use dipc_testkit::rng::Rng;
use dipc_testkit::server::Server;
use nix::sys::signal::Signal;

/// Mailboxes of 1024 bytes, of which each message but the first costs four for itself.
fn small() -> Server {
    Server::start("4 1 0 1")
}

fn put(bytes: usize) -> String {
    format!("put 0 {bytes}\n{}\n", "x".repeat(bytes))
}

// ---- versions and counts ----

#[test]
fn put_adds_take_removes_the_oldest_and_read_shows_the_newest() {
    let server = small();
    let mut client = server.connect();
    client.ask("take 0 wait=0\n", "NO empty\n");
    client.ask("put 0\na\nput 0\nb\nput 0 1\nc\n", "OK v=1 n=1\nOK v=2 n=2\nOK v=3 n=3\n");
    client.ask("r 0\n", "DATA 1 v=3 n=3\nc\n");
    client.ask("take 0\n", "DATA 1 v=1 n=2\na\n");
    client.ask("put 0\nd\n", "OK v=4 n=3\n");
    client.ask("take 0\ntake 0\n", "DATA 1 v=2 n=2\nb\nDATA 1 v=3 n=1\nc\n");
    client.ask("r 0\n", "DATA 1 v=4 n=1\nd\n");
    client.ask("take 0\n", "DATA 1 v=4 n=0\nd\n");
    // The version stays, and so does the next one.
    client.ask("r 0\ntake 0 wait=0\n", "DATA 0 v=4 n=0\n\nNO empty\n");
    client.ask("put 0\ne\n", "OK v=5 n=1\n");
}

#[test]
fn a_write_replaces_the_whole_list() {
    let server = small();
    let mut client = server.connect();
    client.ask("put 0\na\nput 0\nb\nput 0\nc\n", "OK v=1 n=1\nOK v=2 n=2\nOK v=3 n=3\n");
    client.ask("w 0 if=2\nno\n", "NO conflict v=3\n");
    client.ask("w 0 if=3\nalone\n", "OK v=4\n");
    client.ask("r 0\ntake 0\n", "DATA 5 v=4 n=1\nalone\nDATA 5 v=4 n=0\nalone\n");
    client.ask("w 0 if=4\nagain\nput 0\nmore\n", "OK v=5\nOK v=6 n=2\n");
}

#[test]
fn a_part_of_a_list_cannot_be_written() {
    let server = small();
    let mut client = server.connect();
    client.ask("put 0\nhello\nw 0 off=0\nj\n", "OK v=1 n=1\nOK v=2\n");
    client.ask("put 0\nworld\nw 0 off=0\nx\n", "OK v=3 n=2\nNO multi\n");
    client.ask("w 0 off=0 if=2\nx\n", "NO conflict v=3\n");
    client.ask("r 0 off=1 len=3\n", "DATA 3 v=3 n=2\norl\n");
    client.ask("take 0\nw 0 off=5\n!\n", "DATA 5 v=2 n=1\njello\nOK v=4\n");
    client.ask("r 0\n", "DATA 6 v=4 n=1\nworld!\n");
    client.ask("take 0\nw 0 off=2\nz\n", "DATA 6 v=4 n=0\nworld!\nOK v=5\n");
    client.ask("r 0\n", b"DATA 3 v=5 n=1\n\0\0z\n");
}

#[test]
fn read_after_shows_each_message_and_says_what_is_gone() {
    let server = small();
    let mut client = server.connect();
    for version in 1..=5 {
        client.ask(format!("put 0\n{version}\n"), format!("OK v={version} n={version}\n"));
    }
    for version in 0..5 {
        client.ask(format!("r 0 after={version} wait=0\n"), format!("DATA 1 v={0} n=5\n{0}\n", version + 1));
    }
    client.ask("r 0 after=5 wait=0\nr 0 after=99 wait=0\n", "NO timeout v=5\nNO timeout v=5\n");
    client.ask("take 0\ntake 0\n", "DATA 1 v=1 n=4\n1\nDATA 1 v=2 n=3\n2\n");
    client.ask("r 0 after=0 wait=0\n", "DATA 1 v=3 n=3 lost=2\n3\n");
    client.ask("r 0 after=1 wait=0\nr 0 after=2 wait=0\n", "DATA 1 v=3 n=3 lost=1\n3\nDATA 1 v=3 n=3\n3\n");
    client.ask("w 0\nnew\nr 0 after=2 wait=0\n", "OK v=6\nDATA 3 v=6 n=1 lost=3\nnew\n");
    client.ask("take 0\nr 0 after=2 wait=0\n", "DATA 3 v=6 n=0\nnew\nNO timeout v=6\n");
}

/// A naive list beside the real one, and many pseudo-random requests.
#[test]
fn versions_and_counts_are_those_of_a_naive_list() {
    let server = small();
    let mut client = server.connect();
    let (mut version, mut list) = (0u64, Vec::<(u64, usize)>::new());
    let live = |list: &[(u64, usize)]| list.iter().map(|(_, len)| len + 4).sum::<usize>();
    let mut rng = Rng::new(7);
    for _ in 0..3000 {
        let len = rng.below(400) as usize;
        let body = format!("{len} wait=0\n{}\n", "y".repeat(len));
        match rng.below(8) {
            0..3 if live(&list) + len <= 1024 => {
                version += 1;
                list.push((version, len));
                client.ask(format!("put 0 {body}"), format!("OK v={version} n={}\n", list.len()));
            }
            0..3 => client.ask(format!("put 0 {body}"), "NO full\n"),
            3 => {
                while live(&list) + len > 1024 {
                    list.remove(0);
                }
                version += 1;
                list.push((version, len));
                let dropping = body.replacen(" wait=0", " full=drop", 1);
                client.ask(format!("put 0 {dropping}"), format!("OK v={version} n={}\n", list.len()));
            }
            4 if len < 50 => {
                version += 1;
                list = vec![(version, len)];
                client.ask(format!("w 0 {body}"), format!("OK v={version}\n"));
            }
            4 | 5 => {
                let (v, len) = list.last().copied().unwrap_or((version, 0));
                let answer = format!("DATA {len} v={v} n={}\n{}\n", list.len(), "y".repeat(len));
                client.ask("r 0\n", answer);
            }
            _ if list.is_empty() => client.ask("take 0 wait=0\n", "NO empty\n"),
            _ => {
                let (v, len) = list.remove(0);
                let answer = format!("DATA {len} v={v} n={}\n{}\n", list.len(), "y".repeat(len));
                client.ask("take 0 wait=0\n", answer);
            }
        }
    }
}

#[test]
fn messages_of_no_bytes_are_messages() {
    let server = small();
    let mut client = server.connect();
    client.ask("put 0 0\n\nput 0\n\nput 0 0\n\n", "OK v=1 n=1\nOK v=2 n=2\nOK v=3 n=3\n");
    client.ask("take 0\ntake 0\ntake 0\n", "DATA 0 v=1 n=2\n\nDATA 0 v=2 n=1\n\nDATA 0 v=3 n=0\n\n");
    // Each costs four bytes beyond the first.
    for count in 1..=257 {
        client.ask("put 0 0 wait=0\n\n", format!("OK v={} n={count}\n", count + 3));
    }
    client.ask("put 0 0 wait=0\n\n", "NO full\n");
}

#[test]
fn pipelined_takes_are_answered_in_order() {
    let server = small();
    let mut client = server.connect();
    let puts: String = (1..=100).map(|number| format!("put 0\n{number:03}\n")).collect();
    client.send(puts);
    (1..=100).for_each(|count| client.expect(format!("OK v={count} n={count}\n")));
    client.send("take 0\n".repeat(100) + "take 0 wait=0\nping\n");
    for number in 1..=100 {
        client.expect(format!("DATA 3 v={number} n={}\n{number:03}\n", 100 - number));
    }
    client.expect("NO empty\nOK\n");
}

// ---- room ----

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
fn full_drop_drops_as_many_of_the_oldest_as_are_in_the_way() {
    let server = small();
    let mut client = server.connect();
    for count in 1..=4 {
        client.ask(put(200), format!("OK v={count} n={count}\n"));
    }
    // 816 of 1028 bytes are taken.
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
        // Of 16 bytes with what they cost: 64 of them have room.
        client.ask(
            format!("put 0 full=drop\n{version:012}\n"),
            format!("OK v={version} n={}\n", version.min(64)),
        );
    }
    client.ask("r 0 after=0\n", format!("DATA 12 v=1937 n=64 lost=1936\n{:012}\n", 1937));
}

// ---- waiting ----

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
    // Whoever waits for a message is next as soon as there is one: before the next request of this batch.
    putter.send("put 0\na\nput 0\nb\nput 0\nc\nput 0\nd\nw 0\ne\nput 0\nf\n");
    for (version, (taker, message)) in (1..).zip(takers.iter_mut().zip(["a", "b", "c", "d", "e"])) {
        taker.expect(format!("DATA 1 v={version} n=0\n{message}\n"));
    }
    (1..=4).for_each(|version| putter.expect(format!("OK v={version} n=1\n")));
    putter.expect("OK v=5\nOK v=6 n=1\n");
}

#[test]
fn a_write_wakes_a_taker_and_wait_has_an_end() {
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
fn waiting_putters_get_room_in_order_and_a_small_message_passes_no_big_one() {
    let server = small();
    let mut client = server.connect();
    client.ask(put(500), "OK v=1 n=1\n");
    client.ask(put(400), "OK v=2 n=2\n");
    let mut big = server.enqueue(put(600));
    let mut small = server.enqueue("put 0\nsmall\n");
    let mut last = server.enqueue("put 0\nlast\n");
    // It would have room, but stands behind.
    client.ask("put 0 1 wait=0\nx\n", "NO full\n");
    // Reading and replacing are nobody's matter.
    client.ask("r 0 len=1\n", "DATA 1 v=2 n=2\nx\n");
    client.ask("take 0\n", format!("DATA 500 v=1 n=1\n{}\n", "x".repeat(500)));
    big.expect("OK v=3 n=2\n");
    small.expect("OK v=4 n=3\n");
    last.expect("OK v=5 n=4\n");
    assert_eq!(server.stat("waiting"), 0);
}

#[test]
fn whoever_does_not_wait_for_room_passes_those_who_do() {
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
fn a_waiting_putter_that_vanishes_lets_those_behind_it_in() {
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

// ---- a message goes to exactly one ----

#[test]
fn each_of_a_thousand_messages_goes_to_exactly_one_of_64_takers() {
    const TAKERS: usize = 64;
    const PUTTERS: usize = 8;
    const MESSAGES: usize = 1000;
    let server = small();
    let taken = Mutex::new(HashMap::<String, usize>::new());
    let orders = Mutex::new(Vec::<(u64, String)>::new());
    let left = AtomicUsize::new(MESSAGES);
    let put = |number: usize| {
        let mut client = server.connect();
        for message in 0..MESSAGES / PUTTERS {
            client.send(format!("put 0 wait=inf\n{number} {message}\n"));
            let line = client.line();
            assert!(line.starts_with("OK v="), "{line}");
        }
    };
    let take = || {
        let mut client = server.connect();
        // As many takes as there are messages, so that nobody waits in vain.
        while left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1)).is_ok() {
            client.send("take 0 wait=inf\n");
            let (header, message) = client.data();
            *taken.lock().expect("whole").entry(text(&message)).or_default() += 1;
            orders.lock().expect("whole").push((field(&header, "v"), text(&message)));
        }
    };
    thread::scope(|scope| {
        (0..TAKERS).for_each(|_| drop(scope.spawn(take)));
        (0..PUTTERS).for_each(|number| drop(scope.spawn(move || put(number))));
    });
    let taken = taken.into_inner().expect("whole");
    assert!(taken.len() == MESSAGES && taken.values().all(|&times| times == 1), "{} of them", taken.len());
    let mut orders = orders.into_inner().expect("whole");
    orders.sort();
    assert!(orders.iter().map(|(version, _)| *version).eq(1..=MESSAGES as u64), "a version for each");
    // What one client has put comes out in its order.
    for putter in 0..PUTTERS {
        let prefix = format!("{putter} ");
        let numbers =
            orders.iter().filter_map(|(_, message)| message.strip_prefix(&prefix)?.parse::<usize>().ok());
        assert!(numbers.eq(0..MESSAGES / PUTTERS), "putter {putter}");
    }
    server.connect().ask("take 0 wait=0\n", "NO empty\n");
    assert_eq!((server.stat("takes"), server.stat("overtakes"), server.stat("untaken")), (1000, 0, 0));
}

/// More than all buffers of a socket hold.
const HUGE: usize = 32 << 20;

fn huge() -> (Server, Client) {
    let server = Server::start("2 32768 0 32768");
    let mut client = server.connect();
    client.ask(format!("put 0 {HUGE}\n{}\n", "h".repeat(HUGE)), "OK v=1 n=1\n");
    (server, client)
}

#[test]
fn a_message_whose_taker_is_gone_before_it_has_it_is_taken_by_the_next() {
    let (server, _client) = huge();
    for round in 1..=3 {
        let mut vanishing = server.connect();
        vanishing.send("take 0\n");
        server.wait_for_stat("flushing", |flushing| flushing == 1);
        vanishing.reset();
        server.wait_for_stat("untaken", |untaken| untaken == round);
    }
    let mut next = server.connect();
    next.send("take 0\n");
    let (header, message) = next.data();
    assert_eq!(header, format!("DATA {HUGE} v=1 n=0"));
    assert!(message.len() == HUGE && message.iter().all(|&byte| byte == b'h'));
    next.ask("take 0 wait=0\n", "NO empty\n");
    assert_eq!(server.stat("takes"), 1);
}

/// Large messages are answered before all events of a batch are attended to; a message went so to a taker whose end was
/// among the others.
#[test]
fn a_message_is_not_for_a_taker_that_was_gone_before_it_was_complete() {
    let server = Server::start("3 100 0 100");
    let mut taker = server.connect();
    server.send_waiting(&mut taker, "take 0 wait=inf\n");
    let (mut putter, mut large) = (server.connect(), [server.connect(), server.connect()]);
    large.iter_mut().chain([&mut putter]).for_each(|client| client.ask("ping\n", "OK\n"));
    server.halt();
    putter.send("put 0 4\n");
    large.iter_mut().zip(1..).for_each(|(client, mailbox)| client.send(format!("w {mailbox} 100000\n")));
    drop(taker);
    putter.send("kept\n");
    large.iter_mut().for_each(|client| client.send("x".repeat(100_000) + "\n"));
    server.signal(Signal::SIGCONT);
    putter.expect("OK v=1 n=1\n");
    large.iter_mut().for_each(|client| client.expect("OK v=1\n"));
    putter.ask("take 0 wait=0\n", "DATA 4 v=1 n=0\nkept\n");
}

#[test]
fn who_half_closes_has_what_is_there_and_waits_for_nothing_to_take() {
    let server = Server::start("4 64 0 8");
    server.connect().ask("put 1\nhello\n", "OK v=1 n=1\n");
    let mut client = server.connect();
    client.send("take 1\ntake 1 wait=inf\nping\n");
    client.half_close();
    client.expect("DATA 5 v=1 n=0\nhello\nNO empty\nOK\n");
    client.expect_end();
}

#[test]
fn nobody_is_in_while_a_taker_takes_its_answer_and_not_for_long() {
    let (server, mut client) = huge();
    client.ask("w 1\nother\n", "OK v=1\n");
    let mut slow = server.connect();
    slow.send("take 0\n");
    server.wait_for_stat("flushing", |flushing| flushing == 1);
    client.ask("r 1\n", "DATA 5 v=1 n=1\nother\n");
    // It does not read. For a second the mailbox waits, then the message is its.
    client.ask("r 0\n", "DATA 0 v=1 n=0\n\n");
    client.ask("put 0\nnext\n", "OK v=2 n=1\n");
    assert_eq!(slow.data().1.len(), HUGE);
    assert_eq!((server.stat("takes"), server.stat("untaken")), (1, 0));
}

#[test]
fn a_taker_with_unread_answers_gets_nothing_before_it_has_read_them() {
    let server = Server::start("2 8192 0 8192");
    const SIZE: usize = 8 << 20;
    let mut client = server.connect();
    client.ask(format!("w 1 {SIZE}\n{}\n", "h".repeat(SIZE)), "OK v=1\n");
    let mut busy = server.connect();
    busy.send("r 1\nr 1\nr 1\ntake 0 wait=inf\n");
    server.wait_for_stat("flushing", |flushing| flushing == 1);
    client.ask("put 0\nmessage\n", "OK v=1 n=1\n");
    client.ask("take 0\nput 0\nsecond\n", "DATA 7 v=1 n=0\nmessage\nOK v=2 n=1\n");
    (0..3).for_each(|_| assert_eq!(busy.data().1.len(), SIZE));
    busy.expect("DATA 6 v=2 n=0\nsecond\n");
}

/// An answer before lies in its socket while it waits: the message goes to the next one, as nobody reads there.
#[test]
fn a_waiting_taker_whose_earlier_answers_are_unread_keeps_no_message_from_others() {
    const SIZE: usize = 900_000;
    let directory = Directory::new();
    let path = directory.path().join("door");
    let server = Server::start_in(directory, &format!("2 1024 0 1024 --unix {}", path.display()));
    let mut client = server.connect();
    client.ask(format!("w 1 {SIZE}\n{}\n", "h".repeat(SIZE)), "OK v=1\n");
    let mut deaf = Client::unix(&path);
    server.send_waiting(&mut deaf, "r 1\ntake 0 wait=inf\n");
    client.ask("put 0\nm\ntake 0\n", "OK v=1 n=1\nDATA 1 v=1 n=0\nm\n");
    assert_eq!((server.stat("untaken"), server.stat("flushing")), (1, 1));
    assert_eq!(deaf.data().1.len(), SIZE);
    server.wait_for_stat("waiting", |waiting| waiting == 1);
    client.ask("put 0\nfor the deaf\n", "OK v=2 n=1\n");
    deaf.expect("DATA 12 v=2 n=0\nfor the deaf\n");
}

#[test]
fn a_waiting_taker_that_hangs_up_is_told_that_there_was_nothing() {
    let server = small();
    let mut taker = server.enqueue("take 0 wait=inf\n");
    let mut next = server.enqueue("take 0 wait=inf\n");
    taker.half_close();
    taker.expect("NO empty\n");
    taker.expect_end();
    server.connect().ask("put 0\nm\n", "OK v=1 n=1\n");
    next.expect("DATA 1 v=1 n=0\nm\n");
}

#[test]
fn a_message_taken_under_ones_own_lock_is_back_when_the_client_is_gone() {
    let (server, _client) = huge();
    let mut vanishing = server.connect();
    vanishing.lock("lock 0\n");
    vanishing.send("take 0\n");
    server.wait_for_stat("flushing", |flushing| flushing == 1);
    let mut next = server.enqueue("r 0 len=1\n");
    vanishing.reset();
    next.expect("DATA 1 v=1 n=1\nh\n");
    assert_eq!((server.stat("untaken"), server.stat("locks_held")), (1, 0));
}

#[test]
fn taking_under_ones_own_lock_needs_no_turn() {
    let server = small();
    let mut client = server.connect();
    client.lock("lock 0\n");
    let mut other = server.enqueue("take 0 wait=inf\n");
    client.ask("put 0\na\nput 0\nb\ntake 0\ntake 0\ntake 0\n", "OK v=1 n=1\nOK v=2 n=2\n");
    client.expect("DATA 1 v=1 n=1\na\nDATA 1 v=2 n=0\nb\nNO empty\n");
    client.ask("put 0\nc\nunlock 0\n", "OK v=3 n=1\nOK\n");
    other.expect("DATA 1 v=3 n=0\nc\n");
}

// ---- the next start ----

#[test]
fn a_list_outlives_its_server_however_that_ends() {
    let port = Port::reserve();
    let arguments = format!("4 1 {} 1", port.number);
    let mut server = Server::start(&arguments);
    let mut first = 1;
    let mut version = 0;
    for signal in [Signal::SIGTERM, Signal::SIGKILL, Signal::SIGKILL, Signal::SIGTERM] {
        let mut client = server.connect();
        for _ in 0..10 {
            version += 1;
            client.ask(format!("put 0\n{version}\n"), format!("OK v={version} n={}\n", version - first + 1));
        }
        let mut taker = server.enqueue("take 1 wait=inf\n");
        server.signal(signal);
        server.wait();
        let last_words = text(&taker.read_to_end());
        assert!(last_words.is_empty() || last_words.starts_with("ERR drain"), "{last_words}");
        server.restart(&arguments);
        let mut client = server.connect();
        for _ in 0..5 {
            let answer =
                format!("DATA {} v={first} n={}\n{first}\n", first.to_string().len(), version - first);
            client.ask("take 0\n", answer);
            first += 1;
        }
        client.ask("take 1 wait=0\n", "NO empty\n");
    }
}

/// What was acknowledged and not taken is there after any kill, and nothing is taken twice.
#[test]
fn no_message_is_lost_or_taken_twice_when_the_server_is_killed_at_work() {
    let port = Port::reserve();
    let arguments = format!("1 1024 {} 8", port.number);
    let mut server = Server::start(&arguments);
    let mut last_taken = 0;
    for round in 0..10 {
        let mut putter = server.connect();
        let mut taker = server.connect();
        putter.send("put 0 5\nhello\n".repeat(2000));
        taker.send("take 0 wait=inf\n".repeat(1000));
        let mut answers: String = (0..2 * (50 + 70 * round)).map(|_| taker.line() + "\n").collect();
        server.signal(Signal::SIGKILL);
        server.wait();
        answers += &text(&taker.read_to_end());
        // A header that was not the last bytes is whole.
        let headers = answers.rsplit_once('\n').map_or("", |(whole, _)| whole);
        for header in headers.lines().filter(|line| line.starts_with("DATA ")) {
            assert!(field(header, "v") > last_taken, "{header} after {last_taken}");
            last_taken = field(header, "v");
        }
        let acknowledged = text(&putter.read_to_end());
        let acknowledged = acknowledged.rsplit_once('\n').map_or("", |(whole, _)| whole);
        let acknowledged = acknowledged.lines().map(|line| field(line, "v")).max().unwrap_or(0);
        server.restart(&arguments);
        let lines = server.connect().stat_lines("stat 0\n");
        let value = |name: &str| {
            let line = lines.iter().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
            line.expect("a line").parse::<u64>().expect("a number")
        };
        let (version, messages) = (value("version"), value("messages"));
        assert!(version >= acknowledged, "{acknowledged} was acknowledged, {version} is the newest");
        assert!(version - messages >= last_taken, "{last_taken} was taken, but is there");
    }
}
