//! [`Mailbox`] and [`Mailboxes`]: the mailboxes of a request, by number or by name.

use std::fmt;
use std::str::FromStr;

use super::Error;

/// The longest name of a mailbox in bytes, as the protocol specifies it.
const NAME_MAX: usize = 64;

/// A mailbox, by its number or by its name. Methods take it as `impl Into<Mailbox>`: a `u32`, a `&str` or a
/// `String`. A string of digits is a number.
///
/// A name that cannot be one fails with [`Error::Io`] of kind
/// [`InvalidInput`](std::io::ErrorKind::InvalidInput), and a name that no mailbox has with
/// [`Code::Box`](crate::Code::Box).
///
/// ```
/// use dipc_client::Mailbox;
///
/// assert_eq!(Mailbox::from("3"), Mailbox::Number(3));
/// assert_eq!(Mailbox::from("jobs"), Mailbox::Name("jobs".to_owned()));
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Mailbox {
    /// The number of the mailbox.
    Number(u32),
    /// The name of the mailbox, as [`set_mailbox_name`](crate::Client::set_mailbox_name) has set it.
    Name(String),
}

/// The mailboxes of a `lock`, an `unlock`, a `watch` or an `unwatch`. Methods take them as
/// `impl Into<Mailboxes>`: a `u32`, a slice or `Vec` of `u32` or of [`Mailbox`], or a `&str` of numbers and
/// names with commas between them.
///
/// ```no_run
/// use dipc_client::Mailbox;
///
/// # let mut client = dipc_client::Client::open("dipc://localhost:5000")?;
/// # client.set_mailbox_name(2, Some("jobs"))?;
/// # client.set_mailbox_name(3, Some("results"))?;
/// client.watch(&[2, 3], None)?;
/// client.watch("jobs", None)?;
/// client.watch("jobs,results,0", None)?;
/// let list = vec![Mailbox::from("jobs"), Mailbox::from(3)];
/// client.watch(&list, None)?;
/// # Ok::<(), dipc_client::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mailboxes(pub(super) Vec<Mailbox>);

impl Mailbox {
    /// Fails if the name has a form that the server would refuse. Such a name could be several words of a
    /// request.
    pub(super) fn check(&self) -> Result<(), Error> {
        match self {
            Mailbox::Number(_) => Ok(()),
            Mailbox::Name(name) => check_name(name),
        }
    }
}

/// Fails if this cannot be the name of a mailbox.
pub(super) fn check_name(name: &str) -> Result<(), Error> {
    let is_allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"_.-".contains(&byte);
    let begins_with_letter = name.starts_with(|first: char| first.is_ascii_lowercase());
    match begins_with_letter && name.len() <= NAME_MAX && name.bytes().all(is_allowed) {
        true => Ok(()),
        false => Err(Error::invalid_input(
            "the name of a mailbox has 1 to 64 of a-z 0-9 _ . - and begins with a letter",
        )),
    }
}

impl From<u32> for Mailbox {
    fn from(number: u32) -> Self {
        Mailbox::Number(number)
    }
}

impl From<String> for Mailbox {
    fn from(word: String) -> Self {
        match word.parse() {
            Ok(number) if word.bytes().all(|byte| byte.is_ascii_digit()) => Mailbox::Number(number),
            _ => Mailbox::Name(word),
        }
    }
}

impl From<&str> for Mailbox {
    fn from(word: &str) -> Self {
        word.to_owned().into()
    }
}

impl FromStr for Mailbox {
    type Err = Error;

    /// Unlike `From<&str>`, fails at once if this is neither a number nor the form of a name.
    fn from_str(word: &str) -> Result<Self, Error> {
        let mailbox = Mailbox::from(word);
        mailbox.check().map(|()| mailbox)
    }
}

impl From<&Mailbox> for Mailbox {
    fn from(mailbox: &Mailbox) -> Self {
        mailbox.clone()
    }
}

impl fmt::Display for Mailbox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Mailbox::Number(number) => number.fmt(f),
            Mailbox::Name(name) => name.fmt(f),
        }
    }
}

impl From<&[u32]> for Mailboxes {
    fn from(numbers: &[u32]) -> Self {
        Mailboxes(numbers.iter().copied().map(Mailbox::Number).collect())
    }
}

// References to arrays have numbers only, so that `&[]` has a type.
impl<const N: usize> From<&[u32; N]> for Mailboxes {
    fn from(numbers: &[u32; N]) -> Self {
        numbers.as_slice().into()
    }
}

impl From<&Vec<u32>> for Mailboxes {
    fn from(numbers: &Vec<u32>) -> Self {
        numbers.as_slice().into()
    }
}

impl From<&[Mailbox]> for Mailboxes {
    fn from(mailboxes: &[Mailbox]) -> Self {
        Mailboxes(mailboxes.to_vec())
    }
}

impl From<&Vec<Mailbox>> for Mailboxes {
    fn from(mailboxes: &Vec<Mailbox>) -> Self {
        mailboxes.as_slice().into()
    }
}

impl From<Mailbox> for Mailboxes {
    fn from(mailbox: Mailbox) -> Self {
        Mailboxes(vec![mailbox])
    }
}

impl From<u32> for Mailboxes {
    fn from(number: u32) -> Self {
        Mailbox::from(number).into()
    }
}

impl From<&str> for Mailboxes {
    fn from(list: &str) -> Self {
        Mailboxes(list.split(',').map(Mailbox::from).collect())
    }
}

impl From<String> for Mailboxes {
    fn from(list: String) -> Self {
        list.as_str().into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_are_a_number_and_other_words_a_name() {
        assert_eq!(Mailbox::from("4294967295"), Mailbox::Number(u32::MAX));
        for word in ["4294967296", "+3", "", "a-b.c_1"] {
            assert_eq!(Mailbox::from(word), Mailbox::Name(word.to_owned()));
        }
    }

    #[test]
    fn a_list_has_commas() {
        let expected = Mailboxes(vec![Mailbox::from("jobs"), Mailbox::Number(3)]);
        assert_eq!(Mailboxes::from("jobs,3"), expected);
        assert_eq!(Mailboxes::from(&expected.0), expected);
        assert!(matches!(&Mailboxes::from("").0[..], [Mailbox::Name(name)] if name.is_empty()));
        assert_eq!(Mailboxes::from(&[]), Mailboxes(Vec::new()));
    }

    #[test]
    fn a_name_is_one_word_of_a_request() {
        let longest = "a".repeat(NAME_MAX);
        for right in ["a", "jobs", "chat-room.2", "a_b", &longest] {
            assert!(right.parse::<Mailbox>().is_ok(), "{right}");
        }
        let longer = "a".repeat(NAME_MAX + 1);
        for wrong in ["", "Jobs", "a b", "a\nq", "a,b", "a=b", "*", "-", "9a", "4294967296", "ä", &longer] {
            assert!(wrong.parse::<Mailbox>().is_err(), "{wrong:?}");
        }
    }
}
