//! What the server tells unasked, kept until somebody asks for it.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::Error;
use super::answer::Answer;

/// Bytes of events that are kept, counting each as [`EVENT`] more.
const KEPT_MAX: usize = 64 << 20;

/// What an event costs beside its message.
const EVENT: usize = 256;

/// What the server tells unasked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A message in a mailbox that is watched.
    Message {
        /// The mailbox.
        mailbox: u32,
        /// Its version.
        version: u64,
        /// Its bytes.
        data: Vec<u8>,
        /// How many messages before it are gone without having been an event.
        lost: u64,
    },
    /// A lock has run out. The mailbox is not protected any more, and this connection is refused there until it unlocks
    /// or locks it.
    LockLost {
        /// The mailbox.
        mailbox: u32,
        /// The number of the lock.
        grant: u64,
    },
}

/// The events that nobody has asked for yet, and of which mailboxes there can be some.
#[derive(Debug, Default)]
pub(super) struct Events {
    kept: VecDeque<Event>,
    /// Bytes of the messages that are kept, each with its [`EVENT`].
    bytes: usize,
    /// Messages that were kept for too long, by mailbox: the next event counts them as lost.
    gone: BTreeMap<u32, u64>,
    pub watched: BTreeSet<u32>,
    /// The grants of the locked mailboxes.
    pub locked: BTreeMap<u32, u64>,
}

impl Events {
    /// Whether no event can come.
    pub fn is_idle(&self) -> bool {
        self.kept.is_empty() && self.watched.is_empty() && self.locked.is_empty()
    }

    /// Keeps an event. One of a mailbox that is neither watched nor locked is late, and nobody's any more.
    pub fn keep(&mut self, event: Answer) -> Result<(), Error> {
        let strange = || Error::Protocol("an event without its mailbox or version".to_owned());
        let mailbox =
            event.number("box").and_then(|number| u32::try_from(number).ok()).ok_or_else(strange)?;
        let version = event.number("v").ok_or_else(strange)?;
        if event.field("lost") == Some("lock") {
            if let Some(grant) = self.locked.remove(&mailbox) {
                self.kept.push_back(Event::LockLost { mailbox, grant });
            }
        } else if self.watched.contains(&mailbox) {
            let lost = event.number("lost").unwrap_or(0);
            self.bytes += event.data.len() + EVENT;
            self.kept.push_back(Event::Message { mailbox, version, data: event.data, lost });
            while self.bytes > KEPT_MAX && self.drop_oldest() {}
        }
        Ok(())
    }

    /// The oldest event.
    pub fn next(&mut self) -> Option<Event> {
        let mut event = self.kept.pop_front()?;
        if let Event::Message { mailbox, data, lost, .. } = &mut event {
            self.bytes -= data.len() + EVENT;
            *lost = lost.saturating_add(self.gone.remove(mailbox).unwrap_or(0));
        }
        Some(event)
    }

    /// Watches a mailbox from now on; what was kept of it belongs to an earlier watch.
    pub fn watch(&mut self, mailbox: u32) {
        self.unwatch(mailbox);
        self.watched.insert(mailbox);
    }

    /// Forgets a mailbox that is not watched any more, and what was kept of it.
    pub fn unwatch(&mut self, mailbox: u32) {
        if self.watched.remove(&mailbox) {
            self.gone.remove(&mailbox);
            self.kept.retain(|event| !matches!(event, Event::Message { mailbox: of, .. } if *of == mailbox));
            self.bytes = self.kept.iter().map(size).sum();
        }
    }

    /// The newest message stays, however large; a lost lock is never dropped, and there are no more than locks.
    fn drop_oldest(&mut self) -> bool {
        let mut messages = (0..self.kept.len()).filter(|&at| matches!(self.kept[at], Event::Message { .. }));
        let (Some(oldest), Some(_)) = (messages.next(), messages.next()) else { return false };
        if let Some(Event::Message { mailbox, data, lost, .. }) = self.kept.remove(oldest) {
            self.bytes -= data.len() + EVENT;
            let gone = self.gone.entry(mailbox).or_default();
            *gone = gone.saturating_add(lost).saturating_add(1);
        }
        true
    }
}

fn size(event: &Event) -> usize {
    match event {
        Event::Message { data, .. } => data.len() + EVENT,
        Event::LockLost { .. } => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keep(events: &mut Events, header: &str, len: usize) {
        let mut bytes = [format!("EVENT {len} {header}\n").as_bytes(), &vec![b'x'; len], b"\n"].concat();
        events.keep(Answer::cut(&mut bytes).expect("an event").expect("whole")).expect("a good one");
    }

    #[test]
    fn the_oldest_events_go_and_the_next_one_counts_them() {
        let mut events = Events { watched: [2].into(), locked: [(3, 9)].into(), ..Events::default() };
        keep(&mut events, "box=3 v=1 lost=lock", 0);
        keep(&mut events, "box=2 v=5 lost=4", KEPT_MAX / 2);
        keep(&mut events, "box=2 v=6", KEPT_MAX / 2);
        keep(&mut events, "box=2 v=9 lost=2", KEPT_MAX);
        assert_eq!(events.next(), Some(Event::LockLost { mailbox: 3, grant: 9 }));
        match events.next() {
            Some(Event::Message { version: 9, lost, .. }) => assert_eq!(lost, 4 + 1 + 1 + 2),
            other => panic!("{other:?}"),
        }
        assert_eq!((events.next(), events.bytes), (None, 0));
    }

    #[test]
    fn events_of_nobody_are_not_kept() {
        let mut events = Events::default();
        keep(&mut events, "box=2 v=5", 9);
        keep(&mut events, "box=2 v=5 lost=lock", 0);
        assert!(events.is_idle());
        events.watch(2);
        keep(&mut events, "box=2 v=6", 9);
        events.unwatch(2);
        assert!(events.is_idle());
        assert_eq!(events.bytes, 0);
    }
}
