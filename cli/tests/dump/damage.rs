//! A damaged dump is refused, and nothing is changed.

use std::fs;

use dipc_testkit::server::Server;

use crate::contents::{contents, file, make_holes, put};

/// A dump of two mailboxes, one with a hole.
fn small_dump() -> Vec<u8> {
    let server = Server::start("4 64 0 8");
    let mut client = server.connect();
    put(&mut client, 1, [b"a".to_vec(), b"b".to_vec(), b"c\n".to_vec()]);
    make_holes(&server, 1, 2, [2]);
    client.ask("name 1 x\n", "OK name=x\n");
    client.ask("version 2 v=7\n", "OK v=7\n");
    let path = file(&server, "dump");
    server.run(&["dump", &path]).expect_success();
    fs::read(path).expect("a dump")
}

#[test]
fn every_truncation_and_every_changed_byte_is_found() {
    let (dump, server) = (small_dump(), Server::start("4 64 0 8"));
    let (path, before) = (file(&server, "damaged"), contents(&server, 4));
    let refuse = |damaged: &[u8], reason: &str| {
        fs::write(&path, damaged).expect("written");
        server.run(&["restore", &path]).expect_failure(74, reason);
    };
    for len in 0..dump.len() {
        refuse(&dump[..len], "incomplete: the file ends before its end");
    }
    for at in 0..dump.len() {
        // The second one makes upper case of lower case.
        for flipped in [1, 0x20] {
            let mut damaged = dump.clone();
            damaged[at] ^= flipped;
            refuse(&damaged, "dipc-cli: ");
        }
    }
    refuse(&[&dump[..], b"\n"].concat(), "bytes follow the end");
    refuse(&[&dump[..], &dump].concat(), "bytes follow the end");
    assert_eq!(contents(&server, 4), before);
    // The undamaged dump is restored.
    server.run_with(&["restore", "-"], &dump).expect(0, "2 mailboxes, 2 messages, 3 bytes\n");
    server
        .run_with(&["restore", "-"], &dump[..dump.len() - 1])
        .expect_failure(74, "standard input: incomplete");
}

#[test]
fn a_newer_format_and_other_files_are_refused() {
    let server = Server::start("4 64 0 8");
    let restore = |file: &str| server.run_with(&["restore", "-"], file);
    restore("dipc-dump 2\nsomething\n").expect_failure(74, "this dump has format 2, and this program reads");
    restore("dipc-dump 0\n").expect_failure(74, "this format does not exist");
    restore("a text\n").expect_failure(74, "this is no dump of mailboxes");
    restore(&"x".repeat(100_000)).expect_failure(74, "this is no dump of mailboxes");
    let mut prompt = server.run_with(&[], "dump x\nrestore x\n");
    assert_eq!(prompt.code.take(), Some(2), "{prompt:?}");
}

/// The checksum does not prove that a dump comes from a server.
#[test]
fn a_dump_with_a_right_checksum_and_wrong_contents_is_refused() {
    let server = Server::start("4 64 0 8");
    for (lines, reason) in [
        ("mailbox 2 v=1 n=0 name=-\nmailbox 2 v=1 n=0 name=-\n", "a mailbox is out of order"),
        ("mailbox 4 v=1 n=0 name=-\n", "a mailbox is out of order"),
        ("mailbox 0 v=4611686018427387905 n=0 name=-\n", "the version of a mailbox is too large"),
        ("mailbox 0 v=1 n=0 name=a\nmailbox 1 v=1 n=0 name=a\n", "the same name"),
        ("mailbox 0 v=1 n=2 name=-\nmessage 0 v=1\n\nmessage 0 v=1\n\n", "a message is out of order"),
        ("mailbox 0 v=1 n=1 name=-\nmessage 0 v=2\n\n", "a message is out of order"),
        ("mailbox 0 v=1 n=1 name=-\nmessage 0 v=0\n\n", "a message is out of order"),
        ("mailbox 0 v=1 n=1 name=-\nmessage 18446744073709551615 v=1\n\n", "incomplete"),
    ] {
        let server_line = "server boxes=4 size=65536 packet=8192 life=- time=0";
        let text = format!("dipc-dump 1\n{server_line}\n{lines}end mailboxes=2 messages=2 bytes=0 crc32=");
        let dump = format!("{text}{:08x}\n", crc32(text.as_bytes()));
        server.run_with(&["restore", "-"], dump).expect_failure(74, reason);
    }
}

/// CRC-32 as in zip and PNG, bit by bit.
fn crc32(bytes: &[u8]) -> u32 {
    let step = |crc: u32| if crc & 1 == 1 { crc >> 1 ^ 0xedb8_8320 } else { crc >> 1 };
    !bytes.iter().fold(!0, |crc, &byte| (0..8).fold(crc ^ u32::from(byte), |crc, _| step(crc)))
}
