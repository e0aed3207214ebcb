//! The requests `watch` and `unwatch`, and the events that a server sends.

use std::iter;
use std::time::{Duration, Instant};

use super::encoder::Encoder;
use super::frame::{Frame, FrameKind};
use super::{Client, Error, Event, Mailboxes};

impl Client {
    /// Watches these mailboxes: every message that is newer than version `after` becomes an [`Event`].
    /// Without `after`, every message that is newer than the current version becomes an event. Returns the
    /// version at which each watch begins, in the order of `mailboxes`.
    ///
    /// The mailboxes that have the names now are watched, also if a name moves to another mailbox later.
    /// Events have the numbers: [`mailbox_number`](Client::mailbox_number) tells which number belongs to a
    /// name.
    ///
    /// A second watch of a mailbox replaces the first.
    ///
    /// ```no_run
    /// use dipc_client::Event;
    ///
    /// # let mut client = dipc_client::Client::open("dipc://localhost:5000")?;
    /// client.put(2, "one")?;
    /// client.put(2, "two")?;
    /// assert_eq!(client.watch(&[2], Some(0))?, [0]);
    /// for (expected, event) in ["one", "two"].into_iter().zip(client.events()) {
    ///     let Event::Message { data, lost: 0, .. } = event? else { panic!("no message") };
    ///     assert_eq!(data, expected.as_bytes());
    /// }
    /// # Ok::<(), dipc_client::Error>(())
    /// ```
    pub fn watch(&mut self, mailboxes: impl Into<Mailboxes>, after: Option<u64>) -> Result<Vec<u64>, Error> {
        let mailboxes = self.mailbox_numbers(mailboxes)?;
        let request = Encoder::new("watch").mailboxes(&mailboxes)?.key("after", after);
        let versions = self.request(request, |reply| {
            let versions = reply.numbers("v")?;
            (reply.kind == FrameKind::Ok && versions.len() == mailboxes.len()).then_some(versions)
        })?;
        for (&mailbox, &version) in mailboxes.iter().zip(&versions) {
            self.events.watch(mailbox, version);
        }
        Ok(versions)
    }

    /// Ends the watches of these mailboxes and discards their queued messages. A name means the mailbox that
    /// has it now. An empty slice ends every watch.
    ///
    /// ```no_run
    /// # let mut client = dipc_client::Client::open("dipc://localhost:5000")?;
    /// client.watch(&[2], None)?;
    /// client.put(2, "one")?;
    /// client.unwatch(&[])?;
    /// assert!(client.event(None)?.is_none());
    /// # Ok::<(), dipc_client::Error>(())
    /// ```
    pub fn unwatch(&mut self, mailboxes: impl Into<Mailboxes>) -> Result<(), Error> {
        let mailboxes = self.mailbox_numbers(mailboxes)?;
        self.request(Encoder::new("unwatch").mailboxes_or_all(&mailboxes)?, Frame::ok)?;
        let watched = self.events.watched.clone();
        let is_selected = |mailbox: &u32| mailboxes.is_empty() || mailboxes.contains(mailbox);
        watched.into_keys().filter(is_selected).for_each(|mailbox| self.events.unwatch(mailbox));
        Ok(())
    }

    /// Returns the oldest event. Waits for an event at most `wait`, regardless of the
    /// [timeout](Client::set_timeout). A `wait` of `None` is no limit.
    ///
    /// The result is `None` when no event arrives within the wait. If no mailbox is watched or locked, and
    /// no message is in hand, no event can arrive, and the result is `None` at once.
    ///
    /// The queue holds 64 MiB of events. When it is full, the oldest messages are dropped, and the next event
    /// of the same mailbox counts them in `lost`.
    ///
    /// ```no_run
    /// use std::time::Duration;
    ///
    /// # let mut client = dipc_client::Client::open("dipc://localhost:5000")?;
    /// client.watch(&[2], None)?;
    /// assert!(client.event(Some(Duration::from_millis(10)))?.is_none());
    /// # Ok::<(), dipc_client::Error>(())
    /// ```
    pub fn event(&mut self, wait: Option<Duration>) -> Result<Option<Event>, Error> {
        if self.events.is_idle() {
            return Ok(None);
        }
        let deadline = wait.and_then(|wait| Instant::now().checked_add(wait));
        let next = self.next_event(deadline);
        self.close_on_error(next)
    }

    /// An iterator over all events, which waits for each without limit. It ends after the first error, or
    /// when no mailbox is watched or locked any more, and no message is in hand.
    ///
    /// ```no_run
    /// # let mut client = dipc_client::Client::open("dipc://localhost:5000")?;
    /// client.watch(&[1, 2], None)?;
    /// client.write(1, "one")?;
    /// client.write(2, "two")?;
    /// for event in client.events().take(2) {
    ///     println!("{:?}", event?);
    /// }
    /// # Ok::<(), dipc_client::Error>(())
    /// ```
    pub fn events(&mut self) -> impl Iterator<Item = Result<Event, Error>> + '_ {
        let mut failed = false;
        iter::from_fn(move || {
            let event = if failed { None } else { self.event(None).transpose() };
            failed |= matches!(event, Some(Err(_)));
            event
        })
    }

    fn next_event(&mut self, deadline: Option<Instant>) -> Result<Option<Event>, Error> {
        let mut is_over = false;
        loop {
            if let Some(event) = self.events.pop() {
                return Ok(Some(event));
            }
            if self.channel.closed {
                return Err(Error::closed());
            }
            // The only reply without a request is the `ERR` of a server that stops.
            match self.channel.next_reply(&mut self.events)? {
                Some(reply) if reply.kind == FrameKind::Err => return Err(Error::from_err(reply)),
                Some(_) => return Err(Error::Protocol("a reply without a request".to_owned())),
                None => {}
            }
            if let Some(event) = self.events.pop() {
                return Ok(Some(event));
            }
            // A part of an event does not extend the wait. It stays in the buffer for the next call.
            if is_over || !self.channel.receive_until(deadline)? {
                return Ok(None);
            }
            is_over = deadline.is_some_and(|deadline| deadline <= Instant::now());
        }
    }
}
