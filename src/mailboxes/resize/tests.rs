//! Lists that are copied to mailboxes of another size.

use proptest::prelude::*;
use proptest::sample::Index;

use super::super::block::Cursor;
use super::super::segment::tests::{SMALL, memory};
use super::*;

/// Versions and bytes, oldest first, each with the number of lost messages before it.
fn list(block: &Block<'_>) -> Vec<(u64, u64, Vec<u8>)> {
    let mut cursor = Cursor::at(0);
    std::iter::from_fn(|| {
        let (message, next) = block.after(cursor, 0, u64::MAX).expect("not damaged")?;
        cursor = next;
        Some((message.version, message.lost, message.parts.concat()))
    })
    .collect()
}

fn name(word: &str) -> Name {
    Name::new(word).expect("valid")
}

#[derive(Clone, Debug)]
enum Step {
    Put(Vec<u8>),
    Remove(Index),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        3 => prop::collection::vec(any::<u8>(), 0..20).prop_map(Step::Put),
        2 => any::<Index>().prop_map(Step::Remove),
    ];
    prop::collection::vec(step, 0..40)
}

fn run(block: &mut Block<'_>, step: Step) {
    match step {
        Step::Put(bytes) => drop(block.put(&bytes).expect("not damaged")),
        Step::Remove(index) => {
            let mut locations = Vec::new();
            let mut from = None;
            while let Some(located) = block.locate(from).expect("not damaged") {
                locations.push(located.location);
                from = Some(located.next);
            }
            if !locations.is_empty() {
                block.remove(*index.get(&locations)).expect("not damaged");
            }
        }
    }
}

proptest! {
    #[test]
    fn a_copy_has_the_same_messages_versions_and_holes(steps in steps(), capacity in 64..400u64) {
        let (old_file, file) = (memory(), memory());
        let old = Segment::create(&old_file, SMALL, 0).expect("created");
        for step in steps {
            run(&mut old.sole_block(1), step);
        }
        old.set_name(2, Some(&name("jobs")));
        let geometry = Geometry { mailboxes: 5, capacity, packet: 10 };
        let new = Segment::resize(&file, geometry, 0, &old_file).expect("fits");
        let (before, after) = (old.sole_block(1), new.sole_block(1));
        prop_assert_eq!(list(&before), list(&after));
        let (was, is) = (before.contents().expect("whole"), after.contents().expect("whole"));
        prop_assert_eq!((was.version, was.newest), (is.version, is.newest));
        prop_assert_eq!((was.count, was.entries), (is.count, is.entries));
        let start = |block: &Block| block.read(0, 9).expect("whole").parts.concat();
        prop_assert_eq!(start(&before), start(&after));
        prop_assert_eq!(new.names().collect::<Vec<_>>(), [(2, name("jobs"))]);
        prop_assert_eq!((new.life(), new.epoch()), (old.life(), old.epoch() + 1));
        drop(new);
        // A copy is a segment like any other.
        let mut reopened = Segment::open(&file, geometry).expect("opened");
        prop_assert!(reopened.recover().is_empty());
        prop_assert_eq!(list(&reopened.sole_block(1)), list(&before));
        reopened = Segment::open(&file, geometry).expect("opened");
        let put = reopened.sole_block(1).put(b"next").expect("whole");
        prop_assert!(put.is_none_or(|contents| contents.version == was.version + 1));
    }
}

#[test]
fn what_does_not_fit_is_refused_and_nothing_is_changed() {
    let old_file = memory();
    let old = Segment::create(&old_file, SMALL, 0).expect("created");
    let refusal = |geometry: Geometry| {
        let file = memory();
        match Segment::resize(&file, geometry, 0, &old_file) {
            Err(error @ SegmentError::DoesNotFit(_)) => {
                assert_eq!(file.metadata().expect("a file").len(), 0, "{error}");
                Some(error.to_string())
            }
            resized => {
                resized.expect("fits");
                None
            }
        }
    };
    let two = Geometry { mailboxes: 2, ..SMALL };
    assert_eq!(refusal(two), None);
    old.set_name(2, Some(&name("jobs")));
    assert_eq!(
        refusal(two).as_deref(),
        Some("existing data does not fit: mailbox 2 would be left out, and has the name jobs")
    );
    old.set_name(2, None);
    old.sole_block(2).write(b"x").expect("whole");
    assert_eq!(
        refusal(two).as_deref(),
        Some("existing data does not fit: mailbox 2 would be left out, and has messages: 1")
    );
    let located = old.sole_block(2).locate(None).expect("whole").expect("one");
    old.sole_block(2).remove(located.location).expect("whole");
    assert_eq!(
        refusal(two).as_deref(),
        Some("existing data does not fit: mailbox 2 would be left out, and has version 1")
    );
    old.sole_block(0).put(&[1; 20]).expect("whole");
    old.sole_block(0).put(&[2; 20]).expect("whole");
    let exact = Geometry { capacity: 44, ..SMALL };
    assert_eq!(refusal(exact), None);
    let reason = refusal(Geometry { capacity: 43, ..SMALL }).expect("refused");
    assert!(reason.contains("mailbox 0 has messages of 48 bytes"), "{reason}");
    assert_eq!(old.epoch(), 1);
    assert_eq!(Segment::open(&old_file, SMALL).expect("unchanged").epoch(), 2);
}
