//! Clients that make the server hold more memory than `--client-memory` allows. Each kind of memory has had
//! no bound in sum: unread answers, bodies that are not complete, watches, locks, events. A failed allocation
//! has ended the server.

use std::io::Read;
use std::net::TcpStream;
use std::process::Stdio;
use std::thread;

use dipc_testkit::client::{Client, tcp_stream};
use dipc_testkit::directory::Directory;
use dipc_testkit::process::{after, bare, first_line};
use dipc_testkit::program;
use dipc_testkit::server::Server;
use dipc_testkit::wait::wait_until;

use crate::scene::{KIB, MIB, Scene, send, send_until_it_blocks};

/// The limit of the servers in these tests.
const LIMIT: u64 = 16 * MIB;

/// Memory that the process uses in addition to the counted bytes: stacks, and pages that the allocator keeps.
const SLACK: u64 = 6 * MIB;

const REFUSAL: &str =
    "ERR busy limit=client-memory : the clients use as much memory as --client-memory allows, try again\n";

/// A server with this limit, and its neighbour.
fn scene(arguments: &str) -> Scene {
    Scene::new(&format!("{arguments} --client-memory {}", LIMIT / MIB))
}

/// Expects that the limit is kept, and that the neighbour is served.
#[track_caller]
fn the_limit_is_kept(scene: &mut Scene) {
    scene.neighbour_is_served();
    let counted = scene.neighbour.stat("client_memory_bytes");
    assert!(counted <= LIMIT, "{counted} bytes are counted");
    let grown = scene.grown();
    assert!(grown <= LIMIT + SLACK, "the process has grown by {grown} bytes");
}

/// Whether the server has refused the request of this client and has closed the connection.
fn is_refused(stream: &mut TcpStream) -> bool {
    stream.set_nonblocking(true).expect("set");
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    answer.ends_with(REFUSAL.as_bytes())
}

#[test]
fn unread_answers_are_closed_the_largest_first() {
    const CLIENTS: u64 = 60;
    const SMALL_ANSWERS: usize = 200;
    let mut scene = scene("4 3072 0 3072");
    scene.neighbour.ask(format!("w 0 {}\n{}\n", 3 * MIB, "x".repeat(3 * MIB as usize)), "OK v=1\n");
    scene.neighbour.ask(format!("w 2 65536\n{}\n", "x".repeat(64 * KIB as usize)), "OK v=1\n");
    // A client with less unread than the others keeps its answers, which it reads in the end.
    let mut small = Client::over(scene.connect());
    small.send("r 2\n".repeat(SMALL_ANSWERS) + "ping\n");
    scene.wait_for_stat("flushing", |flushing| flushing == 1);
    let mut greedy = Vec::new();
    for _ in 0..CLIENTS {
        let mut stream = scene.connect();
        send(&mut stream, "r 0\n".repeat(4));
        greedy.push(stream);
        the_limit_is_kept(&mut scene);
    }
    scene.wait_for_stat("closed_for_memory", |closed| closed > CLIENTS / 2);
    assert_eq!(scene.neighbour.stat("err_busy"), 0, "clients with unread answers are closed first");
    for _ in 0..SMALL_ANSWERS {
        let (head, data) = small.data();
        assert_eq!((head.as_str(), data.len()), ("DATA 65536 v=1 n=1", 65536));
    }
    small.expect("OK\n");
    drop((greedy, small));
    scene.ends_as_it_began();
}

#[test]
fn incomplete_bodies_are_refused() {
    const CLIENTS: usize = 60;
    let mut scene = scene("4 1024 0 1024");
    let mut greedy = scene.connect_many(CLIENTS);
    for stream in &mut greedy {
        send(stream, "w 0 1048576\n");
        send_until_it_blocks(stream, &[b'x'; 64 * 1024], 900 * KIB);
        the_limit_is_kept(&mut scene);
    }
    scene.wait_for_stat("err_busy", |busy| busy > 0);
    the_limit_is_kept(&mut scene);
    wait_until("a client is refused", || greedy.iter_mut().any(is_refused));
    assert_eq!(scene.neighbour.stat("closed_for_memory"), 0);
    drop(greedy);
    scene.ends_as_it_began();
}

/// Many clients send this request. Those that exceed the limit are refused.
#[track_caller]
fn lists_are_refused(request: impl Fn(String) -> String) {
    let mut scene = scene("1200 1 0 8");
    let lists = (0..5).map(|part| {
        let list: Vec<String> =
            (part * 200..(part + 1) * 200).map(|mailbox| (mailbox + 2).to_string()).collect();
        request(list.join(","))
    });
    let requests = lists.collect::<String>();
    let mut greedy = Vec::new();
    while scene.neighbour.stat("err_busy") < 20 {
        assert!(greedy.len() < 2000, "no client is refused");
        let mut client = scene.connect();
        send(&mut client, &requests);
        greedy.push(client);
        the_limit_is_kept(&mut scene);
    }
    wait_until("a client is refused", || greedy.iter_mut().any(is_refused));
    drop(greedy);
    scene.ends_as_it_began();
    assert!(scene.neighbour.stat("client_memory_bytes") < MIB, "the memory is given back");
}

#[test]
fn watches_are_refused() {
    lists_are_refused(|list| format!("watch {list}\n"));
}

#[test]
fn locks_are_refused() {
    lists_are_refused(|list| format!("lock {list} r ttl=600\n"));
}

#[test]
fn waiting_requests_are_refused() {
    let mut scene = scene("4 64 0 64");
    let mut holder = scene.server.connect();
    scene.made += 1;
    holder.lock("lock 0 ttl=600\n");
    let waiting = format!("w 0 65536\n{}\n", "x".repeat(65536));
    let mut greedy = Vec::new();
    while scene.neighbour.stat("err_busy") == 0 {
        assert!(greedy.len() < 1000, "no client is refused");
        let mut client = scene.connect();
        send_until_it_blocks(&mut client, waiting.as_bytes(), waiting.len() as u64);
        greedy.push(client);
        the_limit_is_kept(&mut scene);
    }
    drop((greedy, holder));
    scene.ends_as_it_began();
}

#[test]
fn watchers_that_do_not_read_their_events_are_not_closed() {
    const WATCHERS: usize = 12;
    /// More than the buffers of a socket hold.
    const EVENT: u64 = 4 * MIB;
    let mut scene = scene("14 4096 0 4096");
    let message = "x".repeat(EVENT as usize);
    for mailbox in 2..WATCHERS + 2 {
        scene.neighbour.ask(format!("w {mailbox} {EVENT}\n{message}\n"), "OK v=1\n");
    }
    // The events of all mailboxes together do not fit into the memory.
    let mut watchers = scene.connect_many(WATCHERS);
    for (number, stream) in watchers.iter_mut().enumerate() {
        send(stream, format!("watch {} after=0\n", number + 2));
    }
    scene.wait_for_stat("watches", |watches| watches == WATCHERS as u64);
    wait_until("events fill the memory", || scene.neighbour.stat("client_memory_bytes") > LIMIT / 2);
    the_limit_is_kept(&mut scene);
    assert_eq!(scene.neighbour.stat("connections"), WATCHERS as u64 + 1);
    // Each watcher gets its event, some of them only when others have read theirs.
    thread::scope(|scope| {
        for (number, stream) in watchers.into_iter().enumerate() {
            scope.spawn(move || {
                let mut client = Client::over(stream);
                client.expect("OK v=0\n");
                let (head, data) = client.event();
                assert_eq!(head, format!("EVENT {EVENT} box={} v=1", number + 2));
                assert_eq!(data.len() as u64, EVENT);
            });
        }
    });
    scene.ends_as_it_began();
}

#[test]
fn an_answer_is_refused_if_no_client_can_be_closed() {
    let mut scene = scene("4 2048 0 2048");
    let size = 2 * MIB;
    scene.neighbour.ask(format!("w 0 {size}\n{}\n", "x".repeat(size as usize)), "OK v=1\n");
    // Incomplete bodies fill the memory.
    let mut greedy = Vec::new();
    while scene.neighbour.stat("err_busy") == 0 {
        assert!(greedy.len() < 1000, "no client is refused");
        let mut client = scene.connect();
        send(&mut client, "w 1 2097152\n");
        send_until_it_blocks(&mut client, &[b'x'; 64 * 1024], size - 64 * KIB);
        greedy.push(client);
        scene.catch_up();
    }
    let mut client = scene.server.connect();
    client.send("ping\nr 0\nping\n");
    assert_eq!(dipc_testkit::process::text(&client.read_to_end()), format!("OK\n{REFUSAL}"));
    drop(greedy);
    let mut again = scene.server.connect();
    // The refused request has left the mailbox.
    again.ask("w 0 3\nnew\n", "OK v=2\n");
}

#[test]
fn a_server_whose_allocations_fail_goes_on() {
    const CLIENTS: usize = 120;
    // The limit of the address space leaves little beside the segment and the threads.
    let directory = Directory::new();
    let mut dipc = bare(program::dipc());
    dipc.args("4 4096 0 4096 --workers 2 --foreground --log-level warn --dir".split(' '));
    dipc.arg(directory.path());
    let mut command = after("ulimit -v 350000", &dipc);
    let mut child =
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().expect("sh");
    let line = first_line(&mut child);
    let port = line.split_once("127.0.0.1:").and_then(|(_, rest)| rest.split(' ').next()?.parse().ok());
    let server = Server { port: port.expect("a port"), classic: None, directory, child };
    let mut neighbour = server.connect();
    let message = "x".repeat(4 * MIB as usize);
    neighbour.ask(format!("w 0 {}\n{message}\n", message.len()), "OK v=1\n");
    let mut greedy: Vec<TcpStream> = (0..CLIENTS).map(|_| tcp_stream(server.port)).collect();
    for stream in &mut greedy {
        send(stream, "r 0\n");
        neighbour.ask("ping\n", "OK\n");
    }
    server.wait_for_stat("reads", |reads| reads >= CLIENTS as u64);
    let (closed, busy) = (server.stat("closed_for_memory"), server.stat("err_busy"));
    assert!(closed + busy > 0, "no allocation has failed");
    // Many answers of one batch, too.
    let mut asking: Vec<TcpStream> = (0..CLIENTS).map(|_| tcp_stream(server.port)).collect();
    for stream in &mut asking {
        send_until_it_blocks(stream, "stat\n".repeat(4000).as_bytes(), 20_000);
        neighbour.ask("ping\n", "OK\n");
    }
    neighbour.ask("w 1 5\nhello\n", "OK v=1\n");
    neighbour.ask("r 1\n", "DATA 5 v=1 n=1\nhello\n");
}
