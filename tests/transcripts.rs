//! The documents tell the truth: every transcript in them is run against the real server, byte by byte.
//!
//! A transcript is a fenced block whose info string is `dipc MAILBOXES SIZE_KB PACKET_KB [OPTIONS]`, the arguments of
//! the server that it runs on, all but the port. `docs/protocol.md` explains its lines.
#![allow(missing_docs)]

use std::collections::BTreeMap;
use std::fmt::Display;
use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::path::Path;
use std::process::Command;

use dipc_testkit::client::Client;
use dipc_testkit::process::text;
use dipc_testkit::server::Server;
use dipc_testkit::wait::HANG;

/// The contract: without transcripts it would be a claim.
const PROTOCOL: &str = "docs/protocol.md";

/// May show some.
const README: &str = "README.md";

/// Shows how a client detects features.
const COMPATIBILITY: &str = "docs/compatibility.md";

/// `file:line: what is wrong`
type Failure = String;

struct Transcript {
    arguments: String,
    steps: Vec<Step>,
}

struct Step {
    line: usize,
    client: u32,
    action: Action,
}

#[derive(Debug, PartialEq)]
enum Action {
    Send(Vec<u8>),
    HalfClose,
    /// One piece: exactly this. Several: a line that begins, goes on somewhere and ends with them.
    Expect(Vec<Vec<u8>>),
    /// Any lines, up to the one that is expected next.
    Skip,
    ExpectEnd,
}

#[test]
fn the_protocol_is_what_the_server_does() {
    let transcripts = read(PROTOCOL).expect("it exists");
    assert!(!transcripts.is_empty(), "{PROTOCOL} has no transcript");
    check(PROTOCOL, &transcripts);
}

#[test]
fn the_readme_is_what_the_server_does() {
    if let Some(transcripts) = read(README) {
        check(README, &transcripts);
    }
}

#[test]
fn the_compatibility_page_is_what_the_server_does() {
    let transcripts = read(COMPATIBILITY).expect("it exists");
    assert!(!transcripts.is_empty(), "{COMPATIBILITY} has no transcript");
    check(COMPATIBILITY, &transcripts);
}

#[test]
fn the_protocol_shows_every_verb_and_every_answer_that_can_be_had_at_will() {
    let steps: Vec<Step> =
        read(PROTOCOL).expect("it exists").into_iter().flat_map(|block| block.steps).collect();
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
fn the_client_in_ten_lines_prints_what_its_comments_say() {
    if Command::new("python3").arg("--version").output().is_err() {
        println!("there is no python3 here: the client in ten lines is not tested");
        return;
    }
    let document = fs::read_to_string(path(PROTOCOL)).expect("it exists");
    let code = document.split("\n```python\n").nth(1).expect("a block of Python").split("\n```").next();
    let code = code.expect("its end");
    let expected: Vec<&str> = code.lines().filter_map(|line| Some(line.split_once("  # ")?.1)).collect();
    assert!(!expected.is_empty(), "nothing is printed");
    let server = Server::start("4 64 0 8");
    let code = code.replace("5000", &server.port.to_string());
    let ran = Command::new("python3").args(["-c", &code]).output().expect("python3 runs");
    assert_eq!(text(&ran.stdout).lines().collect::<Vec<_>>(), expected, "{}", text(&ran.stderr));
}

#[test]
fn what_is_wrong_in_a_document_is_told_with_its_line() {
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
        ("```\nC: ping\nS: OK\n```\n", "x.md:3: a transcript that nobody runs"),
    ] {
        assert_eq!(parse("x.md", document).err().as_deref(), Some(expected), "{document}");
    }
}

// ---- documents ----

/// The transcripts of a document; `None` when there is no such document.
fn read(name: &str) -> Option<Vec<Transcript>> {
    let document = fs::read_to_string(path(name)).ok()?;
    Some(parse(name, &document).unwrap_or_else(|failure| panic!("{failure}")))
}

fn path(name: &str) -> impl AsRef<Path> {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

fn parse(name: &str, document: &str) -> Result<Vec<Transcript>, Failure> {
    let mut transcripts = Vec::new();
    let mut lines = (1..).zip(document.lines());
    while let Some((start, line)) = lines.next() {
        let Some(info) = line.strip_prefix("```") else { continue };
        let mut block = Vec::new();
        loop {
            match lines.next() {
                Some((_, "```")) => break,
                Some(line) => block.push(line),
                None => return Err(failure(name, start, "this block has no end")),
            }
        }
        if let Some(arguments) = info.strip_prefix("dipc ") {
            transcripts.push(transcript(name, start, arguments, &block)?);
        } else if let Some((line, _)) = block.iter().find(|(_, line)| line.starts_with("S: ")) {
            return Err(failure(name, *line, "a transcript that nobody runs"));
        }
    }
    Ok(transcripts)
}

fn transcript(
    name: &str,
    start: usize,
    arguments: &str,
    block: &[(usize, &str)],
) -> Result<Transcript, Failure> {
    let words: Vec<&str> = arguments.split_whitespace().collect();
    let [mailboxes, size, packet, options @ ..] = &words[..] else {
        return Err(failure(name, start, "MAILBOXES SIZE_KB PACKET_KB"));
    };
    let arguments = format!("{mailboxes} {size} 0 {packet} {}", options.join(" "));
    let mut steps = Vec::new();
    for &(line, shown) in block.iter().filter(|(_, shown)| !shown.starts_with('#')) {
        let Some((client, action)) = action(shown) else {
            return Err(failure(name, line, "not a line of a transcript"));
        };
        steps.push(Step { line, client, action });
    }
    if !steps.iter().any(|step| matches!(step.action, Action::Expect(_) | Action::ExpectEnd)) {
        return Err(failure(name, start, "nothing is expected of the server"));
    }
    Ok(Transcript { arguments, steps })
}

/// A line, as in `C: r 0` or `S2- `: whose, and what.
fn action(shown: &str) -> Option<(u32, Action)> {
    let at = shown.find([':', '|', '-', '~'])?;
    let (side, client) = shown[..at].split_at_checked(1)?;
    let client = if client.is_empty() { 1 } else { client.parse().ok()? };
    let rest = &shown[at + 1..];
    let rest = rest.strip_prefix(' ').unwrap_or(rest);
    let action = match (side, &shown[at..=at]) {
        ("C", ":") => Action::Send(line(rest)?),
        ("C", "|") => Action::Send(bytes(rest)?),
        ("C", "-") if rest.is_empty() => Action::HalfClose,
        ("S", ":") => Action::Expect(vec![line(rest)?]),
        ("S", "~") if rest == ".." => Action::Skip,
        ("S", "~") => Action::Expect(format!("{rest}\\n").split("..").map(bytes).collect::<Option<_>>()?),
        ("S", "-") if rest.is_empty() => Action::ExpectEnd,
        _ => return None,
    };
    Some((client, action))
}

fn line(shown: &str) -> Option<Vec<u8>> {
    let mut line = bytes(shown)?;
    line.push(b'\n');
    Some(line)
}

/// The bytes that are shown: `\r`, `\n`, `\\`, `\xff`, and `x\*9` for nine times x.
fn bytes(shown: &str) -> Option<Vec<u8>> {
    let mut pieces = shown.split('\\');
    let mut bytes = pieces.next()?.as_bytes().to_vec();
    while let Some(piece) = pieces.next() {
        let rest = match piece.chars().next() {
            None => {
                bytes.push(b'\\');
                pieces.next()?
            }
            Some('r') => {
                bytes.push(b'\r');
                &piece[1..]
            }
            Some('n') => {
                bytes.push(b'\n');
                &piece[1..]
            }
            Some('x') => {
                bytes.push(u8::from_str_radix(piece.get(1..3)?, 16).ok()?);
                &piece[3..]
            }
            Some('*') => {
                let end = piece[1..].find(|c: char| !c.is_ascii_digit()).map_or(piece.len(), |at| at + 1);
                let times: usize = piece[1..end].parse().ok()?;
                let last = *bytes.last()?;
                bytes.resize(bytes.len() + times.checked_sub(1)?, last);
                &piece[end..]
            }
            Some(_) => return None,
        };
        bytes.extend_from_slice(rest.as_bytes());
    }
    Some(bytes)
}

/// The first words of a line, without its end.
fn first_words(line: &[u8], count: usize) -> String {
    text(line).split_whitespace().take(count).collect::<Vec<_>>().join(" ")
}

fn failure(name: &str, line: usize, what: impl Display) -> Failure {
    format!("{name}:{line}: {what}")
}

// ---- conversations ----

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

/// Runs one transcript on a server of its own, and makes sure that the server has nothing more to say than is shown.
fn run(name: &str, transcript: &Transcript) -> Result<(), Failure> {
    let server = Server::start(&transcript.arguments);
    let mut conversations = BTreeMap::new();
    for (at, step) in transcript.steps.iter().enumerate() {
        let conversation = conversations.entry(step.client).or_insert_with(|| Conversation::new(&server));
        let next = transcript.steps.get(at + 1).filter(|next| next.client == step.client);
        let last_of_piece = !matches!(next, Some(Step { action: Action::Send(_), .. }));
        conversation.take(step, last_of_piece).map_err(|what| failure(name, step.line, what))?;
    }
    for conversation in conversations.values_mut() {
        conversation.finish().map_err(|what| failure(name, conversation.line, what))?;
    }
    Ok(())
}

/// One client, as the transcript has it.
struct Conversation {
    client: Client,
    /// Lines that leave in one piece.
    unsent: Vec<u8>,
    received: Vec<u8>,
    /// Lines are skipped up to the next that is expected.
    skipping: bool,
    ended: bool,
    /// Where it was last mentioned.
    line: usize,
}

impl Conversation {
    fn new(server: &Server) -> Self {
        Conversation {
            client: server.connect(),
            unsent: Vec::new(),
            received: Vec::new(),
            skipping: false,
            ended: false,
            line: 0,
        }
    }

    fn take(&mut self, step: &Step, last_of_piece: bool) -> Result<(), String> {
        if std::mem::replace(&mut self.line, step.line) > 0 && self.ended {
            return Err("the connection has ended".into());
        }
        match &step.action {
            Action::Send(bytes) => {
                self.unsent.extend_from_slice(bytes);
                if last_of_piece { self.send() } else { Ok(()) }
            }
            Action::HalfClose => {
                self.client.half_close();
                Ok(())
            }
            Action::Expect(pieces) => self.expect(pieces),
            Action::Skip => {
                self.skipping = true;
                Ok(())
            }
            Action::ExpectEnd => self.expect_end(),
        }
    }

    fn send(&mut self) -> Result<(), String> {
        let unsent = std::mem::take(&mut self.unsent);
        self.client.stream.write_all(&unsent).map_err(|error| format!("cannot be sent: {error}"))
    }

    /// The next line is this one. It is not waited for any longer than it can still become true.
    fn expect(&mut self, pieces: &[Vec<u8>]) -> Result<(), String> {
        let skipping = std::mem::take(&mut self.skipping);
        loop {
            if let Some(len) = matched(pieces, &self.received) {
                self.received.drain(..len);
                return Ok(());
            }
            let line = self.received.iter().position(|&b| b == b'\n');
            if let (true, Some(at)) = (skipping, line) {
                self.received.drain(..=at);
                continue;
            }
            let hopeless = match pieces {
                [exact] => !skipping && !exact.starts_with(&self.received),
                _ => line.is_some(),
            };
            if hopeless {
                return Err(self.difference(pieces));
            }
            match self.receive() {
                Ok(true) => {}
                Ok(false) => return Err(self.difference(pieces)),
                Err(what) => return Err(format!("{what}; {}", self.difference(pieces))),
            }
        }
    }

    fn difference(&self, pieces: &[Vec<u8>]) -> String {
        let shown: Vec<String> = pieces.iter().map(|piece| abridged(piece)).collect();
        let line = self.received.split_inclusive(|&b| b == b'\n').next();
        let nothing = if self.ended { "the end" } else { "nothing" };
        let answered = line.map_or(nothing.into(), abridged);
        format!("the server answers otherwise\n  shown     {}\n  answered  {answered}", shown.join(".."))
    }

    fn expect_end(&mut self) -> Result<(), String> {
        while self.received.is_empty() {
            match self.receive() {
                Ok(true) => {}
                Ok(false) => return Ok(()),
                Err(what) => return Err(format!("the server does not close: {what}")),
            }
        }
        Err(format!("the server says more than is shown: {}", abridged(&self.received)))
    }

    /// A connection whose end is not shown is still good, and all answers to it are shown.
    fn finish(&mut self) -> Result<(), String> {
        if self.ended {
            return Ok(());
        }
        self.unsent = b"ping\nq\n".to_vec();
        self.send()?;
        while self.receive()? {}
        match &self.received[..] {
            b"OK\n" => Ok(()),
            b"" => Err("the connection ends here, and S- does not say so".into()),
            more => Err(format!("the server says more than is shown: {}", abridged(more))),
        }
    }

    /// Waits for bytes; false at the end.
    fn receive(&mut self) -> Result<bool, String> {
        let mut buffer = [0; 4096];
        let read = match self.client.stream.read(&mut buffer) {
            Ok(read) => read,
            Err(error) if error.kind() == ErrorKind::ConnectionReset => 0,
            Err(error) => return Err(format!("no answer within {HANG:?}: {error}")),
        };
        self.received.extend_from_slice(&buffer[..read]);
        self.ended = read == 0;
        Ok(!self.ended)
    }
}

/// How many bytes at the front of `received` are the line that `pieces` show.
fn matched(pieces: &[Vec<u8>], received: &[u8]) -> Option<usize> {
    let [first, middle @ .., last] = pieces else {
        return received.starts_with(&pieces[0]).then_some(pieces[0].len());
    };
    let line = received.split_inclusive(|&b| b == b'\n').next()?;
    let mut rest = line.strip_prefix(&first[..])?;
    for piece in middle {
        let at = rest.windows(piece.len()).position(|window| window == piece)?;
        rest = &rest[at + piece.len()..];
    }
    rest.ends_with(last).then_some(line.len())
}

/// Bytes for a person, not too many.
fn abridged(bytes: &[u8]) -> String {
    const SHOWN_MAX: usize = 200;
    let shown = &bytes[..bytes.len().min(SHOWN_MAX)];
    let dots = if shown.len() < bytes.len() { " .." } else { "" };
    format!("{}{dots}", shown.escape_ascii())
}
