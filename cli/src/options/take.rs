//! The arguments of `take`.

use std::ffi::OsString;
use std::time::Duration;

use clap::{Args, ValueHint};

use super::arguments::{Mailbox, Wait};
use super::duration::positive;
use super::number::count;

/// Print the oldest message and remove it, or run a command for it; waits if there is none
///
/// Nothing is taken before standard output can be written, or after its reader has gone. If the message
/// was removed but could not be written, for example because a disk is full, the exit code is 74.
///
/// A command gets the message on its standard input. Meanwhile no other client can take the message. If the
/// command exits with 0, the message is removed. If the command fails, the message is given back, in its old
/// place. So it is if dipc-cli is killed, or its machine is lost. A message may therefore be handed out several
/// times: DIPC_TRIES contains how often it was, DIPC_BOX the mailbox, and DIPC_VERSION the version.
///
/// The server is asked at least every third of --ttl while the command runs, so that the message stays in hand.
/// If the message is lost, the command and its descendants are terminated, as with lock. Signals are forwarded
/// to them, as with lock. After INT, TERM, HUP or QUIT the message is given back, whatever the exit code.
///
/// At the prompt, --ttl without a command takes the message in hand: it is printed, and removed by done.
#[derive(Debug, Args)]
#[command(after_long_help = "Examples:\n  \
    dipc-cli take 3\n  \
    dipc-cli take 3 -- ./job\n  \
    dipc-cli take 3 --wait 0 -- sh -c 'echo $DIPC_TRIES; cat'\n\n\
    Exit codes: that of the command, or 128 plus the number of the signal that ended it; 127 if \
    the command does not exist, and 126 if it cannot be executed; 1 if no message arrived in time; 2 or 3 if the \
    message was lost; 74 if a message without a command could not be written.")]
pub(crate) struct TakeOptions {
    #[command(flatten)]
    pub mailbox: Mailbox,
    #[command(flatten)]
    pub wait: Wait,
    /// Seconds without a request after which a message in hand is given back [default: 30]
    #[arg(long, value_name = "S", value_parser = positive)]
    pub ttl: Option<Duration>,
    /// The command and its arguments, after --
    #[arg(last = true, value_name = "COMMAND", value_hint = ValueHint::CommandWithArguments)]
    pub command: Vec<OsString>,
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
