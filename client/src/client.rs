//! The connection to a server.

use std::net::ToSocketAddrs;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use super::channel::Channel;
use super::encoder::Encoder;
use super::event_queue::EventQueue;
use super::frame::{Frame, FrameKind};
use super::socket::Socket;
use super::{Address, Error, address};

/// A connection to one server; its locks and watches end with it.
///
/// After [`Error::Io`], [`Error::Protocol`] and a refusal that closes ([`Code::Frame`] and those behind it), it is closed
/// for good: an answer still on its way would be taken for that of the next request.
///
/// Waits are of the server: `None` is its default (30 s unless told otherwise), zero tries once, [`Duration::MAX`] waits
/// without end. They have nothing to do with [`set_timeout`](Client::set_timeout), which should be longer than each.
#[derive(Debug)]
pub struct Client {
    pub(super) channel: Channel,
    pub(super) events: EventQueue,
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
        Ok(Client::from_socket(address::tcp(address, None)?))
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
        Ok(Client::from_socket(Socket::Unix(UnixStream::connect(path)?)))
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
        url.parse::<Address>().map_err(|why| Error::invalid_request(&why))?.connect(None)
    }

    pub(super) fn from_socket(stream: Socket) -> Self {
        Client { channel: Channel::new(stream), events: EventQueue::default() }
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
        Ok(self.channel.set_timeout(timeout)?)
    }

    /// What was set with [`set_timeout`](Client::set_timeout).
    pub fn timeout(&self) -> Option<Duration> {
        self.channel.timeout
    }

    /// Whether an error has closed this connection.
    pub fn is_closed(&self) -> bool {
        self.channel.closed
    }

    /// Takes leave and closes; without it, a connection ends just as well.
    ///
    /// ```no_run
    /// # let client = dipc_client::Client::open("dipc://localhost:5000")?;
    /// client.quit();
    /// # Ok::<(), dipc_client::Error>(())
    /// ```
    pub fn quit(mut self) {
        self.channel.quit();
    }

    /// Sends a request; what its answer means, or an error if that is none of those due.
    pub(super) fn request<T>(
        &mut self,
        request: Encoder,
        meaning: impl FnOnce(Frame) -> Option<T>,
    ) -> Result<T, Error> {
        if self.channel.closed {
            return Err(Error::closed());
        }
        let bytes = request.encode()?;
        let answered = self.channel.exchange(&bytes, &mut self.events).and_then(|frame| match frame.kind {
            FrameKind::No => Err(Error::from_no(frame)),
            FrameKind::Err => Err(Error::from_err(frame)),
            _ => meaning(frame)
                .ok_or_else(|| Error::Protocol("a reply of another kind was expected".to_owned())),
        });
        self.close_on_error(answered)
    }

    pub(super) fn close_on_error<T>(&mut self, result: Result<T, Error>) -> Result<T, Error> {
        if result.as_ref().is_err_and(Error::closes_connection) {
            self.channel.close();
        }
        result
    }
}

impl AsFd for Client {
    /// The socket, to poll until it is readable and then ask for an [`event`](Client::event). EventQueue that were kept do
    /// not make it readable: ask until there is none, then poll.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.channel.as_fd()
    }
}
