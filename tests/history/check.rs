//! Checks whether the answers that clients received are possible: each request takes effect at one instant
//! between its call and its return, and locks exclude other clients. Each mailbox is checked separately.
//!
//! Sorting is enough for this check. A mailbox goes through states (version, count): a write or put increases
//! the version by one, and a take decreases the count by one. So the states have an order: a state is later
//! if its version is higher, or if its version is equal and its count is lower. Every answer contains the
//! state that the request saw or made. A history is linearizable if this order agrees with the clock, each
//! change is the only one that reaches its state, and each message is the one that was written under its
//! version.

use std::collections::{BTreeMap, HashMap, HashSet};

use crate::operation::{Hold, NEVER, Operation, What};

/// Checks a history. The error names the requests that contradict each other.
pub(crate) fn check(operations: &[Operation], holds: &[Hold]) -> Result<(), String> {
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

/// Every version is made once, and every answer with a version has the message that made it.
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
        // A message in an answer identifies the unanswered request that made its version.
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

/// A version that no answered request made was made by an unanswered one. The unanswered request was called
/// before an answer with this version or a later one returned.
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
        unless(!explained, || format!("no request made version {version}"))?;
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

/// The state of a request is no earlier than that of any request that returned before its call. It is later
/// if the request is a change.
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

/// Checks every item against the items that returned before it was called. It must agree with the one of them
/// that has the highest rank.
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

/// If every request was answered, all changes are known. Then a put adds one message, a take removes one, and
/// a take that found no message was executed at an instant when the mailbox was empty.
fn counts(operations: &[&Operation]) -> Result<(), String> {
    if operations.iter().any(|operation| operation.changes() && !operation.is_answered()) {
        return Ok(());
    }
    let mut changes: Vec<_> = operations.iter().filter(|operation| operation.changes()).collect();
    changes.sort_by_key(|operation| operation.states());
    let mut count = 0;
    // The longest periods in which the mailbox can have been empty: from, until.
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
        unless(!right, || format!("{operation:?} left {now} of {count} messages"))?;
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
            format!("the mailbox was not empty: {operation:?}")
        })?;
    }
    Ok(())
}

/// No message is taken twice, and the oldest is taken first. At the end of the history, every message that no
/// write or drop has removed was taken, by an answered take or by one of the unanswered ones.
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
    let unanswered =
        operations.iter().filter(|operation| matches!(operation.what, What::Take { taken: None }));
    let missing: Vec<u64> = (first..=last).filter(|version| !gone.contains(version)).collect();
    unless(missing.len() > unanswered.count(), || format!("versions {missing:?} are lost"))
}

/// An exclusive lock of a mailbox excludes all other locks of it.
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

/// Under a lock no other client changes the mailbox, and under an exclusive lock no other client reads it.
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

/// The fencing token of a lock is higher than that of every lock that was granted before its call.
fn grants(holds: &[Hold]) -> Result<(), String> {
    let holds: Vec<&Hold> = holds.iter().collect();
    in_time(
        &holds,
        |hold| (hold.called, hold.from),
        |before, hold| before.grant < hold.grant,
        |hold| Some(hold.grant),
    )
}
