//! What is left when the server is killed at work: every message whole, and none lost that was acknowledged.
//!
//! The server is killed 300 times while messages of 64 KiB are written, and 30 times within the copy of a large one;
//! `DIPC_KILLS` in the environment sets another number than 300, and a tenth of it instead of 30. The instants are
//! pseudo-random counts of answers, and a failure names its own.
#![allow(missing_docs)]

use std::fs::{self, File};
use std::hint::spin_loop;
use std::io::{self, BufRead, BufReader, Write};
use std::net::TcpStream;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Instant;

use dipc_testkit::client::Client;
use dipc_testkit::port::Port;
use dipc_testkit::process::KillOnDrop;
use dipc_testkit::program;
use dipc_testkit::rng::Rng;
use dipc_testkit::server::Server;
use dipc_testkit::wait::{HANG, wait_until};
use nix::sys::signal::{Signal::SIGKILL, kill};
use nix::unistd::Pid;

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
struct History {
    mailbox: usize,
    sent: Vec<Message>,
    acknowledged: Vec<Held>,
}

/// When to kill: when so many answers have come, and then some turns of a loop later.
#[derive(Debug)]
struct Fuse {
    server: Pid,
    answers: u64,
    turns: u64,
    burnt: AtomicU64,
}

#[test]
fn a_kill_leaves_every_mailbox_one_whole_message_no_older_than_the_last_acknowledged() {
    let kills = kills();
    let port = Port::reserve();
    let arguments = format!("4 64 {} 64", port.number);
    let mut server = Server::start(&arguments);
    let first = Message { front: 7, back: 7 };
    for mailbox in 0..MAILBOXES {
        server.connect().ask(whole(mailbox, first), "OK v=1\n");
    }
    let mut held = [Held { version: 1, message: first }; MAILBOXES];
    let mut random = Rng::new(1);
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
        for (mailbox, held) in held.iter_mut().enumerate() {
            let case = format!("mailbox {mailbox}, kill {round} {fuse:?}");
            let of_mailbox: Vec<_> = histories.iter().filter(|history| history.mailbox == mailbox).collect();
            let found = read(&mut client, mailbox);
            let last = expect_nothing_lost(*held, &of_mailbox, found, &case);
            acknowledged += last.version - held.version;
            beyond += u64::from(found.version > last.version);
            *held = found;
        }
        assert_eq!(held[UNTOUCHED], Held { version: 1, message: first });
    }
    restarts.sort();
    println!("{kills} kills, {acknowledged} messages acknowledged, {beyond} times a newer one was there");
    println!("a restart took {:?}, at most {:?}", restarts[restarts.len() / 2], restarts[restarts.len() - 1]);
}

/// How often the server is killed while messages are written.
fn kills() -> u64 {
    std::env::var("DIPC_KILLS").map_or(300, |kills| kills.parse().expect("DIPC_KILLS is a number"))
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
                let mut history = History { mailbox, sent: Vec::new(), acknowledged: Vec::new() };
                let ended = write_on(server.port, round << 32 | (writer as u64) << 24, fuse, &mut history);
                assert!(fuse.is_out(), "{ended:?} before the kill");
                history
            })
        };
        let threads: Vec<_> = WRITERS.into_iter().enumerate().map(write).collect();
        threads.into_iter().map(|thread| thread.join().expect("a writer")).collect()
    })
}

/// Writes messages with numbers from `number` on, until the connection breaks.
fn write_on(port: u16, mut number: u64, fuse: &Fuse, history: &mut History) -> io::Result<()> {
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
            // After the kill there may still be answers to read.
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
    fn new(server: &Server, random: &mut Rng) -> Self {
        let (answers, turns) = (random.below(60) + 1, random.below(2_000));
        Fuse { server: Pid::from_raw(server.pid()), answers, turns, burnt: AtomicU64::new(0) }
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

// ---- copying ----

/// Bytes of a message of which each request changes one number, so that the server does little else than copy.
const LARGE: usize = 64 * 1024 * 1024;

#[test]
fn a_kill_within_a_copy_leaves_the_whole_message_before_or_after_it() {
    let port = Port::reserve();
    let arguments = format!("1 65536 {} 65536", port.number);
    let mut server = Server::start(&arguments);
    let path = server.directory.path().join(server.port.to_string()).join("segment");
    let mut client = server.connect();
    let mut held = Held { version: 0, message: Message { front: 0, back: 0 } };
    let places = [0x6d61_696c_626f_7801, 0x6d61_696c_626f_7802].map(|number| {
        held = Held { version: held.version + 1, message: Message { front: number, back: number } };
        let request = [format!("w 0 {LARGE}\n").as_bytes(), &large(held.message), b"\n"].concat();
        client.ask(request, format!("OK v={}\n", held.version));
        place_of(number, &path)
    });
    let memory = File::open(&path).expect("the memory of the server");
    let mut random = Rng::new(4);
    let mut number = 0;
    let mut caught = 0;
    let kills = kills().div_ceil(10);
    for round in 1..=kills {
        for _ in 0..=random.below(2) {
            number += 1;
            let (next, request) = change(held, number);
            client.ask(request, format!("OK v={}\n", next.version));
            held = next;
        }
        number += 1;
        let (next, request) = change(held, number);
        let words = || places.map(|place| word_at(&memory, place));
        let before = words();
        client.send(request);
        // Without giving the processor away, for a copy takes a few milliseconds.
        let sent = Instant::now();
        while words() == before {
            assert!(sent.elapsed() < HANG, "the copy does not begin");
        }
        (0..random.below(2_000)).for_each(|_| spin_loop());
        server.signal(SIGKILL);
        let acknowledged = !client.read_to_end().is_empty();
        server.wait();
        server.restart(&arguments);
        client = server.connect();
        let found = ends(&mut client);
        let is_old = found == held;
        assert!(!(is_old && acknowledged), "{next:x?} was acknowledged, {found:x?} is there, kill {round}");
        caught += u64::from(is_old);
        held = if is_old { held } else { next };
        assert_eq!(found, held, "kill {round}");
    }
    client.send("r 0\n");
    assert!(client.data().1 == large(held.message), "not {held:x?}");
    println!("{caught} of {kills} kills came before the end of a copy");
    assert!(caught > 0, "no kill came before the end of a copy");
}

/// The numbers at the front and at the back, where a torn message shows.
fn ends(client: &mut Client) -> Held {
    let [front, back] = [0, LARGE - 8].map(|offset| {
        client.send(format!("r 0 off={offset} len=8\n"));
        let (header, data) = client.data();
        let version = header.strip_prefix("DATA 8 v=").and_then(|rest| rest.strip_suffix(" n=1"));
        let version: u64 =
            version.and_then(|version| version.parse().ok()).unwrap_or_else(|| panic!("{header}"));
        (version, u64::from_ne_bytes(data.try_into().expect("eight bytes")))
    });
    assert_eq!(front.0, back.0);
    Held { version: front.0, message: Message { front: front.1, back: back.1 } }
}

/// Zeros between two numbers.
fn large(Message { front, back }: Message) -> Vec<u8> {
    let mut message = vec![0; LARGE];
    message[..8].copy_from_slice(&front.to_ne_bytes());
    message[LARGE - 8..].copy_from_slice(&back.to_ne_bytes());
    message
}

/// Changes the number at the front or at the back, in turn. Either way the server writes another front than was there
/// when it begins to copy, and another back when it ends.
fn change(held: Held, number: u64) -> (Held, Vec<u8>) {
    let Held { version, message: Message { front, back } } = held;
    let (message, offset) = match version % 2 {
        0 => (Message { front: number, back }, 0),
        _ => (Message { front, back: number }, LARGE - 8),
    };
    let request = [format!("w 0 8 off={offset}\n").as_bytes(), &number.to_ne_bytes(), b"\n"].concat();
    (Held { version: version + 1, message }, request)
}

/// Where a number lies in the memory of the server.
fn place_of(number: u64, memory: &Path) -> u64 {
    let memory = fs::read(memory).expect("the memory of the server");
    let mut places = (0..memory.len() - 8).step_by(4);
    places.find(|place| memory[*place..][..8] == number.to_ne_bytes()).expect("it is there") as u64
}

fn word_at(memory: &File, place: u64) -> [u8; 8] {
    let mut word = [0; 8];
    memory.read_exact_at(&mut word, place).expect("the memory of the server");
    word
}

// ---- starting ----

#[test]
fn a_kill_during_a_start_leaves_the_messages_as_they_were() {
    let port = Port::reserve();
    let arguments = format!("4 64 {} 64", port.number);
    let mut server = Server::start(&arguments);
    let message = Message { front: 1, back: 2 };
    server.connect().ask(whole(0, message), "OK v=1\n");
    server.signal(SIGKILL);
    server.wait();
    let mut random = Rng::new(2);
    for _ in 0..100 {
        // Looking at its directory takes as long as it takes, and a start takes some twenty such looks or some hundred.
        let looks = random.below(200);
        let begun = begin_start(&server, &arguments);
        (0..looks).for_each(|_| drop(fs::read_dir(server.directory.path()).map(Iterator::count)));
        drop(begun);
    }
    server.restart(&arguments);
    assert_eq!(read(&mut server.connect(), 0), Held { version: 1, message });
}

#[test]
fn a_kill_while_the_memory_is_made_leaves_nothing_in_the_way() {
    let port = Port::reserve();
    let arguments = format!("20000 1 {} 1", port.number);
    let mut server = Server::start(&arguments);
    server.signal(SIGKILL);
    server.wait();
    let segment = server.directory.path().join(server.port.to_string()).join("segment");
    let mut random = Rng::new(3);
    for _ in 0..20 {
        let number_of_file = || fs::metadata(&segment).map(|found| found.ino()).ok();
        let before = number_of_file();
        let begun = begin_start(&server, &format!("{arguments} --fresh"));
        wait_until("the old memory is gone", || number_of_file() != before);
        (0..random.below(2_000)).for_each(|_| assert!(number_of_file() != before));
        drop(begun);
        server.restart(&arguments);
        let mut client = server.connect();
        client.ask("r 0\nr 19999\n", "DATA 0 v=0 n=0\n\nDATA 0 v=0 n=0\n\n");
        client.ask("w 19999\nhello\n", "OK v=1\n");
        server.signal(SIGKILL);
        server.wait();
    }
}

/// Starts a server without waiting until it is ready.
fn begin_start(server: &Server, arguments: &str) -> KillOnDrop {
    let child = Command::new(program::dipc())
        .args(arguments.split_whitespace())
        .arg("--dir")
        .arg(server.directory.path())
        .args(["--foreground", "--log-level", "off"])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .spawn();
    KillOnDrop(child.expect("started"))
}
