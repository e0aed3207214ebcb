//! The arguments of a header line: the words after the verb, and the values of keys.

use std::time::Duration;

use arrayvec::ArrayVec;

use super::names::is_name;
use super::request::{Limits, Refusal, Wait};

/// Largest number of bytes of a client's word that an error text repeats.
const ECHO_MAX: usize = 32;

/// How long a message may be in hand without a request of its connection, if `ttl=` has no value.
pub(super) const HAND_TTL: Duration = Duration::from_secs(30);

/// Largest number of bytes in the name of a connection.
pub const NAME_MAX: usize = 64;

/// Largest number of stored words without `=`, and with `=`. No verb has more.
const POSITIONAL_MAX: usize = 2;
const KEYS_MAX: usize = 4;

/// The words after the verb, split into positional words and keys with values. Borrows the line, and does not
/// allocate.
#[derive(Default)]
pub(super) struct Arguments<'a> {
    positional: ArrayVec<&'a [u8], POSITIONAL_MAX>,
    keys: ArrayVec<(&'a [u8], &'a [u8]), KEYS_MAX>,
    /// Whether there were more words than any verb has.
    excess: bool,
}

impl<'a> Arguments<'a> {
    pub(super) fn collect(words: impl Iterator<Item = &'a [u8]>) -> Self {
        let mut arguments = Arguments::default();
        for word in words {
            let stored = match word.iter().position(|&b| b == b'=') {
                Some(at) => arguments.keys.try_push((&word[..at], &word[at + 1..])).is_ok(),
                None => arguments.positional.try_push(word).is_ok(),
            };
            arguments.excess |= !stored;
        }
        arguments
    }

    /// Refuses more than `positional` words without `=`, keys that are not in `known`, and repeated keys.
    pub(super) fn only(&self, verb: &str, positional: usize, known: &[&str]) -> Result<(), Refusal> {
        for (at, (key, _)) in self.keys.iter().enumerate() {
            if !known.iter().any(|name| name.as_bytes() == *key) {
                return Err(Refusal::Syntax(format!("{verb} has no key {}, try help", echo(key))));
            }
            if self.keys[..at].iter().any(|(earlier, _)| earlier == key) {
                return Err(Refusal::Syntax(format!("the key {} is there twice", echo(key))));
            }
        }
        if self.excess || self.positional.len() > positional {
            return Err(Refusal::Syntax(format!("too many arguments for {verb}, try help")));
        }
        Ok(())
    }

    /// The positional word at index `at`.
    pub(super) fn word(&self, at: usize) -> Option<&'a [u8]> {
        self.positional.get(at).copied()
    }

    /// The mailbox at index `at`.
    pub(super) fn mailbox(&self, at: usize, limits: &Limits) -> Result<u32, Refusal> {
        existing(self.word(at).unwrap_or_default(), limits)
    }

    /// The list of mailboxes in the first word, in the order given.
    pub(super) fn mailboxes(&self, limits: &Limits) -> Result<Box<[u32]>, Refusal> {
        let words = self.word(0).unwrap_or_default().split(|&b| b == b',');
        let mailboxes = words.map(|word| existing(word, limits)).collect::<Result<Box<[u32]>, _>>()?;
        let mut sorted = mailboxes.clone();
        sorted.sort_unstable();
        match sorted.windows(2).find(|pair| pair[0] == pair[1]) {
            Some(pair) => Err(Refusal::Syntax(format!("mailbox {} is there twice", pair[0]))),
            None => Ok(mailboxes),
        }
    }

    /// The list of mailboxes in the first word, or `None` for `*`.
    pub(super) fn mailboxes_or_all(&self, limits: &Limits) -> Result<Option<Box<[u32]>>, Refusal> {
        if self.word(0) == Some(b"*") { Ok(None) } else { self.mailboxes(limits).map(Some) }
    }

    fn value(&self, key: &str) -> Option<&'a [u8]> {
        self.keys.iter().find(|(name, _)| *name == key.as_bytes()).map(|&(_, value)| value)
    }

    pub(super) fn number(&self, key: &str) -> Result<Option<u64>, Refusal> {
        let Some(value) = self.value(key) else { return Ok(None) };
        decimal(value)
            .map(Some)
            .ok_or_else(|| Refusal::Syntax(format!("{key}= takes a decimal number: {key}=5")))
    }

    pub(super) fn wait(&self) -> Result<Wait, Refusal> {
        match self.value("wait") {
            None => Ok(Wait::Default),
            Some(b"inf") => Ok(Wait::Forever),
            Some(value) => seconds(value)
                .map(Wait::For)
                .ok_or_else(|| Refusal::Syntax("wait= takes seconds or inf: wait=2.5".into())),
        }
    }

    /// The duration of a lock. Less than a nanosecond counts as zero, which is refused.
    pub(super) fn ttl(&self) -> Result<Option<Duration>, Refusal> {
        match self.value("ttl") {
            None => Ok(None),
            Some(b"inf") => Ok(Some(Duration::MAX)),
            Some(value) => seconds(value)
                .filter(|ttl| !ttl.is_zero())
                .map(Some)
                .ok_or_else(|| Refusal::Syntax("ttl= takes seconds above 0 or inf: ttl=2.5".into())),
        }
    }

    /// How long a message may be in hand without a request. An empty value is [`HAND_TTL`].
    pub(super) fn hand_ttl(&self) -> Result<Option<Duration>, Refusal> {
        match self.value("ttl") {
            None => Ok(None),
            Some(b"") => Ok(Some(HAND_TTL)),
            Some(value) => seconds(value)
                .filter(|ttl| !ttl.is_zero())
                .map(Some)
                .ok_or_else(|| Refusal::Syntax("ttl= of take takes seconds above 0: ttl=30".into())),
        }
    }

    /// Whether a put to a full mailbox drops the oldest messages.
    pub(super) fn dropping(&self) -> Result<bool, Refusal> {
        match self.value("full") {
            None => Ok(false),
            Some(b"drop") => Ok(true),
            Some(_) => Err(Refusal::Syntax("full= takes only drop: full=drop".into())),
        }
    }

    /// The name of the connection.
    pub(super) fn name(&self) -> Result<Option<Box<str>>, Refusal> {
        match self.value("name") {
            None => Ok(None),
            Some(name) if (1..=NAME_MAX).contains(&name.len()) => {
                Ok(Some(str::from_utf8(name).expect("a header line is ASCII").into()))
            }
            Some(_) => Err(Refusal::Syntax(format!("name= takes 1 to {NAME_MAX} bytes: name=bot"))),
        }
    }
}

/// The number of a mailbox, if it exists.
pub(super) fn mailbox(word: &[u8], limits: &Limits) -> Option<u32> {
    let number = decimal(word).and_then(|number| u32::try_from(number).ok());
    number.filter(|&number| number < limits.mailboxes)
}

/// The mailbox with this number or name.
pub(super) fn existing(word: &[u8], limits: &Limits) -> Result<u32, Refusal> {
    mailbox(word, limits).or_else(|| limits.names.find(word)).ok_or_else(|| {
        let max = limits.mailboxes - 1;
        if is_name(word) {
            let name = str::from_utf8(word).expect("a name is ASCII").into();
            return Refusal::UnknownName { name, max };
        }
        // The largest number is that of all words with more than 64 bits.
        let given = decimal(word).filter(|&number| number < u64::MAX);
        Refusal::Mailbox { given, max }
    })
}

/// A decimal number. A number of more than 64 bits becomes [`u64::MAX`], which exceeds every limit.
pub(super) fn decimal(word: &[u8]) -> Option<u64> {
    if word.is_empty() || !word.iter().all(u8::is_ascii_digit) {
        return None;
    }
    Some(word.iter().fold(0u64, |n, digit| n.saturating_mul(10).saturating_add(u64::from(digit - b'0'))))
}

/// Seconds with decimals. Digits after the nanoseconds are ignored.
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

/// A client's word for an error text: printable and shortened.
pub(super) fn echo(word: &[u8]) -> String {
    let shown = &word[..word.len().min(ECHO_MAX)];
    let dots = if shown.len() < word.len() { ".." } else { "" };
    format!("\"{}{dots}\"", shown.escape_ascii())
}
