//! A restored server answers as the dumped one did.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use dipc_testkit::process::text;
use dipc_testkit::server::Server;
use serde_json::json;

use crate::contents::{MAILBOXES, SIZES, contents, file, fill, make_holes, put};

/// The lines of mailboxes and messages: without the first two lines and the last one, which tell the server
/// and the time.
pub(crate) fn body(dump: &[u8]) -> &[u8] {
    let ends: Vec<_> = (0..dump.len()).filter(|&at| dump[at] == b'\n').collect();
    &dump[ends[1] + 1..=ends[ends.len() - 2]]
}

#[test]
fn a_restored_server_answers_as_the_dumped_one() {
    let (old, new) = (Server::start(SIZES), Server::start(SIZES));
    let worker = fill(&old);
    let before = contents(&old, MAILBOXES);
    let path = file(&old, "dump");
    let dumped = old.run(&["dump", &path]);
    dumped.expect_success();
    assert_eq!(old.stat_box(11, "in_hand"), 2);
    assert!(contents(&old, MAILBOXES) == before, "the dump has changed the server");
    assert_eq!(fs::metadata(&path).expect("the file").permissions().mode() & 0o777, 0o600);

    let restored = new.run(&["restore", &path]);
    restored.expect_success();
    assert_eq!(text(&restored.stdout), text(&dumped.stdout));
    assert!(text(&dumped.stdout).starts_with("11 mailboxes, "), "{dumped:?}");
    for (mailbox, (old, new)) in before.iter().zip(contents(&new, MAILBOXES)).enumerate() {
        assert!(*old == new, "mailbox {mailbox} differs");
    }
    for mailbox in 0..MAILBOXES {
        assert_eq!(new.stat_box(mailbox, "in_hand"), 0, "{mailbox}");
    }
    let again = file(&new, "dump");
    new.run(&["dump", &again]).expect_success();
    let [first, second] = [&path, &again].map(|path| fs::read(path).expect("a dump"));
    assert!(body(&first) == body(&second), "the second dump differs");

    // The next versions are the same, and so is the order of the messages.
    drop(worker);
    old.wait_for_stat_box(11, "in_hand", |count| count == 0);
    let (mut from, mut to) = (old.connect(), new.connect());
    for mailbox in 0..MAILBOXES {
        // A hole has less room than its message had, so only mailboxes without holes are full.
        for request in ["put BOX 1 full=drop\nx\n", "take BOX wait=0\n", "take BOX wait=0\n"] {
            let request = request.replace("BOX", &mailbox.to_string());
            from.send(&request);
            to.send(&request);
            assert_eq!(from.message(), to.message(), "{request}");
        }
    }
}

#[test]
fn a_dump_goes_through_a_pipe_to_another_size() {
    let (old, new) = (Server::start(SIZES), Server::start("20 128 0 128"));
    let _worker = fill(&old);
    let dumped = old.run(&["dump", "-"]);
    assert_eq!(dumped.code, Some(0), "{dumped:?}");
    // The line of the totals goes to standard error.
    let restored = new.run_with(&["restore", "-"], &dumped.stdout);
    restored.expect_success();
    assert_eq!(dumped.stderr, format!("dipc-cli: {}", text(&restored.stdout)));
    assert!(contents(&new, MAILBOXES) == contents(&old, MAILBOXES));
}

#[test]
fn some_mailboxes_are_dumped_and_restored() {
    let (old, new) = (Server::start("8 64 0 64"), Server::start("8 64 0 64"));
    let mut client = old.connect();
    (0..8).for_each(|mailbox| put(&mut client, mailbox, [b"text".to_vec()]));
    make_holes(&old, 3, 1, [1]);
    let path = file(&old, "dump");
    let totals = |mailboxes: u32, messages: u32| {
        let bytes = messages * 4;
        json!({ "mailboxes": mailboxes, "messages": messages, "bytes": bytes })
    };
    assert_eq!(old.run(&["dump", &path, "--box", "6,3,5,6", "--json"]).json(), totals(3, 2));
    assert_eq!(new.run(&["restore", &path, "--box", "3,5", "--json"]).json(), totals(2, 1));
    let versions: Vec<_> = (0..8).map(|mailbox| new.stat_box(mailbox, "version")).collect();
    assert_eq!(versions, [0, 0, 0, 1, 0, 1, 0, 0]);
    // The rest of it, into the same server.
    assert_eq!(new.run(&["restore", &path, "--box", "6", "--json"]).json(), totals(1, 1));
    old.run(&["dump", &path, "--box", "8"]).expect_failure(2, "mailbox 8: box");
}

#[test]
fn an_existing_file_is_replaced_and_a_device_is_not() {
    let server = Server::start("4 64 0 8");
    let path = file(&server, "dump");
    fs::write(&path, "old").expect("written");
    let link = file(&server, "link");
    std::os::unix::fs::symlink(&path, &link).expect("a link");
    server.run(&["dump", &link]).expect(0, "0 mailboxes, 0 messages, 0 bytes\n");
    assert!(
        fs::read_to_string(&path).expect("a dump").starts_with("dipc-dump 1\nserver boxes=4 size=65536 ")
    );
    assert!(fs::symlink_metadata(&link).expect("the link").is_symlink());
    server.run(&["dump", "/dev/null"]).expect_failure(74, "not a regular file");
    server.run(&["dump", &file(&server, "missing/dump")]).expect_failure(74, "No such file");
    server.run(&["restore", &file(&server, "missing")]).expect_failure(74, "No such file");
}
