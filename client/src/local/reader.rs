//! [`Reader`]: reads in the shared memory, and asks the server where that is not possible.

use std::time::{Duration, Instant};

use super::{Local, Miss};
use crate::{Client, Error, Message};

/// The time between two tries to open mailboxes that were replaced.
const REOPEN: Duration = Duration::from_secs(1);

/// A local reader with a connection. A read that the shared memory refuses is a request `r` on the
/// connection, in the queue of the mailbox.
///
/// The connection should be the one with which the program locks mailboxes: the server lets the holder of a
/// lock read, and other connections wait for it.
///
/// ```no_run
/// use dipc_client::Client;
/// use dipc_client::local::{Local, Reader};
///
/// let mut reader = Reader::new(Local::open(5000)?, Client::open("dipc://localhost:5000")?);
/// println!("version {}", reader.read(3)?.version);
/// let lock = reader.client().lock(3)?;
/// # drop(lock);
/// # Ok::<(), dipc_client::Error>(())
/// ```
#[derive(Debug)]
pub struct Reader {
    local: Local,
    client: Client,
    retry_at: Option<Instant>,
}

impl Reader {
    /// A reader of the mailboxes of `local`, which are those of the server that `client` is connected to.
    pub fn new(local: Local, client: Client) -> Self {
        Reader { local, client, retry_at: None }
    }

    /// Reads the newest message. For an empty mailbox the result has no bytes and its `count` is 0. Fails as
    /// [`Client::read`] does, if it has to ask the server.
    pub fn read(&mut self, mailbox: u32) -> Result<Message, Error> {
        let mut data = Vec::new();
        let mut copied = self.local.read(mailbox, &mut data);
        if copied == Err(Miss::Retired) && self.reopen() {
            copied = self.local.read(mailbox, &mut data);
        }
        match copied {
            Ok(copied) => {
                Ok(Message { data, version: copied.version, count: copied.count, lost: copied.lost })
            }
            Err(_) => self.client.read(mailbox),
        }
    }

    /// The connection, for all other requests.
    pub fn client(&mut self) -> &mut Client {
        &mut self.client
    }

    /// The local reader.
    pub fn local(&self) -> &Local {
        &self.local
    }

    /// Both parts.
    pub fn into_parts(self) -> (Local, Client) {
        (self.local, self.client)
    }

    fn reopen(&mut self) -> bool {
        let now = Instant::now();
        if self.retry_at.is_some_and(|at| now < at) {
            return false;
        }
        let is_open = self.local.reopen().is_ok();
        self.retry_at = (!is_open).then(|| now + REOPEN);
        is_open
    }
}
