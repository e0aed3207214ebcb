//! The locks of the programs that this program runs under. A command of `lock` gets them in its environment.
//!
//! Such a lock ends only after this program, so a request that waits for it would wait in vain: it fails at
//! once. The server does not see this cycle, since these programs are different clients.

use std::env;
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use dipc::client::{Client, Code, Error, Mailbox, Topic};

use crate::failure::Failure;
use crate::options::Command;
use crate::output::Output;

/// The environment variable: words separated by blanks, one for each [`OuterLock`].
pub(crate) const VARIABLE: &str = "DIPC_LOCKS";

/// A lock of a program that this program runs under. As a word `LIFE:BOX:GRANT`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct OuterLock {
    /// The random number of the server's mailboxes: a server has several addresses.
    life: u64,
    mailbox: u32,
    fencing_token: u64,
}

/// The admission to mailboxes that a command asks for.
pub(crate) struct Admission {
    pub mailboxes: Vec<Mailbox>,
    pub shared: bool,
    pub wait: Option<Duration>,
}

/// The variable for a command that this program runs: the locks that this program runs under, and those of
/// this connection. None: this connection has no locks, and the variable is inherited unchanged.
pub(crate) fn exported(client: &Client) -> Option<String> {
    let life = client.life()?;
    let own = client.locks().map(|(mailbox, fencing_token)| OuterLock { life, mailbox, fencing_token });
    let own: Vec<_> = own.collect();
    let words = inherited().into_iter().chain(own.iter().copied()).map(|lock| lock.to_string());
    (!own.is_empty()).then(|| words.collect::<Vec<_>>().join(" "))
}

/// Fails if the command would wait for a lock that cannot end before this program. Requires requests to the
/// server only if such a lock exists.
pub(crate) fn check(client: &mut Client, command: &Command, out: &Output) -> Result<(), Failure> {
    if let Command::Watch { mailboxes, .. } = command {
        if let Some(mailbox) = held(client, mailboxes.list(), false)? {
            out.print_note(&format!("{}: no message can arrive before the lock ends", locked(mailbox)));
        }
    } else if let Some(Admission { mailboxes, shared, wait }) = command.admission()
        // Without a wait, the server refuses the request at once.
        && wait != Some(Duration::ZERO)
        && let Some(mailbox) = held(client, &mailboxes, shared)?
    {
        let text = format!(
            "{} and waits for its end: lock a mailbox that is not used otherwise, or use the prompt: \
             lock {mailbox}, write {mailbox} ..",
            locked(mailbox)
        );
        return Err(Error::Refused { code: Code::Deadlock, text, max: None }.into());
    }
    Ok(())
}

/// Explains why a mailbox was not free, if such a lock is the reason.
pub(crate) fn explain(client: &mut Client, failure: &Failure, mailboxes: &[Mailbox], out: &Output) {
    // A shared lock is the reason too if another client waits to write. Readers come after that client.
    if failure.is_of_admission()
        && let Ok(Some(mailbox)) = held(client, mailboxes, false)
    {
        out.print_note(&locked(mailbox));
    }
}

/// The mailboxes of these locks, for a command that asks for admission to all mailboxes.
pub(crate) fn mailboxes() -> impl Iterator<Item = u32> {
    inherited().into_iter().map(|lock| lock.mailbox)
}

fn locked(mailbox: u32) -> String {
    format!("mailbox {mailbox} is locked by the dipc-cli that runs this command")
}

/// The first of these mailboxes that a program locks which this program runs under. `shared`: whether only
/// exclusive locks count.
fn held(client: &mut Client, mailboxes: &[Mailbox], shared: bool) -> Result<Option<u32>, Failure> {
    let locks = inherited();
    let mut numbers = Vec::new();
    // Without locks no name is resolved.
    for mailbox in mailboxes.iter().filter(|_| !locks.is_empty()) {
        match client.mailbox_number(mailbox) {
            // The request itself reports that.
            Err(Error::Refused { code: Code::Box, .. }) => {}
            number => numbers.push(number?),
        }
    }
    for lock in locks {
        if numbers.contains(&lock.mailbox) && is_held(client, lock, shared)? {
            return Ok(Some(lock.mailbox));
        }
    }
    Ok(None)
}

/// Whether the server of this connection has the lock. It may have ended: a command that goes on in the
/// background keeps its environment.
fn is_held(client: &mut Client, lock: OuterLock, shared: bool) -> Result<bool, Failure> {
    let life = match client.life() {
        None => client.hello(None)?.life,
        life => life,
    };
    if life != Some(lock.life) {
        return Ok(false);
    }
    let stat = client.stat(Topic::Mailbox(lock.mailbox))?;
    let token = lock.fencing_token.to_string();
    let mut locks = stat.lines().filter(|line| line.name == "lock");
    let mode = locks.find(|line| line.field("grant") == Some(&*token)).and_then(|line| line.field("mode"));
    Ok(mode.is_some_and(|mode| !shared || mode == "exclusive"))
}

/// The locks in the environment. Other words are ignored.
fn inherited() -> Vec<OuterLock> {
    let words = env::var(VARIABLE).unwrap_or_default();
    words.split_ascii_whitespace().filter_map(|word| word.parse().ok()).collect()
}

impl fmt::Display for OuterLock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.life, self.mailbox, self.fencing_token)
    }
}

impl FromStr for OuterLock {
    type Err = ();

    fn from_str(word: &str) -> Result<Self, ()> {
        let mut numbers = word.splitn(3, ':').map(|number| number.parse::<u64>().ok());
        let mut next = || numbers.next().flatten().ok_or(());
        let (life, mailbox, fencing_token) = (next()?, next()?, next()?);
        Ok(OuterLock { life, mailbox: mailbox.try_into().map_err(|_| ())?, fencing_token })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_is_a_word_of_three_numbers() {
        let lock = OuterLock { life: u64::MAX, mailbox: 3, fencing_token: 7 };
        assert_eq!(lock.to_string().parse(), Ok(lock));
        for wrong in ["", "1:2", "1:2:x", "1:2:3:4", "1:4294967296:3"] {
            assert_eq!(wrong.parse::<OuterLock>(), Err(()), "{wrong}");
        }
    }
}
