//! What a request ends with when it is not done.

use std::fmt;
use std::io;

use super::frame::Frame;

/// Why a request was not done.
#[derive(Debug)]
pub enum Error {
    /// `NO`: the request was right, but the mailbox was not ready for it. Nothing has changed.
    NotDone {
        /// Why.
        reason: Reason,
        /// The version of the mailbox, when the server told it.
        version: Option<u64>,
    },
    /// `ERR`: the request was wrong, or is not possible now.
    Refused {
        /// Why.
        code: Code,
        /// The same for people; its wording may change.
        text: String,
        /// The limit, where there is one: the last mailbox, bytes, or clients.
        max: Option<u64>,
    },
    /// The server is not there, is gone, or was silent for longer than the timeout; the connection is closed.
    ///
    /// Of the kind [`InvalidInput`](io::ErrorKind::InvalidInput) it is a request that cannot be written down, such as a
    /// list of too many mailboxes: that was not sent, and the connection is as good as before.
    Io(io::Error),
    /// Whoever is there does not speak as dipc does; the connection is closed.
    Protocol(String),
}

/// The word behind `NO`.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Reason {
    /// The mailbox was not free within the wait.
    Timeout,
    /// The version is not the one that was asked for.
    Conflict,
    /// No message came to be taken within the wait.
    Empty,
    /// There was no room for the message within the wait.
    Full,
    /// The lock could not be had at once.
    Locked,
    /// A message cannot be patched while there are several.
    Multi,
    /// A reason of a newer server.
    Other(String),
}

/// The word behind `ERR`.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Code {
    /// The arguments are not those of the verb.
    Syntax,
    /// No such verb.
    Verb,
    /// No such mailbox.
    Box,
    /// Too much data.
    Size,
    /// The lock has run out, or was never this connection's.
    Lease,
    /// The request would wait for itself, through others.
    Deadlock,
    /// One's own lock of this mailbox does not allow it.
    Denied,
    /// Where the request ends is unknown; closes the connection, like all that follow.
    Frame,
    /// No room for one more client.
    Busy,
    /// The server is stopping.
    Drain,
    /// The memory of this mailbox is damaged.
    Internal,
    /// A code of a newer server.
    Other(String),
}

impl Reason {
    /// The word on the wire.
    pub fn word(&self) -> &str {
        match self {
            Reason::Timeout => "timeout",
            Reason::Conflict => "conflict",
            Reason::Empty => "empty",
            Reason::Full => "full",
            Reason::Locked => "locked",
            Reason::Multi => "multi",
            Reason::Other(word) => word,
        }
    }

    fn from_word(word: String) -> Self {
        let known =
            [Reason::Timeout, Reason::Conflict, Reason::Empty, Reason::Full, Reason::Locked, Reason::Multi];
        known.into_iter().find(|reason| reason.word() == word).unwrap_or(Reason::Other(word))
    }
}

impl Code {
    /// The word on the wire.
    pub fn word(&self) -> &str {
        match self {
            Code::Syntax => "syntax",
            Code::Verb => "verb",
            Code::Box => "box",
            Code::Size => "size",
            Code::Lease => "lease",
            Code::Deadlock => "deadlock",
            Code::Denied => "denied",
            Code::Frame => "frame",
            Code::Busy => "busy",
            Code::Drain => "drain",
            Code::Internal => "internal",
            Code::Other(word) => word,
        }
    }

    fn from_word(word: String) -> Self {
        let known = [
            Code::Syntax,
            Code::Verb,
            Code::Box,
            Code::Size,
            Code::Lease,
            Code::Deadlock,
            Code::Denied,
            Code::Frame,
            Code::Busy,
            Code::Drain,
            Code::Internal,
        ];
        known.into_iter().find(|code| code.word() == word).unwrap_or(Code::Other(word))
    }

    /// Whether the server hangs up after it.
    fn closes_connection(&self) -> bool {
        matches!(self, Code::Frame | Code::Busy | Code::Drain | Code::Internal)
    }
}

impl Error {
    /// What an answer `NO` means.
    pub(super) fn from_no(frame: Frame) -> Self {
        let version = frame.number("v");
        Error::NotDone { reason: Reason::from_word(frame.word), version }
    }

    /// What an answer `ERR` means.
    pub(super) fn from_err(frame: Frame) -> Self {
        let max = frame.number("max");
        Error::Refused { code: Code::from_word(frame.word), text: frame.text, max }
    }

    /// A request that cannot be written down.
    pub(super) fn invalid_request(why: &str) -> Self {
        Error::Io(io::Error::new(io::ErrorKind::InvalidInput, why))
    }

    pub(super) fn closed() -> Self {
        Error::Io(io::Error::new(io::ErrorKind::NotConnected, "the connection is closed"))
    }

    /// Whether the connection is of no use after it: what still comes would be taken for the next answer.
    pub(super) fn closes_connection(&self) -> bool {
        match self {
            Error::NotDone { .. } => false,
            Error::Refused { code, .. } => code.closes_connection(),
            Error::Io(_) | Error::Protocol(_) => true,
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::NotDone { reason, version: Some(version) } => {
                write!(f, "{} (version {version})", reason.word())
            }
            Error::NotDone { reason, version: None } => f.write_str(reason.word()),
            Error::Refused { code, text, .. } if text.is_empty() => f.write_str(code.word()),
            Error::Refused { code, text, .. } => write!(f, "{}: {text}", code.word()),
            Error::Io(error) => error.fmt(f),
            Error::Protocol(what) => write!(f, "this is no dipc: {what}"),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Error::Io(error) => Some(error),
            _ => None,
        }
    }
}

impl From<io::Error> for Error {
    fn from(error: io::Error) -> Self {
        Error::Io(error)
    }
}
