//! The format of a dump: lines of text, and the bytes of the messages. `docs/dump.md` describes it.
//!
//! **Invariant**: a line has exactly one spelling. So a changed byte is found in the last line too, which the
//! checksum does not cover completely.

use std::fmt;
use std::str::FromStr;

/// The number of this format. A change that an older program would misread gets a higher number.
pub(crate) const FORMAT: u32 = 1;

/// The longest line in bytes, without its end. The longest one that this program writes is shorter.
pub(super) const LINE_MAX: usize = 512;

/// The largest version of a mailbox in a server.
pub(super) const VERSION_MAX: u64 = 1 << 62;

/// The longest name of a mailbox.
const NAME_MAX: usize = 64;

/// The first line of every format.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Format(pub u32);

/// The server whose mailboxes these are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Head {
    pub boxes: u32,
    pub size: u64,
    pub packet: u64,
    /// None: the server did not tell it.
    pub life: Option<u64>,
    /// Seconds since 1970.
    pub time: u64,
}

/// A mailbox. `count` messages follow.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Mailbox {
    pub number: u32,
    pub version: u64,
    pub count: u64,
    pub name: Option<String>,
}

/// A message. `len` bytes and an end of line follow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Message {
    pub len: u64,
    pub version: u64,
}

/// How much a dump contains.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Totals {
    pub mailboxes: u64,
    pub messages: u64,
    /// The bytes of the messages.
    pub bytes: u64,
}

/// The last line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct End {
    pub totals: Totals,
    /// The CRC-32 of all bytes before it.
    pub crc32: u32,
}

/// A line after the first two, except the last one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Line {
    Mailbox(Mailbox),
    End(End),
}

impl End {
    /// The part of the line that the checksum covers.
    pub(super) fn covered(totals: &Totals) -> String {
        let Totals { mailboxes, messages, bytes } = totals;
        format!("end mailboxes={mailboxes} messages={messages} bytes={bytes} crc32=")
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "dipc-dump {}", self.0)
    }
}

impl fmt::Display for Head {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Head { boxes, size, packet, time, .. } = self;
        let life = self.life.map_or("-".to_owned(), |life| life.to_string());
        write!(f, "server boxes={boxes} size={size} packet={packet} life={life} time={time}")
    }
}

impl fmt::Display for Mailbox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Mailbox { number, version, count, name } = self;
        write!(f, "mailbox {number} v={version} n={count} name={}", name.as_deref().unwrap_or("-"))
    }
}

impl fmt::Display for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "message {} v={}", self.len, self.version)
    }
}

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{:08x}", End::covered(&self.totals), self.crc32)
    }
}

/// Parses a line. None: it is not one of this kind, or has another spelling.
pub(super) fn parse<T: FromStr + fmt::Display>(line: &str) -> Option<T> {
    line.parse().ok().filter(|parsed: &T| parsed.to_string() == line)
}

impl FromStr for Format {
    type Err = ();

    fn from_str(line: &str) -> Result<Self, ()> {
        Ok(Format(line.strip_prefix("dipc-dump ").ok_or(())?.parse().map_err(drop)?))
    }
}

impl FromStr for Head {
    type Err = ();

    fn from_str(line: &str) -> Result<Self, ()> {
        let mut words = Words::of(line, "server")?;
        let (boxes, size, packet) = (words.number("boxes")?, words.number("size")?, words.number("packet")?);
        let life = match words.value("life")? {
            "-" => None,
            life => Some(life.parse().map_err(drop)?),
        };
        Ok(Head { boxes, size, packet, life, time: words.number("time")? })
    }
}

impl FromStr for Mailbox {
    type Err = ();

    fn from_str(line: &str) -> Result<Self, ()> {
        let mut words = Words::of(line, "mailbox")?;
        let number = words.next()?.parse().map_err(drop)?;
        let (version, count) = (words.number("v")?, words.number("n")?);
        let name = match words.value("name")? {
            "-" => None,
            name if is_name(name) => Some(name.to_owned()),
            _ => return Err(()),
        };
        Ok(Mailbox { number, version, count, name })
    }
}

impl FromStr for Message {
    type Err = ();

    fn from_str(line: &str) -> Result<Self, ()> {
        let mut words = Words::of(line, "message")?;
        Ok(Message { len: words.next()?.parse().map_err(drop)?, version: words.number("v")? })
    }
}

impl FromStr for End {
    type Err = ();

    fn from_str(line: &str) -> Result<Self, ()> {
        let mut words = Words::of(line, "end")?;
        let mailboxes = words.number("mailboxes")?;
        let totals = Totals { mailboxes, messages: words.number("messages")?, bytes: words.number("bytes")? };
        Ok(End { totals, crc32: u32::from_str_radix(words.value("crc32")?, 16).map_err(drop)? })
    }
}

impl FromStr for Line {
    type Err = ();

    fn from_str(line: &str) -> Result<Self, ()> {
        line.parse().map(Line::Mailbox).or_else(|()| line.parse().map(Line::End))
    }
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Line::Mailbox(mailbox) => mailbox.fmt(f),
            Line::End(end) => end.fmt(f),
        }
    }
}

impl fmt::Display for Totals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count =
            |number: u64, one: &str, many: &str| format!("{number} {}", if number == 1 { one } else { many });
        let mailboxes = count(self.mailboxes, "mailbox", "mailboxes");
        let messages = count(self.messages, "message", "messages");
        write!(f, "{mailboxes}, {messages}, {}", count(self.bytes, "byte", "bytes"))
    }
}

/// A name that a server accepts, as far as its characters are concerned.
fn is_name(name: &str) -> bool {
    let is_inner = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"_.-".contains(&byte);
    name.len() <= NAME_MAX
        && name.as_bytes().first().is_some_and(u8::is_ascii_lowercase)
        && name.bytes().all(is_inner)
}

/// The words of a line, in their order.
struct Words<'a>(std::str::Split<'a, char>);

impl<'a> Words<'a> {
    /// The words after the first one, which is `kind`.
    fn of(line: &'a str, kind: &str) -> Result<Self, ()> {
        let mut words = line.split(' ');
        if words.next() == Some(kind) { Ok(Words(words)) } else { Err(()) }
    }

    fn next(&mut self) -> Result<&'a str, ()> {
        self.0.next().ok_or(())
    }

    /// The value of the next word, `key=value`.
    fn value(&mut self, key: &str) -> Result<&'a str, ()> {
        self.next()?.strip_prefix(key).and_then(|rest| rest.strip_prefix('=')).ok_or(())
    }

    fn number<T: FromStr>(&mut self, key: &str) -> Result<T, ()> {
        self.value(key)?.parse().map_err(drop)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_has_one_spelling() {
        let named = Mailbox { number: 3, version: u64::MAX, count: 0, name: Some("a.b-c_1".to_owned()) };
        assert_eq!(parse(&named.to_string()), Some(Line::Mailbox(named)));
        let head = Head { boxes: 4, size: 65536, packet: 8192, life: None, time: 0 };
        assert_eq!(parse(&head.to_string()), Some(head));
        let totals = Totals { mailboxes: 1, messages: 2, bytes: 3 };
        let end = End { totals, crc32: 0xabc };
        assert_eq!(end.to_string(), "end mailboxes=1 messages=2 bytes=3 crc32=00000abc");
        assert_eq!(parse(&end.to_string()), Some(Line::End(end)));
        for wrong in [
            "",
            "mailbox 3 v=1 n=1 name=",
            "mailbox 3 v=1 n=1 name=A",
            "mailbox 3 v=01 n=1 name=-",
            "mailbox 3 v=+1 n=1 name=-",
            "mailbox 3 v=1 n=1 name=- ",
            "mailbox 3  v=1 n=1 name=-",
            "mailbox 4294967296 v=1 n=1 name=-",
            "end mailboxes=1 messages=2 bytes=3 crc32=00000ABC",
            "end mailboxes=1 messages=2 bytes=3 crc32=abc",
        ] {
            assert_eq!(parse::<Line>(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn the_longest_line_is_below_the_limit() {
        let name = Some("x".repeat(NAME_MAX));
        let mailbox = Mailbox { number: u32::MAX, version: u64::MAX, count: u64::MAX, name };
        let totals = Totals { mailboxes: u64::MAX, messages: u64::MAX, bytes: u64::MAX };
        let end = End { totals, crc32: u32::MAX };
        let lengths = [mailbox.to_string().len(), end.to_string().len()];
        assert!(lengths.into_iter().all(|len| len < LINE_MAX), "{lengths:?}");
    }
}
