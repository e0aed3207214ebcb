//! The arguments of `take`.

use std::ffi::OsString;
use std::time::Duration;

use clap::{Args, ValueHint, value_parser};
use dipc::client;

use super::arguments::{Mailbox, Wait};
use super::duration::{positive, seconds};
use super::number::{self, count};

/// Print the oldest message and remove it, or run a command for it; waits if there is none
///
/// Nothing is taken before standard output can be written, or after its reader has gone. If the message
/// was removed but could not be written, for example because a disk is full, the exit code is 74.
///
/// A command gets the message on its standard input. Meanwhile no other client can take the message. If
/// the command exits with 0, the message is removed. If the command fails, or if dipc-cli is killed, the
/// message is given back, in its old place. A message may therefore be handed out several times:
/// DIPC_TRIES is the number of times, DIPC_BOX the mailbox, and DIPC_VERSION the version of the message.
///
/// The server is asked at least every third of --ttl while the command runs, so that the message stays in
/// hand. If the message is lost, the command and its descendants are terminated, as with lock. Signals
/// are forwarded to them, as with lock. After INT, TERM, HUP or QUIT the message is given back, whatever
/// the exit code.
///
/// With --every, the command runs for message after message. A failed message is given back and is the
/// next one again, for this or another worker. After a failure the next message is taken after 0.1
/// seconds, and after twice as long each time, up to 10 seconds, until a command succeeds. --max-tries
/// limits how often a message is handed out: after N tries without success it is put into the mailbox of
/// --failed and removed. Without --failed it is given back, and dipc-cli ends. The number of tries starts
/// again with the server. If dipc-cli is killed between the put and the removal, the message is in both
/// mailboxes. If the connection ends, dipc-cli connects again, as watch does. INT, TERM, HUP and QUIT end
/// dipc-cli when the command has ended. If no message arrives within --wait, dipc-cli ends with exit code
/// 0.
///
/// At the prompt, --ttl without a command takes the message in hand: it is printed, and removed by done.
#[derive(Debug, Args)]
#[command(after_long_help = "Examples:\n  \
    dipc-cli take 3\n  \
    dipc-cli take 3 -- ./job\n  \
    dipc-cli take 3 --every -- ./job\n  \
    dipc-cli take 3 --every --max-tries 5 --failed 4 -- ./job\n  \
    dipc-cli take 3 --every --wait 0 -- ./job  until no message is left\n\n\
    Exit codes: that of the command, or 128 plus the number of the signal that ended it; 127 if the \
    command does not exist, and 126 if it cannot be executed; 1 if no message arrived in time, or if the \
    message had been handed out more often than --max-tries; 2 or 3 if the message was lost; 74 if a \
    message without a command could not be written.")]
pub(crate) struct TakeOptions {
    #[command(flatten)]
    pub mailbox: Mailbox,
    #[command(flatten)]
    pub wait: Wait,
    /// Seconds without a request after which a message in hand is given back [default: 30]
    #[arg(long, value_name = "S", value_parser = positive)]
    pub ttl: Option<Duration>,
    /// Go on with the next message, and wait for messages without end; --wait limits each wait
    #[arg(long, requires = "command")]
    pub every: bool,
    /// Do not run the command for a message more than N times: move it to --failed, or stop
    #[arg(long, value_name = "N", value_parser = value_parser!(u64).range(1..), requires = "command")]
    pub max_tries: Option<u64>,
    /// Move a message to mailbox BOX2 after its last failure
    #[arg(long, value_name = "BOX2", value_parser = number::mailbox, requires = "max_tries")]
    pub failed: Option<client::Mailbox>,
    /// With --every: try to connect again for S seconds if the connection ends; 0 ends at once
    #[arg(long, value_name = "S", default_value = "30", value_parser = seconds, requires = "every")]
    pub retry: Duration,
    /// The command and its arguments, after --
    #[arg(last = true, value_name = "COMMAND", value_hint = ValueHint::CommandWithArguments)]
    pub command: Vec<OsString>,
}

impl TakeOptions {
    /// The wait for a message. None: the server's default.
    pub(crate) fn take_wait(&self) -> Option<Duration> {
        self.wait.wait.or(self.every.then_some(Duration::MAX))
    }
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
