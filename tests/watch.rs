//! Watchers and readers that wait for news, over the real server.
#![allow(missing_docs)]

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use dipc_testkit::client::{Client, field};
use dipc_testkit::descriptors;
use dipc_testkit::directory::Directory;
use dipc_testkit::process::text;
use dipc_testkit::server::Server;
use dipc_testkit::wait::wait_until;

fn served() -> Server {
    Server::start("4 64 0 8")
}

#[test]
fn a_watch_is_answered_before_its_first_event() {
    let server = Server::start("2 1024 0 1024");
    let mut client = server.connect();
    client.ask("w 0\nnews\n", "OK v=1\n");
    client.ask(format!("w 1 900000\n{}\n", "x".repeat(900_000)), "OK v=1\n");
    for _ in 0..100 {
        let mut watcher = server.connect();
        // What stands between the watch and its event takes time.
        watcher.send("watch 0 after=0\nr 1\n");
        watcher.expect("OK v=0\n");
        let mut kinds = [watcher.message().0, watcher.message().0];
        kinds.sort();
        assert_eq!(kinds, ["DATA 900000 v=1 n=1", "EVENT 4 box=0 v=1"]);
    }
}

// ---- from where on ----

#[test]
fn a_watcher_is_told_of_every_message_from_now_on() {
    let server = served();
    let mut writer = server.connect();
    writer.ask("w 0\nold\n", "OK v=1\n");
    let mut watcher = server.connect();
    watcher.ask("watch 0\n", "OK v=1\n");
    writer.ask("w 0\nnew\n", "OK v=2\n");
    watcher.expect("EVENT 3 box=0 v=2\nnew\n");
    writer.ask("put 0 5\na\nb\nc\n", "OK v=3 n=2\n");
    watcher.expect("EVENT 5 box=0 v=3\na\nb\nc\n");
    writer.ask("put 0 0\n\n", "OK v=4 n=3\n");
    watcher.expect("EVENT 0 box=0 v=4\n\n");
    writer.ask("w 0\nhello\nw 0 off=0\nj\n", "OK v=5\nOK v=6\n");
    // Of two that come so close after each other the first may be gone when it is looked for.
    expect_caught_up(&mut watcher, 4, 6, "jello");
    // What is taken is no news, and neither is a refusal.
    writer.ask("take 0\nw 0 if=1\nx\n", "DATA 5 v=6 n=0\njello\nNO conflict v=6\n");
    watcher.ask("ping\n", "OK\n");
}

/// Events from `from` on up to `to`, whose message is `last`: each version is told or counted as lost.
#[track_caller]
fn expect_caught_up(watcher: &mut Client, from: u64, to: u64, last: &str) {
    let mut seen = from;
    while seen < to {
        let (header, message) = watcher.event();
        seen = follow(seen, &header);
        if seen == to {
            assert_eq!(text(&message), last);
        }
    }
    assert_eq!(seen, to);
}

/// The version of an event, all versions since `seen` accounted for.
#[track_caller]
fn follow(seen: u64, header: &str) -> u64 {
    let lost = if header.contains(" lost=") { field(header, "lost") } else { 0 };
    assert_eq!(field(header, "v"), seen + lost + 1, "{header} after {seen}");
    seen + lost + 1
}

#[test]
fn the_version_of_an_empty_mailbox_is_a_start_too() {
    let server = served();
    let mut client = server.connect();
    client.ask("watch 0\n", "OK v=0\n");
    server.connect().ask("put 0\na\n", "OK v=1 n=1\n");
    client.expect("EVENT 1 box=0 v=1\na\n");
    client.ask("take 0\nwatch 0\n", "DATA 1 v=1 n=0\na\nOK v=1\n");
    server.connect().ask("put 0\nb\n", "OK v=2 n=1\n");
    client.expect("EVENT 1 box=0 v=2\nb\n");
}

#[test]
fn after_starts_at_any_version_and_says_what_is_gone() {
    let server = served();
    let mut writer = server.connect();
    writer
        .ask("put 0\na\nput 0\nb\nput 0\nc\nput 0\nd\n", "OK v=1 n=1\nOK v=2 n=2\nOK v=3 n=3\nOK v=4 n=4\n");
    writer.ask("take 0\n", "DATA 1 v=1 n=3\na\n");
    let mut watcher = server.connect();
    watcher.ask("watch 0 after=2\n", "OK v=2\nEVENT 1 box=0 v=3\nc\nEVENT 1 box=0 v=4\nd\n");
    let mut watcher = server.connect();
    watcher.ask("watch 0 after=0\n", "OK v=0\nEVENT 1 box=0 v=2 lost=1\nb\nEVENT 1 box=0 v=3\nc\n");
    watcher.expect("EVENT 1 box=0 v=4\nd\n");
    let mut watcher = server.connect();
    watcher.ask("watch 0 after=6\n", "OK v=6\n");
    for version in 5..=7 {
        writer.ask("put 0\nx\n", format!("OK v={version} n={}\n", version - 1));
    }
    watcher.expect("EVENT 1 box=0 v=7\nx\n");
}

#[test]
fn several_mailboxes_are_watched_at_once() {
    let server = served();
    let mut writer = server.connect();
    writer.ask("w 2\na\nw 0\nb\nw 0\nc\n", "OK v=1\nOK v=1\nOK v=2\n");
    let mut watcher = server.connect();
    // In the order asked.
    watcher.ask("watch 2,0,1\n", "OK v=1,2,0\n");
    for (mailbox, version) in [(1, 1), (0, 3), (2, 2), (1, 2)] {
        writer.ask(format!("w {mailbox}\nx\n"), format!("OK v={version}\n"));
        watcher.expect(format!("EVENT 1 box={mailbox} v={version}\nx\n"));
    }
    writer.ask("w 3\nx\n", "OK v=1\n");
    watcher.ask("watch 3,0 after=0\n", "OK v=0,0\n");
    let mut events = [watcher.event().0, watcher.event().0];
    events.sort();
    assert_eq!(events, ["EVENT 1 box=0 v=3 lost=2", "EVENT 1 box=3 v=1"]);
}

#[test]
fn a_client_watches_at_most_1024_mailboxes() {
    let server = Server::start("1100 1 0 1");
    let mut client = server.connect();
    let list = |from: u32, count: u32| {
        (from..from + count).map(|mailbox| mailbox.to_string()).collect::<Vec<_>>().join(",")
    };
    for part in 0..1024 / 128 {
        client.ask(
            format!("watch {}\n", list(part * 128, 128)),
            format!("OK v={}\n", vec!["0"; 128].join(",")),
        );
    }
    client.ask("watch 1024\n", "ERR size max=1024 : at most 1024 mailboxes at a time\n");
    // Again is not more.
    client.ask("watch 5,1000\n", "OK v=0,0\n");
    client.ask("unwatch 0\nwatch 1024\n", "OK\nOK v=0\n");
    assert_eq!(client.refused("watch 1,1025\n"), "size max=1024");
    server.connect().ask("w 1024\nx\nw 1025\nx\nw 0\nx\nw 7\nx\n", "OK v=1\nOK v=1\nOK v=1\nOK v=1\n");
    let mut events = [client.event().0, client.event().0];
    events.sort();
    assert_eq!(events, ["EVENT 1 box=1024 v=1", "EVENT 1 box=7 v=1"]);
    client.ask("unwatch *\nping\n", "OK\nOK\n");
    assert_eq!((server.stat("watching"), server.stat("standing_reads")), (0, 0));
}

#[test]
fn a_watch_that_is_refused_watches_nothing() {
    let server = served();
    let mut client = server.connect();
    assert_eq!(client.refused("watch 0,4\n"), "box max=3");
    for request in ["watch 0,0\n", "watch 0 wait=1\n", "watch 0 1\n", "watch 0 after=x\n"] {
        assert_eq!(client.refused(request), "syntax", "{request}");
    }
    assert_eq!(client.refused("watch *\n"), "box max=3");
    server.connect().ask("w 0\nx\n", "OK v=1\n");
    client.ask("ping\n", "OK\n");
    assert_eq!((server.stat("watching"), server.stat("standing_reads")), (0, 0));
}

#[test]
fn events_end_their_lines_like_their_watch_did() {
    let server = served();
    let (mut telnet, mut program) = (server.connect(), server.connect());
    telnet.ask("watch 0\r\n", "OK v=0\r\n");
    program.ask("watch 0\n", "OK v=0\n");
    server.connect().ask("w 0\nhello\n", "OK v=1\n");
    telnet.expect("EVENT 5 box=0 v=1\r\nhello\r\n");
    program.expect("EVENT 5 box=0 v=1\nhello\n");
    // The last watch counts.
    telnet.ask("watch 0\n", "OK v=1\n");
    server.connect().ask("w 0\nhello\n", "OK v=2\n");
    telnet.expect("EVENT 5 box=0 v=2\nhello\n");
}

#[test]
fn ones_own_messages_are_events_too() {
    let server = served();
    let mut client = server.connect();
    client.ask("watch 0\n", "OK v=0\n");
    for version in 1..=50 {
        client.send("w 0\nmine\n");
        // Whichever is first.
        let mut both = [client.message().0, client.message().0];
        both.sort();
        assert_eq!(both, [format!("EVENT 4 box=0 v={version}"), format!("OK v={version}")]);
    }
}

// ---- the end of a watch ----

#[test]
fn after_unwatch_there_are_no_events() {
    let server = served();
    let mut watcher = server.connect();
    let mut writer = server.connect();
    watcher.ask("watch 0,1\nunwatch 0\n", "OK v=0,0\nOK\n");
    writer.ask("w 0\nx\nw 1\nx\n", "OK v=1\nOK v=1\n");
    watcher.expect("EVENT 1 box=1 v=1\nx\n");
    watcher.ask("unwatch 2\nunwatch 0,3\nunwatch *\nunwatch *\n", "OK\nOK\nOK\nOK\n");
    writer.ask("w 0\nx\nw 1\nx\n", "OK v=2\nOK v=2\n");
    watcher.ask("ping\n", "OK\n");
    assert_eq!((server.stat("watching"), server.stat("standing_reads")), (0, 0));
}

#[test]
fn no_event_follows_the_answer_to_unwatch() {
    let server = served();
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            let mut writer = server.connect();
            while !done.load(Ordering::Relaxed) {
                writer.send("w 0\nx\n");
                writer.line();
            }
        });
        let mut watcher = server.connect();
        for _ in 0..300 {
            watcher.send("watch 0\n");
            assert!(watcher.line().starts_with("OK v="));
            watcher.event();
            watcher.send("unwatch 0\n");
            while watcher.message().0 != "OK" {}
            watcher.ask("ping\n", "OK\n");
        }
        done.store(true, Ordering::Relaxed);
    });
}

#[test]
fn a_second_watch_of_a_mailbox_replaces_the_first() {
    let server = served();
    let mut client = server.connect();
    let mut writer = server.connect();
    client.ask("watch 0\nwatch 0\nwatch 0\n", "OK v=0\nOK v=0\nOK v=0\n");
    writer.ask("put 0\na\n", "OK v=1 n=1\n");
    client.expect("EVENT 1 box=0 v=1\na\n");
    client.ask("watch 0 after=0\n", "OK v=0\nEVENT 1 box=0 v=1\na\n");
    writer.ask("put 0\nb\n", "OK v=2 n=2\n");
    client.expect("EVENT 1 box=0 v=2\nb\n");
    client.ask("watch 0 after=2\nping\n", "OK v=2\nOK\n");
    assert_eq!((server.stat("watching"), server.stat("standing_reads")), (1, 1));
}

#[test]
fn watchers_that_are_reset_leave_nothing_behind() {
    let server = served();
    let mut writer = server.connect();
    for round in 0..5 {
        let mut watchers: Vec<Client> = (0..40).map(|_| server.connect()).collect();
        for (number, watcher) in watchers.iter_mut().enumerate() {
            watcher.send(format!("watch {},{} after={round}\n", number % 4, (number + 1) % 4));
            watcher.line();
        }
        assert_eq!(server.stat("watching"), 40);
        // Some have an event on the way to them, some wait.
        writer.send("w 0\nx\nw 1\nx\n");
        watchers.into_iter().for_each(Client::reset);
        (0..2).for_each(|_| assert!(writer.line().starts_with("OK v=")));
        server.wait_for_stat("watching", |watching| watching == 0);
        server.wait_for_stat("standing_reads", |reads| reads == 0);
    }
    let mailbox = writer.stat_lines("stat 0\n");
    assert!(
        mailbox.contains(&"watchers 0".to_owned()) && mailbox.contains(&"aside 0".to_owned()),
        "{mailbox:?}"
    );
}

// ---- events and answers ----

/// Forty thousand watches, each with a standing read of its own, are more than the server keeps memory for.
#[test]
fn a_crowd_of_watchers_gives_its_memory_back() {
    const WATCHES: usize = 1024;
    const CLIENTS: usize = 40;
    const ROOM: u64 = 8 << 20;
    let server = Server::start("1024 1 0 1");
    let before = server.own_memory();
    let mut crowd: Vec<Client> = (0..CLIENTS).map(|_| server.connect()).collect();
    for (client, start) in crowd.iter_mut().zip(1..) {
        client.send((0..WATCHES).map(|n| format!("watch {n} after={start}\n")).collect::<String>());
        (0..WATCHES).for_each(|_| client.expect(format!("OK v={start}\n")));
    }
    assert_eq!(server.stat("standing_reads"), (WATCHES * CLIENTS) as u64);
    assert!(server.own_memory() > before + ROOM, "a crowd");
    drop(crowd);
    server.wait_for_stat("standing_reads", |reads| reads == 0);
    wait_until("the memory is back", || server.own_memory() < before + ROOM);
}

#[test]
fn no_event_comes_within_an_answer() {
    const SIZE: usize = 8 << 20;
    let server = Server::start("2 8192 0 8192");
    let mut writer = server.connect();
    writer.ask(format!("w 1 {SIZE}\n{}\n", "x".repeat(SIZE)), "OK v=1\n");
    let mut client = server.connect();
    client.ask("watch 0\n", "OK v=0\n");
    client.send("r 1\nr 1\nping\nr 1\n");
    server.wait_for_stat("flushing", |flushing| flushing == 1);
    for version in 1..=100 {
        writer.ask("w 0\nnews\n", format!("OK v={version}\n"));
    }
    // Between them is a fine place.
    let (mut answers, mut seen) = (Vec::new(), 0);
    while answers.len() < 4 || seen < 100 {
        let (header, data) = client.message();
        if header.starts_with("EVENT ") {
            assert_eq!(text(&data), "news");
            seen = follow(seen, &header);
        } else {
            assert!(data.iter().all(|&byte| byte == b'x'));
            answers.push(header);
        }
    }
    let data = format!("DATA {SIZE} v=1 n=1");
    assert_eq!(answers, [data.as_str(), &data, "OK", &data]);
}

#[test]
fn a_watcher_asks_and_is_answered_like_anybody() {
    let server = served();
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            let mut writer = server.connect();
            while !done.load(Ordering::Relaxed) {
                writer.send("put 0 full=drop\nnews\n".repeat(20));
                (0..20).for_each(|_| assert!(writer.line().starts_with("OK v=")));
            }
        });
        let mut client = server.connect();
        client.ask("watch 0 after=0\n", "OK v=0\n");
        let mut seen = 0;
        for round in 1..=200 {
            client.send(format!("w 1\n{round}\nping\nr 1\n"));
            let data = format!("DATA {} v={round} n=1", round.to_string().len());
            for answer in [format!("OK v={round}"), "OK".to_owned(), data] {
                loop {
                    let (header, _) = client.message();
                    if !header.starts_with("EVENT ") {
                        assert_eq!(header, answer);
                        break;
                    }
                    seen = follow(seen, &header);
                }
            }
        }
        done.store(true, Ordering::Relaxed);
    });
}

// ---- slow watchers ----

/// They stop reading while a hundred megabytes go by. Nobody waits for them and nothing is kept for them; when they read
/// on, each version was told or counted.
#[test]
fn watchers_that_do_not_read_cost_nothing_and_catch_up() {
    const WRITES: u64 = 100_000;
    const WATCHERS: usize = 20;
    const ROOM: u64 = 16 << 20;
    let server = Server::start("2 64 0 8");
    let mut watchers: Vec<Client> = (0..WATCHERS).map(|_| server.connect()).collect();
    watchers.iter_mut().for_each(|watcher| watcher.ask("watch 0\n", "OK v=0\n"));
    let before = server.own_memory();
    let mut writer = server.connect();
    let message = "m".repeat(1000);
    for part in 0..WRITES / 1000 {
        writer.send(format!("w 0 1000\n{message}\n").repeat(1000));
        (1..=1000).for_each(|version| writer.expect(format!("OK v={}\n", part * 1000 + version)));
    }
    let grown = server.own_memory().saturating_sub(before);
    assert!(grown < ROOM, "{grown} bytes more for {WATCHERS} watchers");
    assert_eq!(server.stat("closed_slow_readers"), 0);
    for watcher in &mut watchers {
        let (mut seen, mut events) = (0, 0);
        while seen < WRITES {
            let (header, data) = watcher.event();
            seen = follow(seen, &header);
            events += 1;
            assert_eq!(data.len(), 1000);
        }
        assert!(events < WRITES, "it has stopped reading, and yet was told of everything");
        watcher.ask("ping\n", "OK\n");
    }
    writer.ask("w 0\nlast\n", format!("OK v={}\n", WRITES + 1));
    watchers.iter_mut().for_each(|watcher| watcher.expect(format!("EVENT 4 box=0 v={}\nlast\n", WRITES + 1)));
}

/// As long as the reader is less than a mailbox behind, it sees all: a log.
#[test]
fn a_log_is_followed_without_a_gap() {
    const WINDOW: u64 = 100;
    let server = served();
    let mut watcher = server.connect();
    watcher.ask("watch 0\n", "OK v=0\n");
    let mut writer = server.connect();
    for window in 0..50 {
        // 100 messages of 100 bytes are in no other's way.
        writer.send(format!("put 0 full=drop\n{}\n", "l".repeat(100)).repeat(WINDOW as usize));
        for version in window * WINDOW + 1..=(window + 1) * WINDOW {
            let (header, _) = watcher.event();
            assert_eq!(header, format!("EVENT 100 box=0 v={version}"));
            assert!(writer.line().starts_with(&format!("OK v={version} n=")));
        }
    }
}

#[test]
fn a_watcher_that_falls_behind_a_log_goes_on_with_the_oldest_that_is_there() {
    let server = Server::start("1 1 0 1");
    let mut writer = server.connect();
    // 64 of them have room.
    for version in 1..=1000 {
        writer.ask(
            format!("put 0 full=drop\n{version:012}\n"),
            format!("OK v={version} n={}\n", version.min(64)),
        );
    }
    let mut watcher = server.connect();
    watcher.ask("watch 0 after=10\n", "OK v=10\nEVENT 12 box=0 v=937 lost=926\n000000000937\n");
    (938..=1000).for_each(|version| watcher.expect(format!("EVENT 12 box=0 v={version}\n{version:012}\n")));
}

// ---- many ----

#[test]
fn two_thousand_watchers_learn_of_a_write_while_others_are_answered() {
    const WATCHERS: usize = 2000;
    descriptors::allow(WATCHERS as u64 + 100);
    let server = served();
    let mut watchers: Vec<Client> = (0..WATCHERS).map(|_| server.connect()).collect();
    watchers.iter_mut().for_each(|watcher| watcher.ask("watch 0\n", "OK v=0\n"));
    assert_eq!((server.stat("watching"), server.stat("standing_reads")), (WATCHERS as u64, 1));
    let (mut writer, mut other) = (server.connect(), server.connect());
    let mut version = 0;
    let mut answered_in_between = false;
    wait_until("somebody is answered while events leave", || {
        version += 1;
        writer.ask("w 0\nnews\n", format!("OK v={version}\n"));
        while other.stat("events_sent") < version * WATCHERS as u64 {
            answered_in_between |= other.stat("events_sent") % WATCHERS as u64 != 0;
        }
        let event = format!("EVENT 4 box=0 v={version}\nnews\n");
        watchers.iter_mut().for_each(|watcher| watcher.expect(&event));
        answered_in_between
    });
    drop(watchers);
    server.wait_for_stat("watching", |watching| watching == 0);
    server.wait_for_stat("standing_reads", |reads| reads == 0);
}

// ---- locks ----

#[test]
fn events_of_a_locked_mailbox_come_after_the_unlock() {
    let server = served();
    let mut watcher = server.connect();
    watcher.ask("watch 0,1\n", "OK v=0,0\n");
    let mut holder = server.connect();
    holder.lock("lock 0,1\n");
    holder.ask("w 0\na\nw 0\nb\nw 0\nc\n", "OK v=1\nOK v=2\nOK v=3\n");
    holder.ask("put 1\na\nput 1\nb\n", "OK v=1 n=1\nOK v=2 n=2\n");
    // To begin to watch needs no place in the queue.
    let mut late = server.connect();
    late.ask("watch 0 after=1\nping\n", "OK v=1\nOK\n");
    (0..20).for_each(|_| watcher.ask("ping\n", "OK\n"));
    holder.ask("unlock 0\n", "OK\n");
    watcher.expect("EVENT 1 box=0 v=3 lost=2\nc\n");
    late.expect("EVENT 1 box=0 v=3 lost=1\nc\n");
    (0..20).for_each(|_| watcher.ask("ping\n", "OK\n"));
    holder.ask("unlock 1\n", "OK\n");
    watcher.expect("EVENT 1 box=1 v=1\na\nEVENT 1 box=1 v=2\nb\n");
}

// ---- readers that wait for news ----

#[test]
fn readers_wait_for_news_and_all_of_them_see_it() {
    let server = served();
    let mut readers: Vec<Client> = (0..10).map(|_| server.enqueue("r 0 after=0 wait=inf\n")).collect();
    let mut later = server.enqueue("r 0 after=2 wait=inf\n");
    let mut taker = server.enqueue("take 0 wait=inf\n");
    let mut writer = server.connect();
    // Readers before takers: what is taken has been seen.
    writer.ask("put 0\na\n", "OK v=1 n=1\n");
    readers.iter_mut().for_each(|reader| reader.expect("DATA 1 v=1 n=1\na\n"));
    taker.expect("DATA 1 v=1 n=0\na\n");
    writer.ask("w 0\nb\n", "OK v=2\n");
    assert_eq!(server.stat("waiting"), 1);
    writer.ask("w 0\nc\n", "OK v=3\n");
    later.expect("DATA 1 v=3 n=1\nc\n");
    readers[0]
        .ask("r 0 after=0 off=0 len=0\nr 0 after=3 wait=0.01\n", "DATA 0 v=3 n=1 lost=2\n\nNO timeout v=3\n");
}

#[test]
fn a_reader_that_waits_and_vanishes_is_nobodys_matter() {
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

/// The answer before the first wait fills the socket; so the one to the first wait has to stay when the second begins.
#[test]
fn an_answer_does_not_wait_with_the_next_request_although_the_socket_was_full() {
    const SIZE: usize = 900_000;
    let directory = Directory::new();
    let path = directory.path().join("door");
    let server = Server::start_in(directory, &format!("2 1024 0 1024 --workers 2 --unix {}", path.display()));
    let mut writer = server.connect();
    writer.ask(format!("w 1 {SIZE}\n{}\n", "x".repeat(SIZE)), "OK v=1\n");
    let mut reader = Client::unix(&path);
    server.send_waiting(&mut reader, "r 1\nr 0 after=0 wait=inf\nr 0 after=1 wait=inf\n");
    writer.ask("w 0\na\n", "OK v=1\n");
    server.wait_for_stat("workers_asleep", |asleep| asleep == 2);
    assert_eq!(reader.data().1.len(), SIZE);
    reader.expect("DATA 1 v=1 n=1\na\n");
    writer.ask("w 0\nb\n", "OK v=2\n");
    reader.expect("DATA 1 v=2 n=1\nb\n");
}

/// Where a client has read on is remembered in a long list. It leads to the right message whatever has happened since.
#[test]
fn reading_on_in_a_long_list_finds_each_message_whatever_happens_in_between() {
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
        let told = if lost > 0 { format!(" lost={lost}") } else { String::new() };
        assert!(header.contains(&format!(" v={version} ")) && header.ends_with(&told), "{header}");
        assert_eq!(text(&data), version.to_string());
    };
    put(&mut other, 0, 1, 301);
    put(&mut other, 1, 1, 201);
    (0..100).for_each(|after| read(&mut reader, 0, after, after + 1));
    // Another mailbox in between, and another place.
    read(&mut reader, 1, 100, 101);
    read(&mut reader, 0, 100, 101);
    read(&mut reader, 0, 7, 8);
    read(&mut reader, 0, 101, 102);
    // What was read last is taken, and more.
    (1..=150).for_each(|version| {
        other.send("take 0\n");
        assert_eq!(text(&other.data().1), version.to_string());
    });
    read(&mut reader, 0, 102, 151);
    read(&mut reader, 0, 151, 152);
    // All is replaced, and the list grows again over the same memory.
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
