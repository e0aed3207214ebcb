//! Runs a transcript, with one conversation for each client.

use std::collections::BTreeMap;
use std::io::{ErrorKind, Read, Write};

use dipc_testkit::client::Client;
use dipc_testkit::server::Server;
use dipc_testkit::wait::HANG;

use crate::document::{Action, Failure, Step, Transcript, failure};

/// Runs one transcript on a server of its own, and checks that the server sends nothing that is not shown.
pub(crate) fn run(name: &str, transcript: &Transcript) -> Result<(), Failure> {
    run_on(&Server::start(&transcript.arguments), name, &transcript.steps)
}

/// Runs the steps of a transcript on this server.
pub(crate) fn run_on(server: &Server, name: &str, steps: &[Step]) -> Result<(), Failure> {
    let mut conversations = BTreeMap::new();
    for (at, step) in steps.iter().enumerate() {
        let conversation = conversations.entry(step.client).or_insert_with(|| Conversation::new(server));
        let next = steps.get(at + 1).filter(|next| next.client == step.client);
        let last_of_piece = !matches!(next, Some(Step { action: Action::Send(_), .. }));
        conversation.take(step, last_of_piece).map_err(|what| failure(name, step.line, what))?;
    }
    for conversation in conversations.values_mut() {
        conversation.finish().map_err(|what| failure(name, conversation.line, what))?;
    }
    Ok(())
}

/// One client of a transcript.
struct Conversation {
    client: Client,
    /// Lines that are sent in one piece.
    unsent: Vec<u8>,
    received: Vec<u8>,
    /// Whether lines are skipped up to the next expected one.
    skipping: bool,
    ended: bool,
    /// The line of its last step.
    line: usize,
}

impl Conversation {
    fn new(server: &Server) -> Self {
        Conversation {
            client: if server.classic.is_some() { server.connect_classic() } else { server.connect() },
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

    /// Expects that this line comes next. Fails as soon as the received bytes contradict it.
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

    /// Checks that a connection whose end is not shown is open, and that all its answers are shown.
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

    /// Waits for bytes. Returns false at the end of the connection.
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

/// The number of bytes at the front of `received` that match the line in `pieces`.
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

/// The bytes as text, cut short.
fn abridged(bytes: &[u8]) -> String {
    const SHOWN_MAX: usize = 200;
    let shown = &bytes[..bytes.len().min(SHOWN_MAX)];
    let dots = if shown.len() < bytes.len() { " .." } else { "" };
    format!("{}{dots}", shown.escape_ascii())
}
