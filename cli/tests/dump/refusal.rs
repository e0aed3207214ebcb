//! A server that is not suitable is not changed, and every reason is told. A restore ends when another client
//! interferes.

use dipc_testkit::program;
use dipc_testkit::server::Server;

use crate::contents::{MAILBOXES, SIZES, contents, file, fill, make_holes, put};

#[track_caller]
fn refuse(server: &Server, path: &str, mailboxes: u32, reasons: &[&str]) {
    let before = contents(server, mailboxes);
    let refused = server.run(&["restore", path]);
    refused.expect_failure(2, "nothing was restored: ");
    for reason in reasons {
        assert!(refused.stderr.contains(reason), "{reason:?} is not in {refused:?}");
    }
    assert!(contents(server, mailboxes) == before, "the server has changed");
}

#[test]
fn a_server_that_is_too_small_is_refused_unchanged() {
    let old = Server::start(SIZES);
    let _worker = fill(&old);
    let path = file(&old, "dump");
    old.run(&["dump", &path]).expect_success();
    let last = "mailbox 11 does not exist; the server has mailboxes 0 to 10";
    refuse(&Server::start("11 64 0 64"), &path, 11, &[last]);
    let packet = "mailbox 4 has a message of 65536 bytes; the server's PACKET_KB allows 32768";
    refuse(&Server::start("12 64 0 32"), &path, 12, &[packet]);
    let size = "mailbox 3 needs 60007 bytes; the server's SIZE_KB allows 32768";
    let small = Server::start("10 32 0 32");
    refuse(&small, &path, 10, &[size, "mailbox 10 does not exist", "mailbox 11 does not exist"]);
    assert_eq!(contents(&old, MAILBOXES).len(), 12);
}

/// A hole takes 4 bytes while an older message is left.
#[test]
fn the_room_of_holes_counts() {
    let old = Server::start("1 4 0 4");
    put(&mut old.connect(), 0, (0..800).map(|_| Vec::new()));
    make_holes(&old, 0, 800, 2..=800);
    let path = file(&old, "dump");
    old.run(&["dump", &path]).expect(0, "1 mailbox, 1 message, 0 bytes\n");
    let reason = "mailbox 0 needs 3196 bytes; the server's SIZE_KB allows 3072";
    refuse(&Server::start("1 3 0 3"), &path, 1, &[reason]);
    let new = Server::start("1 4 0 4");
    new.run(&["restore", &path]).expect_success();
    assert!(contents(&new, 1) == contents(&old, 1));
}

#[test]
fn a_server_with_other_contents_is_refused_unchanged() {
    let old = Server::start("8 64 0 8");
    let mut client = old.connect();
    (0..6).for_each(|mailbox| put(&mut client, mailbox, [b"one".to_vec(), b"two".to_vec()]));
    client.ask("name 4 mine\n", "OK name=mine\n");
    client.ask("name 5 yours\n", "OK name=yours\n");
    let path = file(&old, "dump");
    old.run(&["dump", &path]).expect_success();

    let new = Server::start("8 64 0 8");
    let mut client = new.connect();
    put(&mut client, 1, [b"x".to_vec()]);
    client.ask("version 2 v=1\n", "OK v=1\n");
    client.ask("name 7 mine\n", "OK name=mine\n");
    client.ask("name 5 other\n", "OK name=other\n");
    let reasons = [
        "mailbox 1 is not empty: it has 1 messages",
        "mailbox 2 has version 1, and needs at most 0",
        "the name mine of mailbox 4 belongs to mailbox 7",
        "mailbox 5 has the name other in the server, and the name yours in the dump",
    ];
    refuse(&new, &path, 8, &reasons);
    // The server of the dump itself.
    refuse(&old, &path, 8, &["mailbox 0 is not empty"]);
    let json = old.run(&["restore", &path, "--json"]);
    assert!(json.stderr.starts_with("{\"error\":\"unsuitable\","), "{json:?}");
}

/// The connections for the messages in hand are made before anything is changed.
#[test]
fn too_few_connections_are_found_before_anything_is_changed() {
    let old = Server::start("1 64 0 8");
    put(&mut old.connect(), 0, (0..3000).map(|_| b"x".to_vec()));
    make_holes(&old, 0, 2600, [2600]);
    let path = file(&old, "dump");
    old.run(&["dump", &path]).expect_success();
    let new = Server::start("1 64 0 8 --max-clients 3");
    new.run(&["restore", &path]).expect_failure(75, "this dump needs 3 connections: ");
    new.wait_for_stat("connections", |count| count == 1);
    assert_eq!((new.stat_box(0, "version"), new.stat_box(0, "messages")), (0, 0));
}

#[test]
fn a_client_that_takes_from_a_restored_mailbox_ends_the_restore() {
    let old = Server::start("4 64 0 8");
    let mut client = old.connect();
    (0..4).for_each(|mailbox| put(&mut client, mailbox, [b"one".to_vec(), b"two".to_vec()]));
    let path = file(&old, "dump");
    old.run(&["dump", &path]).expect_success();
    let new = Server::start("4 64 0 8");
    let mut taker = new.enqueue("take 2 wait=inf\n");
    let ended = new.run(&["restore", &path]);
    ended.expect_failure(1, "another client uses mailbox 2");
    assert!(ended.stderr.contains("the restore is incomplete: "), "{ended:?}");
    taker.expect("DATA 3 v=1 n=0\none\n");
    // The mailboxes before it are complete.
    assert!(contents(&new, 2) == contents(&old, 2));
}

#[test]
fn a_locked_mailbox_ends_the_dump_after_its_wait() {
    let server = Server::start("4 64 0 8");
    let mut holder = server.connect();
    put(&mut holder, 1, [b"one".to_vec()]);
    holder.lock("lock 1\n");
    let reason = "mailbox 1 is not free: another client has locked it";
    server.run(&["dump", &file(&server, "dump"), "--wait", "0"]).expect_failure(1, reason);
    assert!(!server.directory.join("dump").exists());
    let piped = server.run(&["dump", "-", "--wait", "0"]);
    assert_eq!(piped.code, Some(1), "{piped:?}");
    server.run_with(&["restore", "-"], &piped.stdout).expect_failure(74, "incomplete");
    // A shared lock does not exclude the dump.
    holder.ask("unlock 1\n", "OK\n");
    holder.lock("lock 1 r\n");
    server.run(&["dump", &file(&server, "dump"), "--wait", "0"]).expect_success();
}

/// Each of the two waits for no lock that ends only after it, and changes nothing.
#[test]
fn a_lock_of_the_program_that_runs_dump_or_restore_is_told() {
    let server = Server::start("4 64 0 8");
    put(&mut server.connect(), 1, [b"one".to_vec()]);
    let path = file(&server, "dump");
    server.run(&["dump", &path]).expect_success();
    let under_lock = |words: &[&str]| {
        let command = ["lock", "1", "--", program::dipc_cli()];
        server.run(&[&command[..], words].concat())
    };
    under_lock(&["dump", &path]).expect_failure(2, "mailbox 1 is locked by the dipc-cli that runs this");
    under_lock(&["dump", &file(&server, "other"), "--box", "2"]).expect_success();
    let new = Server::start("4 64 0 8");
    let words = ["lock", "1", "--", program::dipc_cli(), "restore", &path];
    new.run(&words).expect_failure(1, "mailbox 1 is not free: another client has locked it");
    assert_eq!(new.stat_box(1, "version"), 0);
}
