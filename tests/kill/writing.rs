//! A kill while messages are written.

use std::io::{self, BufRead, BufReader, Write};
use std::net::TcpStream;
use std::thread;
use std::time::Instant;

use dipc_testkit::port::Port;
use dipc_testkit::rng::Rng;
use dipc_testkit::server::Server;
use dipc_testkit::wait::HANG;

use crate::kills;
use crate::message::{Content, Message, SIZE, read, whole};
use crate::trigger::KillTrigger;

const MAILBOXES: usize = 4;

/// The mailbox of each writer: two writers share mailbox 0, and two share mailbox 1.
const WRITERS: [usize; 5] = [0, 0, 1, 1, PATCHED];

/// The mailbox whose writer overwrites the second half of its message again and again.
const PATCHED: usize = 2;

/// The mailbox that is written only before the first kill.
const UNTOUCHED: usize = 3;

/// Messages that a writer sends before it waits for an answer.
const PIPELINE: usize = 4;

/// The messages of one writer until the kill: all sent ones, and the acknowledged ones.
struct History {
    mailbox: usize,
    sent: Vec<Message>,
    acknowledged: Vec<Content>,
}

#[test]
fn a_kill_leaves_every_mailbox_a_whole_message_no_older_than_the_last_acknowledged() {
    let kills = kills();
    let port = Port::reserve();
    let arguments = format!("4 64 {} 64", port.number);
    let mut server = Server::start(&arguments);
    let first = Message { front: 7, back: 7 };
    for mailbox in 0..MAILBOXES {
        server.connect().ask(whole(mailbox, first), "OK v=1\n");
    }
    let mut content = [Content { version: 1, message: first }; MAILBOXES];
    let mut random = Rng::new(1);
    let mut restarts = Vec::new();
    let (mut acknowledged, mut beyond) = (0, 0);
    for round in 1..=kills {
        let trigger = KillTrigger::new(&server, random.below(60) + 1, random.below(2_000));
        let histories = write_until_killed(&server, round, &trigger);
        assert_eq!(server.wait(), None, "the server ended before the kill");
        let started = Instant::now();
        server.restart(&arguments);
        restarts.push(started.elapsed());
        let mut client = server.connect();
        assert_eq!(client.stat("epoch"), round + 1);
        for (mailbox, content) in content.iter_mut().enumerate() {
            let case = format!("mailbox {mailbox}, kill {round} {trigger:?}");
            let of_mailbox: Vec<_> = histories.iter().filter(|history| history.mailbox == mailbox).collect();
            let found = read(&mut client, mailbox);
            let last = expect_nothing_lost(*content, &of_mailbox, found, &case);
            acknowledged += last.version - content.version;
            beyond += u64::from(found.version > last.version);
            *content = found;
        }
        assert_eq!(content[UNTOUCHED], Content { version: 1, message: first });
    }
    restarts.sort();
    println!("{kills} kills, {acknowledged} messages acknowledged, {beyond} mailboxes had a newer one");
    println!("a restart took {:?}, at most {:?}", restarts[restarts.len() / 2], restarts[restarts.len() - 1]);
}

/// Expects that a mailbox with content `before` may have content `found` after these writes, and that no
/// acknowledged write is lost. Returns the last acknowledged content.
fn expect_nothing_lost(before: Content, histories: &[&History], found: Content, case: &str) -> Content {
    let acknowledged = histories.iter().flat_map(|history| &history.acknowledged);
    let last = *acknowledged.chain([&before]).max_by_key(|content| content.version).expect("one at least");
    let sent: usize = histories.iter().map(|history| history.sent.len()).sum();
    assert!(found.version >= last.version, "{last:x?} was acknowledged, {found:x?} is there: {case}");
    assert!(
        found.version <= before.version + sent as u64,
        "{sent} writes after {before:x?} cannot make {found:x?}: {case}"
    );
    if found.version == last.version {
        assert_eq!(found, last, "{case}");
    } else {
        let mut pending = histories.iter().flat_map(|history| &history.sent[history.acknowledged.len()..]);
        assert!(pending.any(|sent| *sent == found.message), "no pending write made {found:x?}: {case}");
    }
    last
}

fn write_until_killed(server: &Server, round: u64, trigger: &KillTrigger) -> Vec<History> {
    thread::scope(|scope| {
        let write = |(writer, mailbox)| {
            scope.spawn(move || {
                let mut history = History { mailbox, sent: Vec::new(), acknowledged: Vec::new() };
                let ended = write_on(server.port, round << 32 | (writer as u64) << 24, trigger, &mut history);
                assert!(trigger.has_fired(), "{ended:?} before the kill");
                history
            })
        };
        let threads: Vec<_> = WRITERS.into_iter().enumerate().map(write).collect();
        threads.into_iter().map(|thread| thread.join().expect("a writer")).collect()
    })
}

/// Writes messages with numbers from `number` on, until the connection breaks.
fn write_on(port: u16, mut number: u64, trigger: &KillTrigger, history: &mut History) -> io::Result<()> {
    let mailbox = history.mailbox;
    let mut stream = TcpStream::connect(("127.0.0.1", port))?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(HANG))?;
    stream.set_write_timeout(Some(HANG))?;
    let mut answers = BufReader::new(stream.try_clone()?);
    let mut writable = true;
    loop {
        while writable && history.sent.len() < history.acknowledged.len() + PIPELINE {
            let last = history.sent.last().filter(|_| mailbox == PATCHED);
            let message = Message { front: last.map_or(number, |last| last.front), back: number };
            let request = if last.is_some() { patch(mailbox, message) } else { whole(mailbox, message) };
            // After the kill there may be answers left to read.
            writable = stream.write_all(&request).is_ok();
            if writable {
                history.sent.push(message);
                number += 1;
            }
        }
        let mut answer = String::new();
        answers.read_line(&mut answer)?;
        let Some(line) = answer.strip_suffix('\n') else { return Ok(()) };
        let version = line.strip_prefix("OK v=").unwrap_or_else(|| panic!("{line:?} to a write"));
        let version = version.parse().expect("a version");
        history.acknowledged.push(Content { version, message: history.sent[history.acknowledged.len()] });
        trigger.count_answer();
    }
}

fn patch(mailbox: usize, Message { back, .. }: Message) -> Vec<u8> {
    let half = back.to_ne_bytes().repeat(SIZE / 2 / 8);
    [format!("w {mailbox} {} off={}\n", SIZE / 2, SIZE / 2).into_bytes(), half, b"\n".to_vec()].concat()
}
