//! A client of raw bytes: it sends the bytes of a test, and compares the received bytes with expected ones.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, Command};
use std::time::Duration;

use socket2::SockRef;

use crate::process::text;
use crate::wait::HANG;

/// A connected socket.
pub trait Stream: Read + Write + AsFd + Send {
    /// Closes the writing half.
    fn half_close(&self);

    /// Sets how long a read may take.
    fn set_timeout(&self, time: Duration);
}

impl Stream for TcpStream {
    fn half_close(&self) {
        self.shutdown(Shutdown::Write).expect("half-closed");
    }

    fn set_timeout(&self, time: Duration) {
        self.set_read_timeout(Some(time)).expect("set");
    }
}

impl Stream for UnixStream {
    fn half_close(&self) {
        self.shutdown(Shutdown::Write).expect("half-closed");
    }

    fn set_timeout(&self, time: Duration) {
        self.set_read_timeout(Some(time)).expect("set");
    }
}

/// A connection to a server.
pub struct Client {
    /// The socket, for operations without a method here.
    pub stream: Box<dyn Stream>,
    received: Vec<u8>,
}

impl Client {
    /// Connects to a port of 127.0.0.1.
    #[track_caller]
    pub fn tcp(port: u16) -> Self {
        Client::over(tcp_stream(port))
    }

    /// Connects to a Unix-domain socket.
    #[track_caller]
    pub fn unix(path: &Path) -> Self {
        let stream = UnixStream::connect(path).expect("connected");
        stream.set_read_timeout(Some(HANG)).expect("set");
        Client::over(stream)
    }

    /// A client over an existing connection, which keeps its read timeout.
    pub fn over(stream: impl Stream + 'static) -> Self {
        Client { stream: Box::new(stream), received: Vec::new() }
    }

    /// Sends bytes.
    #[track_caller]
    pub fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.stream.write_all(bytes.as_ref()).expect("sent");
    }

    /// Expects that exactly these bytes come next.
    #[track_caller]
    pub fn expect(&mut self, expected: impl AsRef<[u8]>) {
        let expected = expected.as_ref();
        while self.received.len() < expected.len() && self.receive() > 0 {}
        let found = &self.received[..self.received.len().min(expected.len())];
        assert_eq!(found.escape_ascii().to_string(), expected.escape_ascii().to_string());
        self.received.drain(..expected.len());
    }

    /// Expects the end of the connection, and no bytes before it.
    #[track_caller]
    pub fn expect_end(&mut self) {
        let rest = self.read_to_end();
        assert_eq!(rest.escape_ascii().to_string(), "");
    }

    /// Sends a request and expects this answer.
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
        self.message_of("DATA")
    }

    /// The next `EVENT`: its header line and its bytes.
    #[track_caller]
    pub fn event(&mut self) -> (String, Vec<u8>) {
        self.message_of("EVENT")
    }

    #[track_caller]
    fn message_of(&mut self, kind: &str) -> (String, Vec<u8>) {
        let message = self.message();
        assert_eq!(message.0.split(' ').next(), Some(kind), "{} is no {kind}", message.0);
        message
    }

    /// The next answer or event: its header line, and its bytes if it is a `DATA` or an `EVENT`.
    #[track_caller]
    pub fn message(&mut self) -> (String, Vec<u8>) {
        let header = self.line();
        let mut words = header.split(' ');
        let data = match words.next() {
            Some("DATA" | "EVENT") => {
                let len = words.next().expect("a length").parse().expect("a length");
                let data = self.bytes(len);
                self.expect("\n");
                data
            }
            _ => Vec::new(),
        };
        (header, data)
    }

    /// Sends a request that is answered `ERR`. Returns the code and the fields of the answer, not its text.
    #[track_caller]
    pub fn refused(&mut self, request: impl AsRef<[u8]>) -> String {
        self.send(request);
        let line = self.line();
        let code = line.strip_prefix("ERR ").unwrap_or_else(|| panic!("{line} is no ERR"));
        code.split(" : ").next().expect("a code").to_owned()
    }

    /// Sends a `lock`. Returns the fencing token in its answer.
    #[track_caller]
    pub fn lock(&mut self, request: impl AsRef<[u8]>) -> u64 {
        self.send(request);
        self.locked()
    }

    /// The fencing token in the answer to a `lock` that was sent before.
    #[track_caller]
    pub fn locked(&mut self) -> u64 {
        let line = self.line();
        let token = line.strip_prefix("OK grant=").unwrap_or_else(|| panic!("{line} is no lock"));
        token.parse().expect("a number")
    }

    /// Sends a `stat`. Returns the lines of its answer, of all parts.
    #[track_caller]
    pub fn stat_lines(&mut self, request: &str) -> Vec<String> {
        let (mut lines, mut part) = (Vec::new(), request.to_owned());
        loop {
            self.send(&part);
            let (header, data) = self.data();
            lines.extend(text(&data).lines().map(str::to_owned));
            if !header.contains(" more=") {
                return lines;
            }
            part = format!("{} from={}\n", request.trim_end(), field(&header, "more"));
        }
    }

    /// One value of `stat`.
    #[track_caller]
    pub fn stat(&mut self, name: &str) -> u64 {
        self.stat_value("stat\n", name)
    }

    /// One value of `stat` of a mailbox.
    #[track_caller]
    pub fn stat_box(&mut self, mailbox: u32, name: &str) -> u64 {
        self.stat_value(&format!("stat {mailbox}\n"), name)
    }

    #[track_caller]
    fn stat_value(&mut self, request: &str, name: &str) -> u64 {
        let lines = self.stat_lines(request);
        let value = lines.iter().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        value.unwrap_or_else(|| panic!("no {name} in stat")).parse().expect("a number")
    }

    /// The next `len` bytes.
    #[track_caller]
    pub fn bytes(&mut self, len: usize) -> Vec<u8> {
        while self.received.len() < len {
            assert!(self.receive() > 0, "the connection ended after {:?}", text(&self.received));
        }
        self.received.drain(..len).collect()
    }

    /// All bytes until the end of the connection.
    #[track_caller]
    pub fn read_to_end(&mut self) -> Vec<u8> {
        while self.receive() > 0 {}
        std::mem::take(&mut self.received)
    }

    /// Whether bytes, or the end of the connection, come within `time`.
    pub fn is_answered_within(&mut self, time: Duration) -> bool {
        self.stream.set_timeout(time);
        let mut buffer = [0; 1024];
        let read = self.stream.read(&mut buffer);
        self.stream.set_timeout(HANG);
        self.received.extend_from_slice(&buffer[..*read.as_ref().unwrap_or(&0)]);
        read.is_ok()
    }

    /// Closes the writing half.
    pub fn half_close(&self) {
        self.stream.half_close();
    }

    /// Ends the connection with a reset. TCP only.
    pub fn reset(self) {
        SockRef::from(&self.stream.as_fd()).set_linger(Some(Duration::ZERO)).expect("set");
    }

    /// Passes the connection to a new process, which neither reads nor writes, and closes it in this process.
    pub fn give_away(self) -> Child {
        let descriptor: OwnedFd = self.stream.as_fd().try_clone_to_owned().expect("cloned");
        Command::new("sleep").arg("1000").stdin(descriptor).spawn().expect("sleep")
    }

    /// Receives some bytes. Returns their number, or 0 if the connection has ended or was reset.
    #[track_caller]
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

/// A connection to a port of 127.0.0.1 that sends small pieces at once, and whose reads and writes fail after
/// [`HANG`].
#[track_caller]
pub fn tcp_stream(port: u16) -> TcpStream {
    let stream = TcpStream::connect(("127.0.0.1", port)).expect("connected");
    stream.set_nodelay(true).expect("set");
    stream.set_read_timeout(Some(HANG)).expect("set");
    stream.set_write_timeout(Some(HANG)).expect("set");
    stream
}

/// Ends a connection with a reset.
pub fn reset(stream: TcpStream) -> io::Result<()> {
    SockRef::from(&stream).set_linger(Some(Duration::ZERO))
}

/// The value of `name=` in a header line.
#[track_caller]
pub fn field(line: &str, name: &str) -> u64 {
    let value = line.split(' ').find_map(|word| word.strip_prefix(name)?.strip_prefix('='));
    value.unwrap_or_else(|| panic!("no {name}= in {line}")).parse().expect("a number")
}
