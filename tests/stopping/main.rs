//! The end of a server and its next start: which requests are answered, which messages are kept, and which
//! starts are refused.

mod answers;
mod damage;
mod duration;
mod geometry;
mod next_start;
mod resize;

use std::io::ErrorKind;
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::Command;

use dipc_testkit::client::Client;
use dipc_testkit::port::Port;
use dipc_testkit::process::run;
use dipc_testkit::program;
use dipc_testkit::server::Server;
use nix::sys::signal::Signal;

/// Bytes of a large message. Many answers with this message are more than the buffers of a socket hold.
const LARGE: usize = 65_000;

/// A server that can be started again on its port.
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

    /// Starts the server again, with arguments `before` and `after` the port.
    fn restart(&mut self, before: &str, after: &str) {
        self.server.restart(&format!("{before} {} {after}", self.port.number));
    }

    fn segment(&self) -> PathBuf {
        self.server.directory.path().join(self.port.number.to_string()).join("segment")
    }

    /// Expects that a start fails with this exit code. Returns its message.
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

/// Sends bytes and a signal to a halted server, which then finds both at the same time.
fn send_before_signal(server: &Server, client: &mut Client, bytes: impl AsRef<[u8]>, signal: Signal) {
    server.halt();
    client.send(bytes);
    server.signal(signal);
    server.signal(Signal::SIGCONT);
}

/// A client that reads none of its answers, which are more than all buffers hold.
fn stuck_client(server: &Server) -> Client {
    let mut client = large_message(server);
    client.send("r 0\n".repeat(1000));
    server.wait_for_stat("flushing", |clients| clients == 1);
    client
}

/// A client that has written a large message.
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
