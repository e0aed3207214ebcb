//! Tests of the admission law.

mod law;
mod sentences;

use super::*;

/// The contents of a new mailbox.
const EMPTY: Contents = Contents { version: 0, count: 0, room: Some(1) };
