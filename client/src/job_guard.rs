//! [`JobGuard`]: a message that stays in hand as long as the value exists.

use std::ops::{Deref, DerefMut};

use super::{Client, Code, Error, Job};

/// A message that this connection has in hand. Dropping the guard without [`done`](JobGuard::done) gives the
/// message back and ignores errors: after an early return or a panic another worker gets it.
///
/// The guard borrows the [`Client`] and dereferences to it: requests go through the guard while it exists.
/// Every request renews the `ttl` of all messages in hand, so a worker sends a [`ping`](Client::ping) from
/// time to time during a long job. [`keep`](JobGuard::keep) is for programs that have several messages in
/// hand.
///
/// If the mailbox is locked by another client, `done`, [`back`](JobGuard::back) and dropping the guard wait
/// for it, at most for the server's default wait. After that wait a message whose guard is dropped stays in
/// hand until the connection ends or is silent for the `ttl`.
///
/// ```no_run
/// use std::time::Duration;
/// use dipc_client::{Client, Event, JobOptions};
///
/// # let mut client = Client::open("dipc://localhost:5000")?;
/// let version = client.put(2, "a job")?.version;
/// drop(client.take_job(2)?); // gives the message back
/// let short = JobOptions { ttl: Some(Duration::from_millis(50)), ..JobOptions::default() };
/// let mut job = client.take_job_with(2, &short)?;
/// assert_eq!((job.version(), job.tries()), (version, 2));
/// assert_eq!(job.event(None)?, Some(Event::JobLost { mailbox: 2, version, tries: 2 }));
/// assert!(job.is_lost());
/// assert!(job.done().is_err());
/// # Ok::<(), dipc_client::Error>(())
/// ```
#[derive(Debug)]
pub struct JobGuard<'a> {
    client: &'a mut Client,
    job: Job,
    back_on_drop: bool,
}

impl<'a> JobGuard<'a> {
    pub(super) fn new(client: &'a mut Client, job: Job) -> Self {
        JobGuard { client, job, back_on_drop: true }
    }

    /// The bytes of the message.
    pub fn data(&self) -> &[u8] {
        &self.job.data
    }

    /// The number of the mailbox.
    pub fn mailbox(&self) -> u32 {
        self.job.mailbox
    }

    /// The version of the message.
    pub fn version(&self) -> u64 {
        self.job.version
    }

    /// The number of messages in the mailbox when this one was taken, including this one and others in hand.
    pub fn count(&self) -> u64 {
        self.job.count
    }

    /// How often the message was handed out, at least 1. More than 1: an earlier worker may have worked on
    /// it. The number starts again with the server.
    pub fn tries(&self) -> u64 {
        self.job.tries
    }

    /// Whether the message is no longer in hand, as far as this client knows: it has received
    /// [`Event::JobLost`](crate::Event::JobLost), the message is done or given back, or the connection is
    /// closed.
    ///
    /// The client receives events only with replies and in [`event`](Client::event).
    pub fn is_lost(&self) -> bool {
        self.client.is_closed() || !self.is_in_hand()
    }

    /// Removes the message. Returns the number of messages left in the mailbox, including those in hand.
    ///
    /// Fails like [`Client::done`]. The message is not given back then: the work is done. After
    /// [`Reason::Timeout`](crate::Reason::Timeout) it is still in hand, and `Client::done` can repeat the
    /// request.
    pub fn done(mut self) -> Result<u64, Error> {
        self.begin_end()?;
        self.client.done(self.job.mailbox, self.job.version)
    }

    /// Gives the message back at once. Fails like [`Client::back`].
    pub fn back(mut self) -> Result<(), Error> {
        self.begin_end()?;
        self.client.back(self.job.mailbox, self.job.version)
    }

    /// Forgets the guard. The message stays in hand until [`Client::done`], [`Client::back`], the end of the
    /// connection, or its silence for the `ttl`.
    ///
    /// ```no_run
    /// # let mut client = dipc_client::Client::open("dipc://localhost:5000")?;
    /// client.put(2, "one")?;
    /// client.put(2, "two")?;
    /// let first = client.take_job(2)?.keep();
    /// let second = client.take_job(2)?.keep();
    /// for job in [first, second] {
    ///     println!("{}", String::from_utf8_lossy(&job.data));
    ///     client.done(job.mailbox, job.version)?;
    /// }
    /// # Ok::<(), dipc_client::Error>(())
    /// ```
    pub fn keep(mut self) -> Job {
        self.back_on_drop = false;
        Job { data: std::mem::take(&mut self.job.data), ..self.job }
    }

    /// This connection may have lost the message and taken it again: then a request with its version would
    /// end the other job.
    fn begin_end(&mut self) -> Result<(), Error> {
        self.back_on_drop = false;
        match self.client.is_closed() || self.is_in_hand() {
            true => Ok(()),
            false => Err(Error::Refused {
                code: Code::Lease,
                text: "this message was given back, or is done".to_owned(),
                max: None,
            }),
        }
    }

    fn is_in_hand(&self) -> bool {
        self.client.events.in_hand.get(&(self.job.mailbox, self.job.version)) == Some(&self.job.tries)
    }
}

impl Deref for JobGuard<'_> {
    type Target = Client;

    fn deref(&self) -> &Client {
        self.client
    }
}

impl DerefMut for JobGuard<'_> {
    fn deref_mut(&mut self) -> &mut Client {
        self.client
    }
}

impl Drop for JobGuard<'_> {
    fn drop(&mut self) {
        if self.back_on_drop && !self.is_lost() {
            // A message that cannot be given back is lost already, or is given back with the connection.
            let _ = self.client.back(self.job.mailbox, self.job.version);
        }
    }
}
