//! Why a command failed, and its exit code.

use std::fmt;
use std::io::{self, ErrorKind};

use dipc::client::{Address, Error};
use serde_json::{Value, json};

#[derive(Debug)]
pub(crate) enum Failure {
    /// An answer of the server, or a failure of the connection.
    Client(Error),
    /// The connection to this address could not be made.
    Connect(Address, Error),
    /// The command line is invalid.
    Usage(String),
    /// A local error: of a file, the terminal, or a process.
    Local(String, io::Error),
    /// Standard output could not be written.
    Output(io::Error),
}

impl Failure {
    pub(crate) fn local(what: &str, error: impl Into<io::Error>) -> Self {
        Failure::Local(what.to_owned(), error.into())
    }

    /// A command line that could not be parsed.
    pub(crate) fn usage(error: &clap::Error) -> Self {
        let text = error.to_string();
        Failure::Usage(text.strip_prefix("error: ").unwrap_or(&text).trim_end().to_owned())
    }

    pub(crate) fn exit_code(&self) -> u8 {
        match self {
            Failure::Output(error) if error.kind() == ErrorKind::BrokenPipe => 0,
            Failure::Client(Error::NotDone { .. }) => 1,
            Failure::Client(Error::Io(error)) if error.kind() == ErrorKind::InvalidInput => 2,
            Failure::Client(Error::Io(_) | Error::Protocol(_)) | Failure::Connect(..) => 3,
            _ => 2,
        }
    }

    /// Whether no error is printed: the reader of standard output has closed the pipe, which is no failure.
    pub(crate) fn is_silent(&self) -> bool {
        self.exit_code() == 0
    }

    pub(crate) fn json(&self) -> Value {
        let mut value = match self {
            Failure::Client(Error::NotDone { reason, version }) => {
                json!({ "error": reason.word(), "version": version })
            }
            Failure::Client(Error::Refused { code, max, .. }) => json!({ "error": code.word(), "max": max }),
            _ if self.exit_code() == 3 => json!({ "error": "connection" }),
            _ => json!({ "error": "usage" }),
        };
        value["text"] = self.to_string().into();
        value
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Failure::Client(error) => error.fmt(f),
            Failure::Connect(address, error) => write!(f, "cannot connect to {address}: {error}"),
            Failure::Usage(what) => f.write_str(what),
            Failure::Local(what, error) => write!(f, "{what}: {error}"),
            Failure::Output(error) => write!(f, "cannot print: {error}"),
        }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Failure::Client(error)
    }
}
