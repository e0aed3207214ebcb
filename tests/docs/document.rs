//! A document: its code spans and links, and whether the things that they cite exist.

use super::repository::Tree;

/// Words in code spans that look like names of this source and are not, with the reason.
pub(crate) const FOREIGN: &[(&str, &[&str])] = &[
    ("first words of answers", &["OK", "DATA", "NO", "ERR", "EVENT"]),
    ("ends of lines", &["LF", "CR", "EOL"]),
    (
        "placeholders in requests and command lines",
        &["BOX", "LEN", "PORT", "SIZE_KB", "PACKET_KB", "MAILBOXES"],
    ),
    ("variables of make and cargo", &["PREFIX", "DESTDIR", "PROGRAMS", "CARGO_TARGET_DIR"]),
    ("placeholders in texts for contributors", &["NAME", "SAFETY", "YYYY"]),
    ("variables of service managers", &["NOTIFY_SOCKET"]),
    ("signals", &["SIGTERM", "SIGINT", "SIGHUP", "SIGKILL", "SIGBUS"]),
    ("functions and types of the C library", &["posix_fallocate", "pthread_rwlock"]),
    (
        "refusals and variables of the local readers in C and Python",
        &[
            "DIPC_LOCAL_NONE",
            "DIPC_LOCAL_HELD",
            "DIPC_LOCAL_BUSY",
            "DIPC_LOCAL_RETIRED",
            "DIPC_LOCAL_DAMAGED",
            "DIPC_LOCAL_AHEAD",
            "DIPC_LOCAL_SIZE",
            "DIPC_LOCAL_LIBRARY",
            "DIPC_TORTURE_SECONDS",
            "OSError",
        ],
    ),
    ("lints of rustc and clippy", &["unsafe_code", "missing_docs", "clippy::undocumented_unsafe_blocks"]),
    (
        "types of mio and of the standard library",
        &["Poll", "Waker", "Result", "Option", "Vec", "Ok", "Err", "None"],
    ),
];

/// Endings of file names. A code span with one of them is a path, also without a directory.
const ENDINGS: [&str; 11] =
    [".rs", ".md", ".py", ".toml", ".c", ".h", ".java", ".csv", ".svg", ".png", ".patch"];

/// Everything that `document` cites and that does not exist, as `file:line: what`.
pub(crate) fn check(document: &str, text: &str, tree: &Tree) -> Vec<String> {
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

pub(crate) fn is_identifier(word: &str) -> bool {
    let is_part = |c: char| c.is_ascii_alphanumeric() || c == '_';
    word.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_') && word.chars().all(is_part)
}

/// Whether a single word is a name of the source: `Type`, `CONSTANT` or `snake_case`. Plain lower-case words
/// are verbs, keys and commands, and single letters are placeholders.
fn is_telling(word: &str) -> bool {
    word.len() > 1 && (word.starts_with(|c: char| c.is_ascii_uppercase()) || word.contains('_'))
}

/// Whether a code span is a path of this repository: it has a known ending, or begins with one of its
/// directories.
fn is_path(span: &str, tree: &Tree) -> bool {
    let is_part = |c: char| c.is_ascii_alphanumeric() || "_-./".contains(c);
    if !span.chars().all(is_part) || span.starts_with('/') || span.contains("..") {
        return false;
    }
    let has_ending = ENDINGS.iter().any(|ending| span.len() > ending.len() && span.ends_with(ending));
    let first = span.split_once('/').map(|(first, _)| first);
    has_ending || first.is_some_and(|first| tree.directories.contains(first))
}

/// Lines of prose that belong together, each with its number: a paragraph, a list item, rows of a table.
pub(crate) struct Paragraph<'a> {
    pub lines: Vec<(usize, &'a str)>,
}

/// The paragraphs of a document, without fenced and indented blocks.
pub(crate) fn paragraphs(text: &str) -> Vec<Paragraph<'_>> {
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
