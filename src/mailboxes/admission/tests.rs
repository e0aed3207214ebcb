//! Tests of the admission law.

mod law;
mod sentences;

use super::super::block::Located;
use super::*;

/// The contents of a new mailbox.
const EMPTY: Contents = Contents::of_list(0, 0, Some(1));
