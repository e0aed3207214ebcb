//! The checker itself: it accepts names and paths that exist, and finds those that are made up. It finds
//! lines that are too long.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use super::document::{FOREIGN, check};
use super::repository::Tree;
use super::source::Source;
use super::width::{PROSE_MAX, RUST_MAX, long_lines_of_prose, long_lines_of_rust};

/// A piece of source with every kind of definition.
const EXAMPLE: &str = r##"
//! Comment::nothing
pub struct Queue<'a, T> where T: Clone { pub head: u64, rest: Vec<&'a T> }
#[derive(Clone)]
pub enum State { Idle, Waiting { since: u64 }, Done(Option<Ended>), #[cfg(test)] Lost = 4 }
pub const LIMIT_MAX: usize = 8;
impl<'a, T: Clone> Queue<'a, T> {
    const STEP: char = '{';
    pub fn push(&mut self, value: impl Into<T>) -> Result<(), Ended> {
        let local = '\''; if local == '"' { self.go("}") }
    }
}
impl<T> std::fmt::Display for Queue<'_, T> { fn fmt(&self) { write("jobs_done {} Text DIPC_TEXT") } }
mod inner { pub(super) fn helper() {} }
pub(crate) trait Source { fn read_all(&self); }
struct Ended;
"##;

fn example() -> Tree {
    let mut source = Source::default();
    source.add(&["reactor".to_owned(), "queue".to_owned()], EXAMPLE);
    source.crates.insert("mail_server".to_owned());
    let files = ["src/reactor/queue.rs", "docs/protocol.md", "tests/kill.rs", "README.md"];
    let directories = ["src", "src/reactor", "docs", "tests"];
    Tree {
        root: PathBuf::from("/nonexistent"),
        files: files.map(str::to_owned).into(),
        directories: directories.map(str::to_owned).into(),
        source,
    }
}

fn failures(text: &str) -> Vec<String> {
    check("docs/page.md", text, &example())
}

#[test]
fn names_and_paths_that_exist_are_accepted() {
    for span in [
        "Queue",
        "Queue::push",
        "Queue::push()",
        "Queue::head",
        "Queue::STEP",
        "Queue::fmt",
        "State::Idle",
        "State::Waiting",
        "State::since",
        "State::Done",
        "State::Lost",
        "Source::read_all",
        "reactor::queue",
        "queue::inner",
        "inner::helper",
        "reactor::Queue",
        "reactor::queue::Queue::push",
        "mail_server::Queue",
        "mail_server::reactor::Queue",
        "LIMIT_MAX",
        "read_all",
        "jobs_done",
        "DIPC_TEXT",
        "src/reactor/queue.rs",
        "src/reactor/",
        "reactor/queue.rs",
        "queue.rs",
        "protocol.md",
        "tests/NAME.rs",
        "README.md",
    ] {
        assert_eq!(failures(&format!("Text `{span}` text.")), [""; 0], "{span}");
    }
}

#[test]
fn made_up_names_and_paths_are_found() {
    for span in [
        "Stack",
        "Text",
        "Queue::pop",
        "Queue::local",
        "Queue::Idle",
        "State::Running",
        "State::head",
        "Stack::push",
        "queue::nothing",
        "nowhere::Queue::push",
        "mail_server::Stack",
        "reactor::stack",
        "Comment::nothing",
        "LIMIT_MIN",
        "write_all",
        "src/reactor/stack.rs",
        "src/stack/",
        "stack.rs",
        "src/stack/NAME.rs",
        "docs/other.md",
        "CONTRIBUTING.md",
    ] {
        let found = failures(&format!("Text\ntext `{span}` text."));
        assert_eq!(found.len(), 1, "{span}: {found:?}");
        assert!(found[0].starts_with(&format!("docs/page.md:2: `{span}` ")), "{found:?}");
    }
}

#[test]
fn other_code_spans_are_not_names() {
    for span in [
        "take",
        "OK",
        "OK v=1",
        "w BOX [LEN]",
        "N",
        "GET ",
        "Host:",
        "--max-hold",
        "SIGTERM",
        "/dev/shm/dipc-UID/PORT/",
        "printf 'w 3\\n'",
        "DATA 5",
        "target/man",
        "posix_fallocate",
        "v=3,0",
    ] {
        assert_eq!(failures(&format!("`{span}`")), [""; 0], "{span}");
    }
    assert_eq!(failures("```\n`Stack`\n```\n\n    `Stack`\n"), [""; 0]);
    assert_eq!(failures("A span `over the\nend of` a line, then `Stack`.").len(), 1);
}

#[test]
fn links_lead_to_files_and_headings() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let tree = Tree { root: root.to_owned(), ..example() };
    let text = "# The model: a list\n\n[a](#the-model-a-list) [b](#nowhere) [c](protocol.md) \
                [d](nowhere.md)\n[e](https://example.org/nowhere.md) [f](protocol.md#guarantees) \
                [g](protocol.md#nowhere)\n";
    let expected = [
        "docs/page.md:3: the link to #nowhere leads to no heading",
        "docs/page.md:3: the link to nowhere.md leads to no file",
        "docs/page.md:4: the link to protocol.md#nowhere leads to no heading",
    ];
    assert_eq!(check("docs/page.md", text, &tree), expected);
}

#[test]
fn long_lines_are_found() {
    let comment = |len: usize| format!("fn f() {{}}\n// {}\n", "é".repeat(len - 3));
    assert_eq!(long_lines_of_rust("a.rs", &comment(RUST_MAX)), [""; 0]);
    let found = long_lines_of_rust("a.rs", &comment(RUST_MAX + 1));
    assert_eq!(found, ["a.rs:2: 111 columns, at most 110 are allowed"]);
    let prose = |len: usize| format!("# Title\n\n{}\n", "a".repeat(len));
    assert_eq!(long_lines_of_prose("a.md", &prose(PROSE_MAX)), [""; 0]);
    let found = long_lines_of_prose("a.md", &prose(PROSE_MAX + 1));
    assert_eq!(found, ["a.md:3: 121 columns, at most 120 are allowed"]);
}

#[test]
fn addresses_tables_and_blocks_may_be_long() {
    let long = "a".repeat(PROSE_MAX);
    let address = format!("// https://example.org/{long}\n");
    assert_eq!(long_lines_of_rust("a.rs", &address), [""; 0]);
    let document = format!("<https://example.org/{long}>\n\n| {long} |\n\n    {long}\n\n```\n{long}\n```\n");
    assert_eq!(long_lines_of_prose("a.md", &document), [""; 0]);
}

#[test]
fn foreign_words_have_reasons_and_are_listed_once() {
    let mut seen = BTreeSet::new();
    for (reason, words) in FOREIGN {
        assert!(!reason.is_empty() && !words.is_empty());
        for word in *words {
            assert!(seen.insert(word), "{word} is listed twice");
        }
    }
}
