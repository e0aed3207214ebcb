//! Every symbol and every path that the documents cite exists, and no line is too long.
//!
//! A code span of a document is checked if it looks like a Rust name (`Type`, `Type::method`,
//! `module::function`, `CONSTANT`, `snake_case`) or like a path of this repository. Names are looked up in
//! the Rust source of the workspace, paths and relative links in the file system. Words that only look like
//! names of this source are in [`document::FOREIGN`], each with its reason. Fenced and indented blocks are
//! not checked: `tests/transcripts/` runs the transcripts.
#![allow(missing_docs)]

mod checker;
mod document;
mod repository;
mod source;
mod width;

use std::fs;
use std::path::Path;

use document::check;
use repository::Tree;
use width::{long_lines_of_prose, long_lines_of_rust};

/// Documents other than the pages in `docs/`.
const DOCUMENTS: [&str; 4] = ["README.md", "CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md"];

#[test]
fn everything_that_the_documents_cite_exists() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let tree = Tree::read(root);
    let mut documents: Vec<String> = tree.files.iter().filter(|file| is_page(file)).cloned().collect();
    documents.extend(DOCUMENTS.map(str::to_owned));
    assert!(documents.len() > DOCUMENTS.len(), "docs/ has no pages");
    let mut failures = Vec::new();
    for document in &documents {
        failures.extend(check(document, &read(root, document), &tree));
    }
    assert!(failures.is_empty(), "{} citations:\n{}", failures.len(), failures.join("\n"));
}

#[test]
fn no_line_is_too_long() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let files = Tree::read(root).files;
    let of_rust = files.iter().filter(|file| file.ends_with(".rs"));
    let mut failures: Vec<String> =
        of_rust.flat_map(|file| long_lines_of_rust(file, &read(root, file))).collect();
    let documents = files.iter().filter(|file| file.ends_with(".md"));
    failures.extend(documents.flat_map(|file| long_lines_of_prose(file, &read(root, file))));
    assert!(failures.is_empty(), "{} lines:\n{}", failures.len(), failures.join("\n"));
}

fn read(root: &Path, file: &str) -> String {
    fs::read_to_string(root.join(file)).unwrap_or_else(|error| panic!("{file}: {error}"))
}

fn is_page(file: &str) -> bool {
    file.strip_prefix("docs/").is_some_and(|name| name.ends_with(".md") && !name.contains('/'))
}
