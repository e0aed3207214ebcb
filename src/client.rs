//! A client of dipc: blocking, one connection, nothing but the standard library.
//!
//! ```
//! use std::time::Duration;
//! use dipc::client::{Client, Event};
//!
//! # let server = dipc::client::example();
//! # let url = server.url();
//! let mut client = Client::open(&url)?; // "dipc://localhost:5000"
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
//! # Ok::<(), dipc::client::Error>(())
//! ```
//!
//! A [`Client`] is one connection, and for one thread at a time. Every request waits for its answer; events that come in
//! between are kept for [`Client::event`]. Whatever a server sends, it ends in an [`Error`] and never in a panic, and no
//! answer is believed to be longer than a mailbox can be.
//!
//! The module knows nothing of the server's own: it speaks `docs/protocol.md`, as any other client does.

mod address;
mod answer;
mod error;
mod events;
mod example;
mod lock;
mod message;
mod options;
mod request;
mod stat;
mod stream;
mod wire;

use std::net::ToSocketAddrs;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

pub use address::Address;
pub use error::{Code, Error, Reason};
pub use events::Event;
#[doc(hidden)]
pub use example::{Example, example};
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
    /// ```
    /// use dipc::client::Client;
    ///
    /// # let server = dipc::client::example();
    /// # let port = server.port();
    /// let mut client = Client::connect(("localhost", port))?;
    /// client.ping()?;
    /// # Ok::<(), dipc::client::Error>(())
    /// ```
    pub fn connect(address: impl ToSocketAddrs) -> Result<Self, Error> {
        Ok(Client::over(address::tcp(address, None)?))
    }

    /// Connects over the Unix socket of `dipc --unix`.
    ///
    /// ```
    /// use dipc::client::Client;
    ///
    /// # let server = dipc::client::example();
    /// # let path = server.socket();
    /// Client::connect_unix(path)?.ping()?;
    /// # Ok::<(), dipc::client::Error>(())
    /// ```
    pub fn connect_unix(path: impl AsRef<Path>) -> Result<Self, Error> {
        Ok(Client::over(Stream::Unix(UnixStream::connect(path)?)))
    }

    /// Connects to a URL: `dipc://host:port` or `dipc+unix:///path`, see [`Address`].
    ///
    /// ```
    /// use dipc::client::{Client, Error};
    ///
    /// # let server = dipc::client::example();
    /// # let url = server.url();
    /// Client::open(&url)?.ping()?;
    /// assert!(matches!(Client::open("dipc+unix:///no/such/socket"), Err(Error::Io(_))));
    /// # Ok::<(), dipc::client::Error>(())
    /// ```
    pub fn open(url: &str) -> Result<Self, Error> {
        url.parse::<Address>().map_err(|why| Error::unsaid(&why))?.connect(None)
    }

    fn over(stream: Stream) -> Self {
        Client { wire: Wire::new(stream), events: Events::default() }
    }

    /// The longest silence of the server within a request, `None` for no limit, as it is at first.
    ///
    /// ```
    /// use std::time::Duration;
    /// use dipc::client::{Client, Error};
    ///
    /// # let server = dipc::client::example();
    /// let mut client = Client::open(&server.url())?;
    /// client.set_timeout(Some(Duration::from_millis(50)))?;
    /// assert!(matches!(client.take(0, Some(Duration::MAX)), Err(Error::Io(_))));
    /// assert!(client.is_closed());
    /// # Ok::<(), dipc::client::Error>(())
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

    /// The newest message; an empty mailbox gives one without bytes, with `count` 0.
    ///
    /// ```
    /// # let server = dipc::client::example();
    /// # let mut client = dipc::client::Client::open(&server.url())?;
    /// assert_eq!(client.read(3)?.count, 0);
    /// client.write(3, "hello")?;
    /// assert_eq!(client.read(3)?.data, b"hello");
    /// # Ok::<(), dipc::client::Error>(())
    /// ```
    pub fn read(&mut self, mailbox: u32) -> Result<Message, Error> {
        self.read_with(mailbox, &ReadOptions::default())
    }

    /// The newest message or a part of it, or with `after` the next one after a version.
    ///
    /// ```
    /// use dipc::client::ReadOptions;
    ///
    /// # let server = dipc::client::example();
    /// # let mut client = dipc::client::Client::open(&server.url())?;
    /// client.put(3, "hello")?;
    /// client.put(3, "world")?;
    /// let part = ReadOptions { off: Some(1), len: Some(2), ..ReadOptions::default() };
    /// assert_eq!(client.read_with(3, &part)?.data, b"or");
    /// let next = ReadOptions { after: Some(0), ..ReadOptions::default() };
    /// assert_eq!(client.read_with(3, &next)?.data, b"hello");
    /// # Ok::<(), dipc::client::Error>(())
    /// ```
    pub fn read_with(&mut self, mailbox: u32, options: &ReadOptions) -> Result<Message, Error> {
        let request = Request::new("r")
            .word(mailbox)
            .key("after", options.after)
            .key("off", options.off)
            .key("len", options.len)
            .seconds("wait", options.wait);
        self.ask(request, Message::of)
    }

    /// Replaces what the mailbox holds by this message; the new version.
    ///
    /// ```
    /// # let server = dipc::client::example();
    /// # let mut client = dipc::client::Client::open(&server.url())?;
    /// assert_eq!(client.write(3, "hello")?, 1);
    /// assert_eq!(client.write(3, [0, 10, 255])?, 2);
    /// # Ok::<(), dipc::client::Error>(())
    /// ```
    pub fn write(&mut self, mailbox: u32, data: impl AsRef<[u8]>) -> Result<u64, Error> {
        self.write_with(mailbox, data, &WriteOptions::default())
    }

    /// Writes only at a certain version, or patches the message from a byte on; the new version.
    ///
    /// ```
    /// use dipc::client::{Error, Reason, WriteOptions};
    ///
    /// # let server = dipc::client::example();
    /// # let mut client = dipc::client::Client::open(&server.url())?;
    /// client.write(3, "10")?;
    /// let first = WriteOptions { if_version: Some(0), ..WriteOptions::default() };
    /// match client.write_with(3, "11", &first) {
    ///     Err(Error::NotDone { reason: Reason::Conflict, version }) => assert_eq!(version, Some(1)),
    ///     other => panic!("{other:?}"),
    /// }
    /// # Ok::<(), dipc::client::Error>(())
    /// ```
    pub fn write_with(
        &mut self,
        mailbox: u32,
        data: impl AsRef<[u8]>,
        options: &WriteOptions,
    ) -> Result<u64, Error> {
        let data = data.as_ref();
        let request = Request::new("w")
            .word(mailbox)
            .word(data.len())
            .key("if", options.if_version)
            .key("off", options.off)
            .seconds("wait", options.wait)
            .data(data);
        self.ask(request, |answer| number(answer, "v"))
    }

    /// Adds a message at the end of the mailbox's list; waits for room.
    ///
    /// ```
    /// # let server = dipc::client::example();
    /// # let mut client = dipc::client::Client::open(&server.url())?;
    /// client.put(2, "one")?;
    /// assert_eq!(client.put(2, "two")?.count, 2);
    /// # Ok::<(), dipc::client::Error>(())
    /// ```
    pub fn put(&mut self, mailbox: u32, data: impl AsRef<[u8]>) -> Result<Put, Error> {
        self.put_with(mailbox, data, &PutOptions::default())
    }

    /// Adds a message; where there is no room, the oldest go or it waits.
    ///
    /// ```
    /// use dipc::client::PutOptions;
    ///
    /// # let server = dipc::client::example();
    /// # let mut client = dipc::client::Client::open(&server.url())?;
    /// for _ in 0..10 {
    ///     client.put_with(2, [b'x'; 8000], &PutOptions { drop: true, ..PutOptions::default() })?;
    /// }
    /// assert_eq!(client.read(2)?.count, 8); // as many as fit into 64 kB
    /// # Ok::<(), dipc::client::Error>(())
    /// ```
    pub fn put_with(
        &mut self,
        mailbox: u32,
        data: impl AsRef<[u8]>,
        options: &PutOptions,
    ) -> Result<Put, Error> {
        let data = data.as_ref();
        let request = Request::new("put")
            .word(mailbox)
            .word(data.len())
            .key("full", options.drop.then_some("drop"))
            .seconds("wait", options.wait)
            .data(data);
        self.ask(request, |answer| Some(Put { count: answer.number("n")?, version: number(answer, "v")? }))
    }

    /// Removes the oldest message and returns it; waits for one.
    ///
    /// ```
    /// use std::time::Duration;
    /// use dipc::client::{Error, Reason};
    ///
    /// # let server = dipc::client::example();
    /// # let mut client = dipc::client::Client::open(&server.url())?;
    /// client.put(2, "a job")?;
    /// assert_eq!(client.take(2, None)?.data, b"a job");
    /// match client.take(2, Some(Duration::ZERO)) {
    ///     Err(Error::NotDone { reason, .. }) => assert_eq!(reason, Reason::Empty),
    ///     other => panic!("{other:?}"),
    /// }
    /// # Ok::<(), dipc::client::Error>(())
    /// ```
    pub fn take(&mut self, mailbox: u32, wait: Option<Duration>) -> Result<Message, Error> {
        self.ask(Request::new("take").word(mailbox).seconds("wait", wait), Message::of)
    }

    /// Locks these mailboxes, all or none, until the [`Lock`] is dropped or its connection ends.
    ///
    /// ```
    /// # let server = dipc::client::example();
    /// # let mut client = dipc::client::Client::open(&server.url())?;
    /// let mut lock = client.lock(&[1, 3])?;
    /// let message = lock.read(3)?;
    /// lock.write(1, message.data)?;
    /// # Ok::<(), dipc::client::Error>(())
    /// ```
    pub fn lock(&mut self, mailboxes: &[u32]) -> Result<Lock<'_>, Error> {
        self.lock_with(mailboxes, &LockOptions::default())
    }

    /// Locks these mailboxes, shared with readers or with a lease of one's own.
    ///
    /// ```
    /// use dipc::client::{Client, LockOptions};
    ///
    /// # let server = dipc::client::example();
    /// # let mut client = Client::open(&server.url())?;
    /// let shared = LockOptions { shared: true, ..LockOptions::default() };
    /// let _lock = client.lock_with(&[3], &shared)?;
    /// let mut other = Client::open(&server.url())?;
    /// other.read(3)?;
    /// other.lock_with(&[3], &shared)?.unlock()?;
    /// # Ok::<(), dipc::client::Error>(())
    /// ```
    pub fn lock_with(&mut self, mailboxes: &[u32], options: &LockOptions) -> Result<Lock<'_>, Error> {
        let request = Request::new("lock")
            .list(mailboxes)?
            .flag("r", options.shared)
            .seconds("ttl", options.ttl)
            .seconds("wait", options.wait);
        let grant = self.ask(request, |answer| number(answer, "grant"))?;
        self.events.locked.extend(mailboxes.iter().map(|&mailbox| (mailbox, grant)));
        Ok(Lock::new(self, mailboxes, grant))
    }

    /// Unlocks these mailboxes, all or none, or without any all that this connection has locked; with a grant, only
    /// those that were locked with it. [`Code::Lease`] when there is one that is not, or no longer, locked.
    ///
    /// ```
    /// # let server = dipc::client::example();
    /// # let mut client = dipc::client::Client::open(&server.url())?;
    /// let grant = client.lock(&[3])?.keep();
    /// client.unlock(&[3], Some(grant))?;
    /// client.unlock(&[], None)?;
    /// # Ok::<(), dipc::client::Error>(())
    /// ```
    pub fn unlock(&mut self, mailboxes: &[u32], grant: Option<u64>) -> Result<(), Error> {
        let request = Request::new("unlock").list_or_all(mailboxes)?.key("grant", grant);
        let unlocked = self.ask(request, done);
        // `*` unlocks the others even when one had run out.
        let lease = matches!(unlocked, Err(Error::Refused { code: Code::Lease, .. }));
        if unlocked.is_ok() || (lease && mailboxes.is_empty()) {
            self.events.locked.retain(|mailbox, of| {
                let meant = mailboxes.is_empty() || mailboxes.contains(mailbox);
                !(meant && grant.is_none_or(|grant| grant == *of))
            });
        }
        unlocked
    }

    /// Watches these mailboxes from now on, or behind version `after`; the versions where it begins, in their order.
    /// A second watch of a mailbox takes the place of the first.
    ///
    /// ```
    /// use dipc::client::Event;
    ///
    /// # let server = dipc::client::example();
    /// # let mut client = dipc::client::Client::open(&server.url())?;
    /// client.put(2, "one")?;
    /// client.put(2, "two")?;
    /// assert_eq!(client.watch(&[2], Some(0))?, [0]);
    /// for (data, event) in ["one", "two"].into_iter().zip(client.events()) {
    ///     let Event::Message { data: found, lost: 0, .. } = event? else { panic!("no message") };
    ///     assert_eq!(found, data.as_bytes());
    /// }
    /// # Ok::<(), dipc::client::Error>(())
    /// ```
    pub fn watch(&mut self, mailboxes: &[u32], after: Option<u64>) -> Result<Vec<u64>, Error> {
        let request = Request::new("watch").list(mailboxes)?.key("after", after);
        let asked = |answer: Answer| {
            let due = answer.kind == Kind::Ok;
            answer.numbers("v").filter(|versions| due && versions.len() == mailboxes.len())
        };
        let versions = self.ask(request, asked)?;
        mailboxes.iter().for_each(|&mailbox| self.events.watch(mailbox));
        Ok(versions)
    }

    /// Ends the watch of these mailboxes, or of all without any. Events of them that were kept are gone.
    ///
    /// ```
    /// # let server = dipc::client::example();
    /// # let mut client = dipc::client::Client::open(&server.url())?;
    /// client.watch(&[2], None)?;
    /// client.put(2, "one")?;
    /// client.unwatch(&[])?;
    /// assert!(client.event(None)?.is_none());
    /// # Ok::<(), dipc::client::Error>(())
    /// ```
    pub fn unwatch(&mut self, mailboxes: &[u32]) -> Result<(), Error> {
        self.ask(Request::new("unwatch").list_or_all(mailboxes)?, done)?;
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
    /// ```
    /// use std::time::Duration;
    ///
    /// # let server = dipc::client::example();
    /// # let mut client = dipc::client::Client::open(&server.url())?;
    /// client.watch(&[2], None)?;
    /// assert!(client.event(Some(Duration::from_millis(10)))?.is_none());
    /// # Ok::<(), dipc::client::Error>(())
    /// ```
    pub fn event(&mut self, within: Option<Duration>) -> Result<Option<Event>, Error> {
        if self.events.is_idle() {
            return Ok(None);
        }
        let deadline = within.and_then(|within| Instant::now().checked_add(within));
        let next = self.next_event(deadline);
        self.closing(next)
    }

    /// The events from now on, for ever: until an error, which is the last, or until nothing is watched or locked.
    ///
    /// ```
    /// # let server = dipc::client::example();
    /// # let mut client = dipc::client::Client::open(&server.url())?;
    /// client.watch(&[1, 2], None)?;
    /// client.write(1, "one")?;
    /// client.write(2, "two")?;
    /// for event in client.events().take(2) {
    ///     println!("{:?}", event?);
    /// }
    /// # Ok::<(), dipc::client::Error>(())
    /// ```
    pub fn events(&mut self) -> impl Iterator<Item = Result<Event, Error>> + '_ {
        let mut failed = false;
        std::iter::from_fn(move || {
            let event = if failed { None } else { self.event(None).transpose() };
            failed |= matches!(event, Some(Err(_)));
            event
        })
    }

    /// What the server counts.
    ///
    /// ```
    /// use dipc::client::Topic;
    ///
    /// # let server = dipc::client::example();
    /// # let mut client = dipc::client::Client::open(&server.url())?;
    /// client.hello(Some("anna"))?;
    /// assert_eq!(client.stat(Topic::Server)?.number("mailboxes"), Some(4));
    /// assert_eq!(client.stat(Topic::Mailbox(3))?.value("held"), Some("free"));
    /// let connections = client.stat(Topic::Connections)?;
    /// assert_eq!(connections.lines().next().and_then(|line| line.field("name")), Some("anna"));
    /// # Ok::<(), dipc::client::Error>(())
    /// ```
    pub fn stat(&mut self, topic: Topic) -> Result<Stat, Error> {
        self.ask(topic.request(), |answer| text(answer).map(Stat::new))
    }

    /// Introduces this connection: `name`, one word of at most 64 bytes, is shown by `stat`.
    ///
    /// ```
    /// # let server = dipc::client::example();
    /// # let mut client = dipc::client::Client::open(&server.url())?;
    /// let hello = client.hello(Some("anna"))?;
    /// assert_eq!((hello.mailboxes, hello.size, hello.packet), (4, 65536, 8192));
    /// # Ok::<(), dipc::client::Error>(())
    /// ```
    pub fn hello(&mut self, name: Option<&str>) -> Result<Hello, Error> {
        if name.is_some_and(|name| name.is_empty() || !name.bytes().all(|byte| byte.is_ascii_graphic())) {
            return Err(Error::unsaid("a name is one word of printable ASCII"));
        }
        self.ask(Request::new("hello").key("name", name), Hello::of)
    }

    /// Returns when the server has answered.
    ///
    /// ```
    /// # let server = dipc::client::example();
    /// # let mut client = dipc::client::Client::open(&server.url())?;
    /// client.ping()?;
    /// # Ok::<(), dipc::client::Error>(())
    /// ```
    pub fn ping(&mut self) -> Result<(), Error> {
        self.ask(Request::new("ping"), done)
    }

    /// The server's own page on its protocol.
    ///
    /// ```
    /// # let server = dipc::client::example();
    /// # let mut client = dipc::client::Client::open(&server.url())?;
    /// assert!(client.help()?.contains("take BOX"));
    /// # Ok::<(), dipc::client::Error>(())
    /// ```
    pub fn help(&mut self) -> Result<String, Error> {
        self.ask(Request::new("help"), text)
    }

    /// Takes leave and closes; without it, a connection ends just as well.
    ///
    /// ```
    /// # let server = dipc::client::example();
    /// # let client = dipc::client::Client::open(&server.url())?;
    /// client.quit();
    /// # Ok::<(), dipc::client::Error>(())
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

    fn next_event(&mut self, deadline: Option<Instant>) -> Result<Option<Event>, Error> {
        loop {
            if let Some(event) = self.events.next() {
                return Ok(Some(event));
            }
            if self.wire.closed {
                return Err(Error::closed());
            }
            // Without a request there is no answer, but that the server is stopping.
            match self.wire.cut(&mut self.events)? {
                Some(answer) if answer.kind == Kind::Err => return Err(Error::refused(answer)),
                Some(_) => return Err(Error::Protocol("an answer that nobody asked for".to_owned())),
                None => {}
            }
            if let Some(event) = self.events.next() {
                return Ok(Some(event));
            }
            if !self.wire.receive_until(deadline)? {
                return Ok(None);
            }
        }
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

/// The number in an `OK`.
fn number(answer: Answer, name: &str) -> Option<u64> {
    answer.number(name).filter(|_| answer.kind == Kind::Ok)
}

fn done(answer: Answer) -> Option<()> {
    (answer.kind == Kind::Ok).then_some(())
}

fn text(answer: Answer) -> Option<String> {
    (answer.kind == Kind::Data).then(|| String::from_utf8_lossy(&answer.data).into_owned())
}
