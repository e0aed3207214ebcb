//! The arguments that several commands share.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueHint};
use dipc::client;

use super::duration::{self, positive, seconds};
use super::number;
use crate::identity;
use crate::reconnect::Retry;

#[derive(Debug, Args)]
pub(crate) struct Mailbox {
    /// The number or the name of the mailbox
    #[arg(value_name = "BOX", value_parser = number::mailbox)]
    pub id: client::Mailbox,
}

/// How long a command goes on without a server.
#[derive(Clone, Copy, Debug, Args)]
pub(crate) struct RetryOption {
    /// Try to connect again for S seconds if the connection ends, and go on; 0 ends at once
    #[arg(long, value_name = "S", default_value = "30", value_parser = duration::seconds)]
    retry: Duration,
}

impl RetryOption {
    pub(crate) fn retry(self) -> Retry {
        Retry(self.retry)
    }
}

#[derive(Debug, Args)]
pub(crate) struct Mailboxes {
    /// The numbers or the names of the mailboxes
    #[arg(value_name = "BOX[,BOX..]", value_parser = number::mailboxes)]
    list: MailboxList,

    #[arg(hide = true, value_name = "COMMAND", value_parser = number::undashed_command,
          value_hint = ValueHint::Other)]
    undashed_command: Vec<String>,
}

/// The value of one argument. A `Vec` would be the values of several.
type MailboxList = Vec<client::Mailbox>;

impl Mailboxes {
    pub(crate) fn list(&self) -> &[client::Mailbox] {
        &self.list
    }
}

#[derive(Debug, Args)]
pub(crate) struct Locking {
    #[command(flatten)]
    pub mailboxes: Mailboxes,
    /// Lock for reading only: other clients may read, but not write
    #[arg(long)]
    pub shared: bool,
    /// Lease: seconds without a request after which the lock expires [default: 30]
    #[arg(long, value_name = "S", value_parser = positive)]
    pub ttl: Option<Duration>,
    /// Name of this connection in stat, in place of user@host:command, such as anna@build:lock:make
    #[arg(long, value_parser = identity::name)]
    pub name: Option<String>,
    #[command(flatten)]
    pub wait: Wait,
}

#[derive(Debug, Args)]
pub(crate) struct Wait {
    /// Seconds to wait, or inf [default: the server's default, usually 30]
    #[arg(long, value_name = "S", value_parser = seconds, allow_negative_numbers = true)]
    pub wait: Option<Duration>,
}

/// How a read reaches its mailbox.
#[derive(Debug, Args)]
pub(crate) struct Local {
    /// Read in the shared memory of this machine, without a request: in no queue, and not counted in stat.
    /// Needs only --port. Asks the server if the mailbox is locked
    #[arg(long = "local")]
    pub is_local: bool,
    /// Directory that dipc was started with, for --local [default: environment variable DIPC_DIR, or
    /// /dev/shm/dipc-UID]
    #[arg(long, value_name = "D", value_hint = ValueHint::DirPath, requires = "is_local")]
    pub dir: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct Data {
    /// The message; several words are joined by blanks. Default: standard input, unchanged
    #[arg(value_name = "TEXT", conflicts_with = "file", allow_negative_numbers = true)]
    pub text: Vec<OsString>,

    /// Read the message from file F; - is standard input
    #[arg(long, value_name = "F")]
    pub file: Option<PathBuf>,
}

impl Data {
    pub(crate) fn from_text(text: Vec<u8>) -> Self {
        Data { text: vec![OsString::from_vec(text)], file: None }
    }

    /// Whether the message is read from standard input, or at the prompt from the next line.
    pub(crate) fn is_from_input(&self) -> bool {
        match &self.file {
            None => self.text.is_empty(),
            Some(path) => path.as_os_str() == "-",
        }
    }
}
