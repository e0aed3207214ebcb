//! Runs commands line by line: from a line editor on a terminal, otherwise from standard input.

mod completion;
mod lines;
mod words;

use std::ffi::OsString;
use std::io::{self, IsTerminal};
use std::ops::ControlFlow;
use std::os::fd::AsFd;
use std::time::Duration;

use clap::FromArgMatches;
use clap::error::ErrorKind;
use dipc::client::{Address, Client};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use serde_json::json;

use crate::child::Exit;
use crate::edit::Edit;
use crate::failure::Failure;
use crate::interrupts::Interrupts;
use crate::options::{Command, Data, Line};
use crate::output::Output;
use crate::take::{Cancellation, Worker};
use crate::watch::Watch;
use crate::{commands, lock, outer_locks};
use completion::{grammar, verbs};
use lines::Lines;

/// What has ended with a connection.
const ENDED: &str = "your locks have been released, and messages in hand given back";

/// Runs commands until `quit` or the end of the input. A failed command does not end the prompt. Returns the
/// exit code: 0 on a terminal, otherwise the highest of all commands.
pub(crate) fn run(address: &Address, connect: Connect, out: &Output) -> Result<u8, Failure> {
    let is_terminal = io::stdin().is_terminal() && out.is_terminal;
    let mut client = connect()?;
    if is_terminal {
        out.print_note(&format!("connected to {address}; help lists the commands, Ctrl-D leaves"));
    }
    let (lines, interrupts) = match is_terminal {
        true => {
            let interrupts = Interrupts::new().map_err(|error| Failure::local("signals", error))?;
            (Lines::from_terminal()?, Some(interrupts))
        }
        false => (Lines::from_pipe(&mut client)?, None),
    };
    let out = Output { whole_lines: true, ..*out };
    let mut prompt = Prompt { client, connect, lines, interrupts, out };
    let worst = prompt.commands()?;
    Ok(if is_terminal { 0 } else { worst })
}

/// Connects to the server.
type Connect<'a> = &'a dyn Fn() -> Result<Client, Failure>;

struct Prompt<'a> {
    client: Client,
    connect: Connect<'a>,
    lines: Lines,
    /// Set on a terminal, where Ctrl-C and a lost connection end the command, and not the prompt.
    interrupts: Option<Interrupts>,
    out: Output,
}

impl Prompt<'_> {
    /// Runs every line. Returns the highest exit code.
    fn commands(&mut self) -> Result<u8, Failure> {
        let mut worst = 0;
        loop {
            let words = match self.lines.command() {
                Ok(None) => break,
                Ok(Some(line)) => words::split(&line).map_err(|why| Failure::Usage(why.to_owned())),
                Err(failure @ Failure::Local(..)) => return Err(failure),
                Err(failure) => Err(failure),
            };
            let done = match words.as_deref() {
                Ok([]) => continue,
                Ok([verb, ..]) if verb == "q" || verb == "quit" => break,
                Ok(words) => self.command(words),
                Err(_) => words.map(|_| 0),
            };
            worst = worst.max(self.recover(done)?);
            if !self.client.is_closed() {
                let reported = report_losses(&mut self.client, &self.out).map(|()| 0);
                self.recover(reported)?;
            }
        }
        Ok(worst)
    }

    /// Prints a failure that does not end the prompt. Returns its exit code. Fails if the prompt cannot
    /// continue.
    fn recover(&self, done: Result<u8, Failure>) -> Result<u8, Failure> {
        let failure = match done {
            Ok(code) => return Ok(code),
            Err(failure) => failure,
        };
        let is_script = self.interrupts.is_none() && (self.client.is_closed() || failure.exit_code() == 3);
        if is_script || failure.is_of_output() {
            return Err(failure);
        }
        self.out.print_error(&failure);
        Ok(failure.exit_code())
    }

    /// On a terminal, reconnects if the connection has ended, even if that was not noticed before.
    fn ensure_connected(&mut self) -> Result<(), Failure> {
        if self.interrupts.is_none() {
            return Ok(());
        }
        if !self.client.is_closed() {
            let reported = report_losses(&mut self.client, &self.out).map(|()| 0);
            self.recover(reported)?;
        }
        // All events have been read, so a readable socket has reached its end.
        if self.client.is_closed() || is_readable(&self.client) {
            self.reconnect()?;
            self.out.print_note(&format!("reconnected; {ENDED}"));
        }
        Ok(())
    }

    /// Replaces the connection by a new one of the same name.
    fn reconnect(&mut self) -> Result<(), Failure> {
        let mut client = (self.connect)()?;
        if let Some(name) = self.client.name() {
            client.set_name(name)?;
        }
        self.client = client;
        Ok(())
    }

    /// Runs one command. Returns its exit code.
    fn command(&mut self, words: &[OsString]) -> Result<u8, Failure> {
        if words[0] == "help" {
            self.ensure_connected()?;
            return help(&mut self.client, &self.out).map(|()| 0);
        }
        let matches = grammar().try_get_matches_from(words);
        let mut line = match matches.and_then(|matches| Line::from_arg_matches(&matches)) {
            Ok(line) => line,
            Err(error) if error.kind() == ErrorKind::DisplayHelp => {
                return print_help(&error.to_string(), &self.out).map(|()| 0);
            }
            Err(error) => return Err(Failure::usage(&error)),
        };
        self.ensure_connected()?;
        let (json, verbose) = (self.out.json || line.json, self.out.verbose || line.verbose);
        let out = &Output { json, verbose, ..self.out };
        if let Some(data) = line.command.data_mut().filter(|data| data.is_from_input()) {
            *data = Data::from_text(self.lines.text()?.ok_or_else(text_is_missing)?);
        }
        outer_locks::check(&mut self.client, &line.command, out)?;
        let mailboxes = line.command.mailboxes().to_vec();
        self.execute(line.command, out)
            .inspect_err(|failure| outer_locks::explain(&mut self.client, failure, &mailboxes, out))
    }

    /// Executes a command, whose text has been read: Ctrl-C means the request. Returns its exit code.
    fn execute(&mut self, command: Command, out: &Output) -> Result<u8, Failure> {
        let Prompt { client, interrupts, .. } = self;
        let mut text = |_: &mut Client| Err(text_is_missing());
        let Some(interrupts) = interrupts else {
            return commands::run(client, command, out, &mut text);
        };
        let failed = |error| Failure::local("signals", error);
        let awaited = command.awaited();
        let on_wait = || out.print_note(&format!("waiting for {awaited}; Ctrl-C cancels"));
        match command {
            Command::Watch { mailboxes, after, count, retry, command } => {
                let captured = interrupts.capture();
                let stop = Some(captured.read);
                let (mailboxes, retry) = (mailboxes.list(), retry.retry());
                let ended = Watch { mailboxes, after, count, retry, stop }.run(client, &command, out)?;
                return Ok(ended.map_or(0, |exit| {
                    exit.reraise();
                    exit.code
                }));
            }
            Command::Edit { mailbox, wait, command } => {
                let edit = Edit::new(mailbox.id, wait.wait, &command);
                if let Some(exit) = edit_interruptibly(edit, client, interrupts, on_wait, out)? {
                    return Ok(exit.code);
                }
            }
            Command::Take(options) if !options.command.is_empty() => {
                let cancellation = Cancellation { interrupts, on_wait: &on_wait };
                if let Some(exit) = Worker::new(&options, Some(cancellation), out)?.run(client)? {
                    return Ok(exit.code);
                }
            }
            // Ctrl-C cancels the wait for the lock. While the command runs, the terminal sends SIGINT to it.
            Command::Lock { locking, conflict_exit_code, command } if !command.is_empty() => {
                let timeout = client.timeout();
                let (lock, interrupted) = interrupts
                    .run_interruptible(client, on_wait, |client| lock::acquire(client, &locking))
                    .map_err(failed)?;
                if !interrupted {
                    let _captured = interrupts.capture();
                    let ended = lock
                        .map_err(|failure| failure.with_conflict_exit_code(conflict_exit_code))
                        .and_then(|lock| lock::run(lock, &locking, &command, out));
                    client.set_timeout(timeout)?;
                    return ended.map(|ended| ended.code);
                }
            }
            command => {
                let request = |client: &mut Client| commands::run(client, command, out, &mut text);
                let (done, interrupted) =
                    interrupts.run_interruptible(client, on_wait, request).map_err(failed)?;
                if !interrupted {
                    return done;
                }
            }
        }
        self.reconnect()?;
        self.out.print_note(&format!("cancelled and reconnected; {ENDED}"));
        Ok(0)
    }
}

fn text_is_missing() -> Failure {
    Failure::Usage("the text is missing".to_owned())
}

/// Edits a mailbox. Ctrl-C cancels a request that waits. While the command runs, the terminal sends SIGINT to
/// it. Returns how the edit ended. None: a request was cancelled, which closes the connection.
fn edit_interruptibly(
    mut edit: Edit,
    client: &mut Client,
    interrupts: &Interrupts,
    on_wait: impl Fn() + Copy + Send,
    out: &Output,
) -> Result<Option<Exit>, Failure> {
    let mut change = None;
    loop {
        let request = |client| edit.exchange(client, change);
        let run = interrupts.run_interruptible(client, on_wait, request);
        let (answer, interrupted) = run.map_err(|error| Failure::local("signals", error))?;
        if interrupted {
            return Ok(None);
        }
        let _captured = interrupts.capture();
        match edit.advance(answer?, out)? {
            ControlFlow::Continue(next) => change = Some(next),
            ControlFlow::Break(exit) => return Ok(Some(exit)),
        }
    }
}

fn help(client: &mut Client, out: &Output) -> Result<(), Failure> {
    let verbs = verbs().join(" ");
    let protocol = client.help()?;
    let text = format!(
        "Commands: {verbs}\n\
         Options and quotes are as in a shell: read 3 --after 7. A text is sent as it is typed:\n\
         write 3 it's \"so\". Help for one command: read --help\n\n\
         The protocol, for telnet and programs:\n{protocol}"
    );
    print_help(&text, out)
}

/// Prints a help text among the answers, as JSON if they are JSON.
fn print_help(text: &str, out: &Output) -> Result<(), Failure> {
    if out.json { out.print_json(json!({ "help": text })) } else { out.print_text(text) }
}

/// Reports the locks that have expired since the last command, and the messages that were given back.
fn report_losses(client: &mut Client, out: &Output) -> Result<(), Failure> {
    loop {
        match client.event(Some(Duration::ZERO)) {
            Ok(Some(event)) => out.print_loss(&event),
            Ok(None) => return Ok(()),
            Err(error) => return Err(error.into()),
        }
    }
}

fn is_readable(client: &Client) -> bool {
    let mut source = [PollFd::new(client.as_fd(), PollFlags::POLLIN)];
    poll(&mut source, PollTimeout::ZERO).is_ok_and(|ready| ready > 0)
}
