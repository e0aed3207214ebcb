//! Whether what clients saw can have happened: one mailbox at a time, each request at one instant between its call and
//! its return, and locks that keep others out.
//!
//! Why sorting is enough. A mailbox goes through states (version, count): a write or put makes the version one higher,
//! a take the count one lower. So states are ordered, newer versions and, within a version, lower counts being later, and
//! every answer tells which state it left or saw. A history is linearizable when that order agrees with the clock, each
//! change is the only one to reach its state, and each message is the one that was written under its version.

use std::collections::{BTreeMap, HashMap, HashSet};

/// When an answer returns that never came.
pub const NEVER: u64 = u64::MAX;

/// A request to a mailbox, and what came of it. Times are nanoseconds since the start of the history.
#[derive(Clone, Debug)]
pub struct Operation {
    pub client: usize,
    pub mailbox: u32,
    pub called: u64,
    pub returned: u64,
    pub what: What,
}

/// What a client asked and was answered. Each message is written once, so a number tells which it is.
#[derive(Clone, Debug)]
pub enum What {
    /// The newest message, if there was any.
    Read { version: u64, count: u64, message: Option<u64> },
    /// The next message after a version.
    Next { after: u64, version: u64, count: u64, lost: u64, message: u64 },
    /// A read that waited in vain.
    NoNews { version: u64 },
    /// A write; without a version it was not answered.
    Write { message: u64, only_at: Option<u64>, version: Option<u64> },
    /// A write under a condition that did not hold.
    Conflict { only_at: u64, version: u64 },
    /// A put; without a version and count it was not answered.
    Put { message: u64, drops: bool, made: Option<(u64, u64)> },
    /// A take: version, count that is left, and message; none when it was not answered.
    Take { taken: Option<(u64, u64, u64)> },
    /// A take that found nothing.
    Empty,
    /// A put that found no room.
    Full,
    /// Not done, and nothing seen.
    Nothing,
}

/// A lock of one mailbox, held at least from the return of `lock` until the call of `unlock`.
#[derive(Clone, Debug)]
pub struct Hold {
    pub client: usize,
    pub mailbox: u32,
    pub grant: u64,
    pub shared: bool,
    pub called: u64,
    pub from: u64,
    pub until: u64,
}

/// A state of a mailbox: its version, and its count, negated so that later states are larger.
type State = (u64, i64);

fn state(version: u64, count: u64) -> State {
    (version, -(count as i64))
}

impl Operation {
    /// The earliest and the latest state that the mailbox can have been in behind this request, if it tells any.
    fn states(&self) -> Option<(State, State)> {
        let exactly = |version, count| Some((state(version, count), state(version, count)));
        match self.what {
            What::Read { version, count, .. } => exactly(version, count),
            What::Next { version, count, lost: 0, .. } => {
                Some((state(version, count), state(version + count - 1, count)))
            }
            // Older messages are gone, so this is the oldest that is there.
            What::Next { version, count, .. } => exactly(version + count - 1, count),
            What::NoNews { version } | What::Conflict { version, .. } => {
                Some(((version, i64::MIN), (version, 0)))
            }
            What::Write { version: Some(version), .. } => exactly(version, 1),
            What::Put { made: Some((version, count)), .. } => exactly(version, count),
            What::Take { taken: Some((version, count, _)) } => exactly(version + count, count),
            _ => None,
        }
    }

    fn changes(&self) -> bool {
        matches!(self.what, What::Write { .. } | What::Put { .. } | What::Take { .. })
    }

    fn adds(&self) -> Option<u64> {
        match self.what {
            What::Write { message, .. } | What::Put { message, .. } => Some(message),
            _ => None,
        }
    }

    fn is_answered(&self) -> bool {
        self.returned != NEVER
    }

    /// Whether it was in its mailbox.
    fn was_in(&self) -> bool {
        self.is_answered()
            && !matches!(self.what, What::NoNews { .. } | What::Nothing | What::Empty | What::Full)
    }
}

/// Checks a history. The error tells what cannot have happened.
pub fn check(operations: &[Operation], holds: &[Hold]) -> Result<(), String> {
    let mut mailboxes = BTreeMap::<u32, (Vec<&Operation>, Vec<&Hold>)>::new();
    for operation in operations {
        mailboxes.entry(operation.mailbox).or_default().0.push(operation);
    }
    for hold in holds {
        mailboxes.entry(hold.mailbox).or_default().1.push(hold);
    }
    for (mailbox, (mut operations, mut holds)) in mailboxes {
        operations.sort_by_key(|operation| operation.called);
        holds.sort_by_key(|hold| hold.from);
        let all = messages(&operations)
            .and_then(|()| gaps(&operations))
            .and_then(|()| order(&operations))
            .and_then(|()| counts(&operations))
            .and_then(|()| takes(&operations))
            .and_then(|()| exclusion(&holds))
            .and_then(|()| quiet_under_locks(&operations, &holds));
        all.map_err(|error| format!("mailbox {mailbox}: {error}"))?;
    }
    grants(holds)
}

fn unless(wrong: bool, error: impl FnOnce() -> String) -> Result<(), String> {
    if wrong { Err(error()) } else { Ok(()) }
}

/// Every version is made once, and whoever sees it sees the message that made it.
fn messages(operations: &[&Operation]) -> Result<(), String> {
    let mut made = HashMap::new();
    let mut unanswered = HashSet::new();
    for operation in operations {
        let Some(message) = operation.adds() else { continue };
        let Some((_, (version, _))) = operation.states() else {
            unanswered.insert(message);
            continue;
        };
        let earlier = made.insert(version, message);
        unless(earlier.is_some(), || {
            format!("version {version} is made twice, the second time by {operation:?}")
        })?;
    }
    for operation in operations {
        let (version, message) = match operation.what {
            What::Read { version, message: Some(message), .. } => (version, message),
            What::Next { version, message, .. } => (version, message),
            What::Take { taken: Some((version, _, message)) } => (version, message),
            _ => continue,
        };
        // Who saw it tells which version a request made that was not answered.
        let right = *made.entry(version).or_insert_with(|| match unanswered.remove(&message) {
            true => message,
            false => NEVER,
        });
        unless(right != message, || format!("not the message of its version: {operation:?}"))?;
    }
    for operation in operations {
        let wrong = match operation.what {
            What::Next { after, version, lost, .. } => version != after + 1 + lost,
            What::Write { only_at: Some(at), version: Some(version), .. } => version != at + 1,
            What::Conflict { only_at, version } => version == only_at,
            What::Read { count, message, .. } => message.is_some() != (count > 0),
            _ => false,
        };
        unless(wrong, || format!("not what was asked: {operation:?}"))?;
    }
    Ok(())
}

/// A version that no answer made was made by a request that was not answered, and that was called before anybody saw
/// the version, or a later one.
fn gaps(operations: &[&Operation]) -> Result<(), String> {
    let last = last_version(operations);
    let mut seen = vec![NEVER; last as usize + 1];
    let mut made = vec![false; last as usize + 1];
    for operation in operations {
        let Some(((earliest, _), _)) = operation.states() else { continue };
        seen[earliest as usize] = seen[earliest as usize].min(operation.returned);
        made[earliest as usize] |= operation.adds().is_some();
    }
    for version in (0..last as usize).rev() {
        seen[version] = seen[version].min(seen[version + 1]);
    }
    let unanswered = |operation: &&&Operation| operation.adds().is_some() && !operation.is_answered();
    let mut candidates = operations.iter().filter(unanswered);
    for version in (1..=last).filter(|&version| !made[version as usize]) {
        let maker = candidates.next();
        let explained = maker.is_some_and(|maker| maker.called < seen[version as usize]);
        unless(!explained, || format!("nobody made version {version}"))?;
    }
    Ok(())
}

fn last_version(operations: &[&Operation]) -> u64 {
    operations
        .iter()
        .filter_map(|operation| operation.states())
        .map(|(earliest, _)| earliest.0)
        .max()
        .unwrap_or(0)
}

/// What returned before another was called is not behind it, and before it when that one is a change.
fn order(operations: &[&Operation]) -> Result<(), String> {
    in_time(
        operations,
        |operation| (operation.called, operation.returned),
        |before, operation| {
            let (Some((earliest, _)), Some((_, latest))) = (before.states(), operation.states()) else {
                return true;
            };
            latest > earliest || (latest == earliest && !operation.changes())
        },
        |operation| operation.states().map(|(earliest, _)| earliest),
    )?;
    let mut reached = HashSet::new();
    for operation in operations.iter().filter(|operation| operation.changes()) {
        let again = operation.states().is_some_and(|(state, _)| !reached.insert(state));
        unless(again, || format!("the same change twice: {operation:?}"))?;
    }
    Ok(())
}

/// Whether every item agrees with the one of the highest rank among those that returned before it was called.
fn in_time<T: std::fmt::Debug, R: Ord>(
    items: &[&T],
    times: impl Fn(&T) -> (u64, u64),
    agree: impl Fn(&T, &T) -> bool,
    rank: impl Fn(&T) -> Option<R>,
) -> Result<(), String> {
    let mut called: Vec<&T> = items.iter().copied().filter(|item| rank(item).is_some()).collect();
    let mut returned = called.clone();
    called.sort_by_key(|item| times(item).0);
    returned.sort_by_key(|item| times(item).1);
    let mut returned = returned.into_iter().peekable();
    let mut highest: Option<&T> = None;
    for item in called {
        while let Some(before) = returned.next_if(|before| times(before).1 < times(item).0) {
            if highest.is_none_or(|highest| rank(highest) < rank(before)) {
                highest = Some(before);
            }
        }
        if let Some(before) = highest {
            unless(!agree(before, item), || format!("{item:?} came after {before:?}"))?;
        }
    }
    Ok(())
}

/// Where every request was answered, each change is known: a put adds one, a take takes one, and a take that found
/// nothing was there at a moment when there was nothing.
fn counts(operations: &[&Operation]) -> Result<(), String> {
    if operations.iter().any(|operation| operation.changes() && !operation.is_answered()) {
        return Ok(());
    }
    let mut changes: Vec<_> = operations.iter().filter(|operation| operation.changes()).collect();
    changes.sort_by_key(|operation| operation.states());
    let mut count = 0;
    // When it was empty: at the longest from, until.
    let mut empty = vec![(0, changes.first().map_or(NEVER, |first| first.returned))];
    for (at, operation) in changes.iter().enumerate() {
        let Some(((_, now), _)) = operation.states() else { continue };
        let now = now.unsigned_abs();
        let right = match operation.what {
            What::Put { drops: true, .. } => now <= count + 1 && now > 0,
            What::Put { .. } => now == count + 1,
            What::Take { .. } => now + 1 == count,
            _ => now == 1,
        };
        unless(!right, || format!("of {count} messages {operation:?} left {now}"))?;
        count = now;
        if count == 0 {
            empty.push((operation.called, changes.get(at + 1).map_or(NEVER, |next| next.returned)));
        }
    }
    empty.sort_unstable();
    let mut until = 0;
    for (_, end) in &mut empty {
        until = until.max(*end);
        *end = until;
    }
    for operation in operations.iter().filter(|operation| matches!(operation.what, What::Empty)) {
        let begun = empty.partition_point(|(from, _)| *from < operation.returned);
        unless(empty[..begun].last().is_none_or(|(_, until)| *until < operation.called), || {
            format!("it was not empty: {operation:?}")
        })?;
    }
    Ok(())
}

/// Nothing is taken twice, the oldest goes first, and what nothing removed was taken by the end of the history, if not by
/// somebody who did not wait for the answer.
fn takes(operations: &[&Operation]) -> Result<(), String> {
    let taken = |operation: &Operation| match operation.what {
        What::Take { taken: Some((version, ..)) } => Some(version),
        _ => None,
    };
    let mut gone = HashSet::new();
    for operation in operations {
        let again = taken(operation).is_some_and(|version| !gone.insert(version));
        unless(again, || format!("taken twice: {operation:?}"))?;
    }
    let times = |operation: &Operation| (operation.called, operation.returned);
    in_time(operations, times, |before, operation| taken(before) < taken(operation), taken)?;
    let last = last_version(operations);
    let removes = |operation: &&&Operation| {
        matches!(operation.what, What::Write { .. } | What::Put { drops: true, .. })
    };
    let removed = operations.iter().filter(removes).map(|operation| match operation.states() {
        Some(((version, _), _)) => version,
        None => last + 1,
    });
    let first = removed.max().unwrap_or(1);
    let unheard = operations.iter().filter(|operation| matches!(operation.what, What::Take { taken: None }));
    let missing: Vec<u64> = (first..=last).filter(|version| !gone.contains(version)).collect();
    unless(missing.len() > unheard.count(), || format!("versions {missing:?} are lost"))
}

/// Who has locked a mailbox exclusively has it alone.
fn exclusion(holds: &[&Hold]) -> Result<(), String> {
    let (mut exclusive, mut any): (Option<&Hold>, Option<&Hold>) = (None, None);
    for hold in holds {
        let before = if hold.shared { exclusive } else { any };
        if let Some(before) = before {
            unless(hold.from < before.until, || format!("{hold:?} while {before:?}"))?;
            unless(hold.grant <= before.grant, || format!("{hold:?} after {before:?}"))?;
        }
        let later = |of: Option<&Hold>| of.is_none_or(|other| other.until < hold.until);
        if later(any) {
            any = Some(hold);
        }
        if !hold.shared && later(exclusive) {
            exclusive = Some(hold);
        }
    }
    Ok(())
}

/// Under a lock nobody else changes anything, and under an exclusive one nobody else is in.
fn quiet_under_locks(operations: &[&Operation], holds: &[&Hold]) -> Result<(), String> {
    for hold in holds {
        let begin = operations.partition_point(|operation| operation.called <= hold.from);
        let during = operations[begin..].iter().take_while(|operation| operation.called < hold.until);
        let mut version = None;
        for operation in during.filter(|operation| operation.returned < hold.until) {
            let is_own = operation.client == hold.client;
            let disturbs = operation.was_in() && (operation.changes() || !hold.shared);
            unless(!is_own && disturbs, || format!("{operation:?} under {hold:?}"))?;
            let Some(((earliest, _), (latest, _))) = operation.states().filter(|_| is_own) else { continue };
            if earliest == latest {
                let right =
                    version.is_none_or(|version| earliest == version + u64::from(operation.adds().is_some()));
                unless(!right, || {
                    format!("{operation:?} under {hold:?}, where the version was {version:?}")
                })?;
                version = Some(latest);
            }
        }
    }
    Ok(())
}

/// The number of a lock is higher than that of every lock that was there before it was asked for.
fn grants(holds: &[Hold]) -> Result<(), String> {
    let holds: Vec<&Hold> = holds.iter().collect();
    in_time(
        &holds,
        |hold| (hold.called, hold.from),
        |before, hold| before.grant < hold.grant,
        |hold| Some(hold.grant),
    )
}

/// Histories made by hand: what is right passes, and each kind of wrong is found.
mod tests {
    use super::*;

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
        let error = check(operations, holds).expect_err("this cannot have happened");
        assert!(error.contains(because), "{error}");
    }

    #[test]
    fn what_can_have_happened_passes() {
        // Two at once may be seen in either order, and what was not answered may have happened or not.
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
        check(&[&operations[..7], &[drained]].concat(), &[]).expect("right");
        check(&[put(10, 1, 1), put(20, 2, 2), take(30, 1, 1), take(40, 2, 0)], &[]).expect("right");
        check(
            &[write(1, 12, 13, 1), write(1, 14, 15, 2), take(50, 2, 0)],
            &[hold(1, 1, 10, 20), hold(2, 2, 21, 30)],
        )
        .expect("right");
    }

    #[test]
    fn a_stale_read_is_found() {
        rejects(&[write(1, 10, 20, 1), write(1, 30, 40, 2), read(2, 50, 60, 1)], &[], "came after");
        rejects(&[write(1, 10, 20, 1), read(2, 30, 60, 2), write(1, 70, 80, 2)], &[], "came after");
        // Each agrees with the write, but not with each other.
        let reads = [read(2, 20, 30, 1), read(3, 40, 50, 0)];
        rejects(&[&[write(1, 10, 60, 1)], &reads[..]].concat(), &[], "not the message");
        let nothing = operation(3, 40, 50, What::Read { version: 0, count: 0, message: None });
        rejects(&[write(1, 10, 60, 1), read(2, 20, 30, 1), nothing], &[], "came after");
    }

    #[test]
    fn a_message_of_nobody_is_found() {
        let foreign = operation(2, 50, 60, What::Read { version: 1, count: 1, message: Some(99) });
        rejects(&[write(1, 10, 20, 1), foreign.clone()], &[], "not the message");
        rejects(&[foreign], &[], "not the message");
    }

    #[test]
    fn a_lost_write_is_found() {
        rejects(&[write(1, 10, 20, 1), write(2, 11, 21, 1)], &[], "made twice");
        rejects(&[write(1, 10, 20, 1), write(1, 30, 40, 3)], &[], "nobody made version 2");
        // Who could have made it was called after it was seen.
        let late = operation(2, 50, NEVER, What::Write { message: 9, only_at: None, version: None });
        rejects(&[write(1, 10, 20, 1), write(1, 30, 40, 3), late], &[], "nobody made version 2");
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
        // Somebody put a third in between, and did not hear of it.
        let third = operation(3, 25, NEVER, What::Put { message: 3, drops: false, made: None });
        rejects(&[&puts[..], &[take(30, 1, 1), take(40, 1, 2), third]].concat(), &[], "taken twice");
    }

    #[test]
    fn a_take_out_of_order_is_found() {
        let unheard = [25, 26].map(|called| operation(3, called, NEVER, What::Take { taken: None }));
        let puts = [put(10, 1, 1), put(20, 2, 2), put(22, 3, 3)];
        rejects(&[&puts[..], &[take(30, 3, 0), take(40, 2, 1)], &unheard].concat(), &[], "came after");
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
        // It was called before and returned after, but was in between the holder's own writes.
        let between = [write(1, 12, 13, 1), write(2, 5, 60, 2), write(1, 14, 15, 3)];
        rejects(&[&between[..], &[take(90, 3, 0)]].concat(), &holds, "under");
        // Readers are in together under a shared lock, writers are not.
        let shared = [Hold { shared: true, ..hold(1, 1, 10, 50) }];
        check(&[write(2, 1, 5, 1), read(2, 20, 30, 1), take(90, 1, 0)], &shared).expect("right");
        rejects(&[write(2, 20, 30, 1), take(90, 1, 0)], &shared, "under");
    }
}
