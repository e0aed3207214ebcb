//! Watches mailboxes: prints each new message, or runs a command for it.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, ErrorKind, Seek, Write};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use dipc::client::{Client, Error, Event, Reason};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::signal::Signal;

use crate::child::{self, Exit};
use crate::failure::Failure;
use crate::output::Output;
use crate::signals::Signals;
use crate::stdio;
use crate::supervisor::Supervisor;

/// A watched message.
struct Watched {
    mailbox: u32,
    version: u64,
    data: Vec<u8>,
    lost: u64,
}

/// What happens next in a watch.
enum Next {
    Event(Event),
    /// The watch ends: Ctrl-C at the prompt.
    Stop,
    /// The watch ends by this signal.
    Signal(Signal),
}

/// Watches until `count` messages have arrived, until `stop` is readable, or until this program gets a
/// signal. Returns the signal as an exit. Without a command, the watch also ends when standard output has no
/// reader.
pub(crate) fn run(
    client: &mut Client,
    mailboxes: &[u32],
    after: Option<u64>,
    count: Option<u64>,
    command: &[OsString],
    out: &Output,
    stop: Option<&UnixStream>,
) -> Result<Option<Exit>, Failure> {
    // Without a command, signals have their usual effect.
    let mut signals = if command.is_empty() { None } else { Some(Signals::new()?) };
    match (client.watch(mailboxes, after), after) {
        // `after` is a version of mailboxes that do not exist any more.
        (Err(Error::NotDone { reason: Reason::Ahead, .. }), Some(version)) => {
            out.print_note(&format!(
                "version {version} was never reached here, the mailboxes are new: starting with the oldest message"
            ));
            client.watch(mailboxes, Some(0))?;
        }
        (watched, _) => _ = watched?,
    }
    let mut left = count.unwrap_or(u64::MAX);
    while left > 0 {
        match next(client, stop, signals.as_mut())? {
            Next::Stop => break,
            // Ctrl-C at the prompt ends only the watch.
            Next::Signal(Signal::SIGINT) if stop.is_some() => break,
            Next::Signal(signal) => return Ok(Some(Exit::by(signal))),
            Next::Event(Event::LockLost { mailbox, .. }) => out.print_lock_lost(mailbox),
            Next::Event(Event::Message { mailbox, version, data, lost }) => {
                left -= 1;
                match &mut signals {
                    None => out.print_event((mailbox, mailboxes.len() > 1), version, &data, lost)?,
                    Some(signals) => {
                        run_command(command, &Watched { mailbox, version, data, lost }, signals, out)?
                    }
                }
            }
        }
    }
    client.unwatch(mailboxes)?;
    Ok(None)
}

/// Waits for the next event or for a reason to end.
fn next(
    client: &mut Client,
    stop: Option<&UnixStream>,
    mut signals: Option<&mut Signals>,
) -> Result<Next, Failure> {
    let stdout = io::stdout();
    // The reasons to end are checked before every event, even if more messages are buffered.
    let mut timeout = PollTimeout::ZERO;
    loop {
        let mut sources = vec![PollFd::new(client.as_fd(), PollFlags::POLLIN)];
        // A command has the standard output, and may have closed it.
        sources.push(match &signals {
            Some(signals) => PollFd::new(signals.as_fd(), PollFlags::POLLIN),
            None => stdio::without_reader(&stdout),
        });
        sources.extend(stop.map(|stop| PollFd::new(stop.as_fd(), PollFlags::POLLIN)));
        match poll(&mut sources, timeout) {
            Ok(_) | Err(Errno::EINTR) => {}
            Err(error) => return Err(Failure::local("poll", error)),
        }
        let is_ready = |number: usize| sources.get(number).is_some_and(|source| source.any() == Some(true));
        if is_ready(2) {
            return Ok(Next::Stop);
        }
        if is_ready(1) && signals.is_none() {
            return Err(Failure::Output(ErrorKind::BrokenPipe.into()));
        }
        let event = client.event(Some(Duration::ZERO))?;
        // Signals that have arrived before the event are not for the command that runs for it.
        if let Some(signals) = signals.as_mut() {
            while signals.next()?.is_some() {}
            if let Some(signal) = signals.ending() {
                return Ok(Next::Signal(signal));
            }
        }
        if let Some(event) = event {
            return Ok(Next::Event(event));
        }
        timeout = PollTimeout::NONE;
    }
}

/// Runs the command for one message and waits for it. Its exit code is ignored.
fn run_command(
    words: &[OsString],
    message: &Watched,
    signals: &mut Signals,
    out: &Output,
) -> Result<(), Failure> {
    let mut command = child::command(words);
    let Watched { mailbox, version, data, lost } = message;
    for (name, value) in [("DIPC_BOX", u64::from(*mailbox)), ("DIPC_VERSION", *version), ("DIPC_LOST", *lost)]
    {
        command.env(name, value.to_string());
    }
    command.stdin(memory_file(data).map_err(|error| Failure::local("the command's input", error))?);
    let Ok(mut supervisor) = Supervisor::start(&mut command, signals, out) else {
        return Err(Failure::Usage("the command cannot be run".to_owned()));
    };
    let progress = supervisor.wait_until_end()?;
    supervisor.exit(progress)?;
    Ok(())
}

/// A file in memory with this content. Unlike a pipe, it needs no writer beside the command, which may not
/// read it at all.
fn memory_file(data: &[u8]) -> io::Result<File> {
    let mut file = File::from(memfd_create("message", MFdFlags::MFD_CLOEXEC)?);
    file.write_all(data)?;
    file.rewind()?;
    Ok(file)
}
