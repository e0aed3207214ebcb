//! The lines of the prompt: from a line editor on a terminal, otherwise from standard input.

use std::fs::File;
use std::io::{self, BufReader, Write};
use std::os::fd::AsFd;
use std::path::PathBuf;

use dipc::client::Client;
use nix::unistd::dup2_stdin;
use rustyline::error::ReadlineError;
use rustyline::history::FileHistory;
use rustyline::{Config, Editor};

use super::completion::Completions;
use crate::failure::Failure;
use crate::input::PipeLines;
use crate::stdio;

/// The source of lines.
pub(super) enum Lines {
    Terminal(Box<Editor<Completions, FileHistory>>),
    Pipe(PipeLines<BufReader<File>>),
}

impl Lines {
    /// A line editor with history and completion.
    pub(super) fn from_terminal() -> Result<Self, Failure> {
        let failed = |error| Failure::local("terminal", io::Error::other(error));
        let config = Config::builder().history_ignore_space(true).build();
        let mut editor = Editor::with_config(config).map_err(failed)?;
        editor.set_helper(Some(Completions));
        if let Some(path) = history_path() {
            // Fails if there is no history yet.
            let _ = editor.load_history(&path);
        }
        Ok(Lines::Terminal(Box::new(editor)))
    }

    /// The lines of standard input. Replaces standard input by /dev/null, so that a started command does not
    /// read the prompt's lines.
    pub(super) fn from_pipe(client: &mut Client) -> Result<Self, Failure> {
        stdio::require_input()?;
        let moved = || {
            let input = File::from(io::stdin().as_fd().try_clone_to_owned()?);
            dup2_stdin(File::open("/dev/null")?)?;
            Ok(BufReader::new(input))
        };
        let input = moved().map_err(|error: io::Error| Failure::local("standard input", error))?;
        Ok(Lines::Pipe(PipeLines::new(input, client)?))
    }

    /// The next command, without its newline. None: the end of the input.
    pub(super) fn command(&mut self) -> Result<Option<Vec<u8>>, Failure> {
        let Lines::Terminal(editor) = self else { return self.text() };
        loop {
            match editor.readline("dipc> ") {
                Ok(line) => {
                    add_history(editor, &line);
                    return Ok(Some(line.into_bytes()));
                }
                Err(ReadlineError::Eof) => return Ok(None),
                // Ctrl-C discards the line.
                Err(ReadlineError::Interrupted) => {}
                Err(error) => discard_invalid_utf8(error)?,
            }
        }
    }

    /// The next line as the text of a command. None: Ctrl-C, or the end of the input.
    pub(super) fn text(&mut self) -> Result<Option<Vec<u8>>, Failure> {
        match self {
            Lines::Terminal(editor) => loop {
                match editor.readline("text> ") {
                    Ok(line) => return Ok(Some(line.into_bytes())),
                    Err(ReadlineError::Interrupted | ReadlineError::Eof) => return Ok(None),
                    Err(error) => discard_invalid_utf8(error)?,
                }
            },
            Lines::Pipe(lines) => lines.next(),
        }
    }
}

/// Discards a typed or pasted line that is not UTF-8. Fails on any other error.
fn discard_invalid_utf8(error: ReadlineError) -> Result<(), Failure> {
    match error {
        ReadlineError::Io(error) if error.kind() == io::ErrorKind::InvalidData => {
            // The editor has started a new line already.
            let _ =
                writeln!(io::stderr(), "dipc-cli: line is not UTF-8: use --file or a pipe for other bytes");
            Ok(())
        }
        error => Err(Failure::local("terminal", io::Error::other(error))),
    }
}

/// Adds a command to the history and immediately to the history file, so that prompts started later load it.
/// Errors of the file are ignored.
fn add_history(editor: &mut Editor<Completions, FileHistory>, line: &str) {
    if let (Ok(true), Some(path)) = (editor.add_history_entry(line), history_path()) {
        let _ = editor.append_history(&path);
    }
}

/// The file of the history: DIPC_HISTORY, or `.dipc_history` in the home directory. None: the history
/// is not kept in a file.
fn history_path() -> Option<PathBuf> {
    let named = std::env::var_os("DIPC_HISTORY").map(PathBuf::from);
    let path = named.or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".dipc_history")))?;
    (!path.as_os_str().is_empty()).then_some(path)
}
