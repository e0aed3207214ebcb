//! News: printed as they come, or a command for each.

use std::ffi::OsString;
use std::io::Write;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::process::Stdio;
use std::time::Duration;

use dipc::client::{Client, Event, Topic};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use crate::child::{self, Started};
use crate::failure::Failure;
use crate::output::Output;

/// Watches until `count` messages have come, or there is something to read in `stop`; without both for ever.
pub fn run(
    client: &mut Client,
    mailboxes: &[u32],
    after: Option<u64>,
    count: Option<u64>,
    command: &[OsString],
    out: &Output,
    stop: Option<&UnixStream>,
) -> Result<(), Failure> {
    client.watch(mailboxes, after)?;
    for &mailbox in mailboxes.iter().filter(|_| after.is_some()) {
        // Of a server that has begun anew, perhaps: nothing would be heard for long, and nobody would know why.
        let version = client.stat(Topic::Mailbox(mailbox))?.number("version");
        if let Some(version) = version.filter(|version| Some(*version) < after) {
            out.print_note(&format!("mailbox {mailbox} is only at version {version}"));
        }
    }
    let mut left = count.unwrap_or(u64::MAX);
    while left > 0 {
        match next(client, stop)? {
            None => break,
            Some(Event::LockLost { mailbox, .. }) => {
                out.print_note(&format!("the lock of {mailbox} is lost"))
            }
            Some(Event::Message { mailbox, version, data, lost }) => {
                left -= 1;
                match command.is_empty() {
                    true => out.print_event((mailbox, mailboxes.len() > 1), version, &data, lost)?,
                    false => tell(command, mailbox, version, &data, lost, out)?,
                }
            }
        }
    }
    Ok(client.unwatch(mailboxes)?)
}

/// The next event; none when it is to stop.
fn next(client: &mut Client, stop: Option<&UnixStream>) -> Result<Option<Event>, Failure> {
    let Some(stop) = stop else { return Ok(client.event(None)?) };
    // To stop comes first, however many messages wait.
    let mut patience = PollTimeout::ZERO;
    loop {
        let mut sources =
            [PollFd::new(stop.as_fd(), PollFlags::POLLIN), PollFd::new(client.as_fd(), PollFlags::POLLIN)];
        match poll(&mut sources, patience) {
            Ok(_) if sources[0].any() == Some(true) => return Ok(None),
            Ok(_) | Err(Errno::EINTR) => {}
            Err(error) => return Err(Failure::local("poll", error)),
        }
        if let Some(event) = client.event(Some(Duration::ZERO))? {
            return Ok(Some(event));
        }
        patience = PollTimeout::NONE;
    }
}

/// Runs the command for one message, to its end. How it ends is its own affair.
fn tell(
    words: &[OsString],
    mailbox: u32,
    version: u64,
    data: &[u8],
    lost: u64,
    out: &Output,
) -> Result<(), Failure> {
    let mut command = child::command(words);
    for (name, value) in
        [("DIPC_BOX", mailbox.into()), ("DIPC_VERSION", version), ("DIPC_LOST", lost)] as [(&str, u64); 3]
    {
        command.env(name, value.to_string());
    }
    let Started::Running(mut child) = child::start(command.stdin(Stdio::piped()), out) else {
        return Err(Failure::Usage("there is nothing to run".to_owned()));
    };
    if let Some(mut stdin) = child.stdin.take() {
        // A command need not read what it is told.
        let _ = stdin.write_all(data);
    }
    child.wait().map_err(|error| Failure::local("wait", error))?;
    Ok(())
}
