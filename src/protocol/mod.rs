//! The wire protocol: decoding of requests and encoding of replies, without I/O.
//!
//! [`Framer`] cuts complete [`Request`]s from the bytes of a connection. [`Reply`] encodes answers. This
//! module uses no socket, thread or clock. `docs/protocol.md` is the contract.

mod arguments;
mod framer;
mod header;
mod reply;
mod request;

pub use arguments::NAME_MAX;
pub use framer::{BAD_LINES_MAX, DISCARD_MAX, Framer, HEADERS_MAX};
pub use header::HEADER_MAX;
pub use reply::{Reason, Reply, push_decimal};
pub use request::{
    Eol, Framed, Limits, LocalRequest, LockRequest, MailboxRequest, Refusal, Request, SizeLimit, Topic, Wait,
};
