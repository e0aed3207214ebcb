//! Clients are served over the Unix-domain socket.

use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt};

use dipc_testkit::client::Client;
use dipc_testkit::server::Server;

use crate::serve;

#[test]
fn tcp_and_unix_clients_share_the_mailboxes() {
    let (server, path) = serve();
    let (mut unix, mut tcp) = (Client::unix(&path), server.connect());
    unix.ask("w 3\nhello\n", "OK v=1\n");
    tcp.ask("r 3\n", "DATA 5 v=1 n=1\nhello\n");
    tcp.ask("w 3 if=1\r\nworld\r\n", "OK v=2\r\n");
    unix.ask("r 3\nr 9\n", "DATA 5 v=2 n=1\nworld\nERR box max=3 : no mailbox 9; this server has 0 to 3\n");
    assert_eq!(unix.stat("connections"), 2);
    unix.send("q\n");
    unix.expect_end();
    tcp.ask("ping\n", "OK\n");
}

#[test]
fn clients_without_newlines_are_served_over_a_unix_socket() {
    let (_server, path) = serve();
    Client::unix(&path).ask("w 0\nhello", "OK v=1\n");
    let mut client = Client::unix(&path);
    client.send("r 0");
    client.half_close();
    client.expect("DATA 5 v=1 n=1\nhello\n");
    client.expect_end();
}

#[test]
fn a_pipeline_is_answered_in_order_over_a_unix_socket() {
    let (_server, path) = serve();
    let mut client = Client::unix(&path);
    client.send("w 0 5\nhello\n".repeat(1000));
    for version in 1..=1000 {
        client.expect(format!("OK v={version}\n"));
    }
}

#[test]
fn many_clients_connect_over_tcp_and_unix_at_the_same_time() {
    let (server, path) = serve();
    let mut clients: Vec<Client> =
        (0..300).map(|n| if n % 2 == 0 { Client::unix(&path) } else { server.connect() }).collect();
    clients.iter_mut().for_each(|client| client.send("ping\n"));
    clients.iter_mut().for_each(|client| client.expect("OK\n"));
    assert_eq!(clients[0].stat("connections"), 300);
}

#[test]
fn the_limit_of_clients_applies_to_tcp_and_unix_together() {
    let server = Server::start_with_socket("4 64 0 8 --max-clients 1");
    let mut first = server.connect();
    first.ask("ping\n", "OK\n");
    let mut second = Client::unix(&server.socket());
    assert!(second.line().starts_with("ERR busy max=1"));
    second.expect_end();
    first.ask("ping\n", "OK\n");
}

#[test]
fn the_file_is_a_socket_for_its_owner_only() {
    let (server, path) = serve();
    let found = fs::symlink_metadata(&path).expect("the socket file");
    assert!(found.file_type().is_socket());
    assert_eq!(found.mode() & 0o7777, 0o600);
    drop(server);
}
