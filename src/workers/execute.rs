//! What each request does. Runs on whichever thread holds the job.

use super::Mailboxes;
use super::job::{Job, Outcome};
use crate::mailboxes::{Damaged, Grant, Mode};
use crate::protocol::{Framed, Refusal, Reply, Request};

/// Bytes of answers after which a batch goes home, to be written before it goes on. One answer may be larger.
pub const OUTPUT_HIGH_WATER: usize = 1024 * 1024;

const HELP: &str = "\
r BOX [off=N] [len=N] [wait=S]          read the newest message
w BOX [wait=S]                          write the line that follows
w BOX LEN [wait=S]                      write the LEN bytes that follow
w BOX [LEN] if=V                        .. only when the version is V
w BOX [LEN] off=N                       .. into the message, from byte N on
hello   ping   stat   help   q          q closes this connection
read, write and quit are long for r, w and q. A wait is in seconds, or inf.
OK done.  DATA n: n bytes follow.  NO: not done, and why.  ERR: not understood.
";

/// The mailbox that a request needs, and how; `None` when it needs none.
pub fn admission(request: &Request) -> Option<(u32, Mode)> {
    match request {
        Request::Read { mailbox, .. } => Some((*mailbox, Mode::Shared)),
        Request::Write { mailbox, .. } => Some((*mailbox, Mode::Exclusive)),
        _ => None,
    }
}

/// Answers the requests of a job, as far as that needs no waiting: up to one whose mailbox is not free, one that
/// only the reactor can answer, or the high-water mark of the output. Each release adds the jobs that it lets in to
/// `admitted`.
pub fn run(job: &mut Job, mailboxes: &Mailboxes, admitted: &mut Vec<(Grant, Box<Job>)>) {
    while let Some(framed) = job.current() {
        match admission(&framed.request) {
            Some((mailbox, mode)) => {
                let Some(mut grant) = job.grant.take().or_else(|| mailboxes.queue(mailbox).try_admit(mode))
                else {
                    return;
                };
                job.tally.overtakes += u64::from(grant.overtaken());
                under_grant(job, mailboxes, &mut grant);
                mailboxes.queue(mailbox).release(grant, admitted);
            }
            None if !answer(job, mailboxes) => return,
            None => {}
        }
        job.answered += 1;
        if job.output.len() >= OUTPUT_HIGH_WATER {
            return;
        }
    }
}

/// Answers the current request of a job when it needs no mailbox; false when it is for the reactor to answer.
pub fn answer(job: &mut Job, mailboxes: &Mailboxes) -> bool {
    let Framed { request, eol } = &job.requests[job.answered];
    let geometry = mailboxes.geometry();
    let (reply, outcome) = match request {
        Request::Ping => (Reply::Ok, Outcome::Told),
        Request::Help => (Reply::Text(HELP), Outcome::Told),
        Request::Hello => {
            let (mailboxes, capacity, packet) = (geometry.mailboxes, geometry.capacity, geometry.packet);
            (Reply::Hello { mailboxes, capacity, packet }, Outcome::Told)
        }
        Request::Refused(refusal) => (Reply::Refused(refusal), outcome_of(refusal)),
        Request::Quit => {
            job.tally.count(Outcome::Quit);
            return true;
        }
        Request::Foreign => {
            job.tally.count(Outcome::Foreign);
            return true;
        }
        Request::Stat | Request::Read { .. } | Request::Write { .. } => return false,
    };
    reply.encode(*eol, &mut job.output);
    job.tally.count(outcome);
    true
}

/// Answers the current request of a job that waited in vain.
pub fn time_out(job: &mut Job, mailboxes: &Mailboxes) {
    let Framed { request, eol } = &job.requests[job.answered];
    let version = match request {
        Request::Read { mailbox, .. } => mailboxes.version(*mailbox).ok(),
        _ => None,
    };
    Reply::Timeout { version }.encode(*eol, &mut job.output);
    job.tally.count(Outcome::Timeout);
    job.answered += 1;
}

/// Answers the current request of a job `ERR`, whatever it was.
pub fn refuse(job: &mut Job, refusal: &Refusal) {
    let eol = job.requests[job.answered].eol;
    Reply::Refused(refusal).encode(eol, &mut job.output);
    job.tally.count(outcome_of(refusal));
    job.answered += 1;
}

/// Reads or writes for the current request of a job.
fn under_grant(job: &mut Job, mailboxes: &Mailboxes, grant: &mut Grant) {
    let Job { requests, answered, input, output, tally, .. } = job;
    let Framed { request, eol } = &requests[*answered];
    let mut reply = |reply: Reply, outcome| {
        reply.encode(*eol, output);
        tally.count(outcome);
    };
    match request {
        Request::Read { mailbox, offset, len, .. } => {
            match mailboxes.read(*mailbox, grant).read(*offset, len.unwrap_or(u64::MAX)) {
                Ok(message) => {
                    let (parts, version, count) = (message.parts, message.version, message.count);
                    reply(Reply::Message { parts, version, count }, Outcome::Read);
                }
                Err(Damaged) => reply(Reply::Refused(&Refusal::Internal), Outcome::Internal),
            }
        }
        Request::Write { mailbox, body, expected, offset, .. } => {
            match write(mailboxes, *mailbox, grant, &input[body.clone()], *expected, *offset) {
                Ok(version) => reply(Reply::Written { version }, Outcome::Written),
                Err(NotWritten::Conflict(version)) => reply(Reply::Conflict { version }, Outcome::Conflict),
                Err(NotWritten::Refused(refusal)) => reply(Reply::Refused(&refusal), outcome_of(&refusal)),
            }
        }
        other => unreachable!("{other:?} needs no mailbox"),
    }
}

enum NotWritten {
    Conflict(u64),
    Refused(Refusal),
}

impl From<Damaged> for NotWritten {
    fn from(_: Damaged) -> Self {
        NotWritten::Refused(Refusal::Internal)
    }
}

fn write(
    mailboxes: &Mailboxes,
    mailbox: u32,
    grant: &mut Grant,
    bytes: &[u8],
    expected: Option<u64>,
    offset: Option<u64>,
) -> Result<u64, NotWritten> {
    let mut block = mailboxes.write(mailbox, grant);
    if let Some(expected) = expected {
        let version = block.version()?;
        if version != expected {
            return Err(NotWritten::Conflict(version));
        }
    }
    let Some(offset) = offset else {
        return Ok(block.write(bytes)?);
    };
    let room = mailboxes.geometry().capacity.saturating_sub(offset);
    if bytes.len() as u64 > room {
        return Err(NotWritten::Refused(Refusal::Size { max: room, close: false }));
    }
    // `offset` is at most the capacity here unless nothing is written, and a capacity is addressable.
    Ok(block.patch(offset.min(mailboxes.geometry().capacity) as usize, bytes)?)
}

fn outcome_of(refusal: &Refusal) -> Outcome {
    match refusal {
        Refusal::Syntax(_) => Outcome::Syntax,
        Refusal::Verb(_) => Outcome::Verb,
        Refusal::Mailbox { .. } => Outcome::Mailbox,
        Refusal::Size { .. } => Outcome::Size,
        Refusal::Frame(_) => Outcome::Frame,
        Refusal::Drain => Outcome::Drain,
        Refusal::Internal | Refusal::Busy { .. } => Outcome::Internal,
    }
}
