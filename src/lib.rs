//! dipc.
pub mod mailboxes;
pub mod protocol;
mod sync;
