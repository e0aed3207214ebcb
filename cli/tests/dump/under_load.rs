//! A dump while other clients write.

use std::fs;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use dipc_testkit::client::field;
use dipc_testkit::server::Server;

use crate::contents::file;

/// Each message has its version as text, and each mailbox is a log of the latest messages. So a mailbox of
/// one moment has all versions up to its own, without a gap.
#[test]
fn each_mailbox_is_dumped_as_it_is_at_one_moment() {
    let server = Server::start("3 64 0 64");
    let is_over = AtomicBool::new(false);
    thread::scope(|scope| {
        for mailbox in 0..3 {
            let (server, is_over) = (&server, &is_over);
            scope.spawn(move || write(server, mailbox, is_over));
        }
        let path = file(&server, "dump");
        (0..3).for_each(|mailbox| server.wait_for_stat_box(mailbox, "version", |version| version > 6000));
        for _ in 0..10 {
            let dumped = server.run(&["dump", &path]);
            if dumped.code != Some(0) {
                is_over.store(true, Ordering::Relaxed);
            }
            dumped.expect_success();
            let dump = fs::read_to_string(&path).expect("a dump");
            let result = std::panic::catch_unwind(|| check(&dump));
            if let Err(panic) = result {
                is_over.store(true, Ordering::Relaxed);
                std::panic::resume_unwind(panic);
            }
        }
        is_over.store(true, Ordering::Relaxed);
    });
}

fn write(server: &Server, mailbox: u32, is_over: &AtomicBool) {
    let mut client = server.connect();
    let mut version = 0;
    while !is_over.load(Ordering::Relaxed) {
        let batch = (version + 1..=version + 100).map(|next: u64| {
            let data = format!("{next:016}");
            format!("put {mailbox} {} full=drop\n{data}\n", data.len())
        });
        client.send(batch.collect::<String>());
        for _ in 0..100 {
            version = field(&client.line(), "v");
        }
    }
}

fn check(dump: &str) {
    let mut lines = dump.lines().skip(2);
    for mailbox in 0..3 {
        let line = lines.next().expect("a mailbox");
        assert!(line.starts_with(&format!("mailbox {mailbox} ")), "{line}");
        let (version, count) = (field(line, "v"), field(line, "n"));
        assert!(count > 1000, "{line}");
        for expected in version + 1 - count..=version {
            assert_eq!(lines.next(), Some(&*format!("message 16 v={expected}")), "{line}");
            assert_eq!(lines.next(), Some(&*format!("{expected:016}")), "{line}");
        }
    }
    assert!(lines.next().expect("the end").starts_with("end mailboxes=3 "));
}
