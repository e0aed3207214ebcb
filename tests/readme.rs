//! The options in README are those of the programs, its figures those of the page of measurements.
//! (`tests/transcripts/tour.rs` runs the tour of README.)

use std::collections::BTreeSet;
use std::process::Command;

use dipc_testkit::process::run;
use dipc_testkit::program;

const README: &str = include_str!("../README.md");
const PERFORMANCE: &str = include_str!("../docs/performance.md");

/// The words `--like-this` of a text.
fn options(text: &str) -> BTreeSet<&str> {
    let is_part = |c: char| c.is_ascii_lowercase() || c == '-';
    let words = text.split(|c: char| !is_part(c));
    words.filter(|word| word.starts_with("--") && word.len() > 3).collect()
}

#[test]
fn readme_and_help_list_the_same_options() {
    let help = run(Command::new(program::dipc()).arg("--help")).text();
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
fn help_and_version_succeed_and_unknown_options_fail() {
    for program in [program::dipc(), program::dipcrm()] {
        let run = |arguments: &[&str]| run(Command::new(program).args(arguments));
        assert_eq!(run(&["--help"]).code, Some(0));
        assert!(run(&["--version"]).text().contains(env!("CARGO_PKG_VERSION")));
        assert_eq!(run(&["--nonsense"]).code, Some(2));
        assert_eq!(run(&["4", "5"]).code, Some(2));
    }
}

#[test]
fn the_figures_of_readme_and_their_command_are_those_of_the_measurements() {
    let connections = chapter("\n## Connections\n");
    let reads = row(connections.split("\n### Reads\n").nth(1).expect("the reads"), "50");
    // The last columns are requests per second of dipc, redis and memcached.
    assert_eq!(row(README, "reads per second")[1..], reads[reads.len() - 3..]);
    let memory = row(chapter("\n## Memory of idle connections\n"), "bytes per connection");
    assert_eq!(row(README, "bytes of the server's memory")[1..], memory[1..]);
    let command = |text: &'static str| {
        text.lines().find_map(|line| line.strip_prefix("    dipc-cli bench ")).expect("a command")
    };
    assert_eq!(command(README), command(connections).replace("SYSTEM", "dipc").replace("-c N", "-c 50"));
}

/// The chapter of the measurements with this heading.
fn chapter(heading: &str) -> &'static str {
    PERFORMANCE.split(heading).nth(1).and_then(|rest| rest.split("\n## ").next()).expect("a chapter")
}

/// The cells of the first row of a table whose first cell begins with this text.
fn row(text: &'static str, start: &str) -> Vec<&'static str> {
    let line =
        text.lines().find(|line| line.strip_prefix("| ").is_some_and(|cells| cells.starts_with(start)));
    line.expect("a row").trim_matches('|').split('|').map(str::trim).collect()
}
