//! `clients/c/dipc_local.c`: reads in the shared memory, beside servers that the test programs start.

use std::process::Command;

use dipc_testkit::directory::Directory;
use dipc_testkit::process::{self, Outcome};
use dipc_testkit::program;
use dipc_testkit::server::Server;

use super::c::programs;
use super::{ROOT, block_after};

/// Runs a test program, which starts servers in a directory of its own. `None` if it could not be compiled.
#[track_caller]
fn run(name: &str, seconds: Option<&str>) -> Option<Outcome> {
    let programs = programs()?;
    let directory = Directory::new();
    let mut command = Command::new(programs.join(name));
    command.arg(program::dipc()).arg(directory.path());
    if let Some(seconds) = seconds {
        command.env("DIPC_TORTURE_SECONDS", seconds);
    }
    Some(process::run(&mut command))
}

#[test]
fn every_function_and_every_refusal_of_the_local_reader() {
    let Some(outcome) = run("dipc_local_test", None) else { return };
    assert_eq!(outcome.stderr, "");
    outcome.expect(0, "");
}

#[test]
fn local_readers_see_whole_messages_beside_writers_and_kills() {
    let Some(outcome) = run("dipc_local_torture", None) else { return };
    outcome.expect_success();
}

/// The block behind a heading of the page, for a server of a test. `named` are the places of its directory,
/// which the page leaves out, and what stands there with the directory, `DIR`.
fn local_block(heading: &str, language: &str, server: &Server, named: &[(&str, &str)]) -> String {
    let directory = format!("\"{}\"", server.directory.path().display());
    named.iter().fold(block_after(heading, language, server.port), |text, (place, with_directory)| {
        assert!(text.contains(place), "{text}");
        text.replace(place, &with_directory.replace("DIR", &directory))
    })
}

#[test]
fn the_local_program_of_the_page_runs() {
    let Some(programs) = programs() else { return };
    let server = Server::start("4 64 0 8");
    let source = programs.join("local_page.c");
    let text = local_block("### Local reads in C", "c", &server, &[("&local, NULL", "&local, DIR")]);
    std::fs::write(&source, text).expect("the program is written");
    let program = programs.join("local_page");
    let mut cc = Command::new("cc");
    cc.args(["-std=c11", "-Wall", "-Wextra", "-Werror", &format!("-I{ROOT}/clients/c"), "-o"]).arg(&program);
    cc.arg(&source).arg(format!("{ROOT}/clients/c/dipc_local.c"));
    process::run(&mut cc).expect_success();
    server.connect().ask("put 3 5\nhello\nput 3 4\nnews\n", "OK v=1 n=1\nOK v=2 n=2\n");
    let printed = "version 1: hello\nversion 2: news\nthere is no newer message\n";
    process::run(&mut Command::new(program)).expect(0, printed);
}

#[test]
fn the_local_script_of_the_page_runs() {
    let (Some(programs), Some(python)) = (programs(), program::python3()) else { return };
    let server = Server::start("4 64 0 8");
    let named = [("local=True", "local=DIR"), (") as local", ", DIR) as local")];
    let text = local_block("### Local reads in Python", "python", &server, &named);
    // That of the programs is compiled with sanitizers, which Python is not.
    let library = programs.join("plain");
    std::fs::create_dir_all(&library).expect("a directory");
    let mut make = Command::new("make");
    make.args(["-s", "-C", &format!("{ROOT}/clients/c"), "local", &format!("BUILD={}", library.display())]);
    make.env_remove("MAKEFLAGS").env_remove("MAKELEVEL");
    process::run(&mut make).expect_success();
    let mut script = Command::new(python);
    script.args(["-c", &text]).env("PYTHONPATH", format!("{ROOT}/clients/python"));
    script.env("PYTHONDONTWRITEBYTECODE", "1").env("DIPC_LOCAL_LIBRARY", library.join("libdipc_local.so"));
    process::run(&mut script).expect(0, "hello\nnews\n");
}

/// The torture finds readers that do not prove that their copy is whole. It ends with the first torn message.
#[test]
fn the_torture_finds_torn_messages() {
    let Some(outcome) = run("dipc_local_blind", Some("60")) else { return };
    let report = outcome.text();
    assert!(report.lines().any(|line| line.starts_with("torn ") && line != "torn 0"), "{report}");
}
