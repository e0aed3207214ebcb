//! The replies to requests, except those to `stat`.

use super::frame::{Frame, FrameKind};

/// The message that a read or a take returns.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// The bytes of the message, or of the requested part.
    pub data: Vec<u8>,
    /// The version of the message. For an empty mailbox it is the version of the mailbox.
    pub version: u64,
    /// The number of messages in the mailbox after the request. After a read, 0 means that the mailbox is
    /// empty and `data` is no message.
    pub count: u64,
    /// The number of messages between the version in [`after`](crate::ReadOptions::after) and this one that
    /// no longer exist. 0 without `after`.
    pub lost: u64,
}

/// A message that this connection has in hand, without its [`JobGuard`](crate::JobGuard).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Job {
    /// The number of the mailbox.
    pub mailbox: u32,
    /// The bytes of the message.
    pub data: Vec<u8>,
    /// The version of the message, which [`done`](crate::Client::done) and [`back`](crate::Client::back)
    /// need.
    pub version: u64,
    /// The number of messages in the mailbox, including this one and others in hand.
    pub count: u64,
    /// How often the message was handed out, at least 1. Each start of the server begins the count again.
    pub tries: u64,
}

/// The reply to a put.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Put {
    /// The version of the new message.
    pub version: u64,
    /// The number of messages in the mailbox, including the new one.
    pub count: u64,
}

/// The properties of a server, the reply to [`hello`](crate::Client::hello).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hello {
    /// The version of the protocol.
    pub protocol: u64,
    /// The name and version of the server: `dipc/0.1.0`.
    pub server: String,
    /// The number of mailboxes. The last one has the number `mailboxes - 1`.
    pub mailboxes: u32,
    /// The size of each mailbox in bytes.
    pub size: u64,
    /// The largest data of a request in bytes.
    pub packet: u64,
    /// A random number that was made with the mailboxes. If it differs from the one that the client knew, the
    /// mailboxes are new, and versions of the earlier mailboxes have no meaning. `None` if the server is too
    /// old to send it.
    pub life: Option<u64>,
    /// The verbs and keys that the server knows beyond `r` and `w`.
    pub features: Vec<String>,
}

impl Message {
    pub(super) fn from_reply(reply: Frame) -> Option<Self> {
        let (version, count) = reply.number("v").zip(reply.number("n"))?;
        let lost = reply.number("lost").unwrap_or(0);
        (reply.kind == FrameKind::Data).then_some(Message { data: reply.data, version, count, lost })
    }
}

impl Job {
    pub(super) fn from_reply(mailbox: u32, reply: Frame) -> Option<Self> {
        let tries = reply.number("tries")?;
        let Message { data, version, count, .. } = Message::from_reply(reply)?;
        Some(Job { mailbox, data, version, count, tries })
    }
}

impl Put {
    pub(super) fn from_reply(reply: Frame) -> Option<Self> {
        Some(Put { version: reply.ok_number("v")?, count: reply.ok_number("n")? })
    }
}

impl Hello {
    pub(super) fn from_reply(reply: Frame) -> Option<Self> {
        let features = reply.field("feat").unwrap_or("").split(',').filter(|feature| !feature.is_empty());
        Some(Hello {
            protocol: reply.ok_number("proto")?,
            server: reply.field("server")?.to_owned(),
            mailboxes: reply.number("boxes")?.try_into().ok()?,
            size: reply.number("size")?,
            packet: reply.number("packet")?,
            life: reply.number("life"),
            features: features.map(str::to_owned).collect(),
        })
    }
}
