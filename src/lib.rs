//! dipc.
pub mod instance;
pub mod mailboxes;
pub mod options;
pub mod protocol;
pub mod reactor;
mod sync;
pub mod workers;
