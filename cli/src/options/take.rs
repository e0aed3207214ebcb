//! The arguments of `take`.

use std::time::Duration;

use clap::Args;

use super::arguments::{Mailbox, Wait};
use super::duration::positive;
use super::number::count;

/// Print the oldest message and remove it; waits if there is none
///
/// Nothing is taken before standard output can be written, or after its reader has gone. If the message
/// was removed but could not be written, for example because a disk is full, the exit code is 74.
///
/// At the prompt, --ttl takes the message in hand: it is printed, and removed by done.
#[derive(Debug, Args)]
pub(crate) struct TakeOptions {
    #[command(flatten)]
    pub mailbox: Mailbox,
    #[command(flatten)]
    pub wait: Wait,
    /// Take the message in hand: it is given back after S seconds without a request
    #[arg(long, value_name = "S", value_parser = positive)]
    pub ttl: Option<Duration>,
}

/// A message in hand.
#[derive(Debug, Args)]
pub(crate) struct InHand {
    #[command(flatten)]
    pub mailbox: Mailbox,
    /// The version of the message, as take --ttl has printed it
    #[arg(value_name = "V", value_parser = count)]
    pub version: u64,
}
