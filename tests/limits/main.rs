//! What happens at the limits: ten thousand clients, a full table of clients, no descriptor left, a million
//! mailboxes.

mod clients;
mod descriptors;
mod full;
mod work;

use dipc_testkit::client::Client;
use dipc_testkit::process::text;

/// The descriptors with which the server must serve ten thousand clients.
const DESCRIPTORS: u64 = 20_000;

/// Expects one line, `ERR busy max=`, from a server that has its maximum of `max` clients, and then the end
/// of the connection.
fn expect_busy(max: usize) -> impl Fn(&mut Client) {
    move |extra| {
        let answer = text(&extra.read_to_end());
        let start = format!("ERR busy max={max} : ");
        let one_line = answer.ends_with('\n') && answer.lines().count() == 1;
        assert!(answer.starts_with(&start) && one_line, "{answer:?}");
    }
}
