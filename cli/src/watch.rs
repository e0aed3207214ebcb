//! Watches mailboxes: prints each new message, or runs a command for it.

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

/// Watches until `count` messages have arrived, or until `stop` is readable. Without both, watches forever.
pub(crate) fn run(
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
        // `after` may be a version of an earlier server. Without a note, the user would not know why the
        // watch is silent.
        let version = client.stat(Topic::Mailbox(mailbox))?.number("version");
        if let Some(version) = version.filter(|version| Some(*version) < after) {
            out.print_note(&format!("mailbox {mailbox} is only at version {version}"));
        }
    }
    let mut left = count.unwrap_or(u64::MAX);
    while left > 0 {
        match next(client, stop)? {
            None => break,
            Some(Event::LockLost { mailbox, .. }) => out.print_lock_lost(mailbox),
            Some(Event::Message { mailbox, version, data, lost }) => {
                left -= 1;
                match command.is_empty() {
                    true => out.print_event((mailbox, mailboxes.len() > 1), version, &data, lost)?,
                    false => run_command(command, mailbox, version, &data, lost, out)?,
                }
            }
        }
    }
    Ok(client.unwatch(mailboxes)?)
}

/// Waits for the next event. None: `stop` is readable.
fn next(client: &mut Client, stop: Option<&UnixStream>) -> Result<Option<Event>, Failure> {
    let Some(stop) = stop else { return Ok(client.event(None)?) };
    // `stop` is checked before every event, even if more messages are buffered.
    let mut timeout = PollTimeout::ZERO;
    loop {
        let mut sources =
            [PollFd::new(stop.as_fd(), PollFlags::POLLIN), PollFd::new(client.as_fd(), PollFlags::POLLIN)];
        match poll(&mut sources, timeout) {
            Ok(_) if sources[0].any() == Some(true) => return Ok(None),
            Ok(_) | Err(Errno::EINTR) => {}
            Err(error) => return Err(Failure::local("poll", error)),
        }
        if let Some(event) = client.event(Some(Duration::ZERO))? {
            return Ok(Some(event));
        }
        timeout = PollTimeout::NONE;
    }
}

/// Runs the command for one message and waits for it. Its exit code is ignored.
fn run_command(
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
        return Err(Failure::Usage("the command cannot be run".to_owned()));
    };
    if let Some(mut stdin) = child.stdin.take() {
        // Fails if the command does not read its input.
        let _ = stdin.write_all(data);
    }
    child.wait().map_err(|error| Failure::local("wait", error))?;
    Ok(())
}
