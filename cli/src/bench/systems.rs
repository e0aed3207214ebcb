//! What the servers speak: requests as bytes, and the bytes of answers as what they mean. No sockets here.

mod dipc;
mod memcached;
mod redis;

use std::io::{self, Error, ErrorKind};

use clap::ValueEnum;

/// Bytes of a message's data, and of an answer's first line.
pub const SIZE_MAX: usize = 16 << 20;
const LINE_MAX: usize = 4096;

/// Mailbox N is the key `box:N` of redis and memcached, and where it is a queue the list `list:N` of redis.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum System {
    Dipc,
    Redis,
    Memcached,
}

/// What is asked of a mailbox.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Request {
    Read,
    Write,
    Put,
    Take,
    Lock,
    Unlock,
    /// Removes what an earlier run has left in a queue.
    Clear,
}

/// What was answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    Ok,
    /// So many bytes.
    Data(usize),
    No,
    Error(String),
}

/// How one system speaks.
struct Protocol {
    eol: &'static str,
    /// What follows the data of an answer.
    data_end: &'static str,
    /// A request without effect.
    ping: &'static str,
    /// A request to this mailbox with data of this size, as far as the data; None: there is no such request.
    head: fn(Request, usize, usize) -> Option<String>,
    /// The meaning of an answer's first line; None: it has none.
    answer: fn(&str) -> Option<Answer>,
}

impl Request {
    pub fn has_data(self) -> bool {
        matches!(self, Request::Write | Request::Put)
    }

    /// Whether this is the answer to it, when the data are of this size and all goes well.
    pub fn is_answered_by(self, answer: &Answer, size: usize) -> bool {
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

    pub fn name(self) -> &'static str {
        match self {
            System::Dipc => "dipc",
            System::Redis => "redis",
            System::Memcached => "memcached",
        }
    }

    /// Where it listens unless told otherwise.
    pub fn port(self) -> u16 {
        match self {
            System::Dipc => 5000,
            System::Redis => 6379,
            System::Memcached => 11211,
        }
    }

    pub fn ping(self) -> &'static [u8] {
        self.protocol().ping.as_bytes()
    }

    /// A request as far as its data; None: this system has no such request.
    pub fn head(self, request: Request, mailbox: usize, size: usize) -> Option<String> {
        (self.protocol().head)(request, mailbox, size)
    }

    /// Data of this size, with what ends them in a request.
    pub fn data(self, size: usize) -> Vec<u8> {
        [vec![b'x'; size].as_slice(), self.protocol().eol.as_bytes()].concat()
    }

    /// Decodes the answer at the front of `input`, and says how many bytes it takes; None: it has not all arrived.
    pub fn decode(self, input: &[u8]) -> io::Result<Option<(Answer, usize)>> {
        let Protocol { eol, data_end, answer, .. } = self.protocol();
        let Some(end) = input.iter().position(|&byte| byte == b'\n').filter(|&end| end < LINE_MAX) else {
            return if input.len() < LINE_MAX { Ok(None) } else { Err(malformed("an endless line")) };
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

/// The server broke its protocol. This ends the run; any other error only loses a connection.
pub fn malformed(what: &str) -> Error {
    Error::new(ErrorKind::InvalidData, format!("unexpected answer: {}", what.trim_end()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_an_answer_is_none_yet() {
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
    fn what_no_server_says_is_an_error() {
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
