//! What the server tells about itself and its clients.

use super::encoder::Encoder;
use super::frame::Frame;
use super::{Client, Error, Hello, Stat, Topic};

impl Client {
    /// What the server counts.
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
    pub fn stat(&mut self, topic: Topic) -> Result<Stat, Error> {
        self.request(topic.encoder(), |frame| frame.into_text().map(Stat::new))
    }

    /// Introduces this connection: `name`, one word of at most 64 bytes, is shown by `stat`.
    ///
    /// ```no_run
    /// # let mut client = dipc_client::Client::open("dipc://localhost:5000")?;
    /// let hello = client.hello(Some("anna"))?;
    /// assert_eq!((hello.mailboxes, hello.size, hello.packet), (4, 65536, 8192));
    /// # Ok::<(), dipc_client::Error>(())
    /// ```
    pub fn hello(&mut self, name: Option<&str>) -> Result<Hello, Error> {
        if name.is_some_and(|name| name.is_empty() || !name.bytes().all(|byte| byte.is_ascii_graphic())) {
            return Err(Error::invalid_request("a name is one word of printable ASCII"));
        }
        self.request(Encoder::new("hello").key("name", name), Hello::from_frame)
    }

    /// Returns when the server has answered.
    ///
    /// ```no_run
    /// # let mut client = dipc_client::Client::open("dipc://localhost:5000")?;
    /// client.ping()?;
    /// # Ok::<(), dipc_client::Error>(())
    /// ```
    pub fn ping(&mut self) -> Result<(), Error> {
        self.request(Encoder::new("ping"), Frame::ok)
    }

    /// The server's own page on its protocol.
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
