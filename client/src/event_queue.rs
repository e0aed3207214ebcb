//! [`Event`], and the queue of received events that are not yet returned to the program.

use std::collections::{BTreeMap, VecDeque};

use super::Error;
use super::frame::Frame;

/// The largest cost of all queued events in bytes. [`cost`] defines the cost of an event.
const BYTES_MAX: usize = 64 << 20;

/// The cost of a message in addition to its bytes.
const OVERHEAD: usize = 256;

/// A frame that the server sends without a request, because this connection watches or locks a mailbox, or
/// has a message in hand.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A new message in a watched mailbox.
    Message {
        /// The number of the mailbox.
        mailbox: u32,
        /// The version of the message.
        version: u64,
        /// The bytes of the message.
        data: Vec<u8>,
        /// The number of messages of this mailbox that were not delivered since its previous event, or since
        /// the watch began. The server skips messages that no longer exist. The client drops messages when
        /// its queue is full.
        lost: u64,
    },
    /// The lease of a lock has expired. Requests of this connection to the mailbox fail with
    /// [`Code::Lease`](crate::Code::Lease) until it has sent `unlock` or `lock` for the mailbox.
    LockLost {
        /// The number of the mailbox.
        mailbox: u32,
        /// The fencing token of the lock.
        fencing_token: u64,
        /// Whether the lock was held for longer than the server allows, `--max-hold`. If not, the server has
        /// received no request for the lease's `ttl`.
        by_max_hold: bool,
    },
    /// A message that this connection had in hand was given back, because the server has received no request
    /// for the message's `ttl`. Another client may have it in hand. [`done`](crate::Client::done) and
    /// [`back`](crate::Client::back) fail with [`Code::Lease`](crate::Code::Lease).
    JobLost {
        /// The number of the mailbox.
        mailbox: u32,
        /// The version of the message.
        version: u64,
        /// The [`tries`](crate::Job::tries) of the job that was lost. If this connection has taken the
        /// message again, the new job has more.
        tries: u64,
    },
}

/// The events received and not yet returned, and the mailboxes that can have events.
#[derive(Debug, Default)]
pub(super) struct EventQueue {
    queue: VecDeque<Event>,
    /// The cost of all queued events.
    bytes: usize,
    /// The number of dropped messages of each mailbox since its last event. The next event adds it to `lost`.
    dropped: BTreeMap<u32, u64>,
    /// The watched mailboxes, each with the version of the last message that was received, or with the
    /// version at which the watch began.
    pub watched: BTreeMap<u32, u64>,
    /// The locked mailboxes, with the fencing token of each lock.
    pub locked: BTreeMap<u32, u64>,
    /// The messages in hand, by mailbox and version, each with its `tries`.
    pub in_hand: BTreeMap<(u32, u64), u64>,
}

impl EventQueue {
    /// Whether the queue is empty and the server has no reason to send an event.
    pub(crate) fn is_idle(&self) -> bool {
        self.queue.is_empty() && self.watched.is_empty() && self.locked.is_empty() && self.in_hand.is_empty()
    }

    /// Appends the event of this frame. The event of a mailbox that is no longer watched or locked was sent
    /// before the server received the request that ended the watch or lock: it is ignored. So is the event of
    /// a message that is no longer in hand.
    pub(crate) fn push(&mut self, frame: Frame) -> Result<(), Error> {
        let malformed = || Error::Protocol("an event without its mailbox or version".to_owned());
        let mailbox =
            frame.number("box").and_then(|number| u32::try_from(number).ok()).ok_or_else(malformed)?;
        let version = frame.number("v").ok_or_else(malformed)?;
        match frame.field("lost") {
            Some("lock") => {
                let by_max_hold = frame.field("by") == Some("max-hold");
                self.lose_lock(mailbox, by_max_hold);
            }
            Some("take") => self.lose_job(mailbox, version),
            _ => self.push_message(mailbox, version, frame),
        }
        Ok(())
    }

    fn push_message(&mut self, mailbox: u32, version: u64, frame: Frame) {
        let Some(newest) = self.watched.get_mut(&mailbox) else { return };
        *newest = version;
        let lost = frame.number("lost").unwrap_or(0);
        self.bytes += frame.data.len() + OVERHEAD;
        self.queue.push_back(Event::Message { mailbox, version, data: frame.data, lost });
        while self.bytes > BYTES_MAX && self.drop_oldest() {}
    }

    fn lose_lock(&mut self, mailbox: u32, by_max_hold: bool) {
        if let Some(fencing_token) = self.locked.remove(&mailbox) {
            self.queue.push_back(Event::LockLost { mailbox, fencing_token, by_max_hold });
        }
    }

    fn lose_job(&mut self, mailbox: u32, version: u64) {
        if let Some(tries) = self.in_hand.remove(&(mailbox, version)) {
            self.queue.push_back(Event::JobLost { mailbox, version, tries });
        }
    }

    /// Removes the oldest event.
    pub(crate) fn pop(&mut self) -> Option<Event> {
        let mut event = self.queue.pop_front()?;
        if let Event::Message { mailbox, data, lost, .. } = &mut event {
            self.bytes -= data.len() + OVERHEAD;
            *lost = lost.saturating_add(self.dropped.remove(mailbox).unwrap_or(0));
        }
        Some(event)
    }

    /// Records a new watch. Discards the queued messages of the mailbox: they belong to an earlier watch.
    pub(crate) fn watch(&mut self, mailbox: u32, version: u64) {
        self.unwatch(mailbox);
        self.watched.insert(mailbox, version);
    }

    /// Records the end of a watch and discards the queued messages of the mailbox.
    pub(crate) fn unwatch(&mut self, mailbox: u32) {
        if self.watched.remove(&mailbox).is_some() {
            self.dropped.remove(&mailbox);
            self.queue.retain(|event| !matches!(event, Event::Message { mailbox: of, .. } if *of == mailbox));
            self.bytes = self.queue.iter().map(cost).sum();
        }
    }

    /// Makes each lock and each message in hand an event: they have ended with the connection.
    pub(crate) fn lose_locks_and_jobs(&mut self) {
        while let Some((&mailbox, _)) = self.locked.first_key_value() {
            self.lose_lock(mailbox, false);
        }
        while let Some((&(mailbox, version), _)) = self.in_hand.first_key_value() {
            self.lose_job(mailbox, version);
        }
    }

    /// Drops the oldest message. Returns `false` when at most one message is queued: the newest message
    /// stays, however large it is. A `LockLost` is never dropped, and each lock has at most one. The same
    /// applies to `JobLost` and jobs.
    fn drop_oldest(&mut self) -> bool {
        let mut messages =
            (0..self.queue.len()).filter(|&at| matches!(self.queue[at], Event::Message { .. }));
        let (Some(oldest), Some(_)) = (messages.next(), messages.next()) else { return false };
        if let Some(Event::Message { mailbox, data, lost, .. }) = self.queue.remove(oldest) {
            self.bytes -= data.len() + OVERHEAD;
            let dropped = self.dropped.entry(mailbox).or_default();
            *dropped = dropped.saturating_add(lost).saturating_add(1);
        }
        true
    }
}

/// The cost of an event, in bytes.
fn cost(event: &Event) -> usize {
    match event {
        Event::Message { data, .. } => data.len() + OVERHEAD,
        Event::LockLost { .. } | Event::JobLost { .. } => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn push(events: &mut EventQueue, header: &str, len: usize) {
        let mut bytes = [format!("EVENT {len} {header}\n").as_bytes(), &vec![b'x'; len], b"\n"].concat();
        events.push(Frame::decode(&mut bytes).expect("an event").expect("whole")).expect("a valid event");
    }

    #[test]
    fn a_full_queue_drops_the_oldest_messages_and_counts_them_as_lost() {
        let mut events =
            EventQueue { watched: [(2, 0)].into(), locked: [(3, 9)].into(), ..EventQueue::default() };
        push(&mut events, "box=3 v=1 lost=lock", 0);
        push(&mut events, "box=2 v=5 lost=4", BYTES_MAX / 2);
        push(&mut events, "box=2 v=6", BYTES_MAX / 2);
        push(&mut events, "box=2 v=9 lost=2", BYTES_MAX);
        assert_eq!(events.pop(), Some(Event::LockLost { mailbox: 3, fencing_token: 9, by_max_hold: false }));
        match events.pop() {
            Some(Event::Message { version: 9, lost, .. }) => assert_eq!(lost, 4 + 1 + 1 + 2),
            other => panic!("{other:?}"),
        }
        assert_eq!((events.pop(), events.bytes), (None, 0));
    }

    #[test]
    fn a_lost_job_is_no_message_and_no_lost_lock() {
        let mut events = EventQueue {
            watched: [(2, 4)].into(),
            locked: [(2, 9)].into(),
            in_hand: [((2, 3), 1), ((2, 5), 7)].into(),
            ..EventQueue::default()
        };
        push(&mut events, "box=2 v=5 lost=take", 0);
        push(&mut events, "box=2 v=5 lost=take", 0);
        assert_eq!(events.pop(), Some(Event::JobLost { mailbox: 2, version: 5, tries: 7 }));
        assert_eq!(events.pop(), None);
        assert_eq!((&events.watched, &events.locked), (&[(2, 4)].into(), &[(2, 9)].into()));
        events.lose_locks_and_jobs();
        assert_eq!(events.pop(), Some(Event::LockLost { mailbox: 2, fencing_token: 9, by_max_hold: false }));
        assert_eq!(events.pop(), Some(Event::JobLost { mailbox: 2, version: 3, tries: 1 }));
    }

    #[test]
    fn events_of_mailboxes_neither_watched_nor_locked_are_ignored() {
        let mut events = EventQueue::default();
        push(&mut events, "box=2 v=5", 9);
        push(&mut events, "box=2 v=5 lost=lock", 0);
        push(&mut events, "box=2 v=5 lost=take", 0);
        assert!(events.is_idle());
        events.watch(2, 5);
        push(&mut events, "box=2 v=6", 9);
        events.unwatch(2);
        assert!(events.is_idle());
        assert_eq!(events.bytes, 0);
    }
}
