//! Several people in one mailbox, line by line: what one types, all see, in the same order.
//!
//! At a terminal there is a line editor, and what the others say appears above it. What one has said oneself stays where it
//! was typed.

use std::collections::{BTreeSet, VecDeque};
use std::io::{self, ErrorKind, IsTerminal, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::time::Duration;
use std::{fs, thread};

use dipc::client::{Client, Code, Error, Event, PutOptions};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::termios::{SetArg, Termios, tcgetattr, tcsetattr};
use rustyline::error::ReadlineError;
use rustyline::history::FileHistory;
use rustyline::{Editor, ExternalPrinter};
use signal_hook::consts::{SIGHUP, SIGTERM};
use signal_hook::low_level::pipe;

use crate::failure::Failure;
use crate::output::{Output, escape};

/// What is typed from now on is as it was before the line editor: not marked where it is pasted, and on a line of its own.
const RESET: &str = "\x1b[?2004l\r\n";

/// Joins, talks until the end of the input, and leaves.
pub fn run(client: &mut Client, mailbox: u32, name: Option<&str>, out: &Output) -> Result<u8, Failure> {
    let user = std::env::var("USER").unwrap_or_else(|_| "somebody".to_owned());
    let name = name.unwrap_or(&user);
    let failed = |error| Failure::local("terminal", error);
    let edits = io::stdin().is_terminal() && out.can_move() && !out.json;
    let _settings = TerminalSettings::save(edits);
    let (mut typed, screen) = match edits.then(|| line_editor(&format!("{}: ", escape(name.as_bytes())))) {
        Some(Ok((typed, screen))) => (typed, Some(screen)),
        // No terminal, or none that a line editor knows.
        _ => (Input::from(io::stdin().as_fd().try_clone_to_owned().map_err(failed)?), None),
    };
    let mut chat = Chat { client, mailbox, out, screen, own: BTreeSet::new() };
    chat.client.watch(&[mailbox], Some(0))?;
    chat.send(&format!("* {name} joins"))?;
    while !typed.ended {
        chat.receive(None)?;
        if !typed.is_ready(chat.client)? {
            continue;
        }
        typed.read()?;
        while let Some(line) = typed.line() {
            let version = chat.send(&format!("{name}: {line}"))?;
            if chat.screen.is_some() {
                chat.own.extend(version);
            }
        }
    }
    let last = chat.send(&format!("* {name} leaves"))?;
    chat.receive(last)?;
    Ok(0)
}

/// Prints above what is typed.
type Screen = Box<dyn ExternalPrinter>;

struct Chat<'a> {
    client: &'a mut Client,
    mailbox: u32,
    out: &'a Output,
    /// Where there is a line editor.
    screen: Option<Screen>,
    /// Versions of what stands there already, as it was typed.
    own: BTreeSet<u64>,
}

impl Chat<'_> {
    /// Puts a line; its version, unless it was too long, or the mailbox locked for too long. Neither ends the talk.
    fn send(&mut self, line: &str) -> Result<Option<u64>, Failure> {
        match self.client.put_with(self.mailbox, line, &PutOptions { drop: true, ..PutOptions::default() }) {
            Ok(put) => Ok(Some(put.version)),
            Err(error @ (Error::NotDone { .. } | Error::Refused { code: Code::Size, .. }))
                if !self.client.is_closed() =>
            {
                match self.screen {
                    Some(_) => self.print_line(format!("* not said: {error}").as_bytes())?,
                    None => self.out.print_note(&format!("not said: {error}")),
                }
                Ok(None)
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Shows what was said: what has come so far, or all up to this version.
    fn receive(&mut self, last: Option<u64>) -> Result<(), Failure> {
        while let Some(event) = self.client.event(if last.is_some() { None } else { Some(Duration::ZERO) })? {
            let Event::Message { version, data, lost, .. } = event else { continue };
            // Those before it have made room for others, and will not come.
            self.own = self.own.split_off(&version);
            if self.out.json {
                self.out.print_event((self.mailbox, false), version, &data, lost)?;
            } else if !self.own.remove(&version) {
                self.print_line(&data)?;
            }
            if last.is_some_and(|last| version >= last) {
                break;
            }
        }
        Ok(())
    }

    /// One message is one line, whatever somebody has put there.
    fn print_line(&mut self, data: &[u8]) -> Result<(), Failure> {
        let line = String::from_utf8_lossy(data).replace('\n', " ");
        let line = format!("{}\n", escape(line.as_bytes()));
        // When the line editor has ended it prints nothing any more.
        let printed = self.screen.as_mut().is_some_and(|screen| screen.print(line.clone()).is_ok());
        if printed { Ok(()) } else { self.out.print_bytes(line.as_bytes()) }
    }
}

/// A line editor with this prompt, and what prints above it. It has a thread of its own; what is typed comes as from a pipe.
fn line_editor(prompt: &str) -> Result<(Input, Screen), ReadlineError> {
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
                // Several lines that are pasted are one.
                Ok(line) if !line.trim().is_empty() => {
                    let line = line.trim_end().replace(['\n', '\r'], " ");
                    if typed.write_all(format!("{line}\n").as_bytes()).is_err() {
                        return;
                    }
                }
                Ok(_) => {}
                Err(ReadlineError::Io(error)) if error.kind() == ErrorKind::InvalidData => {}
                // Ctrl-D, Ctrl-C, or no terminal any more.
                Err(_) => return,
            }
        }
    });
    Ok((Input { stop: Some(stop), ..Input::from(OwnedFd::from(lines)) }, Box::new(screen)))
}

/// The settings of the terminal, restored in the end: the line editor may be in the middle of a line then.
struct TerminalSettings {
    saved: Option<Termios>,
    edits: bool,
}

impl TerminalSettings {
    fn save(edits: bool) -> Self {
        TerminalSettings { saved: tcgetattr(io::stdin()).ok(), edits }
    }
}

impl Drop for TerminalSettings {
    fn drop(&mut self) {
        if let Some(settings) = &self.saved {
            // A terminal that is gone needs none.
            let _ = tcsetattr(io::stdin(), SetArg::TCSADRAIN, settings);
            if self.edits {
                let _ = io::stdout().write_all(RESET.as_bytes()).and_then(|()| io::stdout().flush());
            }
        }
    }
}

/// What was typed, or came on a pipe.
struct Input {
    source: fs::File,
    bytes: VecDeque<u8>,
    ended: bool,
    /// Where there is a line editor, a signal is the end of what is typed: the terminal is to be restored.
    stop: Option<UnixStream>,
}

impl From<OwnedFd> for Input {
    fn from(source: OwnedFd) -> Self {
        Input { source: source.into(), bytes: VecDeque::new(), ended: false, stop: None }
    }
}

impl Input {
    /// Waits until something is typed or said; whether it is the former.
    fn is_ready(&mut self, client: &Client) -> Result<bool, Failure> {
        let stop = self.stop.as_ref().map(|stop| stop.as_fd());
        let fds = [Some(self.source.as_fd()), Some(client.as_fd()), stop].into_iter().flatten();
        let mut sources: Vec<_> = fds.map(|fd| PollFd::new(fd, PollFlags::POLLIN)).collect();
        match poll(&mut sources, PollTimeout::NONE) {
            Ok(_) => {
                self.ended |= sources.get(2).is_some_and(|stop| stop.any() == Some(true));
                Ok(!self.ended && sources[0].any().unwrap_or(true))
            }
            Err(Errno::EINTR) => Ok(false),
            Err(error) => Err(Failure::local("poll", error)),
        }
    }

    fn read(&mut self) -> Result<(), Failure> {
        let mut chunk = [0; 4096];
        // Not through a buffer: what waits there, poll would not see.
        match self.source.read(&mut chunk) {
            Ok(len) => {
                self.bytes.extend(&chunk[..len]);
                self.ended = len == 0;
                Ok(())
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => Ok(()),
            Err(error) => Err(Failure::local("standard input", error)),
        }
    }

    /// The next line; at the end also one that does not end.
    fn line(&mut self) -> Option<String> {
        let end = self.bytes.iter().position(|&byte| byte == b'\n');
        let line: Vec<u8> = match end {
            Some(end) => self.bytes.drain(..=end).collect(),
            None if self.ended && !self.bytes.is_empty() => self.bytes.drain(..).collect(),
            None => return None,
        };
        Some(String::from_utf8_lossy(&line).trim_end_matches(['\r', '\n']).to_owned())
    }
}
