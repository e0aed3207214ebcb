//! Clients that put a length in front of each datagram.

use std::thread;

use dipc_testkit::client::Client;
use dipc_testkit::process::text;
use dipc_testkit::wait::HANG;

use crate::server;

fn frame(datagram: impl AsRef<[u8]>) -> Vec<u8> {
    let datagram = datagram.as_ref();
    [&(datagram.len() as u32).to_be_bytes()[..], datagram].concat()
}

/// The next answer, without its length.
fn answer(client: &mut Client) -> Vec<u8> {
    let length = client.bytes(4);
    let length = u32::from_be_bytes(length.try_into().expect("four bytes"));
    client.bytes(length as usize)
}

#[test]
fn each_frame_has_one_answer() {
    let server = server();
    let mut client = server.connect_classic();
    for (datagram, expected) in [
        (&b"w 3\nhello"[..], &b"OK v=1\n"[..]),
        (b"r 3", b"hello"),
        (b"w 3\nbytes \0\xff\n", b"OK v=2\n"),
        (b"r 3\n", b"bytes \0\xff\n"),
        (b"r 1", b"\n"),
        (b"q 1 2", b"ERR verb : unknown verb \"q\", try help\n"),
    ] {
        client.ask(frame(datagram), frame(expected));
    }
    client.send(frame("help"));
    assert!(text(&answer(&mut client)).starts_with("the server is active"));
    client.ask(frame("stop"), frame("closing server connection\n"));
    client.expect_end();
    let mut client = server.connect_classic();
    client.send(frame("q"));
    client.expect_end();
}

#[test]
fn frames_may_be_pipelined_and_cut_anywhere() {
    let server = server();
    let mut client = server.connect_classic();
    let requests: Vec<u8> = (0..300).flat_map(|number| frame(format!("w 0\n{number}"))).collect();
    let requests = [requests, frame("r 0")].concat();
    for piece in requests.chunks(7) {
        client.send(piece);
    }
    for version in 1..=300 {
        assert_eq!(text(&answer(&mut client)), format!("OK v={version}\n"));
    }
    assert_eq!(text(&answer(&mut client)), "299");
}

#[test]
fn a_frame_above_the_limit_is_refused_and_the_connection_closed() {
    let server = server();
    for length in [8192 + 65, 1 << 24, u32::MAX] {
        let mut client = server.connect_classic();
        client.send(frame("r 0"));
        assert_eq!(answer(&mut client), b"\n");
        client.send(length.to_be_bytes());
        let refusal = answer(&mut client);
        assert!(text(&refusal).starts_with("ERR size max=8256 : "), "{}", text(&refusal));
        client.expect_end();
    }
    let mut client = server.connect_classic();
    client.send(frame(b""));
    assert!(text(&answer(&mut client)).starts_with("ERR syntax : "));
    client.send(frame([&b"w 0\n"[..], &[b'x'; 8192]].concat()));
    assert!(text(&answer(&mut client)).starts_with("OK v="));
    client.send(frame([&b"w 0\n"[..], &[b'x'; 8193]].concat()));
    assert!(text(&answer(&mut client)).starts_with("ERR size max=8192 : "));
}

#[test]
fn a_frame_without_its_end_is_no_request() {
    let server = server();
    let mut client = server.connect_classic();
    client.send(&frame("w 0\nhello")[..9]);
    client.half_close();
    client.expect_end();
    server.connect().ask("r 0\n", "DATA 0 v=0 n=0\n\n");
}

#[test]
fn all_doors_share_one_order() {
    const ROUNDS: usize = 100;
    let server = server();
    thread::scope(|scope| {
        scope.spawn(|| {
            let mut client = server.connect_classic();
            for _ in 0..ROUNDS {
                client.send(frame("w 0\nframe"));
                assert!(text(&answer(&mut client)).starts_with("OK v="));
            }
        });
        scope.spawn(|| {
            let mut client = server.connect();
            for _ in 0..ROUNDS {
                client.send("w 0 4\ntext\n");
                assert!(client.line().starts_with("OK v="));
            }
        });
        scope.spawn(|| {
            let udp = std::net::UdpSocket::bind("127.0.0.1:0").expect("bound");
            udp.connect(("127.0.0.1", server.classic.expect("a classic port"))).expect("connected");
            udp.set_read_timeout(Some(HANG)).expect("set");
            for _ in 0..ROUNDS {
                udp.send(b"w 0\nudp").expect("sent");
                let mut answer = [0; 100];
                let len = udp.recv(&mut answer).expect("an answer");
                assert!(answer[..len].starts_with(b"OK v="));
            }
        });
        scope.spawn(|| {
            let mut client = server.connect_classic();
            for _ in 0..ROUNDS {
                client.send("r 0\n");
                let line = client.line();
                assert!(["", "frame", "text", "udp"].contains(&line.as_str()), "{line}");
            }
        });
    });
    assert_eq!(server.stat("overtakes"), 0);
    assert_eq!(server.stat("writes"), 3 * ROUNDS as u64);
}
