//! A server in the foreground that ends with its test.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use nix::sys::signal::Signal;

use crate::client::Client;
use crate::directory::Directory;
use crate::port::{classic_port_in, port_in};
use crate::process::{self, cpu_time, first_line, stat_fields, wait_for_end};
use crate::program;
use crate::wait::wait_until;

/// More processor time than a server needs for a second without work. A server that polls without a pause
/// uses several times as much, even on a busy machine.
const IDLE_CPU: Duration = Duration::from_millis(150);

/// A server on a free port, with a base directory of its own. It is killed when this is dropped.
pub struct Server {
    /// Where it listens on 127.0.0.1.
    pub port: u16,
    /// The port of `--classic`, if it has one beside `port`.
    pub classic: Option<u16>,
    /// Where its instance is.
    pub directory: Directory,
    /// Its process.
    pub child: Child,
}

impl Server {
    /// Starts a server with arguments such as `4 64 0 8 --wait 1`. Port 0 requests a free port.
    #[track_caller]
    pub fn start(arguments: &str) -> Self {
        Server::start_in(Directory::new(), arguments)
    }

    /// Starts a server that also listens on the Unix-domain socket [`Server::socket`].
    #[track_caller]
    pub fn start_with_socket(arguments: &str) -> Self {
        let directory = Directory::new();
        let socket = directory.join("socket");
        Server::start_in(directory, &format!("{arguments} --unix {}", socket.display()))
    }

    /// Starts a server whose instance is in `directory`.
    #[track_caller]
    pub fn start_in(directory: Directory, arguments: &str) -> Self {
        let (child, port, classic) = spawn(directory.path(), arguments);
        Server { port, classic, directory, child }
    }

    /// Starts a server with the same base directory after this one has ended.
    #[track_caller]
    pub fn restart(&mut self, arguments: &str) {
        (self.child, self.port, self.classic) = spawn(self.directory.path(), arguments);
    }

    /// The Unix-domain socket of [`Server::start_with_socket`].
    pub fn socket(&self) -> PathBuf {
        self.directory.join("socket")
    }

    /// The process number.
    pub fn pid(&self) -> i32 {
        self.child.id().cast_signed()
    }

    /// A new connection over TCP.
    #[track_caller]
    pub fn connect(&self) -> Client {
        Client::tcp(self.port)
    }

    /// A new connection to the port of `--classic`.
    #[track_caller]
    pub fn connect_classic(&self) -> Client {
        Client::tcp(self.classic.expect("the server has --classic"))
    }

    /// One value of `stat`, requested on a separate connection.
    #[track_caller]
    pub fn stat(&self, name: &str) -> u64 {
        self.connect().stat(name)
    }

    /// Asks `stat` until `name` has a value that `good` accepts.
    #[track_caller]
    pub fn wait_for_stat(&self, name: &str, good: impl Fn(u64) -> bool) {
        let mut client = self.connect();
        wait_until(name, || good(client.stat(name)));
    }

    /// One value of `stat` of a mailbox, requested on a separate connection.
    #[track_caller]
    pub fn stat_box(&self, mailbox: u32, name: &str) -> u64 {
        self.connect().stat_box(mailbox, name)
    }

    /// Asks `stat` of a mailbox until `name` has a value that `good` accepts.
    #[track_caller]
    pub fn wait_for_stat_box(&self, mailbox: u32, name: &str, good: impl Fn(u64) -> bool) {
        let mut client = self.connect();
        wait_until(name, || good(client.stat_box(mailbox, name)));
    }

    /// Sends it a signal.
    #[track_caller]
    pub fn signal(&self, signal: Signal) {
        process::signal(self.child.id(), signal);
    }

    /// Stops all its threads until it gets `SIGCONT`.
    #[track_caller]
    pub fn halt(&self) {
        self.signal(Signal::SIGSTOP);
        wait_until("the server halts", || stat_fields(self.pid()).expect("the server lives")[0] == "T");
    }

    /// A new client whose request waits, for a mailbox or for a message.
    #[track_caller]
    pub fn enqueue(&self, request: impl AsRef<[u8]>) -> Client {
        let mut client = self.connect();
        self.send_waiting(&mut client, request);
        client
    }

    /// Sends a request that waits, and returns when the server counts it as waiting.
    #[track_caller]
    pub fn send_waiting(&self, client: &mut Client, request: impl AsRef<[u8]>) {
        let before = self.stat("waiting");
        client.send(request);
        self.wait_for_stat("waiting", |waiting| waiting == before + 1);
    }

    /// Waits for the end of the server. Returns its exit code, or `None` after a signal.
    #[track_caller]
    pub fn wait(&mut self) -> Option<i32> {
        wait_for_end(&mut self.child)
    }

    /// Kills it, and waits for its end.
    #[track_caller]
    pub fn kill(&mut self) {
        self.child.kill().expect("our child");
        assert_eq!(self.wait(), None, "the server ended before it was killed");
    }

    /// Bytes of the server's own memory: anonymous, not the segment.
    pub fn own_memory(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid())).expect("the server lives");
        let line = status.lines().find(|line| line.starts_with("RssAnon:")).expect("RssAnon");
        line.split_whitespace().nth(1).expect("a number").parse::<u64>().expect("a number") * 1024
    }

    /// The number of its open descriptors.
    pub fn descriptors(&self) -> usize {
        fs::read_dir(format!("/proc/{}/fd", self.pid())).expect("the server lives").count()
    }

    /// Expects that the server uses almost no processor time until silence has completed a request of this
    /// client. The server must run with `--quiet-ms 1000`, so that the silence lasts a second.
    #[track_caller]
    pub fn expect_idle(&self, client: &mut Client) {
        let before = cpu_time(self.pid());
        client.ask("ping", "OK\n");
        let spent = cpu_time(self.pid()) - before;
        assert!(spent < IDLE_CPU, "an idle server has used {spent:?} of processor time");
    }

    /// `dipcrm` of this server's instance.
    pub fn dipcrm(&self) -> Command {
        let mut command = Command::new(program::dipcrm());
        command.arg(self.port.to_string()).arg("--dir").arg(self.directory.path());
        command
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[track_caller]
fn spawn(directory: &Path, arguments: &str) -> (Child, u16, Option<u16>) {
    let mut child = Command::new(program::dipc())
        .args(arguments.split_whitespace())
        .arg("--dir")
        .arg(directory)
        .arg("--foreground")
        .args(["--log-level", "warn"])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .expect("the server starts");
    let line = first_line(&mut child);
    match port_in(&line) {
        Some(port) => (child, port, classic_port_in(&line)),
        None => panic!("no server: {line:?}, {:?}", child.wait()),
    }
}
