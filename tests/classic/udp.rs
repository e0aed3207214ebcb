//! Requests and answers of one packet each.

use std::net::UdpSocket;
use std::time::Duration;

use dipc_testkit::process::text;
use dipc_testkit::server::Server;
use dipc_testkit::wait::HANG;

use crate::server;

/// A socket that sends to the classic port and receives only from it.
fn socket(server: &Server) -> UdpSocket {
    let socket = UdpSocket::bind("127.0.0.1:0").expect("bound");
    socket.connect(("127.0.0.1", server.classic.expect("a classic port"))).expect("connected");
    socket.set_read_timeout(Some(HANG)).expect("set");
    socket
}

fn receive(socket: &UdpSocket) -> String {
    let mut answer = vec![0; 1 << 16];
    let len = socket.recv(&mut answer).expect("an answer");
    text(&answer[..len])
}

fn ask(socket: &UdpSocket, packet: impl AsRef<[u8]>) -> String {
    socket.send(packet.as_ref()).expect("sent");
    receive(socket)
}

#[test]
fn each_packet_has_one_answer() {
    let server = server();
    let socket = socket(&server);
    for (packet, answer) in [
        ("w 3\nhello", "OK v=1\n"),
        ("r 3", "hello"),
        ("r 3\n", "hello\n"),
        ("r 1", "\n"),
        ("w 3 if=1 id=a7\nagain", "id=a7 OK v=2\n"),
        ("w 3 if=1 id=a7\nagain", "id=a7 NO conflict v=2\n"),
        ("r 3 id=8", "id=8 again"),
        ("q", "OK\n"),
        ("help", "r3: read mailbox 3. w3, and the text behind it: write. q: leave.\n"),
        ("put 3\nx", "ERR verb : unknown verb \"put\", try help\n"),
        ("take 3", "ERR verb : unknown verb \"take\", try help\n"),
        ("r 4", "ERR box max=3 : no mailbox 4; this server has 0 to 3\n"),
    ] {
        assert_eq!(ask(&socket, packet), answer, "{packet:?}");
    }
    assert_eq!(server.stat("packets"), 12);
}

#[test]
fn a_locked_mailbox_is_answered_at_once() {
    let server = server();
    let mut holder = server.connect();
    holder.lock("lock 2 ttl=600\n");
    let socket = socket(&server);
    assert_eq!(ask(&socket, "w 2 id=1\nx"), "id=1 NO timeout\n");
    assert_eq!(ask(&socket, "r 2"), "NO timeout v=0\n");
    holder.ask("unlock 2\n", "OK\n");
    assert_eq!(ask(&socket, "w 2\nx"), "OK v=1\n");
}

#[test]
fn an_answer_is_not_answered() {
    let server = server();
    let socket = socket(&server);
    for packet in ["OK v=1\n", "NO timeout\n", "ERR verb : x\n", "", "\0\0", "  "] {
        socket.send(packet.as_bytes()).expect("sent");
    }
    assert_eq!(
        ask(&socket, "help id=last"),
        "id=last r3: read mailbox 3. w3, and the text behind it: write. q: leave.\n"
    );
    assert_eq!(server.stat("packets"), 1);
}

#[test]
fn an_answer_that_fits_into_no_packet_is_refused() {
    let server = Server::start("4 128 0 128 --classic 0");
    let socket = socket(&server);
    let mut client = server.connect();
    client.ask(format!("w 0 65507\n{}\n", "x".repeat(65_507)), "OK v=1\n");
    assert_eq!(ask(&socket, "r 0").len(), 65_507);
    assert_eq!(ask(&socket, "r 0 id=1"), "id=1 ERR size max=65507 : the answer is longer than a packet\n");
    client.ask(format!("w 0 65508\n{}\n", "x".repeat(65_508)), "OK v=2\n");
    assert!(ask(&socket, "r 0").starts_with("ERR size max=65507 "));
}

#[test]
fn many_packets_at_once_are_answered_or_dropped() {
    const PACKETS: u64 = 2000;
    let server = server();
    let socket = socket(&server);
    for _ in 0..PACKETS {
        socket.send(b"w 1\nx").expect("sent");
    }
    socket.set_read_timeout(Some(Duration::from_millis(500))).expect("set");
    let mut buffer = [0; 100];
    let mut answered = 0;
    while socket.recv(&mut buffer).is_ok() {
        answered += 1;
    }
    assert!(answered > 0);
    let writes = server.stat("writes");
    assert!(writes >= answered && writes <= PACKETS, "{answered} answers to {writes} writes");
    assert_eq!(server.stat("overtakes"), 0);
}
