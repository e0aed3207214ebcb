//! Watches mailboxes: prints each new message, or runs a command for it.

use std::ffi::OsString;
use std::io::{self, ErrorKind};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use dipc::client::{Client, Error, Event, Mailbox, Reason};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::Signal;

use crate::child::{self, Exit};
use crate::failure::Failure;
use crate::outer_locks;
use crate::output::Output;
use crate::reconnect::{Retry, numbers_of};
use crate::signals::Signals;
use crate::stdio;
use crate::supervisor::Supervisor;

/// A watched message.
struct Watched {
    mailbox: u32,
    version: u64,
    data: Vec<u8>,
    lost: u64,
    /// The locks while the command runs for it, if the prompt has locks.
    locks: Option<String>,
}

/// What happens next in a watch.
enum Next {
    Event(Event),
    /// The watch ends: Ctrl-C at the prompt.
    Stop,
    /// The watch ends by this signal.
    Signal(Signal),
}

/// A watch of mailboxes.
pub(crate) struct Watch<'a> {
    pub mailboxes: &'a [Mailbox],
    pub after: Option<u64>,
    /// The watch ends after this many messages.
    pub count: Option<u64>,
    pub retry: Retry,
    /// The watch ends when this is readable.
    pub stop: Option<&'a UnixStream>,
}

impl Watch<'_> {
    /// Watches until `count` messages have arrived, until `stop` is readable, or until this program gets a
    /// signal. Returns the signal as an exit. Without a command, the watch also ends when standard output has
    /// no reader. If the connection ends, the watch goes on with a new one.
    pub(crate) fn run(
        self,
        client: &mut Client,
        command: &[OsString],
        out: &Output,
    ) -> Result<Option<Exit>, Failure> {
        let Watch { mailboxes, after, count, retry, stop } = self;
        // Without a command, signals have their usual effect.
        let mut signals = if command.is_empty() { None } else { Some(Signals::new()?) };
        let mut numbers = numbers_of(client, mailboxes)?;
        begin(client, &numbers, after, out)?;
        let mut left = count.unwrap_or(u64::MAX);
        while left > 0 {
            let next = match next(client, stop, signals.as_mut()) {
                Err(failure) if client.is_closed() => {
                    let (mut end, life) = (None, client.life());
                    let pause = |time| {
                        end = wait_for_end(None, stop, signals.as_mut(), timeout_of(time))?;
                        Ok(end.is_none())
                    };
                    retry.reconnect(client, failure, out, pause)?;
                    if end.is_none() && client.life() != life {
                        watch_new(client, mailboxes, &mut numbers)?;
                    }
                    let Some(end) = end else { continue };
                    end
                }
                next => next?,
            };
            match next {
                Next::Stop => break,
                // Ctrl-C at the prompt ends only the watch.
                Next::Signal(Signal::SIGINT) if stop.is_some() => break,
                Next::Signal(signal) => return Ok(Some(Exit::by(signal))),
                // The prompt may hold locks, and have messages in hand.
                Next::Event(loss @ (Event::LockLost { .. } | Event::JobLost { .. })) => out.print_loss(&loss),
                Next::Event(Event::Message { mailbox, version, data, lost }) => {
                    left -= 1;
                    match &mut signals {
                        None => out.print_event((mailbox, mailboxes.len() > 1), version, &data, lost)?,
                        Some(signals) => {
                            let locks = outer_locks::exported(client);
                            let message = Watched { mailbox, version, data, lost, locks };
                            run_command(command, &message, signals, out)?;
                        }
                    }
                }
            }
        }
        if !client.is_closed() {
            client.unwatch(&numbers)?;
        }
        Ok(None)
    }
}

/// Watches the new mailboxes that have the names now, in the place of those that had them before.
fn watch_new(client: &mut Client, mailboxes: &[Mailbox], numbers: &mut Vec<u32>) -> Result<(), Failure> {
    let before = std::mem::replace(numbers, numbers_of(client, mailboxes)?);
    if *numbers != before {
        client.unwatch(&before)?;
        client.watch(&*numbers, Some(0))?;
    }
    Ok(())
}

/// Begins to watch.
fn begin(client: &mut Client, mailboxes: &[u32], after: Option<u64>, out: &Output) -> Result<(), Failure> {
    match (client.watch(mailboxes, after), after) {
        // `after` is a version of mailboxes that do not exist any more.
        (Err(Error::NotDone { reason: Reason::Ahead, .. }), Some(version)) => {
            out.print_note(&format!(
                "version {version} was never reached here, the mailboxes are new: starting with \
                 the oldest message"
            ));
            client.watch(mailboxes, Some(0))?;
        }
        (watched, _) => _ = watched?,
    }
    Ok(())
}

/// Waits for the next event or for a reason to end.
fn next(
    client: &mut Client,
    stop: Option<&UnixStream>,
    mut signals: Option<&mut Signals>,
) -> Result<Next, Failure> {
    // The reasons to end are checked before every event, even if more messages are buffered.
    let mut timeout = PollTimeout::ZERO;
    loop {
        if let Some(end) = wait_for_end(Some(client), stop, signals.as_deref_mut(), timeout)? {
            return Ok(end);
        }
        if let Some(event) = client.event(Some(Duration::ZERO))? {
            // Signals that have arrived before the event are not for the command that runs for it.
            let end = wait_for_end(None, None, signals.as_deref_mut(), PollTimeout::ZERO)?;
            return Ok(end.unwrap_or(Next::Event(event)));
        }
        timeout = PollTimeout::NONE;
    }
}

/// Waits until there is a reason to end, until `client` may have an event, or until the timeout. Returns the
/// reason.
fn wait_for_end(
    client: Option<&Client>,
    stop: Option<&UnixStream>,
    signals: Option<&mut Signals>,
    timeout: PollTimeout,
) -> Result<Option<Next>, Failure> {
    let stdout = io::stdout();
    // A command has the standard output, and may have closed it.
    let mut sources = vec![match &signals {
        Some(signals) => PollFd::new(signals.as_fd(), PollFlags::POLLIN),
        None => stdio::without_reader(&stdout),
    }];
    sources.extend(stop.map(|stop| PollFd::new(stop.as_fd(), PollFlags::POLLIN)));
    sources.extend(client.map(|client| PollFd::new(client.as_fd(), PollFlags::POLLIN)));
    match poll(&mut sources, timeout) {
        Ok(_) | Err(Errno::EINTR) => {}
        Err(error) => return Err(Failure::local("poll", error)),
    }
    let is_ready = |number: usize| sources[number].any() == Some(true);
    let (is_first_ready, is_stopped) = (is_ready(0), stop.is_some() && is_ready(1));
    drop(sources);
    if is_stopped {
        return Ok(Some(Next::Stop));
    }
    let Some(signals) = signals else {
        let has_no_reader = is_first_ready;
        return if has_no_reader { Err(Failure::Output(ErrorKind::BrokenPipe.into())) } else { Ok(None) };
    };
    while signals.next()?.is_some() {}
    Ok(signals.ending().map(Next::Signal))
}

fn timeout_of(time: Duration) -> PollTimeout {
    PollTimeout::try_from(time).unwrap_or(PollTimeout::MAX)
}

/// Runs the command for one message and waits for it. Its exit code is ignored.
fn run_command(
    words: &[OsString],
    message: &Watched,
    signals: &mut Signals,
    out: &Output,
) -> Result<(), Failure> {
    let mut command = child::command(words);
    let Watched { mailbox, version, data, lost, locks } = message;
    command.envs(locks.iter().map(|locks| (outer_locks::VARIABLE, locks)));
    for (name, value) in [("DIPC_BOX", u64::from(*mailbox)), ("DIPC_VERSION", *version), ("DIPC_LOST", *lost)]
    {
        command.env(name, value.to_string());
    }
    command.stdin(child::input(data)?);
    let Ok(mut supervisor) = Supervisor::start(&mut command, signals, out) else {
        return Err(Failure::Usage("the command cannot be run".to_owned()));
    };
    let progress = supervisor.wait_until_end()?;
    supervisor.exit(progress)?;
    Ok(())
}
