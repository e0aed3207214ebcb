//! A next start with other mailboxes, or with `--fresh`.

use std::fs;
use std::process::Command;

use dipc_testkit::process::run;
use dipc_testkit::program;
use dipc_testkit::server::Server;

use crate::Restartable;

#[test]
fn a_segment_of_another_geometry_is_refused_and_kept() {
    let mut restartable = Restartable::start();
    restartable.connect().ask("w 3\nhello\n", "OK v=1\n");
    restartable.stop();
    let before = fs::read(restartable.segment()).expect("the segment");
    for (mailboxes, packet) in [("5 64", "8"), ("3 64", "8"), ("4 63", "8"), ("4 65", "8")] {
        let said = restartable.refused(mailboxes, packet, 4);
        assert!(said.contains("4 mailboxes of 64 kB"), "{said}");
        assert!(said.contains("take it over with --resize, start over with --fresh"), "{said}");
        assert!(
            fs::read(restartable.segment()).expect("kept") == before,
            "a start with {mailboxes} {packet} has changed the segment"
        );
    }
    restartable.again();
    assert_eq!(restartable.server.stat("epoch"), 2);
    restartable.connect().ask("r 3\n", "DATA 5 v=1 n=1\nhello\n");
}

#[test]
fn the_command_that_a_refusal_names_works() {
    let mut restartable = Restartable::start();
    restartable.stop();
    let said = restartable.refused("5 64", "8", 4);
    let advice = said.split("remove it with: ").nth(1).expect("advice");
    let mut words = advice.split_whitespace();
    assert_eq!(words.next(), Some("dipcrm"), "{said}");
    let removal = run(Command::new(program::dipcrm()).args(words));
    assert_eq!(removal.code, Some(0), "{advice}: {removal:?}");
    restartable.restart("5 64", "8");
    restartable.connect().ask("r 4\n", "DATA 0 v=0 n=0\n\n");
}

#[test]
fn a_fresh_start_has_empty_mailboxes() {
    let mut restartable = Restartable::start();
    restartable.connect().ask("w 0\nhello\n", "OK v=1\n");
    restartable.stop();
    restartable.restart("4 64", "8 --fresh");
    restartable.connect().ask("r 0\n", "DATA 0 v=0 n=0\n\n");
    assert_eq!(restartable.server.stat("epoch"), 1);
    restartable.connect().ask("w 0\nhello\n", "OK v=1\n");
    restartable.kill();
    restartable.restart("2 1", "1 --fresh");
    let mut client = restartable.connect();
    client.ask("r 0\n", "DATA 0 v=0 n=0\n\n");
    assert_eq!((client.stat("epoch"), client.stat("mailboxes"), client.stat("size_bytes")), (1, 2, 1024));
    // Without a segment, `--fresh` changes nothing.
    Server::start("4 64 0 8 --fresh").connect().ask("ping\n", "OK\n");
}

#[test]
fn a_fresh_start_that_fails_keeps_the_messages() {
    let mut restartable = Restartable::start();
    restartable.connect().ask("w 0\nhello\n", "OK v=1\n");
    // The starts fail while the server runs, and after its end.
    assert!(restartable.refused("4 64", "8 --fresh", 3).contains("in use"));
    restartable.connect().ask("r 0\n", "DATA 5 v=1 n=1\nhello\n");
    restartable.stop();
    restartable.refused("4294967295 2097151", "8 --fresh", 2);
    restartable.refused("4 64", "8 --fresh --unix /no/such/directory/socket", 1);
    restartable.again();
    let mut client = restartable.connect();
    client.send("r 0\n");
    assert_eq!(client.line(), "DATA 5 v=1 n=1");
}
