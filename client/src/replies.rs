//! What requests are answered.

use super::frame::{Frame, FrameKind};

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
    pub(super) fn from_frame(frame: Frame) -> Option<Self> {
        let (version, count) = frame.number("v").zip(frame.number("n"))?;
        let lost = frame.number("lost").unwrap_or(0);
        (frame.kind == FrameKind::Data).then_some(Message { data: frame.data, version, count, lost })
    }
}

impl Hello {
    pub(super) fn from_frame(frame: Frame) -> Option<Self> {
        let features = frame.field("feat").unwrap_or("").split(',').filter(|feature| !feature.is_empty());
        Some(Hello {
            protocol: frame.number("proto").filter(|_| frame.kind == FrameKind::Ok)?,
            server: frame.field("server")?.to_owned(),
            mailboxes: frame.number("boxes")?.try_into().ok()?,
            size: frame.number("size")?,
            packet: frame.number("packet")?,
            features: features.map(str::to_owned).collect(),
        })
    }
}
