//! [`Client`]: connecting, and the exchange of one request for one reply.

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
use super::{Address, Error, address, info};

/// One connection to a server. Its locks and watches end with it, and its messages in hand are given back.
///
/// # Waits
///
/// `wait` limits how long the server delays a request whose mailbox is locked or busy, or lacks the message
/// or the room that the request needs. `None` is the server's default (30 s unless configured),
/// [`Duration::ZERO`] fails at once and [`Duration::MAX`] waits without limit. The client's own
/// [timeout](Client::set_timeout) is independent of the wait and should be longer.
///
/// # Errors
///
/// Every request can fail with each variant of [`Error`]; the documentation of a method names only the
/// reasons specific to it. The connection is closed after [`Error::Io`] and [`Error::Protocol`], and after
/// [`Error::Refused`] with [`Code::Frame`](crate::Code::Frame), [`Code::Busy`](crate::Code::Busy),
/// [`Code::Drain`](crate::Code::Drain) or [`Code::Internal`](crate::Code::Internal): otherwise a late reply
/// could be taken for the reply to the next request. The only exception is `Error::Io` of kind
/// [`InvalidInput`](std::io::ErrorKind::InvalidInput): that request was not sent.
#[derive(Debug)]
pub struct Client {
    pub(super) channel: Channel,
    pub(super) events: EventQueue,
    /// Where [`Client::reconnect`] connects to.
    pub(super) address: Address,
    /// The `life=` of the server's mailboxes, if the server has told it.
    pub(super) life: Option<u64>,
    /// The name that `stat` shows for this connection.
    pub(super) name: Option<String>,
}

impl Client {
    /// Connects over TCP to the first address that accepts the connection. `TCP_NODELAY` is set.
    ///
    /// ```no_run
    /// use dipc_client::Client;
    ///
    /// let mut client = Client::connect(("localhost", 5000))?;
    /// client.ping()?;
    /// # Ok::<(), dipc_client::Error>(())
    /// ```
    pub fn connect(address: impl ToSocketAddrs) -> Result<Self, Error> {
        let (socket, peer) = address::connect_tcp(address, None)?;
        let address = Address::Tcp { host: peer.ip().to_string(), port: peer.port() };
        Ok(Client::from_socket(socket, address))
    }

    /// Connects to the Unix-domain socket of `dipc --unix PATH`.
    ///
    /// ```no_run
    /// use dipc_client::Client;
    ///
    /// Client::connect_unix("/run/dipc.sock")?.ping()?;
    /// # Ok::<(), dipc_client::Error>(())
    /// ```
    pub fn connect_unix(path: impl AsRef<Path>) -> Result<Self, Error> {
        let address = Address::Unix(path.as_ref().to_owned());
        Ok(Client::from_socket(Socket::Unix(UnixStream::connect(path)?), address))
    }

    /// Connects to a URL, `dipc://HOST:PORT` or `dipc+unix:///PATH`. [`Address`] defines the format.
    ///
    /// A malformed URL is [`Error::Io`] of kind [`InvalidInput`](std::io::ErrorKind::InvalidInput).
    ///
    /// ```no_run
    /// use dipc_client::{Client, Error};
    ///
    /// Client::open("dipc://localhost:5000")?.ping()?;
    /// assert!(matches!(Client::open("dipc+unix:///no/such/socket"), Err(Error::Io(_))));
    /// # Ok::<(), dipc_client::Error>(())
    /// ```
    pub fn open(url: &str) -> Result<Self, Error> {
        url.parse::<Address>().map_err(|why| Error::invalid_input(&why))?.connect(None)
    }

    pub(super) fn from_socket(socket: Socket, address: Address) -> Self {
        Client {
            channel: Channel::new(socket),
            events: EventQueue::default(),
            address,
            life: None,
            name: None,
        }
    }

    /// Limits how long a request may go without any byte sent or received. `None`, the initial value, is no
    /// limit. Times shorter than 1 ms are raised to 1 ms.
    ///
    /// A request that exceeds the limit fails with [`Error::Io`] of kind
    /// [`TimedOut`](std::io::ErrorKind::TimedOut), which closes the connection.
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

    /// The timeout in effect, as [`set_timeout`](Client::set_timeout) has set it.
    pub fn timeout(&self) -> Option<Duration> {
        self.channel.timeout
    }

    /// Sets the name that `stat` shows for this connection. It is sent in front of the first request, without
    /// a round trip of its own, and again by [`reconnect`](Client::reconnect). After the first request, use
    /// [`hello`](Client::hello).
    ///
    /// A name is 1 to 64 bytes of printable ASCII without spaces. Another name is [`Error::Io`] of kind
    /// [`InvalidInput`](std::io::ErrorKind::InvalidInput).
    ///
    /// ```no_run
    /// use dipc_client::{Client, Topic};
    ///
    /// let mut client = Client::open("dipc://localhost:5000")?;
    /// client.set_name("anna")?;
    /// let connections = client.stat(Topic::Connections)?;
    /// assert_eq!(connections.lines().next().and_then(|line| line.field("name")), Some("anna"));
    /// # Ok::<(), dipc_client::Error>(())
    /// ```
    pub fn set_name(&mut self, name: &str) -> Result<(), Error> {
        info::check_name(name)?;
        self.name = Some(name.to_owned());
        Ok(())
    }

    /// The name of this connection, as [`set_name`](Client::set_name) or [`hello`](Client::hello) has set it.
    pub fn name(&self) -> Option<&str> {
        self.name.as_deref()
    }

    /// The locked mailboxes of this connection, as far as this client knows, each with its fencing token.
    pub fn locks(&self) -> impl Iterator<Item = (u32, u64)> {
        self.events.locked.iter().map(|(&mailbox, &fencing_token)| (mailbox, fencing_token))
    }

    /// The random number that was made with the mailboxes of this server. None: no request was answered yet,
    /// or the server is an older one.
    pub fn life(&self) -> Option<u64> {
        self.life
    }

    /// Whether an error has closed this connection. Every further request fails.
    pub fn is_closed(&self) -> bool {
        self.channel.closed
    }

    /// Sends `q` and closes the connection. Dropping the client closes it, too.
    ///
    /// ```no_run
    /// # let client = dipc_client::Client::open("dipc://localhost:5000")?;
    /// client.quit();
    /// # Ok::<(), dipc_client::Error>(())
    /// ```
    pub fn quit(mut self) {
        self.channel.quit();
    }

    /// Sends a request and receives its reply. Returns the result of `decode` for an `OK` or `DATA`. `None`
    /// from `decode` is an [`Error::Protocol`].
    pub(super) fn request<T>(
        &mut self,
        request: Encoder,
        decode: impl FnOnce(Frame) -> Option<T>,
    ) -> Result<T, Error> {
        if self.channel.closed {
            return Err(Error::closed());
        }
        let bytes = request.encode()?;
        let reply = self.channel.exchange(&bytes, self.name.as_deref(), &mut self.events, &mut self.life);
        let result = reply.and_then(|reply| match reply.kind {
            FrameKind::No => Err(Error::from_no(reply)),
            FrameKind::Err => Err(Error::from_err(reply)),
            _ => decode(reply)
                .ok_or_else(|| Error::Protocol("a reply of another kind was expected".to_owned())),
        });
        self.close_on_error(result)
    }

    pub(super) fn close_on_error<T>(&mut self, result: Result<T, Error>) -> Result<T, Error> {
        if result.as_ref().is_err_and(Error::closes_connection) {
            self.channel.close();
        }
        result
    }
}

impl AsFd for Client {
    /// The socket, for `poll`: when it is readable, call [`event`](Client::event).
    ///
    /// Queued events do not make the socket readable. Call `event` with a wait of zero until it returns
    /// `None`, then poll.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.channel.as_fd()
    }
}
