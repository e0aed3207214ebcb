//! Lists of messages over the real server: `put`, `take`, `full=drop`, and their effects on `w` and `r`.

mod delivery;
mod list;
mod restart;
mod room;
mod waiting;

use dipc_testkit::server::Server;

/// Mailboxes of 1024 bytes, where each message but the first costs four more bytes.
fn small() -> Server {
    Server::start("4 1 0 1")
}

fn put(bytes: usize) -> String {
    format!("put 0 {bytes}\n{}\n", "x".repeat(bytes))
}
