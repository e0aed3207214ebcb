//! The names of mailboxes. A name may be used wherever the number of a mailbox may be.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::RwLock;

/// Largest number of bytes of a name.
pub const MAILBOX_NAME_MAX: usize = 64;

/// Words that have another meaning where a name may stand.
const RESERVED: [&str; 4] = ["conns", "locks", "names", "r"];

/// The name of a mailbox: `[a-z][a-z0-9_.-]{0,63}`, and none of the words with another meaning.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Name(Box<str>);

impl Name {
    /// The name, if it is valid.
    pub fn new(word: &str) -> Option<Self> {
        (is_name(word.as_bytes()) && !RESERVED.contains(&word)).then(|| Name(word.into()))
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Whether a word has the form of a name.
pub(super) fn is_name(word: &[u8]) -> bool {
    let is_part = |byte: &u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_' | b'.' | b'-');
    let starts = word.first().is_some_and(u8::is_ascii_lowercase);
    starts && word.len() <= MAILBOX_NAME_MAX && word.iter().all(is_part)
}

/// The names of all mailboxes. Clones share one table.
#[derive(Clone, Debug, Default)]
pub struct Names(Option<Arc<Shared>>);

#[derive(Debug, Default)]
struct Shared {
    /// Whether there are names. Requests without names then need no lock.
    has_any: AtomicBool,
    table: RwLock<Table>,
}

#[derive(Debug, Default)]
struct Table {
    by_name: HashMap<Name, u32>,
    by_mailbox: BTreeMap<u32, Name>,
}

impl Names {
    /// No names, and no table for them.
    pub const NONE: Names = Names(None);

    /// A table with these names.
    pub fn new(names: impl IntoIterator<Item = (u32, Name)>) -> Self {
        let table = Names(Some(Arc::default()));
        names.into_iter().for_each(|(mailbox, name)| table.set(mailbox, Some(name)));
        table
    }

    /// Whether there are names.
    pub fn has_any(&self) -> bool {
        self.0.as_ref().is_some_and(|shared| shared.has_any.load(Ordering::Relaxed))
    }

    /// The mailbox with this name.
    pub fn find(&self, word: &[u8]) -> Option<u32> {
        let shared = self.0.as_ref().filter(|_| self.has_any())?;
        let name = Name::new(str::from_utf8(word).ok()?)?;
        shared.table.read().by_name.get(&name).copied()
    }

    /// The name of a mailbox.
    pub fn of(&self, mailbox: u32) -> Option<Name> {
        self.0.as_ref()?.table.read().by_mailbox.get(&mailbox).cloned()
    }

    /// The first mailbox from this number on that has a name, with its name.
    pub fn from(&self, mailbox: u32) -> Option<(u32, Name)> {
        let table = self.0.as_ref()?.table.read();
        table.by_mailbox.range(mailbox..).next().map(|(mailbox, name)| (*mailbox, name.clone()))
    }

    /// Gives a mailbox this name, or none. No other mailbox has this name.
    pub fn set(&self, mailbox: u32, name: Option<Name>) {
        let Some(shared) = &self.0 else { return };
        let mut table = shared.table.write();
        if let Some(before) = table.by_mailbox.remove(&mailbox) {
            table.by_name.remove(&before);
        }
        if let Some(name) = name {
            let other = table.by_name.insert(name.clone(), mailbox);
            debug_assert!(other.is_none(), "a name belongs to one mailbox");
            table.by_mailbox.insert(mailbox, name);
        }
        shared.has_any.store(!table.by_mailbox.is_empty(), Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_have_the_documented_form() {
        let long = "a".repeat(MAILBOX_NAME_MAX);
        for word in ["a", "jobs", "a-b_c.d0", "box", &long] {
            assert_eq!(Name::new(word).expect(word).as_str(), word);
        }
        let too_long = "a".repeat(MAILBOX_NAME_MAX + 1);
        for word in
            ["", "0a", "Jobs", "a b", "a,b", "a=b", "-", ".a", "ä", "conns", "locks", "names", "r", &too_long]
        {
            assert_eq!(Name::new(word), None, "{word:?}");
        }
    }

    #[test]
    fn a_mailbox_has_one_name_and_a_name_one_mailbox() {
        let name = |word| Name::new(word).expect("valid");
        let names = Names::new([(3, name("jobs")), (1, name("chat"))]);
        let shared = names.clone();
        assert_eq!((names.find(b"jobs"), names.find(b"chat"), names.find(b"none")), (Some(3), Some(1), None));
        assert_eq!(names.from(2), Some((3, name("jobs"))));
        names.set(3, Some(name("work")));
        assert_eq!(
            (shared.find(b"jobs"), shared.find(b"work"), shared.of(3)),
            (None, Some(3), Some(name("work")))
        );
        names.set(3, None);
        names.set(1, None);
        assert!(!shared.has_any() && shared.find(b"work").is_none() && shared.from(0).is_none());
        assert!(!Names::NONE.has_any());
    }
}
