//! Clients that lock, queue, watch, wait and vanish at the same time, pseudo-randomly. Each request has one
//! answer, no watch has an event of the same version twice, and in the end there are no locks and no waits.
//!
//! `DIPC_TURMOIL` in the environment sets how many batches each client sends.

use std::collections::{HashMap, VecDeque};
use std::io::{Read, Write};
use std::thread;

use dipc_testkit::client::{Client, field, tcp_stream};
use dipc_testkit::rng::Rng;
use dipc_testkit::server::Server;
use dipc_testkit::wait::wait_until;

const CLIENTS: u64 = 16;

/// A random request that has an answer.
fn request(random: &mut Rng) -> String {
    let mailbox = random.below(4);
    let wait = random.one_of(&[" wait=0", " wait=0.01", " wait=0.05", ""]);
    let list = random.one_of(&["0", "1", "2", "3", "0,1", "3,1", "0,1,2,3", "2,0"]);
    let message = "x".repeat([0, 5, 500, 20_000, 150_000][random.below(5) as usize]);
    let len = message.len();
    match random.below(20) {
        0..3 => format!("r {mailbox}{wait}\n"),
        3 => format!("r {mailbox} after={}{wait}\n", random.below(300)),
        4..6 => format!("w {mailbox} {len}{wait}\n{message}\n"),
        6..9 => format!("put {mailbox} {len}{wait}{}\n{message}\n", random.one_of(&["", " full=drop"])),
        9..12 => format!("take {mailbox}{wait}\n"),
        12..14 => {
            let (mode, ttl) = (random.one_of(&["", " r"]), random.one_of(&["", " ttl=0.02", " ttl=5"]));
            format!("lock {list}{mode}{wait}{ttl}\n")
        }
        14 => format!("unlock {list}\n"),
        15 => "unlock *\n".into(),
        16 => format!("watch {list}{}\n", random.one_of(&["", " after=0"])),
        17 => format!("unwatch {}\n", random.one_of(&[list, "*"])),
        18 => random.one_of(&["stat\n", "stat conns\n", "stat locks\n", "stat 0\n", "stat 3\n"]).into(),
        _ => random.one_of(&["ping\n", "hello name=me\n", "nonsense\n", "r 9\n", "w 9 1\nx\n"]).into(),
    }
}

/// Reads `count` answers, and the events between them.
fn read_answers(client: &mut Client, count: usize, seen: &mut HashMap<u64, u64>) {
    let mut answers = 0;
    while answers < count {
        let (header, _) = client.message();
        let is_event = header.starts_with("EVENT ");
        answers += usize::from(!is_event);
        assert!(
            ["EVENT ", "DATA ", "OK", "NO ", "ERR "].iter().any(|kind| header.starts_with(kind)),
            "{header}"
        );
        if is_event && !header.ends_with(" lost=lock") {
            let lost = if header.contains(" lost=") { field(&header, "lost") } else { 0 };
            let (mailbox, version) = (field(&header, "box"), field(&header, "v"));
            let before = seen.insert(mailbox, version);
            // The first event of `watch after=0` counts all versions before it.
            let restarted = version == lost + 1;
            assert!(before.is_none_or(|before| restarted || version > before), "{header} after {before:?}");
        }
    }
}

fn talk(server: &Server, seed: u64, batches: usize) {
    let mut random = Rng::new(seed);
    let mut client = server.connect();
    let mut seen = HashMap::new();
    for _ in 0..batches {
        let count = 1 + random.below(12) as usize;
        let batch: String = (0..count).map(|_| request(&mut random)).collect();
        client.send(batch);
        match random.below(12) {
            0 => {
                client.reset();
                client = server.connect();
                seen.clear();
            }
            1 => {
                client.send("q\n");
                read_answers(&mut client, count, &mut seen);
                client = server.connect();
                seen.clear();
            }
            2 => {
                client.half_close();
                read_answers(&mut client, count, &mut seen);
                client = server.connect();
                seen.clear();
            }
            _ => read_answers(&mut client, count, &mut seen),
        }
    }
}

/// Expects that the clients have left nothing: no connection, lock, wait or watch, and no mailbox is held.
fn nothing_is_left(server: &Server) {
    let mut client = server.connect();
    // All conditions have to hold at the same time, because requests of a client that was reset may still
    // lock or wait.
    wait_until("no connection, lock, wait or watch of these clients is left", || {
        let lines = client.stat_lines("stat\n");
        ["connections 1", "locks_held 0", "waiting 0", "watching 0", "standing_reads 0", "flushing 0"]
            .iter()
            .all(|gauge| lines.iter().any(|line| line == gauge))
    });
    assert_eq!((client.stat("overtakes"), client.stat("err_internal")), (0, 0));
    // A worker may still execute the last request of a client that has left.
    client.lock("lock 0,1,2,3 wait=20\n");
    for mailbox in 0..4 {
        let lines = client.stat_lines(&format!("stat {mailbox}\n"));
        let is_alone = ["held exclusive", "holders 1", "waiting 0", "aside 0", "watchers 0"];
        assert!(is_alone.iter().all(|line| lines.iter().any(|found| found == line)), "{lines:?}");
    }
}

#[test]
fn each_request_has_one_answer_among_clients_of_every_kind() {
    let batches = std::env::var("DIPC_TURMOIL").map_or(100, |number| number.parse().expect("a number"));
    let server = Server::start("4 160 0 160 --wait 0.2 --max-hold 1 --workers 3");
    let server = &server;
    thread::scope(|scope| {
        for seed in 1..=CLIENTS {
            scope.spawn(move || {
                println!("seed {seed}");
                talk(server, seed, batches);
            });
        }
    });
    nothing_is_left(server);
}

/// Sends batches on connections of their own. Some answers are never read, so they fill the memory for
/// clients.
fn talk_without_reading(server: &Server, seed: u64, batches: usize) {
    let mut random = Rng::new(seed);
    let mut unread = VecDeque::new();
    for _ in 0..batches {
        let mut stream = tcp_stream(server.port);
        let batch: String = (0..40).map(|_| request(&mut random)).collect();
        // The server may refuse a request and close the connection at any time.
        let _ = stream.write_all((batch + "q\n").as_bytes());
        if random.below(2) == 0 {
            let _ = stream.read_to_end(&mut Vec::new());
        } else {
            unread.push_back(stream);
        }
        if unread.len() > 10 {
            unread.pop_front();
        }
    }
}

#[test]
fn nothing_is_left_of_clients_that_use_up_the_memory() {
    let server = Server::start("4 160 0 160 --wait 0.2 --max-hold 1 --workers 3 --client-memory 3");
    let server = &server;
    thread::scope(|scope| {
        for seed in 1..=CLIENTS {
            scope.spawn(move || talk_without_reading(server, seed, 25));
        }
    });
    nothing_is_left(server);
    let mut client = server.connect();
    let (closed, refused) = (client.stat("closed_for_memory"), client.stat("err_busy"));
    assert!(closed + refused > 0, "{closed} clients were closed, {refused} requests refused");
    assert!(client.stat("client_memory_bytes") < 3 << 20);
}
