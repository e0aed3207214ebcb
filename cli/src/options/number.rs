//! Numbers and names on the command line, and what is expected in their place.

use dipc::client::Mailbox;

/// The number or the name of a mailbox.
pub(super) fn mailbox(word: &str) -> Result<Mailbox, String> {
    word.parse().map_err(|_| "the number or the name of a mailbox is expected, such as 3 or jobs".to_owned())
}

/// The number of a mailbox in a dump, where names may differ from those of the server.
pub(super) fn dumped_mailbox(word: &str) -> Result<u32, String> {
    word.parse().map_err(|_| "the number of a mailbox is expected, such as 3".to_owned())
}

/// Mailboxes in a list that a command may follow.
pub(super) fn mailboxes(list: &str) -> Result<Vec<Mailbox>, String> {
    let expected =
        "numbers or names of mailboxes are expected, such as 3 or 3,jobs; a command follows after --";
    list.split(',').map(|word| word.parse().map_err(|_| expected.to_owned())).collect()
}

/// A word behind a list of mailboxes: it would be a valid name, but is part of a command.
pub(super) fn excess(_: &str) -> Result<String, String> {
    Err("one list of mailboxes is expected, such as 3 or 3,jobs; a command follows after --".to_owned())
}

/// A number of bytes, messages or versions, or a fencing token.
pub(super) fn count(word: &str) -> Result<u64, String> {
    word.parse().map_err(|_| "a number without a sign is expected".to_owned())
}
