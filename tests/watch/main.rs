//! Watches, and readers that wait for a newer message, over the real server.

mod end;
mod events;
mod load;
mod readers;
mod start;

use dipc_testkit::client::field;
use dipc_testkit::server::Server;

fn served() -> Server {
    Server::start("4 64 0 8")
}

/// The version of an event. All versions since `seen` must be counted as lost.
#[track_caller]
fn follow(seen: u64, header: &str) -> u64 {
    let lost = if header.contains(" lost=") { field(header, "lost") } else { 0 };
    assert_eq!(field(header, "v"), seen + lost + 1, "{header} after {seen}");
    seen + lost + 1
}
