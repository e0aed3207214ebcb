//! The wire protocol: decoding of requests and encoding of replies, without I/O.
//!
//! [`Framing`] cuts complete [`Request`]s from the bytes of a connection: [`Framer`] those of the text
//! protocol, `ClassicFramer` those of the classic port. [`Reply`] encodes answers. This
//! module uses no socket, thread or clock. `docs/protocol.md` is the contract.

mod arguments;
mod classic;
mod datagram;
mod framer;
mod framing;
mod header;
mod names;
mod reply;
mod request;
mod style;
mod telnet;

pub use arguments::NAME_MAX;
pub use classic::{FRAME_EXTRA, Packet, packet_answer, parse_packet};
pub use framer::{BAD_LINES_MAX, DISCARD_MAX, Framer, HEADERS_MAX};
pub use framing::{Completed, Framing, Silence};
pub use header::{HEADER_MAX, VERSION_MAX};
pub use names::{MAILBOX_NAME_MAX, Name, Names};
pub use reply::{Reason, Reply, push_decimal};
pub use request::{
    Eol, Framed, Limits, LocalRequest, LockRequest, MailboxRequest, Refusal, Rename, Request, SizeLimit,
    Text, Topic, Wait,
};
pub use style::{Classic, Envelope, Style};
