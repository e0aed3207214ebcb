//! The order in which requests are admitted to a mailbox, over the real server. A test stops a worker with
//! ptrace in the middle of a large copy. The request that the worker executes holds its mailbox until the
//! worker continues.

use std::fs;
use std::net::TcpStream;
use std::thread;
use std::time::{Duration, Instant};

use dipc_testkit::client::{Client, reset, tcp_stream};
use dipc_testkit::directory::Directory;
use dipc_testkit::server::Server;
use dipc_testkit::wait::wait_until;
use nix::sys::ptrace;
use nix::sys::wait::{WaitPidFlag, waitpid};
use nix::unistd::Pid;

/// Two mailboxes, large enough that a copy can be caught.
const LARGE: &str = "2 32768 0 32768 --workers 2";
const LARGE_BYTES: usize = 32768 * 1024;

/// A stopped worker. It continues when this is dropped.
struct Frozen(Pid);

impl Drop for Frozen {
    fn drop(&mut self) {
        // If the worker cannot be detached, it has ended with the server. Then its end has to be waited for
        // before that of the server.
        if ptrace::detach(self.0, None).is_err() {
            let _ = waitpid(self.0, Some(WaitPidFlag::__WALL));
        }
    }
}

/// Sends `request` from `client`, and stops the worker that is executing it.
fn freeze(server: &Server, client: &mut Client, request: &[u8], answered: impl Fn(&mut Client)) -> Frozen {
    let workers = worker_threads(server);
    for _ in 0..100 {
        client.send(request);
        if let Some(&worker) = (0..1000).flat_map(|_| &workers).find(|worker| is_copying(server, **worker)) {
            stop(worker);
            let frozen = Frozen(worker);
            if is_in_the_middle(server) {
                return frozen;
            }
        }
        answered(client);
    }
    panic!("no worker was stopped within its copy");
}

fn worker_threads(server: &Server) -> Vec<Pid> {
    let tasks = fs::read_dir(format!("/proc/{}/task", server.pid())).expect("the server lives");
    let is_worker = |task: &fs::DirEntry| {
        fs::read_to_string(task.path().join("comm")).is_ok_and(|name| name.starts_with("worker-"))
    };
    let tid =
        |task: fs::DirEntry| Pid::from_raw(task.file_name().to_string_lossy().parse().expect("a number"));
    tasks.map(|task| task.expect("read")).filter(is_worker).map(tid).collect()
}

/// Whether the stopped worker has begun its copy and not ended it. If so, mailbox 0 is held, and the other
/// worker executes all other jobs. A worker that waits for a processor looks like a running one, so it may
/// have been stopped too early.
fn is_in_the_middle(server: &Server) -> bool {
    let soon = Duration::from_millis(300);
    // So large that the reactor does not execute it itself.
    let for_a_worker = format!("w 1 200000 if=1000000\n{}\n", " ".repeat(200_000));
    let (mut held, mut other) = (server.connect(), server.connect());
    held.send("w 0 0 if=1000000 wait=0.05\n\n");
    other.send(&for_a_worker);
    held.is_answered_within(soon) && held.line() == "NO timeout" && other.is_answered_within(soon) && {
        // The same again, after the other worker has gone to sleep.
        wait_until("a worker sleeps", || server.stat("workers_asleep") == 1);
        other.send(&for_a_worker);
        other.line();
        other.is_answered_within(soon)
    }
}

/// Whether a worker runs for longer than a millisecond without a pause. Only a copy takes so long.
fn is_copying(server: &Server, worker: Pid) -> bool {
    let runs = || {
        let stat = fs::read_to_string(format!("/proc/{}/task/{worker}/stat", server.pid()));
        stat.is_ok_and(|line| line.contains(") R "))
    };
    let seen = Instant::now();
    while runs() {
        if seen.elapsed() > Duration::from_millis(1) {
            return true;
        }
    }
    false
}

fn stop(worker: Pid) {
    ptrace::seize(worker, ptrace::Options::empty()).expect("the server is our child");
    ptrace::interrupt(worker).expect("seized");
    waitpid(worker, Some(WaitPidFlag::__WALL)).expect("stopped");
}

/// A server in which a write to mailbox 0 has begun and does not end, and the client that sent it.
fn with_a_writer_in(options: &str) -> (Server, Client, Frozen) {
    let server = Server::start(&format!("{LARGE} {options}"));
    let mut writer = server.connect();
    let mut request = format!("w 0 {LARGE_BYTES}\n").into_bytes();
    request.resize(request.len() + LARGE_BYTES, b'x');
    request.push(b'\n');
    let frozen = freeze(&server, &mut writer, &request, |writer| drop(writer.line()));
    (server, writer, frozen)
}

/// A server in which a read of mailbox 0 has begun and does not end, and the client that sent it.
fn with_a_reader_in(options: &str) -> (Server, Client, Frozen) {
    let server = Server::start(&format!("{LARGE} {options}"));
    let mut reader = server.connect();
    let mut request = format!("w 0 {LARGE_BYTES}\n").into_bytes();
    request.resize(request.len() + LARGE_BYTES, b'x');
    reader.send(request);
    reader.ask("\n", "OK v=1\n");
    let frozen = freeze(&server, &mut reader, b"r 0\n", |reader| drop(reader.data()));
    (server, reader, frozen)
}

fn version(answer: &str) -> u64 {
    let field = answer.split(' ').find_map(|word| word.strip_prefix("v="));
    field.unwrap_or_else(|| panic!("no version in {answer}")).parse().expect("a number")
}

#[test]
fn a_request_that_waits_too_long_is_answered_no_timeout() {
    let (server, mut writer, frozen) = with_a_writer_in("--wait 0.05");
    let mut client = server.connect();
    let before = client.stat("no_timeout");
    for request in ["r 0 wait=0\n", "r 0 wait=0.001\n", "r 0\n"] {
        client.send(request);
        let answer = client.line();
        assert!(answer.starts_with("NO timeout v="), "{request}: {answer}");
    }
    client.ask("w 0 wait=0\nx\nw 0 wait=0.001\nx\nw 0\nx\n", "NO timeout\nNO timeout\nNO timeout\n");
    client.ask("ping\n", "OK\n");
    drop(frozen);
    assert!(writer.line().starts_with("OK v="));
    client.send("r 0 len=1 wait=20\n");
    assert!(client.data().0.starts_with("DATA 1 v="));
    assert_eq!(client.stat("no_timeout"), before + 6);
}

#[test]
fn a_stopped_worker_blocks_no_other_mailbox() {
    let (server, mut writer, frozen) = with_a_writer_in("");
    let mut client = server.connect();
    for round in 1..=100 {
        client.ask(format!("w 1\nround {round}\n"), format!("OK v={round}\n"));
    }
    drop(frozen);
    assert!(writer.line().starts_with("OK v="));
}

#[test]
fn readers_share_a_mailbox_and_a_writer_waits_for_all() {
    let (server, mut reader, frozen) = with_a_reader_in("");
    server.connect().ask("r 0 len=1\n", "DATA 1 v=1 n=1\nx\n");
    let mut writer = server.enqueue("w 0\nnew\n");
    let mut late = server.enqueue("r 0\n");
    assert_eq!(server.stat("writes"), 1, "the writer waits");
    drop(frozen);
    assert_eq!(reader.data().1.len(), LARGE_BYTES, "the reader gets the old message, whole");
    writer.expect("OK v=2\n");
    late.expect("DATA 3 v=2 n=1\nnew\n");
}

#[test]
fn writers_are_admitted_one_by_one_in_the_order_of_arrival() {
    let (server, mut writer, frozen) = with_a_writer_in("");
    let mut waiting: Vec<Client> = (0..20).map(|number| server.enqueue(format!("w 0\n{number}\n"))).collect();
    drop(frozen);
    let first = version(&writer.line());
    for (position, client) in (1..).zip(&mut waiting) {
        assert_eq!(version(&client.line()), first + position);
    }
    server.connect().ask("r 0\n", format!("DATA 2 v={} n=1\n19\n", first + 20));
    assert_eq!(server.stat("overtakes"), 0);
}

#[test]
fn a_waiting_client_that_vanishes_does_not_block_the_queue() {
    let (server, _reader, frozen) = with_a_reader_in("--wait 60");
    let vanishing = TcpStream::connect(("127.0.0.1", server.port)).expect("connected");
    let mut writer = Client::over(vanishing.try_clone().expect("cloned"));
    writer.send("w 0\nnever\n");
    server.wait_for_stat("waiting", |waiting| waiting == 1);
    let mut behind = server.enqueue("r 0 len=1\n");
    reset(vanishing).expect("set");
    drop(writer);
    behind.expect("DATA 1 v=1 n=1\nx\n");
    assert_eq!(server.stat("abandoned"), 1);
    drop(frozen);
}

#[test]
fn a_waiting_client_that_half_closes_waits_one_second_more() {
    let (server, _reader, frozen) = with_a_reader_in("--wait 60");
    // The server cannot distinguish a closed connection from a closed writing half, whose client wants its
    // answer.
    let mut half = server.enqueue("w 0\nnever\n");
    let closed = server.enqueue("w 0\nnever\n");
    let mut behind = server.enqueue("r 0 len=1\n");
    half.half_close();
    drop(closed);
    half.expect("NO timeout\n");
    half.expect_end();
    behind.expect("DATA 1 v=1 n=1\nx\n");
    assert_eq!(server.stat("writes"), 1);
    drop(frozen);
}

#[test]
fn answers_before_a_waiting_request_are_sent_at_once() {
    let (server, mut writer, frozen) = with_a_writer_in("");
    let mut client = server.connect();
    client.send("ping\nr 1\nr 0 len=1\nping\n");
    client.expect("OK\nDATA 0 v=0 n=0\n\n");
    client.half_close();
    let mut other = server.connect();
    other.send("w 1\nx\nr 0 wait=0.01\nr 1\n");
    other.expect("OK v=1\n");
    assert!(other.line().starts_with("NO timeout"));
    other.expect("DATA 1 v=1 n=1\nx\n");
    drop(frozen);
    assert!(writer.line().starts_with("OK v="));
}

/// When the wait ends, a part of the earlier answers is not yet in the socket.
#[test]
fn answers_keep_their_order_when_a_wait_ends_before_they_are_sent() {
    let directory = Directory::new();
    let path = directory.join("socket");
    let (server, mut writer, frozen) = with_a_writer_in(&format!("--unix {}", path.display()));
    let message = "y".repeat(900_000);
    server.connect().ask(format!("w 1\n{message}\n"), "OK v=1\n");
    let before = server.stat("no_timeout");
    let mut client = Client::unix(&path);
    client.send("r 1\nr 0 wait=0.02\nping\n");
    server.wait_for_stat("no_timeout", |count| count == before + 1);
    assert_eq!(client.data(), ("DATA 900000 v=1 n=1".into(), message.into_bytes()));
    assert!(client.line().starts_with("NO timeout v="));
    client.expect("OK\n");
    drop(frozen);
    assert!(writer.line().starts_with("OK v="));
}

/// A queued request can be admitted and answered before the reactor has handled that it waits.
#[test]
fn pipelined_answers_keep_their_order_in_a_contended_mailbox() {
    const CONNECTIONS: usize = 8;
    const ROUNDS: usize = 60;
    let server = Server::start("1 160 0 160 --workers 4");
    // The message is so large that the workers execute the patches: each patch copies all of it, and the
    // reactor handles other connections meanwhile.
    server.connect().ask(format!("w 0 150000\n{}\n", "x".repeat(150_000)), "OK v=1\n");
    let requests: Vec<String> = (0..200)
        .map(|number| match number % 4 {
            0 => "w 0 5 off=0\nhello\n".to_owned(),
            _ => format!("r 0 len={number}\n"),
        })
        .collect();
    let talk = || {
        for _ in 0..ROUNDS {
            let stream = tcp_stream(server.port);
            let mut sender = Client::over(stream.try_clone().expect("cloned"));
            let mut receiver = Client::over(stream);
            thread::scope(|scope| {
                scope.spawn(|| requests.chunks(4).for_each(|piece| sender.send(piece.concat())));
                for number in 0..requests.len() {
                    match number % 4 {
                        0 => assert!(receiver.line().starts_with("OK v="), "answer {number}"),
                        _ => assert_eq!(receiver.data().1.len(), number),
                    }
                }
            });
        }
    };
    thread::scope(|scope| (0..CONNECTIONS).for_each(|_| drop(scope.spawn(talk))));
    assert_eq!(server.stat("overtakes"), 0);
    assert_eq!(
        server.stat("reads") + server.stat("writes"),
        (CONNECTIONS * ROUNDS * requests.len()) as u64 + 1
    );
}

#[test]
fn a_stopping_server_answers_the_requests_that_wait_for_a_mailbox() {
    let (mut server, mut writer, frozen) = with_a_writer_in("");
    let mut waiting = server.enqueue("w 0\nlast\n");
    server.signal(nix::sys::signal::Signal::SIGTERM);
    wait_until("the port is closed", || TcpStream::connect(("127.0.0.1", server.port)).is_err());
    drop(frozen);
    assert!(writer.line().starts_with("OK v="));
    assert!(waiting.line().starts_with("OK v="));
    waiting.expect_end();
    assert_eq!(server.wait(), Some(0));
}

#[test]
fn a_request_that_waits_longer_than_the_stop_gets_drain() {
    let (mut server, _writer, frozen) = with_a_writer_in("");
    let mut waiting = server.enqueue("r 0\n");
    server.signal(nix::sys::signal::Signal::SIGTERM);
    waiting.expect("ERR drain : the server is stopping\n");
    waiting.expect_end();
    drop(frozen);
    assert_eq!(server.wait(), Some(0));
}
