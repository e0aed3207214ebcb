//! Locks over the real server: which requests wait, in which order they are admitted, and how a lock ends.

mod batches;
mod end;
mod exclusion;
mod leases;
mod several;
mod unlock;

use dipc_testkit::client::Client;
use dipc_testkit::server::Server;

/// Requests of other clients that do not wait, and their answers while mailbox 0 is locked.
const TRIES: [(&str, &str); 5] = [
    ("r 0 wait=0\n", "NO timeout v=0\n"),
    ("w 0 wait=0\nno\n", "NO timeout\n"),
    ("put 0 wait=0\nno\n", "NO timeout\n"),
    ("take 0 wait=0\n", "NO timeout\n"),
    ("lock 0 wait=0\n", "NO locked\n"),
];

const LEASE: &str = "lease";
const LOST: &str = "EVENT 0 box=0 v=0 lost=lock\n\n";

fn served() -> Server {
    Server::start("4 64 0 8")
}

/// A client with a lock of mailbox 0, and its fencing token.
fn holder(server: &Server) -> (Client, u64) {
    let mut client = server.connect();
    let grant = client.lock("lock 0\n");
    (client, grant)
}

/// Expects that mailbox 0 is not locked.
#[track_caller]
fn expect_free(server: &Server) {
    server.connect().lock("lock 0\n");
}
