//! The requests `take` with `ttl=`, `done` and `back`.

use super::encoder::Encoder;
use super::frame::Frame;
use super::{Client, Code, Error, Job, JobGuard, JobOptions, Mailbox};

impl Client {
    /// Takes the oldest message that is not in hand, without removing it. The message is in hand until the
    /// [`JobGuard`] is dropped or done, until the connection ends, or until the connection has sent no
    /// request for 30 s. Waits for a message when there is none.
    ///
    /// No other `take` gets the message meanwhile. A message whose worker dies is given back: a worker must
    /// expect that an earlier one has worked on it, see [`JobGuard::tries`].
    ///
    /// The job is one of the mailbox that has the name now, also if the name moves to another mailbox
    /// meanwhile: [`Job::mailbox`] is a number.
    ///
    /// Fails with [`Reason::Empty`](crate::Reason::Empty) when there is no message within the wait, with
    /// [`Reason::Timeout`](crate::Reason::Timeout) when the mailbox is not free within the wait, and with
    /// [`Code::Size`] when this connection has 1024 messages in hand.
    ///
    /// ```no_run
    /// # let mut client = dipc_client::Client::open("dipc://localhost:5000")?;
    /// client.put(2, "a job")?;
    /// let job = client.take_job(2)?;
    /// assert_eq!((job.data(), job.tries()), (b"a job".as_slice(), 1));
    /// assert_eq!(job.done()?, 0);
    /// # Ok::<(), dipc_client::Error>(())
    /// ```
    pub fn take_job(&mut self, mailbox: impl Into<Mailbox>) -> Result<JobGuard<'_>, Error> {
        self.take_job_with(mailbox, &JobOptions::default())
    }

    /// Takes a message like [`take_job`](Client::take_job), with another time of silence or with a limited
    /// wait.
    ///
    /// ```no_run
    /// use std::time::Duration;
    /// use dipc_client::JobOptions;
    ///
    /// # let mut client = dipc_client::Client::open("dipc://localhost:5000")?;
    /// client.put(2, "a long job")?;
    /// let long = JobOptions { ttl: Some(Duration::from_secs(600)), ..JobOptions::default() };
    /// client.take_job_with(2, &long)?.done()?;
    /// # Ok::<(), dipc_client::Error>(())
    /// ```
    pub fn take_job_with(
        &mut self,
        mailbox: impl Into<Mailbox>,
        options: &JobOptions,
    ) -> Result<JobGuard<'_>, Error> {
        let mailbox = self.mailbox_number(mailbox)?;
        let request = Encoder::new("take").word(mailbox);
        let request = match options.ttl {
            // Without a value the server's default applies. Without the key the message is removed.
            None => request.key("ttl", Some("")),
            ttl => request.seconds("ttl", ttl),
        };
        let job =
            self.request(request.seconds("wait", options.wait), |reply| Job::from_reply(mailbox, reply))?;
        self.events.in_hand.insert((mailbox, job.version), job.tries);
        Ok(JobGuard::new(self, job))
    }

    /// Removes a message that this connection has in hand. Returns the number of messages in the mailbox.
    /// [`JobGuard::done`] is the usual way; this function is for a [`Job`] of [`JobGuard::keep`].
    ///
    /// Fails with [`Code::Lease`] when the message is not in hand: it was given back, or a write or a put has
    /// removed it. Fails with [`Reason::Timeout`](crate::Reason::Timeout) when the mailbox is not free within
    /// the server's default wait; then the message is still in hand.
    ///
    /// ```no_run
    /// # let mut client = dipc_client::Client::open("dipc://localhost:5000")?;
    /// client.put(2, "a job")?;
    /// let job = client.take_job(2)?.keep();
    /// client.done(job.mailbox, job.version)?;
    /// assert!(client.done(job.mailbox, job.version).is_err());
    /// # Ok::<(), dipc_client::Error>(())
    /// ```
    pub fn done(&mut self, mailbox: impl Into<Mailbox>, version: u64) -> Result<u64, Error> {
        self.end_job("done", mailbox, version, |reply| reply.ok_number("n"))
    }

    /// Gives back a message that this connection has in hand. It is the next message again, in its old place.
    /// [`JobGuard::back`] is the usual way; this function is for a [`Job`] of [`JobGuard::keep`].
    ///
    /// Fails like [`done`](Client::done).
    ///
    /// ```no_run
    /// # let mut client = dipc_client::Client::open("dipc://localhost:5000")?;
    /// client.put(2, "a job")?;
    /// let job = client.take_job(2)?.keep();
    /// client.back(job.mailbox, job.version)?;
    /// assert_eq!(client.take_job(2)?.tries(), 2);
    /// # Ok::<(), dipc_client::Error>(())
    /// ```
    pub fn back(&mut self, mailbox: impl Into<Mailbox>, version: u64) -> Result<(), Error> {
        self.end_job("back", mailbox, version, Frame::ok)
    }

    fn end_job<T>(
        &mut self,
        verb: &str,
        mailbox: impl Into<Mailbox>,
        version: u64,
        decode: impl FnOnce(Frame) -> Option<T>,
    ) -> Result<T, Error> {
        let mailbox = self.mailbox_number(mailbox)?;
        let request = Encoder::new(verb).word(mailbox).key("v", Some(version));
        let result = self.request(request, decode);
        if matches!(result, Ok(_) | Err(Error::Refused { code: Code::Lease, .. })) {
            self.events.in_hand.remove(&(mailbox, version));
        }
        result
    }
}
