//! An instance: one running server with its directory and its memory. This module starts, replaces, lists and
//! removes instances.
//!
//! [`list()`] reads files and tables of the kernel only. [`start()`] completes every step that can fail
//! before it reports that the server runs; with `--takeover`, before it replaces the running server.
//! [`remove()`] stops the server and deletes all files of an instance. The locks of the instance and of its
//! segment show whether a server is running, because the kernel releases them when the process ends. A server
//! whose files have lost their names is found through its control socket, if that still has its name.

mod control_socket;
mod daemon;
mod descriptors;
mod directory;
mod files;
mod handover;
mod list;
mod lock_table;
mod log;
mod names_file;
mod process;
mod remove;
mod segment_file;
mod sockets;
mod start;
mod takeover;
mod tcp_table;
mod terminal;
mod unix_socket;
mod warnings;

pub use list::{Contents, Instance, ListError, Listing, State, list};
pub use remove::remove;
pub use start::start;
