//! The mailboxes after the next start.

use dipc_testkit::directory::names;
use dipc_testkit::process::text;

use crate::Restartable;

#[test]
fn the_next_start_has_the_messages_of_the_last() {
    let mut restartable = Restartable::start();
    for mailbox in 0..4 {
        for version in 1..=mailbox + 1 {
            restartable.connect().ask(format!("w {mailbox}\nto {mailbox}\n"), format!("OK v={version}\n"));
        }
    }
    for epoch in 2..5 {
        if epoch % 2 == 0 {
            restartable.stop()
        } else {
            restartable.kill()
        }
        assert!(restartable.segment().exists());
        restartable.again();
        let mut client = restartable.connect();
        assert_eq!(client.stat("epoch"), epoch);
        for mailbox in 0..4 {
            let answer = format!("DATA 4 v={} n=1\nto {mailbox}\n", mailbox + 1);
            client.ask(format!("r {mailbox}\n"), answer);
        }
    }
    restartable.connect().ask("w 3 if=4\nmore\n", "OK v=5\n");
}

#[test]
fn a_stopped_server_keeps_its_segment_and_nothing_else() {
    let mut restartable = Restartable::start();
    restartable.stop();
    assert_eq!(names(restartable.segment().parent().expect("a directory")), ["lock", "segment", "waiters"]);
}

#[test]
fn a_killed_server_keeps_every_acknowledged_message() {
    let mut restartable = Restartable::start();
    for version in 1..=10 {
        restartable.connect().ask(format!("w 1\nmessage {version}\n"), format!("OK v={version}\n"));
        restartable.kill();
        restartable.again();
        let message = format!("message {version}");
        restartable.connect().ask("r 1\n", format!("DATA {} v={version} n=1\n{message}\n", message.len()));
    }
}

#[test]
fn a_server_killed_while_it_writes_has_one_whole_message() {
    let mut restartable = Restartable::start();
    let mut version = 0;
    for _ in 0..5 {
        let mut client = restartable.connect();
        let writes: String = (version + 1..=version + 3000).map(|v| format!("w 0\nmessage {v}\n")).collect();
        client.send(writes);
        (0..500).for_each(|_| drop(client.line()));
        restartable.kill();
        let acknowledged = version + 500 + client.read_to_end().iter().filter(|&&byte| byte == b'\n').count();
        restartable.again();
        let mut client = restartable.connect();
        client.send("r 0\n");
        let (header, message) = client.data();
        let found = header.split("v=").nth(1).and_then(|rest| rest.split(' ').next()).expect("a version");
        version = found.parse().expect("a number");
        assert!(version >= acknowledged, "{acknowledged} were acknowledged: {header}");
        assert_eq!(text(&message), format!("message {version}"));
    }
}
