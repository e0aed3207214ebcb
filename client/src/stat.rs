//! The counters of a server: the topics of `stat` and its reply.

use super::encoder::Encoder;

/// The subject of a `stat`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Topic {
    /// The whole server. A line is a name and a number.
    Server,
    /// The mailbox of this number. [`stat_mailbox`](crate::Client::stat_mailbox) takes a name, too.
    Mailbox(u32),
    /// Every connection. A line is a connection.
    Connections,
    /// Every lock. A line is a mailbox and a holder of its lock.
    Locks,
    /// Every mailbox with a name. A line is the number and the name.
    Names,
}

/// The reply to [`stat`](crate::Client::stat): lines that each begin with a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stat {
    text: String,
}

/// One line of a [`Stat`]: `requests 17`, or `2 name=anna phase=idle`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Line<'a> {
    /// The first word.
    pub name: &'a str,
    /// The text after the first word and a space.
    pub rest: &'a str,
}

impl Topic {
    pub(super) fn encoder(self) -> Encoder<'static> {
        match self {
            Topic::Server => Encoder::new("stat"),
            Topic::Mailbox(mailbox) => Encoder::new("stat").word("box").word(mailbox),
            Topic::Connections => Encoder::new("stat").word("conns"),
            Topic::Locks => Encoder::new("stat").word("locks"),
            Topic::Names => Encoder::new("stat").word("names"),
        }
    }
}

impl Stat {
    pub(super) fn new(text: String) -> Self {
        Stat { text }
    }

    /// The whole reply, unchanged.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The lines, in the order of the reply.
    pub fn lines(&self) -> impl Iterator<Item = Line<'_>> {
        self.text.lines().map(|line| {
            let (name, rest) = line.split_once(' ').unwrap_or((line, ""));
            Line { name, rest }
        })
    }

    /// The rest of the first line with this name.
    pub fn value(&self, name: &str) -> Option<&str> {
        self.lines().find(|line| line.name == name).map(|line| line.rest)
    }

    /// The rest of the first line with this name as a number. `None` when there is no such line, or when its
    /// rest is not a `u64`.
    pub fn number(&self, name: &str) -> Option<u64> {
        self.value(name)?.parse().ok()
    }
}

impl<'a> Line<'a> {
    /// The `key=value` pairs of the line.
    pub fn fields(&self) -> impl Iterator<Item = (&'a str, &'a str)> + use<'a> {
        self.rest.split(' ').filter_map(|word| word.split_once('='))
    }

    /// The value of this key.
    pub fn field(&self, key: &str) -> Option<&'a str> {
        self.fields().find(|(name, _)| *name == key).map(|(_, value)| value)
    }
}
