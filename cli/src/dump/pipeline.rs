//! A connection whose requests are sent without waiting for the answers to earlier ones.
//!
//! **Invariant**: the answers that have not been read fit into the buffers of the socket. Otherwise server
//! and client would each wait for the other to read. The callers bound the number of requests and their
//! answers.

use std::fmt;
use std::fs::File;
use std::io::{self, BufRead, BufReader, BufWriter, ErrorKind, Read, Write};
use std::os::fd::AsFd;
use std::time::Duration;

use dipc::client::{Client, Error, Hello};

use super::writer::copy_exactly;
use crate::failure::{Failure, TRY_AGAIN};

/// Bytes of the buffers for requests and for answers.
const BUFFER: usize = 64 * 1024;

/// The longest line of an answer.
const LINE_MAX: u64 = 64 * 1024;

pub(crate) struct Pipeline {
    requests: BufWriter<File>,
    answers: BufReader<File>,
    /// Closes the connection at the end.
    _client: Client,
}

/// The first line of an answer.
pub(crate) struct Answer {
    line: String,
}

impl Pipeline {
    /// Uses a new connection. Returns the properties of the server too.
    pub(crate) fn new(mut client: Client) -> Result<(Self, Hello), Failure> {
        let hello = client.hello(None)?;
        let socket = || client.as_fd().try_clone_to_owned().map(File::from);
        let failed = |error| Failure::local("connection", error);
        let requests = BufWriter::with_capacity(BUFFER, socket().map_err(failed)?);
        let answers = BufReader::with_capacity(BUFFER, socket().map_err(failed)?);
        Ok((Pipeline { requests, answers, _client: client }, hello))
    }

    /// Sends the header line of a request, at the latest when an answer is read.
    pub(crate) fn request(&mut self, line: impl fmt::Display) -> Result<(), Failure> {
        writeln!(self.requests, "{line}").map_err(broken)
    }

    /// Sends the data of a request from this source, and its end of line. The outer error is one of the
    /// source.
    pub(crate) fn data(&mut self, source: &mut impl Read, len: u64) -> io::Result<Result<(), Failure>> {
        let sent = copy_exactly(source, &mut self.requests, len)?;
        Ok(sent.and_then(|()| self.requests.write_all(b"\n")).map_err(broken))
    }

    /// Reads the next answer. The data of a `DATA` has to be read then. Events are skipped: they say that a
    /// lock or a message in hand has been lost, and then a later request is refused.
    pub(crate) fn answer(&mut self) -> Result<Answer, Failure> {
        self.requests.flush().map_err(broken)?;
        loop {
            let answer = self.read_line()?;
            if !answer.line.starts_with("EVENT ") {
                return Ok(answer);
            }
            self.discard(&answer)?;
        }
    }

    /// Copies the data of an answer to `output`. The inner error is one of the output.
    pub(crate) fn copy(
        &mut self,
        answer: &Answer,
        output: &mut impl Write,
    ) -> Result<io::Result<()>, Failure> {
        let Some(len) = answer.len() else { return Ok(Ok(())) };
        let copied = copy_exactly(&mut self.answers, output, len).map_err(broken)?;
        if copied.is_ok() {
            let mut end = [0];
            self.answers.read_exact(&mut end).map_err(broken)?;
            if end != *b"\n" {
                return Err(answer.unexpected());
            }
        }
        Ok(copied)
    }

    /// Skips the data of an answer.
    pub(crate) fn discard(&mut self, answer: &Answer) -> Result<(), Failure> {
        self.copy(answer, &mut io::sink())?.map_err(broken)
    }

    /// Reads the next answer, and its data as text.
    pub(crate) fn text(&mut self) -> Result<(Answer, String), Failure> {
        let answer = self.answer()?;
        let mut data = Vec::new();
        self.copy(&answer, &mut data)?.map_err(broken)?;
        Ok((answer, String::from_utf8_lossy(&data).into_owned()))
    }

    fn read_line(&mut self) -> Result<Answer, Failure> {
        let mut line = String::new();
        (&mut self.answers).take(LINE_MAX).read_line(&mut line).map_err(broken)?;
        match line.pop() {
            Some('\n') => Ok(Answer { line }),
            _ => Err(broken(io::Error::new(ErrorKind::UnexpectedEof, "the server closed the connection"))),
        }
    }
}

impl Answer {
    pub(crate) fn is_ok(&self) -> bool {
        self.line == "OK" || self.line.starts_with("OK ")
    }

    pub(crate) fn is_no(&self, reason: &str) -> bool {
        let rest = self.line.strip_prefix("NO ").and_then(|rest| rest.strip_prefix(reason));
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(' '))
    }

    /// The length of the data. None: the answer has no data.
    pub(crate) fn len(&self) -> Option<u64> {
        let rest = self.line.strip_prefix("DATA ").or_else(|| self.line.strip_prefix("EVENT "))?;
        rest.split(' ').next()?.parse().ok()
    }

    /// The value of a field that is a number.
    pub(crate) fn number(&self, key: &str) -> Option<u64> {
        let fields = self.line.split(" : ").next()?;
        let mut values = fields.split(' ').filter_map(|word| word.strip_prefix(key)?.strip_prefix('='));
        values.next()?.parse().ok()
    }

    /// The failure of a request with this answer. `what`: what the request was about.
    pub(crate) fn failure(&self, what: &str) -> Failure {
        let mut words = self.line.split(' ');
        let (kind, word) = (words.next().unwrap_or(""), words.next().unwrap_or("").to_owned());
        let code = match (kind, &*word) {
            ("NO", _) => 1,
            ("ERR", "busy" | "drain") => TRY_AGAIN,
            ("ERR", _) => 2,
            _ => return self.unexpected(),
        };
        let text = match (self.line.split_once(" : "), &*word) {
            (Some((_, text)), _) => format!("{what}: {word}: {text}"),
            (None, "timeout" | "locked") => format!("{what} is not free: another client has locked it"),
            (None, _) => format!("{what}: {word}"),
        };
        Failure::Transfer { code, word, text }
    }

    fn unexpected(&self) -> Failure {
        Error::Protocol(format!("\"{}\"", self.line.escape_default())).into()
    }
}

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.line)
    }
}

/// ` wait=S`, or nothing for the wait of the server.
pub(super) fn wait_key(wait: Option<Duration>) -> String {
    match wait {
        None => String::new(),
        Some(Duration::MAX) => " wait=inf".to_owned(),
        Some(wait) => format!(" wait={}.{:06}", wait.as_secs(), wait.subsec_micros()),
    }
}

/// A failure of the connection.
fn broken(error: io::Error) -> Failure {
    let error = match error.kind() {
        ErrorKind::WouldBlock => io::Error::new(ErrorKind::TimedOut, "the server was silent for too long"),
        ErrorKind::UnexpectedEof => io::Error::new(error.kind(), "the server closed the connection"),
        _ => error,
    };
    Error::Io(error).into()
}
