//! A command that runs while a lock is held.
//!
//! **Invariant**: the command does not outlive the lock by more than [`GRACE`](crate::supervisor::GRACE). The
//! lease is renewed after every third of its duration, and an answer that takes longer than a third counts as
//! missing. So the command gets SIGTERM before another client can acquire the lock, with three exceptions:
//! this program was stopped for too long (SIGSTOP), the server's `--max-hold` is over, or the command belongs
//! to another user and may not be signalled.

use std::ffi::OsString;
use std::time::Duration;

use dipc::client::{Client, Code, Error, Event, LockGuard, LockOptions};

use crate::child::{self, Exit};
use crate::failure::Failure;
use crate::lease;
use crate::options::Locking;
use crate::outer_locks;
use crate::output::Output;
use crate::signals::Signals;
use crate::supervisor::Supervisor;

/// Why a lock ends although its connection exists.
const EXPIRED: &str = "the lock expired: the server had no contact with this program for --ttl";
const HELD_TOO_LONG: &str = "the lock expired: held longer than the server's --max-hold";

/// Acquires the lock, and waits for it if necessary.
pub(crate) fn acquire<'a>(client: &'a mut Client, locking: &Locking) -> Result<LockGuard<'a>, Failure> {
    let Locking { mailboxes, shared, ttl, name, wait } = locking;
    // A connection of the prompt has another name.
    if name.is_some() && client.name() != name.as_deref() {
        client.hello(name.as_deref())?;
    }
    let ttl = Some(ttl.unwrap_or(lease::TTL));
    Ok(client.lock_with(mailboxes.list(), &LockOptions { shared: *shared, ttl, wait: wait.wait })?)
}

/// Runs the command, then unlocks. Sets the connection's timeout to a third of the lease. Returns how the
/// command ended.
pub(crate) fn run(
    mut lock: LockGuard,
    locking: &Locking,
    words: &[OsString],
    out: &Output,
) -> Result<Exit, Failure> {
    let interval = lease::interval(locking.ttl.unwrap_or(lease::TTL));
    // After a SIGSTOP, the lock and its loss may have been received in one read. Such an event is in the
    // client's buffer already, where poll does not see it.
    events(&mut lock, out)?;
    let mut signals = Signals::new()?;
    let mut command = child::command(words);
    let boxes = lock.mailboxes().iter().map(u32::to_string).collect::<Vec<_>>().join(",");
    command.env("DIPC_BOX", &boxes).env("DIPC_GRANT", lock.fencing_token().to_string());
    command.envs(outer_locks::exported(&lock).map(|locks| (outer_locks::VARIABLE, locks)));
    let mut supervisor = match Supervisor::start(&mut command, &mut signals, out) {
        Ok(supervisor) => supervisor,
        Err(code) => return Ok(Exit { code, signal: None }),
    };
    let renewed = lease::renew_until_end(&mut supervisor, &mut lock, interval, |lock| events(lock, out))?;
    let (progress, lost) = match renewed {
        Ok(progress) => (progress, None),
        Err(error) => {
            out.print_note(&format!("the lock of mailbox {boxes} is lost: the command is terminated"));
            (supervisor.terminate()?, Some(error))
        }
    };
    let exit = supervisor.exit(progress)?;
    // The lock may have expired just before the command ended: then unlocking fails.
    lost.map_or_else(|| lock.unlock(), Err)?;
    Ok(exit)
}

/// Reads the server's events. Fails when the lock is lost.
fn events(lock: &mut LockGuard, out: &Output) -> Result<(), Error> {
    let mut why = EXPIRED;
    while let Some(event) = lock.event(Some(Duration::ZERO))? {
        match event {
            Event::LockLost { fencing_token, by_max_hold, .. } if fencing_token == lock.fencing_token() => {
                why = if by_max_hold { HELD_TOO_LONG } else { EXPIRED };
                break;
            }
            // The prompt may hold other locks, and have messages in hand.
            event => out.print_loss(&event),
        }
    }
    match lock.is_lost() {
        true => Err(Error::Refused { code: Code::Lease, text: why.to_owned(), max: None }),
        false => Ok(()),
    }
}
