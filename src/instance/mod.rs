//! One running server: its directory, its memory, its start and its end.
//!
//! [`start()`] makes everything that can fail before it says that the server runs; [`remove()`] leaves nothing behind. Between
//! them stands the lock in the [`Directory`]: it is the only sign of life, because it dies with the process.

mod daemon;
mod directory;
mod log;
mod remove;
mod start;
mod unix_socket;

pub use directory::Directory;
pub use remove::remove;
pub use start::start;
