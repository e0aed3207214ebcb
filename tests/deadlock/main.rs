//! Waits that would never end, over the real server. The request that would complete a cycle of waits is
//! refused at once, and no other request is. Waits that only look like a cycle are not refused.

mod conditions;
mod cycles;
mod no_cycle;

use dipc_testkit::client::Client;
use dipc_testkit::server::Server;

const DEADLOCK: &str = "deadlock";

/// A server with small mailboxes. Its default wait is longer than a test takes, so that no request times
/// out.
fn served(mailboxes: usize) -> Server {
    Server::start(&format!("{mailboxes} 1 0 1 --wait 1000"))
}

/// A client that has locked these mailboxes.
fn holder(server: &Server, what: &str) -> Client {
    let mut client = server.connect();
    client.lock(format!("lock {what} ttl=inf\n"));
    client
}

/// Expects that the mailbox is not locked.
#[track_caller]
fn expect_free(server: &Server, mailbox: usize) {
    server.connect().ask(format!("w {mailbox} wait=0 if=1000\n\n"), "NO conflict v=0\n");
}

#[track_caller]
fn expect_locked(server: &Server, mailbox: usize) {
    server.connect().ask(format!("w {mailbox} wait=0 if=1000\n\n"), "NO timeout\n");
}
