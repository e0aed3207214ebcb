//! A client of dipc: blocking, one connection, nothing but the standard library.
//!
//! ```no_run
//! use std::time::Duration;
//! use dipc_client::{Client, Event};
//!
//! let mut client = Client::open("dipc://localhost:5000")?;
//! let version = client.write(3, "any bytes")?;
//! let message = client.read(3)?;
//! assert_eq!((message.data.as_slice(), message.version), (b"any bytes".as_slice(), version));
//!
//! client.put(2, "a job")?;
//! assert_eq!(client.take(2, Some(Duration::from_secs(5)))?.data, b"a job");
//!
//! let mut lock = client.lock(&[1, 3])?; // nobody else is in 1 or 3
//! let both = [lock.read(3)?.data, b"!".to_vec()].concat();
//! lock.write(1, both)?;
//! lock.unlock()?; // so would the end of its scope, or of this process
//!
//! client.watch(&[0], None)?;
//! client.write(0, "it rains")?;
//! let event = client.event(Some(Duration::from_secs(5)))?;
//! assert!(matches!(event, Some(Event::Message { mailbox: 0, data, .. }) if data == b"it rains"));
//! # Ok::<(), dipc_client::Error>(())
//! ```
//!
//! A [`Client`] is one connection, and for one thread at a time. Every request waits for its answer; events that come in
//! between are kept for [`Client::event`]. Whatever a server sends, it ends in an [`Error`] and never in a panic, and no
//! answer is believed to be longer than a mailbox can be.
//!
//! The module knows nothing of the server's own: it speaks `docs/protocol.md`, as any other client does.

mod about;
mod address;
mod answer;
mod error;
mod events;
mod lock;
mod locks;
mod message;
mod messages;
mod news;
mod options;
mod request;
mod stat;
mod stream;
mod wire;

use std::net::ToSocketAddrs;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

pub use address::Address;
pub use error::{Code, Error, Reason};
pub use events::Event;
pub use lock::Lock;
pub use message::{Hello, Message, Put};
pub use options::{LockOptions, PutOptions, ReadOptions, WriteOptions};
pub use stat::{Line, Stat, Topic};

use answer::{Answer, Kind};
use events::Events;
use request::Request;
use stream::Stream;
use wire::Wire;

/// A connection to one server; its locks and watches end with it.
///
/// After [`Error::Io`], [`Error::Protocol`] and a refusal that closes ([`Code::Frame`] and those behind it), it is closed
/// for good: an answer still on its way would be taken for that of the next request.
///
/// Waits are of the server: `None` is its default (30 s unless told otherwise), zero tries once, [`Duration::MAX`] waits
/// without end. They have nothing to do with [`set_timeout`](Client::set_timeout), which should be longer than each.
#[derive(Debug)]
pub struct Client {
    wire: Wire,
    events: Events,
}

impl Client {
    /// Connects over TCP.
    ///
    /// ```no_run
    /// use dipc_client::Client;
    ///
    /// let mut client = Client::connect(("localhost", 5000))?;
    /// client.ping()?;
    /// # Ok::<(), dipc_client::Error>(())
    /// ```
    pub fn connect(address: impl ToSocketAddrs) -> Result<Self, Error> {
        Ok(Client::over(address::tcp(address, None)?))
    }

    /// Connects over the Unix socket of `dipc --unix`.
    ///
    /// ```no_run
    /// use dipc_client::Client;
    ///
    /// Client::connect_unix("/run/dipc.sock")?.ping()?;
    /// # Ok::<(), dipc_client::Error>(())
    /// ```
    pub fn connect_unix(path: impl AsRef<Path>) -> Result<Self, Error> {
        Ok(Client::over(Stream::Unix(UnixStream::connect(path)?)))
    }

    /// Connects to a URL: `dipc://host:port` or `dipc+unix:///path`, see [`Address`].
    ///
    /// ```no_run
    /// use dipc_client::{Client, Error};
    ///
    /// Client::open("dipc://localhost:5000")?.ping()?;
    /// assert!(matches!(Client::open("dipc+unix:///no/such/socket"), Err(Error::Io(_))));
    /// # Ok::<(), dipc_client::Error>(())
    /// ```
    pub fn open(url: &str) -> Result<Self, Error> {
        url.parse::<Address>().map_err(|why| Error::unsaid(&why))?.connect(None)
    }

    fn over(stream: Stream) -> Self {
        Client { wire: Wire::new(stream), events: Events::default() }
    }

    /// The longest silence of the server within a request, `None` for no limit, as it is at first.
    ///
    /// ```no_run
    /// use std::time::Duration;
    /// use dipc_client::{Client, Error};
    ///
    /// let mut client = Client::open("dipc://localhost:5000")?;
    /// client.set_timeout(Some(Duration::from_millis(50)))?;
    /// assert!(matches!(client.take(0, Some(Duration::MAX)), Err(Error::Io(_))));
    /// assert!(client.is_closed());
    /// # Ok::<(), dipc_client::Error>(())
    /// ```
    pub fn set_timeout(&mut self, timeout: Option<Duration>) -> Result<(), Error> {
        Ok(self.wire.set_timeout(timeout)?)
    }

    /// What was set with [`set_timeout`](Client::set_timeout).
    pub fn timeout(&self) -> Option<Duration> {
        self.wire.timeout
    }

    /// Whether an error has closed this connection.
    pub fn is_closed(&self) -> bool {
        self.wire.closed
    }

    /// Takes leave and closes; without it, a connection ends just as well.
    ///
    /// ```no_run
    /// # let client = dipc_client::Client::open("dipc://localhost:5000")?;
    /// client.quit();
    /// # Ok::<(), dipc_client::Error>(())
    /// ```
    pub fn quit(mut self) {
        self.wire.quit();
    }

    /// Sends a request; what its answer means, or an error if that is none of those due.
    fn ask<T>(&mut self, request: Request, meaning: impl FnOnce(Answer) -> Option<T>) -> Result<T, Error> {
        if self.wire.closed {
            return Err(Error::closed());
        }
        let bytes = request.bytes()?;
        let answered = self.wire.exchange(&bytes, &mut self.events).and_then(|answer| match answer.kind {
            Kind::No => Err(Error::not_done(answer)),
            Kind::Err => Err(Error::refused(answer)),
            _ => {
                meaning(answer).ok_or_else(|| Error::Protocol("an answer of another kind was due".to_owned()))
            }
        });
        self.closing(answered)
    }

    fn closing<T>(&mut self, result: Result<T, Error>) -> Result<T, Error> {
        if result.as_ref().is_err_and(Error::closes) {
            self.wire.close();
        }
        result
    }
}

impl AsFd for Client {
    /// The socket, to poll until it is readable and then ask for an [`event`](Client::event). Events that were kept do
    /// not make it readable: ask until there is none, then poll.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.wire.as_fd()
    }
}
