//! Locking and unlocking.

use super::encoder::Encoder;
use super::frame::Frame;
use super::{Client, Code, Error, LockGuard, LockOptions};

impl Client {
    /// Locks these mailboxes, all or none, until the [`LockGuard`] is dropped or its connection ends.
    ///
    /// ```no_run
    /// # let mut client = dipc_client::Client::open("dipc://localhost:5000")?;
    /// let mut lock = client.lock(&[1, 3])?;
    /// let message = lock.read(3)?;
    /// lock.write(1, message.data)?;
    /// # Ok::<(), dipc_client::Error>(())
    /// ```
    pub fn lock(&mut self, mailboxes: &[u32]) -> Result<LockGuard<'_>, Error> {
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
    pub fn lock_with(&mut self, mailboxes: &[u32], options: &LockOptions) -> Result<LockGuard<'_>, Error> {
        let request = Encoder::new("lock")
            .mailboxes(mailboxes)?
            .flag("r", options.shared)
            .seconds("ttl", options.ttl)
            .seconds("wait", options.wait);
        let fencing_token = self.request(request, |frame| frame.ok_number("grant"))?;
        self.events.locked.extend(mailboxes.iter().map(|&mailbox| (mailbox, fencing_token)));
        Ok(LockGuard::new(self, mailboxes, fencing_token))
    }

    /// Unlocks these mailboxes, all or none, or without any all that this connection has locked; with a grant, only
    /// those that were locked with it. [`Code::Lease`] when there is one that is not, or no longer, locked.
    ///
    /// ```no_run
    /// # let mut client = dipc_client::Client::open("dipc://localhost:5000")?;
    /// let fencing_token = client.lock(&[3])?.keep();
    /// client.unlock(&[3], Some(fencing_token))?;
    /// client.unlock(&[], None)?;
    /// # Ok::<(), dipc_client::Error>(())
    /// ```
    pub fn unlock(&mut self, mailboxes: &[u32], fencing_token: Option<u64>) -> Result<(), Error> {
        let request = Encoder::new("unlock").mailboxes_or_all(mailboxes)?.key("grant", fencing_token);
        let unlocked = self.request(request, Frame::ok);
        // `*` unlocks the others even when one had run out.
        let lease = matches!(unlocked, Err(Error::Refused { code: Code::Lease, .. }));
        if unlocked.is_ok() || (lease && mailboxes.is_empty()) {
            self.events.locked.retain(|mailbox, of| {
                let meant = mailboxes.is_empty() || mailboxes.contains(mailbox);
                !(meant && fencing_token.is_none_or(|token| token == *of))
            });
        }
        unlocked
    }
}
