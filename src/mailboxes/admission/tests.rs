//! The queue against its law.

mod law;
mod sentences;

use super::*;

/// A mailbox that nobody has written to.
const NOTHING: Contents = Contents { version: 0, count: 0, room: Some(1) };
