//! Messages in hand over the real server: `take ttl=`, `done` and `back`, and their effects on the other
//! requests.

mod ending;
mod holes;
mod model;
mod refusals;
mod waiting;

use dipc_testkit::client::Client;
use dipc_testkit::server::Server;

/// Mailboxes of 1024 bytes, where each message but the first costs four more bytes.
fn small() -> Server {
    Server::start("4 1 0 1")
}

/// A server whose mailbox 0 holds these messages, and a client of it.
fn with_messages(messages: &[&str]) -> (Server, Client) {
    let server = small();
    let mut client = server.connect();
    for (version, message) in (1..).zip(messages) {
        client.ask(format!("put 0\n{message}\n"), format!("OK v={version} n={version}\n"));
    }
    (server, client)
}
