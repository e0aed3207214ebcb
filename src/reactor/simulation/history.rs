//! The history of one mailbox, derived from replies alone. Every reply names a state. The states are totally
//! ordered, and a list of messages must be able to pass through them in that order.

use std::collections::BTreeMap;

use super::client::CAPACITY;

/// Bytes that each message beyond the first costs in addition to its body.
const ENTRY_OVERHEAD: usize = 4;

/// The state of a mailbox after a request: its newest version and its number of messages. Versions only grow.
/// While the version stays the same, messages are only taken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct State {
    pub version: u64,
    pub count: u64,
}

impl Ord for State {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.version, other.count).cmp(&(other.version, self.count))
    }
}

impl PartialOrd for State {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

/// How a request changed a mailbox.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Change {
    Replace(Vec<u8>),
    Patch(usize, Vec<u8>),
    Put { body: Vec<u8>, drop_oldest: bool },
    Take,
}

impl Change {
    /// The body of the message that the change creates. `None` if the body depends on the message before, or
    /// if the change creates no message.
    fn body(&self) -> Option<&Vec<u8>> {
        match self {
            Change::Replace(body) | Change::Put { body, .. } => Some(body),
            Change::Patch(..) | Change::Take => None,
        }
    }
}

/// The part of a message that a client saw, as offset and length. `None` is the whole message.
type Part = Option<(u64, u64)>;

/// One mailbox, as its clients see it.
#[derive(Debug, Default)]
pub(super) struct History {
    /// The newest state that a reply has named.
    pub floor: State,
    changes: BTreeMap<State, Change>,
    views: BTreeMap<u64, Vec<(Part, Vec<u8>)>>,
    /// Changes that no reply has confirmed. They may have happened.
    unconfirmed: Vec<Change>,
    /// Every state that the mailbox was in between two steps, with the sequence number at which it began and
    /// the free space.
    samples: Vec<(u64, State, Option<u64>)>,
}

impl History {
    /// A reply named this state.
    pub(super) fn record_state(&mut self, state: State) {
        self.floor = self.floor.max(state);
    }

    /// A reply stated that its request made this state.
    pub(super) fn record_change(&mut self, state: State, change: Change) {
        let same = self.changes.insert(state, change);
        assert!(same.is_none(), "two requests made {state:?}: {same:?} and {:?}", self.changes[&state]);
        self.record_state(state);
        let views = self.views.get(&state.version).cloned().unwrap_or_default();
        if self.changes[&state] != Change::Take {
            views.iter().for_each(|(part, bytes)| self.check_view(state.version, *part, bytes));
        }
    }

    /// A client received a message, or a part of one.
    pub(super) fn record_view(&mut self, version: u64, part: Part, bytes: &[u8]) {
        self.check_view(version, part, bytes);
        self.views.entry(version).or_default().push((part, bytes.to_vec()));
    }

    /// A client disconnected before the reply to this change.
    pub(super) fn record_unconfirmed(&mut self, change: Change) {
        self.unconfirmed.push(change);
    }

    /// The mailbox is in this state now.
    pub(super) fn sample(&mut self, sequence: u64, state: State, room: Option<u64>) {
        if self.samples.last().is_none_or(|(_, last, last_room)| (*last, *last_room) != (state, room)) {
            self.samples.push((sequence, state, room));
        }
    }

    /// Whether the mailbox was in a matching state at any time since the sequence number `since`.
    pub(super) fn was_in(&self, since: u64, mut matches: impl FnMut(State, Option<u64>) -> bool) -> bool {
        let mut reached_start = false;
        let until_then = self.samples.iter().rev().take_while(|(sequence, ..)| {
            let is_before = reached_start;
            reached_start = *sequence <= since;
            !is_before
        });
        until_then.into_iter().any(|(_, state, room)| matches(*state, *room))
    }

    /// The state at the last sample.
    pub(super) fn current(&self) -> State {
        self.samples.last().map_or(State::default(), |(_, state, _)| *state)
    }

    /// Checks a received message, if the change that made its version is known and is not a patch.
    fn check_view(&self, version: u64, part: Part, seen: &[u8]) {
        let first = State { version, count: u64::MAX };
        let at_version = self.changes.range(first..).take_while(|(state, _)| state.version == version);
        let body = at_version.map(|(_, change)| change).find_map(|change| match change {
            Change::Replace(body) | Change::Put { body, .. } => Some(body),
            Change::Patch(..) | Change::Take => None,
        });
        let Some(body) = body else { return };
        assert_eq!(
            select_part(body, part).escape_ascii().to_string(),
            seen.escape_ascii().to_string(),
            "content of version {version}"
        );
    }

    /// Applies all changes in order and checks the resulting messages. `last` is the actual state of the
    /// mailbox.
    pub(super) fn replay(&self, last: State) {
        let mut unconfirmed = self.unconfirmed.clone();
        let mut list: Vec<(u64, Option<Vec<u8>>)> = Vec::new();
        let mut now = State::default();
        for (state, change) in &self.changes {
            if !is_successor(now, *state, change) {
                self.fill_gap(now, *state, change, &mut unconfirmed, &mut list);
            }
            let may_have_lost = unconfirmed.contains(&Change::Take);
            apply(&mut list, state.version, change, state.count, may_have_lost);
            if !matches!(change, Change::Take) {
                self.check_all_views(state.version, list.last().and_then(|(_, body)| body.as_deref()));
            }
            assert!(used(&list) <= CAPACITY, "the messages exceed the capacity: {list:?} at {state:?}");
            now = *state;
        }
        let missing = last.version.saturating_sub(now.version) as usize;
        assert!(
            last >= now && missing <= unconfirmed.len(),
            "the mailbox ends in {last:?}, the last reply named {now:?}"
        );
        let emptied = now.count > last.count && last.version == now.version;
        assert!(!emptied || unconfirmed.contains(&Change::Take), "messages are lost: {last:?} after {now:?}");
    }

    /// Applies the unconfirmed changes that must have led to the state before `state`.
    fn fill_gap(
        &self,
        now: State,
        state: State,
        change: &Change,
        unconfirmed: &mut Vec<Change>,
        list: &mut Vec<(u64, Option<Vec<u8>>)>,
    ) {
        let before = state.version - u64::from(*change != Change::Take);
        assert!(
            !unconfirmed.is_empty(),
            "{change:?} made {state:?} of {now:?}, and no unconfirmed change explains the gap"
        );
        for version in now.version + 1..=before {
            let whole = self.views.get(&version).into_iter().flatten().find(|(part, _)| part.is_none());
            let at = match whole {
                Some((_, seen)) => unconfirmed.iter().position(|change| change.body() == Some(seen)),
                None => unconfirmed
                    .iter()
                    .position(|change| change.body().is_some_and(|body| !self.was_viewed(body))),
            };
            let at = at.or_else(|| unconfirmed.iter().position(|change| matches!(change, Change::Patch(..))));
            // A client sometimes repeats a request with the same body. The body may have been viewed at the
            // version that another repetition made.
            let may_repeat = |change: &Change| whole.is_none() && change.body().is_some();
            let at = at.or_else(|| unconfirmed.iter().position(may_repeat));
            unconfirmed.remove(at.unwrap_or_else(|| panic!("no unconfirmed change made version {version}")));
            list.push((version, whole.map(|(_, seen)| seen.clone())));
        }
        if matches!(change, Change::Patch(..)) {
            // The patched message is unknown.
            *list = vec![(before, None)];
            return;
        }
        // The number of messages before the change is not known exactly.
        let count = match change {
            Change::Take => state.count + 1,
            Change::Put { .. } => state.count - 1,
            _ => 0,
        };
        while list.len() as u64 > count {
            list.remove(0);
        }
        while (list.len() as u64) < count {
            let first = list.first().map_or(before + 1, |(version, _)| *version);
            list.insert(0, (first - 1, None));
        }
    }

    fn was_viewed(&self, body: &[u8]) -> bool {
        self.views.values().flatten().any(|(part, seen)| part.is_none() && seen == body)
    }

    fn check_all_views(&self, version: u64, body: Option<&[u8]>) {
        let Some(body) = body else { return };
        for (part, seen) in self.views.get(&version).into_iter().flatten() {
            let (is_valid, seen) = (select_part(body, *part).escape_ascii(), seen.escape_ascii());
            assert_eq!(
                is_valid.to_string(),
                seen.to_string(),
                "version {version} was made as {}",
                body.escape_ascii()
            );
        }
    }
}

fn is_successor(now: State, next: State, change: &Change) -> bool {
    let (version, count) = (next.version, next.count);
    match change {
        Change::Replace(_) | Change::Patch(..) => version == now.version + 1 && count == 1,
        Change::Put { drop_oldest: false, .. } => version == now.version + 1 && count == now.count + 1,
        Change::Put { drop_oldest: true, .. } => {
            version == now.version + 1 && (1..=now.count + 1).contains(&count)
        }
        Change::Take => version == now.version && count + 1 == now.count,
    }
}

/// Applies a change to a list of messages, as the protocol defines it.
fn apply(
    list: &mut Vec<(u64, Option<Vec<u8>>)>,
    version: u64,
    change: &Change,
    count: u64,
    may_have_lost: bool,
) {
    let now: Vec<_> = list.iter().map(|(version, body)| (*version, body.as_ref().map(Vec::len))).collect();
    match change {
        Change::Replace(body) => *list = vec![(version, Some(body.clone()))],
        Change::Patch(offset, body) => {
            while may_have_lost && list.len() > 1 {
                list.remove(0);
            }
            assert!(list.len() <= 1, "a patch of several messages: {list:?}");
            let old = list.pop().map_or(Some(Vec::new()), |(_, body)| body.filter(|_| !may_have_lost));
            let patched = old.map(|mut old| {
                old.resize(old.len().max(offset + body.len()), 0);
                old[*offset..offset + body.len()].copy_from_slice(body);
                old
            });
            list.push((version, patched));
        }
        Change::Put { body, drop_oldest } => {
            list.push((version, Some(body.clone())));
            while *drop_oldest && used(list) > CAPACITY && list.len() > 1 {
                list.remove(0);
            }
            // If the list contains unknown messages, the reply's count is trusted.
            while list.len() as u64 > count && (may_have_lost || list.iter().any(|(_, body)| body.is_none()))
            {
                list.remove(0);
            }
            assert_eq!(
                list.len() as u64,
                count,
                "{list:?} after a put of version {version} to {now:?}; the reply says {count} messages"
            );
        }
        Change::Take => {
            list.remove(0);
        }
    }
}

/// Bytes of a list as the mailbox counts them. A single message costs nothing in addition to its body.
fn used(list: &[(u64, Option<Vec<u8>>)]) -> usize {
    let bytes: usize = list.iter().map(|(_, body)| body.as_ref().map_or(0, Vec::len) + ENTRY_OVERHEAD).sum();
    bytes.saturating_sub(ENTRY_OVERHEAD)
}

fn select_part(body: &[u8], part: Part) -> &[u8] {
    let (offset, len) = part.map_or((0, body.len()), |(offset, len)| (offset as usize, len as usize));
    let from = offset.min(body.len());
    &body[from..(from + len).min(body.len())]
}
