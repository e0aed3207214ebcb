//! The requests `hello`, `stat`, `ping` and `help`.

use super::channel::greeting;
use super::encoder::Encoder;
use super::frame::Frame;
use super::{Client, Error, Hello, Mailbox, Stat, Topic};

/// The longest name of a connection in bytes, as the protocol specifies it.
const NAME_MAX: usize = 64;

impl Client {
    /// Asks for the counters and the state of the server, of a mailbox, of all connections or of all locks,
    /// or for all names of mailboxes.
    ///
    /// ```no_run
    /// use dipc_client::Topic;
    ///
    /// # let mut client = dipc_client::Client::open("dipc://localhost:5000")?;
    /// client.hello(Some("anna"))?;
    /// assert_eq!(client.stat(Topic::Server)?.number("mailboxes"), Some(4));
    /// assert_eq!(client.stat(Topic::Mailbox(3))?.value("held"), Some("free"));
    /// let connections = client.stat(Topic::Connections)?;
    /// assert_eq!(connections.lines().next().and_then(|line| line.field("name")), Some("anna"));
    /// # Ok::<(), dipc_client::Error>(())
    /// ```
    ///
    /// The server answers about all connections, locks or names in parts. This function asks for all of them.
    pub fn stat(&mut self, topic: Topic) -> Result<Stat, Error> {
        let (mut text, mut from) = (String::new(), None);
        loop {
            let part = |reply: Frame| {
                let more = reply.number("more");
                Some((reply.into_text()?, more))
            };
            let (part, more) = self.request(topic.encoder().key("from", from), part)?;
            text.push_str(&part);
            if more.is_none() {
                return Ok(Stat::new(text));
            }
            from = more;
        }
    }

    /// Asks for the state of a mailbox. The first lines are `mailbox`, its number, and `name`, which is `-`
    /// if it has none.
    ///
    /// ```no_run
    /// # let mut client = dipc_client::Client::open("dipc://localhost:5000")?;
    /// client.set_mailbox_name(2, Some("jobs"))?;
    /// let stat = client.stat_mailbox("jobs")?;
    /// assert_eq!((stat.number("mailbox"), stat.value("name")), (Some(2), Some("jobs")));
    /// # Ok::<(), dipc_client::Error>(())
    /// ```
    pub fn stat_mailbox(&mut self, mailbox: impl Into<Mailbox>) -> Result<Stat, Error> {
        let request = Encoder::new("stat").word("box").mailbox(&mailbox.into())?;
        self.request(request, Frame::into_text).map(Stat::new)
    }

    /// Asks for the properties of the server, and sets the name that `stat` shows for this connection.
    ///
    /// A name is 1 to 64 bytes of printable ASCII without spaces. Another name fails with [`Error::Io`] of
    /// kind [`InvalidInput`](std::io::ErrorKind::InvalidInput). Without a name, the connection keeps its
    /// name.
    ///
    /// ```no_run
    /// # let mut client = dipc_client::Client::open("dipc://localhost:5000")?;
    /// let hello = client.hello(Some("anna"))?;
    /// assert_eq!((hello.mailboxes, hello.size, hello.packet), (4, 65536, 8192));
    /// # Ok::<(), dipc_client::Error>(())
    /// ```
    pub fn hello(&mut self, name: Option<&str>) -> Result<Hello, Error> {
        name.map_or(Ok(()), check_name)?;
        // The first request of a connection sets its name even if it is this one.
        let request = greeting(name.or(self.name.as_deref()));
        let hello = self.request(request, Hello::from_reply)?;
        self.name = name.map(str::to_owned).or(self.name.take());
        Ok(hello)
    }

    /// Returns when the server has replied. Like every request, `ping` renews the leases of this connection's
    /// locks and messages in hand.
    ///
    /// ```no_run
    /// # let mut client = dipc_client::Client::open("dipc://localhost:5000")?;
    /// client.ping()?;
    /// # Ok::<(), dipc_client::Error>(())
    /// ```
    pub fn ping(&mut self) -> Result<(), Error> {
        self.request(Encoder::new("ping"), Frame::ok)
    }

    /// Asks for the server's summary of its protocol.
    ///
    /// ```no_run
    /// # let mut client = dipc_client::Client::open("dipc://localhost:5000")?;
    /// assert!(client.help()?.contains("take BOX"));
    /// # Ok::<(), dipc_client::Error>(())
    /// ```
    pub fn help(&mut self) -> Result<String, Error> {
        self.request(Encoder::new("help"), Frame::into_text)
    }
}

/// Fails if the server would refuse this name.
pub(super) fn check_name(name: &str) -> Result<(), Error> {
    match (1..=NAME_MAX).contains(&name.len()) && name.bytes().all(|byte| byte.is_ascii_graphic()) {
        true => Ok(()),
        false => Err(Error::invalid_input("a name is one word of printable ASCII, at most 64 bytes")),
    }
}
