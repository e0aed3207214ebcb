//! One header line to one request without its body, and how far that body reaches.
//!
//! The extent of a body depends only on the verb and on `<len>`, never on whether the rest of the line is right: a
//! refused request still takes its data with it, so that data is never read as a request.

use std::time::Duration;

use super::request::{Limits, Refusal, Request, Wait};

/// Bytes of a header line, without its end.
pub const HEADER_MAX: usize = 1024;

/// Bytes of a client's word that are repeated to it.
const ECHO_MAX: usize = 32;

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

/// Arguments of one header that are looked at: no verb has more.
const POSITIONAL_MAX: usize = 2;
const KEYS_MAX: usize = 4;

/// The words after the verb, sorted into positions and keys, nothing copied.
#[derive(Default)]
struct Arguments<'a> {
    positional: Few<&'a [u8], POSITIONAL_MAX>,
    keys: Few<(&'a [u8], &'a [u8]), KEYS_MAX>,
    /// There was more than any verb takes.
    excess: bool,
}

/// A list that lies on the stack.
struct Few<T, const N: usize> {
    items: [T; N],
    len: usize,
}

impl<T: Copy + Default, const N: usize> Default for Few<T, N> {
    fn default() -> Self {
        Few { items: [T::default(); N], len: 0 }
    }
}

impl<T, const N: usize> Few<T, N> {
    /// Appends, if there is room.
    fn push(&mut self, item: T) -> bool {
        let room = self.items.get_mut(self.len).map(|slot| *slot = item).is_some();
        self.len += usize::from(room);
        room
    }

    fn as_slice(&self) -> &[T] {
        &self.items[..self.len]
    }
}

impl<'a> Arguments<'a> {
    fn collect(words: impl Iterator<Item = &'a [u8]>) -> Self {
        let mut arguments = Arguments::default();
        for word in words {
            let stored = match word.iter().position(|&b| b == b'=') {
                Some(at) => arguments.keys.push((&word[..at], &word[at + 1..])),
                None => arguments.positional.push(word),
            };
            arguments.excess |= !stored;
        }
        arguments
    }

    /// Refuses more positions than `positional`, keys that are not in `known`, and keys that come twice.
    fn only(&self, verb: &str, positional: usize, known: &[&str]) -> Result<(), Refusal> {
        let keys = self.keys.as_slice();
        for (at, (key, _)) in keys.iter().enumerate() {
            if !known.iter().any(|name| name.as_bytes() == *key) {
                return Err(Refusal::Syntax(format!("{verb} has no key {}, try help", echo(key))));
            }
            if keys[..at].iter().any(|(earlier, _)| earlier == key) {
                return Err(Refusal::Syntax(format!("the key {} is there twice", echo(key))));
            }
        }
        if self.excess || self.positional.len > positional {
            return Err(Refusal::Syntax(format!("too many arguments for {verb}, try help")));
        }
        Ok(())
    }

    fn mailbox(&self, limits: &Limits) -> Result<u32, Refusal> {
        let number = self.positional.as_slice().first().and_then(|word| decimal(word));
        number
            .and_then(|number| u32::try_from(number).ok())
            .filter(|&number| number < limits.mailboxes)
            .ok_or(Refusal::Mailbox { max: limits.mailboxes - 1 })
    }

    fn value(&self, key: &str) -> Option<&'a [u8]> {
        self.keys.as_slice().iter().find(|(name, _)| *name == key.as_bytes()).map(|&(_, value)| value)
    }

    fn number(&self, key: &str) -> Result<Option<u64>, Refusal> {
        let Some(value) = self.value(key) else { return Ok(None) };
        decimal(value)
            .map(Some)
            .ok_or_else(|| Refusal::Syntax(format!("{key}= takes a decimal number: {key}=5")))
    }

    fn wait(&self) -> Result<Wait, Refusal> {
        match self.value("wait") {
            None => Ok(Wait::Default),
            Some(b"inf") => Ok(Wait::Forever),
            Some(value) => seconds(value)
                .map(Wait::For)
                .ok_or_else(|| Refusal::Syntax("wait= takes seconds or inf: wait=2.5".into())),
        }
    }
}

/// A decimal number; one beyond 64 bits is the largest, which every bound refuses.
fn decimal(word: &[u8]) -> Option<u64> {
    if word.is_empty() || !word.iter().all(u8::is_ascii_digit) {
        return None;
    }
    Some(word.iter().fold(0u64, |n, digit| n.saturating_mul(10).saturating_add(u64::from(digit - b'0'))))
}

/// Seconds with decimals, down to the nanosecond; further digits count as nothing.
fn seconds(word: &[u8]) -> Option<Duration> {
    let (whole, fraction) = match word.iter().position(|&b| b == b'.') {
        Some(at) => (&word[..at], &word[at + 1..]),
        None => (word, &b""[..]),
    };
    if !fraction.iter().all(u8::is_ascii_digit) || (whole.is_empty() && fraction.is_empty()) {
        return None;
    }
    let whole = if whole.is_empty() { 0 } else { decimal(whole)? };
    let digits = fraction.iter().copied().chain(std::iter::repeat(b'0')).take(9);
    let nanos = digits.fold(0u32, |n, digit| n * 10 + u32::from(digit - b'0'));
    Some(Duration::new(whole, nanos))
}

/// A client's word, safe to show: printable, and not long.
fn echo(word: &[u8]) -> String {
    let shown = &word[..word.len().min(ECHO_MAX)];
    let dots = if shown.len() < word.len() { ".." } else { "" };
    format!("\"{}{dots}\"", shown.escape_ascii())
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Limits = Limits { mailboxes: 4, capacity: 65536, packet: 8192 };

    fn header(line: &str) -> Header {
        parse(line.as_bytes(), &LIMITS).expect("not blank")
    }

    fn code(line: &str) -> &'static str {
        header(line).request.expect_err("refused").code()
    }

    #[test]
    fn a_length_is_accepted_exactly_up_to_the_packet() {
        for (word, expected) in [
            ("0", "ok"),
            ("8192", "ok"),
            ("008192", "ok"),
            ("8193", "size"),
            ("2147483648", "size"),
            ("4294967295", "size"),
            ("9223372036854775808", "size"),
            ("18446744073709551616", "size"),
            (&"9".repeat(400), "size"),
            ("-1", "frame"),
            ("+5", "frame"),
            ("0x10", "frame"),
            ("five", "frame"),
        ] {
            let header = header(&format!("w 3 {word}"));
            let found = header.request.as_ref().map_or_else(|refusal| refusal.code(), |_| "ok");
            assert_eq!(found, expected, "w 3 {word}");
        }
    }

    #[test]
    fn a_mailbox_is_one_that_exists() {
        for word in ["4", "-1", "4294967296", "three", "", "99999999999999999999"] {
            assert_eq!(code(&format!("r {word}")), "box", "r {word}");
        }
        assert!(header("r 3").request.is_ok());
    }

    #[test]
    fn unknown_and_repeated_keys_are_refused() {
        for line in ["r 3 foo=1", "r 3 off=1 off=2", "w 3 len=5", "ping x", "r 3 4", "stat a=b", "hello you"]
        {
            assert_eq!(code(line), "syntax", "{line}");
        }
    }

    #[test]
    fn a_refused_write_still_has_its_body() {
        assert_eq!(header("w 99 5").body, Body::Length(5));
        assert_eq!(header("w 3 5 foo=1").body, Body::Length(5));
        assert_eq!(header("w 3 5 6 7").body, Body::Length(5));
        assert_eq!(header("w").body, Body::Line);
    }

    #[test]
    fn waiting_is_measured_in_seconds_with_decimals() {
        let wait = |word: &str| match header(&format!("r 0 wait={word}")).request {
            Ok(Request::Read { wait, .. }) => Some(wait),
            _ => None,
        };
        assert_eq!(wait("0"), Some(Wait::For(Duration::ZERO)));
        assert_eq!(wait("2.5"), Some(Wait::For(Duration::from_millis(2500))));
        assert_eq!(wait(".25"), Some(Wait::For(Duration::from_millis(250))));
        assert_eq!(wait("0.0000000019"), Some(Wait::For(Duration::from_nanos(1))));
        assert_eq!(wait(&"9".repeat(40)), Some(Wait::For(Duration::from_secs(u64::MAX))));
        assert_eq!(wait("inf"), Some(Wait::Forever));
        for bad in ["", ".", "-1", "1e3", "1.5s", "NaN", "infinity", "1.2.3"] {
            assert_eq!(wait(bad), None, "wait={bad}");
        }
    }

    #[test]
    fn what_is_repeated_to_a_client_is_short_and_printable() {
        let Err(refusal) = header(&"x".repeat(500)).request else { panic!("refused") };
        assert_eq!(refusal.to_string(), format!("unknown verb \"{}..\", try help", "x".repeat(32)));
    }
}
