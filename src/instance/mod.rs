//! An instance: one running server with its directory and its memory. How it starts and how it is removed.
//!
//! [`start()`] completes every step that can fail before it reports that the server runs. [`remove()`]
//! deletes everything of an instance. Only the lock in the `Directory` shows whether a server is running:
//! the kernel releases it when the process ends.

mod daemon;
mod descriptors;
mod directory;
mod log;
mod remove;
mod start;
mod terminal;
mod unix_socket;

pub use remove::remove;
pub use start::start;
