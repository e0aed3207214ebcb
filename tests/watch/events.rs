//! Events between answers, and events of a locked mailbox.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use dipc_testkit::process::text;
use dipc_testkit::server::Server;

use crate::{follow, served};

#[test]
fn lines_of_events_end_like_the_line_of_the_watch() {
    let server = served();
    let (mut telnet, mut program) = (server.connect(), server.connect());
    telnet.ask("watch 0\r\n", "OK v=0\r\n");
    program.ask("watch 0\n", "OK v=0\n");
    server.connect().ask("w 0\nhello\n", "OK v=1\n");
    telnet.expect("EVENT 5 box=0 v=1\r\nhello\r\n");
    program.expect("EVENT 5 box=0 v=1\nhello\n");
    // The last watch sets the line ends.
    telnet.ask("watch 0\n", "OK v=1\n");
    server.connect().ask("w 0\nhello\n", "OK v=2\n");
    telnet.expect("EVENT 5 box=0 v=2\nhello\n");
}

#[test]
fn a_watcher_gets_events_of_its_own_messages() {
    let server = served();
    let mut client = server.connect();
    client.ask("watch 0\n", "OK v=0\n");
    for version in 1..=50 {
        client.send("w 0\nmine\n");
        // The event and the answer come in either order.
        let mut both = [client.message().0, client.message().0];
        both.sort();
        assert_eq!(both, [format!("EVENT 4 box=0 v={version}"), format!("OK v={version}")]);
    }
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
    // Events may come between the answers.
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
fn a_watcher_is_answered_like_any_client() {
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

#[test]
fn events_of_a_locked_mailbox_come_after_the_unlock() {
    let server = served();
    let mut watcher = server.connect();
    watcher.ask("watch 0,1\n", "OK v=0,0\n");
    let mut holder = server.connect();
    holder.lock("lock 0,1\n");
    holder.ask("w 0\na\nw 0\nb\nw 0\nc\n", "OK v=1\nOK v=2\nOK v=3\n");
    holder.ask("put 1\na\nput 1\nb\n", "OK v=1 n=1\nOK v=2 n=2\n");
    // A watch is answered without waiting for the lock.
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
