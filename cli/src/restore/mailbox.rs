//! Restores the messages and the holes of one mailbox.
//!
//! A hole is an empty message that is removed again. Only the oldest message can be taken that is not in
//! hand, so all messages before the last hole are taken in hand, and given back at the end. A connection can
//! have a limited number of messages in hand, so further connections take over where one has reached the
//! limit.

use std::io::{self, Read};

use super::lane::{Expected, Lane};
use crate::dump::reader::Reader;
use crate::dump::summary::Summary;
use crate::failure::Failure;

/// The most messages that a connection keeps in hand. The server allows one more, for the hole.
const IN_HAND_MAX: u64 = 1023;

/// Seconds of silence after which a message in hand is given back: longer than any restore.
const IN_HAND_TTL: u32 = 7 * 24 * 60 * 60;

pub(super) struct MailboxWriter<'a> {
    lanes: &'a mut [Lane],
    /// The lane that changes the mailbox.
    current: usize,
    reader: &'a mut Reader,
    /// The messages in the mailbox.
    count: u64,
}

/// The number of connections that restoring this mailbox needs.
pub(super) fn connections(summary: &Summary) -> usize {
    summary.before_hole.div_ceil(IN_HAND_MAX).max(1).try_into().unwrap_or(usize::MAX)
}

impl<'a> MailboxWriter<'a> {
    pub(super) fn new(lanes: &'a mut [Lane], reader: &'a mut Reader) -> Self {
        MailboxWriter { lanes, current: 0, reader, count: 0 }
    }

    /// Restores the mailbox. The position of the reader is the same afterwards.
    pub(super) fn restore(mut self, summary: &Summary) -> Result<(), Failure> {
        let mailbox = &summary.mailbox;
        if let Some(first) = summary.first {
            let end = self.reader.at();
            self.reader.seek(summary.at)?;
            self.restore_messages(summary, first)?;
            self.reader.seek(end)?;
            self.give_back(mailbox.number)?;
        }
        let lane = &mut self.lanes[0];
        if let Some(name) = &mailbox.name {
            lane.request(mailbox.number, Expected::Done, format_args!("name {} {name}", mailbox.number))?;
        }
        let expected = Expected::State { version: mailbox.version, count: mailbox.count };
        lane.request(mailbox.number, expected, format_args!("r {} len=0 wait=0", mailbox.number))
    }

    fn restore_messages(&mut self, summary: &Summary, first: u64) -> Result<(), Failure> {
        let (number, last_hole) = (summary.mailbox.number, summary.last_hole.unwrap_or(0));
        let mut next = first;
        for _ in 0..summary.mailbox.count {
            let message = self.reader.message()?;
            self.make_holes(number, next..message.version)?;
            self.count += 1;
            let expected = Expected::Put { version: message.version, count: self.count };
            let lane = &mut self.lanes[self.current];
            let put = |source: &mut dyn Read| lane.put(number, expected, (source, message.len));
            self.reader.read_data(message.len, put)?;
            if message.version < last_hole {
                self.take(number, message.version, message.len)?;
            }
            next = message.version + 1;
        }
        if last_hole >= next {
            self.make_holes(number, next..last_hole + 1)?;
        }
        Ok(())
    }

    /// Puts empty messages with these versions, and removes them.
    fn make_holes(&mut self, number: u32, versions: std::ops::Range<u64>) -> Result<(), Failure> {
        for version in versions {
            let expected = Expected::Put { version, count: self.count + 1 };
            let lane = &mut self.lanes[self.current];
            lane.put(number, expected, (&mut io::empty(), 0))
                .unwrap_or_else(|error| Err(Failure::local("an empty message", error)))?;
            // `done` removes no other message, if another client has put one.
            request_take(lane, number, version, 0)?;
            lane.request(number, Expected::Done, format_args!("done {number} v={version} wait=0"))?;
        }
        Ok(())
    }

    /// Takes the newest message in hand, which is the oldest that is not in hand.
    fn take(&mut self, number: u32, version: u64, len: u64) -> Result<(), Failure> {
        if self.lanes[self.current].in_hand.len() as u64 == IN_HAND_MAX {
            self.lanes[self.current].drain()?;
            self.current += 1;
        }
        let lane = &mut self.lanes[self.current];
        lane.in_hand.push(version);
        request_take(lane, number, version, len)
    }

    /// Gives back all messages in hand.
    fn give_back(&mut self, number: u32) -> Result<(), Failure> {
        if self.current > 0 {
            // The other connections give back only when the last one takes no more.
            self.lanes[self.current].drain()?;
        }
        for lane in &mut self.lanes[..=self.current] {
            for version in std::mem::take(&mut lane.in_hand) {
                lane.request(number, Expected::Done, format_args!("back {number} v={version} wait=0"))?;
            }
        }
        if self.current > 0 {
            self.lanes[..=self.current].iter_mut().try_for_each(Lane::drain)?;
        }
        Ok(())
    }
}

fn request_take(lane: &mut Lane, number: u32, version: u64, len: u64) -> Result<(), Failure> {
    let request = format_args!("take {number} ttl={IN_HAND_TTL} wait=0");
    lane.request(number, Expected::InHand { version, len }, request)
}
