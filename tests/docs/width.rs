//! The width of lines, in columns. rustfmt wraps neither comments nor strings, so this finds long ones.

use super::document::paragraphs;

/// Largest width of a line of Rust.
pub(crate) const RUST_MAX: usize = 110;

/// Largest width of a line of prose in a document.
pub(crate) const PROSE_MAX: usize = 120;

/// The lines of a Rust file that are too long, as `file:line: what`.
pub(crate) fn long_lines_of_rust(file: &str, text: &str) -> Vec<String> {
    long_lines(file, (1..).zip(text.lines()), RUST_MAX)
}

/// The lines of prose of a document that are too long, as `file:line: what`. Rows of tables, commands and
/// transcripts cannot be wrapped, so they may have any width.
pub(crate) fn long_lines_of_prose(document: &str, text: &str) -> Vec<String> {
    let lines = paragraphs(text).into_iter().flat_map(|paragraph| paragraph.lines);
    long_lines(document, lines.filter(|(_, line)| !line.trim_start().starts_with('|')), PROSE_MAX)
}

fn long_lines<'a>(file: &str, lines: impl Iterator<Item = (usize, &'a str)>, max: usize) -> Vec<String> {
    lines
        .map(|(number, line)| (number, width(line)))
        .filter(|(_, width)| *width > max)
        .map(|(number, width)| format!("{file}:{number}: {width} columns, at most {max} are allowed"))
        .collect()
}

/// The number of columns without addresses of web pages, which cannot be wrapped.
fn width(line: &str) -> usize {
    let addresses = line.split_whitespace().filter(|word| word.contains("://"));
    line.chars().count() - addresses.map(|address| address.chars().count()).sum::<usize>()
}
