//! Locks over the real server: who is kept out, who is next, and how a lock ends.
#![allow(missing_docs)]

use std::thread;
use std::time::{Duration, Instant};

use dipc_testkit::client::{Client, field};
use dipc_testkit::directory::Directory;
use dipc_testkit::port::Port;
use dipc_testkit::process::text;
use dipc_testkit::server::Server;
use dipc_testkit::wait::wait_until;
use nix::sys::signal::Signal;

/// For others: nobody waits.
const TRIES: [(&str, &str); 5] = [
    ("r 0 wait=0\n", "NO timeout v=0\n"),
    ("w 0 wait=0\nno\n", "NO timeout\n"),
    ("put 0 wait=0\nno\n", "NO timeout\n"),
    ("take 0 wait=0\n", "NO timeout\n"),
    ("lock 0 wait=0\n", "NO locked\n"),
];

/// The four requests that a lock lets nobody else do, or that nobody does whose own lock has run out.
const GUARDED: [&str; 4] = ["r 0\n", "w 0\nno\n", "put 0\nno\n", "take 0\n"];

const LEASE: &str = "lease";
const LOST: &str = "EVENT 0 box=0 v=0 lost=lock\n\n";

fn served() -> Server {
    Server::start("4 64 0 8")
}

/// A client with a lock of mailbox 0, and its number.
fn holder(server: &Server) -> (Client, u64) {
    let mut client = server.connect();
    let grant = client.lock("lock 0\n");
    (client, grant)
}

/// Mailbox 0 is not locked, or not any more.
#[track_caller]
fn expect_free(server: &Server) {
    server.connect().lock("lock 0\n");
}

// ---- who is kept out ----

#[test]
fn a_lock_keeps_everybody_else_out_and_its_holder_in() {
    let server = served();
    let (mut holder, _) = holder(&server);
    let mut other = server.connect();
    for (request, answer) in TRIES {
        other.ask(request, answer);
    }
    other.ask("r 0 wait=0.01\n", "NO timeout v=0\n");
    other.ask("lock 0 wait=0.01\nlock 0 r wait=0.01\n", "NO timeout\nNO timeout\n");
    other.ask("w 1\nfree\n", "OK v=1\n");
    holder.ask("w 0\na\nput 0\nb\n", "OK v=1\nOK v=2 n=2\n");
    holder.ask("r 0\ntake 0\n", "DATA 1 v=2 n=2\nb\nDATA 1 v=1 n=1\na\n");
    holder.ask("unlock 0\n", "OK\n");
    other.ask("r 0 wait=0\n", "DATA 1 v=2 n=1\nb\n");
}

#[test]
fn who_waits_for_a_lock_to_end_gets_in_in_the_order_of_arrival() {
    let server = served();
    let (mut holder, _) = holder(&server);
    let mut waiting: Vec<Client> = (0..10).map(|number| server.enqueue(format!("w 0\n{number}\n"))).collect();
    holder.ask("r 0\n", "DATA 0 v=0 n=0\n\n");
    holder.ask("unlock 0\n", "OK\n");
    for (version, client) in (1..).zip(&mut waiting) {
        client.expect(format!("OK v={version}\n"));
    }
    server.connect().ask("r 0\n", "DATA 1 v=10 n=1\n9\n");
}

#[test]
fn a_hundred_waiting_lockers_get_the_lock_in_the_order_of_arrival() {
    let server = served();
    let (mut before, first) = holder(&server);
    let waiting: Vec<Client> = (0..100).map(|_| server.enqueue("lock 0 wait=inf\n")).collect();
    for (grant, mut client) in (first + 1..).zip(waiting) {
        // Whoever has a lock has the next number: nobody else was let in between.
        before.ask("unlock 0\n", "OK\n");
        assert_eq!(client.locked(), grant);
        before = client;
    }
    assert_eq!(server.stat("overtakes"), 0);
}

#[test]
fn a_lock_waits_its_turn_like_any_request() {
    let server = served();
    let (mut holder, _) = holder(&server);
    let mut writer = server.enqueue("w 0\nbefore\n");
    let mut locker = server.enqueue("lock 0\n");
    let mut reader = server.enqueue("r 0\n");
    holder.ask("unlock 0\n", "OK\n");
    writer.expect("OK v=1\n");
    locker.locked();
    locker.ask("w 0\nunder\nunlock 0\n", "OK v=2\nOK\n");
    reader.expect("DATA 5 v=2 n=1\nunder\n");
}

#[test]
fn a_mailbox_is_locked_once_by_a_client() {
    let server = served();
    let mut client = server.connect();
    for (mode, denied) in [("", ["", " r"]), (" r", [" r", ""])] {
        let grant = client.lock(format!("lock 0{mode}\n"));
        for again in denied {
            assert_eq!(client.refused(format!("lock 0{again}\n")), "denied");
            assert_eq!(client.refused(format!("lock 1,0{again} wait=0\n")), "denied");
        }
        server.connect().ask("w 1 wait=0 if=1000\n\n", "NO conflict v=0\n");
        client.ask(format!("unlock 0 grant={grant}\n"), "OK\n");
    }
    assert_eq!(client.refused("lock 3,3\n"), "syntax");
    assert_eq!(client.refused("lock 2,3,2\n"), "syntax");
}

// ---- shared locks ----

#[test]
fn a_shared_lock_lets_readers_in_and_keeps_writers_out() {
    let server = served();
    let mut sharers = [server.connect(), server.connect()];
    for sharer in &mut sharers {
        sharer.lock("lock 0 r\n");
    }
    let mut other = server.connect();
    other.ask("r 0 wait=0\n", "DATA 0 v=0 n=0\n\n");
    for (request, answer) in &TRIES[1..] {
        other.ask(request, answer);
    }
    let mut writer = server.enqueue("w 0\nnew\n");
    // FIFO: the reader has come after the writer. Those who have the lock are in already.
    let mut reader = server.enqueue("r 0\n");
    sharers.iter_mut().for_each(|sharer| sharer.ask("r 0 wait=0\n", "DATA 0 v=0 n=0\n\n"));
    other.ask("lock 0 r wait=0\n", "NO locked\n");
    sharers[0].ask("unlock 0\n", "OK\n");
    other.ask("w 0 wait=0\nno\n", "NO timeout\n");
    sharers[1].ask("unlock *\n", "OK\n");
    writer.expect("OK v=1\n");
    reader.expect("DATA 3 v=1 n=1\nnew\n");
}

#[test]
fn under_ones_own_shared_lock_there_is_no_writing() {
    let server = served();
    let mut client = server.connect();
    client.lock("lock 0 r\n");
    for request in
        ["w 0\nno\n", "put 0\nno\n", "take 0\n", "w 0 wait=0\nno\n", "put 0 full=drop\nno\n", "lock 0\n"]
    {
        assert_eq!(client.refused(request), "denied", "{request}");
    }
    client.ask("r 0\nw 1\nyes\n", "DATA 0 v=0 n=0\n\nOK v=1\n");
    client.ask("unlock 0\nw 0\nyes\n", "OK\nOK v=1\n");
}

#[test]
fn under_ones_own_lock_nobody_waits_for_what_only_others_could_bring() {
    let server = Server::start("2 1 0 1");
    let mut client = server.connect();
    client.lock("lock 0\n");
    client.ask("take 0 wait=inf\nr 0 after=0 wait=inf\n", "NO empty\nNO timeout v=0\n");
    client.ask(format!("put 0\n{}\n", "x".repeat(1000)), "OK v=1 n=1\n");
    client.ask(format!("put 0 wait=inf\n{}\n", "x".repeat(1000)), "NO full\n");
    client.ask("r 0 after=1 wait=inf\nunlock 0\n", "NO timeout v=1\nOK\n");
    client.lock("lock 0 r\n");
    client.ask("r 0 after=1 wait=inf\n", "NO timeout v=1\n");
}

// ---- several mailboxes ----

#[test]
fn several_mailboxes_are_locked_all_or_none() {
    let server = served();
    let mut holder = server.connect();
    holder.lock("lock 2\n");
    let mut client = server.connect();
    let mut other = server.connect();
    for (list, wait, answer) in [
        ("1,2,3", "0", "NO locked\n"),
        ("3,2,1", "0", "NO locked\n"),
        ("3,1,2", "0.01", "NO timeout\n"),
        ("2,0", "0.01", "NO timeout\n"),
    ] {
        client.ask(format!("lock {list} wait={wait}\n"), answer);
        for free in [0, 1, 3] {
            other.ask(format!("w {free} wait=0 if=9\n\n"), "NO conflict v=0\n");
        }
        client.ask("w 1 wait=0 if=9\n\n", "NO conflict v=0\n");
        assert_eq!(client.refused("unlock 1\n"), LEASE);
    }
    holder.ask("unlock 2\n", "OK\n");
    let grant = client.lock("lock 3,2,1 wait=0\n");
    for locked in [1, 2, 3] {
        other.ask(format!("w {locked} wait=0\n\n"), "NO timeout\n");
    }
    client.ask(format!("unlock 2 grant={grant}\nunlock * grant={grant}\n"), "OK\nOK\n");
    other.ask("w 1 wait=0\n\nw 2 wait=0\n\nw 3 wait=0\n\n", "OK v=1\nOK v=1\nOK v=1\n");
}

#[test]
fn several_mailboxes_are_taken_in_ascending_order_whatever_the_list() {
    let server = served();
    let mut holder = server.connect();
    holder.lock("lock 2\n");
    let mut client = server.enqueue("lock 3,2,1,0\n");
    let mut other = server.connect();
    // It has 0 and 1, waits for 2, and has not come to 3.
    other.ask("w 0 wait=0\n\nw 1 wait=0\n\nw 3 wait=0\n\n", "NO timeout\nNO timeout\nOK v=1\n");
    holder.ask("unlock 2\n", "OK\n");
    client.locked();
    other.ask("w 3 wait=0\n\n", "NO timeout\n");
}

#[test]
fn who_waits_for_one_of_several_gives_the_others_back_when_it_leaves() {
    let server = served();
    let mut holder = server.connect();
    holder.lock("lock 2\n");
    let mut client = server.connect();
    server.send_waiting(&mut client, "lock 0,1,2 wait=inf\n");
    let mut others = [server.enqueue("w 0\nx\n"), server.enqueue("lock 1\n"), server.enqueue("w 2\nx\n")];
    client.reset();
    others[0].expect("OK v=1\n");
    others[1].locked();
    holder.ask("unlock 2\n", "OK\n");
    others[2].expect("OK v=1\n");
}

#[test]
fn lists_in_any_order_never_wait_for_each_other() {
    const ROUNDS: usize = 50;
    let server = served();
    let lists = ["0,1,2,3", "3,2,1,0", "2,0", "0,2", "1,3 r", "3,1 r", "2,1,3", "3"];
    thread::scope(|scope| {
        for list in lists {
            let mut client = server.connect();
            scope.spawn(move || {
                for _ in 0..ROUNDS {
                    client.lock(format!("lock {list} wait=inf\n"));
                    client.ask("unlock *\n", "OK\n");
                }
            });
        }
    });
    assert_eq!(server.stat("locks"), (ROUNDS * lists.len()) as u64);
    assert_eq!((server.stat("err_deadlock"), server.stat("locks_held")), (0, 0));
}

/// Those that ran out are remembered for the client, so that without a bound they would pile up.
#[test]
fn locks_that_ran_out_count_until_the_client_says_that_it_knows() {
    let server = Server::start("2000 1 0 1");
    let mut client = server.connect();
    let list =
        |from: u32| (from..from + 128).map(|mailbox| mailbox.to_string()).collect::<Vec<_>>().join(",");
    for part in 0..8 {
        client.lock(format!("lock {} ttl=0.001\n", list(part * 128)));
        (0..128).for_each(|_| assert!(client.event().0.ends_with(" lost=lock")));
    }
    assert_eq!(client.refused("lock 1500\n"), "size max=1024");
    // The same ones again are no more than before.
    client.lock(format!("lock {}\n", list(0)));
    assert_eq!(client.refused("lock 1500\n"), "size max=1024");
    assert_eq!(client.refused("unlock *\n"), "lease");
    client.lock("lock 1500\n");
}

#[test]
fn a_client_locks_at_most_1024_mailboxes() {
    let server = Server::start("1100 1 0 1");
    let mut client = server.connect();
    let list = |from: u32, count: u32| {
        (from..from + count).map(|mailbox| mailbox.to_string()).collect::<Vec<_>>().join(",")
    };
    let grants: Vec<u64> =
        (0..1024 / 128).map(|part| client.lock(format!("lock {}\n", list(part * 128, 128)))).collect();
    assert_eq!(server.stat("locks_held"), 1024);
    client.ask("lock 1024\n", "ERR size max=1024 : at most 1024 mailboxes at a time\n");
    client.ask("unlock 0\n", "OK\n");
    assert_eq!(client.refused("lock 1024,1025 wait=0\n"), "size max=1024");
    server.connect().ask("w 1024 wait=0\n\n", "OK v=1\n");
    client.lock("lock 1025\n");
    client.ask(format!("unlock * grant={}\n", grants[7]), "OK\n");
    assert_eq!(server.stat("locks_held"), 1024 - 128);
    drop(client);
    server.wait_for_stat("locks_held", |locks| locks == 0);
}

// ---- unlock ----

/// What such a list costs is paid by all clients: it grows with its length, not with its length times itself and what is
/// held already, which takes half a minute here.
#[test]
fn long_lists_beside_many_locks_are_locked_and_unlocked_many_times() {
    let server = Server::start("1024 1 0 1");
    let mut client = server.connect();
    let list = |from: usize, to: usize| (from..to).map(|n| n.to_string()).collect::<Vec<_>>().join(",");
    for from in (300..1000).step_by(100) {
        client.lock(format!("lock {}\n", list(from, from + 100)));
    }
    let long = list(0, 280);
    let started = Instant::now();
    for _ in 0..200 {
        client.lock(format!("lock {long}\n"));
        client.ask(format!("unlock {long}\n"), "OK\n");
    }
    assert!(started.elapsed() < Duration::from_secs(10), "{:?}", started.elapsed());
    assert_eq!(client.stat("locks_held"), 700);
}

#[test]
fn unlock_is_for_what_one_holds_and_all_or_none() {
    let server = served();
    let mut client = server.connect();
    client.ask("unlock *\n", "OK\n");
    assert_eq!(client.refused("unlock 0\n"), LEASE);
    let first = client.lock("lock 0,1\n");
    let second = client.lock("lock 2\n");
    assert_eq!(second, first + 1);
    assert_eq!(client.refused("unlock 0,3\n"), LEASE);
    assert_eq!(client.refused(format!("unlock 0,2 grant={first}\n")), LEASE);
    assert_eq!(client.refused(format!("unlock 2 grant={first}\n")), LEASE);
    assert_eq!(client.refused(format!("unlock * grant={}\n", second + 1)), LEASE);
    assert_eq!(server.stat("locks_held"), 3, "nothing was unlocked");
    client.ask(format!("unlock * grant={first}\n"), "OK\n");
    let mut other = server.connect();
    other.ask("w 0 wait=0\n\nw 1 wait=0\n\nw 2 wait=0\n\n", "OK v=1\nOK v=1\nNO timeout\n");
    assert_eq!(other.refused(format!("unlock 2 grant={second}\n")), LEASE);
    client.ask("unlock 2,2\n", "ERR syntax");
    client.line();
    client.ask("unlock 2\nunlock *\n", "OK\nOK\n");
}

#[test]
fn an_old_number_does_not_unlock_a_newer_lock() {
    let server = served();
    let mut client = server.connect();
    let old = client.lock("lock 0\n");
    client.ask("unlock 0\n", "OK\n");
    let new = client.lock("lock 0\n");
    assert!(new > old);
    assert_eq!(client.refused(format!("unlock 0 grant={old}\n")), LEASE);
    server.connect().ask("lock 0 wait=0\n", "NO locked\n");
    client.ask(format!("unlock 0 grant={new}\n"), "OK\n");
    expect_free(&server);
}

#[test]
fn numbers_grow_and_locks_end_with_the_server_however_it_ends() {
    let port = Port::reserve();
    let arguments = format!("4 64 {} 8", port.number);
    let mut server = Server::start(&arguments);
    let mut last = 0;
    for signal in [Signal::SIGTERM, Signal::SIGKILL, Signal::SIGKILL, Signal::SIGTERM] {
        let mut client = server.connect();
        for request in ["lock 0 ttl=inf\n", "lock 2,1\n", "lock 3 r\n"] {
            let grant = client.lock(request);
            assert!(grant > last, "{grant} after {last}");
            last = grant;
        }
        server.signal(signal);
        server.wait();
        client.expect_end();
        server.restart(&arguments);
        assert_eq!(server.stat("locks_held"), 0);
        let mut other = server.connect();
        other.ask("w 0 wait=0 if=9\n\nw 3 wait=0 if=9\n\n", "NO conflict v=0\nNO conflict v=0\n");
    }
}

#[test]
fn a_stopping_server_ends_the_locks_of_the_idle_and_answers_who_waits_for_them() {
    let mut server = served();
    let (mut holder, _) = holder(&server);
    let mut waiting = [server.enqueue("w 0\nx\n"), server.enqueue("r 0\n")];
    let mut aside = server.enqueue("take 1 wait=inf\n");
    server.signal(Signal::SIGTERM);
    aside.expect("ERR drain : the server is stopping\n");
    waiting[0].expect("OK v=1\n");
    waiting[1].expect("DATA 1 v=1 n=1\nx\n");
    for client in waiting.iter_mut().chain([&mut holder, &mut aside]) {
        client.expect_end();
    }
    assert_eq!(server.wait(), Some(0));
}

// ---- a lock ends with its connection ----

#[test]
fn a_lock_ends_when_its_client_leaves_however_it_leaves() {
    for how in ["close", "reset", "quit", "half-close", "kill"] {
        let server = served();
        let mut client = server.connect();
        client.lock("lock 0,1\n");
        let mut other = server.enqueue("w 0\nfree\n");
        let mut child = None;
        match how {
            "close" => drop(client),
            "reset" => client.reset(),
            "quit" => {
                client.send("q\n");
                client.expect_end();
            }
            "half-close" => {
                client.half_close();
                client.expect_end();
            }
            _ => child = Some(client.give_away()),
        }
        if let Some(mut child) = child {
            server.connect().ask("w 0 wait=0\n\n", "NO timeout\n");
            child.kill().expect("killed");
            child.wait().expect("our child");
        }
        other.expect("OK v=1\n");
        server.connect().ask("w 1\nfree\n", "OK v=1\n");
        assert_eq!(server.stat("locks_held"), 0, "{how}");
    }
}

#[test]
fn a_holder_that_leaves_while_it_waits_itself_ends_its_locks() {
    for how in ["reset", "half-close", "close"] {
        let server = served();
        let mut client = server.connect();
        client.lock("lock 0\n");
        server.send_waiting(&mut client, "take 1 wait=inf\n");
        let mut other = server.enqueue("w 0\nfree\n");
        match how {
            "reset" => client.reset(),
            "half-close" => {
                client.half_close();
                client.expect("NO empty\n");
                client.expect_end();
            }
            _ => drop(client),
        }
        other.expect("OK v=1\n");
    }
}

#[test]
fn a_holder_that_does_not_read_its_answers_and_is_reset_ends_its_locks() {
    let server = Server::start("2 1024 0 1024");
    let mut client = server.connect();
    client.lock("lock 0\n");
    client.ask(format!("w 0 1000000\n{}\n", "x".repeat(1_000_000)), "OK v=1\n");
    client.send("r 0\n".repeat(30));
    server.wait_for_stat("flushing", |flushing| flushing == 1);
    let mut other = server.enqueue("r 0 len=1\n");
    client.reset();
    other.expect("DATA 1 v=1 n=1\nx\n");
}

#[test]
fn a_waiting_locker_that_vanishes_frees_who_stands_behind_it() {
    let server = served();
    let mut sharer = server.connect();
    sharer.lock("lock 0 r\n");
    let mut vanishing = server.connect();
    server.send_waiting(&mut vanishing, "lock 0 wait=inf\n");
    let mut behind = [server.enqueue("r 0\n"), server.enqueue("lock 0 r\n")];
    vanishing.reset();
    behind[0].expect("DATA 0 v=0 n=0\n\n");
    behind[1].locked();
    assert_eq!(server.stat("abandoned"), 1);
}

// ---- leases ----

#[test]
fn a_silent_client_loses_its_lock_and_is_told_so() {
    let server = served();
    let mut silent = server.connect();
    silent.lock("lock 0 ttl=0.1\n");
    let mut other = server.enqueue("lock 0 wait=inf\n");
    other.locked();
    silent.expect(LOST);
    assert_eq!(server.stat("leases_ended"), 1);
    silent.ask("ping\nw 1\nelsewhere\n", "OK\nOK v=1\n");
}

#[test]
fn the_news_of_a_lost_lock_has_the_version_and_the_line_ends_of_its_client() {
    let server = served();
    let mut client = server.connect();
    client.ask("w 2\r\nhello\r\n", "OK v=1\r\n");
    client.send("lock 2 ttl=0.1\r\n");
    assert!(client.line().starts_with("OK grant="));
    client.expect("EVENT 0 box=2 v=1 lost=lock\r\n\r\n");
}

#[test]
fn each_of_several_locks_has_its_own_lease() {
    let server = served();
    let mut client = server.connect();
    client.lock("lock 3 ttl=inf\n");
    client.send("lock 0,1 ttl=0.1\n");
    client.locked();
    client.expect("EVENT 0 box=0 v=0 lost=lock\n\nEVENT 0 box=1 v=0 lost=lock\n\n");
    assert_eq!(server.stat("locks_held"), 1);
    client.ask("w 3\nstill\n", "OK v=1\n");
}

/// An event that it does not read waits for its socket, and the news of the first lost lock stands behind that.
#[test]
fn each_lease_ends_although_its_client_has_stopped_reading() {
    const SIZE: usize = 900_000;
    let directory = Directory::new();
    let path = directory.path().join("door");
    let server = Server::start_in(directory, &format!("4 1024 0 1024 --unix {}", path.display()));
    let mut holder = Client::unix(&path);
    holder.ask("watch 3\n", "OK v=0\n");
    holder.lock("lock 0 ttl=0.5\n");
    holder.lock("lock 1 ttl=0.6\n");
    server.connect().ask(format!("w 3 {SIZE}\n{}\n", "x".repeat(SIZE)), "OK v=1\n");
    server.wait_for_stat("locks_held", |locks| locks == 0);
    assert_eq!(holder.event().1.len(), SIZE);
    holder.expect("EVENT 0 box=0 v=0 lost=lock\n\nEVENT 0 box=1 v=0 lost=lock\n\n");
}

#[test]
fn who_has_lost_a_lock_does_nothing_there_until_it_says_that_it_knows() {
    let server = served();
    for acknowledge in ["unlock 0\n", "unlock *\n"] {
        let mut client = server.connect();
        client.send("lock 0 ttl=0.05\n");
        client.locked();
        client.expect(LOST);
        for request in GUARDED.iter().chain(&GUARDED) {
            assert_eq!(client.refused(request), LEASE, "{request}");
        }
        client.ask("w 1 if=9\n\n", "NO conflict v=0\n");
        assert_eq!(client.refused(acknowledge), LEASE);
        client.ask("r 0\nw 0 if=9\n\nunlock *\n", "DATA 0 v=0 n=0\n\nNO conflict v=0\nOK\n");
        assert_eq!(client.refused("unlock 0\n"), LEASE);
    }
}

#[test]
fn who_has_lost_a_lock_may_lock_anew() {
    let server = served();
    let mut client = server.connect();
    let old = client.lock("lock 0 ttl=0.05\n");
    client.expect(LOST);
    let new = client.lock("lock 0\n");
    assert!(new > old);
    client.ask("w 0\nmine\nunlock 0\n", "OK v=1\nOK\n");
}

/// The client believes that it holds the lock while it sends.
#[test]
fn the_late_write_of_an_old_holder_is_never_carried_out() {
    let server = served();
    let (ttl, longer) = ("0.3", Duration::from_millis(400));
    for round in 0..3 {
        let mut old = server.connect();
        let mut other = server.connect();
        old.lock(format!("lock 0 ttl={ttl}\n"));
        other.send("w 0 3\nnew\n");
        server.halt();
        // Time itself is what passes here.
        thread::sleep(longer);
        old.send("w 0\nlate\nput 0\nlate\ntake 0\nr 0\nunlock 0\n");
        server.signal(Signal::SIGCONT);
        let (header, _) = old.event();
        assert!(header.starts_with("EVENT 0 box=0 v=") && header.ends_with(" lost=lock"), "{header}");
        for _ in 0..5 {
            assert!(old.line().starts_with("ERR lease : "));
        }
        other.expect(format!("OK v={}\n", round + 1));
        other.ask("r 0\n", format!("DATA 3 v={} n=1\nnew\n", round + 1));
    }
}

#[test]
fn a_client_that_talks_keeps_its_lock_beyond_its_ttl() {
    let server = served();
    let mut client = server.connect();
    client.lock("lock 0 ttl=3\n");
    // Any request will do, so long as it comes before the lease ends.
    let requests =
        [("ping\n", "OK\n"), ("r 0\n", "DATA 0 v=0 n=0\n\n"), ("w 1 if=9\n\n", "NO conflict v=0\n")];
    let mut round = 0;
    wait_until("the lock is older than its ttl", || {
        let (request, answer) = requests[round % requests.len()];
        round += 1;
        client.ask(request, answer);
        let line = server.connect().stat_lines("stat locks\n").pop().expect("a lock");
        let held = line.split("held_seconds=").nth(1).and_then(|rest| rest.split(' ').next());
        held.expect("held_seconds").parse::<f64>().expect("seconds") > 3.5
    });
    server.connect().ask("w 0 wait=0\n\n", "NO timeout\n");
}

#[test]
fn no_lock_is_held_longer_than_the_server_allows() {
    let server = Server::start("4 64 0 8 --max-hold 0.5");
    for ttl in ["", " ttl=inf", " ttl=100"] {
        let mut client = server.connect();
        client.lock(format!("lock 0{ttl}\n"));
        wait_until("the lock ends", || {
            client.send("ping\n");
            match client.line().as_str() {
                "OK" => false,
                lost => {
                    assert_eq!(lost, "EVENT 0 box=0 v=0 lost=lock");
                    true
                }
            }
        });
        client.expect("\nOK\n");
        assert_eq!(client.refused("w 0\nlate\n"), LEASE);
    }
    server.connect().ask("r 0 wait=0\n", "DATA 0 v=0 n=0\n\n");
}

#[test]
fn a_holder_waits_no_longer_than_its_lease() {
    let server = Server::start("4 1 0 1");
    let mut other = server.connect();
    other.lock("lock 1\n");
    other.ask(format!("put 2\n{}\n", "x".repeat(1000)), "OK v=1 n=1\n");
    let put = format!("put 2 wait=inf\n{}\n", "x".repeat(1000));
    for (request, answer) in [
        ("w 1 wait=inf\nno\n", "NO timeout\n"),
        ("r 1 wait=inf\n", "NO timeout v=0\n"),
        ("lock 1,2 wait=inf\n", "NO timeout\n"),
        ("take 3 wait=inf\n", "NO empty\n"),
        ("r 3 after=0 wait=inf\n", "NO timeout v=0\n"),
        (&put, "NO full\n"),
    ] {
        let mut holder = server.connect();
        holder.send(format!("lock 0 ttl=0.1\n{request}"));
        holder.locked();
        holder.expect(format!("{answer}{LOST}"));
        expect_free(&server);
    }
}

#[test]
fn a_wait_that_renewed_no_lease_is_cut_although_the_batch_goes_on() {
    let server = served();
    let mut holder = server.connect();
    holder.send("lock 0 ttl=0.1\ntake 1 wait=inf\nw 0\nlate\nping\n");
    holder.locked();
    holder.expect(format!("NO empty\n{LOST}"));
    assert!(holder.line().starts_with("ERR lease : "));
    holder.expect("OK\n");
    server.connect().ask("r 0\n", "DATA 0 v=0 n=0\n\n");
}

// ---- batches ----

#[test]
fn lock_write_and_unlock_in_one_send() {
    let server = served();
    let mut client = server.connect();
    for round in 1..=100 {
        client.send("lock 0\nw 0 5\nhello\nunlock 0\n");
        assert_eq!(client.locked(), round);
        client.expect(format!("OK v={round}\nOK\n"));
    }
    assert_eq!(server.stat("locks_held"), 0);
}

/// Each client adds one to a number, again and again. Without the lock additions would be lost.
#[test]
fn what_is_read_and_written_under_a_lock_is_one_step() {
    const CLIENTS: usize = 8;
    const ROUNDS: usize = 100;
    let server = served();
    server.connect().ask("w 0\n0\n", "OK v=1\n");
    let count = || {
        let mut client = server.connect();
        for _ in 0..ROUNDS {
            client.send("lock 0 wait=inf\nr 0\n");
            client.locked();
            let number: u64 = text(&client.data().1).parse().expect("a number");
            client.send(format!("w 0\n{}\nunlock 0\n", number + 1));
            assert!(client.line().starts_with("OK v="));
            client.expect("OK\n");
        }
    };
    thread::scope(|scope| (0..CLIENTS).for_each(|_| drop(scope.spawn(count))));
    let total = (CLIENTS * ROUNDS).to_string();
    let mut client = server.connect();
    client.send("r 0\n");
    let (header, number) = client.data();
    assert_eq!((field(&header, "v"), text(&number)), ((CLIENTS * ROUNDS + 1) as u64, total));
}

#[test]
fn a_batch_waits_at_the_lock_in_its_middle_and_its_answers_before_do_not() {
    let server = served();
    let (mut holder, grant) = holder(&server);
    let mut client = server.connect();
    server.send_waiting(&mut client, "ping\nw 1\na\nlock 0\nw 0\nb\nunlock 0\nr 1\n");
    client.expect("OK\nOK v=1\n");
    holder.ask("w 1\nbetween\nunlock 0\n", "OK v=2\nOK\n");
    client.expect(format!("OK grant={}\nOK v=1\nOK\nDATA 7 v=2 n=1\nbetween\n", grant + 1));
}

#[test]
fn nobody_sees_what_is_between_the_writes_under_a_lock() {
    let server = served();
    let (mut holder, _) = holder(&server);
    let mut readers: Vec<Client> = (0..4).map(|_| server.enqueue("r 0\nr 0\n")).collect();
    holder.send("w 0 4\nhalf\nr 1\n".repeat(500));
    holder.send("w 0 5\nwhole\nunlock 0\n");
    for version in 1..=500 {
        holder.expect(format!("OK v={version}\nDATA 0 v=0 n=0\n\n"));
    }
    holder.expect("OK v=501\nOK\n");
    readers.iter_mut().for_each(|reader| reader.expect("DATA 5 v=501 n=1\nwhole\n".repeat(2)));
}

#[test]
fn many_clients_lock_and_leave_in_every_way_and_nothing_stays_locked() {
    let server = served();
    let talk = |number: usize| {
        for round in 0..30 {
            let mut client = server.connect();
            client
                .send(format!("lock {} wait=inf\nw 0 wait=0\nx\n", ["0", "0,1", "2 r", "1,2,3"][round % 4]));
            match (number + round) % 4 {
                0 => client.reset(),
                1 => drop(client),
                2 => {
                    client.locked();
                    client.send("q\n");
                }
                _ => {
                    client.locked();
                    client.line();
                    client.ask("unlock *\n", "OK\n");
                }
            }
        }
    };
    thread::scope(|scope| (0..8).for_each(|number| drop(scope.spawn(move || talk(number)))));
    server.wait_for_stat("locks_held", |locks| locks == 0);
    server.connect().lock("lock 0,1,2,3 wait=20\n");
    assert_eq!((server.stat("waiting"), server.stat("overtakes")), (0, 0));
}
