//! Finds the mailboxes that have something to dump: asks for the version and the number of messages of many
//! mailboxes at once.

use super::mailbox::{MailboxReader, title};
use crate::failure::Failure;

/// Mailboxes that are asked for together. The requests and their answers fit into the buffers of a socket.
pub(super) const BATCH: usize = 1024;

/// A mailbox, at the moment at which it was asked for.
pub(super) struct Found {
    pub number: u32,
    pub version: u64,
    /// The number of messages.
    pub count: u64,
}

pub(super) fn find(reader: &mut MailboxReader, numbers: &[u32]) -> Result<Vec<Found>, Failure> {
    reader.settle()?;
    let wait = reader.wait.clone();
    for number in numbers {
        reader.pipeline.request(format_args!("r {number} len=0{wait}"))?;
    }
    numbers.iter().map(|&number| answer(reader, number)).collect()
}

fn answer(reader: &mut MailboxReader, number: u32) -> Result<Found, Failure> {
    let answer = reader.pipeline.answer()?;
    reader.pipeline.discard(&answer)?;
    match (answer.len(), answer.number("v"), answer.number("n")) {
        (Some(_), Some(version), Some(count)) => Ok(Found { number, version, count }),
        _ => Err(answer.failure(&title(number))),
    }
}
