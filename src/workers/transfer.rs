//! Requests with a large message, which only the kernel copies: from the mailbox to the socket, or from the
//! socket to the mailbox.

use super::Mailboxes;
use super::execute::{STAY_MAX, cursor_after, execute_run, walk_cost};
use super::job::{Acquire, Job, JobState, Outcome, Owner};
use super::step::Next;
use super::take::forget_before;
use crate::mailboxes::{Grant, Incoming, Mode};
use crate::protocol::{MailboxRequest, Reply, Request};

/// A message of at least this many bytes is sent from the mailbox itself. The simulation sends messages of a
/// few bytes.
pub(crate) const SENT_MIN: usize = if cfg!(test) { 30 } else { 16 * 1024 };

/// A larger message is copied by a worker: the reactor sends other answers meanwhile.
pub(super) const SENT_MAX: usize = 2 * 1024 * 1024;

/// Passes a message to a socket: the output with the bytes before the message, the message, and the bytes
/// after it. What is not passed to the socket is left in the output.
pub(crate) type SendMessage<'a> = dyn FnMut(&mut Vec<u8>, [&[u8]; 2], &[u8]) + 'a;

/// Executes the current request of a job, which [`is_sent`], and the rest of its run.
pub(crate) fn execute_and_send(
    job: &mut Job,
    mailboxes: &Mailboxes,
    acquire: Acquire,
    send: &mut SendMessage,
    on_admitted: &mut impl FnMut(Next),
) {
    match job.take_state() {
        JobState::Granted(grant) => {
            execute_run(job, mailboxes, acquire.mailbox, grant, Some(send), on_admitted);
        }
        state => job.state = state,
    }
}

/// Whether the current request of a job, which was admitted, reads a large message for clients. The reactor
/// sends this message from the mailbox itself.
pub(crate) fn is_sent(job: &Job, mailboxes: &Mailboxes) -> bool {
    let Some(framed) = job.requests.get(job.next) else { return false };
    let &Request::Mailbox(MailboxRequest::Read { mailbox, .. }) = &framed.request else { return false };
    let JobState::Granted(grant) = &job.state else { return false };
    let capacity = mailboxes.geometry().capacity;
    // Most messages are small. The estimates find them out without a look at the ring.
    let control = mailboxes.segment().control(mailbox);
    control.approximate_bytes(capacity) >= SENT_MIN as u64
        && control.mean_bytes(capacity) >= SENT_MIN as u64
        && !job.copies
        && grant.mode() == Mode::Shared
        && framed.style.padded_len() == 0
        && !matches!(job.owner, Owner::Packet(_))
        && message_len(job, mailboxes, grant).is_some_and(|len| (SENT_MIN..=SENT_MAX).contains(&len))
}

/// Number of bytes of the message that the current request of a job reads under a grant. `None` if there is
/// none, or if finding it takes long.
pub(super) fn message_len(job: &Job, mailboxes: &Mailboxes, grant: &Grant) -> Option<usize> {
    let &MailboxRequest::Read { mailbox, after, offset, len, .. } = job.mailbox_request(job.next)? else {
        return None;
    };
    let (block, len) = (mailboxes.read(mailbox, grant), len.unwrap_or(u64::MAX));
    let message = match after {
        None => block.read(offset, len).ok()?,
        Some(_) if walk_cost(job, mailboxes) >= STAY_MAX => return None,
        Some(version) => block.after(cursor_after(job, mailbox, version), offset, len).ok()??.0,
    };
    Some(message.len())
}

/// Whether the data of a request may be received into the mailbox: without a condition that could refuse the
/// request after its data was received.
pub(crate) fn is_received(request: &Request) -> bool {
    matches!(
        request,
        Request::Mailbox(
            MailboxRequest::Write { expected: None, offset: None, .. }
                | MailboxRequest::Put { dropping: false, .. }
        )
    )
}

/// Executes the only request of a job, which [`is_received`], under an exclusive grant. Returns false, and
/// receives nothing, if the mailbox does not take the message now.
///
/// # Errors
///
/// The data could not be received. The mailbox has its old content.
pub(crate) fn execute_and_receive<E>(
    job: &mut Job,
    mailboxes: &Mailboxes,
    grant: &mut Grant,
    data: Incoming<'_, E>,
) -> Result<bool, E> {
    let style = job.requests[job.next].style;
    match job.requests[job.next].request {
        Request::Mailbox(MailboxRequest::Write { mailbox, .. }) => {
            // If the mailbox is damaged, the request is received, and then refused.
            let Ok(written) = mailboxes.write(mailbox, grant).write_from(data) else { return Ok(false) };
            let version = written?;
            forget_before(mailboxes, mailbox, grant, version);
            Reply::Written { version }.encode(style, &mut job.output);
            job.tally.count(Outcome::Written);
        }
        Request::Mailbox(MailboxRequest::Put { mailbox, .. }) => {
            if grant.has_waiters() && mailboxes.queue(mailbox).has_room_waiter() {
                return Ok(false);
            }
            let Ok(Some(put)) = mailboxes.write(mailbox, grant).put_from(data) else { return Ok(false) };
            let contents = put?;
            Reply::Put { version: contents.version, count: contents.count }.encode(style, &mut job.output);
            job.tally.count(Outcome::Put);
        }
        _ => return Ok(false),
    }
    job.advance();
    Ok(true)
}
