//! Why a command failed, and the exit code that says so.

use std::fmt;
use std::io::{self, ErrorKind};

use dipc::client::{Address, Error};
use serde_json::{Value, json};

#[derive(Debug)]
pub enum Failure {
    /// The server's, or the connection's.
    Client(Error),
    /// There is no connection to this place.
    Connect(Address, Error),
    /// The command makes no sense.
    Usage(String),
    /// A file, the terminal, a process: something of this side.
    Local(String, io::Error),
    /// Whoever reads our output does not take it.
    Output(io::Error),
}

impl Failure {
    pub fn local(what: &str, error: impl Into<io::Error>) -> Self {
        Failure::Local(what.to_owned(), error.into())
    }

    /// A command line that cannot be understood.
    pub fn usage(error: &clap::Error) -> Self {
        let text = error.to_string();
        Failure::Usage(text.strip_prefix("error: ").unwrap_or(&text).trim_end().to_owned())
    }

    pub fn exit_code(&self) -> u8 {
        match self {
            Failure::Output(error) if error.kind() == ErrorKind::BrokenPipe => 0,
            Failure::Client(Error::NotDone { .. }) => 1,
            Failure::Client(Error::Io(error)) if error.kind() == ErrorKind::InvalidInput => 2,
            Failure::Client(Error::Io(_) | Error::Protocol(_)) | Failure::Connect(..) => 3,
            _ => 2,
        }
    }

    /// Whether nothing is to be said: who listened has heard enough.
    pub fn is_silent(&self) -> bool {
        self.exit_code() == 0
    }

    pub fn json(&self) -> Value {
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
