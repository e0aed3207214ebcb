//! Readers beside writers, kills, `--fresh`, `--resize` and dipcrm: no read is a mixture of two messages. A
//! reader that does not look at `begun` after its copy finds such mixtures in the same time.

use std::fs::File;
use std::io::{Read, Write};
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Instant;

use dipc::client::local::{Cursor, Local, Miss};
use dipc_testkit::client::{Client, field};
use dipc_testkit::instance::BaseDirectory;
use dipc_testkit::port::Port;
use dipc_testkit::rng::Rng;
use dipc_testkit::wait::HANG;
use nix::sys::signal::Signal;

use crate::message::{message, number_of};
use crate::{Over, Scene};

/// Number of reads of each reader. There is at least one change for `READS_PER_CHANGE` of them.
fn reads() -> u64 {
    std::env::var("DIPC_LOCAL_READS")
        .map_or(30_000, |reads| reads.parse().expect("DIPC_LOCAL_READS is a number"))
}

const READS_PER_CHANGE: u64 = 30;

/// What a reader has counted.
#[derive(Debug, Default)]
struct Counted {
    whole: u64,
    empty: u64,
    missed: u64,
    retired: u64,
}

/// Reads a mailbox with messages of this size until it has read that many and it is enough, or until it is
/// stopped. Every read is whole, and
/// versions do not go back.
fn read_whole(
    local: &Local,
    mailbox: u32,
    size: usize,
    reads: u64,
    is_enough: &impl Fn() -> bool,
    is_over: &AtomicBool,
) -> Counted {
    let (mut counted, mut bytes, mut last) = (Counted::default(), Vec::new(), (0, 0));
    while (counted.whole < reads || !is_enough()) && !is_over.load(Ordering::Relaxed) {
        match local.read(mailbox, &mut bytes) {
            Ok(copied) if copied.count == 0 => counted.empty += 1,
            Ok(copied) => {
                let number = number_of(&bytes, size);
                let number = number.unwrap_or_else(|| panic!("torn: {copied:?}, {} bytes", bytes.len()));
                assert!(copied.version >= last.0, "{copied:?} after {last:?}");
                last = (copied.version, number);
                counted.whole += 1;
            }
            Err(Miss::Held | Miss::Busy) => counted.missed += 1,
            Err(Miss::Retired) => {
                counted.retired += 1;
                return counted;
            }
            Err(miss) => panic!("{miss}"),
        }
    }
    counted
}

/// Follows a queue until it is stopped. Every message is whole, and is read once.
fn follow_whole(local: &Local, mailbox: u32, size: usize, is_over: &AtomicBool) -> Counted {
    let (mut counted, mut bytes, mut cursor) = (Counted::default(), Vec::new(), Cursor::new(mailbox));
    while !is_over.load(Ordering::Relaxed) {
        let before = cursor.version();
        match local.after(&mut cursor, &mut bytes) {
            Ok(None) => counted.empty += 1,
            Ok(Some(copied)) => {
                assert!(number_of(&bytes, size).is_some(), "torn: {copied:?}, {} bytes", bytes.len());
                assert_eq!(copied.version, before + copied.lost + 1);
                counted.whole += 1;
            }
            Err(Miss::Held | Miss::Busy) => counted.missed += 1,
            Err(miss) => panic!("{miss}"),
        }
    }
    counted
}

/// Sends requests that replace, append, patch and remove messages of this size, until it is over.
fn change(
    mut client: Client,
    mailbox: u32,
    size: usize,
    seed: u64,
    changes: &AtomicU64,
    is_over: &AtomicBool,
) {
    let (mut random, mut number) = (Rng::new(seed), seed << 32);
    while !is_over.load(Ordering::Relaxed) {
        number += 1;
        let data = message(number, size);
        let mut with_data = |request: String| {
            client.send([request.as_bytes(), &data, b"\n"].concat());
            client.line()
        };
        let len = data.len();
        let answer = match random.below(6) {
            0 => with_data(format!("w {mailbox} {len}\n")),
            // Patches the message that it has just written, unless the other writer has replaced it.
            1 => {
                let written = with_data(format!("w {mailbox} {len}\n"));
                let version = field(&written, "v");
                with_data(format!("w {mailbox} {len} off=0 if={version}\n"))
            }
            2 | 3 => with_data(format!("put {mailbox} {len} full=drop\n")),
            4 => {
                client.send(format!("take {mailbox} wait=0\n"));
                client.message().0
            }
            _ => {
                client.send(format!("take {mailbox} ttl=30 wait=0\n"));
                let (header, _) = client.message();
                match header.split(" v=").nth(1).and_then(|rest| rest.split(' ').next()) {
                    Some(version) if header.starts_with("DATA") => {
                        client.send(format!("done {mailbox} v={version}\n"));
                        client.line()
                    }
                    _ => header,
                }
            }
        };
        let is_lost = answer.starts_with("ERR lease");
        assert!(["OK", "DATA", "NO"].iter().any(|word| answer.starts_with(word)) || is_lost, "{answer}");
        changes.fetch_add(1, Ordering::Relaxed);
    }
}

/// Readers and writers of one mailbox.
fn torture(size: usize, capacity_kb: usize, reads: u64) {
    let scene = Scene::new(&format!("2 {capacity_kb} 0 {capacity_kb}"));
    let (local, over) = (scene.local(), Over::default());
    let (is_over, changes) = (over.flag(), AtomicU64::new(0));
    thread::scope(|scope| {
        let writers: Vec<_> = (1..=2)
            .map(|seed| {
                let (client, is_over, changes) = (scene.server.connect(), &is_over, &changes);
                scope.spawn(move || change(client, 1, size, seed, changes, is_over))
            })
            .collect();
        let (local, is_over, changes) = (&local, &is_over, &changes);
        let is_enough = move || changes.load(Ordering::Relaxed) * READS_PER_CHANGE >= reads;
        let follower = scope.spawn(move || follow_whole(local, 1, size, is_over));
        let readers: Vec<_> = (0..3)
            .map(|_| scope.spawn(move || read_whole(local, 1, size, reads, &is_enough, is_over)))
            .collect();
        let read: Vec<_> = readers.into_iter().map(|reader| reader.join()).collect();
        drop(over);
        writers.into_iter().for_each(|writer| writer.join().expect("no panic"));
        let changes = changes.load(Ordering::Relaxed);
        let read = read.into_iter().chain([follower.join()]);
        let counted: Vec<_> = read.map(|counted| counted.expect("no panic")).collect();
        println!("messages of {size} bytes, {changes} changes: {counted:?}");
        assert!(counted.iter().all(|counted| counted.whole > 0), "{counted:?}");
    });
}

#[test]
fn small_messages_are_whole() {
    torture(640, 4, reads());
}

#[test]
fn messages_of_64_kib_are_whole() {
    torture(64 * 1024, 192, reads() / 4);
}

#[test]
fn messages_of_1_mib_are_whole() {
    torture(1024 * 1024, 3072, reads() / 40);
}

/// A reader without the second look.
fn careless(segment: &File, mailbox: u64, ring_at: u64, ring_size: u64) -> Option<Vec<u8>> {
    let number = |at: u64| {
        let mut bytes = [0; 8];
        segment.read_exact_at(&mut bytes, 4096 + 128 * mailbox + at).expect("read");
        u64::from_ne_bytes(bytes)
    };
    let record = 8 + 48 * (number(0) & 1);
    let (last, tail) = (number(record + 24), number(record + 16));
    let len = tail.checked_sub(last + 4).filter(|len| *len < ring_size)?;
    let mut bytes = vec![0; len as usize];
    let at = (last + 4) % ring_size;
    let front = len.min(ring_size - at) as usize;
    segment.read_exact_at(&mut bytes[..front], ring_at + at).expect("read");
    segment.read_exact_at(&mut bytes[front..], ring_at).expect("read");
    Some(bytes)
}

#[test]
fn a_reader_without_the_second_look_is_caught() {
    const SIZE: usize = 64 * 1024;
    let scene = Scene::new("2 64 0 64");
    let segment = File::open(scene.base.join(format!("{}/segment", scene.server.port))).expect("opened");
    let ring_size = (2 * (64 * 1024 + 4)) as u64;
    let over = Over::default();
    let is_over = over.flag();
    let write = |mut client: Client, seed: u64| {
        let mut number = seed << 32;
        while !is_over.load(Ordering::Relaxed) {
            number += 1;
            let data = message(number, SIZE);
            client.send([format!("w 1 {}\n", data.len()).as_bytes(), &data, b"\n"].concat());
            client.line();
        }
    };
    thread::scope(|scope| {
        let writers: Vec<_> = (1..=2)
            .map(|seed| {
                let (client, write) = (scene.server.connect(), &write);
                scope.spawn(move || write(client, seed))
            })
            .collect();
        let begin = Instant::now();
        let (mut reads, mut torn) = (0u64, 0);
        while torn == 0 && begin.elapsed() < HANG {
            let bytes = careless(&segment, 1, 8192 + ring_size, ring_size).unwrap_or_default();
            torn += u64::from(!bytes.is_empty() && number_of(&bytes, SIZE).is_none());
            reads += 1;
        }
        drop(over);
        writers.into_iter().for_each(|writer| writer.join().expect("no panic"));
        assert_eq!(torn, 1, "of {reads} reads");
        println!("torn after {reads} reads");
    });
}

/// Servers are killed, replaced, resized and removed, while readers read their mailboxes.
#[test]
fn kills_and_replacements_tear_no_message() {
    const SIZE: usize = 16 * 1024;
    let (base, port) = (BaseDirectory::new(), Port::reserve());
    let rounds = (reads() / 2_000).max(6);
    let (over, done) = (Over::default(), AtomicU64::new(0));
    let is_over = over.flag();
    let mut server = base.start(&format!("2 64 {} 64", port.number));
    thread::scope(|scope| {
        let readers: Vec<_> = (0..2)
            .map(|_| {
                scope.spawn(|| {
                    let mut sum = Counted::default();
                    while !is_over.load(Ordering::Relaxed) {
                        let Ok(local) = Local::open_in(base.path(), port.number) else {
                            thread::yield_now();
                            continue;
                        };
                        while !is_over.load(Ordering::Relaxed) {
                            let counted = read_whole(&local, 1, SIZE, 100, &|| true, &is_over);
                            sum.whole += counted.whole;
                            sum.missed += counted.missed;
                            done.fetch_add(1, Ordering::Relaxed);
                            if counted.retired > 0 {
                                sum.retired += 1;
                                break;
                            }
                        }
                    }
                    sum
                })
            })
            .collect();
        for round in 0..rounds {
            let ended = AtomicBool::new(false);
            thread::scope(|scope| {
                let mut client = server.connect();
                let ended = &ended;
                let writer = scope.spawn(move || {
                    let mut number = round << 32;
                    // The connection ends with the server.
                    while !ended.load(Ordering::Relaxed) {
                        number += 1;
                        let data = message(number, SIZE);
                        let request = [format!("w 1 {}\n", data.len()).as_bytes(), &data, b"\n"].concat();
                        let mut answer = [0; 64];
                        if client.stream.write_all(&request).is_err()
                            || !client.stream.read(&mut answer).is_ok_and(|len| len > 0)
                        {
                            break;
                        }
                    }
                });
                let seen = done.load(Ordering::Relaxed);
                let begin = Instant::now();
                while done.load(Ordering::Relaxed) < seen + 4 && begin.elapsed() < HANG {
                    thread::yield_now();
                }
                match round % 3 {
                    2 => drop(base.dipcrm(port.number)),
                    _ => server.end(Signal::SIGKILL),
                }
                ended.store(true, Ordering::Relaxed);
                writer.join().expect("no panic");
            });
            let (capacity, existing) =
                [(64, "--resize"), (128, "--resize"), (128, "--fresh")][(round / 2 % 3) as usize];
            server = base.start(&format!("2 {capacity} {} 64 {existing}", port.number));
        }
        drop(over);
        for reader in readers {
            let counted = reader.join().expect("no panic");
            println!("{rounds} servers: {counted:?}");
            assert!(counted.whole > 0 && counted.retired > 0, "{counted:?}");
        }
    });
}
