//! Execution of requests in their mailbox. A *run* is a sequence of requests of one batch for one mailbox. A
//! *stay* is the time from a grant to its release.
//!
//! **A run is one stay.** The requests of a run are executed under one grant, as long as the mode of the
//! grant covers the next request. The stay ends earlier when the batch must be interrupted, after
//! [`STAY_MAX`] bytes, and after a request that has waited for a condition. The stay also ends as soon as the
//! condition of a waiter in the wait set holds, because that waiter is next.

use super::Mailboxes;
use super::job::{Acquire, InFlight, Job, JobState, Outcome, WaitReason};
use super::step::{Next, OUTPUT_HIGH_WATER, pass_on, time_out};
use super::take::{back, done, forget_before, hand_out, take};
use super::transfer::{SENT_MAX, SendMessage, message_len};
use crate::mailboxes::{Condition, Contents, Cursor, Damaged, Grant, Mode, Patched, Released, Taken};
use crate::memory;
use crate::protocol::{Framed, MailboxRequest, Reason, Refusal, Reply, Request, SizeLimit, Style};
use crate::workers::job::Owner;

/// Largest number of bytes that a request copies while the mutex of the mailbox's queue is held.
const INLINE_MAX: usize = 4 * 1024;

/// Largest number of bytes of the answer to such a request, not counting its data, and of a refusal.
const HEAD_MAX: usize = 256;

/// A stay ends after it has copied this many bytes. A walk over a list counts as well.
pub(super) const STAY_MAX: usize = 128 * 1024;

/// The read position is stored for lists with more messages than this, because finding it takes a step for
/// each message.
const LONG_LIST: u64 = 64;

/// Cost of such a step, as the number of bytes that could be copied in the same time.
const STEP_COST: usize = 64;

/// The result of [`try_inline`].
pub(super) enum Inlined {
    /// The request was answered.
    Answered,
    /// The request was admitted, and is to be executed.
    Granted(Grant),
    /// The request cannot be admitted at once.
    Conflict,
    /// The answer needs this many bytes of memory, which are not available.
    Exhausted(usize),
}

/// The result of a request that was admitted.
pub(super) enum Applied {
    Answered,
    /// Answered, after a walk over this many entries.
    Walked(u64),
    /// Answered with a message of this many bytes, which was passed to the socket.
    Sent(usize),
    /// Answered by a message that is no longer in the mailbox. It was handed out this often before.
    Took(Taken, u32),
    /// Nothing has changed: the mailbox does not meet the condition.
    Blocked(Condition),
    /// Nothing has changed: the answer needs this many bytes of memory, which are not available.
    Exhausted(usize),
}

/// Why an admitted request changed nothing.
pub(super) enum NotApplied {
    Conflict(u64),
    Ahead(u64),
    Multi,
    Refused(Refusal),
}

impl From<Damaged> for NotApplied {
    fn from(_: Damaged) -> Self {
        NotApplied::Refused(Refusal::Internal)
    }
}

/// Admits the current request of a job if that is possible at once. A small request is also executed and its
/// grant released, all in one critical section of the queue.
pub(super) fn try_inline(
    job: &mut Job,
    mailboxes: &Mailboxes,
    acquire: Acquire,
    on_admitted: &mut impl FnMut(Next),
) -> Inlined {
    // Allocated outside of the critical section.
    if memory::reserve(&mut job.output, INLINE_MAX + HEAD_MAX).is_err() {
        return Inlined::Exhausted(job.output.len() + INLINE_MAX + HEAD_MAX);
    }
    let capacity = job.output.capacity();
    let Acquire { mailbox, mode, .. } = acquire;
    let work = |grant: &mut Grant| {
        // A change of a mailbox with messages in hand needs the mutex itself.
        let locks_queue = mode == Mode::Exclusive && grant.has_in_hand();
        (!locks_queue && is_inline(job, mailboxes, acquire)).then(|| {
            job.tally.overtakes += u64::from(grant.overtaken());
            let applied = apply(job, mailboxes, grant, false, None);
            assert!(matches!(applied, Applied::Answered), "a small request neither takes nor waits");
            debug_assert_eq!(job.output.capacity(), capacity, "a small answer");
            job.advance();
        })
    };
    let mut released = Released::default();
    match mailboxes.try_inline(mailbox, mode, work, &mut released) {
        None => Inlined::Conflict,
        Some(Err(grant)) => Inlined::Granted(grant),
        Some(Ok(())) => {
            pass_on(mailbox, released, on_admitted);
            Inlined::Answered
        }
    }
}

/// Whether the current request is small: it takes about as long as admission and release. The first request
/// of a longer run does not count as small, because the run is executed under one grant.
fn is_inline(job: &Job, mailboxes: &Mailboxes, acquire: Acquire) -> bool {
    let is_small = match job.mailbox_request(job.next) {
        Some(MailboxRequest::Read { mailbox, after: None, .. }) => {
            let capacity = mailboxes.geometry().capacity;
            mailboxes.segment().control(*mailbox).approximate_bytes(capacity) <= INLINE_MAX as u64
        }
        Some(MailboxRequest::Write { offset: None, .. }) => job.requests[job.next].body.len() <= INLINE_MAX,
        _ => false,
    };
    // A padded answer may be longer than INLINE_MAX.
    let is_padded = job.requests[job.next].style.padded_len() > 0;
    is_small && !is_padded && !continues_run(job, job.next + 1, acquire.mailbox, Mode::Exclusive)
}

/// Whether the request with this index is for this mailbox, and a grant of this mode covers it.
fn continues_run(job: &Job, index: usize, mailbox: u32, mode: Mode) -> bool {
    job.mailbox_request(index)
        .map(Acquire::from)
        .is_some_and(|next| next.mailbox == mailbox && (mode == Mode::Exclusive || next.mode == Mode::Shared))
}

/// Executes the current request of a job. An admitted request is executed with its run. A request under the
/// client's own lock is executed alone.
pub(super) fn execute(
    job: &mut Job,
    mailboxes: &Mailboxes,
    acquire: Acquire,
    on_admitted: &mut impl FnMut(Next),
) {
    match job.take_state() {
        JobState::Granted(grant) => execute_run(job, mailboxes, acquire.mailbox, grant, None, on_admitted),
        _ => execute_owned(job, mailboxes, acquire.mailbox),
    }
}

pub(super) fn execute_run(
    job: &mut Job,
    mailboxes: &Mailboxes,
    mailbox: u32,
    mut grant: Grant,
    mut send: Option<&mut SendMessage>,
    on_admitted: &mut impl FnMut(Next),
) {
    job.tally.overtakes += u64::from(grant.overtaken());
    let mut copied = 0;
    loop {
        let answer_offset = job.output.len();
        copied += job.requests[job.next].body.len() + walk_cost(job, mailboxes);
        match apply(job, mailboxes, &mut grant, false, send.as_deref_mut()) {
            Applied::Answered => {
                copied += patch_cost(job, mailboxes);
                job.advance();
            }
            Applied::Walked(steps) => {
                copied += cost_of_steps(steps);
                job.advance();
            }
            Applied::Sent(bytes) => {
                copied += bytes;
                job.advance();
            }
            Applied::Took(taken, tries) => {
                let grant = Some(grant);
                let in_flight = InFlight { mailbox, taken, tries, grant, answer_offset, deadline: None };
                job.state = JobState::InFlight(in_flight);
                return job.advance();
            }
            // The message for the watchers no longer exists. The read for the watchers ends without an event.
            Applied::Blocked(_) if matches!(job.owner, Owner::Watch(_)) => job.advance(),
            Applied::Blocked(condition) if job.acquire().is_some_and(|acquire| acquire.has_zero_wait()) => {
                time_out(job, mailboxes, WaitReason::Condition(condition));
            }
            Applied::Blocked(condition) => {
                job.state = JobState::Blocked(grant, condition);
                return;
            }
            Applied::Exhausted(bytes) => {
                job.state = JobState::Exhausted(Some(grant), bytes);
                return;
            }
        }
        copied += job.output.len().saturating_sub(answer_offset);
        // A request from the wait set was admitted before the queue. Further requests of its batch must not
        // overtake the queue.
        let may_stay = !grant.resumed() && copied < STAY_MAX && job.output.len() < OUTPUT_HIGH_WATER;
        let is_run = may_stay && continues_run(job, job.next, mailbox, grant.mode());
        // The reactor copies no longer message.
        let may_send = || message_len(job, mailboxes, &grant).is_some_and(|len| len <= SENT_MAX);
        if !is_run || send.is_some() && !may_send() || mailboxes.must_yield(mailbox, &grant) {
            break;
        }
    }
    let mut released = Released::default();
    mailboxes.release(mailbox, grant, &mut released);
    pass_on(mailbox, released, on_admitted);
}

/// Cost of finding the message that the current request reads. 0 if the message is the newest one, or if the
/// cursor has the position of the message.
pub(super) fn walk_cost(job: &Job, mailboxes: &Mailboxes) -> usize {
    let Some(&MailboxRequest::Read { mailbox, after: Some(after), .. }) = job.mailbox_request(job.next)
    else {
        return 0;
    };
    let is_known = job.cursor.is_some_and(|(of, cursor)| of == mailbox && cursor.version == after);
    let Ok(Contents { version, entries, .. }) = mailboxes.contents(mailbox) else { return 0 };
    if is_known || after >= version.saturating_sub(1) {
        return 0;
    }
    cost_of_steps(entries.saturating_sub(version - after))
}

/// Cost of a walk over this many entries.
fn cost_of_steps(steps: u64) -> usize {
    usize::try_from(steps).unwrap_or(usize::MAX).saturating_mul(STEP_COST)
}

/// About how many bytes the current request has copied within its mailbox, if it is a patch.
fn patch_cost(job: &Job, mailboxes: &Mailboxes) -> usize {
    let Some(&MailboxRequest::Write { mailbox, offset: Some(_), .. }) = job.mailbox_request(job.next) else {
        return 0;
    };
    mailboxes.segment().control(mailbox).approximate_bytes(mailboxes.geometry().capacity) as usize
}

fn execute_owned(job: &mut Job, mailboxes: &Mailboxes, mailbox: u32) {
    let mut locks = job.locks.take().expect("a client's own lock covers the request");
    let grant = locks.grant(mailbox).expect("a client's own lock covers the request");
    let answer_offset = job.output.len();
    let applied = apply(job, mailboxes, grant, true, None);
    job.locks = Some(locks);
    match applied {
        Applied::Answered | Applied::Walked(_) | Applied::Sent(_) => job.advance(),
        Applied::Took(taken, tries) => {
            let in_flight = InFlight { mailbox, taken, tries, grant: None, answer_offset, deadline: None };
            job.state = JobState::InFlight(in_flight);
            job.advance();
        }
        // No other client can change the mailbox under this client's lock.
        Applied::Blocked(condition) => time_out(job, mailboxes, WaitReason::Condition(condition)),
        Applied::Exhausted(bytes) => job.state = JobState::Exhausted(None, bytes),
    }
}

/// Applies the current request to its mailbox. A damaged mailbox ends the connection, because the client's
/// knowledge of it is no longer valid.
fn apply(
    job: &mut Job,
    mailboxes: &Mailboxes,
    grant: &mut Grant,
    is_own: bool,
    send: Option<&mut SendMessage>,
) -> Applied {
    let Framed { request: Request::Mailbox(request), style, .. } = &job.requests[job.next] else {
        return Applied::Answered;
    };
    let style = *style;
    let applied = match *request {
        MailboxRequest::Read { mailbox, after, offset, len, .. } => {
            let range = (offset, len.unwrap_or(u64::MAX));
            read(job, mailboxes, mailbox, grant, after, range, Answer { style, send })
        }
        MailboxRequest::Write { mailbox, expected, offset, .. } => {
            write(job, mailboxes, mailbox, grant, expected, offset, style)
        }
        MailboxRequest::Put { mailbox, dropping, .. } => {
            put(job, mailboxes, mailbox, grant, dropping, is_own, style)
        }
        MailboxRequest::Take { mailbox, ttl: None, .. } => take(job, mailboxes, mailbox, grant, style),
        MailboxRequest::Take { mailbox, ttl: Some(ttl), .. } => {
            hand_out(job, mailboxes, mailbox, grant, ttl, style)
        }
        MailboxRequest::Done { mailbox, version, .. } => {
            done(job, mailboxes, (mailbox, version), grant, style)
        }
        MailboxRequest::Version { mailbox, version, .. } => {
            raise_version(job, mailboxes, mailbox, grant, version, style)
        }
        MailboxRequest::Back { mailbox, version, .. } => back(job, mailboxes, (mailbox, version), style),
    };
    let error = match applied {
        Ok(applied) => return applied,
        Err(error) => error,
    };
    let (reply, outcome) = match &error {
        NotApplied::Conflict(version) => (Reply::Conflict { version: *version }, Outcome::Conflict),
        NotApplied::Ahead(version) => {
            (Reply::Ahead { versions: std::slice::from_ref(version) }, Outcome::Ahead)
        }
        NotApplied::Multi => (Reply::NotDone(Reason::Multi), Outcome::Multi),
        NotApplied::Refused(refusal) => (Reply::Refused(refusal), refusal.into()),
    };
    reply.encode(style, &mut job.output);
    job.tally.count(outcome);
    if let NotApplied::Refused(refusal) = error
        && refusal.closes()
    {
        job.requests.truncate(job.next + 1);
        job.requests[job.next].request = Request::Refused(refusal);
    }
    Applied::Answered
}

fn read(
    job: &mut Job,
    mailboxes: &Mailboxes,
    mailbox: u32,
    grant: &Grant,
    after: Option<u64>,
    (offset, len): (u64, u64),
    answer: Answer,
) -> Result<Applied, NotApplied> {
    let block = mailboxes.read(mailbox, grant);
    let Some(version) = after else {
        let message = block.read(offset, len)?;
        if let Err(exhausted) = reserve_answer(&mut job.output, message.len(), answer.style) {
            return Ok(exhausted);
        }
        let applied = answer.append(&Reply::from(message), &mut job.output);
        job.tally.count(Outcome::Read);
        return Ok(applied);
    };
    let newest = block.version()?;
    if version > newest {
        return Err(NotApplied::Ahead(newest));
    }
    let cursor = cursor_after(job, mailbox, version);
    let Some((message, cursor)) = block.after(cursor, offset, len)? else {
        return Ok(Applied::Blocked(Condition::NewerThan(version)));
    };
    if let Err(exhausted) = reserve_answer(&mut job.output, message.len(), answer.style) {
        return Ok(exhausted);
    }
    Ok(match job.owner {
        Owner::Client(_) | Owner::Packet(_) => {
            job.cursor = (message.count > LONG_LIST).then_some((mailbox, cursor));
            job.tally.count(Outcome::Read);
            answer.append(&Reply::from(message), &mut job.output)
        }
        Owner::Watch(_) => {
            job.cursor = Some((mailbox, cursor));
            let (parts, version, lost) = (message.parts, message.version, message.lost);
            answer.append(&Reply::Event { mailbox, parts, version, lost }, &mut job.output)
        }
    })
}

/// The cursor of a read of the first message after a version.
pub(super) fn cursor_after(job: &Job, mailbox: u32, version: u64) -> Cursor {
    let known = job.cursor.filter(|(of, cursor)| *of == mailbox && cursor.version == version);
    known.map_or(Cursor::at(version), |(_, cursor)| cursor)
}

/// Where the answer to a read goes.
struct Answer<'a, 'b> {
    style: Style,
    /// The socket, instead of the output.
    send: Option<&'a mut SendMessage<'b>>,
}

impl Answer<'_, '_> {
    /// Appends the answer to the output, or sends it.
    fn append(self, reply: &Reply, output: &mut Vec<u8>) -> Applied {
        match (self.send, reply) {
            (Some(send), &Reply::Message { parts, .. } | &Reply::Event { parts, .. }) => {
                let end = reply.encode_around(self.style, output);
                send(output, parts, end);
                Applied::Sent(parts[0].len() + parts[1].len())
            }
            _ => {
                reply.encode(self.style, output);
                Applied::Answered
            }
        }
    }
}

fn write(
    job: &mut Job,
    mailboxes: &Mailboxes,
    mailbox: u32,
    grant: &mut Grant,
    expected: Option<u64>,
    offset: Option<u64>,
    style: Style,
) -> Result<Applied, NotApplied> {
    let bytes = &job.input[job.requests[job.next].body.clone()];
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
            room => {
                let limit = if room.is_some() { SizeLimit::End } else { SizeLimit::BehindEnd };
                let (sent, max) = (Some(bytes.len() as u64), room.unwrap_or(0));
                let refusal = Refusal::Size { sent, max, limit, close: false };
                return Err(NotApplied::Refused(refusal));
            }
        },
    };
    forget_before(mailboxes, mailbox, grant, version);
    Reply::Written { version }.encode(style, &mut job.output);
    job.tally.count(Outcome::Written);
    Ok(Applied::Answered)
}

fn put(
    job: &mut Job,
    mailboxes: &Mailboxes,
    mailbox: u32,
    grant: &mut Grant,
    dropping: bool,
    is_own: bool,
    style: Style,
) -> Result<Applied, NotApplied> {
    let bytes = &job.input[job.requests[job.next].body.clone()];
    // Requests that wait for room come first, even if this request needs less room. A request from the wait
    // set was the first of them.
    let waits_behind = !is_own
        && !grant.resumed()
        && grant.has_waiters()
        && !dropping
        && mailboxes.queue(mailbox).has_room_waiter();
    let mut block = mailboxes.write(mailbox, grant);
    let put = match dropping {
        true => Some(block.put_dropping(bytes)?),
        false if waits_behind => None,
        false => block.put(bytes)?,
    };
    let Some(contents) = put else { return Ok(Applied::Blocked(Condition::Room(bytes.len() as u64))) };
    if dropping {
        forget_before(mailboxes, mailbox, grant, contents.first());
    }
    Reply::Put { version: contents.version, count: contents.count }.encode(style, &mut job.output);
    job.tally.count(Outcome::Put);
    Ok(Applied::Answered)
}

/// Raises the version of an empty mailbox.
fn raise_version(
    job: &mut Job,
    mailboxes: &Mailboxes,
    mailbox: u32,
    grant: &mut Grant,
    version: u64,
    style: Style,
) -> Result<Applied, NotApplied> {
    let mut block = mailboxes.write(mailbox, grant);
    if !block.raise_version(version)? {
        return Err(NotApplied::Conflict(block.version()?));
    }
    Reply::Written { version }.encode(style, &mut job.output);
    job.tally.count(Outcome::Written);
    Ok(Applied::Answered)
}

/// Makes room for an answer with a message of `len` bytes.
pub(super) fn reserve_answer(output: &mut Vec<u8>, len: usize, style: Style) -> Result<(), Applied> {
    let bytes = len.max(style.padded_len()) + HEAD_MAX;
    // The buffer may have to be moved, so the memory of all its bytes is needed.
    memory::reserve(output, bytes).map_err(|_| Applied::Exhausted(output.len() + bytes))
}

impl<'a> From<crate::mailboxes::Message<'a>> for Reply<'a> {
    fn from(message: crate::mailboxes::Message<'a>) -> Self {
        let crate::mailboxes::Message { parts, version, count, lost } = message;
        Reply::Message { parts, version, count, lost }
    }
}
