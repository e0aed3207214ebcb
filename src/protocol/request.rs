//! What a client asks: already checked, so that no later layer has to.

use std::ops::Range;
use std::time::Duration;

/// How a header line ended; its answer ends the same way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Eol {
    /// `\n`: nc and programs.
    Lf,
    /// `\r\n`: telnet.
    CrLf,
}

impl Eol {
    /// The bytes on the wire.
    pub fn bytes(self) -> &'static [u8] {
        match self {
            Eol::Lf => b"\n",
            Eol::CrLf => b"\r\n",
        }
    }
}

/// How long a request may wait to be admitted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wait {
    /// No `wait=`: the server's own default.
    Default,
    /// `wait=S`; zero tries once.
    For(Duration),
    /// `wait=inf`.
    Forever,
}

/// What the requests of this server are measured against.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Mailboxes are numbered below this.
    pub mailboxes: u32,
    /// Bytes that a mailbox holds.
    pub capacity: u64,
    /// Bytes that one request carries.
    pub packet: u64,
}

impl Limits {
    /// The largest body that any request may have, in bytes.
    pub fn body_max(&self) -> u64 {
        self.packet.min(self.capacity)
    }
}

/// One request of a client. Every mailbox is one that exists, every body lies within [`Limits`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request {
    /// `r`: the newest message, or `len` bytes of it from `offset` on.
    Read {
        /// Which mailbox.
        mailbox: u32,
        /// First byte wanted.
        offset: u64,
        /// How many bytes at most; `None` is all.
        len: Option<u64>,
        /// Patience.
        wait: Wait,
    },
    /// `w`: replace the content, or with `offset` a part of it.
    Write {
        /// Which mailbox.
        mailbox: u32,
        /// Where the data lies: from the first byte of the request on while it is framed, in the job's input
        /// from then on.
        body: Range<usize>,
        /// `if=V`: only when this is the version.
        expected: Option<u64>,
        /// `off=N`: patch the message from this byte on.
        offset: Option<u64>,
        /// Patience.
        wait: Wait,
    },
    /// `ping`
    Ping,
    /// `help`
    Help,
    /// `hello`
    Hello,
    /// `stat`
    Stat,
    /// `q`: close, no answer.
    Quit,
    /// Another protocol's client: close, no answer.
    Foreign,
    /// Something that is answered `ERR`.
    Refused(Refusal),
}

impl Request {
    /// Whether this is the last request of its connection.
    pub fn closes(&self) -> bool {
        match self {
            Request::Quit | Request::Foreign => true,
            Request::Refused(refusal) => refusal.closes(),
            _ => false,
        }
    }
}

/// A request as it was cut from the stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Framed {
    /// What is asked.
    pub request: Request,
    /// How to end the lines of the answer.
    pub eol: Eol,
}

/// Why a request is answered `ERR`, and what the answer says.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The arguments are not of the verb's form.
    #[error("{0}")]
    Syntax(String),
    /// No such verb.
    #[error("unknown verb {0}, try help")]
    Verb(String),
    /// No such mailbox; the largest number there is.
    #[error("mailboxes are numbered 0 to {max}")]
    Mailbox {
        /// The last mailbox.
        max: u32,
    },
    /// More data than fits; `close` when it is too much even to skip.
    #[error("at most {max} bytes of data")]
    Size {
        /// Bytes that would fit.
        max: u64,
        /// Whether the connection ends with this answer.
        close: bool,
    },
    /// What follows cannot be told apart from data.
    #[error("{0}")]
    Frame(&'static str),
    /// The place at the table is taken.
    #[error("too many clients, try again")]
    Busy {
        /// Clients served at once.
        max: usize,
    },
    /// The server stops.
    #[error("the server is stopping")]
    Drain,
    /// The mailbox's memory does not make sense.
    #[error("this mailbox is damaged")]
    Internal,
}

impl Refusal {
    /// The word after `ERR`.
    pub fn code(&self) -> &'static str {
        match self {
            Refusal::Syntax(_) => "syntax",
            Refusal::Verb(_) => "verb",
            Refusal::Mailbox { .. } => "box",
            Refusal::Size { .. } => "size",
            Refusal::Frame(_) => "frame",
            Refusal::Busy { .. } => "busy",
            Refusal::Drain => "drain",
            Refusal::Internal => "internal",
        }
    }

    /// The value of `max=`, for the codes that have one.
    pub fn max(&self) -> Option<u64> {
        match self {
            Refusal::Mailbox { max } => Some(u64::from(*max)),
            Refusal::Size { max, .. } => Some(*max),
            Refusal::Busy { max } => Some(*max as u64),
            _ => None,
        }
    }

    /// Whether the connection ends with this answer.
    pub fn closes(&self) -> bool {
        match self {
            Refusal::Syntax(_) | Refusal::Verb(_) | Refusal::Mailbox { .. } => false,
            Refusal::Size { close, .. } => *close,
            Refusal::Frame(_) | Refusal::Busy { .. } | Refusal::Drain | Refusal::Internal => true,
        }
    }
}
