//! The line editor of a chat on a terminal. It runs in a thread of its own, and sends the typed lines through
//! a socket.

use std::io::{ErrorKind, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::thread;

use rustyline::error::ReadlineError;
use rustyline::history::FileHistory;
use rustyline::{Editor, ExternalPrinter};
use signal_hook::consts::{SIGHUP, SIGTERM};
use signal_hook::low_level::pipe;

use super::typed::Typed;

/// Prints above the line editor.
pub(super) type Screen = Box<dyn ExternalPrinter>;

/// Starts a line editor with this prompt. Returns its lines, and the printer for messages above it.
pub(super) fn line_editor(prompt: &str, line_max: usize) -> Result<(Typed, Screen), ReadlineError> {
    let mut editor = Editor::<(), FileHistory>::new()?;
    let screen = editor.create_external_printer()?;
    let (lines, mut typed) = UnixStream::pair()?;
    let (stop, on_signal) = UnixStream::pair()?;
    for signal in [SIGTERM, SIGHUP] {
        pipe::register(signal, on_signal.try_clone()?)?;
    }
    let prompt = prompt.to_owned();
    thread::spawn(move || {
        loop {
            match editor.readline(&prompt) {
                // Several lines that are pasted at once become one line.
                Ok(line) if !line.trim().is_empty() => {
                    let line = line.trim_end().replace(['\n', '\r'], " ");
                    if typed.write_all(format!("{line}\n").as_bytes()).is_err() {
                        return;
                    }
                }
                Ok(_) => {}
                Err(ReadlineError::Io(error)) if error.kind() == ErrorKind::InvalidData => {}
                // Ctrl-D, Ctrl-C, or the terminal is gone.
                Err(_) => return,
            }
        }
    });
    Ok((Typed::new(OwnedFd::from(lines), line_max, Some(stop)), Box::new(screen)))
}
