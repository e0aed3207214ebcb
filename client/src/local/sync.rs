//! The atomics of the code that loom models check. With the feature `loom` they come from loom.

#[cfg(feature = "loom")]
pub(super) use loom::sync::atomic::{AtomicU32, AtomicU64, Ordering, fence};
#[cfg(not(feature = "loom"))]
pub(super) use std::sync::atomic::{AtomicU32, AtomicU64, Ordering, fence};
