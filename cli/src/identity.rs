//! The name of this user, and the name that `stat` shows for a connection: `user@host:command`.

use std::ffi::OsStr;
use std::path::Path;

use nix::unistd::{User, gethostname, getuid};

/// The longest name of a connection in bytes, as the protocol specifies it.
const NAME_MAX: usize = 64;

/// The name of this user: USER, or else the login name, or else the number of the user.
pub(crate) fn user_name() -> String {
    let login = || Some(User::from_uid(getuid()).ok()??.name);
    let named = std::env::var("USER").ok().filter(|name| !name.is_empty());
    named.or_else(login).unwrap_or_else(|| format!("uid {}", getuid()))
}

/// The name of the connection of a command.
pub(crate) fn connection_name(command: &str) -> String {
    let host = gethostname().unwrap_or_default();
    joined([&user_name(), &host.to_string_lossy(), command])
}

/// The name of a program without its directory.
pub(crate) fn program_name(program: &OsStr) -> String {
    Path::new(program).file_name().unwrap_or(program).to_string_lossy().into_owned()
}

/// Accepts a name for a connection.
pub(crate) fn name(word: &str) -> Result<String, String> {
    match (1..=NAME_MAX).contains(&word.len()) && word.bytes().all(is_in_name) {
        true => Ok(word.to_owned()),
        false => Err("one word of printable ASCII without = is expected, at most 64 bytes".to_owned()),
    }
}

/// Joins the parts of a name: user, host and command. If the name is too long, its longest part is truncated.
fn joined(parts: [&str; 3]) -> String {
    let mut parts = parts.map(|part| {
        part.chars()
            .map(|c| u8::try_from(c).ok().filter(|&byte| is_in_name(byte)).map_or('_', char::from))
            .collect::<String>()
    });
    while parts.iter().map(String::len).sum::<usize>() > NAME_MAX - "@:".len() {
        // All characters are ASCII.
        parts.iter_mut().max_by_key(|part| part.len()).map(String::pop);
    }
    let [user, host, command] = parts;
    format!("{user}@{host}:{command}")
}

/// A name is one word in the protocol, and the value of `name=` in the output of `stat`.
fn is_in_name(byte: u8) -> bool {
    byte.is_ascii_graphic() && byte != b'='
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_one_word_of_at_most_64_bytes() {
        assert_eq!(joined(["anna", "host", "lock:make"]), "anna@host:lock:make");
        assert_eq!(joined(["uid 7", "g\u{fc}\u{20ac}", "a=b"]), "uid_7@g__:a_b");
        let (user, host, command) = ("u".repeat(10), "h".repeat(200), "c".repeat(40));
        let long = joined([&user, &host, &command]);
        assert_eq!(long, format!("{user}@{}:{}", "h".repeat(26), "c".repeat(26)));
        assert_eq!((long.len(), name(&long)), (64, Ok(long.clone())));
        for wrong in ["", "two words", "a=b", "\u{fc}", &"x".repeat(65)] {
            assert!(name(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_program_is_named_without_its_directory() {
        assert_eq!(program_name("/usr/bin/make".as_ref()), "make");
        assert_eq!(program_name("/".as_ref()), "/");
    }
}
