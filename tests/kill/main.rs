//! Mailboxes after a kill of the server: every message is whole, and no acknowledged one is lost.
//!
//! The server is killed 300 times while messages of 64 KiB are written, 30 times within the copy of a large
//! message, 30 times while a queue is filled and emptied, and 30 times while messages are handed out and
//! done. The environment variable `DIPC_KILLS` sets another number than 300, and a tenth of it instead of 30.
//! The instants of most kills are pseudo-random counts of answers. A failure names the number of its kill.

mod connection;
mod copying;
mod jobs;
mod message;
mod queue;
mod starting;
mod trigger;
mod writing;

/// How often the server is killed while messages are written.
fn kills() -> u64 {
    std::env::var("DIPC_KILLS").map_or(300, |kills| kills.parse().expect("DIPC_KILLS is a number"))
}
