//! A chat room in a mailbox: every line that a user types is a message. Messages of other users are printed
//! in the order of their versions.
//!
//! On a terminal, messages of other users are printed above the line editor. The user's own messages are not
//! printed again, since they stay on the screen as they were typed.

mod editor;
mod terminal;
mod typed;

use std::collections::BTreeSet;
use std::io::{self, IsTerminal};
use std::os::fd::AsFd;
use std::time::Duration;

use dipc::client::{Client, Code, Error, Event, Mailbox, PutOptions};

use crate::failure::Failure;
use crate::identity::user_name;
use crate::output::{Output, escape};
use crate::reconnect::Retry;
use crate::{input, stdio};
use editor::{Screen, line_editor};
use terminal::TerminalSettings;
use typed::Typed;

/// Joins the chat, sends every line of the input, and leaves.
pub(crate) fn run(
    client: &mut Client,
    mailbox: &Mailbox,
    name: Option<&str>,
    retry: Retry,
    out: &Output,
) -> Result<u8, Failure> {
    let user = user_name();
    let name = name.unwrap_or(&user);
    let failed = |error| Failure::local("standard input", error);
    let edits = io::stdin().is_terminal() && out.can_move() && !out.json;
    let _settings = TerminalSettings::save(edits);
    // A longer line is refused by the server.
    let line_max = input::packet(client)?.saturating_add(1);
    let prompt = format!("{}: ", escape(name.as_bytes()));
    let (mut typed, screen) = match edits.then(|| line_editor(&prompt, line_max)) {
        Some(Ok((typed, screen))) => (typed, Some(screen)),
        // No line editor: --json, input or output is no terminal, or the editor does not support the
        // terminal.
        _ => {
            stdio::require_input()?;
            let stdin = io::stdin().as_fd().try_clone_to_owned().map_err(failed)?;
            (Typed::new(stdin, line_max, None), None)
        }
    };
    let number = client.mailbox_number(mailbox)?;
    let mut chat = Chat { client, mailbox, number, retry, out, screen, own: BTreeSet::new() };
    chat.client.watch(number, Some(0))?;
    chat.send(&format!("* {name} joins"))?;
    while !typed.has_ended() {
        if let Err(failure) = chat.receive(None) {
            chat.reconnect(failure)?;
        }
        if !typed.is_ready(chat.client)? {
            continue;
        }
        typed.read()?;
        while let Some(line) = typed.line() {
            let version = match chat.send(&format!("{name}: {line}")) {
                Err(failure) => {
                    chat.reconnect(failure)?;
                    // The line may have been put before the connection ended, so it is not sent again.
                    chat.print_line(b"* perhaps not sent: the connection had ended")?;
                    None
                }
                version => version?,
            };
            if chat.screen.is_some() {
                chat.own.extend(version);
            }
        }
    }
    let last = chat.send(&format!("* {name} leaves"))?;
    chat.receive(last)?;
    Ok(0)
}

struct Chat<'a> {
    client: &'a mut Client,
    mailbox: &'a Mailbox,
    number: u32,
    retry: Retry,
    out: &'a Output,
    /// Prints above the line editor. None: there is no line editor.
    screen: Option<Screen>,
    /// Versions of the user's own messages, which are on the screen as they were typed.
    own: BTreeSet<u64>,
}

impl Chat<'_> {
    /// Goes on with a new connection if the failure is the end of the connection.
    fn reconnect(&mut self, failure: Failure) -> Result<(), Failure> {
        if !self.client.is_closed() {
            return Err(failure);
        }
        // Versions of other mailboxes have no meaning for new ones.
        self.own.clear();
        let pause = |time| {
            std::thread::sleep(time);
            Ok(true)
        };
        let life = self.client.life();
        self.retry.reconnect(self.client, failure, self.out, pause)?;
        // Among new mailboxes the name may belong to another one.
        let number = if self.client.life() == life {
            self.number
        } else {
            self.client.mailbox_number(self.mailbox)?
        };
        if number != self.number {
            self.client.unwatch(self.number)?;
            self.client.watch(number, Some(0))?;
            self.number = number;
        }
        Ok(())
    }

    /// Puts a line. Returns its version. Returns None if the line was too long, or if the mailbox was locked
    /// for too long. These two failures do not end the chat.
    fn send(&mut self, line: &str) -> Result<Option<u64>, Failure> {
        match self.client.put_with(self.number, line, &PutOptions { drop: true, ..PutOptions::default() }) {
            Ok(put) => Ok(Some(put.version)),
            Err(error @ (Error::NotDone { .. } | Error::Refused { code: Code::Size, .. }))
                if !self.client.is_closed() =>
            {
                match self.screen {
                    Some(_) => self.print_line(format!("* not sent: {error}").as_bytes())?,
                    None => self.out.print_note(&format!("not sent: {error}")),
                }
                Ok(None)
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Prints the messages that have arrived. With `last`, waits for the messages up to that version and
    /// prints them too.
    fn receive(&mut self, last: Option<u64>) -> Result<(), Failure> {
        while let Some(event) = self.client.event(if last.is_some() { None } else { Some(Duration::ZERO) })? {
            let Event::Message { version, data, lost, .. } = event else { continue };
            // Events arrive in the order of versions: own messages with an earlier version that are still in
            // `own` were removed from the mailbox before they were sent to this client.
            self.own = self.own.split_off(&version);
            if self.out.json {
                self.out.print_event((self.number, false), version, &data, lost)?;
            } else if !self.own.remove(&version) {
                self.print_line(&data)?;
            }
            if last.is_some_and(|last| version >= last) {
                break;
            }
        }
        Ok(())
    }

    /// Prints a message as one line, even if it contains newlines.
    fn print_line(&mut self, data: &[u8]) -> Result<(), Failure> {
        let line = String::from_utf8_lossy(data).replace('\n', " ");
        let line = format!("{}\n", escape(line.as_bytes()));
        // Printing fails once the line editor has ended.
        let printed = self.screen.as_mut().is_some_and(|screen| screen.print(line.clone()).is_ok());
        if printed { Ok(()) } else { self.out.print_bytes(line.as_bytes()) }
    }
}
