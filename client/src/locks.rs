//! The requests `lock` and `unlock`.

use super::encoder::Encoder;
use super::frame::Frame;
use super::{Client, Code, Error, LockGuard, LockOptions, Mailboxes};

impl Client {
    /// Locks these mailboxes for exclusive use, all or none, until the [`LockGuard`] is dropped or the
    /// connection ends.
    ///
    /// The mailboxes that have the names now stay locked, also if a name moves to another mailbox meanwhile:
    /// the guard has the numbers.
    ///
    /// Requests of other clients to these mailboxes wait meanwhile. Fails with [`Code::Deadlock`] if the
    /// request would complete a cycle of waits, and with [`Code::Denied`] if this connection has already
    /// locked one of the mailboxes.
    ///
    /// ```no_run
    /// # let mut client = dipc_client::Client::open("dipc://localhost:5000")?;
    /// let mut lock = client.lock(&[1, 3])?;
    /// let message = lock.read(3)?;
    /// lock.write(1, message.data)?;
    /// # Ok::<(), dipc_client::Error>(())
    /// ```
    pub fn lock(&mut self, mailboxes: impl Into<Mailboxes>) -> Result<LockGuard<'_>, Error> {
        self.lock_with(mailboxes, &LockOptions::default())
    }

    /// Locks these mailboxes like [`lock`](Client::lock), optionally shared, with a lease or with a limited
    /// wait.
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
    pub fn lock_with(
        &mut self,
        mailboxes: impl Into<Mailboxes>,
        options: &LockOptions,
    ) -> Result<LockGuard<'_>, Error> {
        let mailboxes = self.mailbox_numbers(mailboxes)?;
        let request = Encoder::new("lock")
            .mailboxes(&mailboxes)?
            .flag("r", options.shared)
            .seconds("ttl", options.ttl)
            .seconds("wait", options.wait);
        let fencing_token = self.request(request, |reply| reply.ok_number("grant"))?;
        self.events.locked.extend(mailboxes.iter().map(|&mailbox| (mailbox, fencing_token)));
        Ok(LockGuard::new(self, mailboxes, fencing_token))
    }

    /// Unlocks these mailboxes, all or none. A name means the mailbox that has it now. An empty slice unlocks
    /// every mailbox that this connection has locked. With a fencing token, only locks with this token are
    /// ended, never a newer lock of the same mailbox.
    ///
    /// Fails with [`Code::Lease`] when one of the locks has expired or does not exist. With an empty slice,
    /// the other locks are ended in this case, too.
    ///
    /// ```no_run
    /// # let mut client = dipc_client::Client::open("dipc://localhost:5000")?;
    /// let fencing_token = client.lock(&[3])?.keep();
    /// client.unlock(&[3], Some(fencing_token))?;
    /// client.unlock(&[], None)?;
    /// # Ok::<(), dipc_client::Error>(())
    /// ```
    pub fn unlock(
        &mut self,
        mailboxes: impl Into<Mailboxes>,
        fencing_token: Option<u64>,
    ) -> Result<(), Error> {
        let mailboxes = self.mailbox_numbers(mailboxes)?;
        let request = Encoder::new("unlock").mailboxes_or_all(&mailboxes)?.key("grant", fencing_token);
        let result = self.request(request, Frame::ok);
        let expired = matches!(result, Err(Error::Refused { code: Code::Lease, .. }));
        if result.is_ok() || (expired && mailboxes.is_empty()) {
            self.events.locked.retain(|mailbox, token| {
                let is_selected = mailboxes.is_empty() || mailboxes.contains(mailbox);
                !(is_selected && fencing_token.is_none_or(|fencing_token| fencing_token == *token))
            });
        }
        result
    }
}
