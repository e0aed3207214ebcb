//! The values of `stat`, over the real server. Each value changes with the events that it counts, and with no
//! other event.

mod counters;
mod lines;
mod mailbox;

use std::collections::BTreeMap;

use dipc_testkit::client::Client;
use dipc_testkit::server::Server;

fn served() -> Server {
    Server::start("4 1 0 1")
}

/// The lines `name value` of a `stat`. If a name has several lines, the last one is returned.
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
