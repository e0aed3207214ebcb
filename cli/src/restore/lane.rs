//! A connection that changes mailboxes: requests are sent in advance, and each answer has to be the expected
//! one.

use std::collections::VecDeque;
use std::fmt;
use std::io::{self, Read};

use super::Connect;
use crate::dump::pipeline::{Answer, Pipeline};
use crate::failure::Failure;

/// The most requests whose answers have not been read.
const PENDING_MAX: usize = 128;

/// The most bytes of messages in answers that have not been read, except for the last answer.
const OWED_MAX: u64 = 16 * 1024;

/// An answer that shows that no other client has changed the mailbox.
#[derive(Clone, Copy, Debug)]
pub(super) enum Expected {
    /// To `version`.
    Raised { version: u64 },
    /// To `put`: the new message has this version, and is the last one of this many.
    Put { version: u64, count: u64 },
    /// To `take ttl=`: the message of this version and length.
    InHand { version: u64, len: u64 },
    /// To `done`, `back` and `name`.
    Done,
    /// To `r`: the mailbox has this version and this many messages.
    State { version: u64, count: u64 },
}

pub(super) struct Lane {
    pipeline: Pipeline,
    expected: VecDeque<(u32, Expected)>,
    /// Bytes of messages in the expected answers.
    owed: u64,
    /// The versions that this connection has in hand.
    pub in_hand: Vec<u64>,
}

impl Lane {
    /// Connects as many times as needed.
    pub(super) fn connect(count: usize, connect: Connect) -> Result<Vec<Lane>, Failure> {
        let connected = (0..count).map(|_| {
            let (pipeline, _) = Pipeline::new(connect()?)?;
            Ok(Lane { pipeline, expected: VecDeque::new(), owed: 0, in_hand: Vec::new() })
        });
        connected.collect::<Result<_, Failure>>().map_err(|failure| match failure {
            failure if count == 1 => failure,
            failure => Failure::Transfer {
                code: failure.exit_code(),
                word: "connection".to_owned(),
                text: format!("nothing was restored, because this dump needs {count} connections: {failure}"),
            },
        })
    }

    /// Sends a request without data.
    pub(super) fn request(
        &mut self,
        mailbox: u32,
        expected: Expected,
        line: impl fmt::Display,
    ) -> Result<(), Failure> {
        self.pipeline.request(line)?;
        self.expect(mailbox, expected)
    }

    /// Sends a `put` of a message from this source. The outer error is one of the source.
    pub(super) fn put(
        &mut self,
        mailbox: u32,
        expected: Expected,
        (source, len): (&mut dyn Read, u64),
    ) -> io::Result<Result<(), Failure>> {
        let sent = self.pipeline.request(format_args!("put {mailbox} {len} wait=0"));
        if sent.is_err() {
            return Ok(sent);
        }
        let mut source = source;
        let sent = self.pipeline.data(&mut source, len)?;
        Ok(sent.and_then(|()| self.expect(mailbox, expected)))
    }

    /// Reads all answers if many are pending.
    fn expect(&mut self, mailbox: u32, expected: Expected) -> Result<(), Failure> {
        self.expected.push_back((mailbox, expected));
        if let Expected::InHand { len, .. } = expected {
            self.owed += len;
        }
        if self.expected.len() >= PENDING_MAX || self.owed > OWED_MAX { self.drain() } else { Ok(()) }
    }

    /// Reads all answers.
    pub(super) fn drain(&mut self) -> Result<(), Failure> {
        while let Some((mailbox, expected)) = self.expected.pop_front() {
            let answer = self.pipeline.answer()?;
            self.pipeline.discard(&answer)?;
            check(mailbox, expected, &answer)?;
        }
        self.owed = 0;
        Ok(())
    }
}

fn check(mailbox: u32, expected: Expected, answer: &Answer) -> Result<(), Failure> {
    let (version, count, has_data) = (answer.number("v"), answer.number("n"), answer.len().is_some());
    let is_as_expected = match expected {
        // The mailbox may have had this version.
        Expected::Raised { version: base } => {
            version == Some(base) && (answer.is_ok() || answer.is_no("conflict"))
        }
        Expected::Put { version: new, count: all } => (version, count) == (Some(new), Some(all)),
        Expected::InHand { version: taken, .. } => version == Some(taken) && has_data,
        Expected::Done => answer.is_ok(),
        Expected::State { version: newest, count: all } => (version, count) == (Some(newest), Some(all)),
    };
    let is_refused = answer.number("v").is_none() && !answer.is_ok();
    match is_as_expected {
        true => Ok(()),
        false if is_refused => Err(answer.failure(&format!("mailbox {mailbox}"))),
        false => {
            let text = format!(
                "another client uses mailbox {mailbox}: the answer is \"{answer}\", expected is {expected}"
            );
            Err(Failure::Transfer { code: 1, word: "conflict".to_owned(), text })
        }
    }
}

impl fmt::Display for Expected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Expected::Raised { version } | Expected::InHand { version, .. } => write!(f, "v={version}"),
            Expected::Put { version, count } | Expected::State { version, count } => {
                write!(f, "v={version} n={count}")
            }
            Expected::Done => f.write_str("OK"),
        }
    }
}
