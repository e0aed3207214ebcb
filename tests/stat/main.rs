//! What `stat` shows, over the real server: each number is moved by what it counts, and by nothing else.

mod counters;
mod lines;
mod mailbox;

use std::collections::BTreeMap;

use dipc_testkit::client::Client;
use dipc_testkit::server::Server;

fn served() -> Server {
    Server::start("4 1 0 1")
}

/// The lines `name value` of a `stat`; for a name with several lines, the last one.
fn numbers(client: &mut Client, request: &str) -> BTreeMap<String, String> {
    let lines = client.stat_lines(request);
    lines
        .iter()
        .filter_map(|line| line.split_once(' '))
        .map(|(name, value)| (name.into(), value.into()))
        .collect()
}

/// The value of `key=` in a line.
#[track_caller]
fn value<'a>(line: &'a str, key: &str) -> &'a str {
    let value = line.split(' ').find_map(|word| word.strip_prefix(key)?.strip_prefix('='));
    value.unwrap_or_else(|| panic!("no {key}= in {line}"))
}
