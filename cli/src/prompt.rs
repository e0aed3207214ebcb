//! Commands line by line: with a line editor on a terminal, else as they come.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, BufRead, BufReader, IsTerminal, Write};
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::time::Duration;

use clap::error::ErrorKind;
use clap::{CommandFactory, FromArgMatches};
use dipc::client::{Client, Event};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::unistd::dup2_stdin;
use rustyline::completion::Completer;
use rustyline::error::ReadlineError;
use rustyline::highlight::Highlighter;
use rustyline::hint::Hinter;
use rustyline::history::FileHistory;
use rustyline::validate::Validator;
use rustyline::{Config, Context, Editor, Helper};
use serde_json::json;

use crate::failure::Failure;
use crate::interrupts::Interrupts;
use crate::options::{Command, Line};
use crate::output::Output;
use crate::{commands, lock, watch, words};

/// Verbs that are of the prompt alone.
const PROMPT_ONLY: [&str; 3] = ["help", "quit", "q"];

/// Verbs that are of the shell alone.
const SHELL_ONLY: [&str; 5] = ["bench", "chat", "top", "completions", "manual"];

/// Runs commands until `quit` or the end of the input; a failed one does not end it. The exit code is 0 on a terminal, and
/// else the highest of all commands.
pub fn run(connect: Connect, out: &Output) -> Result<u8, Failure> {
    let is_terminal = io::stdin().is_terminal() && out.is_terminal;
    let client = connect()?;
    let (lines, interrupts) = match is_terminal {
        true => {
            let interrupts = Interrupts::new().map_err(|error| Failure::local("signals", error))?;
            (Lines::Terminal(Box::new(editor()?)), Some(interrupts))
        }
        false => (Lines::from_pipe()?, None),
    };
    let out = Output { whole_lines: true, ..*out };
    let mut prompt = Prompt { client, connect, lines, interrupts, out };
    let worst = prompt.commands()?;
    Ok(if is_terminal { 0 } else { worst })
}

/// Makes a connection.
type Connect<'a> = &'a dyn Fn() -> Result<Client, Failure>;

struct Prompt<'a> {
    client: Client,
    connect: Connect<'a>,
    lines: Lines,
    /// Somebody is at a terminal: Ctrl-C, and a server that has gone, end a command and not the prompt.
    interrupts: Option<Interrupts>,
    out: Output,
}

impl Prompt<'_> {
    /// Runs every line; the highest exit code.
    fn commands(&mut self) -> Result<u8, Failure> {
        let mut worst = 0;
        while let Some(line) = self.lines.command()? {
            let words = words::split(&line);
            let done = match words.as_deref() {
                Ok([]) => continue,
                Ok([verb, ..]) if verb == "q" || verb == "quit" => break,
                Ok(words) => self.command(words),
                Err(why) => Err(Failure::Usage((*why).to_owned())),
            };
            worst = worst.max(self.recover(done)?);
            if !self.client.is_closed() {
                let reported = report_lost_locks(&mut self.client, &self.out).map(|()| 0);
                self.recover(reported)?;
            }
        }
        Ok(worst)
    }

    /// The exit code of what was done; fails when there is no going on.
    fn recover(&self, done: Result<u8, Failure>) -> Result<u8, Failure> {
        let failure = match done {
            Ok(code) => return Ok(code),
            Err(failure) => failure,
        };
        let is_script = self.interrupts.is_none() && (self.client.is_closed() || failure.exit_code() == 3);
        if is_script || matches!(failure, Failure::Output(_)) {
            return Err(failure);
        }
        self.out.print_error(&failure);
        Ok(failure.exit_code())
    }

    /// At a terminal connects anew when the connection has ended, be it that only now somebody looks.
    fn ensure_connected(&mut self) -> Result<(), Failure> {
        if self.interrupts.is_none() {
            return Ok(());
        }
        if !self.client.is_closed() {
            let reported = report_lost_locks(&mut self.client, &self.out).map(|()| 0);
            self.recover(reported)?;
        }
        // When all events are heard there is nothing to read but the end.
        if self.client.is_closed() || is_readable(&self.client) {
            self.client = (self.connect)()?;
            self.out.print_note("connected anew: locks of before have ended");
        }
        Ok(())
    }

    /// One command; its exit code.
    fn command(&mut self, words: &[OsString]) -> Result<u8, Failure> {
        if words[0] == "help" {
            self.ensure_connected()?;
            return help(&mut self.client, &self.out).map(|()| 0);
        }
        let matches = grammar().try_get_matches_from(words);
        let line = match matches.and_then(|matches| Line::from_arg_matches(&matches)) {
            Ok(line) => line,
            Err(error) if error.kind() == ErrorKind::DisplayHelp => {
                return print_help(&error.to_string(), &self.out).map(|()| 0);
            }
            Err(error) => return Err(Failure::usage(&error)),
        };
        self.ensure_connected()?;
        let Prompt { client, lines, interrupts, out, .. } = self;
        let out = &Output { json: out.json || line.json, ..*out };
        let mut text = || lines.text()?.ok_or_else(|| Failure::Usage("the text is missing".to_owned()));
        let Some(interrupts) = interrupts else {
            return commands::run(client, line.command, out, &mut text);
        };
        let failed = |error| Failure::local("signals", error);
        match line.command {
            Command::Watch { mailboxes, after, count, command } => {
                let captured = interrupts.capture();
                let stop = Some(captured.read);
                return watch::run(client, &mailboxes.numbers, after, count, &command, out, stop).map(|()| 0);
            }
            // The lock is waited for as for any answer; the command is told of Ctrl-C itself.
            Command::Lock { locking, command } if !command.is_empty() => {
                let timeout = client.timeout();
                let (lock, interrupted) = interrupts
                    .run_interruptible(client, |client| lock::acquire(client, &locking))
                    .map_err(failed)?;
                if !interrupted {
                    let _captured = interrupts.capture();
                    let ended = lock.and_then(|lock| lock::run(lock, &locking, &command, out));
                    client.set_timeout(timeout)?;
                    return ended.map(|ended| ended.code);
                }
            }
            command => {
                let request = |client: &mut Client| commands::run(client, command, out, &mut text);
                let (done, interrupted) = interrupts.run_interruptible(client, request).map_err(failed)?;
                if !interrupted {
                    return done;
                }
            }
        }
        self.client = (self.connect)()?;
        self.out.print_note("given up, and connected anew: locks of before have ended");
        Ok(0)
    }
}

fn help(client: &mut Client, out: &Output) -> Result<(), Failure> {
    let verbs = verbs().join(" ");
    let protocol = client.help()?;
    let text = format!(
        "Here: {verbs}\nOptions and quotes are those of the shell: read 3 --after 7. But a text is taken as it is typed:\n\
         write 3 it's \"so\". Help for one: read --help\n\n\
         The protocol, for telnet and programs:\n{protocol}"
    );
    print_help(&text, out)
}

/// Something for people to read, in the midst of answers.
fn print_help(text: &str, out: &Output) -> Result<(), Failure> {
    if out.json { out.print_json(json!({ "help": text })) } else { out.print_text(text) }
}

/// Says which locks have run out meanwhile.
fn report_lost_locks(client: &mut Client, out: &Output) -> Result<(), Failure> {
    loop {
        match client.event(Some(Duration::ZERO)) {
            Ok(Some(Event::LockLost { mailbox, .. })) => {
                out.print_note(&format!("the lock of {mailbox} is lost"))
            }
            Ok(Some(_)) => {}
            Ok(None) => return Ok(()),
            Err(error) => return Err(error.into()),
        }
    }
}

fn is_readable(client: &Client) -> bool {
    let mut source = [PollFd::new(client.as_fd(), PollFlags::POLLIN)];
    poll(&mut source, PollTimeout::ZERO).is_ok_and(|ready| ready > 0)
}

/// Where lines come from.
enum Lines {
    Terminal(Box<Editor<Completions, FileHistory>>),
    Pipe(BufReader<File>),
}

impl Lines {
    /// The standard input as lines. Commands that are started have none: they would take lines that are ours.
    fn from_pipe() -> Result<Self, Failure> {
        let moved = || {
            let input = File::from(io::stdin().as_fd().try_clone_to_owned()?);
            dup2_stdin(File::open("/dev/null")?)?;
            Ok(Lines::Pipe(BufReader::new(input)))
        };
        moved().map_err(|error: io::Error| Failure::local("standard input", error))
    }

    /// The next command, without its end of line; none at the end of all.
    fn command(&mut self) -> Result<Option<Vec<u8>>, Failure> {
        let Lines::Terminal(editor) = self else { return self.text() };
        loop {
            match editor.readline("dipc> ") {
                Ok(line) => {
                    add_history(editor, &line);
                    return Ok(Some(line.into_bytes()));
                }
                Err(ReadlineError::Eof) => return Ok(None),
                // Ctrl-C throws the line away.
                Err(ReadlineError::Interrupted) => {}
                Err(error) => discard_invalid_utf8(error)?,
            }
        }
    }

    /// The next line as the text of a command; none when it is given up.
    fn text(&mut self) -> Result<Option<Vec<u8>>, Failure> {
        match self {
            Lines::Terminal(editor) => loop {
                match editor.readline("text> ") {
                    Ok(line) => return Ok(Some(line.into_bytes())),
                    Err(ReadlineError::Interrupted | ReadlineError::Eof) => return Ok(None),
                    Err(error) => discard_invalid_utf8(error)?,
                }
            },
            Lines::Pipe(input) => {
                let mut line = Vec::new();
                let read = input.read_until(b'\n', &mut line);
                if read.map_err(|error| Failure::local("standard input", error))? == 0 {
                    return Ok(None);
                }
                let line = line.strip_suffix(b"\n").unwrap_or(&line);
                Ok(Some(line.strip_suffix(b"\r").unwrap_or(line).to_vec()))
            }
        }
    }
}

/// What is typed, or pasted, is thrown away when it is not UTF-8; any other error is the terminal's.
fn discard_invalid_utf8(error: ReadlineError) -> Result<(), Failure> {
    match error {
        ReadlineError::Io(error) if error.kind() == io::ErrorKind::InvalidData => {
            // The line begins anew.
            let _ = writeln!(io::stderr(), "dipc-cli: that is not UTF-8: --file, or a pipe, takes any bytes");
            Ok(())
        }
        error => Err(Failure::local("terminal", io::Error::other(error))),
    }
}

/// Adds a command to the history, and at once to that of other prompts; there may be no place for that.
fn add_history(editor: &mut Editor<Completions, FileHistory>, line: &str) {
    if let (Ok(true), Some(path)) = (editor.add_history_entry(line), history_path()) {
        let _ = editor.append_history(&path);
    }
}

fn editor() -> Result<Editor<Completions, FileHistory>, Failure> {
    let failed = |error| Failure::local("terminal", io::Error::other(error));
    let config = Config::builder().history_ignore_space(true).build();
    let mut editor = Editor::with_config(config).map_err(failed)?;
    editor.set_helper(Some(Completions));
    if let Some(path) = history_path() {
        // The first time there is none.
        let _ = editor.load_history(&path);
    }
    Ok(editor)
}

/// Where the history is kept: DIPC_HISTORY, or `.dipc_history` at home.
fn history_path() -> Option<PathBuf> {
    let named = std::env::var_os("DIPC_HISTORY").map(PathBuf::from);
    let path = named.or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".dipc_history")))?;
    (!path.as_os_str().is_empty()).then_some(path)
}

/// What can be said at the prompt.
fn grammar() -> clap::Command {
    SHELL_ONLY
        .into_iter()
        .fold(Line::command(), |line, verb| line.mut_subcommand(verb, |verb| verb.hide(true)))
}

/// The verbs of the prompt.
fn verbs() -> Vec<String> {
    let grammar = grammar();
    let here = grammar.get_subcommands().filter(|verb| !verb.is_hide_set());
    here.map(|verb| verb.get_name().to_owned()).chain(PROMPT_ONLY.map(str::to_owned)).collect()
}

/// The options of a verb.
fn options_of(verb: &str) -> Vec<String> {
    let line = Line::command();
    let Some(verb) = line.find_subcommand(verb) else { return Vec::new() };
    verb.get_arguments().filter_map(|argument| Some(format!("--{}", argument.get_long()?))).collect()
}

/// Completes verbs, and the options of a verb.
struct Completions;

impl Completer for Completions {
    type Candidate = String;

    fn complete(&self, line: &str, at: usize, _: &Context) -> rustyline::Result<(usize, Vec<String>)> {
        let typed = &line[..at];
        let start = typed.rfind(' ').map_or(0, |blank| blank + 1);
        let candidates = match typed[..start].split_whitespace().next() {
            None => verbs(),
            Some("stat") if !typed[start..].starts_with('-') => vec!["conns".to_owned(), "locks".to_owned()],
            Some(verb) => options_of(verb),
        };
        let matching = candidates.into_iter().filter(|candidate| candidate.starts_with(&typed[start..]));
        Ok((start, matching.map(|candidate| candidate + " ").collect()))
    }
}

impl Hinter for Completions {
    type Hint = String;
}

impl Highlighter for Completions {}
impl Validator for Completions {}
impl Helper for Completions {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn verbs_and_their_options_are_completed() {
        let history = FileHistory::new();
        let complete = |line: &str| {
            Completions.complete(line, line.len(), &Context::new(&history)).expect("candidates").1.join("")
        };
        assert_eq!(complete("re"), "read ");
        assert_eq!(complete("u"), "unlock ");
        assert_eq!(complete("write 3 --i"), "--if ");
        assert_eq!(complete("stat "), "conns locks ");
        assert_eq!(complete("nonsense --"), "");
        assert!(!verbs().contains(&"top".to_owned()));
    }
}
