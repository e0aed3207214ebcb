//! One header line to one request without its body, and how far that body reaches.
//!
//! The extent of a body depends only on the verb and on `<len>`, never on whether the rest of the line is right: a
//! refused request still takes its data with it, so that data is never read as a request.

use super::arguments::{Arguments, decimal, echo};
use super::request::{Limits, Refusal, Request};

/// Bytes of a header line, without its end.
pub const HEADER_MAX: usize = 1024;

/// What follows the header line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Body {
    /// Nothing.
    None,
    /// One line.
    Line,
    /// So many bytes and an end of line.
    Length(u64),
}

/// A header line, understood. The body of a write is still empty.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Header {
    pub request: Result<Request, Refusal>,
    pub body: Body,
}

/// Reads a header line, without its end. A line of nothing but blanks is `None`.
pub(super) fn parse(line: &[u8], limits: &Limits) -> Option<Header> {
    let mut words = line.split(|&b| b == b' ').filter(|word| !word.is_empty());
    let verb = words.next()?;
    let is_write = matches!(verb, b"w" | b"write");
    if let Some(&byte) = line.iter().find(|b| !matches!(b, b' '..=b'~')) {
        return Some(if is_write {
            alone(Err(Refusal::Frame("a header line is printable ASCII; where the data ends is unknown")))
        } else {
            alone(Err(Refusal::Syntax(format!("a header line is printable ASCII, not byte {byte}"))))
        });
    }
    let arguments = Arguments::collect(words);
    Some(match verb {
        b"r" | b"read" => alone(read(&arguments, limits)),
        b"w" | b"write" => write(&arguments, limits),
        b"q" | b"quit" => alone(Ok(Request::Quit)),
        b"ping" => alone(arguments.only("ping", 0, &[]).map(|()| Request::Ping)),
        b"help" => alone(arguments.only("help", 0, &[]).map(|()| Request::Help)),
        b"stat" => alone(arguments.only("stat", 0, &[]).map(|()| Request::Stat)),
        b"hello" => alone(arguments.only("hello", 0, &["name", "token"]).map(|()| Request::Hello)),
        unknown => alone(Err(Refusal::Verb(echo(unknown)))),
    })
}

fn alone(request: Result<Request, Refusal>) -> Header {
    Header { request, body: Body::None }
}

fn read(arguments: &Arguments, limits: &Limits) -> Result<Request, Refusal> {
    arguments.only("r", 1, &["wait", "off", "len"])?;
    Ok(Request::Read {
        mailbox: arguments.mailbox(limits)?,
        offset: arguments.number("off")?.unwrap_or(0),
        len: arguments.number("len")?,
        wait: arguments.wait()?,
    })
}

fn write(arguments: &Arguments, limits: &Limits) -> Header {
    let body = match arguments.positional.as_slice().get(1).map(|word| decimal(word)) {
        None => Body::Line,
        Some(Some(len)) => Body::Length(len),
        Some(None) => {
            return alone(Err(Refusal::Frame("the length is a decimal number: w 3 5")));
        }
    };
    let request = || {
        arguments.only("w", 2, &["if", "off", "wait"])?;
        let write = Request::Write {
            mailbox: arguments.mailbox(limits)?,
            body: 0..0,
            expected: arguments.number("if")?,
            offset: arguments.number("off")?,
            wait: arguments.wait()?,
        };
        match body {
            Body::Length(len) if len > limits.body_max() => {
                Err(Refusal::Size { max: limits.body_max(), close: false })
            }
            _ => Ok(write),
        }
    };
    Header { request: request(), body }
}

#[cfg(test)]
mod tests;
