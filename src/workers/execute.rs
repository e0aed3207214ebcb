//! What each request does. Runs on whichever thread holds the job.

use std::time::Duration;

use super::Mailboxes;
use super::job::{Completion, Job, Outcome, Parked};
use crate::mailboxes::{Admitted, Damaged, Grant, Patched};
use crate::protocol::{Framed, Refusal, Reply, Request, Topic, Wait};

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

/// Answers the requests of a job, one after the other. Each takes its place in the queue of its mailbox when the one
/// before is answered. The job comes home when it is done, when only the reactor can answer, or at the high-water mark
/// of its output; it stays in a queue when its mailbox is not free. Whom a release lets in goes to `let_in` at once, not
/// when the batch is done: others run it meanwhile.
pub fn run(mut job: Box<Job>, mailboxes: &Mailboxes, mut let_in: impl FnMut(Box<Job>)) -> Completion {
    let mut admitted = Vec::new();
    while job.current().is_some() && job.output.len() < OUTPUT_HIGH_WATER {
        let Some((mailbox, mode, wait)) = job.admission() else {
            if !answer(&mut job, mailboxes) {
                break;
            }
            continue;
        };
        let queue = mailboxes.queue(mailbox);
        let mut grant = match job.grant.take().or_else(|| queue.try_admit(mode)) {
            Some(grant) => grant,
            None if wait == Wait::For(Duration::ZERO) => {
                time_out(&mut job, mailboxes);
                continue;
            }
            None => match admit(job, mailboxes) {
                Ok((grant, granted)) => {
                    job = granted;
                    grant
                }
                Err(parked) => return Completion::Parked(parked),
            },
        };
        job.tally.overtakes += u64::from(grant.overtaken());
        under_grant(&mut job, mailboxes, &mut grant);
        job.answered += 1;
        queue.release(grant, &mut admitted);
        admitted.drain(..).map(with_grant).for_each(&mut let_in);
    }
    debug_assert!(job.grant.is_none(), "a job comes home without a grant");
    Completion::Home(job)
}

/// Gives a job the grant that it waited for.
pub fn with_grant((grant, mut job): (Grant, Box<Job>)) -> Box<Job> {
    job.grant = Some(grant);
    job
}

/// Takes the place of the current request of a job, which needs a mailbox.
pub fn admit(job: Box<Job>, mailboxes: &Mailboxes) -> Result<(Grant, Box<Job>), Parked> {
    let connection = job.connection;
    let (mailbox, mode, wait) = job.admission().expect("asked for a mailbox");
    match mailboxes.queue(mailbox).admit(mode, job) {
        Admitted::Granted(grant, job) => Ok((grant, job)),
        Admitted::Queued(ticket) => Err(Parked { connection, mailbox, ticket, wait }),
    }
}

/// Answers the current request of a job, which needs no mailbox; false when it is for the reactor to answer.
pub fn answer(job: &mut Job, mailboxes: &Mailboxes) -> bool {
    let Framed { request, eol } = &job.requests[job.answered];
    let geometry = mailboxes.geometry();
    let (reply, outcome) = match request {
        Request::Ping => (Reply::Ok, Outcome::Told),
        Request::Help => (Reply::Text(HELP), Outcome::Told),
        Request::Hello { .. } => {
            let (mailboxes, capacity, packet) = (geometry.mailboxes, geometry.capacity, geometry.packet);
            (Reply::Hello { mailboxes, capacity, packet }, Outcome::Told)
        }
        Request::Refused(refusal) => (Reply::Refused(refusal), outcome_of(refusal)),
        Request::Quit | Request::Foreign => {
            job.tally.count(if *request == Request::Quit { Outcome::Quit } else { Outcome::Foreign });
            job.answered += 1;
            return true;
        }
        Request::Stat(Topic::Server) | Request::Read { after: None, .. } | Request::Write { .. } => {
            return false;
        }
        Request::Read { .. } => return unserved(job, "\"r after=\""),
        Request::Put { .. } => return unserved(job, "\"put\""),
        Request::Take { .. } => return unserved(job, "\"take\""),
        Request::Lock(_) => return unserved(job, "\"lock\""),
        Request::Unlock { .. } => return unserved(job, "\"unlock\""),
        Request::Watch { .. } => return unserved(job, "\"watch\""),
        Request::Unwatch { .. } => return unserved(job, "\"unwatch\""),
        Request::Stat(_) => return unserved(job, "\"stat BOX\""),
    };
    reply.encode(*eol, &mut job.output);
    job.tally.count(outcome);
    job.answered += 1;
    true
}

/// Answers a request that is understood and that nothing here can do yet.
fn unserved(job: &mut Job, verb: &str) -> bool {
    refuse(job, &Refusal::Verb(verb.into()));
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

/// Reads or writes for the current request of a job. A damaged mailbox ends the connection: what its client believes of
/// it is no longer true.
fn under_grant(job: &mut Job, mailboxes: &Mailboxes, grant: &mut Grant) {
    let Job { requests, answered, input, output, tally, .. } = job;
    let Framed { request, eol } = &requests[*answered];
    let mut reply = |reply: Reply, outcome| {
        reply.encode(*eol, output);
        tally.count(outcome);
    };
    let done = match request {
        Request::Read { mailbox, offset, len, .. } => {
            let block = mailboxes.read(*mailbox, grant);
            block.read(*offset, len.unwrap_or(u64::MAX)).map_err(NotDone::from).map(|message| {
                let (parts, version, count) = (message.parts, message.version, message.count);
                reply(Reply::Message { parts, version, count, lost: 0 }, Outcome::Read);
            })
        }
        Request::Write { mailbox, body, expected, offset, .. } => {
            write(mailboxes, *mailbox, grant, &input[body.clone()], *expected, *offset)
                .map(|version| reply(Reply::Written { version }, Outcome::Written))
        }
        other => unreachable!("{other:?} needs no mailbox"),
    };
    match done {
        Ok(()) => {}
        Err(NotDone::Conflict(version)) => reply(Reply::Conflict { version }, Outcome::Conflict),
        Err(NotDone::Refused(refusal)) => {
            reply(Reply::Refused(&refusal), outcome_of(&refusal));
            if refusal.closes() {
                requests.truncate(*answered + 1);
                requests[*answered].request = Request::Refused(refusal);
            }
        }
    }
}

enum NotDone {
    Conflict(u64),
    Refused(Refusal),
}

impl From<Damaged> for NotDone {
    fn from(_: Damaged) -> Self {
        NotDone::Refused(Refusal::Internal)
    }
}

fn write(
    mailboxes: &Mailboxes,
    mailbox: u32,
    grant: &mut Grant,
    bytes: &[u8],
    expected: Option<u64>,
    offset: Option<u64>,
) -> Result<u64, NotDone> {
    let mut block = mailboxes.write(mailbox, grant);
    if let Some(expected) = expected {
        let version = block.version()?;
        if version != expected {
            return Err(NotDone::Conflict(version));
        }
    }
    let Some(offset) = offset else {
        return Ok(block.write(bytes)?);
    };
    match mailboxes.geometry().capacity.checked_sub(offset) {
        Some(room) if bytes.len() as u64 <= room => match block.patch(offset as usize, bytes)? {
            Patched::Done { version } => Ok(version),
            // No request makes a list of several yet.
            Patched::Multi => Err(NotDone::Refused(Refusal::Internal)),
        },
        room => Err(NotDone::Refused(Refusal::Size { max: room.unwrap_or(0), close: false })),
    }
}

fn outcome_of(refusal: &Refusal) -> Outcome {
    match refusal {
        Refusal::Syntax(_) => Outcome::Syntax,
        Refusal::Verb(_) | Refusal::Lease | Refusal::Deadlock | Refusal::Denied(_) => Outcome::Verb,
        Refusal::Mailbox { .. } => Outcome::Mailbox,
        Refusal::Size { .. } => Outcome::Size,
        Refusal::Frame(_) => Outcome::Frame,
        Refusal::Drain => Outcome::Drain,
        Refusal::Internal | Refusal::Busy { .. } => Outcome::Internal,
    }
}
