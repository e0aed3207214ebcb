//! Who may hold what, and what may happen beside it.

use std::time::Duration;

use super::super::client_model::{Asked, Hold, LEASE, MAX_HOLD};
use super::super::history::State;
use super::super::reply::ParsedReply;
use super::super::request::ClientRequest;
use super::Oracle;

impl Oracle {
    pub(super) fn judge_locked(
        &mut self,
        client: usize,
        asked: &Asked,
        reply: &ParsedReply,
        mailboxes: &[u32],
        shared: bool,
        ttl: Option<Duration>,
    ) {
        let number = reply.number("grant").expect("a number");
        assert!(number > asked.grants, "{reply} after a lock of number {}", asked.grants);
        self.grants = self.grants.max(number);
        // With more behind it, the lock may be over by the time that its client is told.
        assert!(asked.passed_by.is_empty() || asked.is_pipelined, "{:?} was passed", asked.request);
        for &mailbox in mailboxes {
            self.nobody_holds(client, asked, mailbox, None);
            let state = self.boxes[mailbox as usize].now();
            let hold = Hold {
                shared,
                number,
                ttl: ttl.unwrap_or(LEASE).min(MAX_HOLD),
                requested: asked.sent,
                told: self.now,
                state,
            };
            let seat = &mut self.seats[client];
            seat.lost.remove(&mailbox);
            let before = seat.holds.insert(mailbox, hold);
            assert!(before.is_none(), "locked {mailbox} twice");
            self.nobody_beside(client, mailbox, shared, number);
            self.note_passing_lock(client, asked, mailbox, state);
        }
    }

    /// A client that surely holds a mailbox, and not only was told so late, does not share it with one that shuts it out.
    pub(super) fn nobody_beside(&self, client: usize, mailbox: u32, shared: bool, number: u64) {
        let is_sure = self.seats[client].surely_holds(mailbox, self.now.time).is_some();
        for (other, seat) in self.seats.iter().enumerate().filter(|(other, _)| *other != client) {
            let hold = seat.surely_holds(mailbox, self.now.time);
            let both = is_sure && hold.is_some_and(|hold| !(hold.shared && shared));
            assert!(!both, "{client} and {other} have both locked {mailbox}");
            let same = seat.holds.values().any(|hold| hold.number == number);
            assert!(!same, "the number {number} is given twice");
        }
    }

    pub(super) fn note_passing_lock(&mut self, client: usize, asked: &Asked, mailbox: u32, state: State) {
        for (other, seat) in self.seats.iter_mut().enumerate().filter(|(_, seat)| seat.left.is_none()) {
            let Some(waits) = seat.outstanding.front_mut() else { continue };
            let before = waits.queued.is_some_and(|since| since < asked.sent.tick)
                && (asked.request.is_exclusive() || waits.request.is_exclusive());
            if other != client && before && waits.request.mailboxes() == [mailbox] {
                waits.passed_by.push(state);
            }
        }
    }

    pub(super) fn judge_lease(&mut self, client: usize, asked: &Asked) {
        let seat = &mut self.seats[client];
        match &asked.request {
            ClientRequest::Unlock { mailboxes, grant } => {
                let has = |mailbox: &u32| {
                    seat.holds.get(mailbox).is_some_and(|hold| grant.is_none_or(|grant| grant == hold.number))
                };
                let lost = |mailbox: &u32| seat.lost.contains_key(mailbox);
                let right = match mailboxes {
                    Some(list) => !list.iter().all(has) || list.iter().any(lost),
                    None => !seat.lost.is_empty() || grant.is_some() && !seat.holds.keys().any(has),
                };
                assert!(right, "ERR lease to {:?} with {:?}", asked.request, seat.holds);
                match mailboxes {
                    Some(list) => list.iter().for_each(|mailbox| _ = seat.lost.remove(mailbox)),
                    None => {
                        seat.lost.clear();
                        let ended = self.take_holds(client, None, *grant);
                        self.note_unlocked(client, &ended);
                    }
                }
            }
            ClientRequest::Read { mailbox, .. } | ClientRequest::Write { mailbox, .. } => {
                assert!(seat.lost.contains_key(mailbox), "no lock of {mailbox} was lost");
            }
            ClientRequest::Put { mailbox, .. } | ClientRequest::Take { mailbox, .. } => {
                assert!(seat.lost.contains_key(mailbox), "no lock of {mailbox} was lost");
            }
            other => panic!("ERR lease to {other:?}"),
        }
    }

    pub(super) fn take_holds(&mut self, client: usize, list: Option<&[u32]>, grant: Option<u64>) -> Vec<u32> {
        let seat = &mut self.seats[client];
        let is_it = |mailbox: &u32, hold: &Hold| {
            list.is_none_or(|list| list.contains(mailbox)) && grant.is_none_or(|grant| grant == hold.number)
        };
        let ended: Vec<u32> = seat.holds.iter().filter(|(m, hold)| is_it(m, hold)).map(|(m, _)| *m).collect();
        ended.iter().for_each(|mailbox| _ = seat.holds.remove(mailbox));
        ended
    }

    pub(super) fn note_unlocked(&mut self, client: usize, ended: &[u32]) {
        ended.iter().for_each(|mailbox| self.touches.unlocked(client, *mailbox, self.now.tick));
    }

    pub(super) fn judge_denied(&self, client: usize, asked: &Asked) {
        let seat = &self.seats[client];
        let own = |mailbox: &u32| match (&asked.request, seat.holds.get(mailbox)) {
            (ClientRequest::Lock { .. }, hold) => hold.is_some(),
            (request, Some(hold)) => hold.shared && request.is_exclusive(),
            (_, None) => false,
        };
        let right = asked.request.mailboxes().iter().any(own) || seat.has_lost_since(asked.sent.tick);
        assert!(right, "ERR denied to {:?} with {:?}", asked.request, seat.holds);
    }

    pub(super) fn judge_deadlock(&self, client: usize, asked: &Asked) {
        let (mailboxes, since) = (asked.request.mailboxes(), asked.sent.tick);
        let right = self.touches.may_close_cycle(client, asked.number, &mailboxes, since);
        assert!(right, "ERR deadlock to {:?}, and nobody waits in a circle", asked.request);
    }
}
