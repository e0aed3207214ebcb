//! Where a request ends. The server reads the same requests, however their bytes are cut into packets. It
//! never reads data as a request. Most of these tests turn off completion by silence, so that only the bytes
//! decide.

mod body;
mod cuts;
mod end;
mod errors;
mod header;
mod protocols;
mod streams;

use std::io::Write;
use std::net::Shutdown;

use dipc_testkit::client::{Client, tcp_stream};
use dipc_testkit::server::Server;

/// Bytes that one client sends before it closes its writing half.
struct Stream {
    bytes: Vec<u8>,
    /// All answers, with versions relative to the first, and `..` for the text of an `ERR`.
    answers: String,
    /// The messages that these bytes write to mailbox 3.
    writes: Vec<&'static [u8]>,
}

fn stream(bytes: impl AsRef<[u8]>, answers: &str, writes: &[&'static [u8]]) -> Stream {
    Stream { bytes: bytes.as_ref().to_vec(), answers: answers.to_owned(), writes: writes.to_vec() }
}

/// A server, and a client that checks the content of mailbox 3 after each stream.
struct Harness {
    server: Server,
    watcher: Client,
    version: u64,
    content: Vec<u8>,
}

impl Harness {
    fn new() -> Self {
        Harness::of("4 64 0 8 --quiet-ms 0 --log-file /dev/null")
    }

    fn of(arguments: &str) -> Self {
        let server = Server::start(arguments);
        let watcher = server.connect();
        Harness { server, watcher, version: 0, content: Vec::new() }
    }

    /// Sends a stream in packets. The server has read each packet before the next one is sent. Checks that
    /// exactly the writes of the stream were done. Returns the answers.
    #[track_caller]
    fn play(&mut self, stream: &Stream, cuts: &[usize]) -> String {
        let mut sender = tcp_stream(self.server.port);
        let mut client = Client::over(sender.try_clone().expect("cloned"));
        if !cuts.is_empty() {
            // When this is answered, the server has accepted the connection of the sender.
            self.watcher.ask("ping\n", "OK\n");
        }
        let mut sent = 0;
        for &cut in cuts {
            // Fails if the server has closed the connection. The answers show whether it should.
            let _ = sender.write_all(&stream.bytes[sent..cut]);
            // When this is answered, the server has read the packet.
            self.watcher.ask("ping\n", "OK\n");
            sent = cut;
        }
        let _ = sender.write_all(&stream.bytes[sent..]);
        let _ = sender.shutdown(Shutdown::Write);
        let answers = relative(&client.read_to_end(), self.version);
        self.version += stream.writes.len() as u64;
        if let Some(last) = stream.writes.last() {
            self.content = last.to_vec();
        }
        self.expect_state(&stream.bytes, cuts);
        answers
    }

    #[track_caller]
    fn expect_state(&mut self, bytes: &[u8], cuts: &[usize]) {
        self.watcher.send("r 3\n");
        let (header, content) = self.watcher.data();
        let expected = format!("DATA {} v={}", self.content.len(), self.version);
        let what = || format!("written by {} cut at {cuts:?}", shown(bytes));
        assert!(header.starts_with(&format!("{expected} ")), "{header} is not {expected}, {}", what());
        assert!(content == self.content, "{} is not expected, {}", content.escape_ascii(), what());
    }
}

/// Answers with their versions relative to `version`.
fn relative(answers: &[u8], version: u64) -> String {
    let answers = answers.escape_ascii().to_string().replace("\\n", "\n").replace("\\r", "\r");
    let mut parts = answers.split("v=");
    let mut counted = parts.next().expect("a first part").to_owned();
    for part in parts {
        let end = part.find(|c: char| !c.is_ascii_digit()).unwrap_or(part.len());
        let number: i128 = part[..end].parse().expect("a version");
        counted += &format!("v={:+}{}", number - i128::from(version), &part[end..]);
    }
    counted
}

/// Answers with `..` in place of the texts of errors. A text of fewer than three words stays, and fails the
/// comparison.
fn wordless(answers: &str) -> String {
    let without = |line: &str| match line.split_once(" : ") {
        Some((code, words)) if code.starts_with("ERR ") && words.split_whitespace().count() > 2 => {
            format!("{code} ..{}", &words[words.trim_end().len()..])
        }
        _ => line.to_owned(),
    };
    answers.split_inclusive('\n').map(without).collect()
}

fn shown(bytes: &[u8]) -> String {
    let front = &bytes[..bytes.len().min(100)];
    format!("{} ({} bytes)", front.escape_ascii(), bytes.len())
}
