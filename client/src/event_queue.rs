//! What the server tells unasked, kept until somebody asks for it.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::Error;
use super::frame::Frame;

/// Bytes of events that are kept, counting each as [`OVERHEAD`] more.
const BYTES_MAX: usize = 64 << 20;

/// What an event costs beside its message.
const OVERHEAD: usize = 256;

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
        fencing_token: u64,
    },
}

/// The events that nobody has asked for yet, and of which mailboxes there can be some.
#[derive(Debug, Default)]
pub(super) struct EventQueue {
    queue: VecDeque<Event>,
    /// Bytes of the messages that are kept, each with its [`OVERHEAD`].
    bytes: usize,
    /// Messages that were kept for too long, by mailbox: the next event counts them as lost.
    dropped: BTreeMap<u32, u64>,
    pub watched: BTreeSet<u32>,
    /// The grants of the locked mailboxes.
    pub locked: BTreeMap<u32, u64>,
}

impl EventQueue {
    /// Whether no event can come.
    pub fn is_idle(&self) -> bool {
        self.queue.is_empty() && self.watched.is_empty() && self.locked.is_empty()
    }

    /// Keeps an event. One of a mailbox that is neither watched nor locked is late, and nobody's any more.
    pub fn push(&mut self, frame: Frame) -> Result<(), Error> {
        let strange = || Error::Protocol("an event without its mailbox or version".to_owned());
        let mailbox =
            frame.number("box").and_then(|number| u32::try_from(number).ok()).ok_or_else(strange)?;
        let version = frame.number("v").ok_or_else(strange)?;
        if frame.field("lost") == Some("lock") {
            if let Some(fencing_token) = self.locked.remove(&mailbox) {
                self.queue.push_back(Event::LockLost { mailbox, fencing_token });
            }
        } else if self.watched.contains(&mailbox) {
            let lost = frame.number("lost").unwrap_or(0);
            self.bytes += frame.data.len() + OVERHEAD;
            self.queue.push_back(Event::Message { mailbox, version, data: frame.data, lost });
            while self.bytes > BYTES_MAX && self.drop_oldest() {}
        }
        Ok(())
    }

    /// The oldest event.
    pub fn pop(&mut self) -> Option<Event> {
        let mut event = self.queue.pop_front()?;
        if let Event::Message { mailbox, data, lost, .. } = &mut event {
            self.bytes -= data.len() + OVERHEAD;
            *lost = lost.saturating_add(self.dropped.remove(mailbox).unwrap_or(0));
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
            self.dropped.remove(&mailbox);
            self.queue.retain(|event| !matches!(event, Event::Message { mailbox: of, .. } if *of == mailbox));
            self.bytes = self.queue.iter().map(cost).sum();
        }
    }

    /// The newest message stays, however large; a lost lock is never dropped, and there are no more than locks.
    fn drop_oldest(&mut self) -> bool {
        let mut messages =
            (0..self.queue.len()).filter(|&at| matches!(self.queue[at], Event::Message { .. }));
        let (Some(oldest), Some(_)) = (messages.next(), messages.next()) else { return false };
        if let Some(Event::Message { mailbox, data, lost, .. }) = self.queue.remove(oldest) {
            self.bytes -= data.len() + OVERHEAD;
            let gone = self.dropped.entry(mailbox).or_default();
            *gone = gone.saturating_add(lost).saturating_add(1);
        }
        true
    }
}

fn cost(event: &Event) -> usize {
    match event {
        Event::Message { data, .. } => data.len() + OVERHEAD,
        Event::LockLost { .. } => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keep(events: &mut EventQueue, header: &str, len: usize) {
        let mut bytes = [format!("EVENT {len} {header}\n").as_bytes(), &vec![b'x'; len], b"\n"].concat();
        events.push(Frame::decode(&mut bytes).expect("an event").expect("whole")).expect("a good one");
    }

    #[test]
    fn the_oldest_events_go_and_the_next_one_counts_them() {
        let mut events = EventQueue { watched: [2].into(), locked: [(3, 9)].into(), ..EventQueue::default() };
        keep(&mut events, "box=3 v=1 lost=lock", 0);
        keep(&mut events, "box=2 v=5 lost=4", BYTES_MAX / 2);
        keep(&mut events, "box=2 v=6", BYTES_MAX / 2);
        keep(&mut events, "box=2 v=9 lost=2", BYTES_MAX);
        assert_eq!(events.pop(), Some(Event::LockLost { mailbox: 3, fencing_token: 9 }));
        match events.pop() {
            Some(Event::Message { version: 9, lost, .. }) => assert_eq!(lost, 4 + 1 + 1 + 2),
            other => panic!("{other:?}"),
        }
        assert_eq!((events.pop(), events.bytes), (None, 0));
    }

    #[test]
    fn events_of_nobody_are_not_kept() {
        let mut events = EventQueue::default();
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
