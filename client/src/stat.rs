//! What the server counts.

use super::encoder::Encoder;

/// What `stat` tells about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Topic {
    /// The server.
    Server,
    /// One mailbox.
    Mailbox(u32),
    /// `conns`: every connection.
    Connections,
    /// `locks`: every lock.
    Locks,
}

/// Lines of a name, or of a number, and what belongs to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stat {
    text: String,
}

/// One line of a [`Stat`]: `requests 17`, or `2 name=anna phase=idle`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Line<'a> {
    /// What stands first.
    pub name: &'a str,
    /// All behind it.
    pub rest: &'a str,
}

impl Topic {
    pub(super) fn encoder(self) -> Encoder<'static> {
        match self {
            Topic::Server => Encoder::new("stat"),
            Topic::Mailbox(mailbox) => Encoder::new("stat").word("box").word(mailbox),
            Topic::Connections => Encoder::new("stat").word("conns"),
            Topic::Locks => Encoder::new("stat").word("locks"),
        }
    }
}

impl Stat {
    pub(super) fn new(text: String) -> Self {
        Stat { text }
    }

    /// The lines as they are.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// One by one.
    pub fn lines(&self) -> impl Iterator<Item = Line<'_>> {
        self.text.lines().map(|line| {
            let (name, rest) = line.split_once(' ').unwrap_or((line, ""));
            Line { name, rest }
        })
    }

    /// What stands behind this name.
    pub fn value(&self, name: &str) -> Option<&str> {
        self.lines().find(|line| line.name == name).map(|line| line.rest)
    }

    /// The same, as a number.
    pub fn number(&self, name: &str) -> Option<u64> {
        self.value(name)?.parse().ok()
    }
}

impl<'a> Line<'a> {
    /// The pairs `key=value` of a line.
    pub fn fields(&self) -> impl Iterator<Item = (&'a str, &'a str)> + use<'a> {
        self.rest.split(' ').filter_map(|word| word.split_once('='))
    }

    /// The value of a key.
    pub fn field(&self, key: &str) -> Option<&'a str> {
        self.fields().find(|(name, _)| *name == key).map(|(_, value)| value)
    }
}
