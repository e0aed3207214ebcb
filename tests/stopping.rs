//! The end of a server and its next start: what is answered, what is kept, and what is refused.
#![allow(missing_docs)]

use std::fs;
use std::io::ErrorKind;
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use dipc_testkit::client::Client;
use dipc_testkit::directory::names;
use dipc_testkit::port::Port;
use dipc_testkit::process::{run, text};
use dipc_testkit::program;
use dipc_testkit::server::Server;
use dipc_testkit::wait::wait_until;
use nix::sys::signal::Signal;

/// Bytes of a message so large that answers fill the buffers of a socket.
const LARGE: usize = 65_000;

/// A server that can be started again: its port stays its own.
struct Restartable {
    server: Server,
    port: Port,
}

impl Restartable {
    fn start() -> Self {
        let port = Port::reserve();
        let server = Server::start(&format!("4 64 {} 8", port.number));
        Restartable { server, port }
    }

    fn connect(&self) -> Client {
        self.server.connect()
    }

    #[track_caller]
    fn stop(&mut self) {
        self.server.signal(Signal::SIGTERM);
        assert_eq!(self.server.wait(), Some(0));
    }

    #[track_caller]
    fn kill(&mut self) {
        self.server.kill();
    }

    fn again(&mut self) {
        self.restart("4 64", "8");
    }

    /// Starts anew with `before` and `after` the port.
    fn restart(&mut self, before: &str, after: &str) {
        self.server.restart(&format!("{before} {} {after}", self.port.number));
    }

    fn segment(&self) -> PathBuf {
        self.server.directory.path().join(self.port.number.to_string()).join("segment")
    }

    /// A start that is refused: it says why.
    #[track_caller]
    fn refused(&self, before: &str, after: &str, code: i32) -> String {
        let mut command = Command::new(program::dipc());
        command
            .args(before.split_whitespace())
            .arg(self.port.number.to_string())
            .args(after.split_whitespace());
        command.arg("--foreground").arg("--dir").arg(self.server.directory.path());
        let outcome = run(command.args(["--log-level", "off"]));
        outcome.expect_failure(code, "dipc: ");
        outcome.stderr
    }
}

/// Sends to a server that cannot read it before it finds the signal too.
fn send_before_signal(server: &Server, client: &mut Client, bytes: impl AsRef<[u8]>, signal: Signal) {
    server.halt();
    client.send(bytes);
    server.signal(signal);
    server.signal(Signal::SIGCONT);
}

/// A client who has asked for more than fits into all buffers, and reads nothing of it.
fn stuck_client(server: &Server) -> Client {
    let mut client = large_message(server);
    client.send("r 0\n".repeat(1000));
    server.wait_for_stat("flushing", |clients| clients == 1);
    client
}

/// A client who has written a large message.
fn large_message(server: &Server) -> Client {
    let mut client = server.connect();
    client.send(format!("w 0 {LARGE}\n{}\n", "x".repeat(LARGE)));
    client.expect("OK v=1\n");
    client
}

#[track_caller]
fn expect_large_messages(client: &mut Client, count: usize) {
    for _ in 0..count {
        let (header, message) = client.data();
        assert_eq!(header, format!("DATA {LARGE} v=1 n=1"));
        assert!(message.len() == LARGE && message.iter().all(|&byte| byte == b'x'));
    }
}

fn connect_error(port: u16) -> Option<ErrorKind> {
    TcpStream::connect(("127.0.0.1", port)).err().map(|error| error.kind())
}

// ---- answering what has arrived ----

#[test]
fn a_pipeline_that_has_arrived_is_answered_before_the_end() {
    for signal in [Signal::SIGTERM, Signal::SIGINT] {
        let mut pair = Restartable::start();
        let mut client = pair.connect();
        client.ask("ping\n", "OK\n");
        send_before_signal(&pair.server, &mut client, "w 0 5\nhello\n".repeat(1000), signal);
        for version in 1..=1000 {
            client.expect(format!("OK v={version}\n"));
        }
        client.expect_end();
        assert_eq!(pair.server.wait(), Some(0));
        // Answered is committed, in the last moment too.
        pair.again();
        pair.connect().ask("r 0\n", "DATA 5 v=1000 n=1\nhello\n");
    }
}

#[test]
fn dipcrm_lets_a_pipeline_be_answered_too() {
    let mut server = Server::start("4 64 0 8");
    let mut client = server.connect();
    client.ask("ping\n", "OK\n");
    server.halt();
    client.send("w 0 5\nhello\n".repeat(1000));
    let mut dipcrm = server.dipcrm();
    let dipcrm = std::thread::spawn(move || run(&mut dipcrm));
    server.signal(Signal::SIGCONT);
    for version in 1..=1000 {
        client.expect(format!("OK v={version}\n"));
    }
    client.expect_end();
    assert_eq!(server.wait(), Some(0));
    assert_eq!(dipcrm.join().expect("it ends").code, Some(0));
}

#[test]
fn answers_larger_than_all_buffers_leave_before_the_end() {
    let mut server = Server::start("1 64 0 64");
    let mut client = large_message(&server);
    send_before_signal(&server, &mut client, "r 0\n".repeat(150), Signal::SIGTERM);
    expect_large_messages(&mut client, 150);
    client.expect_end();
    assert_eq!(server.wait(), Some(0));
}

#[test]
fn many_clients_are_answered_before_the_end() {
    let mut server = Server::start("4 64 0 8");
    let mut clients: Vec<Client> = (0..100).map(|_| server.connect()).collect();
    clients.iter_mut().for_each(|client| client.ask("ping\n", "OK\n"));
    server.halt();
    clients.iter_mut().for_each(|client| client.send("ping\nhelp\nr 0\n"));
    server.signal(Signal::SIGTERM);
    server.signal(Signal::SIGCONT);
    for client in &mut clients {
        client.expect("OK\n");
        assert!(client.data().0.starts_with("DATA "));
        client.expect("DATA 0 v=0 n=0\n\n");
        client.expect_end();
    }
    assert_eq!(server.wait(), Some(0));
}

#[test]
fn a_client_that_was_not_let_in_yet_is_answered_too() {
    let mut server = Server::start_with_socket("4 64 0 8");
    server.halt();
    // The kernel connects them, and keeps what they send.
    let mut clients = [server.connect(), Client::unix(&server.socket())];
    clients.iter_mut().for_each(|client| client.send("ping\n"));
    server.signal(Signal::SIGTERM);
    server.signal(Signal::SIGCONT);
    for client in &mut clients {
        client.expect("OK\n");
        client.expect_end();
    }
    assert_eq!(server.wait(), Some(0));
}

#[test]
fn no_answer_is_lost_because_its_client_says_something_more() {
    let mut server = Server::start("1 64 0 64");
    let mut client = large_message(&server);
    send_before_signal(&server, &mut client, "r 0\n".repeat(20), Signal::SIGTERM);
    // Everything is written and the connection half closed, but the client has read little of it.
    let local = format!(" 0100007F:{:04X} ", server.port);
    wait_until("the server has said everything", || {
        let sockets = fs::read_to_string("/proc/net/tcp").expect("readable");
        // FIN_WAIT1 or FIN_WAIT2. Source: linux/include/net/tcp_states.h
        let ended = |line: &str| ["04", "05"].contains(&line.split_whitespace().nth(3).unwrap_or_default());
        sockets.lines().filter(|line| line.contains(&local)).any(ended)
    });
    client.send("ping\n");
    expect_large_messages(&mut client, 20);
    client.expect_end();
    drop(client);
    assert_eq!(server.wait(), Some(0));
}

/// The answer before the wait fills the socket: it leaves whole, and the news that the server stops behind it.
#[test]
fn who_waits_and_has_not_read_its_answers_gets_them_all() {
    const SIZE: usize = 900_000;
    let mut server = Server::start_with_socket("2 1024 0 1024");
    server.connect().ask(format!("w 1 {SIZE}\n{}\n", "x".repeat(SIZE)), "OK v=1\n");
    let mut reader = Client::unix(&server.socket());
    server.send_waiting(&mut reader, "r 1\ntake 0 wait=inf\nping\n");
    server.signal(Signal::SIGTERM);
    wait_until("the door closes", || connect_error(server.port).is_some());
    assert_eq!(reader.data().1.len(), SIZE);
    reader.expect("ERR drain : the server is stopping\n");
    reader.expect_end();
    assert_eq!(server.wait(), Some(0));
}

/// The end of the lock lets it in while the server stops already: what it needs comes no more, and it is told at once.
#[test]
fn who_is_let_in_by_the_end_and_misses_something_does_not_delay_it() {
    let mut server = Server::start("1 64 0 64");
    let mut holder = server.connect();
    holder.lock("lock 0\n");
    let mut taker = server.enqueue("take 0 wait=inf\n");
    let started = Instant::now();
    server.signal(Signal::SIGTERM);
    taker.expect("ERR drain : the server is stopping\n");
    taker.expect_end();
    assert_eq!(server.wait(), Some(0));
    assert!(started.elapsed() < Duration::from_secs(4), "it took its time");
}

#[test]
fn half_a_request_changes_nothing() {
    let mut pair = Restartable::start();
    let mut client = pair.connect();
    client.ask("w 0 5\nhello\n", "OK v=1\n");
    send_before_signal(&pair.server, &mut client, "w 0 10\nworld", Signal::SIGTERM);
    client.expect_end();
    assert_eq!(pair.server.wait(), Some(0));
    pair.again();
    pair.connect().ask("r 0\n", "DATA 5 v=1 n=1\nhello\n");
}

#[test]
fn clients_that_ask_nothing_keep_no_server_alive() {
    let mut server = Server::start("4 64 0 8");
    let mut clients: Vec<Client> = (0..50).map(|_| server.connect()).collect();
    clients.iter_mut().for_each(|client| client.ask("ping\n", "OK\n"));
    let started = Instant::now();
    server.signal(Signal::SIGTERM);
    clients.iter_mut().for_each(|client| client.expect_end());
    assert_eq!(server.wait(), Some(0));
    assert!(started.elapsed() < Duration::from_secs(4), "it waits for them");
}

// ---- stopping takes its time, and not more ----

#[test]
fn nobody_is_let_in_while_the_last_ones_are_answered() {
    let mut server = Server::start("1 64 0 64");
    let mut client = stuck_client(&server);
    server.signal(Signal::SIGTERM);
    wait_until("the door closes", || connect_error(server.port) == Some(ErrorKind::ConnectionRefused));
    assert!(server.child.try_wait().expect("our child").is_none(), "it still answers");
    expect_large_messages(&mut client, 10);
    drop(client);
    assert_eq!(server.wait(), Some(0));
}

#[test]
fn a_second_signal_stops_at_once() {
    for second in [Signal::SIGTERM, Signal::SIGINT] {
        let mut server = Server::start("1 64 0 64");
        let _client = stuck_client(&server);
        let started = Instant::now();
        server.signal(Signal::SIGTERM);
        wait_until("the door closes", || connect_error(server.port).is_some());
        assert!(server.child.try_wait().expect("our child").is_none(), "it still answers");
        server.signal(second);
        assert_eq!(server.wait(), Some(0));
        assert!(started.elapsed() < Duration::from_secs(4), "it took its time");
    }
}

#[test]
fn a_client_that_reads_nothing_keeps_a_server_alive_for_five_seconds() {
    let mut server = Server::start("1 64 0 64");
    let _client = stuck_client(&server);
    let started = Instant::now();
    server.signal(Signal::SIGTERM);
    assert_eq!(server.wait(), Some(0));
    let taken = started.elapsed();
    assert!((Duration::from_secs(4)..Duration::from_secs(15)).contains(&taken), "{taken:?}");
}

// ---- the next start ----

#[test]
fn the_next_start_goes_on_where_the_last_has_stopped() {
    let mut pair = Restartable::start();
    for mailbox in 0..4 {
        for version in 1..=mailbox + 1 {
            pair.connect().ask(format!("w {mailbox}\nto {mailbox}\n"), format!("OK v={version}\n"));
        }
    }
    for epoch in 2..5 {
        if epoch % 2 == 0 {
            pair.stop()
        } else {
            pair.kill()
        }
        assert!(pair.segment().exists());
        pair.again();
        let mut client = pair.connect();
        assert_eq!(client.stat("epoch"), epoch);
        for mailbox in 0..4 {
            let answer = format!("DATA 4 v={} n=1\nto {mailbox}\n", mailbox + 1);
            client.ask(format!("r {mailbox}\n"), answer);
        }
    }
    pair.connect().ask("w 3 if=4\nmore\n", "OK v=5\n");
}

#[test]
fn a_stopped_server_keeps_its_segment_and_nothing_else() {
    let mut pair = Restartable::start();
    pair.stop();
    assert_eq!(names(pair.segment().parent().expect("a directory")), ["lock", "segment"]);
}

#[test]
fn a_killed_server_has_kept_all_that_it_acknowledged() {
    let mut pair = Restartable::start();
    for version in 1..=10 {
        pair.connect().ask(format!("w 1\nmessage {version}\n"), format!("OK v={version}\n"));
        pair.kill();
        pair.again();
        let message = format!("message {version}");
        pair.connect().ask("r 1\n", format!("DATA {} v={version} n=1\n{message}\n", message.len()));
    }
}

#[test]
fn a_server_killed_while_it_writes_has_one_whole_message() {
    let mut pair = Restartable::start();
    let mut version = 0;
    for _ in 0..5 {
        let mut client = pair.connect();
        let writes: String = (version + 1..=version + 3000).map(|v| format!("w 0\nmessage {v}\n")).collect();
        client.send(writes);
        (0..500).for_each(|_| drop(client.line()));
        pair.kill();
        let acknowledged = version + 500 + client.read_to_end().iter().filter(|&&byte| byte == b'\n').count();
        pair.again();
        let mut client = pair.connect();
        client.send("r 0\n");
        let (header, message) = client.data();
        let found = header.split("v=").nth(1).and_then(|rest| rest.split(' ').next()).expect("a version");
        version = found.parse().expect("a number");
        assert!(version >= acknowledged, "{acknowledged} were acknowledged: {header}");
        assert_eq!(text(&message), format!("message {version}"));
    }
}

// ---- another geometry ----

#[test]
fn mailboxes_of_another_kind_are_refused_and_kept() {
    let mut pair = Restartable::start();
    pair.connect().ask("w 3\nhello\n", "OK v=1\n");
    pair.stop();
    let before = fs::read(pair.segment()).expect("the segment");
    for (mailboxes, packet) in [("5 64", "8"), ("3 64", "8"), ("4 63", "8"), ("4 65", "8"), ("4 64", "9")] {
        let said = pair.refused(mailboxes, packet, 4);
        assert!(said.contains("4 mailboxes of 64 kB with packets of 8 kB"), "{said}");
        assert!(said.contains("--fresh"), "{said}");
        assert!(fs::read(pair.segment()).expect("kept") == before, "{mailboxes} {packet} has touched it");
    }
    pair.again();
    assert_eq!(pair.server.stat("epoch"), 2);
    pair.connect().ask("r 3\n", "DATA 5 v=1 n=1\nhello\n");
}

#[test]
fn the_way_out_that_a_refusal_names_is_one() {
    let mut pair = Restartable::start();
    pair.stop();
    let said = pair.refused("5 64", "8", 4);
    let advice = said.split("remove it with: ").nth(1).expect("advice");
    let mut words = advice.split_whitespace();
    assert_eq!(words.next(), Some("dipcrm"), "{said}");
    let removal = run(Command::new(program::dipcrm()).args(words));
    assert_eq!(removal.code, Some(0), "{advice}: {removal:?}");
    pair.restart("5 64", "8");
    pair.connect().ask("r 4\n", "DATA 0 v=0 n=0\n\n");
}

#[test]
fn a_fresh_start_begins_anew() {
    let mut pair = Restartable::start();
    pair.connect().ask("w 0\nhello\n", "OK v=1\n");
    pair.stop();
    pair.restart("4 64", "8 --fresh");
    pair.connect().ask("r 0\n", "DATA 0 v=0 n=0\n\n");
    assert_eq!(pair.server.stat("epoch"), 1);
    pair.connect().ask("w 0\nhello\n", "OK v=1\n");
    pair.kill();
    pair.restart("2 1", "1 --fresh");
    let mut client = pair.connect();
    client.ask("r 0\n", "DATA 0 v=0 n=0\n\n");
    assert_eq!((client.stat("epoch"), client.stat("mailboxes"), client.stat("size_bytes")), (1, 2, 1024));
    // Where there is nothing to throw away, it is a start like any other.
    Server::start("4 64 0 8 --fresh").connect().ask("ping\n", "OK\n");
}

#[test]
fn a_fresh_start_that_is_a_mistake_throws_nothing_away() {
    let mut pair = Restartable::start();
    pair.connect().ask("w 0\nhello\n", "OK v=1\n");
    // While it runs, and after that.
    assert!(pair.refused("4 64", "8 --fresh", 3).contains("in use"));
    pair.connect().ask("r 0\n", "DATA 5 v=1 n=1\nhello\n");
    pair.stop();
    pair.refused("4294967295 4194303", "8 --fresh", 2);
    pair.refused("4 64", "8 --fresh --unix /no/such/directory/socket", 1);
    pair.again();
    let mut client = pair.connect();
    client.send("r 0\n");
    assert_eq!(client.line(), "DATA 5 v=1 n=1");
}

// ---- a damaged segment ----

/// What somebody has done to a segment.
type Damage = fn(&mut Vec<u8>);

/// With words of the reason for which the segment is refused.
const DAMAGES: [(&str, Damage, &str); 15] = [
    ("other magic", |bytes| bytes[0] = b'D', "not made by dipc"),
    ("the other byte order", |bytes| bytes[8..12].reverse(), "byte order"),
    ("the next format", |bytes| bytes[12] += 1, "another version"),
    ("the format of before", |bytes| bytes[12] -= 1, "another version"),
    ("other mailboxes", |bytes| bytes[16] ^= 1, "damaged header"),
    ("another user", |bytes| bytes[20] ^= 1, "damaged header"),
    ("another capacity", |bytes| bytes[26] ^= 1, "damaged header"),
    ("another packet", |bytes| bytes[33] ^= 1, "damaged header"),
    ("something in the empty part", |bytes| bytes[2000] = 1, "damaged header"),
    ("another checksum", |bytes| bytes[4095] ^= 1, "damaged header"),
    ("a byte less", |bytes| bytes.truncate(bytes.len() - 1), "not as long"),
    ("a byte more", |bytes| bytes.push(0), "not as long"),
    ("only its header", |bytes| bytes.truncate(4096), "not as long"),
    ("half its header", |bytes| bytes.truncate(2048), "shorter than its header"),
    ("nothing", |bytes| bytes.clear(), "shorter than its header"),
];

#[test]
fn a_damaged_segment_is_refused_and_kept() {
    let mut pair = Restartable::start();
    pair.connect().ask("w 3\nhello\n", "OK v=1\n");
    pair.kill();
    let whole = fs::read(pair.segment()).expect("the segment");
    for (what, damage, reason) in DAMAGES {
        let mut bytes = whole.clone();
        damage(&mut bytes);
        fs::write(pair.segment(), &bytes).expect("written");
        let said = pair.refused("4 64", "8", 4);
        assert!(said.contains(reason) && said.contains("--fresh"), "{what}: {said}");
        let directory = pair.segment().parent().expect("a directory").display().to_string();
        assert!(said.contains(&directory), "{what}: {said}");
        assert!(fs::read(pair.segment()).expect("kept") == bytes, "{what}: it was touched");
    }
    fs::write(pair.segment(), &whole).expect("written");
    pair.again();
    pair.connect().ask("r 3\n", "DATA 5 v=1 n=1\nhello\n");
}

#[test]
fn a_damaged_segment_goes_with_a_fresh_start_or_with_dipcrm() {
    let mut pair = Restartable::start();
    pair.kill();
    fs::write(pair.segment(), "no segment").expect("written");
    pair.refused("4 64", "8", 4);
    pair.restart("4 64", "8 --fresh");
    pair.connect().ask("ping\n", "OK\n");
    pair.kill();
    fs::write(pair.segment(), "no segment").expect("written");
    assert_eq!(run(&mut pair.server.dipcrm()).code, Some(0));
    pair.again();
    pair.connect().ask("ping\n", "OK\n");
}
