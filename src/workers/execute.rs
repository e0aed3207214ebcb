//! What each request does. Runs on whichever thread holds the job.

use std::time::Duration;

use super::Mailboxes;
use super::job::{Completion, InFlight, Job, Outcome, WaitStarted};
use super::lock_set::Access;
use crate::mailboxes::{Admitted, Condition, Cursor, Damaged, Grant, Mode, Patched, Taken};
use crate::protocol::{Eol, Framed, Reason, Refusal, Reply, Request, Wait};

/// Bytes of answers after which a batch goes home, to be written before it goes on. One answer may be larger.
pub const OUTPUT_HIGH_WATER: usize = 1024 * 1024;

/// Bytes that are copied while others may wait for the queue itself.
const INLINE_MAX: usize = 4 * 1024;

/// Bytes around the data of such an answer, or of a refusal, at most.
const HEAD_MAX: usize = 256;

/// Messages from which on it is worth remembering where a client has read on: looking for it takes a step for each.
const LONG_LIST: u64 = 64;

const HELP: &str = "\
r BOX [after=V] [off=N] [len=N]     the newest message; after=V: the next one
w BOX [LEN] [if=V] [off=N]          replace it by the line, or LEN bytes, below
put BOX [LEN] [full=drop]           add a message at the end
take BOX                            the oldest message, which is gone then
lock BOX[,BOX..] [r] [ttl=S]        keep others out; r: let readers in
unlock BOX[,BOX..]|* [grant=G]      q and a lost connection unlock, too
watch BOX[,BOX..] [after=V]         an EVENT for every message from now on
unwatch BOX[,BOX..]|*
stat [BOX|conns|locks]   hello [name=WORD]   ping   help   q
wait=S: seconds to wait, or inf (r w put take lock). Long: read write quit.
OK done.  DATA n: n bytes follow.  NO: not done, and why.  ERR: not possible.
";

/// Answers the requests of a job, one after the other. Each takes its place in the queue of its mailbox when the one
/// before is answered. The job comes home when it is done, when only the reactor can go on, when a message was taken,
/// or at the high-water mark of its output; it stays in a queue when its mailbox is not free, or has not what it needs.
/// Whom a release lets in goes to `let_in` at once, not when the batch is done: beside a long one others run it meanwhile.
pub fn run(mut job: Box<Job>, mailboxes: &Mailboxes, mut on_admitted: impl FnMut(Box<Job>)) -> Completion {
    let mut admitted = Vec::new();
    while job.current().is_some() && job.output.len() < OUTPUT_HIGH_WATER {
        let Some((mailbox, mode, wait)) = job.admission() else {
            if !answer(&mut job, mailboxes) {
                break;
            }
            continue;
        };
        let right = job.access(mailbox, mode);
        if matches!(right, Access::Insufficient | Access::Expired) {
            refuse_access(&mut job, right);
            continue;
        }
        let tries_once = wait == Wait::For(Duration::ZERO);
        let own = job.locks.as_mut().filter(|_| right == Access::Owned).map(|held| held.borrow(mailbox));
        let is_own = own.is_some();
        let passed = match own.or_else(|| job.grant.take()) {
            Some(grant) => Some(Err(grant)),
            None => try_inline(&mut job, mailboxes, mailbox, mode, &mut admitted),
        };
        let mut grant = match passed {
            Some(Ok(())) => {
                admitted.drain(..).map(with_grant).for_each(&mut on_admitted);
                continue;
            }
            Some(Err(grant)) => grant,
            None if tries_once => {
                time_out(&mut job, mailboxes);
                continue;
            }
            // Only the reactor knows who waits for whom.
            None if job.has_locks() => break,
            None => match admit(job, mailboxes, mailbox, mode, wait) {
                Ok((grant, granted)) => {
                    job = granted;
                    grant
                }
                Err(parked) => return Completion::WaitStarted(parked),
            },
        };
        job.tally.overtakes += u64::from(grant.overtaken());
        let answer = job.output.len();
        match execute_granted(&mut job, mailboxes, &mut grant, is_own) {
            Done::Answered => job.advance(),
            Done::Took(taken) => {
                let grant = return_own(&mut job, mailbox, grant, is_own);
                let waited = job.waiting.is_some_and(|waiting| waiting.request == job.answered);
                job.in_flight = Some(InFlight { mailbox, taken, grant, answer, waited, until: None });
                job.advance();
                break;
            }
            // Under its own lock nobody else could bring what is missing.
            Done::Blocked(need) if tries_once || is_own => {
                job.blocked_on = Some(need);
                time_out(&mut job, mailboxes);
            }
            Done::Blocked(need) => {
                job.blocked_on = Some(need);
                job.grant = Some(grant);
                if job.has_locks() {
                    break;
                }
                return Completion::WaitStarted(wait_for(job, mailboxes, on_admitted));
            }
        }
        if let Some(grant) = return_own(&mut job, mailbox, grant, is_own) {
            mailboxes.release(mailbox, grant, &mut admitted);
            admitted.drain(..).map(with_grant).for_each(&mut on_admitted);
        }
    }
    Completion::Done(job)
}

/// Answers the current request in one critical section of its mailbox's queue, if it is brief; a grant for it if it is not;
/// `None` when somebody is in the way.
fn try_inline(
    job: &mut Job,
    mailboxes: &Mailboxes,
    mailbox: u32,
    mode: Mode,
    admitted: &mut Vec<(Grant, Box<Job>)>,
) -> Option<Result<(), Grant>> {
    // Memory is made outside.
    job.output.reserve(INLINE_MAX + HEAD_MAX);
    let room = job.output.capacity();
    let work = |grant: &mut Grant| {
        is_inline(job, mailboxes).then(|| {
            job.tally.overtakes += u64::from(grant.overtaken());
            let done = execute_granted(job, mailboxes, grant, false);
            assert!(matches!(done, Done::Answered), "a brief request neither takes nor misses anything");
            debug_assert_eq!(job.output.capacity(), room, "a brief answer");
            job.advance();
        })
    };
    mailboxes.try_inline(mailbox, mode, work, admitted)
}

/// Whether the current request, which is in, is answered in about the time that it takes to let somebody in and out.
fn is_inline(job: &Job, mailboxes: &Mailboxes) -> bool {
    let Some(Framed { request, body, .. }) = job.current() else { return false };
    match *request {
        Request::Read { mailbox, after: None, .. } => {
            let capacity = mailboxes.geometry().capacity;
            mailboxes.segment().control(mailbox).approximate_bytes(capacity) <= INLINE_MAX as u64
        }
        Request::Write { offset: None, .. } => body.len() <= INLINE_MAX,
        _ => false,
    }
}

/// Puts a grant back to the connection's own locks if it is from there; else it comes back.
fn return_own(job: &mut Job, mailbox: u32, grant: Grant, is_own: bool) -> Option<Grant> {
    match &mut job.locks {
        Some(held) if is_own => {
            held.put_back(mailbox, grant);
            None
        }
        _ => Some(grant),
    }
}

/// Answers the current request of a job, which may not even wait.
pub fn refuse_access(job: &mut Job, right: Access) {
    let refusal = match right {
        Access::Insufficient => Refusal::Denied("your own lock of this mailbox is shared"),
        Access::Expired => Refusal::Lease,
        Access::Unlocked | Access::Owned => unreachable!("{right:?} is no reason to refuse"),
    };
    refuse(job, &refusal);
}

/// Gives a job the grant that it waited for.
pub fn with_grant((grant, mut job): (Grant, Box<Job>)) -> Box<Job> {
    job.grant = Some(grant);
    job
}

/// Takes a place for the current request of a job in the queue of a mailbox.
pub fn admit(
    job: Box<Job>,
    mailboxes: &Mailboxes,
    mailbox: u32,
    mode: Mode,
    wait: Wait,
) -> Result<(Grant, Box<Job>), WaitStarted> {
    let connection = job.connection;
    match mailboxes.queue(mailbox).admit(mode, job) {
        Admitted::Granted(grant, job) => Ok((grant, job)),
        Admitted::Queued(ticket) => Err(WaitStarted { connection, mailbox, ticket, wait }),
    }
}

/// Sets a job aside that was in a mailbox and missed something there.
pub fn wait_for(mut job: Box<Job>, mailboxes: &Mailboxes, let_in: impl FnMut(Box<Job>)) -> WaitStarted {
    let connection = job.connection;
    let (mailbox, _, wait) = job.admission().expect("it was in a mailbox");
    let (grant, need) = job.grant.take().zip(job.blocked_on).expect("it was in, and missed something");
    let mut admitted = Vec::new();
    let ticket = mailboxes.wait_for(mailbox, grant, need, job, &mut admitted);
    admitted.into_iter().map(with_grant).for_each(let_in);
    WaitStarted { connection, mailbox, ticket, wait }
}

/// Answers the current request of a job, which needs no mailbox; false when it is for the reactor to answer.
pub fn answer(job: &mut Job, mailboxes: &Mailboxes) -> bool {
    let Framed { request, eol, .. } = &job.requests[job.answered];
    let geometry = mailboxes.geometry();
    let (reply, outcome) = match request {
        Request::Ping => (Reply::Ok, Outcome::Info),
        Request::Help => (Reply::Text(HELP), Outcome::Info),
        Request::Hello { name: None } => {
            let (mailboxes, capacity, packet) = (geometry.mailboxes, geometry.capacity, geometry.packet);
            (Reply::Hello { mailboxes, capacity, packet }, Outcome::Info)
        }
        Request::Refused(refusal) => (Reply::Refused(refusal), outcome_of(refusal)),
        Request::Quit | Request::Foreign => {
            job.tally.count(if *request == Request::Quit { Outcome::Quit } else { Outcome::Foreign });
            job.advance();
            return true;
        }
        Request::Read { .. } | Request::Write { .. } | Request::Put { .. } | Request::Take { .. } => {
            return false;
        }
        Request::Lock(_) | Request::Unlock { .. } | Request::Watch { .. } | Request::Unwatch { .. } => {
            return false;
        }
        Request::Stat(_) | Request::Hello { name: Some(_) } => return false,
    };
    reply.encode(*eol, &mut job.output);
    job.tally.count(outcome);
    job.advance();
    true
}

/// Answers the current request of a job that waited in vain.
pub fn time_out(job: &mut Job, mailboxes: &Mailboxes) {
    let Framed { request, eol, .. } = &job.requests[job.answered];
    let (reply, outcome) = match request {
        Request::Take { .. } if job.blocked_on.is_some() => (Reply::NotDone(Reason::Empty), Outcome::Empty),
        Request::Put { .. } if job.blocked_on.is_some() => (Reply::NotDone(Reason::Full), Outcome::Full),
        Request::Lock(lock) if lock.wait == Wait::For(Duration::ZERO) => {
            (Reply::NotDone(Reason::Locked), Outcome::NotLocked)
        }
        Request::Read { mailbox, .. } => {
            (Reply::Timeout { version: mailboxes.version(*mailbox).ok() }, Outcome::Timeout)
        }
        _ => (Reply::Timeout { version: None }, Outcome::Timeout),
    };
    reply.encode(*eol, &mut job.output);
    job.tally.count(outcome);
    job.advance();
}

/// Answers the current request of a job `ERR`, whatever it was.
pub fn refuse(job: &mut Job, refusal: &Refusal) {
    let eol = job.requests[job.answered].eol;
    Reply::Refused(refusal).encode(eol, &mut job.output);
    job.tally.count(outcome_of(refusal));
    job.advance();
}

/// The same, and nothing behind that request is answered any more: the connection ends.
pub fn refuse_and_end(job: &mut Job, refusal: Refusal) {
    refuse(job, &refusal);
    job.requests.truncate(job.answered);
    job.requests[job.answered - 1].request = Request::Refused(refusal);
}

/// What came of a request that was in its mailbox.
enum Done {
    Answered,
    /// Answered by a message that is no longer in the mailbox.
    Took(Taken),
    Blocked(Condition),
}

/// Why a request changed nothing.
enum NotApplied {
    Conflict(u64),
    Multi,
    Refused(Refusal),
}

impl From<Damaged> for NotApplied {
    fn from(_: Damaged) -> Self {
        NotApplied::Refused(Refusal::Internal)
    }
}

/// Does what the current request of a job asks of its mailbox. A damaged mailbox ends the connection: what its client
/// believes of it is no longer true.
fn execute_granted(job: &mut Job, mailboxes: &Mailboxes, grant: &mut Grant, is_own: bool) -> Done {
    let eol = job.requests[job.answered].eol;
    let done = match job.requests[job.answered].request {
        Request::Read { mailbox, after, offset, len, .. } => {
            let part = (offset, len.unwrap_or(u64::MAX));
            match job.watch_cursor {
                Some(cursor) => encode_event(job, mailboxes, mailbox, grant, cursor, eol),
                None => read(job, mailboxes, mailbox, grant, after, part, eol),
            }
        }
        Request::Write { .. } => write(job, mailboxes, grant, eol),
        Request::Put { .. } => put(job, mailboxes, grant, is_own, eol),
        Request::Take { mailbox, .. } => take(job, mailboxes, mailbox, grant, eol),
        ref other => unreachable!("{other:?} needs no mailbox"),
    };
    match done {
        Ok(done) => return done,
        Err(NotApplied::Conflict(version)) => {
            Reply::Conflict { version }.encode(eol, &mut job.output);
            job.tally.count(Outcome::Conflict);
        }
        Err(NotApplied::Multi) => {
            Reply::NotDone(Reason::Multi).encode(eol, &mut job.output);
            job.tally.count(Outcome::Multi);
        }
        Err(NotApplied::Refused(refusal)) => {
            Reply::Refused(&refusal).encode(eol, &mut job.output);
            job.tally.count(outcome_of(&refusal));
            if refusal.closes() {
                job.requests.truncate(job.answered + 1);
                job.requests[job.answered].request = Request::Refused(refusal);
            }
        }
    }
    Done::Answered
}

fn read(
    job: &mut Job,
    mailboxes: &Mailboxes,
    mailbox: u32,
    grant: &Grant,
    after: Option<u64>,
    (offset, len): (u64, u64),
    eol: Eol,
) -> Result<Done, NotApplied> {
    let block = mailboxes.read(mailbox, grant);
    let message = match after {
        None => block.read(offset, len)?,
        Some(version) => {
            let place = job.read_cursor.filter(|(at, place)| *at == mailbox && place.version == version);
            let cursor = place.map_or(Cursor::at(version), |(_, place)| place);
            match block.after(cursor, offset, len)? {
                Some((message, cursor)) => {
                    job.read_cursor = Some((mailbox, cursor)).filter(|_| message.count > LONG_LIST);
                    message
                }
                None => return Ok(Done::Blocked(Condition::NewerThan(version))),
            }
        }
    };
    Reply::from(message).encode(eol, &mut job.output);
    job.tally.count(Outcome::Read);
    Ok(Done::Answered)
}

/// A standing read: the next message for those who watch.
fn encode_event(
    job: &mut Job,
    mailboxes: &Mailboxes,
    mailbox: u32,
    grant: &Grant,
    cursor: Cursor,
    eol: Eol,
) -> Result<Done, NotApplied> {
    let block = mailboxes.read(mailbox, grant);
    let Some((message, cursor)) = block.after(cursor, 0, u64::MAX)? else {
        return Ok(Done::Blocked(Condition::NewerThan(cursor.version)));
    };
    let (parts, version, lost) = (message.parts, message.version, message.lost);
    Reply::Event { mailbox, parts, version, lost }.encode(eol, &mut job.output);
    job.watch_cursor = Some(cursor);
    Ok(Done::Answered)
}

fn write(job: &mut Job, mailboxes: &Mailboxes, grant: &mut Grant, eol: Eol) -> Result<Done, NotApplied> {
    let Framed { request, body, .. } = &job.requests[job.answered];
    let &Request::Write { mailbox, expected, offset, .. } = request else {
        unreachable!("called for a write")
    };
    let bytes = &job.input[body.clone()];
    let mut block = mailboxes.write(mailbox, grant);
    if let Some(expected) = expected {
        let version = block.version()?;
        if version != expected {
            return Err(NotApplied::Conflict(version));
        }
    }
    let version = match offset {
        None => block.write(bytes)?,
        Some(offset) => match mailboxes.geometry().capacity.checked_sub(offset) {
            Some(room) if bytes.len() as u64 <= room => match block.patch(offset as usize, bytes)? {
                Patched::Done { version } => version,
                Patched::Multi => return Err(NotApplied::Multi),
            },
            room => return Err(NotApplied::Refused(Refusal::Size { max: room.unwrap_or(0), close: false })),
        },
    };
    Reply::Written { version }.encode(eol, &mut job.output);
    job.tally.count(Outcome::Written);
    Ok(Done::Answered)
}

fn put(
    job: &mut Job,
    mailboxes: &Mailboxes,
    grant: &mut Grant,
    is_own: bool,
    eol: Eol,
) -> Result<Done, NotApplied> {
    let Framed { request, body, .. } = &job.requests[job.answered];
    let &Request::Put { mailbox, dropping, .. } = request else { unreachable!("called for a put") };
    let bytes = &job.input[body.clone()];
    // Whoever waits for room comes first, even if this one needs less; it has come from there itself when it missed
    // something before.
    let waits_behind = || !is_own && job.blocked_on.is_none() && mailboxes.queue(mailbox).has_room_waiter();
    let mut block = mailboxes.write(mailbox, grant);
    let put = match dropping {
        true => Some(block.put_dropping(bytes)?),
        false if waits_behind() => None,
        false => block.put(bytes)?,
    };
    let Some(contents) = put else { return Ok(Done::Blocked(Condition::Room(bytes.len() as u64))) };
    Reply::Put { version: contents.version, count: contents.count }.encode(eol, &mut job.output);
    job.tally.count(Outcome::Put);
    Ok(Done::Answered)
}

/// The message is counted as taken when its answer has been written.
fn take(
    job: &mut Job,
    mailboxes: &Mailboxes,
    mailbox: u32,
    grant: &mut Grant,
    eol: Eol,
) -> Result<Done, NotApplied> {
    let mut block = mailboxes.write(mailbox, grant);
    let taken = block.take(|message| Reply::from(message).encode(eol, &mut job.output))?;
    Ok(taken.map_or(Done::Blocked(Condition::NonEmpty), Done::Took))
}

impl<'a> From<crate::mailboxes::Message<'a>> for Reply<'a> {
    fn from(message: crate::mailboxes::Message<'a>) -> Self {
        let crate::mailboxes::Message { parts, version, count, lost } = message;
        Reply::Message { parts, version, count, lost }
    }
}

fn outcome_of(refusal: &Refusal) -> Outcome {
    match refusal {
        Refusal::Syntax(_) => Outcome::Syntax,
        Refusal::Verb(_) => Outcome::Verb,
        Refusal::Mailbox { .. } => Outcome::Mailbox,
        Refusal::Size { .. } | Refusal::Count { .. } => Outcome::Size,
        Refusal::Lease => Outcome::Lease,
        Refusal::Deadlock => Outcome::Deadlock,
        Refusal::Denied(_) => Outcome::Denied,
        Refusal::Frame(_) => Outcome::Frame,
        Refusal::Drain => Outcome::Drain,
        Refusal::Internal | Refusal::Busy { .. } => Outcome::Internal,
    }
}
