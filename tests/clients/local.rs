//! `clients/c/dipc_local.c`: reads in the shared memory, beside servers that the test programs start.

use std::process::Command;

use dipc_testkit::directory::Directory;
use dipc_testkit::process::{self, Outcome};
use dipc_testkit::program;

use super::c::programs;

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

/// The torture finds readers that do not prove that their copy is whole. It ends with the first torn message.
#[test]
fn the_torture_finds_torn_messages() {
    let Some(outcome) = run("dipc_local_blind", Some("60")) else { return };
    let report = outcome.text();
    assert!(report.lines().any(|line| line.starts_with("torn ") && line != "torn 0"), "{report}");
}
