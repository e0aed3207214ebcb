//! Every symbol and every path that the documents cite exists.
//!
//! A code span of a document is checked if it looks like a Rust name (`Type`, `Type::method`, `module::function`,
//! `CONSTANT`, `snake_case`) or like a path of this repository. Names are looked up in the Rust source of the
//! workspace, paths and relative links in the file system. Words of other origin are in [`FOREIGN`], each with its
//! reason. Fenced and indented blocks are not checked: `tests/transcripts.rs` runs those that are transcripts.
#![allow(missing_docs)]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// Documents beside the pages in `docs/`.
const DOCUMENTS: [&str; 4] = ["README.md", "CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md"];

/// Words in code spans that look like names of this source and are not, with the reason.
const FOREIGN: &[(&str, &[&str])] = &[
    ("first words of answers", &["OK", "DATA", "NO", "ERR", "EVENT"]),
    ("ends of lines", &["LF", "CR", "EOL"]),
    (
        "placeholders in requests and command lines",
        &["BOX", "LEN", "PORT", "SIZE_KB", "PACKET_KB", "MAILBOXES"],
    ),
    ("variables of make and cargo", &["PREFIX", "DESTDIR", "PROGRAMS", "CARGO_TARGET_DIR"]),
    ("placeholders in texts for contributors", &["NAME", "SAFETY", "YYYY"]),
    ("signals", &["SIGTERM", "SIGINT", "SIGHUP", "SIGKILL", "SIGBUS"]),
    ("functions and types of the C library", &["posix_fallocate", "pthread_rwlock"]),
    ("lints of rustc and clippy", &["unsafe_code", "missing_docs", "clippy::undocumented_unsafe_blocks"]),
    (
        "types of mio and of the standard library",
        &["Poll", "Waker", "Result", "Option", "Vec", "Ok", "Err", "None"],
    ),
];

/// Its examples are not part of the source.
const THIS_FILE: &str = "tests/docs.rs";

/// Directories that are not source: output of builds, and the Python cache.
const SKIPPED: [&str; 2] = ["target", "__pycache__"];

/// Endings of file names. A code span with one of them is a path, also without a directory.
const ENDINGS: [&str; 8] = [".rs", ".md", ".py", ".toml", ".c", ".csv", ".svg", ".patch"];

#[test]
fn everything_that_the_documents_cite_exists() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let tree = Tree::read(root);
    let mut documents: Vec<String> = tree.files.iter().filter(|file| is_page(file)).cloned().collect();
    documents.extend(DOCUMENTS.map(str::to_owned));
    assert!(documents.len() > DOCUMENTS.len(), "docs/ has no pages");
    let mut failures = Vec::new();
    for document in &documents {
        let text =
            fs::read_to_string(root.join(document)).unwrap_or_else(|error| panic!("{document}: {error}"));
        failures.extend(check(document, &text, &tree));
    }
    assert!(failures.is_empty(), "{} citations:\n{}", failures.len(), failures.join("\n"));
}

fn is_page(file: &str) -> bool {
    file.strip_prefix("docs/").is_some_and(|name| name.ends_with(".md") && !name.contains('/'))
}

// ---- checking a document ----

/// Everything that `document` cites and that does not exist, as `file:line: what`.
fn check(document: &str, text: &str, tree: &Tree) -> Vec<String> {
    let mut failures = Vec::new();
    let mut fail = |line: usize, what: String| failures.push(format!("{document}:{line}: {what}"));
    for paragraph in paragraphs(text) {
        for (line, span) in paragraph.spans() {
            match Citation::of(span, tree) {
                Some(Citation::Name(path)) if !tree.source.defines(&path) => {
                    fail(line, format!("`{span}` is not defined in the source"));
                }
                Some(Citation::Path) if !tree.has(document, span) => {
                    fail(line, format!("`{span}` does not exist"));
                }
                _ => {}
            }
        }
        for (line, target) in paragraph.links() {
            if let Err(what) = tree.check_link(document, text, target) {
                fail(line, what);
            }
        }
    }
    failures
}

/// What a code span refers to.
#[derive(Debug, PartialEq)]
enum Citation {
    /// A name of the Rust source, one element per segment.
    Name(Vec<String>),
    /// A file or directory of the repository.
    Path,
}

impl Citation {
    fn of(span: &str, tree: &Tree) -> Option<Citation> {
        let is_foreign = FOREIGN.iter().any(|(_, words)| words.contains(&span));
        if is_foreign || span.is_empty() {
            return None;
        }
        if is_path(span, tree) {
            return Some(Citation::Path);
        }
        let segments: Vec<&str> = span.strip_suffix("()").unwrap_or(span).split("::").collect();
        if !segments.iter().all(|segment| is_identifier(segment)) {
            return None;
        }
        let looks_like_a_name = match segments[..] {
            [single] => is_telling(single),
            _ => true,
        };
        looks_like_a_name.then(|| Citation::Name(segments.into_iter().map(str::to_owned).collect()))
    }
}

fn is_identifier(word: &str) -> bool {
    let is_part = |c: char| c.is_ascii_alphanumeric() || c == '_';
    word.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_') && word.chars().all(is_part)
}

/// Whether a single word is a name of the source: `Type`, `CONSTANT` or `snake_case`. Plain lower-case words are verbs,
/// keys and commands, and single letters are placeholders.
fn is_telling(word: &str) -> bool {
    word.len() > 1 && (word.starts_with(|c: char| c.is_ascii_uppercase()) || word.contains('_'))
}

/// Whether a code span is a path of this repository: it has a known ending, or begins with one of its directories.
fn is_path(span: &str, tree: &Tree) -> bool {
    let is_part = |c: char| c.is_ascii_alphanumeric() || "_-./".contains(c);
    if !span.chars().all(is_part) || span.starts_with('/') || span.contains("..") {
        return false;
    }
    let has_ending = ENDINGS.iter().any(|ending| span.len() > ending.len() && span.ends_with(ending));
    let first = span.split_once('/').map(|(first, _)| first);
    has_ending || first.is_some_and(|first| tree.directories.contains(first))
}

/// Lines of prose that belong together: a paragraph, a list item, rows of a table.
struct Paragraph<'a> {
    lines: Vec<(usize, &'a str)>,
}

fn paragraphs(text: &str) -> Vec<Paragraph<'_>> {
    let mut paragraphs = Vec::new();
    let mut lines = Vec::new();
    let mut is_fenced = false;
    for (number, line) in (1..).zip(text.lines()) {
        let is_fence = line.starts_with("```");
        is_fenced ^= is_fence;
        let is_block = is_fence || is_fenced || line.starts_with("    ");
        if !is_block && !line.trim().is_empty() {
            lines.push((number, line));
        } else if !lines.is_empty() {
            paragraphs.push(Paragraph { lines: std::mem::take(&mut lines) });
        }
    }
    paragraphs.extend((!lines.is_empty()).then_some(Paragraph { lines }));
    paragraphs
}

impl<'a> Paragraph<'a> {
    /// Code spans with their lines. A span that goes over the end of a line is no name and no path.
    fn spans(&self) -> Vec<(usize, &'a str)> {
        let mut spans = Vec::new();
        let mut is_code = false;
        for &(number, line) in &self.lines {
            let pieces: Vec<&str> = line.split('`').collect();
            for (at, piece) in pieces.iter().enumerate() {
                let is_whole = at > 0 && at + 1 < pieces.len();
                spans.extend((is_code && is_whole).then_some((number, *piece)));
                is_code ^= at + 1 < pieces.len();
            }
        }
        spans
    }

    /// Targets of links with their lines, without those to other sites.
    fn links(&self) -> Vec<(usize, &'a str)> {
        let mut links = Vec::new();
        for &(number, line) in &self.lines {
            for rest in line.split("](").skip(1) {
                let target = rest.split(')').next().unwrap_or(rest);
                links.extend((!target.contains("://")).then_some((number, target)));
            }
        }
        links
    }
}

// ---- the repository ----

/// The files of the repository, and what its Rust source defines.
struct Tree {
    root: PathBuf,
    /// All files, named from the root on.
    files: BTreeSet<String>,
    /// All directories, named from the root on.
    directories: BTreeSet<String>,
    source: Source,
}

impl Tree {
    fn read(root: &Path) -> Tree {
        let mut tree = Tree {
            root: root.to_owned(),
            files: BTreeSet::new(),
            directories: BTreeSet::new(),
            source: Source::default(),
        };
        tree.list(Path::new(""));
        let is_source = |file: &&String| file.ends_with(".rs") && *file != THIS_FILE;
        for file in tree.files.iter().filter(is_source) {
            let text = fs::read_to_string(root.join(file)).unwrap_or_else(|error| panic!("{file}: {error}"));
            tree.source.add(&module_path(file), &text);
        }
        for manifest in tree.files.iter().filter(|file| file.ends_with("Cargo.toml")) {
            let text = fs::read_to_string(root.join(manifest)).unwrap_or_else(|e| panic!("{manifest}: {e}"));
            let name = text.lines().find_map(|line| line.strip_prefix("name = \"")?.strip_suffix('"'));
            tree.source.crates.extend(name.map(|name| name.replace('-', "_")));
        }
        tree
    }

    fn list(&mut self, below: &Path) {
        for entry in fs::read_dir(self.root.join(below)).expect("a directory") {
            let entry = entry.expect("an entry");
            let name = entry.file_name().into_string().expect("text");
            let path = below.join(&name);
            let text = path.to_str().expect("text").to_owned();
            let kind = entry.file_type().expect("a type");
            if kind.is_dir() && name != ".git" && !SKIPPED.contains(&name.as_str()) {
                self.directories.insert(text);
                self.list(&path);
            } else if !kind.is_dir() {
                self.files.insert(text);
            }
        }
    }

    /// Whether a path exists, from the root on, from the document's directory on, or as the end of some path. From the
    /// first placeholder in capitals on, as in `tests/NAME.rs`, there is nothing to check.
    fn has(&self, document: &str, span: &str) -> bool {
        let is_placeholder = |part: &&str| {
            let stem = part.split('.').next().unwrap_or(part);
            stem.len() > 2 && stem.chars().all(|c| c.is_ascii_uppercase()) && !DOCUMENTS.contains(part)
        };
        let parts: Vec<&str> = span.trim_end_matches('/').split('/').collect();
        let known = parts.iter().position(is_placeholder).unwrap_or(parts.len());
        let path = parts[..known].join("/");
        let end = format!("/{path}");
        let exists = |path: &str| self.files.contains(path) || self.directories.contains(path);
        let beside = |path: &str| match document.rsplit_once('/') {
            Some((directory, _)) => exists(&format!("{directory}/{path}")),
            None => false,
        };
        let is_end = || {
            let named = self.files.iter().chain(&self.directories);
            named.into_iter().any(|name| name.ends_with(&end))
        };
        path.is_empty() || exists(&path) || beside(&path) || is_end()
    }

    /// A relative link leads to a file, and its fragment to a heading there.
    fn check_link(&self, document: &str, text: &str, target: &str) -> Result<(), String> {
        let (path, fragment) = target.split_once('#').unwrap_or((target, ""));
        let linked = match path {
            "" => text.to_owned(),
            _ => {
                let beside = self.root.join(document).with_file_name(path);
                if beside.is_dir() {
                    return Ok(());
                }
                fs::read_to_string(beside).map_err(|_| format!("the link to {target} leads to no file"))?
            }
        };
        let has_heading = fragment.is_empty() || headings(&linked).contains(fragment);
        has_heading.then_some(()).ok_or_else(|| format!("the link to {target} leads to no heading"))
    }
}

/// The fragments of a document's headings: lower case, words joined by hyphens.
fn headings(text: &str) -> BTreeSet<String> {
    let mut is_fenced = false;
    let mut headings = BTreeSet::new();
    for line in text.lines() {
        is_fenced ^= line.starts_with("```");
        let title = line.trim_start_matches('#');
        if !is_fenced && line.starts_with('#') && title.starts_with(' ') {
            let kept = title.trim().chars().filter(|c| c.is_alphanumeric() || " -_".contains(*c));
            headings.insert(kept.collect::<String>().to_lowercase().replace(' ', "-"));
        }
    }
    headings
}

/// The modules of a file: `src/reactor/mod.rs` is `reactor`, `src/reactor/locks.rs` is `reactor`, `locks`.
fn module_path(file: &str) -> Vec<String> {
    let inside = file.rsplit_once("src/").map_or(file, |(_, inside)| inside);
    let parts = inside.trim_end_matches(".rs").split('/');
    parts.filter(|part| !["mod", "lib", "main"].contains(part)).map(str::to_owned).collect()
}

// ---- the source ----

/// Names that Rust source defines.
#[derive(Debug, Default)]
struct Source {
    /// All names of items, fields and variants.
    names: BTreeSet<String>,
    /// For each type its methods, fields, variants and constants.
    members: BTreeMap<String, BTreeSet<String>>,
    /// Crates of the workspace, as Rust spells them.
    crates: BTreeSet<String>,
    /// For each module the items in it and below it.
    items: BTreeMap<String, BTreeSet<String>>,
    /// Words in string literals. A name of `stat` or of an environment variable is one.
    texts: BTreeSet<String>,
}

impl Source {
    /// Whether a name is defined. The last segment of a path must belong to the one before it.
    fn defines(&self, path: &[String]) -> bool {
        match path {
            [] => false,
            [single] => {
                let may_be_text = single.starts_with("DIPC_") || !single.contains(|c: char| c.is_uppercase());
                self.names.contains(single) || may_be_text && self.texts.contains(single)
            }
            _ => path.windows(2).all(|pair| self.has(&pair[0], &pair[1])),
        }
    }

    /// Whether `name` is a member of a type, or is in a module or crate, called `owner`.
    fn has(&self, owner: &str, name: &str) -> bool {
        let is_in = |map: &BTreeMap<String, BTreeSet<String>>| {
            map.get(owner).is_some_and(|members| members.contains(name))
        };
        let in_crate = self.crates.contains(owner) && self.names.contains(name);
        is_in(&self.members) || is_in(&self.items) || in_crate
    }

    fn add(&mut self, modules: &[String], text: &str) {
        let mut parents: Vec<String> = Vec::new();
        for module in modules {
            self.define(&parents, module);
            parents.push(module.clone());
        }
        let tokens = self.tokens(text);
        self.scan(&parents, &tokens);
    }

    /// An item in `modules`, and so in each of them.
    fn define(&mut self, modules: &[String], name: &str) {
        self.names.insert(name.to_owned());
        for module in modules {
            self.items.entry(module.clone()).or_default().insert(name.to_owned());
        }
    }

    fn define_member(&mut self, owner: &str, name: &str) {
        self.names.insert(name.to_owned());
        self.members.entry(owner.to_owned()).or_default().insert(name.to_owned());
    }

    /// Words and punctuation, without comments. The words of string literals are kept in `texts`.
    fn tokens<'a>(&mut self, text: &'a str) -> Vec<&'a str> {
        let mut tokens = Vec::new();
        let mut rest = text;
        while let Some(first) = rest.chars().next() {
            let len = if rest.starts_with("//") {
                rest.find('\n').unwrap_or(rest.len())
            } else if rest.starts_with("/*") {
                rest.find("*/").map_or(rest.len(), |at| at + 2)
            } else if let Some((start, end, len)) = string_literal(rest) {
                let words = rest[start..end].split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'));
                self.texts.extend(words.map(str::to_owned));
                len
            } else if first == '\'' {
                quote_length(rest)
            } else if first.is_ascii_alphanumeric() || first == '_' {
                let len = rest.find(|c: char| !(c.is_ascii_alphanumeric() || c == '_')).unwrap_or(rest.len());
                tokens.push(&rest[..len]);
                len
            } else if rest.starts_with("::") || rest.starts_with("->") || rest.starts_with("=>") {
                tokens.push(&rest[..2]);
                2
            } else {
                if !first.is_whitespace() {
                    tokens.push(&rest[..first.len_utf8()]);
                }
                first.len_utf8()
            };
            rest = &rest[len..];
        }
        tokens
    }

    /// Finds the definitions in the tokens of one file.
    fn scan(&mut self, modules: &[String], tokens: &[&str]) {
        let mut modules = modules.to_vec();
        let mut scopes: Vec<Scope> = Vec::new();
        let mut pending: Option<Scope> = None;
        for (at, &token) in tokens.iter().enumerate() {
            let before = if at > 0 { tokens[at - 1] } else { ";" };
            let next = tokens.get(at + 1).copied().unwrap_or_default();
            let owner = scopes.last().and_then(Scope::owner).map(str::to_owned);
            match token {
                "struct" | "union" | "enum" | "trait" if is_identifier(next) => {
                    self.define(&modules, next);
                    let name = next.to_owned();
                    pending = Some(if token == "trait" { Scope::Methods(name) } else { Scope::Fields(name) });
                }
                "impl" if [";", "{", "}", "]", "unsafe"].contains(&before) => {
                    pending = implemented(&tokens[at + 1..]).map(Scope::Methods);
                }
                "mod" if is_identifier(next) => {
                    self.define(&modules, next);
                    pending = Some(Scope::Module(next.to_owned()));
                }
                "fn" | "const" | "static" | "type" if is_identifier(next) && before != "*" => {
                    match (scopes.last(), &owner) {
                        (Some(Scope::Methods(_)), Some(owner)) => self.define_member(owner, next),
                        _ => self.define(&modules, next),
                    }
                    if token == "fn" {
                        pending = Some(Scope::Other);
                    }
                }
                "macro_rules" => {
                    self.define(&modules, tokens.get(at + 2).copied().unwrap_or_default());
                }
                "{" => {
                    let scope = match (pending.take(), scopes.last()) {
                        (Some(scope), _) => scope,
                        // The fields of a variant.
                        (None, Some(Scope::Fields(owner))) => Scope::Fields(owner.clone()),
                        _ => Scope::Other,
                    };
                    if let Scope::Module(name) = &scope {
                        modules.push(name.clone());
                    }
                    scopes.push(scope);
                }
                "}" => {
                    if let Some(Scope::Module(_)) = scopes.pop() {
                        modules.pop();
                    }
                }
                ";" => pending = None,
                _ => {
                    let begins = ["{", ",", "]", "pub", ")"].contains(&before);
                    let is_field = next == ":" || token.starts_with(|c: char| c.is_ascii_uppercase());
                    let is_member = begins && is_field && is_identifier(token);
                    if let (true, Some(Scope::Fields(owner)), None) = (is_member, scopes.last(), &pending) {
                        let owner = owner.clone();
                        self.define_member(&owner, token);
                    }
                }
            }
        }
    }
}

/// What a pair of braces encloses.
#[derive(Clone, Debug, PartialEq)]
enum Scope {
    /// Fields or variants of a type.
    Fields(String),
    /// Methods and constants of a type.
    Methods(String),
    Module(String),
    /// A body, an expression.
    Other,
}

impl Scope {
    fn owner(&self) -> Option<&str> {
        match self {
            Scope::Fields(name) | Scope::Methods(name) => Some(name),
            Scope::Module(_) | Scope::Other => None,
        }
    }
}

/// The type of an `impl`, from the tokens behind it: the last segment before its own generics.
fn implemented(tokens: &[&str]) -> Option<String> {
    let mut depth = 0;
    let mut name = None;
    for &token in tokens {
        match token {
            "<" => depth += 1,
            ">" => depth -= 1,
            "{" | "where" | ";" if depth == 0 => break,
            "for" if depth == 0 => name = None,
            _ if depth == 0 && is_identifier(token) && token != "dyn" && token != "mut" => name = Some(token),
            _ => {}
        }
    }
    name.map(str::to_owned)
}

/// The string literal at the start of `rest`: where its content begins and ends, and its whole length.
fn string_literal(rest: &str) -> Option<(usize, usize, usize)> {
    let prefix = rest.find('"').filter(|&at| at <= 10)?;
    let (letters, hashes) = rest[..prefix].split_at(rest[..prefix].find('#').unwrap_or(prefix));
    if !["", "b", "c", "r", "br", "cr"].contains(&letters) || !hashes.chars().all(|c| c == '#') {
        return None;
    }
    let start = prefix + 1;
    if letters.ends_with('r') {
        let end = rest[start..].find(&format!("\"{hashes}")).map_or(rest.len(), |at| start + at);
        return Some((start, end, (end + 1 + hashes.len()).min(rest.len())));
    }
    let mut is_escaped = false;
    for (at, c) in rest[start..].char_indices() {
        match c {
            _ if is_escaped => is_escaped = false,
            '\\' => is_escaped = true,
            '"' => return hashes.is_empty().then_some((start, start + at, start + at + 1)),
            _ => {}
        }
    }
    None
}

/// The length of what begins with `'`: a character, or the mark of a lifetime alone.
fn quote_length(rest: &str) -> usize {
    let mut chars = rest.char_indices().skip(1);
    let escaped = rest[1..].starts_with('\\');
    match chars.nth(usize::from(escaped)) {
        Some(_) => match chars.next() {
            Some((at, '\'')) => at + 1,
            // `'\x7f'`, `'\u{1f600}'`
            Some(_) if escaped => rest[2..].find('\'').map_or(1, |at| at + 3),
            _ => 1,
        },
        None => 1,
    }
}

// ---- the checker itself ----

/// A piece of source with every kind of definition.
const EXAMPLE: &str = r##"
//! Comment::nothing
pub struct Queue<'a, T> where T: Clone { pub head: u64, rest: Vec<&'a T> }
#[derive(Clone)]
pub enum State { Idle, Waiting { since: u64 }, Done(Option<Ended>), #[cfg(test)] Lost = 4 }
pub const LIMIT_MAX: usize = 8;
impl<'a, T: Clone> Queue<'a, T> {
    const STEP: char = '{';
    pub fn push(&mut self, value: impl Into<T>) -> Result<(), Ended> { let local = '\''; if local == '"' { self.go("}") } }
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
    let text = "# The model: a list\n\n[a](#the-model-a-list) [b](#nowhere) [c](protocol.md) [d](nowhere.md)\n\
                [e](https://example.org/nowhere.md) [f](protocol.md#guarantees) [g](protocol.md#nowhere)\n";
    let expected = [
        "docs/page.md:3: the link to #nowhere leads to no heading",
        "docs/page.md:3: the link to nowhere.md leads to no file",
        "docs/page.md:4: the link to protocol.md#nowhere leads to no heading",
    ];
    assert_eq!(check("docs/page.md", text, &tree), expected);
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
