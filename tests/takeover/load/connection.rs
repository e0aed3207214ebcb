//! A client connection whose end is a result and no failure.

use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::TcpStream;

use dipc_testkit::client::tcp_stream;

/// A connection. [`tcp_stream`] fails if it is refused.
pub(crate) struct Connection(BufReader<TcpStream>);

/// An answer: its header line, and the data of `DATA` or `EVENT`.
#[derive(Debug)]
pub(crate) struct Answer {
    pub header: String,
    pub data: String,
}

impl Answer {
    pub(crate) fn is_drain(&self) -> bool {
        self.header.starts_with("ERR drain")
    }

    /// The value of `name=` in the header.
    #[track_caller]
    pub(crate) fn field(&self, name: &str) -> u64 {
        dipc_testkit::client::field(&self.header, name)
    }
}

impl Connection {
    pub(crate) fn open(port: u16) -> Self {
        Connection(BufReader::new(tcp_stream(port)))
    }

    /// Sends a request. Returns its answer, or `None` if the connection has ended or ends with `ERR drain`.
    pub(crate) fn ask(&mut self, request: &str) -> Option<Answer> {
        self.send(request)?;
        self.next().filter(|answer| !answer.is_drain())
    }

    pub(crate) fn send(&mut self, request: &str) -> Option<()> {
        let sent = self.0.get_mut().write_all(request.as_bytes());
        sent.inspect_err(|error| expect_ended(error.kind())).ok()
    }

    /// The next answer or event, or `None` at the end of the connection.
    pub(crate) fn next(&mut self) -> Option<Answer> {
        let mut header = String::new();
        let read = self.0.read_line(&mut header).inspect_err(|error| expect_ended(error.kind()));
        if read.ok()? == 0 {
            return None;
        }
        assert!(header.ends_with('\n'), "a part of an answer: {header}");
        header.pop();
        let mut words = header.split(' ');
        let len = match words.next() {
            Some("DATA" | "EVENT") => words.next()?.parse::<usize>().expect("a length") + 1,
            _ => 0,
        };
        let mut data = vec![0; len];
        self.0.read_exact(&mut data).expect("the whole answer");
        data.pop();
        Some(Answer { header, data: String::from_utf8(data).expect("text") })
    }
}

#[track_caller]
fn expect_ended(kind: ErrorKind) {
    assert!(matches!(kind, ErrorKind::ConnectionReset | ErrorKind::BrokenPipe), "no answer: {kind}");
}
