//! Tests of the check with handmade histories: possible ones pass, and each kind of contradiction is found.

use crate::check::check;
use crate::operation::{Hold, NEVER, Operation, What};

fn operation(client: usize, called: u64, returned: u64, what: What) -> Operation {
    Operation { client, mailbox: 0, called, returned, what }
}

fn write(client: usize, called: u64, returned: u64, version: u64) -> Operation {
    let what = What::Write { message: version, only_at: None, version: Some(version) };
    operation(client, called, returned, what)
}

fn read(client: usize, called: u64, returned: u64, version: u64) -> Operation {
    operation(client, called, returned, What::Read { version, count: 1, message: Some(version) })
}

fn put(called: u64, version: u64, count: u64) -> Operation {
    let what = What::Put { message: version, drops: false, made: Some((version, count)) };
    operation(1, called, called + 1, what)
}

fn take(called: u64, version: u64, count: u64) -> Operation {
    operation(2, called, called + 1, What::Take { taken: Some((version, count, version)) })
}

fn hold(client: usize, grant: u64, from: u64, until: u64) -> Hold {
    Hold { client, mailbox: 0, grant, shared: false, called: from - 1, from, until }
}

#[track_caller]
fn rejects(operations: &[Operation], holds: &[Hold], because: &str) {
    let error = check(operations, holds).expect_err("an impossible history");
    assert!(error.contains(because), "{error}");
}

#[test]
fn possible_histories_pass() {
    // Two concurrent writes may be seen in either order, and an unanswered one may have been done or not.
    let never = What::Write { message: 77, only_at: None, version: None };
    let seen = What::Read { version: 4, count: 1, message: Some(77) };
    let operations = [
        write(1, 10, 20, 1),
        write(2, 30, 60, 3),
        write(3, 31, 61, 2),
        read(4, 40, 50, 1),
        read(5, 41, 55, 3),
        operation(1, 70, NEVER, never.clone()),
        operation(2, 80, 90, seen),
        operation(3, 85, NEVER, never),
    ];
    // The drain at the end.
    let drained = operation(9, 100, 110, What::Take { taken: Some((4, 0, 77)) });
    check(&[&operations[..7], &[drained]].concat(), &[]).expect("a possible history");
    check(&[put(10, 1, 1), put(20, 2, 2), take(30, 1, 1), take(40, 2, 0)], &[]).expect("a possible history");
    check(
        &[write(1, 12, 13, 1), write(1, 14, 15, 2), take(50, 2, 0)],
        &[hold(1, 1, 10, 20), hold(2, 2, 21, 30)],
    )
    .expect("a possible history");
}

#[test]
fn a_stale_read_is_found() {
    rejects(&[write(1, 10, 20, 1), write(1, 30, 40, 2), read(2, 50, 60, 1)], &[], "came after");
    rejects(&[write(1, 10, 20, 1), read(2, 30, 60, 2), write(1, 70, 80, 2)], &[], "came after");
    // Each of the two reads agrees with the write, but not with the other read.
    let reads = [read(2, 20, 30, 1), read(3, 40, 50, 0)];
    rejects(&[&[write(1, 10, 60, 1)], &reads[..]].concat(), &[], "not the message");
    let nothing = operation(3, 40, 50, What::Read { version: 0, count: 0, message: None });
    rejects(&[write(1, 10, 60, 1), read(2, 20, 30, 1), nothing], &[], "came after");
}

#[test]
fn a_message_that_was_never_written_is_found() {
    let foreign = operation(2, 50, 60, What::Read { version: 1, count: 1, message: Some(99) });
    rejects(&[write(1, 10, 20, 1), foreign.clone()], &[], "not the message");
    rejects(&[foreign], &[], "not the message");
}

#[test]
fn a_lost_write_is_found() {
    rejects(&[write(1, 10, 20, 1), write(2, 11, 21, 1)], &[], "made twice");
    rejects(&[write(1, 10, 20, 1), write(1, 30, 40, 3)], &[], "no request made version 2");
    // The unanswered write was called after version 3 was seen.
    let late = operation(2, 50, NEVER, What::Write { message: 9, only_at: None, version: None });
    rejects(&[write(1, 10, 20, 1), write(1, 30, 40, 3), late], &[], "no request made version 2");
    rejects(&[put(10, 1, 1), put(20, 2, 2), take(30, 1, 1)], &[], "lost");
}

#[test]
fn a_write_against_its_condition_is_found() {
    let what = What::Write { message: 2, only_at: Some(0), version: Some(2) };
    rejects(&[write(1, 10, 20, 1), operation(1, 30, 40, what)], &[], "not what was asked");
    let what = What::Conflict { only_at: 1, version: 1 };
    rejects(&[write(1, 10, 20, 1), operation(1, 30, 40, what)], &[], "not what was asked");
}

#[test]
fn a_double_take_is_found() {
    let puts = [put(10, 1, 1), put(20, 2, 2)];
    rejects(&[&puts[..], &[take(30, 1, 1), take(40, 1, 0)]].concat(), &[], "came after");
    rejects(
        &[&puts[..], &[take(30, 1, 1), Operation { called: 29, ..take(30, 1, 1) }]].concat(),
        &[],
        "same change",
    );
    // A third message was put in between, and its put was not answered.
    let third = operation(3, 25, NEVER, What::Put { message: 3, drops: false, made: None });
    rejects(&[&puts[..], &[take(30, 1, 1), take(40, 1, 2), third]].concat(), &[], "taken twice");
}

#[test]
fn a_take_out_of_order_is_found() {
    let unanswered = [25, 26].map(|called| operation(3, called, NEVER, What::Take { taken: None }));
    let puts = [put(10, 1, 1), put(20, 2, 2), put(22, 3, 3)];
    rejects(&[&puts[..], &[take(30, 3, 0), take(40, 2, 1)], &unanswered].concat(), &[], "came after");
}

#[test]
fn a_wrong_count_is_found() {
    rejects(&[put(10, 1, 1), put(20, 2, 3), take(30, 1, 1), take(40, 2, 0)], &[], "left");
    let empty = operation(3, 12, 19, What::Empty);
    rejects(&[put(10, 1, 1), empty, take(30, 1, 0)], &[], "not empty");
}

#[test]
fn overlapping_locks_are_found() {
    rejects(&[], &[hold(1, 1, 10, 20), hold(2, 2, 15, 30)], "while");
    rejects(&[], &[hold(1, 1, 10, 50), Hold { shared: true, ..hold(2, 2, 15, 30) }], "while");
    rejects(&[], &[Hold { shared: true, ..hold(1, 1, 10, 50) }, hold(2, 2, 15, 30)], "while");
    rejects(&[], &[hold(1, 2, 10, 20), hold(2, 1, 25, 30)], "after");
    let shared = [hold(1, 1, 10, 50), hold(2, 2, 15, 30)].map(|hold| Hold { shared: true, ..hold });
    check(&[], &shared).expect("shared locks overlap");
    rejects(&[], &[hold(1, 2, 10, 20), Hold { mailbox: 1, ..hold(2, 1, 25, 30) }], "came after");
}

#[test]
fn a_foreign_request_under_a_lock_is_found() {
    let holds = [hold(1, 1, 10, 50)];
    rejects(&[write(2, 20, 30, 1), take(90, 1, 0)], &holds, "under");
    rejects(&[write(2, 1, 5, 1), read(2, 20, 30, 1), take(90, 1, 0)], &holds, "under");
    // The foreign write is called and returns outside the lock. Its version is between those of the holder.
    let between = [write(1, 12, 13, 1), write(2, 5, 60, 2), write(1, 14, 15, 3)];
    rejects(&[&between[..], &[take(90, 3, 0)]].concat(), &holds, "under");
    // A shared lock admits readers, and no writers.
    let shared = [Hold { shared: true, ..hold(1, 1, 10, 50) }];
    check(&[write(2, 1, 5, 1), read(2, 20, 30, 1), take(90, 1, 0)], &shared).expect("a possible history");
    rejects(&[write(2, 20, 30, 1), take(90, 1, 0)], &shared, "under");
}
