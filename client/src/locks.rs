//! Locking and unlocking.

use super::answer::Answer;
use super::request::Request;
use super::{Client, Code, Error, Lock, LockOptions};

impl Client {
    /// Locks these mailboxes, all or none, until the [`Lock`] is dropped or its connection ends.
    ///
    /// ```no_run
    /// # let mut client = dipc_client::Client::open("dipc://localhost:5000")?;
    /// let mut lock = client.lock(&[1, 3])?;
    /// let message = lock.read(3)?;
    /// lock.write(1, message.data)?;
    /// # Ok::<(), dipc_client::Error>(())
    /// ```
    pub fn lock(&mut self, mailboxes: &[u32]) -> Result<Lock<'_>, Error> {
        self.lock_with(mailboxes, &LockOptions::default())
    }

    /// Locks these mailboxes, shared with readers or with a lease of one's own.
    ///
    /// ```no_run
    /// use dipc_client::{Client, LockOptions};
    ///
    /// # let mut client = Client::open("dipc://localhost:5000")?;
    /// let shared = LockOptions { shared: true, ..LockOptions::default() };
    /// let _lock = client.lock_with(&[3], &shared)?;
    /// let mut other = Client::open("dipc://localhost:5000")?;
    /// other.read(3)?;
    /// other.lock_with(&[3], &shared)?.unlock()?;
    /// # Ok::<(), dipc_client::Error>(())
    /// ```
    pub fn lock_with(&mut self, mailboxes: &[u32], options: &LockOptions) -> Result<Lock<'_>, Error> {
        let request = Request::new("lock")
            .list(mailboxes)?
            .flag("r", options.shared)
            .seconds("ttl", options.ttl)
            .seconds("wait", options.wait);
        let grant = self.ask(request, |answer| answer.done_with("grant"))?;
        self.events.locked.extend(mailboxes.iter().map(|&mailbox| (mailbox, grant)));
        Ok(Lock::new(self, mailboxes, grant))
    }

    /// Unlocks these mailboxes, all or none, or without any all that this connection has locked; with a grant, only
    /// those that were locked with it. [`Code::Lease`] when there is one that is not, or no longer, locked.
    ///
    /// ```no_run
    /// # let mut client = dipc_client::Client::open("dipc://localhost:5000")?;
    /// let grant = client.lock(&[3])?.keep();
    /// client.unlock(&[3], Some(grant))?;
    /// client.unlock(&[], None)?;
    /// # Ok::<(), dipc_client::Error>(())
    /// ```
    pub fn unlock(&mut self, mailboxes: &[u32], grant: Option<u64>) -> Result<(), Error> {
        let request = Request::new("unlock").list_or_all(mailboxes)?.key("grant", grant);
        let unlocked = self.ask(request, Answer::done);
        // `*` unlocks the others even when one had run out.
        let lease = matches!(unlocked, Err(Error::Refused { code: Code::Lease, .. }));
        if unlocked.is_ok() || (lease && mailboxes.is_empty()) {
            self.events.locked.retain(|mailbox, of| {
                let meant = mailboxes.is_empty() || mailboxes.contains(mailbox);
                !(meant && grant.is_none_or(|grant| grant == *of))
            });
        }
        unlocked
    }
}
