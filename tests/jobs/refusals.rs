//! Requests about messages in hand that are refused.

use crate::{small, with_messages};

const NOT_IN_HAND: &str = "ERR lease : this connection does not have that message in hand, or no longer\n";

#[test]
fn only_the_connection_that_has_a_message_in_hand_ends_that() {
    let (server, mut worker) = with_messages(&["a"]);
    worker.ask("take 0 ttl=60\n", "DATA 1 v=1 n=1 tries=1\na\n");
    let mut other = server.connect();
    other.ask("done 0 v=1\nback 0 v=1\n", [NOT_IN_HAND, NOT_IN_HAND].concat());
    worker.ask("done 1 v=1\ndone 0 v=2\ndone 0 v=18446744073709551615\n", NOT_IN_HAND.repeat(3));
    worker.ask("done 0 v=1\n", "OK n=0\n");
}

#[test]
fn a_write_ends_what_is_in_hand() {
    let (server, mut worker) = with_messages(&["a", "b"]);
    worker.ask("take 0 ttl=60\ntake 0 ttl=60\n", "DATA 1 v=1 n=2 tries=1\na\nDATA 1 v=2 n=2 tries=1\nb\n");
    server.connect().ask("w 0\nnew\n", "OK v=3\n");
    assert_eq!(server.stat_box(0, "in_hand"), 0);
    worker.ask("done 0 v=1\nback 0 v=2\n", NOT_IN_HAND.repeat(2));
    worker.ask("take 0\n", "DATA 3 v=3 n=0\nnew\n");
}

#[test]
fn a_connection_has_a_bounded_number_of_messages_in_hand() {
    let server = dipc_testkit::server::Server::start("1 8 0 8");
    let mut client = server.connect();
    client.send("put 0\n\n".repeat(1025));
    (1..=1025).for_each(|version| client.expect(format!("OK v={version} n={version}\n")));
    client.send("take 0 ttl=60\n".repeat(1024));
    (1..=1024).for_each(|version| client.expect(format!("DATA 0 v={version} n=1025 tries=1\n\n")));
    let refusal = "ERR size max=1024 : at most 1024 messages in hand; done or back the ones before\n";
    client.ask("take 0 ttl=60\n", refusal);
    client.ask("take 0\n", "DATA 0 v=1025 n=1024\n\n");
    client.ask("back 0 v=512\ntake 0 ttl=60\n", "OK\nDATA 0 v=512 n=1024 tries=2\n\n");
    client.reset();
    server.wait_for_stat("given_back", |count| count == 1024);
    assert_eq!(server.stat_box(0, "in_hand"), 0);
    assert_eq!(server.stat_box(0, "messages"), 1024);
}

#[test]
fn arguments_are_checked() {
    let server = small();
    let mut client = server.connect();
    client.ask("take 0 ttl=0\n", "ERR syntax : ttl= of take takes seconds above 0: ttl=30\n");
    client.ask("take 0 ttl=inf\n", "ERR syntax : ttl= of take takes seconds above 0: ttl=30\n");
    client.ask("done 0\n", "ERR syntax : done takes a version: done 3 v=7\n");
    client.ask("back 9 v=1\n", "ERR box max=3 : no mailbox 9; this server has 0 to 3\n");
    client.ask("done 0 v=1 ttl=3\n", "ERR syntax : done has no key \"ttl\", try help\n");
}
