//! README tells the truth about the options. (Its transcripts are run with those of the protocol.)
#![allow(missing_docs)]

mod support;

use std::collections::BTreeSet;

use support::{DIPC, DIPCRM, run, text};

const README: &str = include_str!("../README.md");

/// The words `--like-this` of a text.
fn options(text: &str) -> BTreeSet<&str> {
    let is_part = |c: char| c.is_ascii_lowercase() || c == '-';
    let words = text.split(|c: char| !is_part(c));
    words.filter(|word| word.starts_with("--") && word.len() > 3).collect()
}

#[test]
fn readme_and_help_know_the_same_options() {
    let help = text(&run(DIPC, &["--help"]).stdout);
    let section =
        README.split("## Options").nth(1).and_then(|rest| rest.split("\n## ").next()).expect("a section");
    let mut helped = options(&help);
    helped.retain(|option| !["--help", "--version"].contains(option));
    assert_eq!(options(section), helped);
    for (option, default) in [("--wait S", "30"), ("--max-clients N", "10000"), ("--quiet-ms N", "200")] {
        assert!(section.contains(&format!("`{option}` | {default} |")), "{option} in README");
        let line = help.lines().find(|line| line.contains(option.split(' ').next().expect("a word")));
        assert!(
            line.is_some_and(|line| line.contains(&format!("[default: {default}]"))),
            "{option} in --help"
        );
    }
}

#[test]
fn help_and_version_succeed_and_nonsense_is_usage() {
    for program in [DIPC, DIPCRM] {
        assert_eq!(run(program, &["--help"]).status.code(), Some(0));
        assert!(text(&run(program, &["--version"]).stdout).contains(env!("CARGO_PKG_VERSION")));
        assert_eq!(run(program, &["--nonsense"]).status.code(), Some(2));
        assert_eq!(run(program, &[]).status.code(), Some(2));
    }
}
