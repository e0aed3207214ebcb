//! Parses the numbers and names of a command line. An error says what is expected.

use dipc::client::Mailbox;

/// The number or the name of a mailbox.
pub(super) fn mailbox(word: &str) -> Result<Mailbox, String> {
    word.parse().map_err(|_| "the number or the name of a mailbox is expected, such as 3 or jobs".to_owned())
}

/// The number of a mailbox in a dump, where names may differ from those of the server.
pub(super) fn dumped_mailbox(word: &str) -> Result<u32, String> {
    word.parse().map_err(|_| "the number of a mailbox is expected, such as 3".to_owned())
}

/// The list of mailboxes of a verb that runs a command, as `lock` and `watch` do.
pub(super) fn mailboxes(list: &str) -> Result<Vec<Mailbox>, String> {
    let expected = "numbers or names of mailboxes are expected, such as 3 or 3,jobs; put -- before a command";
    list.split(',').map(|word| word.parse().map_err(|_| expected.to_owned())).collect()
}

/// Refuses a word after the list of mailboxes. It is part of a command without `--`, although it may be a
/// valid name of a mailbox.
pub(super) fn undashed_command(_: &str) -> Result<String, String> {
    Err("one list of mailboxes is expected, such as 3 or 3,jobs; put -- before a command".to_owned())
}

/// A number of bytes, messages or versions, or a fencing token.
pub(super) fn count(word: &str) -> Result<u64, String> {
    word.parse().map_err(|_| "a whole number is expected, 0 or larger".to_owned())
}
