//! What is left when the server is killed at work: every message whole, and none lost that was acknowledged.
//!
//! The server is killed 300 times while messages are written; `DIPC_KILLS` in the environment sets another number.
//! The instants are pseudo-random counts of answers, so that a failure names the one it came from.
#![allow(missing_docs)]

mod support;

use std::fs;
use std::hint::spin_loop;
use std::io::{self, BufRead, BufReader, Write};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::Instant;

use nix::sys::signal::{Signal::SIGKILL, kill};
use nix::unistd::Pid;
use support::{Client, DIPC, PATIENCE, Server, wait_until};

const MAILBOXES: usize = 4;

/// Bytes of a message.
const SIZE: usize = 64 * 1024;

/// The mailbox of each writer: two share the first, two the second.
const WRITERS: [usize; 5] = [0, 0, 1, 1, PATCHED];

/// Its writer overwrites the second half of the message again and again.
const PATCHED: usize = 2;

/// Written before the first kill and never again.
const UNTOUCHED: usize = 3;

/// Messages that a writer sends before it waits for an answer.
const PIPELINE: usize = 4;

/// Kills while messages are written, unless the environment says another number.
const KILLS: u64 = 300;

/// A message is one number of eight bytes over and over in its first half, and one in its second: a torn one shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Message {
    front: u64,
    back: u64,
}

/// What a mailbox holds, or held when the server acknowledged it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Held {
    version: u64,
    message: Message,
}

/// What one writer did until the server was killed: all it sent, and as much of that as was acknowledged.
#[derive(Default)]
struct History {
    sent: Vec<Message>,
    acknowledged: Vec<Held>,
}

/// When to kill: after so many answers, and then so many turns of a loop.
#[derive(Debug)]
struct Fuse {
    server: Pid,
    answers: u32,
    turns: u32,
    burnt: AtomicU32,
}

#[test]
fn a_kill_leaves_every_mailbox_one_whole_message_no_older_than_the_last_acknowledged() {
    let kills =
        std::env::var("DIPC_KILLS").map_or(KILLS, |kills| kills.parse().expect("DIPC_KILLS is a number"));
    let mut server = Server::start("4 64 0 64");
    let arguments = format!("4 64 {} 64", server.port);
    let first = Message { front: 7, back: 7 };
    for mailbox in 0..MAILBOXES {
        server.connect().ask(whole(mailbox, first), "OK v=1\n");
    }
    let mut held = [Held { version: 1, message: first }; MAILBOXES];
    let mut random = Random(1);
    let mut restarts = Vec::new();
    let (mut acknowledged, mut beyond) = (0, 0);
    for round in 1..=kills {
        let fuse = Fuse::new(&server, &mut random);
        let histories = write_until_killed(&server, round, &fuse);
        assert_eq!(server.wait(), None, "it did not end by itself");
        let started = Instant::now();
        server.restart(&arguments);
        restarts.push(started.elapsed());
        let mut client = server.connect();
        assert_eq!(client.stat("epoch"), round + 1);
        for (mailbox, held) in (0..).zip(&mut held) {
            let of_mailbox: Vec<&History> = histories
                .iter()
                .zip(WRITERS)
                .filter(|(_, its)| *its == mailbox)
                .map(|(history, _)| history)
                .collect();
            let found = read(&mut client, mailbox);
            let last = expect_nothing_lost(
                *held,
                &of_mailbox,
                found,
                &format!("mailbox {mailbox}, kill {round} {fuse:?}"),
            );
            acknowledged += last.version - held.version;
            beyond += u64::from(found.version > last.version);
            *held = found;
        }
        assert_eq!(held[UNTOUCHED], Held { version: 1, message: first });
    }
    restarts.sort();
    println!("{kills} kills, {acknowledged} messages acknowledged, {beyond} times one more was there");
    println!("a restart took {:?}, at most {:?}", restarts[restarts.len() / 2], restarts[restarts.len() - 1]);
}

/// `before` was there before the writing began, `found` after the restart. Returns the last that was acknowledged.
fn expect_nothing_lost(before: Held, histories: &[&History], found: Held, case: &str) -> Held {
    let acknowledged = histories.iter().flat_map(|history| &history.acknowledged);
    let last = *acknowledged.chain([&before]).max_by_key(|held| held.version).expect("one at least");
    let sent: usize = histories.iter().map(|history| history.sent.len()).sum();
    assert!(found.version >= last.version, "{last:x?} was acknowledged, {found:x?} is there: {case}");
    assert!(
        found.version <= before.version + sent as u64,
        "{sent} after {before:x?} made {found:x?}: {case}"
    );
    if found.version == last.version {
        assert_eq!(found, last, "{case}");
    } else {
        let mut pending = histories.iter().flat_map(|history| &history.sent[history.acknowledged.len()..]);
        assert!(
            pending.any(|sent| *sent == found.message),
            "nobody waits for the answer to {found:x?}: {case}"
        );
    }
    last
}

// ---- writing ----

fn write_until_killed(server: &Server, round: u64, fuse: &Fuse) -> Vec<History> {
    thread::scope(|scope| {
        let write = |(writer, mailbox)| {
            scope.spawn(move || {
                let mut history = History::default();
                let ended =
                    write_on(server.port, round << 32 | (writer as u64) << 24, mailbox, fuse, &mut history);
                assert!(fuse.is_out(), "{ended:?} before the kill");
                history
            })
        };
        let threads: Vec<_> = WRITERS.into_iter().enumerate().map(write).collect();
        threads.into_iter().map(|thread| thread.join().expect("a writer")).collect()
    })
}

/// Writes messages with numbers from `number` on, until the connection breaks.
fn write_on(
    port: u16,
    mut number: u64,
    mailbox: usize,
    fuse: &Fuse,
    history: &mut History,
) -> io::Result<()> {
    let mut stream = TcpStream::connect(("127.0.0.1", port))?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let mut answers = BufReader::new(stream.try_clone()?);
    loop {
        while history.sent.len() < history.acknowledged.len() + PIPELINE {
            let last = history.sent.last().filter(|_| mailbox == PATCHED);
            let message = Message { front: last.map_or(number, |last| last.front), back: number };
            let request = if last.is_some() { patch(mailbox, message) } else { whole(mailbox, message) };
            stream.write_all(&request)?;
            history.sent.push(message);
            number += 1;
        }
        let mut answer = String::new();
        answers.read_line(&mut answer)?;
        let Some(line) = answer.strip_suffix('\n') else { return Ok(()) };
        let version = line.strip_prefix("OK v=").unwrap_or_else(|| panic!("{line:?} to a write"));
        let version = version.parse().expect("a version");
        history.acknowledged.push(Held { version, message: history.sent[history.acknowledged.len()] });
        fuse.burn();
    }
}

fn whole(mailbox: usize, Message { front, back }: Message) -> Vec<u8> {
    let half = |number: u64| number.to_ne_bytes().repeat(SIZE / 2 / 8);
    [format!("w {mailbox} {SIZE}\n").into_bytes(), half(front), half(back), b"\n".to_vec()].concat()
}

fn patch(mailbox: usize, Message { back, .. }: Message) -> Vec<u8> {
    let half = back.to_ne_bytes().repeat(SIZE / 2 / 8);
    [format!("w {mailbox} {} off={}\n", SIZE / 2, SIZE / 2).into_bytes(), half, b"\n".to_vec()].concat()
}

/// What the mailbox holds now, which is one whole message.
fn read(client: &mut Client, mailbox: usize) -> Held {
    client.send(format!("r {mailbox}\n"));
    let (header, data) = client.data();
    let version = header.strip_prefix(&format!("DATA {SIZE} v=")).and_then(|rest| rest.strip_suffix(" n=1"));
    let version = version.unwrap_or_else(|| panic!("mailbox {mailbox}: {header}"));
    let half = |bytes: &[u8]| {
        let word: [u8; 8] = bytes[..8].try_into().expect("eight bytes");
        assert!(bytes == word.repeat(SIZE / 2 / 8), "a torn message in mailbox {mailbox}, {header}");
        u64::from_ne_bytes(word)
    };
    let message = Message { front: half(&data[..SIZE / 2]), back: half(&data[SIZE / 2..]) };
    Held { version: version.parse().expect("a version"), message }
}

impl Fuse {
    fn new(server: &Server, random: &mut Random) -> Self {
        let (answers, turns) = (random.below(60) + 1, random.below(20_000));
        Fuse { server: Pid::from_raw(server.pid()), answers, turns, burnt: AtomicU32::new(0) }
    }

    /// One more answer has come; kills the server when that is the one.
    fn burn(&self) {
        if self.burnt.fetch_add(1, Ordering::Relaxed) + 1 == self.answers {
            (0..self.turns).for_each(|_| spin_loop());
            kill(self.server, SIGKILL).expect("the server is ours");
        }
    }

    fn is_out(&self) -> bool {
        self.burnt.load(Ordering::Relaxed) >= self.answers
    }
}

// ---- starting ----

#[test]
fn a_kill_during_a_start_leaves_the_messages_as_they_were() {
    let mut server = Server::start("4 64 0 64");
    let arguments = format!("4 64 {} 64", server.port);
    let message = Message { front: 1, back: 2 };
    server.connect().ask(whole(0, message), "OK v=1\n");
    server.signal(SIGKILL);
    server.wait();
    let mut random = Random(2);
    for _ in 0..100 {
        // Looking at its directory takes as long as it takes, and a start takes some twenty such looks or some hundred.
        let looks = random.below(200);
        let mut child = start_quietly(&server, &arguments);
        (0..looks).for_each(|_| drop(fs::read_dir(server.directory.path()).map(Iterator::count)));
        child.kill().expect("killed");
        child.wait().expect("ended");
    }
    server.restart(&arguments);
    assert_eq!(read(&mut server.connect(), 0), Held { version: 1, message });
}

#[test]
fn a_kill_while_the_memory_is_made_leaves_nothing_in_the_way() {
    let mut server = Server::start("1 1 0 1");
    server.signal(SIGKILL);
    server.wait();
    let arguments = format!("20000 1 {} 1", server.port);
    let instance = server.directory.path().join(server.port.to_string());
    let mut random = Random(3);
    for _ in 0..20 {
        let mut child = start_quietly(&server, &format!("{arguments} --fresh"));
        wait_until("the memory is being made", || {
            instance.join("segment.new").exists() || child.try_wait().expect("ours").is_some()
        });
        let looks = random.below(2_000);
        let _ = (0..looks).filter(|_| instance.join("segment.new").exists()).count();
        child.kill().expect("killed");
        child.wait().expect("ended");
        server.restart(&format!("{arguments} --fresh"));
        let mut client = server.connect();
        client.ask("r 0\nr 19999\n", "DATA 0 v=0 n=0\n\nDATA 0 v=0 n=0\n\n");
        client.ask("w 19999\nhello\n", "OK v=1\n");
        server.signal(SIGKILL);
        server.wait();
    }
}

/// A start that nobody waits for.
fn start_quietly(server: &Server, arguments: &str) -> Child {
    Command::new(DIPC)
        .args(arguments.split_whitespace())
        .arg("--dir")
        .arg(server.directory.path())
        .args(["--foreground", "--log-level", "off"])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .spawn()
        .expect("started")
}

/// Numbers that look random and are the same in every run. Source: Marsaglia, Xorshift RNGs.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: u32) -> u32 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        ((self.0 >> 32) % u64::from(limit)) as u32
    }
}
