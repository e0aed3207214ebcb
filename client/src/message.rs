//! What requests are answered.

use super::answer::{Answer, Kind};

/// What was read or taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// Its bytes.
    pub data: Vec<u8>,
    /// Its version, or that of the mailbox when there is no message.
    pub version: u64,
    /// How many messages the mailbox holds now; 0 after a read: none, and this is not one.
    pub count: u64,
    /// How many between `after` and this one are gone.
    pub lost: u64,
}

/// What a put has made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Put {
    /// The version of this message.
    pub version: u64,
    /// How many messages the mailbox holds with it.
    pub count: u64,
}

/// What a server says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hello {
    /// The version of the protocol.
    pub protocol: u64,
    /// The server's name and version.
    pub server: String,
    /// How many mailboxes.
    pub mailboxes: u32,
    /// Bytes of each.
    pub size: u64,
    /// Bytes of data that one request may carry.
    pub packet: u64,
    /// Verbs and keys beyond `r` and `w`.
    pub features: Vec<String>,
}

impl Message {
    pub(super) fn of(answer: Answer) -> Option<Self> {
        let (version, count) = answer.number("v").zip(answer.number("n"))?;
        let lost = answer.number("lost").unwrap_or(0);
        (answer.kind == Kind::Data).then_some(Message { data: answer.data, version, count, lost })
    }
}

impl Hello {
    pub(super) fn of(answer: Answer) -> Option<Self> {
        let features = answer.field("feat").unwrap_or("").split(',').filter(|feature| !feature.is_empty());
        Some(Hello {
            protocol: answer.number("proto").filter(|_| answer.kind == Kind::Ok)?,
            server: answer.field("server")?.to_owned(),
            mailboxes: answer.number("boxes")?.try_into().ok()?,
            size: answer.number("size")?,
            packet: answer.number("packet")?,
            features: features.map(str::to_owned).collect(),
        })
    }
}
