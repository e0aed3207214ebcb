//! Reads the messages of one mailbox.
//!
//! **Invariant**: the mailbox is locked for reading from its version to its last message, so all of them
//! belong to one moment.

use std::io::Write;
use std::time::Duration;

use dipc::client::Error;

use super::format::{Mailbox, Message};
use super::pipeline::{Answer, Pipeline, wait_key};
use super::progress::Progress;
use super::writer::Writer;
use crate::failure::Failure;

/// Seconds of silence after which the server ends the lock: when the output cannot be written for that long.
const LOCK_TTL: u32 = 60;

/// The most messages that are asked for in advance.
const AHEAD_MAX: u64 = 64;

pub(super) struct MailboxReader<'a> {
    pub pipeline: &'a mut Pipeline,
    /// The `wait=` of the requests that may have to wait.
    pub wait: String,
    /// The name of the output.
    output: &'a str,
    /// The mailbox whose `unlock` has not been answered yet.
    unlocking: Option<u32>,
}

impl<'a> MailboxReader<'a> {
    pub(super) fn new(pipeline: &'a mut Pipeline, wait: Option<Duration>, output: &'a str) -> Self {
        MailboxReader { pipeline, wait: wait_key(wait), output, unlocking: None }
    }

    /// Copies a mailbox to the dump, as it is now: `found` may be older.
    pub(super) fn copy<W: Write>(
        &mut self,
        found: Mailbox,
        writer: &mut Writer<W>,
        progress: &mut Progress,
    ) -> Result<(), Failure> {
        let number = found.number;
        self.pipeline.request(format_args!("lock {number} r ttl={LOCK_TTL}{}", self.wait))?;
        self.pipeline.request(format_args!("r {number} len=0"))?;
        self.pipeline.request(format_args!("r {number} after=0 wait=0"))?;
        self.settle()?;
        let locked = self.pipeline.answer()?;
        if !locked.is_ok() {
            return Err(locked.failure(&title(number)));
        }
        let state = self.pipeline.answer()?;
        self.pipeline.discard(&state)?;
        let (Some(_), Some(version), Some(count)) = (state.len(), state.number("v"), state.number("n"))
        else {
            return Err(state.failure(&title(number)));
        };
        let mailbox = Mailbox { version, count, ..found };
        writer.mailbox(&mailbox).map_err(|error| self.failed(error))?;
        self.copy_messages(&mailbox, writer, progress)?;
        self.pipeline.request(format_args!("unlock {number}"))?;
        self.unlocking = Some(number);
        Ok(())
    }

    /// Copies the messages. The oldest one has been asked for.
    ///
    /// Further ones are asked for in advance, as if there were no holes. Behind a hole several answers have
    /// the same message: then no message is asked for in advance until one follows its predecessor.
    fn copy_messages<W: Write>(
        &mut self,
        mailbox: &Mailbox,
        writer: &mut Writer<W>,
        progress: &mut Progress,
    ) -> Result<(), Failure> {
        let (mut last, mut copied, mut next) = (0, 0, 0);
        let (mut asked, mut ahead) = (1_u64, 1);
        while copied < mailbox.count || asked > 0 {
            while asked < ahead && copied < mailbox.count && next < mailbox.version {
                self.pipeline.request(format_args!("r {} after={next} wait=0", mailbox.number))?;
                (asked, next) = (asked + 1, next + 1);
            }
            if asked == 0 {
                let text = format!("{} has fewer messages than it says", title(mailbox.number));
                return Err(Error::Protocol(text).into());
            }
            let answer = self.pipeline.answer()?;
            asked -= 1;
            let version = match answer.number("v") {
                Some(version) if answer.len().is_some() => version,
                _ if copied == mailbox.count && answer.is_no("timeout") => continue,
                _ => return Err(answer.failure(&title(mailbox.number))),
            };
            if version <= last || copied == mailbox.count {
                self.pipeline.discard(&answer)?;
                continue;
            }
            ahead = if version == last + 1 { (ahead * 2).min(AHEAD_MAX) } else { 1 };
            (last, copied, next) = (version, copied + 1, next.max(version));
            self.copy_message(&answer, version, writer)?;
            progress.show(format_args!("mailbox {}; {}", mailbox.number, writer.totals()));
        }
        Ok(())
    }

    fn copy_message<W: Write>(
        &mut self,
        answer: &Answer,
        version: u64,
        writer: &mut Writer<W>,
    ) -> Result<(), Failure> {
        let message = Message { len: answer.len().unwrap_or(0), version };
        writer.message(message).map_err(|error| self.failed(error))?;
        let copied = self.pipeline.copy(answer, writer)?;
        copied.and_then(|()| writer.end_message()).map_err(|error| self.failed(error))
    }

    /// Reads the answer to the last `unlock`.
    pub(super) fn settle(&mut self) -> Result<(), Failure> {
        if let Some(number) = self.unlocking.take() {
            let answer = self.pipeline.answer()?;
            if !answer.is_ok() {
                return Err(answer.failure(&title(number)));
            }
        }
        Ok(())
    }

    pub(super) fn finish(mut self) -> Result<(), Failure> {
        self.settle()
    }

    fn failed(&self, error: std::io::Error) -> Failure {
        Failure::local(self.output, error)
    }
}

/// The name of a mailbox in messages.
pub(super) fn title(number: u32) -> String {
    format!("mailbox {number}")
}
