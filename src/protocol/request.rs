//! Requests of clients. All arguments are already checked, so that no later layer has to check them.

use std::ops::Range;
use std::time::Duration;

use super::names::{Name, Names};
use super::style::Style;

/// The end of a header line. The lines of its answer end the same way.
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

/// How long a request may wait to be admitted, and for a change of its mailbox.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wait {
    /// No `wait=`: the server's own default.
    Default,
    /// `wait=S`; zero tries once.
    For(Duration),
    /// `wait=inf`.
    Forever,
}

/// What this server checks requests against.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Number of mailboxes.
    pub mailboxes: u32,
    /// Bytes that a mailbox can hold.
    pub capacity: u64,
    /// Largest number of bytes of data in one request.
    pub packet: u64,
    /// The names of mailboxes.
    pub names: Names,
}

impl Limits {
    /// Largest number of bytes in the body of a request.
    pub fn body_max(&self) -> u64 {
        self.packet.min(self.capacity)
    }

    /// The refusal of a body that has more than [`Limits::body_max`] bytes. `sent` is the number of its
    /// bytes, if that is known.
    pub(super) fn too_large(&self, sent: Option<u64>, close: bool) -> Refusal {
        let limit = if self.packet <= self.capacity { SizeLimit::Packet } else { SizeLimit::Mailbox };
        Refusal::Size { sent, max: self.body_max(), limit, close }
    }
}

/// One request of a client. Every mailbox exists, no list names a mailbox twice, and every body is within
/// [`Limits`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request {
    /// Reads or changes one mailbox, when it is admitted there.
    Mailbox(MailboxRequest),
    /// Concerns the connection, its locks and watches, or the whole server.
    Local(LocalRequest),
    /// `ping`
    Ping,
    /// `help`
    Help,
    /// `hello` without a name.
    Hello,
    /// `q`: closes the connection without an answer.
    Quit,
    /// A request of another protocol: closes the connection without an answer.
    Foreign,
    /// A negotiation of telnet, with the answer. The server supports no option, so the answer refuses the
    /// option.
    Telnet([u8; 3]),
    /// A request of the classic protocol that is answered with this text.
    Say(Text),
    /// A refused request, answered with `ERR`.
    Refused(Refusal),
}

/// The answer to a request of the classic protocol that concerns no mailbox.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Text {
    /// The answer to `help` at a connection of datagrams.
    Help,
    /// The answer to `help` in a frame.
    FrameHelp,
    /// The answer to `stop` in a frame. The connection is closed afterwards.
    Closing,
}

impl Text {
    /// The text, without an end of line.
    pub fn as_str(self) -> &'static str {
        match self {
            Text::Help => "r3: read mailbox 3. w3, and the text behind it: write. q: leave.",
            Text::FrameHelp => {
                "the server is active; r 3 reads mailbox 3, w 3 and the data behind its line writes, q leaves"
            }
            Text::Closing => "closing server connection",
        }
    }
}

/// A request that reads or changes one mailbox.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MailboxRequest {
    /// `r`: returns the newest message, or `len` bytes of it from `offset` on.
    Read {
        /// Which mailbox.
        mailbox: u32,
        /// `after=V`: returns the oldest message newer than V instead.
        after: Option<u64>,
        /// Offset of the first byte to return.
        offset: u64,
        /// Largest number of bytes to return; `None` is all.
        len: Option<u64>,
        /// How long the request may wait.
        wait: Wait,
    },
    /// `w`: replaces all messages by one, or with `offset` a part of the message.
    Write {
        /// Which mailbox.
        mailbox: u32,
        /// `if=V`: writes only if the mailbox has this version.
        expected: Option<u64>,
        /// `off=N`: patches the message from this byte on.
        offset: Option<u64>,
        /// How long the request may wait.
        wait: Wait,
    },
    /// `put`: adds a message at the end.
    Put {
        /// Which mailbox.
        mailbox: u32,
        /// `full=drop`: drops the oldest messages if there is no room, instead of waiting for room.
        dropping: bool,
        /// How long the request may wait.
        wait: Wait,
    },
    /// `take`: returns the oldest message that is not in hand, and removes it or hands it out.
    Take {
        /// Which mailbox.
        mailbox: u32,
        /// `ttl=S`: hands the message out instead of removing it, until the connection has sent nothing for
        /// this long.
        ttl: Option<Duration>,
        /// How long the request may wait.
        wait: Wait,
    },
    /// `done`: removes a message that the connection has in hand.
    Done {
        /// Which mailbox.
        mailbox: u32,
        /// `v=V`: the version of the message.
        version: u64,
        /// How long the request may wait.
        wait: Wait,
    },
    /// `version`: raises the version of an empty mailbox.
    Version {
        /// Which mailbox.
        mailbox: u32,
        /// `v=V`: the new version, at most [`VERSION_MAX`](super::VERSION_MAX).
        version: u64,
        /// How long the request may wait.
        wait: Wait,
    },
    /// `back`: gives back a message that the connection has in hand.
    Back {
        /// Which mailbox.
        mailbox: u32,
        /// `v=V`: the version of the message.
        version: u64,
        /// How long the request may wait.
        wait: Wait,
    },
}

impl MailboxRequest {
    /// Which mailbox.
    pub fn mailbox(&self) -> u32 {
        match *self {
            MailboxRequest::Read { mailbox, .. }
            | MailboxRequest::Write { mailbox, .. }
            | MailboxRequest::Put { mailbox, .. }
            | MailboxRequest::Take { mailbox, .. }
            | MailboxRequest::Done { mailbox, .. }
            | MailboxRequest::Version { mailbox, .. }
            | MailboxRequest::Back { mailbox, .. } => mailbox,
        }
    }
}

/// A request that concerns the connection, its locks and watches, or the whole server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LocalRequest {
    /// `lock`. Boxed: rare, and large.
    Lock(Box<LockRequest>),
    /// `unlock`: releases locks.
    Unlock {
        /// The mailboxes. `None` is `*`: all mailboxes that the connection has locked.
        mailboxes: Option<Box<[u32]>>,
        /// `grant=G`: only locks with this fencing token.
        grant: Option<u64>,
    },
    /// `watch`: subscribes to new messages.
    Watch {
        /// The mailboxes, in the order of the versions in the reply.
        mailboxes: Box<[u32]>,
        /// `after=V`: starts after this version; `None` starts after the newest one.
        after: Option<u64>,
    },
    /// `unwatch`: ends subscriptions.
    Unwatch {
        /// The mailboxes. `None` is `*`: all mailboxes that the connection watches.
        mailboxes: Option<Box<[u32]>>,
    },
    /// `hello name=`: names the connection.
    Hello {
        /// The name in `stat`; 1 to [`NAME_MAX`](super::NAME_MAX) bytes of printable ASCII.
        name: Box<str>,
    },
    /// `name`: returns or changes the name of a mailbox.
    Name {
        /// Which mailbox.
        mailbox: u32,
        /// The change, if there is one.
        change: Option<Rename>,
    },
    /// `stat`
    Stat(Topic),
}

/// The change of a `name`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Rename {
    /// The mailbox gets this name.
    Set(Name),
    /// `-`: the mailbox has no name.
    Remove,
}

/// The arguments of `lock`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LockRequest {
    /// Which mailboxes, in ascending order: all requests acquire them in the same order.
    pub mailboxes: Box<[u32]>,
    /// `r`: a shared lock.
    pub shared: bool,
    /// How long to wait for each lock.
    pub wait: Wait,
    /// `ttl=S`: the duration of the lease, more than zero; [`Duration::MAX`] for `inf`.
    pub ttl: Option<Duration>,
}

/// The topic of a `stat` request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Topic {
    /// The server.
    Server,
    /// One mailbox.
    Mailbox(u32),
    /// `conns`: the connections, in parts.
    Connections {
        /// `from=`: where the part begins; 0, or the `more=` of the part before.
        from: u64,
    },
    /// `locks`: the locks, in parts.
    Locks {
        /// `from=`: where the part begins; 0, or the `more=` of the part before.
        from: u64,
    },
    /// `names`: the names of mailboxes, in parts.
    Names {
        /// `from=`: where the part begins; 0, or the `more=` of the part before.
        from: u64,
    },
}

impl Request {
    /// Whether this is the last request of its connection.
    pub fn closes(&self) -> bool {
        match self {
            Request::Quit | Request::Foreign | Request::Say(Text::Closing) => true,
            Request::Refused(refusal) => refusal.closes(),
            _ => false,
        }
    }

    /// Whether the request may change which mailbox a name means.
    pub fn renames(&self) -> bool {
        matches!(self, Request::Local(LocalRequest::Name { change: Some(_), .. }))
    }
}

/// A complete request cut from the bytes of a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Framed {
    /// The request.
    pub request: Request,
    /// How to encode the answer.
    pub style: Style,
    /// The range of its data: relative to the bytes passed to the framer, later relative to the input of the
    /// job. Empty if there is no data.
    pub body: Range<usize>,
}

impl Framed {
    /// Moves the range of the data by this many bytes.
    pub fn move_body(&mut self, by: usize) {
        self.body = self.body.start + by..self.body.end + by;
    }
}

/// What limits the data of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SizeLimit {
    /// The packet size.
    Packet,
    /// The size of a mailbox.
    Mailbox,
    /// The end of the mailbox, for data at `off=`.
    End,
    /// Nothing: `off=` is behind the end of the mailbox.
    BehindEnd,
}

fn mailbox_text(given: Option<u64>, max: u32) -> String {
    match given {
        Some(number) => format!("no mailbox {number}; this server has 0 to {max}"),
        None => format!("mailboxes are numbered 0 to {max}"),
    }
}

fn unknown_name_text(name: &str, max: u32) -> String {
    format!("no mailbox has the name {name}; this server has 0 to {max}")
}

fn size_text(sent: Option<u64>, max: u64, limit: SizeLimit) -> String {
    let sent = sent.map(|sent| format!(" ({sent} bytes)")).unwrap_or_default();
    match limit {
        SizeLimit::Packet => format!("message too large{sent}; the server's PACKET_KB allows {max}"),
        SizeLimit::Mailbox => format!("message too large{sent}; the server's SIZE_KB allows {max}"),
        SizeLimit::End => format!("message too large{sent}; from off= on the mailbox has room for {max}"),
        SizeLimit::BehindEnd => "off= is behind the end of the mailbox".into(),
    }
}

/// Why a request is answered with `ERR`, and the text of the answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The arguments are not valid for the verb.
    #[error("{0}")]
    Syntax(String),
    /// No such verb.
    #[error("unknown verb {0}, try help")]
    Verb(String),
    /// No mailbox has this number.
    #[error("{}", mailbox_text(*given, *max))]
    Mailbox {
        /// The number in the request. `None` if there is none.
        given: Option<u64>,
        /// The number of the last mailbox.
        max: u32,
    },
    /// No mailbox has this name.
    #[error("{}", unknown_name_text(name, *max))]
    UnknownName {
        /// The name in the request.
        name: Box<str>,
        /// The number of the last mailbox.
        max: u32,
    },
    /// Too much data.
    #[error("{}", size_text(*sent, *max, *limit))]
    Size {
        /// Number of bytes of the data. `None` if not all of them were received.
        sent: Option<u64>,
        /// Largest number of bytes in this request.
        max: u64,
        /// The limit that is exceeded.
        limit: SizeLimit,
        /// Whether the connection closes, because the data is too long to be discarded.
        close: bool,
    },
    /// Too many mailboxes for one connection.
    #[error("at most {max} mailboxes at a time")]
    Count {
        /// Largest number of mailboxes of a connection.
        max: usize,
    },
    /// Too many messages in hand for one connection.
    #[error("at most {max} messages in hand; done or back the ones before")]
    InHand {
        /// Largest number of messages in hand of a connection.
        max: usize,
    },
    /// The request relies on a lock that the connection does not hold or no longer holds.
    #[error("this lock has expired or was never yours")]
    Lease,
    /// The request names a message that the connection does not have in hand, or no longer.
    #[error("this connection does not have that message in hand, or no longer")]
    NotInHand,
    /// The wait would complete a cycle.
    #[error("the holder of this lock is waiting for one of yours")]
    Deadlock,
    /// The request is not allowed for this connection. The text gives the reason.
    #[error("{0}")]
    Denied(&'static str),
    /// The boundary between requests and data is lost.
    #[error("{0}")]
    Frame(&'static str),
    /// The table of connections is full.
    #[error("too many clients, try again")]
    Busy {
        /// Largest number of connections at a time.
        max: usize,
    },
    /// The clients have filled the memory that the server may use for them.
    #[error("the clients use as much memory as --client-memory allows, try again")]
    Memory,
    /// The server is stopping.
    #[error("the server is stopping")]
    Drain,
    /// The memory of the mailbox is damaged.
    #[error("this mailbox is damaged")]
    Internal,
}

impl Refusal {
    /// The word after `ERR`.
    pub fn code(&self) -> &'static str {
        match self {
            Refusal::Syntax(_) => "syntax",
            Refusal::Verb(_) => "verb",
            Refusal::Mailbox { .. } | Refusal::UnknownName { .. } => "box",
            Refusal::Size { .. } | Refusal::Count { .. } | Refusal::InHand { .. } => "size",
            Refusal::Lease | Refusal::NotInHand => "lease",
            Refusal::Deadlock => "deadlock",
            Refusal::Denied(_) => "denied",
            Refusal::Frame(_) => "frame",
            Refusal::Busy { .. } | Refusal::Memory => "busy",
            Refusal::Drain => "drain",
            Refusal::Internal => "internal",
        }
    }

    /// The value of `max=` for codes with a limit.
    pub fn max(&self) -> Option<u64> {
        match self {
            Refusal::Mailbox { max, .. } | Refusal::UnknownName { max, .. } => Some(u64::from(*max)),
            Refusal::Size { max, .. } => Some(*max),
            Refusal::Count { max } | Refusal::InHand { max } | Refusal::Busy { max } => Some(*max as u64),
            _ => None,
        }
    }

    /// The value of `limit=`: the option that limits what the request needs.
    pub fn limit(&self) -> Option<&'static str> {
        matches!(self, Refusal::Memory).then_some("client-memory")
    }

    /// Whether the connection closes after this answer.
    pub fn closes(&self) -> bool {
        match self {
            Refusal::Syntax(_) | Refusal::Verb(_) => false,
            Refusal::Mailbox { .. } | Refusal::UnknownName { .. } => false,
            Refusal::Count { .. } | Refusal::InHand { .. } => false,
            Refusal::Lease | Refusal::NotInHand | Refusal::Deadlock | Refusal::Denied(_) => false,
            Refusal::Size { close, .. } => *close,
            Refusal::Frame(_) | Refusal::Busy { .. } | Refusal::Memory => true,
            Refusal::Drain | Refusal::Internal => true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A batch is a vector of requests, so rare and large arguments are boxed.
    #[test]
    fn a_request_has_at_most_64_bytes() {
        assert!(size_of::<Request>() <= 64);
    }

    #[test]
    fn each_refusal_has_its_code_and_closes_or_not() {
        for (refusal, code, closes) in [
            (Refusal::Syntax(String::new()), "syntax", false),
            (Refusal::Verb(String::new()), "verb", false),
            (Refusal::Mailbox { given: Some(4), max: 3 }, "box", false),
            (Refusal::UnknownName { name: "jobs".into(), max: 3 }, "box", false),
            (Refusal::Size { sent: Some(4), max: 3, limit: SizeLimit::Packet, close: false }, "size", false),
            (Refusal::Size { sent: None, max: 3, limit: SizeLimit::Mailbox, close: true }, "size", true),
            (Refusal::Count { max: 3 }, "size", false),
            (Refusal::InHand { max: 3 }, "size", false),
            (Refusal::Lease, "lease", false),
            (Refusal::NotInHand, "lease", false),
            (Refusal::Deadlock, "deadlock", false),
            (Refusal::Denied("no"), "denied", false),
            (Refusal::Frame("no"), "frame", true),
            (Refusal::Busy { max: 3 }, "busy", true),
            (Refusal::Memory, "busy", true),
            (Refusal::Drain, "drain", true),
            (Refusal::Internal, "internal", true),
        ] {
            assert_eq!((refusal.code(), refusal.closes()), (code, closes), "{refusal:?}");
        }
    }
}
