//! The real programs, and clients that talk bytes to them. Every read has a deadline; nothing sleeps.
#![allow(dead_code, reason = "each test file uses its part of this")]
#![allow(missing_docs, reason = "tests")]

pub mod instance;

use std::fs;
use std::io::{self, BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::os::unix::fs::DirBuilderExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc;
use std::time::{Duration, Instant};

pub const DIPC: &str = env!("CARGO_BIN_EXE_dipc");
pub const DIPCRM: &str = env!("CARGO_BIN_EXE_dipcrm");

/// How long an answer may take before a test fails.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// A directory of this test, gone with it.
pub struct Directory(PathBuf);

impl Directory {
    pub fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        loop {
            let number = COUNT.fetch_add(1, Ordering::Relaxed);
            let path = Path::new("/dev/shm").join(format!("dipc-test-{}-{number}", std::process::id()));
            // Whatever the umask says: dipc refuses a directory that others can write to.
            match fs::DirBuilder::new().mode(0o700).create(&path) {
                Ok(()) => return Directory(path),
                // An earlier run that was killed had the same process number.
                Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
                Err(error) => panic!("no new directory: {error}"),
            }
        }
    }

    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// A server in the foreground, on a free port, with an instance directory of its own. It ends with the test.
pub struct Server {
    pub port: u16,
    pub directory: Directory,
    pub child: Child,
}

impl Server {
    /// `arguments` as in `4 64 0 8 --wait 1`.
    pub fn start(arguments: &str) -> Self {
        Server::start_in(Directory::new(), arguments)
    }

    pub fn start_in(directory: Directory, arguments: &str) -> Self {
        let (child, port) = spawn(directory.path(), arguments).expect("the server starts");
        Server { port, directory, child }
    }

    /// Starts the same server again on its port, after it has ended.
    pub fn restart(&mut self, arguments: &str) {
        let (child, port) = spawn(self.directory.path(), arguments).expect("the server starts again");
        (self.child, self.port) = (child, port);
    }

    pub fn pid(&self) -> i32 {
        self.child.id() as i32
    }

    pub fn connect(&self) -> Client {
        Client::tcp(self.port)
    }

    /// One value of `stat`, asked for on a connection of its own.
    pub fn stat(&self, name: &str) -> u64 {
        self.connect().stat(name)
    }

    /// Asks `stat` until `name` has the value that `good` accepts.
    pub fn wait_for_stat(&self, name: &str, good: impl Fn(u64) -> bool) {
        let mut client = self.connect();
        wait_until(name, || good(client.stat(name)));
    }

    pub fn signal(&self, signal: nix::sys::signal::Signal) {
        nix::sys::signal::kill(nix::unistd::Pid::from_raw(self.pid()), signal).expect("the server is ours");
    }

    /// Stops the whole server where it stands, until it is told `SIGCONT`.
    pub fn halt(&self) {
        self.signal(nix::sys::signal::Signal::SIGSTOP);
        wait_until("the server halts", || {
            let stat = fs::read_to_string(format!("/proc/{}/stat", self.pid())).expect("the server lives");
            stat.rsplit_once(')').is_some_and(|(_, fields)| fields.trim_start().starts_with('T'))
        });
    }

    /// A new client whose request waits for a mailbox, or for something there.
    #[track_caller]
    pub fn enqueue(&self, request: impl AsRef<[u8]>) -> Client {
        let mut client = self.connect();
        self.let_wait(&mut client, request);
        client
    }

    /// Has a client send a request that waits.
    #[track_caller]
    pub fn let_wait(&self, client: &mut Client, request: impl AsRef<[u8]>) {
        let before = self.stat("waiting");
        client.send(request);
        self.wait_for_stat("waiting", |waiting| waiting == before + 1);
    }

    /// Waits for the end of the server; its exit code, or `None` after a signal.
    pub fn wait(&mut self) -> Option<i32> {
        let started = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().expect("our child") {
                return status.code();
            }
            assert!(started.elapsed() < PATIENCE, "the server does not end");
            std::thread::yield_now();
        }
    }

    /// Bytes of the server's own memory: anonymous, not the segment.
    pub fn own_memory(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid())).expect("the server lives");
        let line = status.lines().find(|line| line.starts_with("RssAnon:")).expect("RssAnon");
        line.split_whitespace().nth(1).expect("a number").parse::<u64>().expect("a number") * 1024
    }

    /// Descriptors that the server has open.
    pub fn descriptors(&self) -> usize {
        fs::read_dir(format!("/proc/{}/fd", self.pid())).expect("the server lives").count()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn spawn(directory: &Path, arguments: &str) -> Result<(Child, u16), String> {
    let mut child = Command::new(DIPC)
        .args(arguments.split_whitespace())
        .arg("--dir")
        .arg(directory)
        .arg("--foreground")
        .args(["--log-level", "warn"])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .map_err(|error| error.to_string())?;
    let mut line = String::new();
    BufReader::new(child.stdout.take().expect("piped"))
        .read_line(&mut line)
        .map_err(|error| error.to_string())?;
    match port_in(&line) {
        Some(port) => Ok((child, port)),
        None => Err(format!("no server: {line:?}, {:?}", child.wait())),
    }
}

/// The port in the line that dipc prints when it is ready: `dipc: 4 mailboxes of 64 kB on 127.0.0.1:5000 (..`.
pub fn port_in(line: &str) -> Option<u16> {
    line.split(" on ").nth(1)?.split([' ', '(']).next()?.rsplit(':').next()?.parse().ok()
}

/// Runs a program to its end.
pub fn run(program: &str, arguments: &[&str]) -> Output {
    Command::new(program).args(arguments).stdin(Stdio::null()).output().expect("the program runs")
}

/// Runs a command until it has ended and nobody holds its output any more. Both must come in time.
#[track_caller]
pub fn finish(command: &mut Command, patience: Duration) -> Output {
    let until = Instant::now() + patience;
    let pipes = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = pipes.spawn().expect("the program runs");
    let stdout = read_aside(child.stdout.take().expect("piped"));
    let stderr = read_aside(child.stderr.take().expect("piped"));
    let hear = |from: &mpsc::Receiver<Vec<u8>>| {
        from.recv_timeout(until.saturating_duration_since(Instant::now())).ok()
    };
    let output = hear(&stdout).zip(hear(&stderr));
    while child.try_wait().expect("our child").is_none() {
        if output.is_none() || Instant::now() > until {
            let _ = child.kill();
        }
        std::thread::yield_now();
    }
    let status = child.wait().expect("our child");
    let Some((stdout, stderr)) = output else {
        panic!("{command:?} does not end within {patience:?}, or what it started holds its output");
    };
    Output { status, stdout, stderr }
}

fn read_aside(mut from: impl Read + Send + 'static) -> mpsc::Receiver<Vec<u8>> {
    let (tell, told) = mpsc::channel();
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        let _ = from.read_to_end(&mut bytes);
        let _ = tell.send(bytes);
    });
    told
}

/// A port of this test alone: it stays bound, so that nobody else gets it, but only a server listens on it.
pub struct Port {
    pub number: u16,
    _bound: socket2::Socket,
}

impl Port {
    pub fn reserve() -> Self {
        let bound =
            socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).expect("a socket");
        bound.set_reuse_address(true).expect("set");
        let any = std::net::SocketAddr::from(([127, 0, 0, 1], 0));
        bound.bind(&any.into()).expect("a free port");
        let number = bound.local_addr().expect("bound").as_socket().expect("an address").port();
        Port { number, _bound: bound }
    }
}

pub fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Waits for something that is bound to become true.
pub fn wait_until(what: &str, mut true_now: impl FnMut() -> bool) {
    let started = Instant::now();
    while !true_now() {
        assert!(started.elapsed() < PATIENCE, "waited in vain: {what}");
        std::thread::yield_now();
    }
}

pub trait Stream: Read + Write + Send {
    fn half_close(&self);
    fn set_patience(&self, time: Duration);
}

impl Stream for TcpStream {
    fn set_patience(&self, time: Duration) {
        self.set_read_timeout(Some(time)).expect("set");
    }

    fn half_close(&self) {
        self.shutdown(Shutdown::Write).expect("half-closed");
    }
}

impl Stream for UnixStream {
    fn set_patience(&self, time: Duration) {
        self.set_read_timeout(Some(time)).expect("set");
    }

    fn half_close(&self) {
        self.shutdown(Shutdown::Write).expect("half-closed");
    }
}

/// A client of bytes.
pub struct Client {
    pub stream: Box<dyn Stream>,
    received: Vec<u8>,
}

impl Client {
    pub fn tcp(port: u16) -> Self {
        let stream = TcpStream::connect(("127.0.0.1", port)).expect("connected");
        stream.set_nodelay(true).expect("set");
        stream.set_read_timeout(Some(PATIENCE)).expect("set");
        stream.set_write_timeout(Some(PATIENCE)).expect("set");
        Client::over(stream)
    }

    pub fn unix(path: &Path) -> Self {
        let stream = UnixStream::connect(path).expect("connected");
        stream.set_read_timeout(Some(PATIENCE)).expect("set");
        Client::over(stream)
    }

    pub fn over(stream: impl Stream + 'static) -> Self {
        Client { stream: Box::new(stream), received: Vec::new() }
    }

    pub fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.stream.write_all(bytes.as_ref()).expect("sent");
    }

    /// Whether anything comes within `time`.
    pub fn is_answered_within(&mut self, time: Duration) -> bool {
        self.stream.set_patience(time);
        let mut buffer = [0; 1024];
        let read = self.stream.read(&mut buffer);
        self.stream.set_patience(PATIENCE);
        self.received.extend_from_slice(&buffer[..*read.as_ref().unwrap_or(&0)]);
        read.is_ok()
    }

    /// Exactly these bytes come next.
    #[track_caller]
    pub fn expect(&mut self, expected: impl AsRef<[u8]>) {
        let expected = expected.as_ref();
        while self.received.len() < expected.len() && self.receive() > 0 {}
        let found = &self.received[..self.received.len().min(expected.len())];
        assert_eq!(found.escape_ascii().to_string(), expected.escape_ascii().to_string());
        self.received.drain(..expected.len());
    }

    /// Nothing comes but the end.
    #[track_caller]
    pub fn expect_end(&mut self) {
        let rest = self.read_to_end();
        assert_eq!(rest.escape_ascii().to_string(), "");
    }

    #[track_caller]
    pub fn ask(&mut self, request: impl AsRef<[u8]>, answer: impl AsRef<[u8]>) {
        self.send(request);
        self.expect(answer);
    }

    /// The next line, without its LF.
    #[track_caller]
    pub fn line(&mut self) -> String {
        loop {
            if let Some(at) = self.received.iter().position(|&b| b == b'\n') {
                let line = self.received.drain(..=at).collect::<Vec<_>>();
                return text(&line[..at]);
            }
            assert!(self.receive() > 0, "the connection ended after {:?}", text(&self.received));
        }
    }

    /// The next `DATA`: its header line and its bytes.
    #[track_caller]
    pub fn data(&mut self) -> (String, Vec<u8>) {
        let header = self.line();
        let len = header.strip_prefix("DATA ").unwrap_or_else(|| panic!("{header} is no DATA"));
        let len: usize = len.split_whitespace().next().expect("a length").parse().expect("a length");
        let data = self.octets(len);
        (header, data)
    }

    /// So many bytes and an LF.
    #[track_caller]
    fn octets(&mut self, len: usize) -> Vec<u8> {
        let data = self.bytes(len);
        self.expect("\n");
        data
    }

    /// The next `EVENT`: its header line and its bytes.
    #[track_caller]
    pub fn event(&mut self) -> (String, Vec<u8>) {
        let header = self.line();
        let len = header.strip_prefix("EVENT ").unwrap_or_else(|| panic!("{header} is no EVENT"));
        let len: usize = len.split_whitespace().next().expect("a length").parse().expect("a length");
        (header, self.octets(len))
    }

    /// Whatever comes next: its header line, and its bytes if it is a `DATA` or an `EVENT`.
    #[track_caller]
    pub fn message(&mut self) -> (String, Vec<u8>) {
        let header = self.line();
        let mut words = header.split(' ');
        let data = match words.next() {
            Some("DATA" | "EVENT") => {
                let len = words.next().expect("a length").parse().expect("a length");
                self.octets(len)
            }
            _ => Vec::new(),
        };
        (header, data)
    }

    /// An answer `ERR`, its text left out.
    #[track_caller]
    pub fn refused(&mut self, request: impl AsRef<[u8]>) -> String {
        self.send(request);
        let line = self.line();
        let code = line.strip_prefix("ERR ").unwrap_or_else(|| panic!("{line} is no ERR"));
        code.split(" : ").next().expect("a code").to_owned()
    }

    /// The number in the answer to a `lock`.
    #[track_caller]
    pub fn lock(&mut self, request: impl AsRef<[u8]>) -> u64 {
        self.send(request);
        self.locked()
    }

    /// The answer to a `lock` that was sent before.
    #[track_caller]
    pub fn locked(&mut self) -> u64 {
        let line = self.line();
        let number = line.strip_prefix("OK grant=").unwrap_or_else(|| panic!("{line} is no lock"));
        number.parse().expect("a number")
    }

    /// The lines of a `stat`.
    #[track_caller]
    pub fn stat_lines(&mut self, request: &str) -> Vec<String> {
        self.send(request);
        text(&self.data().1).lines().map(str::to_owned).collect()
    }

    /// The next `len` bytes.
    #[track_caller]
    pub fn bytes(&mut self, len: usize) -> Vec<u8> {
        while self.received.len() < len {
            assert!(self.receive() > 0, "the connection ended after {:?}", text(&self.received));
        }
        self.received.drain(..len).collect()
    }

    pub fn read_to_end(&mut self) -> Vec<u8> {
        while self.receive() > 0 {}
        std::mem::take(&mut self.received)
    }

    #[track_caller]
    pub fn stat(&mut self, name: &str) -> u64 {
        self.send("stat\n");
        let lines = text(&self.data().1);
        let value = lines.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        value.unwrap_or_else(|| panic!("no {name} in stat")).parse().expect("a number")
    }

    /// Bytes that came, 0 at the end; a reset is an end too.
    fn receive(&mut self) -> usize {
        let mut buffer = vec![0; 64 * 1024];
        loop {
            match self.stream.read(&mut buffer) {
                Ok(len) => {
                    self.received.extend_from_slice(&buffer[..len]);
                    return len;
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::ConnectionReset => return 0,
                Err(error) => panic!("no answer: {error}"),
            }
        }
    }
}

/// Closes a connection the hard way: the server gets a reset.
pub fn reset(stream: TcpStream) -> io::Result<()> {
    socket2::SockRef::from(&stream).set_linger(Some(Duration::ZERO))
}

/// A client that can vanish without a word.
pub struct Breakable {
    pub client: Client,
    stream: TcpStream,
}

impl Breakable {
    pub fn new(port: u16) -> Self {
        let stream = TcpStream::connect(("127.0.0.1", port)).expect("connected");
        stream.set_nodelay(true).expect("set");
        stream.set_read_timeout(Some(PATIENCE)).expect("set");
        let client = Client::over(stream.try_clone().expect("cloned"));
        Breakable { client, stream }
    }

    /// The server gets a reset.
    pub fn reset(self) {
        reset(self.stream).expect("reset");
    }

    /// The connection is that of another process from now on.
    pub fn give_away(self) -> Child {
        let descriptor = std::os::fd::OwnedFd::from(self.stream);
        Command::new("sleep").arg("1000").stdin(descriptor).spawn().expect("sleep")
    }
}

/// The number behind `name` in a header line.
#[track_caller]
pub fn field(line: &str, name: &str) -> u64 {
    let value = line.split(' ').find_map(|word| word.strip_prefix(name)?.strip_prefix('='));
    value.unwrap_or_else(|| panic!("no {name}= in {line}")).parse().expect("a number")
}
