//! The requests `r`, `w`, `put` and `take`.

use std::time::Duration;

use super::encoder::Encoder;
use super::{Client, Error, Mailbox, Message, Put, PutOptions, ReadOptions, WriteOptions};

impl Client {
    /// Reads the newest message. For an empty mailbox the result has no bytes and its `count` is 0.
    ///
    /// ```no_run
    /// # let mut client = dipc_client::Client::open("dipc://localhost:5000")?;
    /// assert_eq!(client.read(3)?.count, 0);
    /// client.write(3, "hello")?;
    /// assert_eq!(client.read(3)?.data, b"hello");
    /// # Ok::<(), dipc_client::Error>(())
    /// ```
    pub fn read(&mut self, mailbox: impl Into<Mailbox>) -> Result<Message, Error> {
        self.read_with(mailbox, &ReadOptions::default())
    }

    /// Reads a message or a part of it: the newest message, or with [`after`](ReadOptions::after) the oldest
    /// one newer than that version.
    ///
    /// Fails with [`Reason::Timeout`](crate::Reason::Timeout) when the mailbox is not free within the wait,
    /// or when a read with `after` finds no newer message within the wait.
    ///
    /// ```no_run
    /// use dipc_client::ReadOptions;
    ///
    /// # let mut client = dipc_client::Client::open("dipc://localhost:5000")?;
    /// client.put(3, "hello")?;
    /// client.put(3, "world")?;
    /// let part = ReadOptions { off: Some(1), len: Some(2), ..ReadOptions::default() };
    /// assert_eq!(client.read_with(3, &part)?.data, b"or");
    /// let next = ReadOptions { after: Some(0), ..ReadOptions::default() };
    /// assert_eq!(client.read_with(3, &next)?.data, b"hello");
    /// # Ok::<(), dipc_client::Error>(())
    /// ```
    pub fn read_with(
        &mut self,
        mailbox: impl Into<Mailbox>,
        options: &ReadOptions,
    ) -> Result<Message, Error> {
        let request = Encoder::new("r")
            .mailbox(&mailbox.into())?
            .key("after", options.after)
            .key("off", options.off)
            .key("len", options.len)
            .seconds("wait", options.wait);
        self.request(request, Message::from_reply)
    }

    /// Replaces all messages of the mailbox with one message, `data`. Returns the new version.
    ///
    /// Fails with [`Code::Size`](crate::Code::Size) when the data is larger than the mailbox or than the
    /// server's packet size.
    ///
    /// ```no_run
    /// # let mut client = dipc_client::Client::open("dipc://localhost:5000")?;
    /// assert_eq!(client.write(3, "hello")?, 1);
    /// assert_eq!(client.write(3, [0, 10, 255])?, 2);
    /// # Ok::<(), dipc_client::Error>(())
    /// ```
    pub fn write(&mut self, mailbox: impl Into<Mailbox>, data: impl AsRef<[u8]>) -> Result<u64, Error> {
        self.write_with(mailbox, data, &WriteOptions::default())
    }

    /// Writes with options. [`if_version`](WriteOptions::if_version) makes the write conditional on the
    /// version of the mailbox. [`off`](WriteOptions::off) patches the message from an offset. Both can be
    /// combined. Returns the new version.
    ///
    /// Fails with [`Reason::Conflict`](crate::Reason::Conflict) when the mailbox has another version than
    /// `if_version`. The [`Error::NotDone`] carries the version of the mailbox. Fails with
    /// [`Reason::Multi`](crate::Reason::Multi) when `off` is set and the mailbox has several messages.
    ///
    /// ```no_run
    /// use dipc_client::{Error, Reason, WriteOptions};
    ///
    /// # let mut client = dipc_client::Client::open("dipc://localhost:5000")?;
    /// client.write(3, "10")?;
    /// let first = WriteOptions { if_version: Some(0), ..WriteOptions::default() };
    /// match client.write_with(3, "11", &first) {
    ///     Err(Error::NotDone { reason: Reason::Conflict, version }) => assert_eq!(version, Some(1)),
    ///     other => panic!("{other:?}"),
    /// }
    /// # Ok::<(), dipc_client::Error>(())
    /// ```
    pub fn write_with(
        &mut self,
        mailbox: impl Into<Mailbox>,
        data: impl AsRef<[u8]>,
        options: &WriteOptions,
    ) -> Result<u64, Error> {
        let data = data.as_ref();
        let request = Encoder::new("w")
            .mailbox(&mailbox.into())?
            .word(data.len())
            .key("if", options.if_version)
            .key("off", options.off)
            .seconds("wait", options.wait)
            .data(data);
        self.request(request, |reply| reply.ok_number("v"))
    }

    /// Appends a message to the mailbox. Waits for room when the mailbox is full.
    ///
    /// ```no_run
    /// # let mut client = dipc_client::Client::open("dipc://localhost:5000")?;
    /// client.put(2, "one")?;
    /// assert_eq!(client.put(2, "two")?.count, 2);
    /// # Ok::<(), dipc_client::Error>(())
    /// ```
    pub fn put(&mut self, mailbox: impl Into<Mailbox>, data: impl AsRef<[u8]>) -> Result<Put, Error> {
        self.put_with(mailbox, data, &PutOptions::default())
    }

    /// Appends a message to the mailbox. When the mailbox is full, waits for room. With
    /// [`drop`](PutOptions::drop), removes the oldest messages instead.
    ///
    /// Fails with [`Reason::Full`](crate::Reason::Full) when there is no room within the wait, and with
    /// [`Reason::Timeout`](crate::Reason::Timeout) when the mailbox is not free within the wait.
    ///
    /// ```no_run
    /// use dipc_client::PutOptions;
    ///
    /// # let mut client = dipc_client::Client::open("dipc://localhost:5000")?;
    /// for _ in 0..10 {
    ///     client.put_with(2, [b'x'; 8000], &PutOptions { drop: true, ..PutOptions::default() })?;
    /// }
    /// assert_eq!(client.read(2)?.count, 8); // a mailbox of 64 kB has room for 8 of them
    /// # Ok::<(), dipc_client::Error>(())
    /// ```
    pub fn put_with(
        &mut self,
        mailbox: impl Into<Mailbox>,
        data: impl AsRef<[u8]>,
        options: &PutOptions,
    ) -> Result<Put, Error> {
        let data = data.as_ref();
        let request = Encoder::new("put")
            .mailbox(&mailbox.into())?
            .word(data.len())
            .key("full", options.drop.then_some("drop"))
            .seconds("wait", options.wait)
            .data(data);
        self.request(request, Put::from_reply)
    }

    /// Removes the oldest message and returns it. Waits for a message when the mailbox is empty.
    ///
    /// Fails with [`Reason::Empty`](crate::Reason::Empty) when there is no message within the wait, and with
    /// [`Reason::Timeout`](crate::Reason::Timeout) when the mailbox is not free within the wait.
    ///
    /// ```no_run
    /// use std::time::Duration;
    /// use dipc_client::{Error, Reason};
    ///
    /// # let mut client = dipc_client::Client::open("dipc://localhost:5000")?;
    /// client.put(2, "a job")?;
    /// assert_eq!(client.take(2, None)?.data, b"a job");
    /// match client.take(2, Some(Duration::ZERO)) {
    ///     Err(Error::NotDone { reason, .. }) => assert_eq!(reason, Reason::Empty),
    ///     other => panic!("{other:?}"),
    /// }
    /// # Ok::<(), dipc_client::Error>(())
    /// ```
    pub fn take(&mut self, mailbox: impl Into<Mailbox>, wait: Option<Duration>) -> Result<Message, Error> {
        let request = Encoder::new("take").mailbox(&mailbox.into())?.seconds("wait", wait);
        self.request(request, Message::from_reply)
    }
}
