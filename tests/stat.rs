//! What `stat` shows, over the real server: each number is moved by what it counts, and by nothing else.
#![allow(missing_docs)]

use std::collections::BTreeMap;
use std::fs::File;
use std::os::unix::fs::FileExt;

use dipc_testkit::client::Client;
use dipc_testkit::process::text;
use dipc_testkit::server::Server;
use dipc_testkit::wait::wait_until;
use nix::sys::signal::Signal;

fn served() -> Server {
    Server::start("4 1 0 1")
}

/// The lines `name value` of a `stat`; of those that come more than once, the last.
fn numbers(client: &mut Client, request: &str) -> BTreeMap<String, String> {
    let lines = client.stat_lines(request);
    lines
        .iter()
        .filter_map(|line| line.split_once(' '))
        .map(|(name, value)| (name.into(), value.into()))
        .collect()
}

/// `key=value` in a line about one thing.
#[track_caller]
fn value<'a>(line: &'a str, key: &str) -> &'a str {
    let value = line.split(' ').find_map(|word| word.strip_prefix(key)?.strip_prefix('='));
    value.unwrap_or_else(|| panic!("no {key}= in {line}"))
}

/// The counters of requests that came to an end.
fn outcomes(client: &mut Client) -> BTreeMap<String, u64> {
    const NAMES: [&str; 26] = [
        "reads",
        "writes",
        "puts",
        "takes",
        "locks",
        "unlocks",
        "watches",
        "told",
        "quits",
        "no_timeout",
        "no_conflict",
        "no_empty",
        "no_full",
        "no_locked",
        "no_multi",
        "err_syntax",
        "err_verb",
        "err_box",
        "err_size",
        "err_lease",
        "err_deadlock",
        "err_denied",
        "err_frame",
        "err_drain",
        "err_internal",
        "foreign_protocols",
    ];
    let numbers = numbers(client, "stat\n");
    let number =
        |name: &str| numbers.get(name).unwrap_or_else(|| panic!("no {name}")).parse().expect("a number");
    assert_eq!(NAMES.iter().map(|name| number(name)).sum::<u64>(), number("requests"));
    NAMES.iter().map(|name| ((*name).to_owned(), number(name))).collect()
}

/// One request, of whoever sends it, moves one counter by one; asking for them is `told` once.
#[track_caller]
fn expect_counted(asking: &mut Client, counter: &str, provoke: impl FnOnce()) {
    let mut expected = outcomes(asking);
    provoke();
    *expected.get_mut("told").expect("told") += 1;
    *expected.get_mut(counter).expect("a counter") += 1;
    assert_eq!(outcomes(asking), expected);
}

// ---- the server ----

#[test]
fn each_end_of_a_request_moves_its_own_counter_by_one() {
    let server = served();
    let mut asking = server.connect();
    let mut client = server.connect();
    let full = "x".repeat(1024);
    for (counter, request) in [
        ("reads", "r 0\n"),
        ("writes", "w 0\nx\n"),
        ("puts", "put 0\nx\n"),
        ("takes", "take 0\n"),
        ("no_timeout", "r 0 after=9 wait=0.001\n"),
        ("no_conflict", "w 0 if=9\nx\n"),
        ("no_empty", "take 1 wait=0\n"),
        ("locks", "lock 0,1,2\n"),
        ("err_denied", "lock 2\n"),
        ("unlocks", "unlock *\n"),
        ("err_lease", "unlock 0\n"),
        ("watches", "watch 3\n"),
        ("watches", "unwatch 3\n"),
        ("told", "ping\n"),
        ("told", "help\n"),
        ("told", "hello\n"),
        ("told", "hello name=me\n"),
        ("told", "stat 3\n"),
        ("told", "stat conns\n"),
        ("told", "stat locks\n"),
        ("err_syntax", "r 0 nonsense=1\n"),
        ("err_verb", "nonsense\n"),
        ("err_box", "r 4\n"),
        ("err_box", "w 4 1\nx\n"),
        ("err_size", &format!("w 0 1025\nx{full}\n")),
        ("err_size", &format!("w 0\nx{full}\n")),
        ("writes", &format!("w 0\n{full}\n")),
        ("no_full", "put 0 wait=0\nx\n"),
        ("no_full", "put 0 wait=0.001\nx\n"),
        ("puts", "put 0 full=drop\nx\n"),
        ("puts", "put 0\nx\n"),
        ("no_multi", "w 0 off=0\nx\n"),
    ] {
        expect_counted(&mut asking, counter, || {
            client.send(request);
            client.message();
        });
    }
}

#[test]
fn what_needs_two_to_happen_is_counted_once() {
    let server = served();
    let mut asking = server.connect();
    let (mut first, mut second) = (server.connect(), server.connect());
    first.lock("lock 0\n");
    for (counter, request, answer) in [
        ("no_locked", "lock 0 wait=0\n", "NO locked\n"),
        ("no_timeout", "lock 0 wait=0.001\n", "NO timeout\n"),
        ("no_timeout", "w 0 wait=0\nx\n", "NO timeout\n"),
        ("no_timeout", "take 0 wait=0\n", "NO timeout\n"),
    ] {
        expect_counted(&mut asking, counter, || second.ask(request, answer));
    }
    second.lock("lock 1\n");
    server.send_waiting(&mut first, "r 1\n");
    expect_counted(&mut asking, "err_deadlock", || assert_eq!(second.refused("r 0\n"), "deadlock"));
}

#[test]
fn a_lease_that_ran_out_is_counted_and_so_is_what_it_refuses() {
    let server = served();
    let mut asking = server.connect();
    let mut client = server.connect();
    client.send("lock 0 ttl=0.01\n");
    client.locked();
    client.expect("EVENT 0 box=0 v=0 lost=lock\n\n");
    assert_eq!((asking.stat("leases_ended"), asking.stat("err_lease")), (1, 0));
    for request in ["r 0\n", "w 0\nx\n", "put 0\nx\n", "take 0\n", "unlock 0\n"] {
        expect_counted(&mut asking, "err_lease", || assert_eq!(client.refused(request), "lease"));
    }
    assert_eq!(asking.stat("leases_ended"), 1);
}

#[test]
fn what_ends_a_connection_is_counted_too() {
    let server = served();
    let mut asking = server.connect();
    let segment = server.directory.path().join(format!("{}/segment", server.port));
    let segment = File::options().write(true).open(segment).expect("the segment");
    // The control area of mailbox 3: behind the header page, 128 bytes each.
    segment.write_all_at(&[0xa5; 128], 4096 + 3 * 128).expect("damaged");
    for (counter, request) in [
        ("quits", "q\n"),
        ("quits", "quit 3\n"),
        ("err_frame", "w 0 five\n"),
        ("err_frame", "w 0 1\nxx"),
        ("foreign_protocols", "GET / HTTP/1.1\r\n"),
        ("err_internal", "r 3\n"),
        ("err_internal", "take 3\n"),
        ("err_size", "w 0 1048577\n"),
    ] {
        expect_counted(&mut asking, counter, || {
            let mut client = server.connect();
            client.send(request);
            client.read_to_end();
        });
    }
}

/// Somebody who has more to read than all buffers hold is still answered while the server stops.
#[test]
fn who_is_refused_because_the_server_stops_is_counted() {
    let mut server = Server::start("2 64 0 64");
    let mut asking = server.connect();
    asking.ask(format!("w 0 65000\n{}\n", "x".repeat(65_000)), "OK v=1\n");
    let mut waiting = server.enqueue("take 1 wait=inf\n");
    asking.send("r 0\n".repeat(400) + "stat\n");
    server.wait_for_stat("flushing", |flushing| flushing == 1);
    server.signal(Signal::SIGTERM);
    waiting.expect("ERR drain : the server is stopping\n");
    (0..400).for_each(|_| assert_eq!(asking.data().1.len(), 65_000));
    let told = text(&asking.data().1);
    assert!(told.lines().any(|line| line == "err_drain 1"), "{told}");
    asking.expect_end();
    assert_eq!(server.wait(), Some(0));
}

#[test]
fn the_gauges_show_who_is_there_and_what_is_held() {
    let server = served();
    let mut asking = server.connect();
    let mut gauges = || {
        let numbers = numbers(&mut asking, "stat\n");
        ["connections", "waiting", "watching", "standing_reads", "locks_held"]
            .map(|name| numbers[name].clone())
    };
    assert_eq!(gauges(), ["1", "0", "0", "0", "0"]);
    let mut clients = [server.connect(), server.connect(), server.connect(), server.connect()];
    clients[0].lock("lock 0,1 r\n");
    clients[1].lock("lock 1,2 r\n");
    clients[2].ask("watch 0,3\n", "OK v=0,0\n");
    clients[3].ask("watch 3\n", "OK v=0\n");
    assert_eq!(gauges(), ["5", "0", "2", "2", "4"]);
    clients[3].send("w 0 wait=inf\nx\n");
    wait_until("it waits", || gauges() == ["5", "1", "2", "2", "4"]);
    let [first, second, mut watcher, mut writer] = clients;
    drop((first, second));
    writer.expect("OK v=1\n");
    watcher.expect("EVENT 1 box=0 v=1\nx\n");
    watcher.ask("unwatch *\n", "OK\n");
    wait_until("they have left", || gauges() == ["3", "0", "1", "1", "0"]);
}

// ---- one mailbox ----

#[test]
fn a_mailbox_tells_what_it_holds() {
    let server = served();
    let mut client = server.connect();
    let contents = |client: &mut Client, request: &str| {
        let numbers = numbers(client, request);
        ["mailbox", "version", "messages", "bytes", "room", "held"].map(|name| numbers[name].clone())
    };
    assert_eq!(contents(&mut client, "stat 2\n"), ["2", "0", "0", "0", "1024", "free"]);
    client.ask("put 2\nhello\nput 2\nworld!\n", "OK v=1 n=1\nOK v=2 n=2\n");
    assert_eq!(contents(&mut client, "stat 2\n"), ["2", "2", "2", "11", "1005", "free"]);
    client.ask("take 2\n", "DATA 5 v=1 n=1\nhello\n");
    assert_eq!(contents(&mut client, "stat box 2\n"), ["2", "2", "1", "6", "1014", "free"]);
    client.ask(format!("w 2\n{}\n", "x".repeat(1024)), "OK v=3\n");
    assert_eq!(contents(&mut client, "stat 2\n"), ["2", "3", "1", "1024", "0", "free"]);
    assert_eq!(client.refused("stat 4\n"), "box max=3");
    assert_eq!(client.refused("stat nonsense\n"), "syntax");
}

#[test]
fn a_mailbox_tells_who_holds_it_who_waits_and_who_watches() {
    let server = served();
    let mut asking = server.connect();
    let mut holder = server.connect();
    holder.send("hello name=boss\n");
    holder.line();
    let grant = holder.lock("lock 1 ttl=100\n");
    let mut waiting = [server.enqueue("r 1\n"), server.enqueue("w 1\nx\n"), server.enqueue("lock 1\n")];
    let mut watcher = server.connect();
    watcher.ask("watch 1,2\n", "OK v=0,0\n");
    let lines = numbers(&mut asking, "stat 1\n");
    let picked = ["held", "holders", "aside", "watchers", "overtakes"].map(|name| lines[name].clone());
    assert_eq!(picked, ["exclusive", "1", "0", "1", "0"]);
    // The watchers' standing read waits, too.
    assert!(["3", "4"].contains(&lines["waiting"].as_str()), "{lines:?}");
    let lock = &lines["lock"];
    assert_eq!((value(lock, "name"), value(lock, "mode")), ("boss", "exclusive"));
    assert_eq!(value(lock, "grant"), grant.to_string());
    let seconds = |key: &str| value(lock, key).parse::<f64>().expect("seconds");
    assert!(seconds("held_seconds") >= 0.0 && (0.0..=100.0).contains(&seconds("lease_seconds")), "{lock}");
    holder.ask("unlock 1\n", "OK\n");
    waiting[0].expect("DATA 0 v=0 n=0\n\n");
    waiting[1].expect("OK v=1\n");
    waiting[2].locked();
    let lines = numbers(&mut asking, "stat 1\n");
    assert_eq!((lines["held"].as_str(), lines["holders"].as_str()), ("exclusive", "1"));
}

#[test]
fn who_waits_for_something_in_a_mailbox_is_aside() {
    let server = served();
    let mut asking = server.connect();
    let mut waiting = [
        server.enqueue("take 0 wait=inf\n"),
        server.enqueue("r 0 after=0 wait=inf\n"),
        server.enqueue("r 0 after=5 wait=inf\n"),
    ];
    let lines = numbers(&mut asking, "stat 0\n");
    let picked = ["held", "waiting", "aside"].map(|name| lines[name].clone());
    assert_eq!(picked, ["free", "0", "3"]);
    // They wait for others to send something, not for others to leave.
    assert_eq!(lines["oldest_wait_ms"], "0");
    asking.ask("put 0\nx\n", "OK v=1 n=1\n");
    waiting[1].expect("DATA 1 v=1 n=1\nx\n");
    waiting[0].expect("DATA 1 v=1 n=0\nx\n");
    assert_eq!(numbers(&mut asking, "stat 0\n")["aside"], "1");
}

#[test]
fn the_oldest_wait_grows_and_the_longest_stays() {
    let server = served();
    let mut asking = server.connect();
    let millis = |asking: &mut Client, name: &str| {
        numbers(asking, "stat 0\n")[name].parse::<u64>().expect("milliseconds")
    };
    let mut holder = server.connect();
    holder.lock("lock 0\n");
    assert_eq!((millis(&mut asking, "oldest_wait_ms"), millis(&mut asking, "longest_wait_ms")), (0, 0));
    let mut first = server.enqueue("r 0\n");
    wait_until("its wait is seen to grow", || millis(&mut asking, "oldest_wait_ms") >= 50);
    assert!(millis(&mut asking, "longest_wait_ms") >= 50, "it is the longest so far");
    holder.ask("unlock 0\n", "OK\n");
    first.expect("DATA 0 v=0 n=0\n\n");
    wait_until("nobody waits", || millis(&mut asking, "oldest_wait_ms") == 0);
    let longest = millis(&mut asking, "longest_wait_ms");
    assert!(longest >= 50, "{longest}");
    first.ask("r 0\n", "DATA 0 v=0 n=0\n\n");
    assert_eq!(millis(&mut asking, "longest_wait_ms"), longest);
    assert_eq!(numbers(&mut asking, "stat 1\n")["longest_wait_ms"], "0", "that is another mailbox");
}

#[test]
fn a_wait_that_was_in_vain_was_a_wait_too() {
    let server = served();
    let mut holder = server.connect();
    holder.lock("lock 0\n");
    server.connect().ask("w 0 wait=0.06\nx\n", "NO timeout\n");
    let longest = numbers(&mut holder, "stat 0\n")["longest_wait_ms"].parse::<u64>().expect("milliseconds");
    assert!(longest >= 60, "{longest}");
}

#[test]
fn a_shared_lock_has_a_line_for_each_holder() {
    let server = served();
    let mut sharers = [server.connect(), server.connect(), server.connect()];
    for sharer in &mut sharers {
        sharer.lock("lock 3 r\n");
    }
    let lines = sharers[0].stat_lines("stat 3\n");
    assert!(
        lines.contains(&"held shared".to_owned()) && lines.contains(&"holders 3".to_owned()),
        "{lines:?}"
    );
    let locks: Vec<_> = lines.iter().filter_map(|line| line.strip_prefix("lock ")).collect();
    assert!(locks.len() == 3 && locks.iter().all(|lock| value(lock, "mode") == "shared"), "{lines:?}");
}

#[test]
fn a_damaged_mailbox_says_so() {
    let server = served();
    let segment = server.directory.path().join(format!("{}/segment", server.port));
    let segment = File::options().write(true).open(segment).expect("the segment");
    segment.write_all_at(&[0xa5; 128], 4096).expect("damaged");
    let lines = server.connect().stat_lines("stat 0\n");
    assert!(lines[1].starts_with("damaged "), "{lines:?}");
}

// ---- all connections, all locks ----

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
    wait_until("only they are there", || {
        lines = asking.stat_lines("stat conns\n");
        lines.len() == 5
    });
    let line = |name: &str| lines.iter().find(|line| value(line, "name") == name).expect("a line");
    for (name, phase, waits, locks, watches) in [
        ("asking", "working", "-", "-", "-"),
        ("holder", "idle", "-", "0,2", "-"),
        ("waiting", "waiting", "2", "-", "-"),
        ("watcher", "idle", "-", "-", "3,1"),
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
fn lines_end_like_those_of_the_request() {
    let server = served();
    let mut client = server.connect();
    client.lock("lock 0\n");
    for request in ["stat", "stat 0", "stat conns", "stat locks"] {
        client.send(format!("{request}\r\nping\r\n"));
        let header = client.line();
        let len: usize = header.strip_prefix("DATA ").expect("DATA").trim_end().parse().expect("a length");
        let mut told = String::new();
        while told.len() < len {
            told += &(client.line() + "\n");
        }
        assert!(told.len() == len && told.lines().count() == told.matches("\r\n").count(), "{told:?}");
        client.expect("\r\nOK\r\n");
    }
}
