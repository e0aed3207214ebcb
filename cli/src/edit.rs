//! Edits a mailbox with a command, which gets the newest message and prints the new one.
//!
//! **Invariant**: the new message replaces only the one that the command got. If another client has written
//! meanwhile, the write is refused, and the command runs again.

use std::ffi::OsString;
use std::io::{self, Read};
use std::ops::ControlFlow;
use std::os::fd::AsFd;
use std::process::{ChildStdout, Stdio};
use std::time::{Duration, Instant};

use dipc::client::{Client, Error, Mailbox, Message, ReadOptions, Reason, WriteOptions};

use crate::child::{self, Exit};
use crate::failure::Failure;
use crate::input;
use crate::outer_locks;
use crate::output::Output;
use crate::signals::Signals;
use crate::supervisor::{Progress, Supervisor};

/// Bytes requested from the command's output by one `read`.
const CHUNK: usize = 64 * 1024;

/// An edit of a mailbox.
pub(crate) struct Edit<'a> {
    /// A number after the first exchange: the edit stays in this mailbox when its name moves to another one.
    mailbox: Mailbox,
    command: &'a [OsString],
    wait: Option<Duration>,
    /// The end of the wait. None: the wait is that of the server for each request, or has no limit.
    deadline: Option<Instant>,
    /// Maximum number of bytes in a message. None: not known yet.
    packet: Option<usize>,
    /// The locks while the command runs, if the prompt has locks.
    locks: Option<String>,
}

/// The new message for a mailbox that still has this version.
pub(crate) struct Change {
    version: u64,
    data: Vec<u8>,
}

/// The result of an exchange with the server.
pub(crate) enum Answer {
    /// The message that is to be edited.
    Current(Message),
    /// The message was replaced. The mailbox has this version.
    Written(u64),
}

/// The output of the command.
enum Collected {
    Complete(Vec<u8>, Progress),
    TooLarge,
}

impl<'a> Edit<'a> {
    pub(crate) fn new(mailbox: Mailbox, wait: Option<Duration>, command: &'a [OsString]) -> Self {
        let deadline = wait.and_then(|wait| Instant::now().checked_add(wait));
        Edit { mailbox, command, wait, deadline, packet: None, locks: None }
    }

    /// Edits until the mailbox is written. Returns how the edit ended.
    pub(crate) fn run(mut self, client: &mut Client, out: &Output) -> Result<Exit, Failure> {
        let mut change = None;
        loop {
            let answer = self.exchange(client, change)?;
            match self.advance(answer, out)? {
                ControlFlow::Continue(next) => change = Some(next),
                ControlFlow::Break(exit) => return Ok(exit),
            }
        }
    }

    /// Writes the change, if there is one. Without a change, or if the mailbox has another version, reads the
    /// message.
    pub(crate) fn exchange(
        &mut self,
        client: &mut Client,
        change: Option<Change>,
    ) -> Result<Answer, Failure> {
        self.mailbox = client.mailbox_number(&self.mailbox)?.into();
        if let Some(Change { version, data }) = change {
            let options =
                WriteOptions { if_version: Some(version), wait: self.wait_left(), ..WriteOptions::default() };
            match client.write_with(&self.mailbox, data, &options) {
                Err(Error::NotDone { reason: Reason::Conflict, .. }) if !self.is_over() => {}
                written => return Ok(Answer::Written(written?)),
            }
        }
        if self.packet.is_none() {
            self.packet = Some(input::packet(client)?);
        }
        self.locks = outer_locks::exported(client);
        let options = ReadOptions { wait: self.wait_left(), ..ReadOptions::default() };
        Ok(Answer::Current(client.read_with(&self.mailbox, &options)?))
    }

    /// Prints the version that was written, or runs the command. Returns the change for the next exchange, or
    /// how the edit ended.
    pub(crate) fn advance(&self, answer: Answer, out: &Output) -> Result<ControlFlow<Exit, Change>, Failure> {
        match answer {
            Answer::Current(message) => self.run_command(&message, out),
            Answer::Written(version) => {
                out.print_info(version, None);
                out.print_fields(&[("version", version)])?;
                Ok(ControlFlow::Break(Exit { code: 0, signal: None }))
            }
        }
    }

    fn run_command(&self, message: &Message, out: &Output) -> Result<ControlFlow<Exit, Change>, Failure> {
        let packet = self.packet.unwrap_or(usize::MAX);
        // The signals are blocked only while the command runs: they end a request that waits.
        let mut signals = Signals::new()?;
        let mut command = child::command(self.command);
        command.env("DIPC_BOX", self.mailbox.to_string()).env("DIPC_VERSION", message.version.to_string());
        command.envs(self.locks.iter().map(|locks| (outer_locks::VARIABLE, locks)));
        command.stdin(child::input(&message.data)?).stdout(Stdio::piped());
        let mut supervisor = match Supervisor::start(&mut command, &mut signals, out) {
            Ok(supervisor) => supervisor,
            Err(code) => return Ok(ControlFlow::Break(Exit { code, signal: None })),
        };
        let (data, progress) = match collect(&mut supervisor, packet)? {
            Collected::Complete(data, progress) => (data, progress),
            Collected::TooLarge => {
                let progress = supervisor.terminate()?;
                supervisor.exit(progress)?;
                return Err(input::too_large(packet));
            }
        };
        let exit = supervisor.exit(progress)?;
        let exit = match signals.ending() {
            // The command has handled the signal, which means this program too.
            Some(signal) if exit.code == 0 => Exit::by(signal),
            _ if exit.code == 0 => {
                return Ok(ControlFlow::Continue(Change { version: message.version, data }));
            }
            _ => exit,
        };
        out.print_note(&format!("mailbox {} was not changed: {exit}", self.mailbox));
        Ok(ControlFlow::Break(exit))
    }

    /// The wait of the next request.
    fn wait_left(&self) -> Option<Duration> {
        let left = self.deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
        left.or(self.wait)
    }

    /// Whether the wait is over, so that a conflict ends the edit.
    fn is_over(&self) -> bool {
        self.deadline.is_some_and(|deadline| deadline <= Instant::now())
    }
}

/// Reads the output of the command, until the command has ended and the output is closed, or until the output
/// has more bytes than `max`.
fn collect(supervisor: &mut Supervisor, max: usize) -> Result<Collected, Failure> {
    let mut source = supervisor.take_output();
    let mut data = Vec::new();
    loop {
        let progress = supervisor.progress()?;
        let is_over = matches!(progress, Progress::Abandoned(_));
        let Some(output) = source.as_mut().filter(|_| !is_over) else {
            if progress != Progress::Running {
                return Ok(Collected::Complete(data, progress));
            }
            supervisor.wait_for_event(None, None)?;
            continue;
        };
        if !supervisor.wait_for_event(Some(output.as_fd()), None)? {
            continue;
        }
        if read(output, &mut data).map_err(|error| Failure::local("the command's output", error))? == 0 {
            source = None;
        }
        if data.len() > max {
            return Ok(Collected::TooLarge);
        }
    }
}

/// Reads the available bytes. Returns their number, which is 0 at the end.
fn read(source: &mut ChildStdout, data: &mut Vec<u8>) -> io::Result<usize> {
    let mut chunk = [0; CHUNK];
    let length = source.read(&mut chunk)?;
    data.extend_from_slice(&chunk[..length]);
    Ok(length)
}
