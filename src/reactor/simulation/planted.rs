//! The proof that the simulation finds what is wrong: each planted bug makes one of the ordinary lives fail.

use std::panic::catch_unwind;

use super::{SEEDS, STEPS, run_seed as live};
use crate::planted::{Bug, with};

/// How many lives it takes until one fails.
fn lives_until_found(bug: Bug) -> u64 {
    let fails = |seed: &u64| catch_unwind(|| with(bug, || live(*seed, STEPS))).is_err();
    let found = (0..SEEDS).find(fails).unwrap_or_else(|| panic!("{bug:?} is not found in {SEEDS} lives"));
    println!("{bug:?} is found by life {found}");
    found + 1
}

macro_rules! finds {
    ($($name:ident $bug:ident)*) => {
        $(#[test]
        fn $name() {
            lives_until_found(Bug::$bug);
        })*
    };
}

finds! {
    finds_a_cancel_that_runs_nobody CancelRunsNobody
    finds_a_lease_that_is_never_too_late LeaseNeverTooLate
    finds_a_wait_without_end WaitWithoutEnd
    finds_a_take_that_is_not_undone TakeNotUndone
    finds_watchers_that_miss_something RegroupedAtNewest
    finds_a_deadlock_that_nobody_looks_for DeadlockUnchecked
    finds_a_lock_that_outlives_its_client LockOutlivesClient
    finds_news_that_pass_answers NewsBeforeAnswers
    finds_events_before_their_watch EventsBeforeWatch
    finds_answers_that_wait_with_a_request EarlierAnswersWait
    finds_a_message_for_nobody TakenUnread
}
