//! Clients that never read, that send byte by byte, that half-close, that reset, that pipeline without end, that speak
//! another protocol: they get what the protocol says and cost a bounded amount of memory, and nobody else notices.
#![allow(missing_docs)]

use std::fs;
use std::io::{BufRead, BufReader, ErrorKind, IoSlice, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use dipc_testkit::client::{Client, reset, tcp_stream};
use dipc_testkit::descriptors;
use dipc_testkit::directory::Directory;
use dipc_testkit::server::Server;
use dipc_testkit::wait::{HANG, wait_until};
use nix::sys::signal::Signal::{SIGCONT, SIGSTOP};
use nix::sys::socket::{self, ControlMessage, MsgFlags, sendmsg};

const KIB: u64 = 1024;
const MIB: u64 = 1024 * KIB;

/// The longest that anybody else may wait for an answer, on a machine that is busy with other tests.
const PROMPT: Duration = Duration::from_secs(2);

/// A server, a client that behaves, and what the server held before the others came.
struct Scene {
    server: Server,
    neighbour: Client,
    descriptors: usize,
    memory: u64,
    /// Connections that were made.
    made: u64,
}

impl Scene {
    fn new(arguments: &str) -> Self {
        Scene::on(Server::start(arguments))
    }

    fn on(server: Server) -> Self {
        let mut neighbour = server.connect();
        neighbour.ask("w 1 9\nneighbour\n", "OK v=1\n");
        let (descriptors, memory) = (server.descriptors(), server.own_memory());
        Scene { server, neighbour, descriptors, memory, made: 1 }
    }

    /// A client that may do anything.
    fn stranger(&mut self) -> TcpStream {
        self.made += 1;
        tcp_stream(self.server.port)
    }

    fn strangers(&mut self, count: usize) -> Vec<TcpStream> {
        (0..count).map(|_| self.stranger()).collect()
    }

    /// Bytes of memory that the server has taken since the start.
    fn grown(&self) -> u64 {
        self.server.own_memory().saturating_sub(self.memory)
    }

    /// The most memory that the server has ever had, in bytes.
    fn peak(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.server.pid())).expect("it lives");
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("VmHWM");
        line.trim().trim_end_matches(" kB").parse::<u64>().expect("a number") * KIB
    }

    /// Whoever came has been let in, and what was sent has been read: events are taken in the order in which they came.
    #[track_caller]
    fn catch_up(&mut self) {
        let made = self.made;
        self.wait_for_stat("connections_accepted", |accepted| accepted == made);
        self.neighbour.ask("ping\n", "OK\n");
    }

    #[track_caller]
    fn wait_for_stat(&mut self, name: &str, good: impl Fn(u64) -> bool) {
        wait_until(name, || good(self.neighbour.stat(name)));
    }

    /// The neighbour is served as if it were alone.
    #[track_caller]
    fn neighbour_is_served(&mut self) {
        for _ in 0..20 {
            let asked = Instant::now();
            self.neighbour.ask("ping\n", "OK\n");
            self.neighbour.ask("r 1\n", "DATA 9 v=1 n=1\nneighbour\n");
            assert!(asked.elapsed() < PROMPT, "the neighbour has waited for {:?}", asked.elapsed());
        }
    }

    /// Everybody else has left, and nothing of them is left behind.
    #[track_caller]
    fn ends_as_it_began(&mut self) {
        let Scene { server, neighbour, descriptors, .. } = self;
        wait_until("only the neighbour is there", || neighbour.stat("connections") == 1);
        wait_until("the descriptors are back", || server.descriptors() == *descriptors);
        self.neighbour_is_served();
        for nothing in ["working", "waiting", "flushing", "overtakes", "err_internal"] {
            assert_eq!(self.neighbour.stat(nothing), 0, "{nothing}");
        }
    }
}

fn send(stream: &mut TcpStream, bytes: impl AsRef<[u8]>) {
    stream.write_all(bytes.as_ref()).expect("sent");
}

/// Sends until the server takes no more; how many bytes that were.
fn send_until_it_blocks(stream: &mut TcpStream, bytes: &[u8], max: u64) -> u64 {
    stream.set_nonblocking(true).expect("set");
    let mut sent = 0;
    while sent < max {
        match stream.write(bytes) {
            Ok(len) => sent += len as u64,
            Err(error) if error.kind() == ErrorKind::WouldBlock => break,
            Err(error) => panic!("not sent: {error}"),
        }
    }
    stream.set_nonblocking(false).expect("set");
    sent
}

/// Sends without end; what the socket says in the end.
fn send_until_it_fails(stream: &mut TcpStream, bytes: &[u8], max: u64) -> ErrorKind {
    let mut sent = 0;
    loop {
        match stream.write(bytes) {
            Ok(len) => sent += len as u64,
            Err(error) => return error.kind(),
        }
        assert!(sent < max, "{sent} bytes were taken");
    }
}

fn expect(stream: &mut TcpStream, expected: impl AsRef<[u8]>) {
    let expected = expected.as_ref();
    let mut found = vec![0; expected.len()];
    stream.read_exact(&mut found).expect("an answer");
    assert_eq!(found.escape_ascii().to_string(), expected.escape_ascii().to_string());
}

fn expect_end(stream: &mut TcpStream) {
    let mut rest = Vec::new();
    match stream.read_to_end(&mut rest) {
        Ok(_) => {}
        Err(error) if error.kind() == ErrorKind::ConnectionReset => {}
        Err(error) => panic!("no end: {error}"),
    }
    assert_eq!(rest.escape_ascii().to_string(), "");
}

// ---- pipelining ----

#[test]
fn two_hundred_thousand_requests_at_once_are_answered_in_order_and_delay_nobody() {
    const PAIRS: u32 = 100_000;
    let scene = &mut Scene::new("4 64 0 8");
    let mut writing = scene.stranger();
    let mut answers = BufReader::new(writing.try_clone().expect("cloned"));
    let done = &AtomicBool::new(false);
    let served = thread::scope(|scope| {
        scope.spawn(move || {
            for first in (0..PAIRS).step_by(1000) {
                let request = |number| format!("w 0 6\n{number:06}\nr 0\n");
                send(&mut writing, (first..first + 1000).map(request).collect::<String>());
            }
        });
        scope.spawn(move || {
            let mut line = String::new();
            for number in 0..PAIRS {
                line.clear();
                for _ in 0..3 {
                    answers.read_line(&mut line).expect("a line");
                }
                let version = number + 1;
                assert_eq!(line, format!("OK v={version}\nDATA 6 v={version} n=1\n{number:06}\n"));
            }
            done.store(true, Ordering::Release);
        });
        let mut served = 0;
        while !done.load(Ordering::Acquire) {
            scene.neighbour_is_served();
            served += 1;
            assert!(scene.grown() < 2 * MIB, "{} bytes more", scene.grown());
        }
        served
    });
    assert!(served > 5, "the neighbour was served {served} times only");
    assert_eq!(scene.neighbour.stat("writes"), u64::from(PAIRS) + 1);
    scene.ends_as_it_began();
}

#[test]
fn ten_thousand_requests_are_answered_to_whoever_reads_only_afterwards() {
    let mut scene = Scene::new("4 64 0 8");
    let mut stream = scene.stranger();
    let requests: String = (0..5_000).map(|number| format!("w 0\n{number}\nr 9\n")).collect();
    send(&mut stream, requests);
    scene.neighbour_is_served();
    let refused = "ERR box max=3 : mailboxes are numbered 0 to 3\n";
    let answers: String = (1..=5_000).map(|version| format!("OK v={version}\n{refused}")).collect();
    expect(&mut stream, answers);
    drop(stream);
    assert_eq!(scene.neighbour.stat("err_box"), 5_000);
    scene.ends_as_it_began();
}

// ---- clients that never read ----

#[test]
fn clients_that_never_read_cost_a_mebibyte_and_one_answer_each() {
    const CLIENTS: u64 = 16;
    let mut scene = Scene::new("4 64 0 64");
    let message = "x".repeat(65536);
    scene.neighbour.ask(format!("w 0 65536\n{message}\n"), "OK v=1\n");
    let mut greedy = scene.strangers(CLIENTS as usize);
    greedy.iter_mut().for_each(|stream| send(stream, "r 0\n".repeat(1000)));
    scene.wait_for_stat("flushing", |flushing| flushing == CLIENTS);
    let each = scene.grown() / CLIENTS;
    println!("{each} bytes for each of {CLIENTS} clients that do not read");
    assert!(each <= MIB + 2 * 64 * KIB, "a client that does not read costs {each} bytes");
    // Nobody holds a mailbox only because somebody does not read.
    scene.neighbour_is_served();
    scene.neighbour.ask("w 0 5\nhello\n", "OK v=2\n");
    scene.neighbour.ask("r 0\n", "DATA 5 v=2 n=1\nhello\n");
    assert_eq!(scene.neighbour.stat("connections"), CLIENTS + 1);
    drop(greedy);
    scene.wait_for_stat("closed_by_error", |closed| closed == CLIENTS);
    scene.ends_as_it_began();
}

#[test]
fn the_memory_of_answers_that_nobody_read_is_given_back() {
    const CLIENTS: u64 = 64;
    let mut scene = Scene::new("4 64 0 64");
    scene.neighbour.ask(format!("w 0 65536\n{}\n", "x".repeat(65536)), "OK v=1\n");
    for round in 1..=6 {
        let mut greedy = scene.strangers(CLIENTS as usize);
        greedy.iter_mut().for_each(|stream| send(stream, "r 0\n".repeat(300)));
        wait_until("the server keeps answers for all of them", || scene.grown() > CLIENTS * MIB);
        drop(greedy);
        scene.wait_for_stat("closed_by_error", |closed| closed == round * CLIENTS);
        scene.ends_as_it_began();
        wait_until("the memory is given back", || scene.grown() < 4 * MIB);
    }
}

#[test]
fn a_client_that_reads_late_misses_nothing() {
    let mut scene = Scene::new("4 64 0 64");
    let message = "x".repeat(65536);
    scene.neighbour.ask(format!("w 0 65536\n{message}\n"), "OK v=1\n");
    let mut late = scene.stranger();
    send(&mut late, "r 0\n".repeat(300) + "ping\n");
    late.shutdown(Shutdown::Write).expect("half-closed");
    scene.wait_for_stat("flushing", |flushing| flushing == 1);
    scene.neighbour.ask("w 0 5\nhello\n", "OK v=2\n");
    let mut client = Client::over(late);
    let mut versions = Vec::new();
    for _ in 0..300 {
        let (header, data) = client.data();
        match &header[..] {
            "DATA 65536 v=1 n=1" => assert!(data == message.as_bytes()),
            "DATA 5 v=2 n=1" => assert_eq!(data, b"hello"),
            other => panic!("{other}"),
        }
        versions.push(header.contains("v=2"));
    }
    assert!(versions.is_sorted() && versions[299], "who reads late reads what is there when it is read");
    client.expect("OK\n");
    client.expect_end();
    scene.ends_as_it_began();
}

#[test]
fn a_client_that_never_reads_is_not_read_either() {
    let mut scene = Scene::new("4 64 0 8");
    for round in 1..=2 {
        let mut stream = scene.stranger();
        let mut sent = 0;
        wait_until("the server does not take more", || {
            sent += send_until_it_blocks(&mut stream, "help\n".repeat(10_000).as_bytes(), 64 * MIB);
            assert!(sent < 64 * MIB, "{sent} bytes of requests were taken");
            scene.neighbour.stat("flushing") == 1
        });
        scene.neighbour_is_served();
        assert!(scene.neighbour.stat("told") < sent / 10, "nearly all requests are still to be read");
        assert!(scene.grown() < 2 * MIB, "{} bytes more", scene.grown());
        reset(stream).expect("reset");
        scene.wait_for_stat("closed_by_error", |closed| closed == round);
        scene.ends_as_it_began();
    }
}

// ---- slow clients ----

/// Beginnings of requests, none of which silence completes, and the rest of each with its answer.
const BEGINNINGS: &[(&[u8], &[u8], &str)] = &[
    (b"", b"ping\n", "OK\n"),
    (b"w", b" 0 5\nhello\n", "OK v="),
    (b"w 0", b" 5\nhello\n", "OK v="),
    (b"w 0 5\nhel", b"lo\n", "OK v="),
    (b"w 0 5\r\n", b"hello\r\n", "OK v="),
    (b"w 0\n", b"hello\n", "OK v="),
    (b"w 99 5\nhel", b"lo\n", "ERR box "),
    (b"\n\n\n\r", b"\nping\r\n", "OK\r\n"),
    (b"\xff\xfa\x18", b"\0vt100\xff\xf0ping\n", "OK\n"),
    (b"w 0 9\n........", b"!!\n", "ERR frame "),
];

#[test]
fn a_thousand_slow_clients_cost_what_they_have_sent_and_delay_nobody() {
    const CLIENTS: usize = 1000;
    descriptors::allow(4096);
    let mut scene = Scene::new("4 64 0 8 --quiet-ms 50");
    let mut slow = scene.strangers(CLIENTS);
    for (stream, (beginning, ..)) in slow.iter_mut().zip(BEGINNINGS.iter().cycle()) {
        send(stream, beginning);
    }
    scene.catch_up();
    scene.neighbour_is_served();
    // When another silence has completed a request, theirs are over.
    scene.neighbour.ask("ping", "OK\n");
    assert_eq!(scene.neighbour.stat("completed_by_silence"), 1);
    let each = scene.grown() / CLIENTS as u64;
    println!("{each} bytes for each of {CLIENTS} slow clients");
    assert!(each <= 1024, "a slow client costs {each} bytes");
    assert_eq!(scene.neighbour.stat("writes"), 1);
    assert_eq!(scene.neighbour.stat("working") + scene.neighbour.stat("waiting"), 0);
    for (stream, (_, rest, answer)) in slow.iter_mut().zip(BEGINNINGS.iter().cycle()) {
        send(stream, rest);
        expect(stream, answer);
    }
    drop(slow);
    scene.ends_as_it_began();
    assert_eq!(scene.neighbour.stat("writes"), 1 + CLIENTS as u64 / 2);
}

#[test]
fn clients_that_send_byte_by_byte_are_answered_like_others() {
    const CLIENTS: usize = 100;
    let mut scene = Scene::new("4 64 0 8 --quiet-ms 0");
    let mut slow = scene.strangers(CLIENTS);
    for byte in b"w 0 5\nhello\nr 2\r\nw 9\nhello\n" {
        slow.iter_mut().for_each(|stream| send(stream, [*byte]));
        scene.catch_up();
    }
    scene.neighbour_is_served();
    let mut versions = Vec::new();
    for stream in slow {
        let mut answers = BufReader::new(stream);
        let mut lines = (0..4).map(|_| {
            let mut line = String::new();
            answers.read_line(&mut line).expect("a line");
            line
        });
        let written = lines.next().expect("a line");
        versions
            .push(written.trim_end().strip_prefix("OK v=").expect("written").parse::<usize>().expect("v"));
        let rest: String = lines.collect();
        assert_eq!(rest, "DATA 0 v=0 n=0\r\n\r\nERR box max=3 : mailboxes are numbered 0 to 3\n");
    }
    versions.sort_unstable();
    assert!(versions.into_iter().eq(1..=CLIENTS), "each write made a version of its own");
    scene.ends_as_it_began();
}

#[test]
fn a_length_that_is_only_announced_costs_no_memory() {
    const CLIENTS: usize = 200;
    let mut scene = Scene::new("4 1024 0 1024");
    let mut liars = scene.strangers(CLIENTS);
    liars.iter_mut().for_each(|stream| send(stream, "w 0 1048576\nhello"));
    scene.catch_up();
    let each = scene.grown() / CLIENTS as u64;
    println!("{each} bytes for each of {CLIENTS} clients that announce a mebibyte");
    assert!(each <= 2 * KIB, "an announced mebibyte costs {each} bytes");
    assert_eq!(scene.neighbour.stat("writes"), 1);
    drop(liars);
    scene.ends_as_it_began();
    assert_eq!(scene.neighbour.stat("writes"), 1);
}

#[test]
fn a_length_that_is_only_announced_keeps_no_buffer_of_others() {
    const CLIENTS: usize = 200;
    const BUSY: usize = 4;
    let mut scene = Scene::new("4 1024 0 1024");
    let mut busy = scene.strangers(BUSY);
    let mut liars = scene.strangers(CLIENTS);
    let message = format!("w 0 1048576\n{}\n", "x".repeat(MIB as usize));
    for liars in liars.chunks_mut(BUSY) {
        for stream in &mut busy {
            send(stream, &message);
            let mut answer = [0; 5];
            std::io::Read::read_exact(stream, &mut answer).expect("answered");
            assert_eq!(&answer, b"OK v=");
            while answer[0] != b'\n' {
                std::io::Read::read_exact(stream, &mut answer[..1]).expect("answered");
            }
        }
        liars.iter_mut().for_each(|stream| send(stream, "w 0 1048576\nhello"));
        scene.catch_up();
    }
    let grown = scene.grown();
    println!("{} kB for {CLIENTS} clients that announce a mebibyte beside {BUSY} that send it", grown / KIB);
    assert!(grown <= 32 * MIB, "{grown} bytes");
    drop((liars, busy));
    scene.ends_as_it_began();
}

#[test]
fn a_body_under_way_costs_little_more_than_what_has_arrived() {
    const CLIENTS: usize = 100;
    const ARRIVED: usize = 20_000;
    let mut scene = Scene::new("4 1024 0 1024");
    let mut slow = scene.strangers(CLIENTS);
    let beginning = format!("w 0 1048576\n{}", "x".repeat(ARRIVED));
    slow.iter_mut().for_each(|stream| send(stream, &beginning));
    wait_until("the server has what was sent", || scene.grown() >= (CLIENTS * ARRIVED) as u64);
    scene.catch_up();
    let each = scene.grown() / CLIENTS as u64;
    println!("{each} bytes for each of {CLIENTS} clients that have sent {ARRIVED}");
    assert!(each <= 3 * ARRIVED as u64, "{ARRIVED} bytes that have arrived cost {each}");
    scene.neighbour_is_served();
    drop(slow);
    scene.ends_as_it_began();
    assert_eq!(scene.neighbour.stat("writes"), 1);
}

#[test]
fn a_body_that_pauses_is_not_copied() {
    const SIZE: usize = 16 * MIB as usize;
    let mut scene = Scene::new("2 16384 0 16384 --quiet-ms 20");
    let peak_before = scene.peak();
    let mut slow = scene.stranger();
    send(&mut slow, format!("w 0 {SIZE}\n{}", "x".repeat(SIZE - 1)));
    wait_until("the server has what was sent", || scene.grown() >= SIZE as u64 - MIB);
    // When another silence has completed a request, this one's is over.
    scene.neighbour.ask("ping", "OK\n");
    scene.neighbour.ask("ping", "OK\n");
    let taken = scene.peak() - peak_before;
    println!("{taken} bytes for a body of {SIZE} that pauses");
    assert!(taken < SIZE as u64 * 3 / 2, "{taken} bytes were taken for {SIZE} that have arrived");
    send(&mut slow, "x\n");
    expect(&mut slow, "OK v=1\n");
    drop(slow);
    scene.ends_as_it_began();
}

#[test]
fn clients_that_let_the_server_wait_cost_no_processor_time() {
    let mut scene = Scene::new("4 64 0 64 --quiet-ms 1000");
    scene.neighbour.ask(format!("w 0 65536\n{}\n", "x".repeat(65536)), "OK v=1\n");
    let mut idle = scene.strangers(50);
    for (number, stream) in idle.iter_mut().enumerate() {
        match number % 5 {
            0 => {}
            1 => send(stream, "w 0 5\nhel"),
            2 => send(stream, "w 99 70000\nhello"),
            _ => send(stream, "r 0\n".repeat(200)),
        }
        if number % 5 == 4 {
            stream.shutdown(Shutdown::Write).expect("half-closed");
        }
    }
    scene.wait_for_stat("flushing", |flushing| flushing == 20);
    scene.catch_up();
    let before = scene.server.cpu_time();
    // A second passes before silence completes this.
    scene.neighbour.ask("ping", "OK\n");
    let spent = scene.server.cpu_time() - before;
    assert!(spent < Duration::from_millis(150), "{spent:?} of a second were spent on waiting");
    drop(idle);
    scene.ends_as_it_began();
}

// ---- bodies that are refused ----

#[test]
fn refused_bodies_are_read_in_constant_memory() {
    const CLIENTS: usize = 20;
    let mut scene = Scene::new("4 64 0 8");
    let body = b"w 0 2\nno\n".repeat(120_000);
    for (head, code) in
        [("w 99 1048576\n", "ERR box"), ("w 0 1048576\n", "ERR size"), ("w 0 k=1\n", "ERR syntax")]
    {
        let body =
            if code == "ERR syntax" { vec![b'x'; MIB as usize] } else { body[..MIB as usize].to_vec() };
        let mut refused = scene.strangers(CLIENTS);
        // All are under way at the same time.
        for part in [head.as_bytes()].into_iter().chain(body.chunks(64 * 1024)) {
            refused.iter_mut().for_each(|stream| send(stream, part));
            assert!(scene.grown() < MIB, "{} bytes more within {code}", scene.grown());
        }
        for stream in &mut refused {
            send(stream, "\nq\n");
            expect(stream, code);
        }
        scene.neighbour_is_served();
        drop(refused);
        scene.ends_as_it_began();
    }
    assert_eq!(scene.neighbour.stat("writes"), 1);
    for name in ["err_box", "err_size", "err_syntax"] {
        assert_eq!(scene.neighbour.stat(name), CLIENTS as u64, "{name}");
    }
}

#[test]
fn a_line_without_end_is_cut_off_after_a_mebibyte() {
    let mut scene = Scene::new("4 64 0 8");
    for head in ["w 0\n", "w 99\n", "w 0 9999999\n", "w 0 five\n", "x", "q\n", "GET / HTTP/1.1\r\n", "\0"] {
        let mut stream = scene.stranger();
        send(&mut stream, head);
        let error = send_until_it_fails(&mut stream, &[b'x'; 16 * 1024], 64 * MIB);
        assert!(matches!(error, ErrorKind::BrokenPipe | ErrorKind::ConnectionReset), "{head:?}: {error}");
        assert!(scene.grown() < MIB, "{} bytes more after {head:?}", scene.grown());
        scene.neighbour_is_served();
    }
    scene.ends_as_it_began();
    assert_eq!(scene.neighbour.stat("writes"), 1);
    assert_eq!(scene.neighbour.stat("err_size"), 3);
}

#[test]
fn who_is_refused_and_does_not_leave_is_closed_all_the_same() {
    let mut scene = Scene::new("4 64 0 8");
    let mut stubborn = scene.strangers(50);
    stubborn.iter_mut().for_each(|stream| send(stream, "w 3 five\n"));
    for stream in &mut stubborn {
        expect(stream, "ERR frame : the length is a decimal number: w 3 5\n");
        expect_end(stream);
    }
    scene.ends_as_it_began();
    assert_eq!(scene.neighbour.stat("err_frame"), 50);
    drop(stubborn);
}

// ---- clients that send more than bytes ----

/// Sends while the server stands still, so that everything is there when it looks.
fn at_once(scene: &Scene, send: impl FnOnce()) {
    scene.server.signal(SIGSTOP);
    send();
    scene.server.signal(SIGCONT);
}

#[test]
fn urgent_data_holds_no_request_back() {
    let mut scene = Scene::new("4 64 0 8");
    let mut stream = scene.stranger();
    stream.set_read_timeout(Some(HANG / 4)).expect("set");
    at_once(&scene, || {
        send(&mut stream, "ping\n");
        // Whether the urgent byte counts or not, here it makes no difference.
        socket::send(stream.as_raw_fd(), b"\n", MsgFlags::MSG_OOB).expect("sent");
        send(&mut stream, "ping\nping\n");
    });
    expect(&mut stream, "OK\nOK\nOK\n");
    drop(stream);
    scene.ends_as_it_began();
}

#[test]
fn telnets_urgent_mark_is_skipped_like_its_other_options() {
    let mut scene = Scene::new("4 64 0 8");
    let mut telnet = scene.stranger();
    telnet.set_read_timeout(Some(HANG / 4)).expect("set");
    at_once(&scene, || {
        // What a key for interrupting sends: IAC IP, then IAC DM with the mark urgent.
        send(&mut telnet, b"\xff\xf4\xff");
        socket::send(telnet.as_raw_fd(), b"\xf2", MsgFlags::MSG_OOB).expect("sent");
        send(&mut telnet, "ping\r\n");
    });
    expect(&mut telnet, "OK\r\n");
    drop(telnet);
    scene.ends_as_it_began();
}

#[test]
fn descriptors_that_a_client_passes_are_dropped_and_hold_no_request_back() {
    let mut scene = Scene::on(Server::start_with_socket("4 64 0 8"));
    let mut stream = UnixStream::connect(scene.server.socket()).expect("connected");
    scene.made += 1;
    stream.set_read_timeout(Some(HANG / 4)).expect("set");
    scene.catch_up();
    let before = scene.server.descriptors();
    let passed = [stream.as_raw_fd()];
    at_once(&scene, || {
        stream.write_all(b"ping\n").expect("sent");
        let rights = [ControlMessage::ScmRights(&passed)];
        let bytes = [IoSlice::new(b"ping\n")];
        sendmsg::<()>(stream.as_raw_fd(), &bytes, &rights, MsgFlags::empty(), None).expect("sent");
        stream.write_all(b"ping\n").expect("sent");
    });
    let mut answers = [0; 9];
    stream.read_exact(&mut answers).expect("three answers");
    assert_eq!(&answers, b"OK\nOK\nOK\n");
    assert_eq!(scene.server.descriptors(), before);
    drop(stream);
    scene.ends_as_it_began();
}

// ---- clients that leave ----

#[test]
fn who_closes_its_writing_half_gets_every_answer() {
    let mut scene = Scene::new("4 64 0 64");
    let message = "x".repeat(65536);
    scene.neighbour.ask(format!("w 0 65536\n{message}\n"), "OK v=1\n");
    let large = format!("DATA 65536 v=1 n=1\n{message}\n").repeat(100);
    for (requests, answers) in [
        ("ping\n".to_owned(), "OK\n".to_owned()),
        ("r 2\n".into(), "DATA 0 v=0 n=0\n\n".into()),
        ("r 2\r\n".into(), "DATA 0 v=0 n=0\r\n\r\n".into()),
        ("ping\n".repeat(10_000), "OK\n".repeat(10_000)),
        ("r 0\n".repeat(100), large),
        ("w 3 5\nhello\n".into(), "OK v=1\n".into()),
        (String::new(), String::new()),
    ] {
        let mut stream = scene.stranger();
        send(&mut stream, &requests);
        stream.shutdown(Shutdown::Write).expect("half-closed");
        let mut found = String::new();
        stream.read_to_string(&mut found).expect("the end");
        assert!(found == answers, "{} bytes instead of {}", found.len(), answers.len());
    }
    scene.ends_as_it_began();
    assert_eq!(scene.neighbour.stat("closed_by_error"), 0);
}

#[test]
fn a_reset_in_the_middle_of_a_request_executes_nothing() {
    let mut scene = Scene::new("4 64 0 8 --quiet-ms 0");
    let large = format!("w 0 8192\n{}", "x".repeat(8191));
    let swallowed = format!("w 0 8193\n{}", "x".repeat(8193));
    let beginnings = [
        "",
        "w",
        "w 0",
        "w 0 5\n",
        "w 0 5\nhell",
        "w 0 5\nhello",
        "w 0\nhello",
        "w 0\r\nhello\r",
        "r 1",
        &large,
        &swallowed,
    ];
    for read_before in [true, false] {
        for beginning in beginnings {
            let mut stream = scene.stranger();
            send(&mut stream, beginning);
            if read_before {
                scene.catch_up();
            }
            reset(stream).expect("reset");
        }
    }
    let resets = 2 * beginnings.len() as u64;
    scene.wait_for_stat("closed_by_error", |closed| closed == resets);
    scene.ends_as_it_began();
    scene.neighbour.ask("r 0\n", "DATA 0 v=0 n=0\n\n");
    assert_eq!(scene.neighbour.stat("writes"), 1);
}

#[test]
fn a_reset_with_answers_unread_is_an_end_like_any_other() {
    let mut scene = Scene::new("4 64 0 64");
    scene.neighbour.ask(format!("w 0 65536\n{}\n", "x".repeat(65536)), "OK v=1\n");
    for round in 1..=5 {
        let mut unread = scene.strangers(4);
        send(&mut unread[0], "ping\n");
        send(&mut unread[1], "r 0\n");
        send(&mut unread[2], "r 0\n".repeat(500));
        send(&mut unread[3], "r 0\n".repeat(500) + "w 3 5\nhello\n");
        let half = unread.pop().expect("four");
        half.shutdown(Shutdown::Write).expect("half-closed");
        unread.push(half);
        scene.wait_for_stat("flushing", |flushing| flushing == 2);
        scene.catch_up();
        unread.into_iter().for_each(|stream| reset(stream).expect("reset"));
        scene.wait_for_stat("closed_by_error", |closed| closed == 4 * round);
        scene.ends_as_it_began();
    }
    scene.neighbour.ask("r 3\n", "DATA 0 v=0 n=0\n\n");
}

#[test]
fn a_write_that_has_arrived_is_done_although_its_client_has_vanished() {
    let mut scene = Scene::new("4 64 0 8");
    for version in 1..=200 {
        let mut stream = scene.stranger();
        send(&mut stream, format!("w 0 4\n{version:04}\n"));
        drop(stream);
        wait_until("the write is done", || {
            scene.neighbour.send("r 0 len=0\n");
            scene.neighbour.data().0 == format!("DATA 0 v={version} n=1")
        });
        scene.neighbour.ask("r 0\n", format!("DATA 4 v={version} n=1\n{version:04}\n"));
    }
    scene.ends_as_it_began();
}

#[test]
fn writes_of_clients_that_reset_are_done_whole_or_not_at_all() {
    const CLIENTS: u64 = 500;
    let mut scene = Scene::new("4 64 0 64");
    for number in 0..CLIENTS {
        let mut stream = scene.stranger();
        let letter = char::from(b'a' + (number % 26) as u8).to_string();
        // One of two stops one byte before its end.
        let end = if number % 2 == 0 { "\n" } else { "" };
        send(&mut stream, format!("w 0 65536\n{}{end}", letter.repeat(65536)));
        reset(stream).expect("reset");
    }
    scene.neighbour.send("r 0\n");
    let (_, data) = scene.neighbour.data();
    assert!(data.iter().all(|byte| *byte == data[0]), "a message of one client only");
    scene.catch_up();
    wait_until("all have left", || scene.neighbour.stat("connections") == 1);
    assert!(scene.neighbour.stat("writes") <= 1 + CLIENTS / 2);
    let closed = scene.neighbour.stat("closed_by_error") + scene.neighbour.stat("stale_completions");
    assert!(closed >= CLIENTS / 2, "{closed} resets were seen");
    wait_until("the descriptors are back", || scene.server.descriptors() == scene.descriptors);
    scene.neighbour_is_served();
}

#[test]
fn a_thousand_clients_that_come_only_to_leave_leave_nothing() {
    let mut scene = Scene::new("4 64 0 8");
    for number in 0..1000 {
        let stream = scene.stranger();
        match number % 3 {
            0 => drop(stream),
            1 => reset(stream).expect("reset"),
            _ => stream.shutdown(Shutdown::Both).expect("closed"),
        }
    }
    scene.catch_up();
    scene.ends_as_it_began();
    assert!(scene.grown() < MIB, "{} bytes more", scene.grown());
}

// ---- other protocols ----

#[test]
fn a_flood_of_http_writes_at_most_one_line_to_the_log() {
    const CLIENTS: u64 = 300;
    let directory = Directory::new();
    let log = directory.path().join("log");
    let arguments = format!("4 64 0 8 --log-file {}", log.display());
    let mut scene = Scene::on(Server::start_in(directory, &arguments));
    let request = "POST /w HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\nw 0\nno\nr 0\n";
    for _ in 0..CLIENTS {
        let mut stream = scene.stranger();
        send(&mut stream, request);
        expect_end(&mut stream);
    }
    assert_eq!(scene.neighbour.stat("foreign_protocols"), CLIENTS);
    assert_eq!(scene.neighbour.stat("writes"), 1);
    scene.neighbour.ask("r 0\n", "DATA 0 v=0 n=0\n\n");
    let text = fs::read_to_string(&log).expect("a log");
    assert_eq!(text.lines().count(), 1, "{text}");
    assert!(text.contains("another protocol"), "{text}");
    scene.ends_as_it_began();
}
