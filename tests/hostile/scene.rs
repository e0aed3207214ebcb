//! A server, a well-behaved client, and functions for clients that misbehave.

use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;

use dipc_testkit::client::{Client, tcp_stream};
use dipc_testkit::server::Server;
use dipc_testkit::wait::wait_until;

pub(crate) const KIB: u64 = 1024;
pub(crate) const MIB: u64 = 1024 * KIB;

/// A server, a well-behaved client, and the resources of the server before other clients connect.
pub(crate) struct Scene {
    pub server: Server,
    pub neighbour: Client,
    pub descriptors: usize,
    pub memory: u64,
    /// Connections that were made.
    pub made: u64,
}

impl Scene {
    pub(crate) fn new(arguments: &str) -> Self {
        Scene::on(Server::start(arguments))
    }

    pub(crate) fn on(server: Server) -> Self {
        let mut neighbour = server.connect();
        neighbour.ask("w 1 9\nneighbour\n", "OK v=1\n");
        let (descriptors, memory) = (server.descriptors(), server.own_memory());
        Scene { server, neighbour, descriptors, memory, made: 1 }
    }

    /// A new connection of a client that misbehaves.
    pub(crate) fn connect(&mut self) -> TcpStream {
        self.made += 1;
        tcp_stream(self.server.port)
    }

    pub(crate) fn connect_many(&mut self, count: usize) -> Vec<TcpStream> {
        (0..count).map(|_| self.connect()).collect()
    }

    /// Bytes of memory that the server has taken since the start.
    pub(crate) fn grown(&self) -> u64 {
        self.server.own_memory().saturating_sub(self.memory)
    }

    /// The most memory that the server has ever had, in bytes.
    pub(crate) fn peak(&self) -> u64 {
        let status =
            fs::read_to_string(format!("/proc/{}/status", self.server.pid())).expect("the server lives");
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("VmHWM");
        line.trim().trim_end_matches(" kB").parse::<u64>().expect("a number") * KIB
    }

    /// Waits until all connections are accepted and all sent bytes are read. The server handles events in
    /// their order, so it has read the bytes when it answers the last `ping`.
    #[track_caller]
    pub(crate) fn catch_up(&mut self) {
        let made = self.made;
        self.wait_for_stat("connections_accepted", |accepted| accepted == made);
        self.neighbour.ask("ping\n", "OK\n");
    }

    #[track_caller]
    pub(crate) fn wait_for_stat(&mut self, name: &str, good: impl Fn(u64) -> bool) {
        wait_until(name, || good(self.neighbour.stat(name)));
    }

    /// Expects that the neighbour is served.
    #[track_caller]
    pub(crate) fn neighbour_is_served(&mut self) {
        for _ in 0..20 {
            self.neighbour.ask("ping\n", "OK\n");
            self.neighbour.ask("r 1\n", "DATA 9 v=1 n=1\nneighbour\n");
        }
    }

    /// Waits until all other clients have left, and expects that the server keeps nothing of them.
    #[track_caller]
    pub(crate) fn ends_as_it_began(&mut self) {
        let Scene { server, neighbour, descriptors, .. } = self;
        wait_until("only the neighbour is connected", || neighbour.stat("connections") == 1);
        wait_until("the descriptors are back", || server.descriptors() == *descriptors);
        self.neighbour_is_served();
        for nothing in ["working", "waiting", "flushing", "overtakes", "err_internal"] {
            assert_eq!(self.neighbour.stat(nothing), 0, "{nothing}");
        }
    }
}

pub(crate) fn send(stream: &mut TcpStream, bytes: impl AsRef<[u8]>) {
    stream.write_all(bytes.as_ref()).expect("sent");
}

/// Sends until the server reads no more. Returns the number of sent bytes.
pub(crate) fn send_until_it_blocks(stream: &mut TcpStream, bytes: &[u8], max: u64) -> u64 {
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

/// Sends until the socket fails. Returns its error.
pub(crate) fn send_until_it_fails(stream: &mut TcpStream, bytes: &[u8], max: u64) -> ErrorKind {
    let mut sent = 0;
    loop {
        match stream.write(bytes) {
            Ok(len) => sent += len as u64,
            Err(error) => return error.kind(),
        }
        assert!(sent < max, "{sent} bytes were accepted");
    }
}

pub(crate) fn expect(stream: &mut TcpStream, expected: impl AsRef<[u8]>) {
    let expected = expected.as_ref();
    let mut found = vec![0; expected.len()];
    stream.read_exact(&mut found).expect("an answer");
    assert_eq!(found.escape_ascii().to_string(), expected.escape_ascii().to_string());
}

pub(crate) fn expect_end(stream: &mut TcpStream) {
    let mut rest = Vec::new();
    match stream.read_to_end(&mut rest) {
        Ok(_) => {}
        Err(error) if error.kind() == ErrorKind::ConnectionReset => {}
        Err(error) => panic!("no end: {error}"),
    }
    assert_eq!(rest.escape_ascii().to_string(), "");
}
