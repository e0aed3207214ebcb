//! Numbers on the command line, and what is expected in their place.

/// The number of a mailbox.
pub(super) fn mailbox(word: &str) -> Result<u32, String> {
    word.parse().map_err(|_| "the number of a mailbox is expected, such as 3".to_owned())
}

/// The number of a mailbox in a list that a command may follow.
pub(super) fn listed_mailbox(word: &str) -> Result<u32, String> {
    let expected = "numbers of mailboxes are expected, such as 3 or 3,4; a command follows after --";
    word.parse().map_err(|_| expected.to_owned())
}

/// A number of bytes, messages or versions, or a fencing token.
pub(super) fn count(word: &str) -> Result<u64, String> {
    word.parse().map_err(|_| "a number without a sign is expected".to_owned())
}
