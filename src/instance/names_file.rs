//! The file of `--names`: lines `BOX NAME`. Blank lines and lines that begin with `#` are ignored.

use std::collections::HashSet;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use crate::protocol::Name;

/// Largest number of bytes of the file: a line for each of a million mailboxes.
const FILE_MAX: u64 = 80 * 1024 * 1024;

/// Why the names are not set.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NamesError {
    /// The file cannot be read.
    #[error("cannot read the names in {}: {error}", .path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// The reason.
        error: io::Error,
    },
    /// A line is not valid.
    #[error("{} line {line}: {reason}", .path.display())]
    Line {
        /// The file.
        path: PathBuf,
        /// The number of the line, from 1.
        line: usize,
        /// The reason.
        reason: String,
    },
}

/// Reads the names of `mailboxes` mailboxes from a file. A file with an invalid line sets no name.
pub(crate) fn read(path: &Path, mailboxes: u32) -> Result<Vec<(u32, Name)>, NamesError> {
    let io = |error| NamesError::Io { path: path.to_owned(), error };
    let mut text = String::new();
    let file = File::open(path).map_err(io)?;
    if file.metadata().map_err(io)?.len() > FILE_MAX {
        return Err(io(io::Error::new(io::ErrorKind::FileTooLarge, "the file is too large")));
    }
    file.take(FILE_MAX).read_to_string(&mut text).map_err(io)?;
    parse(&text, mailboxes).map_err(|(line, reason)| NamesError::Line { path: path.to_owned(), line, reason })
}

/// Parses the lines. The error is the number of a line, from 1, and why it is not valid.
fn parse(text: &str, mailboxes: u32) -> Result<Vec<(u32, Name)>, (usize, String)> {
    let (mut numbers, mut words, mut names) = (HashSet::new(), HashSet::new(), Vec::new());
    for (line, text) in (1..).zip(text.lines()) {
        let fields: Vec<&str> = text.split_whitespace().collect();
        if fields.first().is_none_or(|first| first.starts_with('#')) {
            continue;
        }
        let (mailbox, name) = fields_of(&fields, mailboxes).map_err(|reason| (line, reason))?;
        if !numbers.insert(mailbox) {
            return Err((line, format!("mailbox {mailbox} has a name already")));
        }
        if !words.insert(name.clone()) {
            return Err((line, format!("{name} is the name of another mailbox")));
        }
        names.push((mailbox, name));
    }
    Ok(names)
}

fn fields_of(fields: &[&str], mailboxes: u32) -> Result<(u32, Name), String> {
    let [number, word] = fields else {
        return Err("a line has a mailbox and its name: 3 jobs".to_owned());
    };
    let mailbox = number.parse().ok().filter(|mailbox| *mailbox < mailboxes);
    let mailbox = mailbox.ok_or_else(|| format!("no mailbox {number}; there are 0 to {}", mailboxes - 1))?;
    let name =
        Name::new(word).ok_or_else(|| format!("{word} is not a valid name; see `name` in the protocol"))?;
    Ok((mailbox, name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_mailboxes_with_names() {
        let text = "# the queues\n\n3 jobs\n  0\tchat  \r\n#1 off\n";
        let names = parse(text, 4).expect("valid");
        let names: Vec<_> = names.iter().map(|(mailbox, name)| (*mailbox, name.as_str())).collect();
        assert_eq!(names, [(3, "jobs"), (0, "chat")]);
    }

    #[test]
    fn each_mistake_is_reported_with_its_line() {
        for (text, line, reason) in [
            ("3 jobs x", 1, "a line has a mailbox and its name"),
            ("\n3", 2, "a line has a mailbox and its name"),
            ("4 jobs", 1, "no mailbox 4; there are 0 to 3"),
            ("-1 jobs", 1, "no mailbox -1"),
            ("0 Jobs", 1, "Jobs is not a valid name"),
            ("0 conns", 1, "conns is not a valid name"),
            ("0 a\n0 b", 2, "mailbox 0 has a name already"),
            ("0 a\n# b\n1 a", 3, "a is the name of another mailbox"),
        ] {
            let (found, text) = parse(text, 4).expect_err(reason);
            assert_eq!(found, line, "{text}");
            assert!(text.starts_with(reason), "{text}");
        }
    }
}
