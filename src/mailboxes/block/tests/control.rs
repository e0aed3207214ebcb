//! The control word, and the consistency of records.

use super::super::record::{POSITION_MAX, Record};
use super::super::{HELD, active, next};

#[test]
fn the_next_word_counts_and_activates_the_other_record() {
    let words: Vec<u64> = std::iter::successors(Some(0), |word| Some(next(*word))).take(4).collect();
    assert_eq!(words, [0, 1 << 1 | 1, 2 << 1, 3 << 1 | 1]);
    assert_eq!(words.iter().map(|word| active(*word)).collect::<Vec<_>>(), [0, 1, 0, 1]);
    assert_eq!(next(!HELD), 0);
    assert_eq!(next(HELD | 2 << 1), HELD | 3 << 1 | 1, "the mailbox stays held");
}

const THREE: Record = Record { version: 5, head: 10, last: 30, tail: 40, count: 3 };
const ONE: Record = Record { head: 30, count: 1, ..THREE };
const EMPTY: Record = Record { head: 40, last: 40, count: 0, ..THREE };
const FAR: Record = Record { head: POSITION_MAX - 20, last: POSITION_MAX - 8, tail: POSITION_MAX, ..THREE };

#[test]
fn consistent_records_are_accepted_up_to_the_limits() {
    for record in [
        THREE,
        ONE,
        EMPTY,
        FAR,
        Record { version: 3, ..THREE },
        Record { version: POSITION_MAX, ..THREE },
        Record { version: 0, ..EMPTY },
        Record { head: 22, ..THREE },
        Record { tail: 34, ..THREE },
        Record { tail: 34, ..ONE },
    ] {
        assert!(record.is_consistent(), "{record:?}");
    }
}

#[test]
fn each_inconsistency_of_a_record_is_found() {
    for record in [
        Record { head: 31, ..THREE },
        Record { last: 41, ..THREE },
        Record { tail: POSITION_MAX + 1, ..FAR },
        Record { version: 2, ..THREE },
        Record { version: POSITION_MAX + 1, ..THREE },
        Record { head: 36, last: 40, ..EMPTY },
        Record { head: 36, last: 36, ..EMPTY },
        Record { head: 26, ..ONE },
        Record { tail: 33, ..ONE },
        Record { head: 23, ..THREE },
        Record { tail: 33, ..THREE },
    ] {
        assert!(!record.is_consistent(), "{record:?}");
    }
}
