//! Segments that are reopened, damaged, truncated and too large.

use super::*;
use std::os::fd::OwnedFd;

pub(crate) const SMALL: Geometry = Geometry { mailboxes: 3, capacity: 64, packet: 64 };

pub(crate) fn memory() -> File {
    let fd: OwnedFd =
        nix::sys::memfd::memfd_create("segment", nix::sys::memfd::MFdFlags::MFD_CLOEXEC).expect("created");
    File::from(fd)
}

#[test]
fn an_attached_segment_is_unchanged_until_its_epoch_begins() {
    let file = memory();
    Segment::create(&file, SMALL, 0).expect("created");
    let bytes = || {
        let mut bytes = vec![0; HEADER_SIZE];
        file.read_exact_at(&mut bytes, 0).expect("read");
        bytes
    };
    let before = bytes();
    let attached = Segment::attach(&file, SMALL).expect("attached");
    assert_eq!(bytes(), before);
    attached.begin_epoch();
    assert_eq!(attached.epoch(), 2);
    assert_eq!(Segment::open(&file, SMALL).expect("opened").epoch(), 3);
}

#[test]
fn every_open_increments_the_epoch() {
    let file = memory();
    assert_eq!(Segment::create(&file, SMALL, 0).expect("created").epoch(), 1);
    assert_eq!(Segment::open(&file, SMALL).expect("opened").epoch(), 2);
    assert_eq!(Segment::open(&file, SMALL).expect("opened").epoch(), 3);
}

/// A kill of dipcrm left a retired segment. The next server used it, and readers of the shared memory refused
/// it.
#[test]
fn a_retired_segment_that_is_used_again_is_not_retired() {
    let file = memory();
    drop(Segment::create(&file, SMALL, 0).expect("created"));
    let is_retired = || {
        let mut word = [0; 8];
        file.read_exact_at(&mut word, RETIRED_AT as u64).expect("read");
        u64::from_ne_bytes(word) != 0
    };
    Segment::retire(&file).expect("retired");
    assert!(is_retired());
    Segment::open(&file, SMALL).expect("opened");
    assert!(!is_retired());
}

#[test]
fn fencing_tokens_continue_after_a_restart() {
    let file = memory();
    let segment = Segment::create(&file, SMALL, 0).expect("created");
    assert_eq!([segment.next_token(), segment.next_token()], [1, 2]);
    let segment = Segment::open(&file, SMALL).expect("opened");
    assert_eq!((segment.next_token(), segment.epoch()), (3, 2));
}

#[test]
fn a_segment_of_another_format_is_refused() {
    let file = memory();
    Segment::create(&file, SMALL, 0).expect("created");
    file.write_all_at(&1u32.to_ne_bytes(), 12).expect("written");
    assert!(matches!(Segment::open(&file, SMALL), Err(SegmentError::Foreign(why)) if why.contains("format")));
}

#[test]
fn every_damaged_header_byte_is_refused() {
    let file = memory();
    Segment::create(&file, SMALL, 0).expect("created");
    for at in (0..HEADER_SIZE).filter(|at| !(PACKET_AT..CHECKSUM_AT).contains(at)) {
        let mut byte = [0];
        file.read_exact_at(&mut byte, at as u64).expect("read");
        file.write_all_at(&[byte[0] ^ 0x10], at as u64).expect("written");
        assert!(matches!(Segment::open(&file, SMALL), Err(SegmentError::Foreign(_))), "byte {at}");
        file.write_all_at(&byte, at as u64).expect("written");
    }
    Segment::open(&file, SMALL).expect("restored");
}

#[test]
fn another_geometry_and_another_length_are_refused() {
    let file = memory();
    Segment::create(&file, SMALL, 0).expect("created");
    let other = Geometry { mailboxes: 4, ..SMALL };
    let refused = Segment::open(&file, other).expect_err("another geometry");
    assert!(matches!(refused, SegmentError::OtherGeometry(SMALL)), "{refused}");
    file.set_len(SMALL.segment_size().expect("small") - 1).expect("truncated");
    assert!(matches!(Segment::open(&file, SMALL), Err(SegmentError::Foreign(_))));
    file.set_len(100).expect("truncated");
    assert!(matches!(Segment::open(&file, SMALL), Err(SegmentError::Foreign(_))));
}

#[test]
fn sizes_that_overflow_are_refused() {
    let huge = Geometry { mailboxes: u32::MAX, capacity: CAPACITY_MAX, packet: 1 };
    assert_eq!(huge.segment_size(), None);
    let wide = Geometry { mailboxes: 1, capacity: u64::MAX, packet: 1 };
    assert_eq!(wide.segment_size(), None);
    assert!(matches!(Segment::create(&memory(), huge, 0), Err(SegmentError::TooLarge)));
}

#[test]
fn one_damaged_record_is_recovered_and_two_are_not() {
    let file = memory();
    Segment::create(&file, SMALL, 0).expect("created");
    let control = HEADER_SIZE as u64 + size_of::<Control>() as u64;
    file.write_all_at(&[9], control + 8).expect("written");
    let segment = Segment::open(&file, SMALL).expect("opened");
    assert_eq!(segment.recover(), [(1, Recovered::FellBack)]);
    file.write_all_at(&[9], control + 56).expect("written");
    let segment = Segment::open(&file, SMALL).expect("opened");
    assert_eq!(segment.recover(), [(1, Recovered::Lost)]);
    assert_eq!(segment.control(1).version().ok(), None);
    assert_eq!(segment.control(0).version(), Ok(0));
}

#[test]
fn names_are_kept_and_a_damaged_one_is_none() {
    let file = memory();
    let name = |word| Name::new(word).expect("valid");
    let long = "x".repeat(MAILBOX_NAME_MAX);
    let segment = Segment::create(&file, SMALL, 0).expect("created");
    assert_eq!(segment.names().count(), 0);
    segment.set_name(0, Some(&name("first")));
    segment.set_name(0, Some(&name(&long)));
    segment.set_name(2, Some(&name("last")));
    segment.set_name(1, Some(&name("none")));
    segment.set_name(1, None);
    drop(segment);
    let segment = Segment::open(&file, SMALL).expect("opened");
    assert_eq!(segment.names().collect::<Vec<_>>(), [(0, name(&long)), (2, name("last"))]);
    let end = SMALL.segment_size().expect("small");
    file.write_all_at(b"A", end - MAILBOX_NAME_MAX as u64).expect("written");
    assert_eq!(segment.names().collect::<Vec<_>>(), [(0, name(&long))]);
}

#[test]
fn the_life_is_that_of_the_segment() {
    let [file, other] = [memory(), memory()];
    let life = Segment::create(&file, SMALL, 0).expect("created").life();
    assert_eq!(Segment::open(&file, SMALL).expect("opened").life(), life);
    assert_ne!(Segment::create(&other, SMALL, 0).expect("created").life(), life);
}
