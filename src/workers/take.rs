//! Requests that take messages: `take` removes a message or hands it out, `done` removes a message in hand,
//! and `back` gives it back.

use std::time::Duration;

use super::Mailboxes;
use super::execute::{Applied, NotApplied, reserve_answer};
use super::job::{Job, Outcome, Owner};
use super::receipts::{IN_HAND_MAX, Receipt};
use crate::mailboxes::{Candidate, Condition, Damaged, Grant, IN_HAND_MEMORY, InHand, Located, Message};
use crate::memory::{self, Use};
use crate::protocol::{Refusal, Reply, Style};

/// Bytes of memory of a message in hand: of its entries in the tables of its mailbox and of its client.
const RECEIPT_MEMORY: usize = 2 * IN_HAND_MEMORY;

/// Forgets the messages in hand before the version `first`, because a change has removed them.
pub(super) fn forget_before(mailboxes: &Mailboxes, mailbox: u32, grant: &Grant, first: u64) {
    if grant.has_in_hand() {
        mailboxes.queue(mailbox).with_in_hand(|in_hand| InHand::forget_before(in_hand, first));
    }
}

/// Takes the oldest message that is not in hand. The message counts as taken when the answer has been
/// written.
pub(super) fn take(
    job: &mut Job,
    mailboxes: &Mailboxes,
    mailbox: u32,
    grant: &mut Grant,
    style: Style,
) -> Result<Applied, NotApplied> {
    let Some((located, tries)) = locate(mailboxes, mailbox, grant)? else {
        return Ok(Applied::Blocked(Condition::NonEmpty));
    };
    if let Err(exhausted) = reserve_answer(&mut job.output, located.len, style) {
        return Ok(exhausted);
    }
    // Readers of the shared memory must not see the mailbox without a message that may be put back.
    mailboxes.hold(mailbox, grant);
    if grant.has_in_hand() {
        mailboxes.queue(mailbox).with_in_hand(|in_hand| InHand::forget(in_hand, &located));
    }
    let mut block = mailboxes.write(mailbox, grant);
    let taken = block.remove(located.location)?;
    // The bytes of a removed message stay in the ring until the mailbox is changed again.
    Reply::from(block.message(&located)?).encode(style, &mut job.output);
    Ok(Applied::Took(taken, tries))
}

/// Hands out the oldest message that is not in hand.
pub(super) fn hand_out(
    job: &mut Job,
    mailboxes: &Mailboxes,
    mailbox: u32,
    grant: &mut Grant,
    ttl: Duration,
    style: Style,
) -> Result<Applied, NotApplied> {
    debug_assert!(matches!(job.owner, Owner::Client(_)), "only connections can have messages in hand");
    if job.receipts.as_ref().is_some_and(|receipts| receipts.len() >= IN_HAND_MAX) {
        return Err(NotApplied::Refused(Refusal::InHand { max: IN_HAND_MAX }));
    }
    let Some((located, tries)) = locate(mailboxes, mailbox, grant)? else {
        return Ok(Applied::Blocked(Condition::NonEmpty));
    };
    if let Err(exhausted) = reserve_answer(&mut job.output, located.len, style) {
        return Ok(exhausted);
    }
    if !memory::has_room(RECEIPT_MEMORY, Use::Lasting) {
        return Ok(Applied::Exhausted(job.output.len() + located.len + RECEIPT_MEMORY));
    }
    let block = mailboxes.read(mailbox, grant);
    let Message { parts, version, count, .. } = block.message(&located)?;
    Reply::HandedOut { parts, version, count, tries: tries + 1 }.encode(style, &mut job.output);
    drop(block);
    grant.set_has_in_hand();
    mailboxes.queue(mailbox).with_in_hand(|in_hand| InHand::hand_out(in_hand, &located));
    let receipt = Receipt { mailbox, version, ttl, eol: style.eol() };
    job.receipts.get_or_insert_default().add(receipt);
    job.tally.count(Outcome::Taken);
    Ok(Applied::Walked(located.steps))
}

/// Removes a message that the client has in hand.
pub(super) fn done(
    job: &mut Job,
    mailboxes: &Mailboxes,
    (mailbox, version): (u32, u64),
    grant: &mut Grant,
    style: Style,
) -> Result<Applied, NotApplied> {
    let has_receipt = take_receipt(job, mailbox, version);
    let finish = |in_hand: &mut _| InHand::finish(in_hand, version);
    let location = has_receipt.then(|| mailboxes.queue(mailbox).with_in_hand(finish)).flatten();
    let location = location.ok_or(NotApplied::Refused(Refusal::NotInHand))?;
    let mut block = mailboxes.write(mailbox, grant);
    let taken = block.remove(location)?;
    Reply::Done { count: block.contents()?.count }.encode(style, &mut job.output);
    job.tally.count(Outcome::Done);
    Ok(Applied::Walked(taken.located.steps))
}

/// Gives back a message that the client has in hand. The release of the grant admits the next taker.
pub(super) fn back(
    job: &mut Job,
    mailboxes: &Mailboxes,
    (mailbox, version): (u32, u64),
    style: Style,
) -> Result<Applied, NotApplied> {
    let give_back =
        |in_hand: &mut Option<Box<InHand>>| in_hand.as_mut().is_some_and(|all| all.give_back(version));
    if !take_receipt(job, mailbox, version) || !mailboxes.queue(mailbox).with_in_hand(give_back) {
        return Err(NotApplied::Refused(Refusal::NotInHand));
    }
    Reply::Ok.encode(style, &mut job.output);
    job.tally.count(Outcome::Back);
    Ok(Applied::Answered)
}

/// Removes the client's receipt for a message. Returns whether there was one.
fn take_receipt(job: &mut Job, mailbox: u32, version: u64) -> bool {
    let has_receipt = job.receipts.as_mut().is_some_and(|receipts| receipts.remove(mailbox, version));
    job.receipts.take_if(|receipts| receipts.len() == 0);
    has_receipt
}

/// Finds the oldest message that is not in hand, and how often it was handed out.
fn locate(mailboxes: &Mailboxes, mailbox: u32, grant: &Grant) -> Result<Option<(Located, u32)>, Damaged> {
    let Candidate { from, tries } = match grant.has_in_hand() {
        false => InHand::candidate(None),
        true => mailboxes.queue(mailbox).with_in_hand(|in_hand| InHand::candidate(in_hand.as_deref())),
    };
    Ok(mailboxes.read(mailbox, grant).locate(from)?.map(|located| (located, tries)))
}
