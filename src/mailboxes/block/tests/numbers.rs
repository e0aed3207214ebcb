//! The sequence numbers of changes, from which readers of the shared memory conclude that their copy is
//! whole.

use super::*;

/// The number of the change that was begun last, and that of the active state.
fn numbers(segment: &Segment) -> (u64, u64) {
    let control = segment.control(1);
    (control.begun.load(Ordering::Relaxed), control.word.load(Ordering::Relaxed) >> 1)
}

fn segment() -> Segment {
    Segment::create(&memory(), SMALL, 0).expect("created")
}

#[test]
fn a_change_has_one_number_and_one_of_a_mailbox_with_holes_two() {
    let segment = segment();
    let mut block = block(&segment);
    put_all(&mut block, &[b"a", b"b", b"c", b"d"]);
    assert_eq!(numbers(&segment), (4, 4));
    let second = location(&block, 2);
    let taken = block.remove(second).expect("not damaged");
    assert_eq!(numbers(&segment), (5, 5), "the first hole");
    block.requeue(taken).expect("not damaged");
    let marked = numbers(&segment);
    assert_eq!(marked.0, marked.1, "an undone hole");
    remove_all(&mut block, &[2, 3]);
    let (begun, seq) = numbers(&segment);
    assert_eq!(begun, seq);
    put_all(&mut block, &[b"e"]);
    assert_eq!(numbers(&segment), (begun + 2, begun + 2), "the record, then the holes");
    take_many(&mut block, 1);
    assert_eq!(numbers(&segment), (begun + 4, begun + 4), "the last holes");
    take_many(&mut block, 1);
    assert_eq!(numbers(&segment), (begun + 5, begun + 5), "a mailbox without holes");
    block.write(b"f").expect("not damaged");
    assert_eq!(numbers(&segment), (begun + 6, begun + 6));
}

#[test]
fn a_start_uses_up_the_number_of_an_interrupted_change() {
    let segment = segment();
    put_all(&mut block(&segment), &[b"a", b"b", b"c"]);
    segment.control(1).begin();
    assert_eq!(numbers(&segment), (4, 3), "killed after the begin");
    assert_eq!(segment.recover(), []);
    assert_eq!(numbers(&segment), (4, 4));
    put_all(&mut block(&segment), &[b"d"]);
    assert_eq!(numbers(&segment), (5, 5));
    remove_all(&mut block(&segment), &[2]);
    let (begun, _) = numbers(&segment);
    segment.control(1).begin();
    assert_eq!(numbers(&segment), (begun + 2, begun));
    assert_eq!(segment.recover(), []);
    let (again, seq) = numbers(&segment);
    assert!(again == seq && seq >= begun + 2, "{again} {seq}");
    assert_eq!(list(&block(&segment)).expect("not damaged").len(), 3);
}

#[test]
fn a_number_that_no_server_stores_is_repaired_by_a_start() {
    let segment = segment();
    put_all(&mut block(&segment), &[b"a", b"b", b"c"]);
    for damaged in [0, 2, 6, u64::MAX] {
        let (_, seq) = numbers(&segment);
        segment.control(1).begun.store(damaged, Ordering::Relaxed);
        assert_eq!(segment.recover(), []);
        assert_eq!(numbers(&segment), (seq, seq));
    }
}

#[test]
fn a_start_that_falls_back_has_a_number_of_its_own() {
    let segment = segment();
    put_all(&mut block(&segment), &[b"a", b"b"]);
    let control = segment.control(1);
    control.records[active(control.word.load(Ordering::Relaxed))].checksum.fetch_add(1, Ordering::Relaxed);
    assert_eq!(segment.recover(), [(1, Recovered::FellBack)]);
    assert_eq!(numbers(&segment), (3, 3));
    assert_eq!(list(&block(&segment)).expect("not damaged"), [(1, b"a".to_vec())]);
}

/// Bytes that do not arrive: some are stored, then the source fails.
struct Failing;

impl Source for Failing {
    type Error = ();

    fn len(&self) -> usize {
        8
    }

    fn store(self, ring: &mut crate::mailboxes::Ring<'_>, at: u64) -> Result<(), ()> {
        ring.write(at, b"half");
        Err(())
    }
}

#[test]
fn a_change_whose_bytes_do_not_arrive_uses_up_its_number() {
    let segment = segment();
    let mut block = block(&segment);
    put_all(&mut block, &[b"a", b"b", b"c"]);
    assert_eq!(block.write_from(Failing), Ok(Err(())));
    assert_eq!(numbers(&segment), (4, 4));
    remove_all(&mut block, &[2]);
    let (begun, _) = numbers(&segment);
    assert!(matches!(block.put_from(Failing), Ok(Some(Err(())))));
    assert_eq!(numbers(&segment), (begun + 2, begun + 2), "with holes");
    assert_eq!(list(&block).expect("not damaged"), [(1, b"a".to_vec()), (3, b"c".to_vec())]);
}
