//! [`Client::reconnect`]: a new connection in place of one that has ended.

use std::time::Duration;

use super::encoder::Encoder;
use super::frame::{Frame, FrameKind};
use super::{Client, Error, Reason};

/// What differs after [`Client::reconnect`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reconnected {
    /// The server has other mailboxes than before, for example after `dipcrm` and a new start. Versions that
    /// the program remembers have no meaning there. The watches begin with the oldest message. They are of
    /// the same numbers as before: a program that watches by name watches again, since a name may belong to
    /// another number.
    pub is_new: bool,
}

impl Client {
    /// Connects again, to the same address, after the connection has ended. `timeout` limits the time for
    /// connecting. No request is repeated: a request whose reply was lost may have been done or not.
    ///
    /// The watches continue: the next events are the messages after the last ones that were received, and
    /// their `lost` counts those that no longer exist. The locks have ended with the connection: each of them
    /// becomes an [`Event::LockLost`](super::Event::LockLost). The messages in hand were given back with its
    /// end: each of them becomes an [`Event::JobLost`](super::Event::JobLost). A message whose `done` was not
    /// answered may be removed or not.
    ///
    /// After an error the client is closed, and `reconnect` can be called again.
    ///
    /// ```no_run
    /// use std::time::Duration;
    /// use dipc_client::{Client, Error};
    ///
    /// # let mut client = Client::open("dipc://localhost:5000")?;
    /// client.watch(&[2], None)?;
    /// loop {
    ///     match client.event(None) {
    ///         Ok(Some(event)) => println!("{event:?}"),
    ///         Ok(None) => break,
    ///         Err(_) => while client.reconnect(Some(Duration::from_secs(1))).is_err() {
    ///             std::thread::sleep(Duration::from_millis(200));
    ///         },
    ///     }
    /// }
    /// # Ok::<(), dipc_client::Error>(())
    /// ```
    pub fn reconnect(&mut self, timeout: Option<Duration>) -> Result<Reconnected, Error> {
        self.channel.close();
        self.events.lose_locks_and_jobs();
        let idle = self.channel.timeout;
        self.channel = self.address.connect(timeout)?.channel;
        self.channel.set_timeout(idle)?;
        // The name is sent again.
        let life = self.hello(None)?.life;
        let mut is_new = self.life.is_some() && self.life != life;
        for (mailbox, version) in self.events.watched.clone() {
            let version = if is_new { 0 } else { version };
            match self.watch_again(mailbox, version) {
                // The version is one of other mailboxes.
                Err(Error::NotDone { reason: Reason::Ahead, .. }) => {
                    is_new = true;
                    self.watch_again(mailbox, 0)?;
                }
                watched => watched?,
            }
        }
        self.life = life;
        Ok(Reconnected { is_new })
    }

    /// Watches a mailbox as before. Its queued messages stay.
    fn watch_again(&mut self, mailbox: u32, version: u64) -> Result<(), Error> {
        let request = Encoder::new("watch").word(mailbox).key("after", Some(version));
        self.request(request, |reply: Frame| (reply.kind == FrameKind::Ok).then_some(()))?;
        self.events.watched.insert(mailbox, version);
        Ok(())
    }
}
