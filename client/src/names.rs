//! The request `name`, and the numbers of names.

use super::encoder::Encoder;
use super::frame::Frame;
use super::mailbox::check_name;
use super::{Client, Error, Line, Mailbox, Mailboxes, Topic};

impl Client {
    /// Gives the mailbox this name, in place of the one that it had. `None` removes its name. A name is kept
    /// with the mailboxes, also after a restart of the server.
    ///
    /// A name has 1 to 64 of `a-z 0-9 _ . -` and begins with a letter. `conns`, `locks`, `names` and `r` are
    /// not names. The name of another mailbox fails with [`Reason::NameTaken`](crate::Reason::NameTaken).
    ///
    /// ```no_run
    /// use dipc_client::{Error, Reason};
    ///
    /// # let mut client = dipc_client::Client::open("dipc://localhost:5000")?;
    /// client.set_mailbox_name(2, Some("jobs"))?;
    /// client.put("jobs", "a job")?;
    /// assert_eq!(client.take(2, None)?.data, b"a job");
    /// match client.set_mailbox_name(3, Some("jobs")) {
    ///     Err(Error::NotDone { reason, .. }) => assert_eq!(reason, Reason::NameTaken(2)),
    ///     other => panic!("{other:?}"),
    /// }
    /// client.set_mailbox_name("jobs", None)?;
    /// # Ok::<(), dipc_client::Error>(())
    /// ```
    pub fn set_mailbox_name(&mut self, mailbox: impl Into<Mailbox>, name: Option<&str>) -> Result<(), Error> {
        name.map_or(Ok(()), check_name)?;
        let request = Encoder::new("name").mailbox(&mailbox.into())?.word(name.unwrap_or("-"));
        self.request(request, Frame::ok)
    }

    /// The name of the mailbox. `None`: it has none.
    ///
    /// ```no_run
    /// # let mut client = dipc_client::Client::open("dipc://localhost:5000")?;
    /// assert_eq!(client.mailbox_name(2)?, None);
    /// client.set_mailbox_name(2, Some("jobs"))?;
    /// assert_eq!(client.mailbox_name(2)?.as_deref(), Some("jobs"));
    /// # Ok::<(), dipc_client::Error>(())
    /// ```
    pub fn mailbox_name(&mut self, mailbox: impl Into<Mailbox>) -> Result<Option<String>, Error> {
        let name = |reply: Frame| reply.field("name").map(str::to_owned);
        let name = self.request(Encoder::new("name").mailbox(&mailbox.into())?, name)?;
        Ok((name != "-").then_some(name))
    }

    /// The number of the mailbox that has this name now. A number is returned without a request.
    ///
    /// ```no_run
    /// # let mut client = dipc_client::Client::open("dipc://localhost:5000")?;
    /// client.set_mailbox_name(2, Some("jobs"))?;
    /// assert_eq!(client.mailbox_number("jobs")?, 2);
    /// # Ok::<(), dipc_client::Error>(())
    /// ```
    pub fn mailbox_number(&mut self, mailbox: impl Into<Mailbox>) -> Result<u32, Error> {
        let mailbox = mailbox.into();
        if let Mailbox::Number(number) = mailbox {
            return Ok(number);
        }
        let number = self.stat_mailbox(mailbox)?.number("mailbox");
        let number = number.and_then(|number| u32::try_from(number).ok());
        let missing = || Error::Protocol("the stat of a mailbox without its number".to_owned());
        let number = number.ok_or_else(missing);
        self.close_on_error(number)
    }

    /// The mailboxes that have names, each with its name, in the order of the numbers.
    ///
    /// The server answers in parts, and this function asks for all of them. A mailbox that is renamed
    /// meanwhile has its old or its new name, so a name that moves may be there twice, or not at all.
    ///
    /// ```no_run
    /// # let mut client = dipc_client::Client::open("dipc://localhost:5000")?;
    /// client.set_mailbox_name(2, Some("jobs"))?;
    /// assert_eq!(client.names()?, [(2, "jobs".to_owned())]);
    /// # Ok::<(), dipc_client::Error>(())
    /// ```
    pub fn names(&mut self) -> Result<Vec<(u32, String)>, Error> {
        let stat = self.stat(Topic::Names)?;
        let entry = |line: Line| Some((line.name.parse().ok()?, line.rest.to_owned()));
        let malformed = || Error::Protocol("a name without the number of its mailbox".to_owned());
        let names = stat.lines().map(entry).collect::<Option<_>>().ok_or_else(malformed);
        self.close_on_error(names)
    }

    /// The numbers of these mailboxes.
    ///
    /// Requests whose state this client keeps by number (locks, watches, messages in hand) are sent with
    /// these numbers. If a name moves to another mailbox between the two requests, or later, the request and
    /// the state are still of one mailbox: the one that had the name when it was resolved.
    pub(super) fn mailbox_numbers(&mut self, mailboxes: impl Into<Mailboxes>) -> Result<Vec<u32>, Error> {
        mailboxes.into().0.into_iter().map(|mailbox| self.mailbox_number(mailbox)).collect()
    }
}
