//! The protocols of the servers: encodes requests and decodes answers. Uses no sockets.

mod dipc;
mod memcached;
mod redis;

use std::io::{self, Error, ErrorKind};

use clap::ValueEnum;

/// Maximum sizes of a message's data and of an answer's first line, in bytes.
pub(super) const SIZE_MAX: usize = 16 << 20;
const LINE_MAX: usize = 4096;

/// The server under load. Mailbox N is the key `box:N` of redis and memcached, or as a queue the list
/// `list:N` of redis.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum System {
    Dipc,
    Redis,
    Memcached,
}

/// A request to a mailbox.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Request {
    Read,
    Write,
    Put,
    Take,
    Lock,
    Unlock,
    /// Empties a queue of an earlier run.
    Clear,
    /// Reads the oldest message of a queue, and leaves it there.
    Oldest,
}

/// The answer to a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    Ok,
    /// Data of this size, in bytes.
    Data(usize),
    No,
    Error(String),
}

/// The protocol of one system.
struct Protocol {
    eol: &'static str,
    /// Bytes after the data of an answer.
    data_end: &'static str,
    /// A request without effect.
    ping: &'static str,
    /// Encodes a request with its mailbox and the size of its data, up to the data. None: the system has no
    /// such request.
    head: fn(Request, usize, usize) -> Option<String>,
    /// Decodes the first line of an answer. None: invalid.
    answer: fn(&str) -> Option<Answer>,
}

impl Request {
    pub(crate) fn has_data(self) -> bool {
        matches!(self, Request::Write | Request::Put)
    }

    /// Whether `answer` is the successful answer to this request. `size`: of the data, in bytes.
    pub(crate) fn is_answered_by(self, answer: &Answer, size: usize) -> bool {
        match self {
            Request::Read | Request::Take => *answer == Answer::Data(size),
            _ => *answer == Answer::Ok,
        }
    }
}

impl System {
    fn protocol(self) -> &'static Protocol {
        match self {
            System::Dipc => &dipc::PROTOCOL,
            System::Redis => &redis::PROTOCOL,
            System::Memcached => &memcached::PROTOCOL,
        }
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            System::Dipc => "dipc",
            System::Redis => "redis",
            System::Memcached => "memcached",
        }
    }

    /// The default port.
    pub(crate) fn port(self) -> u16 {
        match self {
            System::Dipc => 5000,
            System::Redis => 6379,
            System::Memcached => 11211,
        }
    }

    pub(crate) fn ping(self) -> &'static [u8] {
        self.protocol().ping.as_bytes()
    }

    /// Encodes a request up to its data. None: the system has no such request.
    pub(crate) fn head(self, request: Request, mailbox: usize, size: usize) -> Option<String> {
        (self.protocol().head)(request, mailbox, size)
    }

    /// Data of this size, followed by the end of line of the protocol.
    pub(crate) fn data(self, size: usize) -> Vec<u8> {
        [vec![b'x'; size].as_slice(), self.protocol().eol.as_bytes()].concat()
    }

    /// Decodes the first answer in `input`. Returns it with its length in bytes. None: it is incomplete.
    pub(crate) fn decode(self, input: &[u8]) -> io::Result<Option<(Answer, usize)>> {
        let Protocol { eol, data_end, answer, .. } = self.protocol();
        let Some(end) = input.iter().position(|&byte| byte == b'\n').filter(|&end| end < LINE_MAX) else {
            return if input.len() < LINE_MAX { Ok(None) } else { Err(malformed("a line without an end")) };
        };
        let (line, rest) = input.split_at(end + 1);
        let meaning = str::from_utf8(line).ok().and_then(|text| text.strip_suffix(eol)).and_then(answer);
        let meaning = meaning.ok_or_else(|| malformed(&String::from_utf8_lossy(line)))?;
        let Answer::Data(length) = meaning else { return Ok(Some((meaning, line.len()))) };
        if length > SIZE_MAX {
            return Err(malformed(&String::from_utf8_lossy(line)));
        }
        match rest.get(length..length + data_end.len()) {
            None => Ok(None),
            Some(seen) if seen == data_end.as_bytes() => {
                Ok(Some((meaning, line.len() + length + seen.len())))
            }
            Some(_) => Err(malformed("data without its end")),
        }
    }
}

/// A violation of the protocol. It ends the run; any other error only ends a connection.
pub(super) fn malformed(what: &str) -> Error {
    Error::new(ErrorKind::InvalidData, format!("unexpected answer: {}", what.trim_end()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_incomplete_answer_is_not_decoded() {
        for (system, whole) in [
            (System::Dipc, "DATA 3 v=1 n=1\na\nb\n"),
            (System::Redis, "$3\r\na\nb\r\n"),
            (System::Memcached, "VALUE box:0 0 3\r\na\nb\r\nEND\r\n"),
        ] {
            for length in 0..whole.len() {
                assert_eq!(system.decode(&whole.as_bytes()[..length]).expect("no error"), None, "{length}");
            }
            let two = [whole, whole].concat();
            let decoded = system.decode(two.as_bytes()).expect("no error");
            assert_eq!(decoded, Some((Answer::Data(3), whole.len())));
        }
    }

    #[test]
    fn an_invalid_answer_is_an_error() {
        for (system, bytes) in [
            (System::Dipc, "HELLO\n".to_owned()),
            (System::Dipc, "DATA x\n".to_owned()),
            (System::Dipc, "DATA 1\nab".to_owned()),
            (System::Dipc, "x".repeat(LINE_MAX)),
            (System::Redis, "+OK\n".to_owned()),
            (System::Redis, "$99999999\r\n".to_owned()),
            (System::Memcached, "OK\r\n".to_owned()),
            (System::Memcached, "VALUE box:0 0 1\r\na\r\nVALUE".to_owned()),
        ] {
            let kind = system.decode(bytes.as_bytes()).map_err(|error| error.kind());
            assert_eq!(kind, Err(ErrorKind::InvalidData), "{bytes}");
        }
    }
}
