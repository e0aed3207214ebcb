//! [`LockGuard`]: mailboxes that stay locked as long as the value exists.

use std::ops::{Deref, DerefMut};

use super::{Client, Code, Error};

/// Mailboxes that this connection has locked. Dropping the guard unlocks them and ignores errors.
///
/// The guard borrows the [`Client`] and dereferences to it: requests go through the guard while it exists.
/// Every request renews the lease. After the lease has expired, requests to these mailboxes fail with
/// [`Code::Lease`].
///
/// ```no_run
/// use std::time::Duration;
/// use dipc_client::{Client, Event, LockOptions};
///
/// # let mut client = Client::open("dipc://localhost:5000")?;
/// let short = LockOptions { ttl: Some(Duration::from_millis(50)), ..LockOptions::default() };
/// let mut lock = client.lock_with(&[3], &short)?;
/// let fencing_token = lock.fencing_token();
/// assert_eq!(lock.event(None)?, Some(Event::LockLost { mailbox: 3, fencing_token, by_max_hold: false }));
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
    unlock_on_drop: bool,
}

impl<'a> LockGuard<'a> {
    pub(super) fn new(client: &'a mut Client, mailboxes: Vec<u32>, fencing_token: u64) -> Self {
        LockGuard { client, mailboxes, fencing_token, unlock_on_drop: true }
    }

    /// The fencing token, `grant=` in the protocol. Each later lock of this server has a higher token, also
    /// after a restart with the same mailboxes.
    ///
    /// A service that the lock protects can refuse a request with a lower token than the highest one that
    /// it has seen: that request comes from a client whose lock has expired.
    pub fn fencing_token(&self) -> u64 {
        self.fencing_token
    }

    /// The numbers of the locked mailboxes, in the order of the request.
    pub fn mailboxes(&self) -> &[u32] {
        &self.mailboxes
    }

    /// Whether the lock of one of the mailboxes has ended, as far as this client knows: it has received
    /// [`Event::LockLost`](crate::Event::LockLost), has unlocked the mailbox, or its connection is closed.
    ///
    /// The client receives events only with replies and in [`event`](Client::event).
    pub fn is_lost(&self) -> bool {
        self.client.is_closed() || !self.mailboxes.iter().all(|&mailbox| self.holds(mailbox))
    }

    /// Unlocks the mailboxes. Fails with [`Code::Lease`] when a lease had expired. All mailboxes are unlocked
    /// in this case, too.
    pub fn unlock(mut self) -> Result<(), Error> {
        self.unlock_on_drop = false;
        self.release()
    }

    /// Forgets the guard and leaves the mailboxes locked until [`Client::unlock`] or the end of the
    /// connection. Returns the fencing token.
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

    fn holds(&self, mailbox: u32) -> bool {
        self.client.events.locked.get(&mailbox) == Some(&self.fencing_token)
    }

    /// Unlocks the mailboxes. The server unlocks all mailboxes of a request or none. If one of them is no
    /// longer locked, the others are unlocked one by one.
    fn release(&mut self) -> Result<(), Error> {
        let result = self.client.unlock(&self.mailboxes, Some(self.fencing_token));
        if matches!(result, Err(Error::Refused { code: Code::Lease, .. })) {
            for &mailbox in &self.mailboxes {
                if self.holds(mailbox) {
                    // A lock that cannot be ended has expired meanwhile.
                    let _ = self.client.unlock(&[mailbox], Some(self.fencing_token));
                }
            }
        }
        result
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
            // A lock that cannot be ended has expired, or ends with the connection.
            let _ = self.release();
        }
    }
}
