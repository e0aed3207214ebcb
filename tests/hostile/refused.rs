//! Bodies and lines that are refused.

use std::fs;
use std::io::ErrorKind;

use dipc_testkit::directory::Directory;
use dipc_testkit::server::Server;

use crate::scene::{MIB, Scene, expect, expect_end, send, send_until_it_fails};

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
        let mut refused = scene.connect_many(CLIENTS);
        // The bodies of all clients are in transfer at the same time.
        for part in [head.as_bytes()].into_iter().chain(body.chunks(64 * 1024)) {
            refused.iter_mut().for_each(|stream| send(stream, part));
            assert!(
                scene.grown() < MIB,
                "{} bytes more while a body refused with {code} is discarded",
                scene.grown()
            );
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
fn endless_input_closes_the_connection_in_constant_memory() {
    let mut scene = Scene::new("4 64 0 8");
    for head in ["w 0\n", "w 99\n", "w 0 9999999\n", "w 0 five\n", "x", "q\n", "GET / HTTP/1.1\r\n", "\0"] {
        let mut stream = scene.connect();
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
fn a_refused_connection_is_closed_even_if_the_client_keeps_it_open() {
    let mut scene = Scene::new("4 64 0 8");
    let mut streams = scene.connect_many(50);
    streams.iter_mut().for_each(|stream| send(stream, "w 3 five\n"));
    for stream in &mut streams {
        expect(stream, "ERR frame : the data is the next line: w 3; or has a length: w 3 5\n");
        expect_end(stream);
    }
    scene.ends_as_it_began();
    assert_eq!(scene.neighbour.stat("err_frame"), 50);
    drop(streams);
}

#[test]
fn a_flood_of_http_requests_logs_one_line() {
    const CLIENTS: u64 = 300;
    let directory = Directory::new();
    let log = directory.path().join("log");
    let arguments = format!("4 64 0 8 --log-file {}", log.display());
    let mut scene = Scene::on(Server::start_in(directory, &arguments));
    let request = "POST /w HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\nw 0\nno\nr 0\n";
    for _ in 0..CLIENTS {
        let mut stream = scene.connect();
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
