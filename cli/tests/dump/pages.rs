//! The commands and the example in the documents work.

use std::fs;
use std::path::Path;
use std::process::Command;

use dipc_testkit::process::run;
use dipc_testkit::program;
use dipc_testkit::server::Server;

use crate::contents::{file, put};
use crate::round_trip::body;

const README: &str = include_str!("../../../README.md");
const PAGE: &str = include_str!("../../../docs/dump.md");

/// The first block of this kind behind the heading.
fn block(page: &'static str, heading: &str, kind: &str) -> &'static str {
    let rest = page.split_once(heading).expect("a heading").1;
    rest.split_once(&format!("```{kind}\n")).and_then(|(_, rest)| rest.split("```").next()).expect("a block")
}

/// The indented lines behind the heading, up to the next one.
fn indented(page: &str, heading: &str) -> String {
    let section =
        page.split_once(heading).and_then(|(_, rest)| rest.split("\n## ").next()).expect("a section");
    section.lines().filter_map(|line| line.strip_prefix("    ")).collect::<Vec<_>>().join("\n")
}

/// Runs the lines of a block. Servers get free ports in place of those in the block, and the first one of the
/// block, on port 5000, is running already.
fn run_lines(block: &str, first: Server) -> Vec<Server> {
    let directory = first.directory.join("lines");
    fs::create_dir(&directory).expect("a directory");
    let programs = Path::new(program::dipc_cli()).parent().expect("a directory").display();
    let path = format!("{programs}:{}", std::env::var("PATH").expect("a PATH"));
    let mut ports = vec![("5000".to_owned(), first.port)];
    let mut servers = vec![first];
    for line in block.lines() {
        let command = line.split('#').next().expect("a command").trim();
        if let Some(arguments) = command.strip_prefix("dipc ") {
            let (sizes, port) = arguments.rsplit_once(' ').expect("a port");
            let server = Server::start(&format!("{sizes} 0"));
            ports.push((port.to_owned(), server.port));
            servers.push(server);
            continue;
        }
        let command = ports.iter().fold(command.to_owned(), |command, (from, to)| {
            command.replace(&format!("-p {from} "), &format!("-p {to} "))
        });
        let mut shell = Command::new("sh");
        let ran = run(shell.args(["-ec", &command]).current_dir(&directory).env("PATH", &path));
        assert_eq!(ran.code, Some(0), "{line}: {ran:?}");
    }
    servers
}

/// A server with a message in each of its mailboxes.
fn full_server() -> Server {
    let server = Server::start("4 64 0 8");
    let mut client = server.connect();
    (0..4).for_each(|mailbox| put(&mut client, mailbox, [b"text".to_vec()]));
    server
}

fn messages(server: &Server) -> Vec<u64> {
    (0..4).map(|mailbox| server.stat_box(mailbox, "messages")).collect()
}

#[test]
fn the_commands_of_readme_move_a_server_to_another_size() {
    let servers = run_lines(&indented(README, "\n## Backup"), full_server());
    assert_eq!(servers.iter().map(messages).collect::<Vec<_>>(), [[1, 1, 1, 1], [1, 1, 1, 1]]);
}

#[test]
fn the_commands_of_the_page_work() {
    let servers = run_lines(block(PAGE, "# Dumps", "sh"), full_server());
    let found: Vec<_> = servers.iter().map(messages).collect();
    assert_eq!(found, [[1, 1, 1, 1], [1, 1, 1, 1], [0, 1, 0, 1]]);
}

#[test]
fn the_example_of_the_page_is_a_dump() {
    let example = block(PAGE, "\n## The format", "dump");
    let server = Server::start("4 64 0 8");
    server.run_with(&["restore", "-"], example).expect(0, "2 mailboxes, 2 messages, 14 bytes\n");
    let path = file(&server, "dump");
    server.run(&["dump", &path]).expect_success();
    let dump = fs::read(path).expect("a dump");
    assert_eq!(body(&dump).escape_ascii().to_string(), body(example.as_bytes()).escape_ascii().to_string());
    server.connect().ask("r 3 after=7\n", "DATA 9 v=9 n=2 lost=1\ntwo\nlines\n");
}
