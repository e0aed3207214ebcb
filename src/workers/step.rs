//! The interpreter of requests: what a job needs next, and the answers that need no mailbox.
//!
//! [`step`] is the only function that decides the next step of a request. Two loops call it. [`run`] executes
//! admitted requests, on a worker or on the reactor's thread. The reactor's `drive` also handles the steps
//! that only the reactor may take.

use std::time::Duration;

use super::Mailboxes;
use super::execute::{Inlined, execute, try_inline};
use super::job::{Acquire, Completion, Job, JobState, Outcome, WaitReason, WaitStarted};
use super::lock_set::Access;
use super::transfer::is_sent;
use crate::mailboxes::{Admitted, Condition, Grant, Released};
use crate::memory;
use crate::protocol::{LocalRequest, MailboxRequest, Name, Reason, Refusal, Rename, Reply, Request, Wait};

/// Bytes of answers after which a batch is interrupted until they are written. One answer may be larger.
pub(crate) const OUTPUT_HIGH_WATER: usize = 1024 * 1024;

/// Largest number of bytes of an answer that needs no mailbox.
const REPLY_MAX: usize = 2 * 1024;

const HELP: &str = "\
r BOX [after=V] [off=N] [len=N]     the newest message; after=V: the next one
w BOX [LEN] [if=V] [off=N]          replace it by the line, or LEN bytes, below
put BOX [LEN] [full=drop]           add a message at the end
take BOX [ttl=S]                    the oldest message, which is gone then
done BOX v=V    back BOX v=V        after take ttl=: gone; there again
lock BOX[,BOX..] [r] [ttl=S]        keep others out; r: let readers in
unlock BOX[,BOX..]|* [grant=G]      q and a lost connection unlock, too
watch BOX[,BOX..] [after=V]         an EVENT for every message from now on
unwatch BOX[,BOX..]|*
name BOX [WORD|-]                   WORD may then stand for the number BOX
stat [BOX|conns|locks|names]   hello [name=WORD]   ping   help   q
wait=S: seconds to wait, or inf (r w put take done back lock).
Long: read write quit. ttl=S: seconds of silence that end a lock or a take.
OK done.  DATA n: n bytes follow.  NO: not done, and why.  ERR: not possible.
";

/// What a job needs to go on.
#[derive(Debug)]
pub(crate) enum Step {
    /// Admission to a mailbox.
    Acquire(Acquire),
    /// Execution: the request was admitted, or the client's own lock covers it.
    Execute(Acquire),
    /// The reactor: the request was admitted, and reads a large message, which is sent from the mailbox
    /// itself.
    Send(Acquire),
    /// A wait: the request was admitted, and its mailbox does not meet the condition.
    Await { acquire: Acquire, grant: Grant, condition: Condition },
    /// The reactor: the request concerns the connection, its locks or watches, or the whole server.
    Local,
    /// This many bytes of memory for the next answer.
    Memory(usize),
    /// Writing: the answers must be written first.
    Write,
    /// Nothing: all requests are answered.
    Finished,
}

/// Answers the requests of a job up to the first one that needs a mailbox, the reactor or a write. Returns
/// that need.
#[inline]
pub(crate) fn step(job: &mut Job, mailboxes: &Mailboxes) -> Step {
    loop {
        match job.state {
            JobState::InFlight(_) => return Step::Write,
            JobState::Exhausted(_, bytes) => return Step::Memory(bytes),
            JobState::Ready if job.output.len() >= OUTPUT_HIGH_WATER => return Step::Write,
            _ => {}
        }
        // The answer to a packet of full size has the size of the packet.
        let padded = job.requests.get(job.next).map_or(0, |framed| framed.style.padded_len());
        if padded > 0
            && matches!(job.state, JobState::Ready)
            && memory::reserve(&mut job.output, padded + REPLY_MAX).is_err()
        {
            return exhaust(job, padded + REPLY_MAX);
        }
        let acquire = match job.requests.get(job.next).map(|framed| &framed.request) {
            None => return Step::Finished,
            Some(Request::Mailbox(request)) => Acquire::from(request),
            Some(Request::Local(_)) => return Step::Local,
            Some(_) if memory::reserve(&mut job.output, REPLY_MAX).is_err() => {
                return exhaust(job, REPLY_MAX);
            }
            Some(Request::Ping) => {
                reply(job, &Reply::Ok, Outcome::Info);
                continue;
            }
            Some(Request::Help) => {
                reply(job, &Reply::Text(HELP), Outcome::Info);
                continue;
            }
            Some(&Request::Say(text)) => {
                reply(job, &Reply::Say(text), Outcome::Info);
                continue;
            }
            Some(Request::Hello) => {
                reply(job, &hello(mailboxes), Outcome::Info);
                continue;
            }
            Some(Request::Refused(refusal)) => {
                let refusal = refusal.clone();
                refuse(job, &refusal);
                continue;
            }
            Some(&Request::Telnet(answer)) => {
                reply(job, &Reply::Telnet(answer), Outcome::Info);
                continue;
            }
            Some(Request::Quit) => {
                job.tally.count(Outcome::Quit);
                job.advance();
                continue;
            }
            Some(Request::Foreign) => {
                job.tally.count(Outcome::Foreign);
                job.advance();
                continue;
            }
        };
        match job.state {
            JobState::Granted(_) if is_sent(job, mailboxes) => return Step::Send(acquire),
            JobState::Granted(_) => return Step::Execute(acquire),
            JobState::Blocked(..) => {
                if let JobState::Blocked(grant, condition) = job.take_state() {
                    return Step::Await { acquire, grant, condition };
                }
            }
            JobState::Ready | JobState::Waiting(_) | JobState::InFlight(_) | JobState::Exhausted(..) => {}
        }
        match job.access(acquire.mailbox, acquire.mode) {
            Access::Unlocked => return Step::Acquire(acquire),
            Access::Owned => return Step::Execute(acquire),
            Access::Insufficient => refuse(job, &Refusal::Denied("your own lock of this mailbox is shared")),
            Access::Expired => refuse(job, &Refusal::Lease),
        }
    }
}

/// Records that the answer to the current request needs memory.
fn exhaust(job: &mut Job, bytes: usize) -> Step {
    let bytes = job.output.len() + bytes;
    job.state = JobState::Exhausted(None, bytes);
    Step::Memory(bytes)
}

/// A job or a read that a release admits.
#[derive(Debug)]
pub(crate) enum Next {
    /// A job that waited.
    Job(Box<Job>),
    /// The read for the watchers of a mailbox. The reactor knows their positions.
    Watch { mailbox: u32, grant: Grant },
}

/// Passes the jobs and the read that a release of a mailbox admits to `on_admitted`.
pub(crate) fn pass_on(mailbox: u32, released: Released<Box<Job>>, mut on_admitted: impl FnMut(Next)) {
    if let Some(grant) = released.watch {
        on_admitted(Next::Watch { mailbox, grant });
    }
    for (grant, job) in released.jobs {
        on_admitted(Next::Job(job.with_state(JobState::Granted(grant))));
    }
}

/// Runs a job on the calling thread until it waits, needs the reactor, or is finished. Jobs that a release
/// admits are passed to `on_admitted` immediately, so another worker can run them while this batch continues.
pub(crate) fn run(mut job: Box<Job>, mailboxes: &Mailboxes, mut on_admitted: impl FnMut(Next)) -> Completion {
    loop {
        match step(&mut job, mailboxes) {
            Step::Execute(acquire) => execute(&mut job, mailboxes, acquire, &mut on_admitted),
            Step::Acquire(acquire) => match try_inline(&mut job, mailboxes, acquire, &mut on_admitted) {
                Inlined::Answered => {}
                Inlined::Granted(grant) => job.state = JobState::Granted(grant),
                Inlined::Exhausted(bytes) => job.state = JobState::Exhausted(None, bytes),
                // Only the reactor lets a client with locks wait: it searches for a cycle of waits first.
                Inlined::Conflict if job.has_locks() => return Completion::Done(job),
                Inlined::Conflict => match enqueue(job, mailboxes, acquire) {
                    Enqueued::Granted(granted) => job = granted,
                    Enqueued::Waiting(started) => return Completion::WaitStarted(started),
                    Enqueued::Locked(refused) => {
                        job = refused;
                        time_out(&mut job, mailboxes, WaitReason::Queue);
                    }
                },
            },
            Step::Await { grant, condition, .. } if job.has_locks() => {
                return Completion::Done(job.with_state(JobState::Blocked(grant, condition)));
            }
            Step::Await { acquire, grant, condition } => {
                let started = wait_for(job, mailboxes, acquire, grant, condition, on_admitted);
                return Completion::WaitStarted(started);
            }
            // Only the reactor can free memory.
            Step::Memory(_) => return Completion::Done(job),
            Step::Send(_) | Step::Local | Step::Write | Step::Finished => return Completion::Done(job),
        }
    }
}

/// The result of [`enqueue`].
#[derive(Debug)]
pub(crate) enum Enqueued {
    /// The request was admitted at once.
    Granted(Box<Job>),
    /// The job is in the queue.
    Waiting(WaitStarted),
    /// A lock excludes the request, and the request does not wait for locks.
    Locked(Box<Job>),
}

/// Adds the current request to the queue of a mailbox, unless it is admitted at once.
pub(crate) fn enqueue(job: Box<Job>, mailboxes: &Mailboxes, acquire: Acquire) -> Enqueued {
    let Acquire { mailbox, mode, purpose, .. } = acquire;
    let owner = job.owner;
    let job = job.with_state(JobState::Waiting(WaitReason::Queue));
    let queue = mailboxes.queue(mailbox);
    let admitted = match acquire.has_zero_wait() {
        true => queue.admit_unless_locked(mode, purpose, job),
        false => queue.admit(mode, purpose, job),
    };
    match admitted {
        Admitted::Granted(grant, job) => Enqueued::Granted(job.with_state(JobState::Granted(grant))),
        Admitted::Queued(ticket) => Enqueued::Waiting(WaitStarted { owner, mailbox, ticket }),
        Admitted::Locked(job) => Enqueued::Locked(job.with_state(JobState::Ready)),
    }
}

/// Ends a grant, and moves the job to the wait set of its mailbox until the condition holds there.
pub(crate) fn wait_for(
    job: Box<Job>,
    mailboxes: &Mailboxes,
    acquire: Acquire,
    grant: Grant,
    condition: Condition,
    on_admitted: impl FnMut(Next),
) -> WaitStarted {
    let mailbox = acquire.mailbox;
    let owner = job.owner;
    let job = job.with_state(JobState::Waiting(WaitReason::Condition(condition)));
    let mut released = Released::default();
    let ticket = mailboxes.wait_for(mailbox, grant, condition, job, &mut released);
    pass_on(mailbox, released, on_admitted);
    WaitStarted { owner, mailbox, ticket }
}

/// The answer to `hello`.
pub(crate) fn hello(mailboxes: &Mailboxes) -> Reply<'static> {
    let geometry = mailboxes.geometry();
    Reply::Hello {
        mailboxes: geometry.mailboxes,
        capacity: geometry.capacity,
        packet: geometry.packet,
        life: mailboxes.segment().life(),
    }
}

/// Answers the current request of a job, a `name`. Only the reactor changes names.
pub(crate) fn rename(job: &mut Job, mailboxes: &Mailboxes, mailbox: u32, change: Option<Rename>) {
    let changed = match change {
        None => Ok(()),
        Some(Rename::Remove) => mailboxes.set_name(mailbox, None),
        Some(Rename::Set(name)) => mailboxes.set_name(mailbox, Some(name)),
    };
    match changed {
        Ok(()) => {
            let name = mailboxes.names().of(mailbox);
            let name = name.as_ref().map(Name::as_str);
            reply(job, &Reply::Named { name }, Outcome::Info);
        }
        Err(other) => reply(job, &Reply::NameTaken { mailbox: other }, Outcome::Conflict),
    }
}

/// Answers the current request of a job.
pub(crate) fn reply(job: &mut Job, reply: &Reply, outcome: Outcome) {
    let style = job.requests[job.next].style;
    reply.encode(style, &mut job.output);
    job.tally.count(outcome);
    job.state = JobState::Ready;
    job.advance();
}

/// Answers the current request of a job, whose wait has timed out.
pub(crate) fn time_out(job: &mut Job, mailboxes: &Mailboxes, reason: WaitReason) {
    let is_blocked = matches!(reason, WaitReason::Condition(_));
    let (answer, outcome) = match &job.requests[job.next].request {
        Request::Mailbox(MailboxRequest::Take { .. }) if is_blocked => {
            (Reply::NotDone(Reason::Empty), Outcome::Empty)
        }
        Request::Mailbox(MailboxRequest::Put { .. }) if is_blocked => {
            (Reply::NotDone(Reason::Full), Outcome::Full)
        }
        Request::Local(LocalRequest::Lock(lock)) if lock.wait == Wait::For(Duration::ZERO) => {
            (Reply::NotDone(Reason::Locked), Outcome::NotLocked)
        }
        Request::Mailbox(MailboxRequest::Read { mailbox, .. }) => {
            (Reply::Timeout { version: mailboxes.version(*mailbox).ok() }, Outcome::Timeout)
        }
        _ => (Reply::Timeout { version: None }, Outcome::Timeout),
    };
    reply(job, &answer, outcome);
}

/// Answers the current request of a job with `ERR`.
pub(crate) fn refuse(job: &mut Job, refusal: &Refusal) {
    reply(job, &Reply::Refused(refusal), refusal.into());
}

/// Answers the current request of a job with `ERR`, and drops the requests after it: the connection ends.
pub(crate) fn refuse_and_end(job: &mut Job, refusal: Refusal) {
    refuse(job, &refusal);
    job.requests.truncate(job.next);
    job.requests[job.next - 1].request = Request::Refused(refusal);
}
