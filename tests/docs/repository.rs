//! The files of the repository.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use super::DOCUMENTS;
use super::source::Source;

/// The directory of this test. The examples in it are not part of the source.
const THIS_TEST: &str = "tests/docs/";

/// Directories without source: output of builds, and the Python cache.
const SKIPPED: [&str; 2] = ["target", "__pycache__"];

/// The files of the repository, and what its Rust source defines.
pub(crate) struct Tree {
    pub root: PathBuf,
    /// All files, named from the root on.
    pub files: BTreeSet<String>,
    /// All directories, named from the root on.
    pub directories: BTreeSet<String>,
    pub source: Source,
}

impl Tree {
    pub(crate) fn read(root: &Path) -> Tree {
        let mut tree = Tree {
            root: root.to_owned(),
            files: BTreeSet::new(),
            directories: BTreeSet::new(),
            source: Source::default(),
        };
        tree.list(Path::new(""));
        let is_source = |file: &&String| file.ends_with(".rs") && !file.starts_with(THIS_TEST);
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

    /// Whether a path exists: below the root, below the document's directory, or as the end of some path.
    /// Only the parts before the first placeholder in capitals, as in `tests/NAME.rs`, are checked.
    pub(crate) fn has(&self, document: &str, span: &str) -> bool {
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

    /// Checks that a relative link leads to a file, and its fragment to a heading of that file.
    pub(crate) fn check_link(&self, document: &str, text: &str, target: &str) -> Result<(), String> {
        let (path, fragment) = target.split_once('#').unwrap_or((target, ""));
        let linked = match path {
            "" => text.to_owned(),
            _ => {
                let beside = self.root.join(document).with_file_name(path);
                // A picture is a file without headings, and no text.
                if beside.is_dir() || beside.is_file() && fragment.is_empty() {
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
