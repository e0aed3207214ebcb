//! Why a command failed, and its exit code.

use std::fmt;
use std::io::{self, ErrorKind};

use dipc::client::{Address, Code, Error, Reason};
use serde_json::{Value, json};

/// The exit codes of sysexits.h for an error of a file, a stream or a process of this machine, and for a
/// command that may succeed later: the server is full or stopping, or a lock was not acquired.
const LOCAL: u8 = 74;
pub(crate) const TRY_AGAIN: u8 = 75;

#[derive(Debug)]
pub(crate) enum Failure {
    /// An answer of the server, or a failure of the connection.
    Client(Error),
    /// The connection to this address could not be made.
    Connect(Address, Error),
    /// A lock was not acquired, and the command line has an exit code for this.
    Locked(Error, u8),
    /// The command line is invalid.
    Usage(String),
    /// A local error: of a file, the terminal, or a process.
    Local(String, io::Error),
    /// Standard output could not be written.
    Output(io::Error),
    /// Standard output has no reader, so no message was taken.
    NotTaken,
    /// A message was taken, and could not be printed.
    TakenInVain(io::Error),
    /// A dump or a restore that is not possible with this server, or was ended by an answer of the server.
    Transfer { code: u8, word: String, text: String },
}

impl Failure {
    pub(crate) fn local(what: &str, error: impl Into<io::Error>) -> Self {
        Failure::Local(what.to_owned(), error.into())
    }

    /// The same failure with this exit code, if a lock was not acquired in time.
    pub(crate) fn with_conflict_exit_code(self, code: u8) -> Self {
        match self {
            Failure::Client(error @ Error::NotDone { .. }) => Failure::Locked(error, code),
            other => other,
        }
    }

    /// A command line that could not be parsed.
    pub(crate) fn usage(error: &clap::Error) -> Self {
        let text = error.to_string();
        Failure::Usage(text.strip_prefix("error: ").unwrap_or(&text).trim_end().to_owned())
    }

    /// The exit code, as README and `--help` list them.
    pub(crate) fn exit_code(&self) -> u8 {
        match self {
            _ if self.is_silent() => 0,
            Failure::Output(_) | Failure::NotTaken | Failure::TakenInVain(_) | Failure::Local(..) => LOCAL,
            Failure::Client(Error::Refused { code: Code::Busy | Code::Drain, .. }) => TRY_AGAIN,
            Failure::Client(Error::NotDone { .. }) => 1,
            Failure::Locked(_, code) | Failure::Transfer { code, .. } => *code,
            Failure::Client(Error::Io(error)) if error.kind() == ErrorKind::InvalidInput => 2,
            Failure::Client(Error::Io(_) | Error::Protocol(_)) | Failure::Connect(..) => 3,
            _ => 2,
        }
    }

    /// Whether it concerns the output: then no later command can print anything either.
    pub(crate) fn is_of_output(&self) -> bool {
        matches!(self, Failure::Output(_) | Failure::NotTaken | Failure::TakenInVain(_))
    }

    /// Whether the mailbox was not free in time.
    pub(crate) fn is_of_admission(&self) -> bool {
        let (Failure::Client(error) | Failure::Locked(error, _)) = self else { return false };
        matches!(error, Error::NotDone { reason: Reason::Timeout | Reason::Locked, .. })
    }

    /// Whether no error is printed: the reader of standard output has closed the pipe, which is no failure.
    pub(crate) fn is_silent(&self) -> bool {
        matches!(self, Failure::Output(error) if error.kind() == ErrorKind::BrokenPipe)
    }

    pub(crate) fn json(&self) -> Value {
        let mut value = match self {
            Failure::Client(Error::NotDone { reason, version })
            | Failure::Locked(Error::NotDone { reason, version }, _) => {
                json!({ "error": reason.word(), "version": version })
            }
            Failure::Client(Error::Refused { code, max, .. }) => json!({ "error": code.word(), "max": max }),
            _ if self.exit_code() == 3 => json!({ "error": "connection" }),
            Failure::TakenInVain(_) => json!({ "error": "taken" }),
            _ if self.is_of_output() => json!({ "error": "output" }),
            Failure::Local(..) => json!({ "error": "local" }),
            Failure::Transfer { word, .. } => json!({ "error": word }),
            _ => json!({ "error": "usage" }),
        };
        value["text"] = self.to_string().into();
        value
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Failure::Client(error) | Failure::Locked(error, _) => error.fmt(f),
            Failure::Connect(address, error) => write!(f, "cannot connect to {address}: {error}"),
            Failure::Usage(text) | Failure::Transfer { text, .. } => f.write_str(text),
            Failure::Local(what, error) => write!(f, "{what}: {error}"),
            Failure::Output(error) => write!(f, "standard output cannot be written: {error}"),
            Failure::NotTaken => f.write_str("nothing was taken: standard output has no reader"),
            Failure::TakenInVain(error) => {
                write!(f, "the message was removed but could not be written to standard output: {error}")
            }
        }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Failure::Client(error)
    }
}
