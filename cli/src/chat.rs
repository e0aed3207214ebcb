//! Several people in one mailbox, line by line: what one types, all see, in the same order.

use std::collections::VecDeque;
use std::io::{self, ErrorKind, IsTerminal, Read};
use std::os::fd::AsFd;
use std::time::Duration;

use dipc::client::{Client, Code, Error, Event, PutOptions};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use crate::failure::Failure;
use crate::output::{Output, harmless};

/// Puts the cursor where the typed line began and clears it: it comes back with the others' lines.
const UNTYPE: &str = "\x1b[A\x1b[2K";

/// Joins, talks until the end of the input, and leaves.
pub fn run(client: &mut Client, mailbox: u32, name: Option<&str>, out: &Output) -> Result<u8, Failure> {
    let user = std::env::var("USER").unwrap_or_else(|_| "somebody".to_owned());
    let mut chat = Chat { client, mailbox, name: name.unwrap_or(&user), out };
    chat.client.watch(&[mailbox], Some(0))?;
    chat.say(&format!("* {} joins", chat.name))?;
    let mut typed = Typed::default();
    while !typed.ended {
        chat.listen(None)?;
        if !typed.is_ready(chat.client)? {
            continue;
        }
        typed.receive()?;
        while let Some(line) = typed.line() {
            if io::stdin().is_terminal() && chat.out.is_terminal && !chat.out.json {
                chat.out.bytes(UNTYPE.as_bytes())?;
            }
            chat.say(&format!("{}: {line}", chat.name))?;
        }
    }
    let last = chat.say(&format!("* {} leaves", chat.name))?;
    chat.listen(last)?;
    Ok(0)
}

struct Chat<'a> {
    client: &'a mut Client,
    mailbox: u32,
    name: &'a str,
    out: &'a Output,
}

impl Chat<'_> {
    /// Puts a line; its version, unless it was too long, or the mailbox locked for too long. Neither ends the talk.
    fn say(&mut self, line: &str) -> Result<Option<u64>, Failure> {
        match self.client.put_with(self.mailbox, line, &PutOptions { drop: true, ..PutOptions::default() }) {
            Ok(put) => Ok(Some(put.version)),
            Err(error @ (Error::NotDone { .. } | Error::Refused { code: Code::Size, .. }))
                if !self.client.is_closed() =>
            {
                self.out.note(&format!("not said: {error}"));
                Ok(None)
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Shows what was said: what has come so far, or all up to this version.
    fn listen(&mut self, last: Option<u64>) -> Result<(), Failure> {
        while let Some(event) = self.client.event(if last.is_some() { None } else { Some(Duration::ZERO) })? {
            let Event::Message { version, data, lost, .. } = event else { continue };
            if self.out.json {
                self.out.news((self.mailbox, false), version, &data, lost)?;
            } else {
                self.show(&data)?;
            }
            if last.is_some_and(|last| version >= last) {
                break;
            }
        }
        Ok(())
    }

    /// One message is one line, whatever somebody has put there.
    fn show(&self, data: &[u8]) -> Result<(), Failure> {
        let line = String::from_utf8_lossy(data).replace('\n', " ");
        self.out.bytes(format!("{}\n", harmless(line.as_bytes())).as_bytes())
    }
}

/// What was typed, or came on a pipe.
#[derive(Default)]
struct Typed {
    bytes: VecDeque<u8>,
    ended: bool,
}

impl Typed {
    /// Waits until something is typed or said; whether it is the former.
    fn is_ready(&self, client: &Client) -> Result<bool, Failure> {
        let stdin = io::stdin();
        let mut sources =
            [PollFd::new(stdin.as_fd(), PollFlags::POLLIN), PollFd::new(client.as_fd(), PollFlags::POLLIN)];
        match poll(&mut sources, PollTimeout::NONE) {
            Ok(_) => Ok(sources[0].any().unwrap_or(true)),
            Err(Errno::EINTR) => Ok(false),
            Err(error) => Err(Failure::local("poll", error)),
        }
    }

    fn receive(&mut self) -> Result<(), Failure> {
        let mut chunk = [0; 4096];
        // Not through the buffer of the standard library: what waits there, poll would not see.
        let stdin = io::stdin().as_fd().try_clone_to_owned().map(std::fs::File::from);
        match stdin.and_then(|mut stdin| stdin.read(&mut chunk)) {
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
