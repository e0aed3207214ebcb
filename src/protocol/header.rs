//! Parses a header line. Returns the request without its body, and the extent of the body.
//!
//! The extent of a body depends only on the verb and on `<len>`, even if an argument is invalid. The data of
//! a refused request is discarded. If the extent is unknown, the refusal closes the connection. Data is
//! therefore never parsed as a request.

use super::arguments::{Arguments, decimal, echo};
use super::names::{Name, is_name};
use super::request::{
    Limits, LocalRequest, LockRequest, MailboxRequest, Refusal, Rename, Request, Topic, Wait,
};

/// The largest version of a mailbox. No server runs long enough to reach it.
pub const VERSION_MAX: u64 = 1 << 62;

/// The form of a name, for an error text.
const NAME_FORM: &str = "a name has 1 to 64 of a-z 0-9 _ . - and begins with a letter, and is not conns, \
    locks, names or r: name 3 jobs; name 3 - removes it";

/// Largest number of bytes in a header line, without its end of line.
pub const HEADER_MAX: usize = 1024;

/// Verbs and keys that `hello` lists, in alphabetical order, so that clients need not try them. A word that
/// belongs to a listed word, as `unlock` belongs to `lock`, is not listed.
pub(super) const FEATURES: &str =
    "after,full,grant,if,jobs,len,lock,names,off,put,take,ttl,version,wait,watch";

/// The data that follows a header line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Body {
    /// Nothing.
    None,
    /// One line.
    Line,
    /// This many bytes and an end of line.
    Length(u64),
}

/// A parsed header line. The body of its request is still empty.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Header {
    pub request: Result<Request, Refusal>,
    pub body: Body,
}

/// Parses a header line, without its end. Returns `None` for a blank line.
pub(super) fn parse(line: &[u8], limits: &Limits) -> Option<Header> {
    let mut words = line.split(|&b| b == b' ').filter(|word| !word.is_empty());
    let verb = words.next()?;
    if let Some(&byte) = line.iter().find(|b| !matches!(b, b' '..=b'~')) {
        return Some(without_body(Err(match verb {
            b"w" | b"write" | b"put" => {
                Refusal::Frame("a header line is printable ASCII; where the data ends is unknown")
            }
            _ => Refusal::Syntax(format!("a header line is printable ASCII, not byte {byte}")),
        })));
    }
    let arguments = Arguments::collect(words);
    Some(match verb {
        b"r" | b"read" => without_body(read(&arguments, limits)),
        b"w" | b"write" => write(&arguments, limits),
        b"put" => put(&arguments, limits),
        b"take" => without_body(take(&arguments, limits)),
        b"done" => without_body(done(&arguments, limits)),
        b"back" => without_body(back(&arguments, limits)),
        b"version" => without_body(version(&arguments, limits)),
        b"lock" => without_body(lock(&arguments, limits)),
        b"unlock" => without_body(unlock(&arguments, limits)),
        b"watch" => without_body(watch(&arguments, limits)),
        b"unwatch" => without_body(unwatch(&arguments, limits)),
        b"name" => without_body(name(&arguments, limits)),
        b"stat" => without_body(stat(&arguments, limits)),
        b"hello" => without_body(hello(&arguments)),
        b"ping" => without_body(arguments.only("ping", 0, &[]).map(|()| Request::Ping)),
        b"help" => without_body(arguments.only("help", 0, &[]).map(|()| Request::Help)),
        b"q" | b"quit" => without_body(Ok(Request::Quit)),
        unknown => without_body(Err(Refusal::Verb(unknown_verb(unknown)))),
    })
}

/// The first word of a header line, after its verb, that has the form of a name. For a list of mailboxes, the
/// whole list.
pub(super) fn name_in(bytes: &[u8]) -> Option<&[u8]> {
    let front = &bytes[..bytes.len().min(HEADER_MAX)];
    let line = front.split(|byte| matches!(byte, b'\r' | b'\n')).next()?;
    let mut words = line.split(|&byte| byte == b' ').filter(|word| !word.is_empty());
    let _verb = words.next()?;
    words.find(|word| !word.contains(&b'=') && word.iter().any(u8::is_ascii_lowercase))
}

/// An unknown verb, with a hint if its meaning can be guessed.
fn unknown_verb(word: &[u8]) -> String {
    let known = [
        &b"r"[..],
        b"w",
        b"q",
        b"read",
        b"write",
        b"quit",
        b"put",
        b"take",
        b"done",
        b"back",
        b"lock",
        b"help",
        b"stat",
    ];
    let is_upper = known.contains(&&*word.to_ascii_lowercase());
    match word.to_ascii_lowercase().as_slice() {
        _ if is_upper => format!("{}: verbs are lower case", echo(word)),
        b"exit" | b"bye" | b"logout" | b"close" => format!("{}: q leaves", echo(word)),
        _ => echo(word),
    }
}

fn without_body(request: Result<Request, Refusal>) -> Header {
    Header { request, body: Body::None }
}

fn with_data(
    arguments: &Arguments,
    limits: &Limits,
    bad_length: &'static str,
    request: Result<Request, Refusal>,
) -> Header {
    let body = match arguments.word(1).map(decimal) {
        None => Body::Line,
        Some(Some(len)) => Body::Length(len),
        Some(None) => return without_body(Err(Refusal::Frame(bad_length))),
    };
    let request = match body {
        Body::Length(len) if len > limits.body_max() => request.and(Err(limits.too_large(Some(len), false))),
        _ => request,
    };
    Header { request, body }
}

fn read(arguments: &Arguments, limits: &Limits) -> Result<Request, Refusal> {
    arguments.only("r", 1, &["after", "wait", "off", "len"])?;
    Ok(Request::Mailbox(MailboxRequest::Read {
        mailbox: arguments.mailbox(0, limits)?,
        after: arguments.number("after")?,
        offset: arguments.number("off")?.unwrap_or(0),
        len: arguments.number("len")?,
        wait: arguments.wait()?,
    }))
}

fn write(arguments: &Arguments, limits: &Limits) -> Header {
    let request = || {
        arguments.only("w", 2, &["if", "off", "wait"])?;
        Ok(Request::Mailbox(MailboxRequest::Write {
            mailbox: arguments.mailbox(0, limits)?,
            expected: arguments.number("if")?,
            offset: arguments.number("off")?,
            wait: arguments.wait()?,
        }))
    };
    with_data(arguments, limits, "the data is the next line: w 3; or has a length: w 3 5", request())
}

fn put(arguments: &Arguments, limits: &Limits) -> Header {
    let request = || {
        arguments.only("put", 2, &["full", "wait"])?;
        Ok(Request::Mailbox(MailboxRequest::Put {
            mailbox: arguments.mailbox(0, limits)?,
            dropping: arguments.dropping()?,
            wait: arguments.wait()?,
        }))
    };
    with_data(arguments, limits, "the data is the next line: put 3; or has a length: put 3 5", request())
}

fn take(arguments: &Arguments, limits: &Limits) -> Result<Request, Refusal> {
    arguments.only("take", 1, &["ttl", "wait"])?;
    Ok(Request::Mailbox(MailboxRequest::Take {
        mailbox: arguments.mailbox(0, limits)?,
        ttl: arguments.hand_ttl()?,
        wait: arguments.wait()?,
    }))
}

fn done(arguments: &Arguments, limits: &Limits) -> Result<Request, Refusal> {
    let (mailbox, version, wait) = with_version("done", arguments, limits)?;
    Ok(Request::Mailbox(MailboxRequest::Done { mailbox, version, wait }))
}

fn back(arguments: &Arguments, limits: &Limits) -> Result<Request, Refusal> {
    let (mailbox, version, wait) = with_version("back", arguments, limits)?;
    Ok(Request::Mailbox(MailboxRequest::Back { mailbox, version, wait }))
}

fn version(arguments: &Arguments, limits: &Limits) -> Result<Request, Refusal> {
    let (mailbox, version, wait) = with_version("version", arguments, limits)?;
    if version > VERSION_MAX {
        return Err(Refusal::Syntax(format!("v= is at most {VERSION_MAX}")));
    }
    Ok(Request::Mailbox(MailboxRequest::Version { mailbox, version, wait }))
}

/// The arguments of a verb that takes a mailbox and `v=`.
fn with_version(verb: &str, arguments: &Arguments, limits: &Limits) -> Result<(u32, u64, Wait), Refusal> {
    arguments.only(verb, 1, &["v", "wait"])?;
    let mailbox = arguments.mailbox(0, limits)?;
    let missing = || Refusal::Syntax(format!("{verb} takes a version: {verb} 3 v=7"));
    Ok((mailbox, arguments.number("v")?.ok_or_else(missing)?, arguments.wait()?))
}

fn lock(arguments: &Arguments, limits: &Limits) -> Result<Request, Refusal> {
    arguments.only("lock", 2, &["wait", "ttl"])?;
    let mut mailboxes = arguments.mailboxes(limits)?;
    mailboxes.sort_unstable();
    let shared = match arguments.word(1) {
        None => false,
        Some(b"r") => true,
        Some(_) => {
            return Err(Refusal::Syntax("the second word of lock is r, for a shared lock".into()));
        }
    };
    let (wait, ttl) = (arguments.wait()?, arguments.ttl()?);
    Ok(Request::Local(LocalRequest::Lock(Box::new(LockRequest { mailboxes, shared, wait, ttl }))))
}

fn unlock(arguments: &Arguments, limits: &Limits) -> Result<Request, Refusal> {
    arguments.only("unlock", 1, &["grant"])?;
    let (mailboxes, grant) = (arguments.mailboxes_or_all(limits)?, arguments.number("grant")?);
    Ok(Request::Local(LocalRequest::Unlock { mailboxes, grant }))
}

fn watch(arguments: &Arguments, limits: &Limits) -> Result<Request, Refusal> {
    arguments.only("watch", 1, &["after"])?;
    let (mailboxes, after) = (arguments.mailboxes(limits)?, arguments.number("after")?);
    Ok(Request::Local(LocalRequest::Watch { mailboxes, after }))
}

fn unwatch(arguments: &Arguments, limits: &Limits) -> Result<Request, Refusal> {
    arguments.only("unwatch", 1, &[])?;
    Ok(Request::Local(LocalRequest::Unwatch { mailboxes: arguments.mailboxes_or_all(limits)? }))
}

fn stat(arguments: &Arguments, limits: &Limits) -> Result<Request, Refusal> {
    let (words, keys): (_, &[&str]) = match arguments.word(0) {
        Some(b"box") => (2, &[]),
        Some(b"conns" | b"locks" | b"names") => (1, &["from"]),
        _ => (1, &[]),
    };
    arguments.only("stat", words, keys)?;
    let from = arguments.number("from")?.unwrap_or(0);
    Ok(Request::Local(LocalRequest::Stat(match arguments.word(0) {
        None => Topic::Server,
        Some(b"conns") => Topic::Connections { from },
        Some(b"locks") => Topic::Locks { from },
        Some(b"names") => Topic::Names { from },
        Some(b"box") => Topic::Mailbox(arguments.mailbox(1, limits)?),
        Some(word) if decimal(word).is_some() || is_name(word) => {
            Topic::Mailbox(arguments.mailbox(0, limits)?)
        }
        Some(_) => {
            return Err(Refusal::Syntax("stat takes a mailbox, conns, locks or names: stat 3".into()));
        }
    })))
}

fn name(arguments: &Arguments, limits: &Limits) -> Result<Request, Refusal> {
    arguments.only("name", 2, &[])?;
    let mailbox = arguments.mailbox(0, limits)?;
    let change = match arguments.word(1) {
        None => None,
        Some(b"-") => Some(Rename::Remove),
        Some(word) => {
            let name = str::from_utf8(word).ok().and_then(Name::new);
            Some(Rename::Set(name.ok_or_else(|| Refusal::Syntax(NAME_FORM.into()))?))
        }
    };
    Ok(Request::Local(LocalRequest::Name { mailbox, change }))
}

fn hello(arguments: &Arguments) -> Result<Request, Refusal> {
    arguments.only("hello", 0, &["name", "token"])?;
    Ok(match arguments.name()? {
        Some(name) => Request::Local(LocalRequest::Hello { name }),
        None => Request::Hello,
    })
}

#[cfg(test)]
mod tests;
