//! [`Error`]: the ways in which a request fails.

use std::fmt;
use std::io;

use super::frame::Frame;

/// The failure of a request.
#[derive(Debug)]
pub enum Error {
    /// `NO`: the request is valid, but the state of the mailbox did not permit it within the wait. Nothing
    /// has changed.
    NotDone {
        /// The reason.
        reason: Reason,
        /// The version of the mailbox, if the reply has it: for a conflict, for a read that timed out, and
        /// for [`Reason::Ahead`] of one mailbox.
        version: Option<u64>,
    },
    /// `ERR`: the request is invalid, or impossible now.
    Refused {
        /// The reason.
        code: Code,
        /// An explanation for people. Its wording may change.
        text: String,
        /// The limit that was exceeded: for [`Code::Box`] the highest number of a mailbox, for [`Code::Size`]
        /// the number of bytes, or of messages in hand, for [`Code::Busy`] the number of clients.
        max: Option<u64>,
    },
    /// The connection cannot be made, has failed, or exceeded its timeout. It is closed. The server may have
    /// executed the request.
    ///
    /// The kind [`InvalidInput`](io::ErrorKind::InvalidInput) is an exception: the request cannot be encoded,
    /// for example because its list of mailboxes is too long. It was not sent, and later requests can
    /// succeed.
    Io(io::Error),
    /// The peer sent bytes that are not dipc's protocol. The connection is closed. The text describes the
    /// bytes.
    Protocol(String),
}

/// The reason of a `NO`.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Reason {
    /// The mailbox was not free within the wait, or a read with [`after`](crate::ReadOptions::after) found no
    /// newer message.
    Timeout,
    /// The version of the mailbox is not [`if_version`](crate::WriteOptions::if_version).
    Conflict,
    /// The mailbox of this number has the name. In the protocol it is `conflict`, too.
    NameTaken(u32),
    /// The mailbox had no message to take within the wait.
    Empty,
    /// The mailbox had no room for the message within the wait.
    Full,
    /// The lock was not free, and the wait of the request is zero.
    Locked,
    /// The mailbox has several messages. Only a single message can be patched.
    Multi,
    /// A mailbox has not reached the version of `after`, which is one of another life of the mailboxes. A
    /// client that resumes continues with `after` 0, and tells its user.
    Ahead,
    /// A reason that this version of the client does not know.
    Other(String),
}

/// The reason of an `ERR`.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Code {
    /// The arguments are invalid for the verb.
    Syntax,
    /// The server does not know the verb.
    Verb,
    /// The mailbox does not exist.
    Box,
    /// The data is larger than the mailbox or the packet size, or the connection has too many messages in
    /// hand.
    Size,
    /// The lock has expired, or this connection never had it. For [`done`](crate::Client::done) and
    /// [`back`](crate::Client::back): this connection does not have the message in hand, or no longer.
    Lease,
    /// The request would complete a cycle of waits.
    Deadlock,
    /// This connection's own lock of the mailbox does not permit the request.
    Denied,
    /// The server cannot find the end of the request. The connection is closed.
    Frame,
    /// The server has reached its limit of clients. The connection is closed.
    Busy,
    /// The server is stopping. The connection is closed.
    Drain,
    /// The memory of the mailbox is damaged. The connection is closed.
    Internal,
    /// A code that this version of the client does not know.
    Other(String),
}

impl Reason {
    /// The word of this reason in the protocol.
    pub fn word(&self) -> &str {
        match self {
            Reason::Timeout => "timeout",
            Reason::Conflict | Reason::NameTaken(_) => "conflict",
            Reason::Empty => "empty",
            Reason::Full => "full",
            Reason::Locked => "locked",
            Reason::Multi => "multi",
            Reason::Ahead => "ahead",
            Reason::Other(word) => word,
        }
    }

    fn from_word(word: String) -> Self {
        let known = [
            Reason::Timeout,
            Reason::Conflict,
            Reason::Empty,
            Reason::Full,
            Reason::Locked,
            Reason::Multi,
            Reason::Ahead,
        ];
        known.into_iter().find(|reason| reason.word() == word).unwrap_or(Reason::Other(word))
    }
}

impl Code {
    /// The word of this code in the protocol.
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

    /// Whether the server closes the connection after this error.
    fn closes_connection(&self) -> bool {
        matches!(self, Code::Frame | Code::Busy | Code::Drain | Code::Internal)
    }
}

impl Error {
    /// The error of a reply `NO`.
    pub(super) fn from_no(reply: Frame) -> Self {
        let version = reply.number("v");
        let taken_by = reply.number("box").and_then(|number| u32::try_from(number).ok());
        let reason = match (Reason::from_word(reply.word), taken_by) {
            (Reason::Conflict, Some(mailbox)) => Reason::NameTaken(mailbox),
            (reason, _) => reason,
        };
        Error::NotDone { reason, version }
    }

    /// The error of a reply `ERR`.
    pub(super) fn from_err(reply: Frame) -> Self {
        let max = reply.number("max");
        Error::Refused { code: Code::from_word(reply.word), text: reply.text, max }
    }

    /// The error of a request that cannot be encoded.
    pub(super) fn invalid_input(why: &str) -> Self {
        Error::Io(io::Error::new(io::ErrorKind::InvalidInput, why))
    }

    /// The error of a request on a closed connection.
    pub(super) fn closed() -> Self {
        Error::Io(io::Error::new(io::ErrorKind::NotConnected, "the connection is closed"))
    }

    /// Whether the connection must be closed: a late reply could be taken for the reply to the next request.
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
            Error::NotDone { reason: reason @ Reason::NameTaken(mailbox), .. } => {
                write!(f, "{}: mailbox {mailbox} has this name", reason.word())
            }
            Error::NotDone { reason, version: Some(version) } => {
                write!(f, "{} (version {version})", reason.word())
            }
            Error::NotDone { reason, version: None } => f.write_str(reason.word()),
            Error::Refused { code, text, .. } if text.is_empty() => f.write_str(code.word()),
            Error::Refused { code, text, .. } => write!(f, "{}: {text}", code.word()),
            Error::Io(error) => error.fmt(f),
            Error::Protocol(what) => write!(f, "not the protocol of dipc: {what}"),
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
