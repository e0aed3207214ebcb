//! The tour of README: its blocks, in their order, on one new server.
//!
//! The info string of a block says how it is run: `dipc tour` is a transcript, `console` has commands after
//! `$` and their output, `python` and `sh` are programs with their output in comments, and `rust` is a part
//! of this file.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use dipc_testkit::directory::names;
use dipc_testkit::process::{bare, run};
use dipc_testkit::program;
use dipc_testkit::server::Server;
use dipc_testkit::wait::HANG;

use crate::conversation::run_on;
use crate::document::{Block, blocks, steps};

const NAME: &str = "README.md";
const README: &str = include_str!("../../README.md");

const HEADING: &str = "\n## The tour\n";

/// The port in README.
const PORT: &str = "5000";

/// The command of README that starts the server of the tour.
const START: &str = "cargo run --release -- 4 64 5000 8 ";

/// The verbs of dipc-cli that do not end, the seconds after which `timeout` stops them, and its exit code
/// then.
const ENDLESS: [&str; 2] = ["watch", "top"];
const ENDLESS_TIME: &str = "0.5";
const TIMED_OUT: i32 = 124;

/// A program that is enough of nc for README: sends its input, and prints the answers.
const NC: &str = r#"#!/usr/bin/env bash
exec 3<>"/dev/tcp/$1/$2" && cat >&3 && cat <&3
"#;

#[test]
fn the_tour_of_readme_works_from_its_first_block_to_its_last() {
    assert!(README.contains(START), "{NAME} does not start the server of the tour");
    let mut tour = Tour::new();
    let (before, rest) = README.split_once(HEADING).expect("a tour");
    let section =
        rest.split("\n## ").next().expect("a first part").replace(PORT, &tour.server.port.to_string());
    // The lines before the section stay as empty lines, so that failures have the line numbers of README.
    let text = "\n".repeat((before.to_owned() + HEADING).lines().count()) + &section;
    for block in blocks(NAME, &text).unwrap_or_else(|failure| panic!("{failure}")) {
        tour.run(&block);
    }
    let removed = run(tour.command("dipcrm").arg(tour.server.port.to_string()));
    assert_eq!(removed.code, Some(0), "{removed:?}");
    assert_eq!(tour.server.wait(), Some(0));
    assert_eq!(names(tour.server.directory.path()), ["tour"], "dipcrm leaves files");
}

#[test]
fn all_blocks_of_readme_are_in_its_tour() {
    let (before, rest) = README.split_once(HEADING).expect("a tour");
    let after = rest.split_once("\n## ").expect("a section after the tour").1;
    assert!(!before.contains("```") && !after.contains("```"), "a block of {NAME} that is not run");
}

struct Tour {
    server: Server,
}

impl Tour {
    /// Starts the server. Makes the directory in which the commands run, with the programs and files of the
    /// checkout that they use.
    fn new() -> Self {
        let tour = Tour { server: Server::start("4 64 0 8") };
        let directory = tour.directory();
        fs::create_dir(&directory).expect("a new directory");
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        symlink(root.join("clients"), directory.join("clients")).expect("a link");
        let nc = directory.join("nc");
        fs::write(&nc, NC).expect("the program is written");
        fs::set_permissions(nc, PermissionsExt::from_mode(0o700)).expect("the program is executable");
        tour
    }

    fn directory(&self) -> PathBuf {
        self.server.directory.join("tour")
    }

    /// A command that runs as in a shell of the user.
    fn command(&self, program: &str) -> Command {
        let programs = Path::new(program::dipc_cli()).parent().expect("a directory").display();
        let path = std::env::var("PATH").expect("a PATH");
        let mut command = bare("timeout");
        command.arg(HANG.as_secs().to_string()).arg(program).current_dir(self.directory());
        command.env("PATH", format!("{}:{programs}:{path}", self.directory().display()));
        command
            .env("PYTHONPATH", self.directory().join("clients/python"))
            .env("PYTHONDONTWRITEBYTECODE", "1");
        command.env("DIPC_DIR", self.server.directory.path());
        command.env("DIPC_URL", self.url());
        command
    }

    fn url(&self) -> String {
        format!("dipc://localhost:{}", self.server.port)
    }

    fn run(&mut self, block: &Block) {
        let place = format!("{NAME}:{}", block.start);
        match block.info {
            "dipc tour" => {
                let done = steps(NAME, block).and_then(|steps| run_on(&self.server, NAME, &steps));
                done.unwrap_or_else(|failure| panic!("{failure}"));
            }
            "console" => self.console(block),
            "python" => self.python(block),
            "sh" => self.shell(block),
            "rust" => {
                let code =
                    block.lines.iter().map(|(_, line)| line.split(" // ").next().expect("a part").trim());
                for line in code {
                    let line = line.replace(&format!("\"{}\"", self.url()), "url");
                    assert!(include_str!("tour.rs").contains(&line), "{place}: {line} is not in `rust`");
                }
                rust(&self.url()).unwrap_or_else(|error| panic!("{place}: {error}"));
            }
            other => panic!("{place}: how is a block of {other:?} run?"),
        }
    }

    /// Runs the commands after `$`. A command with a comment reads a terminal: at the end of its input it has
    /// to succeed. The others print the lines below them.
    fn console(&self, block: &Block) {
        let starts: Vec<usize> =
            (0..block.lines.len()).filter(|&at| block.lines[at].1.starts_with("$ ")).collect();
        assert_eq!(starts.first(), Some(&0), "{NAME}:{}", block.start);
        for (at, &start) in starts.iter().enumerate() {
            let end = starts.get(at + 1).copied().unwrap_or(block.lines.len());
            let (line, command) = block.lines[start];
            let shown: Vec<&str> = block.lines[start + 1..end].iter().map(|(_, line)| *line).collect();
            let outcome = run(self.command("sh").args(["-c", command.trim_start_matches("$ ")]));
            assert_eq!(outcome.code, Some(0), "{NAME}:{line}: {outcome:?}");
            if !command.contains(" # ") {
                assert_eq!(outcome.text().lines().collect::<Vec<_>>(), shown, "{NAME}:{line}: {outcome:?}");
            }
        }
    }

    /// Runs a program whose lines with `print` have their output as a comment.
    fn python(&self, block: &Block) {
        if program::python3().is_none() {
            return;
        }
        let lines: Vec<&str> = block.lines.iter().map(|(_, line)| *line).collect();
        let prints = lines.iter().filter(|line| line.contains("print("));
        let shown: Vec<&str> = prints.map(|line| line.split_once(" # ").expect("a comment").1).collect();
        let outcome = run(self.command("python3").args(["-c", &lines.join("\n")]));
        assert_eq!(outcome.code, Some(0), "{NAME}:{}: {outcome:?}", block.start);
        assert_eq!(outcome.text().lines().collect::<Vec<_>>(), shown, "{NAME}:{}: {outcome:?}", block.start);
    }

    /// Runs each line. After `# prints` it has its output, up to a colon.
    fn shell(&self, block: &Block) {
        for &(line, command) in &block.lines {
            let is_endless = ENDLESS.iter().any(|verb| command.split(' ').nth(1) == Some(verb));
            let mut shell = self.command(if is_endless { "timeout" } else { "sh" });
            if is_endless {
                shell.args([ENDLESS_TIME, "sh"]);
            }
            let outcome = run(shell.args(["-c", command]));
            let code = if is_endless { TIMED_OUT } else { 0 };
            assert_eq!((outcome.code, &*outcome.stderr), (Some(code), ""), "{NAME}:{line}: {outcome:?}");
            if let Some((_, shown)) = command.split_once("# prints ") {
                let shown = shown.split(": ").next().expect("a first part");
                assert_eq!(outcome.text().trim_end(), shown, "{NAME}:{line}: {command}");
            }
        }
    }
}

/// The lines of the block of Rust.
fn rust(url: &str) -> Result<(), dipc_client::Error> {
    let mut client = dipc_client::Client::open(url)?;
    client.write(3, "hello")?;
    let mut lock = client.lock(&[3])?;
    let message = lock.read(3)?;
    assert_eq!(message.data, b"hello");
    Ok(())
}
