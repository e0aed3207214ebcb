//! Mailboxes that are locked for as long as a value lives.

use std::ops::{Deref, DerefMut};

use super::{Client, Code, Error};

/// Mailboxes that this connection has locked; unlocks them when it is dropped, as far as that is possible.
///
/// It is the connection meanwhile: requests go through it. Every request renews the lease. When the lease has run out,
/// requests in these mailboxes are refused with [`Code::Lease`].
///
/// ```no_run
/// use std::time::Duration;
/// use dipc_client::{Client, Event, LockOptions};
///
/// # let mut client = Client::open("dipc://localhost:5000")?;
/// let brief = LockOptions { ttl: Some(Duration::from_millis(50)), ..LockOptions::default() };
/// let mut lock = client.lock_with(&[3], &brief)?;
/// let fencing_token = lock.fencing_token();
/// assert_eq!(lock.event(None)?, Some(Event::LockLost { mailbox: 3, fencing_token }));
/// assert!(lock.is_lost());
/// assert!(lock.write(3, "too late").is_err());
/// assert!(lock.unlock().is_err());
/// client.write(3, "without a lock")?;
/// # Ok::<(), dipc_client::Error>(())
/// ```
#[derive(Debug)]
pub struct LockGuard<'a> {
    client: &'a mut Client,
    mailboxes: Vec<u32>,
    fencing_token: u64,
    /// Whether the end of this value is the end of the lock.
    unlock_on_drop: bool,
}

impl<'a> LockGuard<'a> {
    pub(super) fn new(client: &'a mut Client, mailboxes: &[u32], fencing_token: u64) -> Self {
        LockGuard { client, mailboxes: mailboxes.to_vec(), fencing_token, unlock_on_drop: true }
    }

    /// The number of this lock; that of a later one, of whomever, is higher.
    pub fn fencing_token(&self) -> u64 {
        self.fencing_token
    }

    /// The mailboxes, in the order asked.
    pub fn mailboxes(&self) -> &[u32] {
        &self.mailboxes
    }

    /// Whether the server has said that the lease of one of them ran out. That is heard with answers and events.
    pub fn is_lost(&self) -> bool {
        let locked = &self.client.events.locked;
        self.client.is_closed()
            || self.mailboxes.iter().any(|mailbox| locked.get(mailbox) != Some(&self.fencing_token))
    }

    /// Unlocks; [`Code::Lease`] when the lease had run out.
    pub fn unlock(mut self) -> Result<(), Error> {
        self.unlock_on_drop = false;
        self.release()
    }

    /// The server unlocks all or none: when one is not locked any more, the others are unlocked one by one.
    fn release(&mut self) -> Result<(), Error> {
        let ended = self.client.unlock(&self.mailboxes, Some(self.fencing_token));
        if matches!(ended, Err(Error::Refused { code: Code::Lease, .. })) {
            for mailbox in &self.mailboxes {
                if self.client.events.locked.get(mailbox) == Some(&self.fencing_token) {
                    // What cannot be unlocked has ended.
                    let _ = self.client.unlock(&[*mailbox], Some(self.fencing_token));
                }
            }
        }
        ended
    }

    /// Leaves the mailboxes locked, until [`Client::unlock`] or the end of the connection; the number of the lock.
    ///
    /// ```no_run
    /// # let mut client = dipc_client::Client::open("dipc://localhost:5000")?;
    /// let fencing_token = client.lock(&[3])?.keep();
    /// client.unlock(&[3], Some(fencing_token))?;
    /// # Ok::<(), dipc_client::Error>(())
    /// ```
    pub fn keep(mut self) -> u64 {
        self.unlock_on_drop = false;
        self.fencing_token
    }
}

impl Deref for LockGuard<'_> {
    type Target = Client;

    fn deref(&self) -> &Client {
        self.client
    }
}

impl DerefMut for LockGuard<'_> {
    fn deref_mut(&mut self) -> &mut Client {
        self.client
    }
}

impl Drop for LockGuard<'_> {
    fn drop(&mut self) {
        if self.unlock_on_drop && !self.client.is_closed() {
            // What cannot be unlocked has ended, or ends with the connection.
            let _ = self.release();
        }
    }
}
