//! A client that puts and takes numbers until the server is killed.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;

use dipc_testkit::client::{field, tcp_stream};
use dipc_testkit::process::text;

/// The answer to a `take`.
pub(crate) enum Taken {
    Message { version: u64, number: u64 },
    Nothing,
}

/// A connection that lasts until the server is killed.
pub(crate) struct Connection(BufReader<TcpStream>);

impl Connection {
    pub(crate) fn connect(port: u16) -> Self {
        Connection(BufReader::new(tcp_stream(port)))
    }

    pub(crate) fn send(&mut self, request: &str) -> bool {
        self.0.get_mut().write_all(request.as_bytes()).is_ok()
    }

    /// The next line; `None` if it is not complete.
    pub(crate) fn line(&mut self) -> Option<String> {
        let mut line = String::new();
        self.0.read_line(&mut line).ok()?;
        line.strip_suffix('\n').map(str::to_owned)
    }

    /// The answer to a `take`; `None` if it is not complete.
    pub(crate) fn taken(&mut self) -> Option<Taken> {
        let header = self.line()?;
        if header == "NO empty" {
            return Some(Taken::Nothing);
        }
        let len = header.strip_prefix("DATA ").unwrap_or_else(|| panic!("{header:?} to a take"));
        let len: usize = len.split(' ').next().expect("a length").parse().expect("a length");
        let mut data = vec![0; len + 1];
        self.0.read_exact(&mut data).ok()?;
        let number = text(&data[..len]).trim_start_matches('.').parse().expect("a number");
        Some(Taken::Message { version: field(&header, "v"), number })
    }
}

/// A request that puts a number. Messages have many sizes.
pub(crate) fn put(number: u64) -> String {
    let padding = ".".repeat((number % 97 * 5) as usize);
    format!("put 0 wait=inf\n{padding}{number}\n")
}
