//! Watching, and what a watch brings.

use std::time::{Duration, Instant};

use super::encoder::Encoder;
use super::frame::{Frame, FrameKind};
use super::{Client, Error, Event};

impl Client {
    /// Watches these mailboxes from now on, or behind version `after`; the versions where it begins, in their order.
    /// A second watch of a mailbox takes the place of the first.
    ///
    /// ```no_run
    /// use dipc_client::Event;
    ///
    /// # let mut client = dipc_client::Client::open("dipc://localhost:5000")?;
    /// client.put(2, "one")?;
    /// client.put(2, "two")?;
    /// assert_eq!(client.watch(&[2], Some(0))?, [0]);
    /// for (data, event) in ["one", "two"].into_iter().zip(client.events()) {
    ///     let Event::Message { data: found, lost: 0, .. } = event? else { panic!("no message") };
    ///     assert_eq!(found, data.as_bytes());
    /// }
    /// # Ok::<(), dipc_client::Error>(())
    /// ```
    pub fn watch(&mut self, mailboxes: &[u32], after: Option<u64>) -> Result<Vec<u64>, Error> {
        let request = Encoder::new("watch").mailboxes(mailboxes)?.key("after", after);
        let asked = |frame: Frame| {
            let due = frame.kind == FrameKind::Ok;
            frame.numbers("v").filter(|versions| due && versions.len() == mailboxes.len())
        };
        let versions = self.request(request, asked)?;
        mailboxes.iter().for_each(|&mailbox| self.events.watch(mailbox));
        Ok(versions)
    }

    /// Ends the watch of these mailboxes, or of all without any. EventQueue of them that were kept are gone.
    ///
    /// ```no_run
    /// # let mut client = dipc_client::Client::open("dipc://localhost:5000")?;
    /// client.watch(&[2], None)?;
    /// client.put(2, "one")?;
    /// client.unwatch(&[])?;
    /// assert!(client.event(None)?.is_none());
    /// # Ok::<(), dipc_client::Error>(())
    /// ```
    pub fn unwatch(&mut self, mailboxes: &[u32]) -> Result<(), Error> {
        self.request(Encoder::new("unwatch").mailboxes_or_all(mailboxes)?, Frame::ok)?;
        let watched = self.events.watched.clone();
        let meant = |mailbox: &u32| mailboxes.is_empty() || mailboxes.contains(mailbox);
        watched.into_iter().filter(meant).for_each(|mailbox| self.events.unwatch(mailbox));
        Ok(())
    }

    /// The next event, those first that were kept; waits `within`, whatever the timeout, or without end. `None` when
    /// there was none in time, or when there can be none: nothing is watched or locked.
    ///
    /// Kept are 64 MiB. Of more the oldest go, and the next event of that mailbox counts them as lost.
    ///
    /// ```no_run
    /// use std::time::Duration;
    ///
    /// # let mut client = dipc_client::Client::open("dipc://localhost:5000")?;
    /// client.watch(&[2], None)?;
    /// assert!(client.event(Some(Duration::from_millis(10)))?.is_none());
    /// # Ok::<(), dipc_client::Error>(())
    /// ```
    pub fn event(&mut self, within: Option<Duration>) -> Result<Option<Event>, Error> {
        if self.events.is_idle() {
            return Ok(None);
        }
        let deadline = within.and_then(|within| Instant::now().checked_add(within));
        let next = self.next_event(deadline);
        self.close_on_error(next)
    }

    /// The events from now on, for ever: until an error, which is the last, or until nothing is watched or locked.
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
        std::iter::from_fn(move || {
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
            // Without a request there is no answer, but that the server is stopping.
            match self.channel.next_reply(&mut self.events)? {
                Some(frame) if frame.kind == FrameKind::Err => return Err(Error::from_err(frame)),
                Some(_) => return Err(Error::Protocol("a reply without a request".to_owned())),
                None => {}
            }
            if let Some(event) = self.events.pop() {
                return Ok(Some(event));
            }
            // What comes byte by byte is no reason to wait longer; it is kept.
            if is_over || !self.channel.receive_until(deadline)? {
                return Ok(None);
            }
            is_over = deadline.is_some_and(|deadline| deadline <= Instant::now());
        }
    }
}
