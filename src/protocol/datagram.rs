//! One datagram of the classic protocol: a first line with a verb and a mailbox, then the data, without a
//! length.

use std::ops::Range;

use super::arguments::{decimal, existing};
use super::names::MAILBOX_NAME_MAX;
use super::request::{Eol, Limits, MailboxRequest, Refusal, Request, Text, Wait};

/// A parsed datagram.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Datagram {
    pub request: Request,
    /// The data of a write.
    pub data: Range<usize>,
    /// The end of the first line, if it has one.
    pub eol: Option<Eol>,
}

/// The result of [`parse`].
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Parsed {
    Request(Datagram),
    /// The bytes begin with no verb, or with a verb that lacks its mailbox.
    NoRequest,
}

/// The keys of the first line of a packet of UDP.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Keys {
    /// `if=V`
    pub expected: Option<u64>,
    /// `id=WORD`
    pub id: Option<Range<usize>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verb {
    Read,
    Write,
    Quit,
    Help,
    Stop,
}

const VERBS: [(&str, Verb); 7] = [
    ("r", Verb::Read),
    ("read", Verb::Read),
    ("w", Verb::Write),
    ("write", Verb::Write),
    ("q", Verb::Quit),
    ("quit", Verb::Quit),
    ("help", Verb::Help),
];

/// A cursor over the bytes of a datagram.
struct Scanner<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Scanner<'a> {
    /// Takes the bytes that satisfy `matches`.
    fn take(&mut self, matches: impl Fn(&u8) -> bool) -> &'a [u8] {
        let rest = &self.bytes[self.at..];
        let len = rest.iter().position(|byte| !matches(byte)).unwrap_or(rest.len());
        self.at += len;
        &rest[..len]
    }

    fn blanks(&mut self) -> bool {
        !self.take(is_blank).is_empty()
    }

    /// Takes an end of line.
    fn eol(&mut self) -> Option<Eol> {
        let eol = end_of_line(&self.bytes[self.at..])?;
        self.at += eol.bytes().len();
        Some(eol)
    }

    /// Takes a number, or after a blank the name of a mailbox. Returns an empty word if there is neither.
    fn mailbox(&mut self, limits: &Limits) -> &'a [u8] {
        let has_blank = self.blanks();
        let number = self.take(u8::is_ascii_digit);
        if !number.is_empty() || !has_blank {
            return number;
        }
        let start = self.at;
        let word = self.take(|byte| !is_blank(byte) && !matches!(byte, b'\r' | b'\n'));
        if word.len() > MAILBOX_NAME_MAX || limits.names.find(word).is_none() {
            self.at = start;
            return &[];
        }
        word
    }

    fn is_at_end(&self) -> bool {
        self.at == self.bytes.len()
    }
}

fn is_blank(byte: &u8) -> bool {
    matches!(byte, b' ' | b'\t')
}

fn end_of_line(bytes: &[u8]) -> Option<Eol> {
    match bytes {
        [b'\n', ..] => Some(Eol::Lf),
        [b'\r', b'\n', ..] => Some(Eol::CrLf),
        _ => None,
    }
}

/// The first end of line in `bytes`.
pub(super) fn first_end_of_line(bytes: &[u8]) -> Option<Eol> {
    let at = bytes.iter().position(|&byte| byte == b'\n')?;
    Some(if bytes[..at].ends_with(b"\r") { Eol::CrLf } else { Eol::Lf })
}

/// Whether `bytes` have nothing but blanks and ends of lines.
fn is_empty_line(bytes: &[u8]) -> bool {
    bytes.iter().all(|byte| matches!(byte, b' ' | b'\t' | b'\r' | b'\n'))
}

/// Parses a whole datagram. `stops` says whether `stop` is a verb.
pub(super) fn parse(bytes: &[u8], limits: &Limits, stops: bool) -> Parsed {
    let (parsed, _) = parse_with_keys(bytes, limits, stops, false);
    parsed
}

/// Parses a whole datagram. If `has_keys` is set, `if=` and `id=` may follow the mailbox.
pub(super) fn parse_with_keys(bytes: &[u8], limits: &Limits, stops: bool, has_keys: bool) -> (Parsed, Keys) {
    let mut scanner = Scanner { bytes, at: 0 };
    let mut keys = Keys::default();
    let request = |request: Result<Request, Refusal>, data: Range<usize>| {
        let request = request.unwrap_or_else(Request::Refused);
        Parsed::Request(Datagram { request, data, eol: first_end_of_line(bytes) })
    };
    let Some(verb) = verb(&mut scanner, stops) else { return (Parsed::NoRequest, keys) };
    let simple = match verb {
        Verb::Read | Verb::Write => None,
        Verb::Quit => Some(Request::Quit),
        Verb::Help => Some(Request::Say(if stops { Text::FrameHelp } else { Text::Help })),
        Verb::Stop => Some(Request::Say(Text::Closing)),
    };
    if let Some(simple) = simple {
        scanner.blanks();
        if verb == Verb::Quit {
            scanner.take(u8::is_ascii_digit);
        }
        while has_keys && key(&mut scanner, &mut keys, false) {}
        let is_whole = is_empty_line(&bytes[scanner.at..]);
        return (if is_whole { request(Ok(simple), 0..0) } else { Parsed::NoRequest }, keys);
    }
    let number = scanner.mailbox(limits);
    if number.is_empty() {
        return (Parsed::NoRequest, keys);
    }
    let has_blank = scanner.blanks();
    while has_keys && has_blank && key(&mut scanner, &mut keys, verb == Verb::Write) {}
    let mailbox = existing(number, limits);
    let has_eol = scanner.eol().is_some();
    let parsed = match verb {
        Verb::Write if has_blank || has_eol || scanner.is_at_end() => {
            let data = scanner.at..bytes.len();
            let expected = keys.expected;
            let write = mailbox.and_then(|mailbox| match data.len() as u64 > limits.body_max() {
                true => Err(limits.too_large(Some(data.len() as u64), false)),
                false => Ok(write(mailbox, expected)),
            });
            request(write, data)
        }
        Verb::Read if is_empty_line(&bytes[scanner.at..]) => request(mailbox.map(read), 0..0),
        Verb::Read if has_blank => {
            let refusal = Refusal::Syntax("nothing follows the mailbox of r: r 3".into());
            request(Err(refusal), 0..0)
        }
        _ => Parsed::NoRequest,
    };
    (parsed, keys)
}

pub(super) fn write(mailbox: u32, expected: Option<u64>) -> Request {
    Request::Mailbox(MailboxRequest::Write { mailbox, expected, offset: None, wait: Wait::Default })
}

fn read(mailbox: u32) -> Request {
    let wait = Wait::Default;
    Request::Mailbox(MailboxRequest::Read { mailbox, after: None, offset: 0, len: None, wait })
}

/// Takes a verb, with the blanks before it.
fn verb(scanner: &mut Scanner<'_>, stops: bool) -> Option<Verb> {
    scanner.blanks();
    let word = scanner.take(u8::is_ascii_alphabetic);
    let known = VERBS.into_iter().find(|(name, _)| word.eq_ignore_ascii_case(name.as_bytes()));
    let stop = (stops && word.eq_ignore_ascii_case(b"stop")).then_some(Verb::Stop);
    known.map(|(_, verb)| verb).or(stop)
}

/// Takes a key of a packet of UDP, with the blanks after it. A write may have `if=`.
fn key(scanner: &mut Scanner<'_>, keys: &mut Keys, is_write: bool) -> bool {
    let start = scanner.at;
    let word = scanner.take(|byte| byte.is_ascii_graphic());
    let found = match word.split_at_checked(b"if=".len()) {
        Some((b"if=", value)) if is_write && keys.expected.is_none() => {
            keys.expected = decimal(value);
            keys.expected.is_some()
        }
        Some((b"id=", value)) if keys.id.is_none() && !value.is_empty() => {
            keys.id = Some(scanner.at - value.len()..scanner.at);
            true
        }
        _ => false,
    };
    if found {
        scanner.blanks();
    } else {
        scanner.at = start;
    }
    found
}

/// The length of an `r`, `q` or `help` at the start of `bytes` that ends with its line: nothing or a letter
/// follows the line.
pub(super) fn complete_line(bytes: &[u8], limits: &Limits) -> Option<usize> {
    let mut scanner = Scanner { bytes, at: 0 };
    let verb = verb(&mut scanner, false)?;
    let number = scanner.mailbox(limits);
    scanner.blanks();
    scanner.eol()?;
    let is_whole = match verb {
        Verb::Read => !number.is_empty(),
        Verb::Help => number.is_empty(),
        Verb::Quit => true,
        Verb::Write | Verb::Stop => false,
    };
    let may_end = scanner.is_at_end() || bytes[scanner.at].is_ascii_alphabetic();
    (is_whole && may_end).then_some(scanner.at)
}

/// Whether more bytes probably follow soon: the bytes are a part of a verb, a verb that lacks its mailbox, or
/// a write that lacks its data.
pub(super) fn is_unfinished(bytes: &[u8], limits: &Limits) -> bool {
    let mut scanner = Scanner { bytes, at: 0 };
    scanner.blanks();
    let word = scanner.take(u8::is_ascii_alphabetic).to_ascii_lowercase();
    let mut names = VERBS.iter().filter(|(name, _)| name.as_bytes().starts_with(&word)).peekable();
    let Some(verb) = names.peek().map(|(name, verb)| (name.as_bytes() == word).then_some(*verb)) else {
        return false;
    };
    let number = scanner.mailbox(limits);
    let is_verb_alone = is_empty_line(&bytes[scanner.at..]);
    match verb {
        Some(Verb::Write) => is_verb_alone,
        Some(Verb::Read) => is_verb_alone && number.is_empty(),
        Some(Verb::Quit | Verb::Help | Verb::Stop) => false,
        None => scanner.is_at_end() && number.is_empty(),
    }
}

#[cfg(test)]
mod tests;
