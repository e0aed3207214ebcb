//! Tests of a block without admission: compared with a naive model, stopped after each instruction, and on
//! damaged memory.
#![allow(unsafe_code, reason = "creates blocks without grants, and forks")]

mod control;
mod damage;
mod kill;
mod model;
mod numbers;

use super::super::Segment;
use super::super::segment::tests::{SMALL, memory};
use super::*;

const CAPACITY: usize = SMALL.capacity as usize;

/// Versions and bytes, oldest first.
type List = Vec<(u64, Vec<u8>)>;

/// The block of the middle mailbox of three. A stray store would change one of the other two.
fn block(segment: &Segment) -> Block<'_> {
    // SAFETY: each test has its own segment and uses it in one thread.
    unsafe { segment.block(1) }
}

/// All messages, each found with the cursor after the previous one.
fn list(block: &Block) -> Result<List, Damaged> {
    let mut list = List::new();
    let mut cursor = Cursor::at(0);
    while let Some((message, next)) = block.after(cursor, 0, u64::MAX)? {
        list.push((message.version, message.parts.concat()));
        cursor = next;
    }
    Ok(list)
}

fn put_all(block: &mut Block, messages: &[&[u8]]) {
    for message in messages {
        assert!(block.put(message).expect("not damaged").is_some(), "no room for {message:?}");
    }
}

/// Removes the oldest message.
fn take(block: &mut Block) -> Result<Option<Taken>, Damaged> {
    block.locate(None)?.map(|located| block.remove(located.location)).transpose()
}

fn take_many(block: &mut Block, count: usize) {
    for _ in 0..count {
        assert!(take(block).expect("not damaged").is_some(), "nothing to take");
    }
}

/// The location of the message with this version.
fn location(block: &Block, version: u64) -> Location {
    let mut from = None;
    while let Some(located) = block.locate(from).expect("not damaged") {
        if located.location.version == version {
            return located.location;
        }
        from = Some(located.next);
    }
    panic!("no message {version}")
}

/// Removes the messages with these versions.
fn remove_all(block: &mut Block, versions: &[u64]) {
    for version in versions {
        let location = location(block, *version);
        block.remove(location).expect("not damaged");
    }
}

/// Puts three messages into an empty block. They span both halves of its ring of 136 bytes.
fn spanning(block: &mut Block) {
    put_all(block, &[b""]);
    take_many(block, 1);
    put_all(block, &[&[b'x'; 16], &[b'x'; 16], &[b'a'; 16]]);
    take_many(block, 2);
    put_all(block, &[&[b'b'; 16], &[b'c'; 16]]);
    let record = block.record().expect("not damaged");
    assert_eq!((record.head, record.tail, record.count), (40, 100, 3));
}

/// Puts three messages into an empty block. The header of the middle one wraps around the end of the ring.
fn wrapped(block: &mut Block) {
    put_all(block, &[&[b'x'; 16], &[b'x'; 16], &[b'a'; 22]]);
    take_many(block, 2);
    put_all(block, &[&[b'b'; 16], &[b'c'; 10]]);
    let record = block.record().expect("not damaged");
    assert_eq!((record.head, record.last, record.tail, record.count), (108, 154, 168, 3));
}
