//! The clients in other languages than Rust, and their examples, against the real server. (The Python module
//! has tests of its own, see `tests/python.rs`.)
//!
//! A test is skipped if the machine lacks the programs that it needs, and says so.
#![allow(missing_docs)]

mod c;
mod java;
mod local;
mod tk;

use std::io::Write;
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;

use dipc_testkit::client::Client;
use dipc_testkit::process::{self, Outcome};

/// The root of the repository.
const ROOT: &str = env!("CARGO_MANIFEST_DIR");

/// The page about the clients.
const PAGE: &str = include_str!("../../docs/clients.md");

/// The first block of a language in the page, for a server on this port.
#[track_caller]
fn block(language: &str, port: u16) -> String {
    block_after("", language, port)
}

/// The first block of a language behind a heading of the page, for a server on this port.
#[track_caller]
fn block_after(heading: &str, language: &str, port: u16) -> String {
    let (_, page) = PAGE.split_once(heading).expect("the heading");
    let block = page.split(&format!("\n```{language}\n")).nth(1).and_then(|rest| rest.split("```").next());
    block.expect("a block").replace("5000", &port.to_string())
}

/// Whether these programs exist. Otherwise prints which one is missing.
fn has(programs: &[&str]) -> bool {
    let is_missing = |name: &&&str| {
        let path = std::env::var_os("PATH").unwrap_or_default();
        !std::env::split_paths(&path).any(|directory| directory.join(name).is_file())
    };
    match programs.iter().find(is_missing) {
        Some(name) => println!("there is no {name} here: not tested"),
        None => return true,
    }
    false
}

/// A program with pipes to its standard streams.
#[track_caller]
fn start(program: impl AsRef<Path>, arguments: &[&str]) -> Child {
    let mut command = process::bare(program.as_ref());
    command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command.spawn().unwrap_or_else(|error| panic!("{command:?}: {error}"))
}

/// Writes to the standard input of a program.
#[track_caller]
fn type_in(child: &mut Child, text: &str) {
    child.stdin.as_mut().expect("piped").write_all(text.as_bytes()).expect("the program reads");
}

/// Runs a client against a listener that accepts one connection, reads `request` and sends `answer`.
#[track_caller]
fn run_against(command: impl Fn(&str) -> Command, request: &str, answer: &[u8]) -> Outcome {
    let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a free port");
    let port = listener.local_addr().expect("bound").port().to_string();
    thread::scope(|scope| {
        scope.spawn(|| {
            let mut client = Client::over(listener.accept().expect("a connection").0);
            client.expect(request);
            client.send(answer);
        });
        process::run(&mut command(&port))
    })
}

#[test]
fn the_table_of_the_page_has_the_lengths_of_the_files() {
    let mut files = 0;
    for row in PAGE.lines().filter(|row| row.starts_with("| `")) {
        let cells: Vec<&str> = row.split('|').map(str::trim).collect();
        let Some(Ok(shown)) = cells.get(3).map(|lines| lines.parse::<usize>()) else { continue };
        let paths = cells[1].split(", ").map(|path| Path::new(ROOT).join(path.trim_matches('`')));
        let paths: Vec<_> = paths.filter(|path| path.is_file()).collect();
        let lines: usize =
            paths.iter().map(|path| std::fs::read_to_string(path).expect("text").lines().count()).sum();
        assert!(paths.is_empty() || lines.abs_diff(shown) <= lines / 10, "{row}: {lines} lines");
        files += paths.len();
    }
    assert!(files > 8, "the table has {files} files");
}
