//! Damaged memory: every access returns the old contents or `Damaged`. No access panics, and none reaches
//! another mailbox.

use std::sync::atomic::{AtomicU8, Ordering};

use proptest::prelude::*;

use super::super::record::Record;
use super::*;

/// Bytes of the word and two records.
const CONTROL_USED: usize = 104;

/// Where the numbers of holes are in the control area.
const HOLES_AT: usize = 116;

/// A segment whose mailbox 1 holds three messages. No bytes of their payloads are a valid header.
fn prepared() -> Segment {
    let segment = Segment::create(&memory(), SMALL, 0).expect("created");
    wrapped(&mut block(&segment));
    segment
}

fn flip_control(segment: &Segment, at: usize, bits: u8) {
    assert!(at < CONTROL_USED);
    flip_byte(segment, at, bits);
}

fn flip_byte(segment: &Segment, at: usize, bits: u8) {
    assert!(at < size_of::<Control>());
    // SAFETY: within the control area, which consists of atomics, and one thread.
    let byte = unsafe { &*std::ptr::from_ref(segment.control(1)).cast::<AtomicU8>().add(at) };
    byte.fetch_xor(bits, Ordering::Relaxed);
}

fn flip_ring(segment: &Segment, at: u64, bits: u8) {
    let mut block = block(segment);
    let byte = block.ring.read(at, 1)[0][0];
    block.ring.write(at, &[byte ^ bits]);
}

/// Calls every operation of a block. Returns the results of those that read.
fn all_operations(segment: &Segment) -> Vec<Result<List, Damaged>> {
    let mut block = block(segment);
    let mut reads = vec![list(&block)];
    let one = |message: Message| vec![(message.version, message.parts.concat())];
    reads.push(block.read(0, u64::MAX).map(one));
    let versions = 0..block.version().map_or(0, |version| version.min(30) + 2);
    for cursor in versions.map(Cursor::at).chain([Cursor::at(u64::MAX), Cursor { version: 4, next: Some(3) }])
    {
        let found = block.after(cursor, 0, u64::MAX);
        reads.push(found.map(|found| found.map_or_else(List::new, |(message, _)| one(message))));
    }
    let located = block.locate(None);
    let message = |located: &Located| block.message(located).map(one);
    reads.push(located.and_then(|located| located.as_ref().map_or(Ok(List::new()), message)));
    let taken = take(&mut block);
    if let Ok(Some(taken)) = taken {
        assert!(
            block.requeue(taken).is_ok() || segment.control(1).has_holes(),
            "their number may be damaged"
        );
    }
    let empty = block.contents().is_ok_and(|contents| contents.count == 0);
    for change in [
        |block: &mut Block| block.patch(0, b"p").map(drop),
        |block: &mut Block| block.put(b"").map(drop),
        |block: &mut Block| block.put_dropping(&[1; 30]).map(drop),
        |block: &mut Block| block.put_dropping(&[1; CAPACITY]).map(drop),
        |block: &mut Block| block.write(b"repaired").map(drop),
    ] {
        let changed = change(&mut block);
        assert!(changed.is_ok() || !empty, "an empty list has no entry that could be damaged");
    }
    reads
}

/// Asserts that every read returned messages of `old`, or `Damaged`. Returns how many returned `Damaged`.
fn old_or_damaged(reads: &[Result<List, Damaged>], old: &List) -> usize {
    for read in reads {
        let Ok(found) = read else { continue };
        let is_old = found.iter().all(|message| old.contains(message));
        assert!(is_old, "{found:?} was never stored");
    }
    reads.iter().filter(|read| read.is_err()).count()
}

#[test]
fn a_damaged_entry_header_never_creates_a_message() {
    let old = list(&block(&prepared())).expect("not damaged");
    let record = block(&prepared()).record().expect("not damaged");
    let heads = [record.head, record.head + 26, record.last];
    for (at, bits) in
        heads.iter().flat_map(|head| *head..head + 4).flat_map(|at| (1..=255).map(move |bits| (at, bits)))
    {
        let segment = prepared();
        flip_ring(&segment, at, bits);
        let damaged = old_or_damaged(&all_operations(&segment), &old);
        assert!(damaged > 0, "byte {at} flipped by {bits:#x} was not detected");
        let repaired = list(&block(&segment)).expect("a write repairs the mailbox");
        assert_eq!(repaired.last().expect("one message").1, b"repaired");
    }
}

#[test]
fn a_damaged_record_is_refused_until_recovery_restores_the_previous_one() {
    let now = list(&block(&prepared())).expect("not damaged");
    // The other record has the previous state, without the newest message.
    let before = now[..2].to_vec();
    for (at, bits) in (8..CONTROL_USED).flat_map(|at| (1..=255).map(move |bits| (at, bits))) {
        let segment = prepared();
        flip_control(&segment, at, bits);
        let active = list(&block(&segment)).is_err();
        assert_eq!(segment.control(1).contents(SMALL.capacity).is_err(), active);
        if active {
            let reads = all_operations(&segment);
            assert!(reads.iter().all(Result::is_err), "byte {at} flipped by {bits:#x}");
        }
        assert_eq!(segment.recover().len(), usize::from(active));
        let found = list(&block(&segment)).expect("recovered");
        assert_eq!(found, if active { before.clone() } else { now.clone() });
    }
}

/// A segment whose mailbox 1 holds one message between two holes and another message.
fn with_holes() -> Segment {
    let segment = Segment::create(&memory(), SMALL, 0).expect("created");
    let mut block = block(&segment);
    put_all(&mut block, &[b"first", b"hole", b"third", b"hole", b"hole"]);
    remove_all(&mut block, &[2, 4, 5]);
    segment
}

#[test]
fn damaged_numbers_of_holes_never_create_a_message_and_a_start_restores_them() {
    let old = list(&block(&with_holes())).expect("not damaged");
    let contents = block(&with_holes()).contents().expect("not damaged");
    for (at, bits) in (HOLES_AT..size_of::<Control>()).flat_map(|at| (1..=255).map(move |bits| (at, bits))) {
        let segment = with_holes();
        flip_byte(&segment, at, bits);
        // A read of the newest message returns the version of the mailbox.
        let read = (contents.version, old[1].1.clone());
        old_or_damaged(&all_operations(&segment), &[old.clone(), vec![read]].concat());
        let segment = with_holes();
        flip_byte(&segment, at, bits);
        if segment.control(1).has_holes() {
            assert_eq!(segment.recover(), []);
            assert_eq!(block(&segment).contents(), Ok(contents));
            assert_eq!(list(&block(&segment)), Ok(old.clone()));
        }
    }
}

#[test]
fn a_start_refuses_a_list_with_holes_whose_entries_are_damaged() {
    let segment = with_holes();
    let head = block(&segment).record().expect("not damaged").head;
    flip_ring(&segment, head, 0x01);
    assert_eq!(segment.recover(), [(1, Recovered::Lost)]);
    assert!(all_operations_fail(&segment));
}

fn all_operations_fail(segment: &Segment) -> bool {
    let mut block = block(segment);
    let is_read = list(&block).is_ok() || block.read(0, 1).is_ok() || block.locate(None).is_ok();
    let is_changed = block.write(b"").is_ok() || block.put(b"").is_ok() || block.put_dropping(b"").is_ok();
    !is_read && !is_changed && block.patch(0, b"").is_err()
}

#[test]
fn a_damaged_word_activates_the_current_or_the_previous_state() {
    let now = list(&block(&prepared())).expect("not damaged");
    for (at, bits) in (0..8).flat_map(|at| (1..=255).map(move |bits| (at, bits))) {
        let segment = prepared();
        flip_control(&segment, at, bits);
        old_or_damaged(&all_operations(&segment), &now);
    }
}

#[test]
fn a_cursor_of_another_mailbox_finds_no_message() {
    let segment = prepared();
    let mut block = block(&segment);
    let free = 36;
    let len = u32::try_from(block.record().expect("not damaged").last - free).expect("small") - 4;
    block.ring.write(free, &len.to_ne_bytes());
    assert_eq!(block.after(Cursor { version: 3, next: Some(free) }, 0, u64::MAX), Err(Damaged));
}

/// The entry with the wrong length ends where zeros look like the headers of empty messages.
#[test]
fn a_length_that_leaves_no_room_for_later_headers_is_damage() {
    let segment = Segment::create(&memory(), SMALL, 0).expect("created");
    let mut block = block(&segment);
    put_all(&mut block, &[b"a", b"", b"", b"", &[0; 12], b"z"]);
    let record = block.record().expect("not damaged");
    let len = record.last - 12 - record.head - ENTRY_HEADER as u64;
    block.ring.write(record.head, &u32::try_from(len).expect("small").to_ne_bytes());
    assert_eq!(block.after(Cursor::at(0), 0, u64::MAX), Err(Damaged));
}

/// Any consistent record.
fn records() -> impl Strategy<Value = Record> {
    let sizes = (0..5u64, 0..=CAPACITY as u64, 0..=CAPACITY as u64 + 8);
    (0..300u64, sizes, 0..9u64).prop_map(|(head, (count, newest, older), gone)| {
        let header = ENTRY_HEADER as u64;
        let (older, newest) = match count {
            0 => (0, 0),
            1 => (0, header + newest),
            more => ((header * (more - 1)).max(older), header + newest),
        };
        let last = head + older;
        Record { version: count + gone, head, last, tail: last + newest, count }
    })
}

proptest! {
    #[test]
    fn any_bytes_in_the_ring_keep_accesses_inside_the_list(
        record in records(),
        ring in prop::collection::vec(prop_oneof![8 => Just(0u8), 1 => 0..70u8, 1 => any::<u8>()], 136),
    ) {
        let segment = Segment::create(&memory(), SMALL, 0).expect("created");
        let mut block = block(&segment);
        block.ring.write(0, &ring);
        block.control.commit(record);
        let within = record.live() <= (CAPACITY + ENTRY_HEADER) as u64;
        prop_assert_eq!(block.contents().is_ok(), within);
        for read in all_operations(&segment) {
            let messages = read.unwrap_or_default();
            let bytes: u64 = messages.iter().map(|(_, bytes)| (ENTRY_HEADER + bytes.len()) as u64).sum();
            // An empty list reads as an empty message, which has no header.
            prop_assert!(bytes <= record.live().max(ENTRY_HEADER as u64));
        }
        for neighbour in [0, 2] {
            prop_assert_eq!(segment.control(neighbour).version(), Ok(0));
        }
    }
}
