//! Every transcript in the documents is run against the real server, byte by byte.
//!
//! A transcript is a fenced block whose info string is `dipc MAILBOXES SIZE_KB PACKET_KB [OPTIONS]`, the
//! arguments of the server that it runs on, without the port. `docs/protocol.md` explains its lines. The
//! transcripts of README are blocks of its tour.

mod conversation;
mod document;
mod tour;

use std::fs;
use std::path::Path;
use std::process::Command;

use dipc_testkit::process::{self, text};
use dipc_testkit::program;
use dipc_testkit::server::Server;

use conversation::run;
use document::{Action, Failure, Step, Transcript, parse};

/// The definition of the protocol, which must have transcripts.
const PROTOCOL: &str = "docs/protocol.md";

/// The compatibility page, whose transcripts show how a client detects features.
const COMPATIBILITY: &str = "docs/compatibility.md";

#[test]
fn the_transcripts_of_the_protocol_are_true() {
    let transcripts = read(PROTOCOL);
    assert!(!transcripts.is_empty(), "{PROTOCOL} has no transcript");
    check(PROTOCOL, &transcripts);
}

#[test]
fn the_transcripts_of_the_compatibility_page_are_true() {
    let transcripts = read(COMPATIBILITY);
    assert!(!transcripts.is_empty(), "{COMPATIBILITY} has no transcript");
    check(COMPATIBILITY, &transcripts);
}

#[test]
fn the_protocol_shows_every_verb_and_every_reproducible_answer() {
    let steps: Vec<Step> = read(PROTOCOL).into_iter().flat_map(|block| block.steps).collect();
    let sent = |verb: &str| {
        steps.iter().any(|step| matches!(&step.action, Action::Send(line) if first_words(line, 1) == verb))
    };
    let answered = |words: &str| {
        steps
            .iter()
            .any(|step| matches!(&step.action, Action::Expect(line) if first_words(&line[0], 2) == words))
    };
    for verb in ["r", "read", "w", "write", "q", "quit", "ping", "help", "hello", "stat"] {
        assert!(sent(verb), "{PROTOCOL} shows no {verb}");
    }
    for words in ["NO conflict", "ERR syntax", "ERR verb", "ERR box", "ERR size", "ERR frame", "ERR busy"] {
        assert!(answered(words), "{PROTOCOL} shows no {words}");
    }
}

#[test]
fn the_client_in_ten_lines_prints_its_comments() {
    let Some(python) = program::python3() else { return };
    let document = fs::read_to_string(path(PROTOCOL)).expect("the page");
    let code = document.split("\n```python\n").nth(1).expect("a block of Python").split("\n```").next();
    let code = code.expect("the end of the block");
    let expected: Vec<&str> = code.lines().filter_map(|line| Some(line.split_once("  # ")?.1)).collect();
    assert!(!expected.is_empty(), "nothing is printed");
    let server = Server::start("4 64 0 8");
    let code = code.replace("5000", &server.port.to_string());
    let outcome = process::run(Command::new(python).args(["-c", &code]));
    assert_eq!(outcome.text().lines().collect::<Vec<_>>(), expected, "{outcome:?}");
}

#[test]
fn errors_in_a_document_are_reported_with_their_line() {
    for (transcript, expected) in [
        ("C: ping\nS: KO", "x.md:3: the server answers otherwise\n  shown     KO\\n\n  answered  OK\\n"),
        ("C: ping\nS: OKAY", "x.md:3: the server answers otherwise\n  shown     OKAY\\n\n  answered  OK\\n"),
        ("C: ping\nS~ O..A", "x.md:3: the server answers otherwise\n  shown     O..A\\n\n  answered  OK\\n"),
        ("C: q\nS: OK", "x.md:3: the server answers otherwise\n  shown     OK\\n\n  answered  the end"),
        ("C: ping\nC: ping\nS: OK", "x.md:4: the server says more than is shown: OK\\nOK\\n"),
        ("C: stat\nS~ DATA ..", "x.md:3: the server says more than is shown: uptime"),
        ("C: w 3 five\nS~ ERR frame ..", "x.md:3: the connection ends here, and S- does not say so"),
        ("C: ping\nS-", "x.md:3: the server says more than is shown: OK\\n"),
        ("C: q\nS-\nC: ping\nS: OK", "x.md:4: the connection has ended"),
    ] {
        let blocks = parse("x.md", &format!("```dipc 4 64 8\n{transcript}\n```\n")).expect(transcript);
        let failure = run("x.md", &blocks[0]).expect_err(transcript);
        assert!(failure.starts_with(expected), "{transcript}\n{failure}");
    }
    for (document, expected) in [
        ("```dipc 4 64 8\nC: ping\n", "x.md:1: this block has no end"),
        ("```dipc 4 64\nC: ping\nS: OK\n```\n", "x.md:1: MAILBOXES SIZE_KB PACKET_KB"),
        ("```dipc 4 64 8\nC: ping\n```\n", "x.md:1: nothing is expected of the server"),
        ("```dipc 4 64 8\nc: ping\n```\n", "x.md:2: not a line of a transcript"),
        ("```dipc 4 64 8\nS: \\y\n```\n", "x.md:2: not a line of a transcript"),
        ("```\nC: ping\nS: OK\n```\n", "x.md:3: a transcript that is not run"),
    ] {
        assert_eq!(parse("x.md", document).err().as_deref(), Some(expected), "{document}");
    }
}

/// The transcripts of a document.
fn read(name: &str) -> Vec<Transcript> {
    let document = fs::read_to_string(path(name)).expect("the page");
    parse(name, &document).unwrap_or_else(|failure| panic!("{failure}"))
}

fn path(name: &str) -> impl AsRef<Path> {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

/// The first words of a line, without its end.
fn first_words(line: &[u8], count: usize) -> String {
    text(line).split_whitespace().take(count).collect::<Vec<_>>().join(" ")
}

fn check(name: &str, transcripts: &[Transcript]) {
    let failures: Vec<Failure> =
        transcripts.iter().filter_map(|transcript| run(name, transcript).err()).collect();
    assert!(
        failures.is_empty(),
        "{} of {} transcripts:\n{}",
        failures.len(),
        transcripts.len(),
        failures.join("\n")
    );
}
