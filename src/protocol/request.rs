//! What a client asks: already checked, so that no later layer has to.

use std::ops::Range;
use std::time::Duration;

/// How a header line ended; its answer ends the same way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
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

/// One request of a client. Every mailbox is one that exists, no list names one twice, every body lies within [`Limits`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request {
    /// `r`: the newest message, or `len` bytes of it from `offset` on.
    Read {
        /// Which mailbox.
        mailbox: u32,
        /// `after=V`: the oldest message newer than V instead.
        after: Option<u64>,
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
        /// `if=V`: only when this is the version.
        expected: Option<u64>,
        /// `off=N`: patch the message from this byte on.
        offset: Option<u64>,
        /// Patience.
        wait: Wait,
    },
    /// `put`: add a message at the end.
    Put {
        /// Which mailbox.
        mailbox: u32,
        /// `full=drop`: make room by dropping the oldest, instead of waiting for it.
        dropping: bool,
        /// Patience.
        wait: Wait,
    },
    /// `take`: remove the oldest message and answer it.
    Take {
        /// Which mailbox.
        mailbox: u32,
        /// Patience.
        wait: Wait,
    },
    /// `lock`. Boxed: rare, and large.
    Lock(Box<LockRequest>),
    /// `unlock`: give back.
    Unlock {
        /// Which mailboxes; `None` is `*`, all that the connection holds.
        mailboxes: Option<Box<[u32]>>,
        /// `grant=G`: only what this grant holds.
        grant: Option<u64>,
    },
    /// `watch`: push every new message.
    Watch {
        /// Which mailboxes, in the order of the answer's versions.
        mailboxes: Box<[u32]>,
        /// `after=V`: begin behind this version; `None` is the newest.
        after: Option<u64>,
    },
    /// `unwatch`: push no more.
    Unwatch {
        /// Which mailboxes; `None` is `*`, all that the connection watches.
        mailboxes: Option<Box<[u32]>>,
    },
    /// `ping`
    Ping,
    /// `help`
    Help,
    /// `hello`
    Hello {
        /// `name=`: what `stat` calls the connection; 1 to [`NAME_MAX`](super::NAME_MAX) bytes of printable ASCII.
        name: Option<Box<str>>,
    },
    /// `stat`
    Stat(Topic),
    /// `q`: close, no answer.
    Quit,
    /// Another protocol's client: close, no answer.
    Foreign,
    /// Something that is answered `ERR`.
    Refused(Refusal),
}

/// What `lock` asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LockRequest {
    /// Which mailboxes, ascending: everybody takes them in one order.
    pub mailboxes: Box<[u32]>,
    /// `r`: beside other readers.
    pub shared: bool,
    /// Patience.
    pub wait: Wait,
    /// `ttl=S`: how long the lock is wanted; longer than nothing, and for `inf` [`Duration::MAX`].
    pub ttl: Option<Duration>,
}

/// What `stat` tells about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Topic {
    /// The server.
    Server,
    /// One mailbox.
    Mailbox(u32),
    /// `conns`: every connection.
    Connections,
    /// `locks`: every lock.
    Locks,
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
    /// Where its data lies: from the first byte of the request on while it is framed, in the job's input from then on.
    /// Empty where there is none.
    pub body: Range<usize>,
}

impl Framed {
    /// The bytes that it lies in begin so much earlier now.
    pub fn move_body(&mut self, by: usize) {
        self.body = self.body.start + by..self.body.end + by;
    }
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
    /// More mailboxes than one connection may have.
    #[error("at most {max} mailboxes at a time")]
    Count {
        /// How many it may have.
        max: usize,
    },
    /// `unlock` or a guarded request under a lock that is not, or no longer, the connection's.
    #[error("this lock has run out or was never yours")]
    Lease,
    /// The wait would close a cycle.
    #[error("this would wait for itself through others")]
    Deadlock,
    /// Not allowed to this connection, and why.
    #[error("{0}")]
    Denied(&'static str),
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
            Refusal::Size { .. } | Refusal::Count { .. } => "size",
            Refusal::Lease => "lease",
            Refusal::Deadlock => "deadlock",
            Refusal::Denied(_) => "denied",
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
            Refusal::Count { max } | Refusal::Busy { max } => Some(*max as u64),
            _ => None,
        }
    }

    /// Whether the connection ends with this answer.
    pub fn closes(&self) -> bool {
        match self {
            Refusal::Syntax(_) | Refusal::Verb(_) | Refusal::Mailbox { .. } => false,
            Refusal::Count { .. } | Refusal::Lease | Refusal::Deadlock | Refusal::Denied(_) => false,
            Refusal::Size { close, .. } => *close,
            Refusal::Frame(_) | Refusal::Busy { .. } | Refusal::Drain | Refusal::Internal => true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A batch is a vector of these: what is rare and large is boxed.
    #[test]
    fn a_request_is_no_larger_than_a_write() {
        assert!(size_of::<Request>() <= 64);
    }

    #[test]
    fn a_refusal_closes_only_where_the_stream_or_the_server_ends() {
        for (refusal, code, closes) in [
            (Refusal::Syntax(String::new()), "syntax", false),
            (Refusal::Verb(String::new()), "verb", false),
            (Refusal::Mailbox { max: 3 }, "box", false),
            (Refusal::Size { max: 3, close: false }, "size", false),
            (Refusal::Size { max: 3, close: true }, "size", true),
            (Refusal::Count { max: 3 }, "size", false),
            (Refusal::Lease, "lease", false),
            (Refusal::Deadlock, "deadlock", false),
            (Refusal::Denied("no"), "denied", false),
            (Refusal::Frame("no"), "frame", true),
            (Refusal::Busy { max: 3 }, "busy", true),
            (Refusal::Drain, "drain", true),
            (Refusal::Internal, "internal", true),
        ] {
            assert_eq!((refusal.code(), refusal.closes()), (code, closes), "{refusal:?}");
        }
    }
}
