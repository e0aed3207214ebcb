//! `read --local`: reads a mailbox in the shared memory, without a request to the server.

use std::path::Path;
use std::time::{Duration, Instant};

use dipc::client::local::{Copied, Cursor, Local, Miss};
use dipc::client::{Address, Code, Error, Mailbox, Message, Reason};

use crate::failure::Failure;
use crate::options::{Command, Connection};
use crate::output::Output;

/// How long a read with `--after` waits without `--wait`, as the server does by default.
const WAIT: Duration = Duration::from_secs(30);

/// What is read, and how long the command waits for it.
struct Part {
    off: Option<u64>,
    len: Option<u64>,
    after: Option<u64>,
    wait: Option<Duration>,
}

/// Runs the command if it is a read with `--local`, and prints its result. Otherwise returns false. Also
/// returns false if only the server can answer; the command is then one without `--local`.
pub(crate) fn run(connection: &Connection, command: &mut Command, out: &Output) -> Result<bool, Failure> {
    let Command::Read { mailbox, off, len, version: is_version, after, wait, local } = command else {
        return Ok(false);
    };
    if !std::mem::take(&mut local.is_local) {
        return Ok(false);
    }
    let local = open(connection, local.dir.as_deref())?;
    let number = match &mailbox.id {
        Mailbox::Number(number) => *number,
        Mailbox::Name(name) => local.find(name).ok_or_else(|| {
            let text = format!("no mailbox has the name {name}");
            Failure::Client(Error::Refused { code: Code::Box, text, max: None })
        })?,
    };
    let len = if *is_version { Some(0) } else { *len };
    let part = Part { off: *off, len, after: *after, wait: wait.wait };
    let message = match read(&local, number, &part) {
        Ok(message) => message,
        Err(Miss::Held | Miss::Busy) if after.is_none() => {
            if out.verbose {
                out.print_note(&format!("mailbox {number} is locked or changes: the server is asked"));
            }
            return Ok(false);
        }
        Err(Miss::Held | Miss::Busy) => {
            return Err(Failure::Client(Error::NotDone { reason: Reason::Timeout, version: None }));
        }
        Err(Miss::Ahead { version }) => {
            return Err(Failure::Client(Error::NotDone { reason: Reason::Ahead, version: Some(version) }));
        }
        Err(miss @ Miss::NoMailbox { max }) => {
            let max = Some(u64::from(max));
            return Err(Failure::Client(Error::Refused { code: Code::Box, text: miss.to_string(), max }));
        }
        Err(miss) => return Err(Failure::local("the shared memory", std::io::Error::other(miss))),
    };
    let Some(message) = message else {
        let version = local.version(number).ok();
        return Err(Failure::Client(Error::NotDone { reason: Reason::Timeout, version }));
    };
    out.print_info(message.version, Some(message.count));
    match is_version {
        true => out.print_version(number, &message)?,
        false => out.print_message(number, &message)?,
    }
    Ok(true)
}

fn open(connection: &Connection, dir: Option<&Path>) -> Result<Local, Failure> {
    let port = match connection.address()? {
        Address::Tcp { host, port } if ["127.0.0.1", "localhost", "::1"].contains(&host.as_str()) => port,
        Address::Tcp { host, .. } => {
            return Err(Failure::Usage(format!("--local reads the memory of this machine, not of {host}")));
        }
        Address::Unix(_) => {
            return Err(Failure::Usage("--local needs the port of the server: --port".to_owned()));
        }
    };
    let opened = match dir {
        Some(dir) => Local::open_in(dir, port),
        None => Local::open(port),
    };
    opened.map_err(|error| Failure::local(&format!("the shared memory of port {port}"), error))
}

/// Reads the message. Returns `None` if there is none within the wait.
fn read(local: &Local, mailbox: u32, part: &Part) -> Result<Option<Message>, Miss> {
    let (off, len) = (part.off.unwrap_or(0), part.len.unwrap_or(u64::MAX));
    let mut data = Vec::new();
    let Some(after) = part.after else {
        let copied = local.read_part(mailbox, off, len, &mut data)?;
        return Ok(Some(message(copied, data)));
    };
    let wait = part.wait.unwrap_or(WAIT);
    let deadline = Instant::now().checked_add(wait);
    let mut cursor = Cursor::at(mailbox, after);
    loop {
        let remaining = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
        match local.after(&mut cursor, &mut data) {
            Ok(Some(copied)) => {
                let data = data.into_iter().skip(index(off)).take(index(len)).collect();
                return Ok(Some(message(copied, data)));
            }
            Ok(None) | Err(Miss::Held | Miss::Busy)
                if remaining.is_none_or(|remaining| !remaining.is_zero()) =>
            {
                local.wait(&[(mailbox, after)], remaining)?;
            }
            Ok(None) => return Ok(None),
            Err(miss) => return Err(miss),
        }
    }
}

fn message(copied: Copied, data: Vec<u8>) -> Message {
    Message { data, version: copied.version, count: copied.count, lost: copied.lost }
}

fn index(number: u64) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}
