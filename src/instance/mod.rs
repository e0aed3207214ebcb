//! An instance: one running server with its directory and its memory. How it starts and how it is removed.
//!
//! [`start()`] completes every step that can fail before it reports that the server runs. [`remove()`]
//! deletes everything of an instance. Only the locks in the `Directory`, of the instance and of its segment,
//! show whether a server is running: the kernel releases them when the process ends.

mod control_socket;
mod daemon;
mod descriptors;
mod directory;
mod files;
mod log;
mod process;
mod remove;
mod segment_file;
mod start;
mod tcp_table;
mod terminal;
mod unix_socket;

pub use remove::remove;
pub use start::start;
