//! `stat conns` and `stat locks`: a line for each connection and for each lock.

use dipc_testkit::wait::wait_until;

use crate::{served, value};

#[test]
fn every_connection_has_a_line() {
    let server = served();
    let mut asking = server.connect();
    asking.ask("hello name=asking\n", "OK proto=1");
    asking.line();
    let named = |name: &str| {
        let mut client = server.connect();
        client.send(format!("hello name={name}\n"));
        assert!(client.line().starts_with("OK proto=1 "));
        client
    };
    let mut holder = named("holder");
    holder.lock("lock 0,2\n");
    let mut waiting = named("waiting");
    server.send_waiting(&mut waiting, "r 2\n");
    let mut watcher = named("watcher");
    watcher.ask("watch 3,1\n", "OK v=0,0\n");
    let nameless = server.connect();
    server.wait_for_stat("connections", |count| count == 6);
    let mut lines = Vec::new();
    wait_until("only these five are connected", || {
        lines = asking.stat_lines("stat conns\n");
        lines.len() == 5
    });
    let line = |name: &str| lines.iter().find(|line| value(line, "name") == name).expect("a line");
    for (name, phase, waits, locks, watches) in [
        ("asking", "working", "-", "-", "-"),
        ("holder", "idle", "-", "0,2", "-"),
        ("waiting", "waiting", "2", "-", "-"),
        ("watcher", "idle", "-", "-", "1,3"),
        ("-", "idle", "-", "-", "-"),
    ] {
        let line = line(name);
        let found = ["phase", "waits", "locks", "watches"].map(|key| value(line, key));
        assert_eq!(found, [phase, waits, locks, watches], "{line}");
        value(line, "age_seconds").parse::<u64>().expect("seconds");
    }
    assert_eq!((value(line("holder"), "requests"), value(line("-"), "requests")), ("2", "0"));
    let mut numbers: Vec<_> = lines.iter().map(|line| line.split(' ').next().expect("a number")).collect();
    numbers.dedup();
    assert_eq!(numbers.len(), 5);
    drop(nameless);
}

#[test]
fn every_lock_has_a_line() {
    let server = served();
    let mut asking = server.connect();
    assert_eq!(asking.stat_lines("stat locks\n"), [""; 0]);
    let (mut first, mut second) = (server.connect(), server.connect());
    let one = first.lock("lock 3,0\n");
    let two = second.lock("lock 2 r ttl=7\n");
    let _waiting = [server.enqueue("r 0\n"), server.enqueue("r 0\n")];
    let lines = asking.stat_lines("stat locks\n");
    let found: Vec<[&str; 5]> = lines
        .iter()
        .map(|line| {
            let [name, mode, grant, waiting] =
                ["name", "mode", "grant", "waiting"].map(|key| value(line, key));
            [line.split(' ').next().expect("a mailbox"), name, mode, grant, waiting]
        })
        .collect();
    let (one, two) = (one.to_string(), two.to_string());
    assert_eq!(
        found,
        [
            ["0", "-", "exclusive", &one, "2"],
            ["2", "-", "shared", &two, "0"],
            ["3", "-", "exclusive", &one, "0"]
        ]
    );
    let left = value(&lines[1], "lease_seconds").parse::<f64>().expect("seconds");
    assert!(left <= 7.0, "{left}");
    first.ask("unlock 3\n", "OK\n");
    drop(second);
    server.wait_for_stat("locks_held", |locks| locks == 1);
    assert_eq!(asking.stat_lines("stat locks\n").len(), 1);
}

#[test]
fn lines_of_stat_end_like_those_of_the_request() {
    let server = served();
    let mut client = server.connect();
    client.lock("lock 0\n");
    for request in ["stat", "stat 0", "stat conns", "stat locks"] {
        client.send(format!("{request}\r\nping\r\n"));
        let header = client.line();
        let len: usize = header.strip_prefix("DATA ").expect("DATA").trim_end().parse().expect("a length");
        let mut text = String::new();
        while text.len() < len {
            text += &(client.line() + "\n");
        }
        assert!(text.len() == len && text.lines().count() == text.matches("\r\n").count(), "{text:?}");
        client.expect("\r\nOK\r\n");
    }
}
