//! [`Encoder`]: encodes one request to bytes. No I/O.

use std::fmt::Display;
use std::time::Duration;

use super::{Error, Mailbox};

/// The longest header line in bytes without its LF, as the protocol specifies it.
const HEADER_MAX: usize = 1024;

/// A request under construction: a header line of words, and the data of a `w` or `put`.
pub(super) struct Encoder<'a> {
    header: String,
    data: Option<&'a [u8]>,
}

impl<'a> Encoder<'a> {
    pub(crate) fn new(verb: &str) -> Self {
        Encoder { header: verb.to_owned(), data: None }
    }

    /// Appends a word.
    pub(crate) fn word(mut self, word: impl Display) -> Self {
        self.header.push_str(&format!(" {word}"));
        self
    }

    /// Appends a mailbox. Fails if its name is not valid.
    pub(crate) fn mailbox(self, mailbox: &Mailbox) -> Result<Self, Error> {
        mailbox.check()?;
        Ok(self.word(mailbox))
    }

    /// Appends the word if `given` is true.
    pub(crate) fn flag(self, word: &str, given: bool) -> Self {
        if given { self.word(word) } else { self }
    }

    /// Appends `NAME=VALUE` if there is a value.
    pub(crate) fn key(self, name: &str, value: Option<impl Display>) -> Self {
        match value {
            Some(value) => self.word(format_args!("{name}={value}")),
            None => self,
        }
    }

    /// Appends `NAME=SECONDS` if there is a time: a decimal number with at most 6 digits after the point, or
    /// `inf` for [`Duration::MAX`].
    pub(crate) fn seconds(self, name: &str, time: Option<Duration>) -> Self {
        match time {
            Some(Duration::MAX) => self.key(name, Some("inf")),
            Some(time) => {
                let decimals = format!("{}.{:06}", time.as_secs(), time.subsec_micros());
                self.key(name, Some(decimals.trim_end_matches('0').trim_end_matches('.')))
            }
            None => self,
        }
    }

    /// Appends a list of mailboxes: `1,3`. Fails if the list is empty.
    pub(crate) fn mailboxes(self, mailboxes: &[u32]) -> Result<Self, Error> {
        if mailboxes.is_empty() {
            return Err(Error::invalid_input("the list of mailboxes is empty"));
        }
        let numbers = mailboxes.iter().map(u32::to_string).collect::<Vec<_>>();
        Ok(self.word(numbers.join(",")))
    }

    /// Appends a list of mailboxes, or `*` for an empty list.
    pub(crate) fn mailboxes_or_all(self, mailboxes: &[u32]) -> Result<Self, Error> {
        if mailboxes.is_empty() { Ok(self.word("*")) } else { self.mailboxes(mailboxes) }
    }

    /// Adds data. The header must contain its length.
    pub(crate) fn data(mut self, data: &'a [u8]) -> Self {
        self.data = Some(data);
        self
    }

    /// The bytes to send. Fails if the header line is too long.
    pub(crate) fn encode(self) -> Result<Vec<u8>, Error> {
        if self.header.len() > HEADER_MAX {
            return Err(Error::invalid_input("the request has too many mailboxes or too long a name"));
        }
        let mut bytes = self.header.into_bytes();
        bytes.reserve_exact(self.data.map_or(1, |data| data.len() + 2));
        bytes.push(b'\n');
        if let Some(data) = self.data {
            bytes.extend_from_slice(data);
            bytes.push(b'\n');
        }
        Ok(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_encoded_as_the_protocol_specifies() {
        let request =
            Encoder::new("w").word(3).word(2).key("if", Some(7)).key("off", None::<u64>).data(b"hi");
        assert_eq!(request.encode().expect("short"), b"w 3 2 if=7\nhi\n");
        let seconds = |time| {
            let request = Encoder::new("take").seconds("wait", Some(time)).encode().expect("short");
            String::from_utf8(request).expect("text")
        };
        assert_eq!(seconds(Duration::ZERO), "take wait=0\n");
        assert_eq!(seconds(Duration::from_secs(100)), "take wait=100\n");
        assert_eq!(seconds(Duration::from_micros(1_500_010)), "take wait=1.50001\n");
        assert_eq!(seconds(Duration::MAX), "take wait=inf\n");
        let long = Encoder::new("lock").mailboxes(&[1_000_000; 200]).expect("a list");
        assert!(matches!(long.encode(), Err(Error::Io(_))));
    }
}
