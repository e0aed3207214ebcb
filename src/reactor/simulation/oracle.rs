//! The oracle: hears everything that is asked and answered, and knows from the protocol alone what may not be.
//!
//! It does not foresee an answer; where requests race, several are right. It keeps what follows from those that were
//! given, and everything that is told must fit: to its request, to its mailbox's [`History`], to the locks and the clock.

use std::time::Duration;

use super::answer::Answer;
use super::ask::Ask;
use super::client::{CAPACITY, Composed, Hints, MAILBOXES};
use super::history::{Change, History, State};
use super::pipe::End;
use super::seat::{Asked, Hold, LEASE, MAX_HOLD, Moment, PROGRESS, Seat};
use super::touches::Touches;

/// Everything that is known.
#[derive(Debug, Default)]
pub struct Oracle {
    pub now: Moment,
    pub seats: Vec<Seat>,
    pub boxes: Vec<History>,
    pub touches: Touches,
    /// The highest number of a lock that was told.
    grants: u64,
    requests: u64,
    pub answers: u64,
    pub events: u64,
}

impl Oracle {
    pub fn new() -> Self {
        Oracle { boxes: (0..MAILBOXES).map(|_| History::default()).collect(), ..Oracle::default() }
    }

    /// A client comes; its number.
    pub fn enter(&mut self) -> usize {
        self.seats.push(Seat::default());
        self.seats.len() - 1
    }

    pub fn hints(&self, client: usize) -> Hints {
        let holds = &self.seats[client].holds;
        Hints {
            versions: self.boxes.iter().map(|history| history.floor.version).collect(),
            grants: holds.values().map(|hold| hold.number).collect(),
            held: holds.keys().copied().collect(),
        }
    }

    /// The last byte of a request has left its client.
    pub fn sent(&mut self, client: usize, composed: Composed) {
        self.requests += 1;
        let Composed { ask, eol, .. } = composed;
        let locks = matches!(ask, Ask::Lock { .. });
        // What waits for its answer to be taken keeps its mailbox, too.
        let holds = locks || matches!(ask, Ask::Take { .. });
        self.touches.begin(client, self.requests, &ask.mailboxes(), holds);
        let seat = &mut self.seats[client];
        let too_late = seat.ended_leases(self.now.time);
        seat.has_watched |= matches!(ask, Ask::Watch { .. });
        seat.outstanding.push_back(Asked {
            number: self.requests,
            ask,
            eol,
            sent: self.now,
            floors: self.boxes.iter().map(|history| history.floor).collect(),
            grants: self.grants,
            is_pipelined: !seat.outstanding.is_empty(),
            rests: None,
            half_rests: None,
            queued: None,
            passed_by: Vec::new(),
            too_late,
        });
        if let [.., before, _] = seat.outstanding.make_contiguous() {
            before.is_pipelined = true;
        }
    }

    pub fn left(&mut self, client: usize, how: End) {
        self.seats[client].left = Some(how);
    }

    /// Whether answers wait for a client: what it is told then was so before.
    pub fn blocked(&mut self, client: usize, is_blocked: bool) {
        self.seats[client].is_late = is_blocked;
        if is_blocked && let Some(asked) = self.seats[client].outstanding.front_mut() {
            asked.queued = None;
            // What was taken in vain is asked for again.
            asked.half_rests = None;
            asked.passed_by.clear();
        }
    }

    /// Whether a client lets the server wait.
    pub fn note_slow(&mut self, client: usize, is_slow: bool) {
        let seat = &mut self.seats[client];
        seat.was_slow |= seat.slow_since.is_some_and(|since| since + PROGRESS <= self.now.time);
        seat.slow_since = if is_slow { seat.slow_since.or(Some(self.now.time)) } else { None };
    }

    /// The server has closed its end: not without a reason.
    pub fn dropped(&mut self, client: usize) {
        let seat = &mut self.seats[client];
        if !matches!(seat.left, None | Some(End::Half)) {
            return;
        }
        let quits = matches!(seat.outstanding.front(), Some(Asked { ask: Ask::Quit, .. }));
        let ended = seat.left == Some(End::Half) && seat.outstanding.is_empty();
        assert!(
            quits || ended || seat.was_slow,
            "client {client} is closed, slow since {:?}, and waits for {:?}",
            seat.slow_since,
            seat.outstanding.front()
        );
        seat.left = Some(End::Closed);
    }

    /// The server knows nothing of this client any more: what it was not told, nobody will be told.
    pub fn forgotten(&mut self, client: usize) {
        let seat = &mut self.seats[client];
        if std::mem::replace(&mut seat.forgotten, true) {
            return;
        }
        // Nobody can tell whether a client that did not read was about to.
        let half_told = seat.is_late || !seat.heard.is_empty();
        for (at, asked) in std::mem::take(&mut seat.outstanding).into_iter().enumerate() {
            let mailbox = asked.ask.mailboxes().first().copied();
            let change = match asked.ask {
                Ask::Write { body, offset: None, .. } => Change::Replace(body),
                Ask::Write { body, offset: Some(offset), .. } => Change::Patch(offset as usize, body),
                Ask::Put { body, dropping, .. } => Change::Add { body, dropping },
                // A message is lost only with a client that was being told of it.
                Ask::Take { .. } if at == 0 && half_told => Change::Take,
                _ => continue,
            };
            self.boxes[mailbox.expect("that changes one") as usize].may_have(change);
        }
        self.touches.forgotten(client, self.now.tick);
    }

    /// Bytes have been handed to a client's socket; what they say.
    pub fn hear(&mut self, client: usize, bytes: &[u8]) -> Vec<String> {
        let seat = &mut self.seats[client];
        seat.heard.extend_from_slice(bytes);
        let mut heard = Vec::new();
        while let Some(answer) = Answer::cut(&mut self.seats[client].heard) {
            heard.push(answer.to_string());
            assert!(!self.seats[client].forgotten, "{answer} to one that is gone");
            if answer.word == "EVENT" {
                self.events += 1;
                self.judge_event(client, &answer);
            } else {
                self.answers += 1;
                self.judge(client, &answer);
            }
        }
        heard
    }

    fn judge(&mut self, client: usize, answer: &Answer) {
        let asked = self.seats[client].outstanding.pop_front();
        let asked =
            asked.unwrap_or_else(|| panic!("client {client} was told {answer} and had asked nothing"));
        assert_eq!(answer.eol, asked.eol, "{answer} to {:?}", asked.ask);
        let seat = &mut self.seats[client];
        assert!(!seat.ends || matches!(asked.ask, Ask::Quit), "{answer} after the last word");
        let kept = asked.too_late.iter().find(|mailbox| seat.holds.contains_key(mailbox));
        assert!(kept.is_none(), "{answer}, asked too late to keep {kept:?}: {:?}", seat.holds);
        let locked = matches!(asked.ask, Ask::Lock { .. }) && answer.word == "OK";
        self.touches.answered(asked.number, locked, self.now.tick);
        match (answer.kind(), &asked.ask) {
            (("ERR", code), Ask::Wrong { code: right, .. }) if code == *right => {}
            ((word, _), Ask::Told { word: right, .. }) if word == *right => {}
            (("ERR", "lease"), _) => self.judge_lease(client, &asked),
            (("ERR", "denied"), _) => self.judge_denied(client, &asked),
            (("ERR", "deadlock"), _) => self.judge_deadlock(client, &asked),
            (("ERR", "size"), _) => judge_size(&asked, answer),
            (("NO", _), _) => self.judge_no(client, &asked, answer),
            (("OK" | "DATA", _), ask) if !ask.mailboxes().is_empty() => {
                self.judge_done(client, &asked, answer)
            }
            (("OK", _), _) => self.judge_other(client, &asked, answer),
            _ => panic!("{answer} to {:?}", asked.ask),
        }
        let seat = &mut self.seats[client];
        seat.last_sent = asked.sent;
        seat.last_told = self.now;
    }

    // ---- requests that were in their mailbox ----

    fn judge_done(&mut self, client: usize, asked: &Asked, answer: &Answer) {
        if let Ask::Lock { mailboxes, shared, ttl, .. } = &asked.ask {
            assert_eq!(answer.word, "OK");
            return self.judge_locked(client, asked, answer, mailboxes, *shared, *ttl);
        }
        let mailbox = asked.ask.mailboxes()[0];
        let (version, count) = (answer.number("v").expect("a version"), answer.number("n"));
        let history = &mut self.boxes[mailbox as usize];
        let told = |count: Option<u64>| State { version, count: count.expect("a count") };
        let (word, state) = match &asked.ask {
            Ask::Read { after: None, part, .. } => {
                match count {
                    Some(0) => assert!(answer.body.is_empty(), "{answer} of an empty mailbox"),
                    _ => history.saw(version, *part, &answer.body),
                }
                ("DATA", Some(told(count)))
            }
            Ask::Read { after: Some(after), part, .. } => {
                let lost = answer.number("lost").unwrap_or(0);
                assert_eq!(version, after + 1 + lost, "{answer} after {after}");
                history.saw(version, *part, &answer.body);
                let count = count.expect("a count");
                // When some are gone, this is the oldest.
                ("DATA", (lost > 0).then(|| State { version: version + count - 1, count }))
            }
            Ask::Write { offset, body, expected, .. } => {
                assert!(
                    expected.is_none_or(|expected| expected + 1 == version),
                    "{answer}, not if={expected:?}"
                );
                let state = State { version, count: 1 };
                let change = match offset {
                    None => Change::Replace(body.clone()),
                    Some(offset) => Change::Patch(*offset as usize, body.clone()),
                };
                history.changed(state, change);
                ("OK", Some(state))
            }
            Ask::Put { body, dropping, .. } => {
                history.changed(told(count), Change::Add { body: body.clone(), dropping: *dropping });
                ("OK", Some(told(count)))
            }
            Ask::Take { .. } => {
                let count = count.expect("a count");
                let state = State { version: version + count, count };
                history.saw(version, None, &answer.body);
                history.changed(state, Change::Take);
                ("DATA", Some(state))
            }
            other => unreachable!("{other:?}"),
        };
        assert_eq!(answer.word, word);
        assert!(asked.ask.body().is_none_or(|body| body.len() <= CAPACITY), "{answer} of too much");
        self.took_effect(client, asked, mailbox, state);
    }

    /// A request was in its mailbox, which was in this state then: it fits between what was told before and now, nobody
    /// else had locked the mailbox, and nobody was passed.
    fn took_effect(&mut self, client: usize, asked: &Asked, mailbox: u32, state: Option<State>) {
        let history = &mut self.boxes[mailbox as usize];
        if let Some(state) = state {
            assert!(state >= asked.floors[mailbox as usize], "{state:?} is older than what was told before");
            history.told(state);
            let seen = history.was(asked.sent.tick, |sample, _| sample == state);
            assert!(seen || asked.is_pipelined, "mailbox {mailbox} never was in {state:?} meanwhile");
            let late = asked.passed_by.iter().find(|passed| **passed < state);
            assert!(
                late.is_none(),
                "{late:?} came later than {asked:?}, and was through before its {state:?}"
            );
        }
        let seat = &self.seats[client];
        assert!(!seat.lost.contains_key(&mailbox), "done after a lost lock");
        let denied = seat.holds.get(&mailbox).is_some_and(|hold| hold.shared) && asked.ask.is_exclusive();
        assert!(!denied || seat.has_lost_since(asked.sent.tick), "done under the own shared lock");
        self.nobody_holds(client, asked, mailbox, state);
        self.note_passing(client, asked, mailbox, state.unwrap_or(self.boxes[mailbox as usize].now()));
    }

    /// No other client has a lock that shuts this request out, from before it was asked until now.
    fn nobody_holds(&self, client: usize, asked: &Asked, mailbox: u32, state: Option<State>) {
        for (other, seat) in self.seats.iter().enumerate().filter(|(other, _)| *other != client) {
            let Some(hold) = seat.surely_holds(mailbox, self.now.time) else { continue };
            if hold.shared && !asked.ask.is_exclusive() {
                continue;
            }
            let inside = hold.told.tick < asked.sent.tick;
            assert!(!inside, "client {other} has locked {mailbox}, and {:?} of {client} was done", asked.ask);
            let after = state.is_some_and(|state| state > hold.state);
            assert!(!after, "{state:?} was made while client {other} held {mailbox} since {:?}", hold.state);
        }
    }

    /// Those who are known to have waited before this came are passed by it, unless they were through and know not yet.
    fn note_passing(&mut self, client: usize, asked: &Asked, mailbox: u32, state: State) {
        let seat = &self.seats[client];
        if seat.holds.contains_key(&mailbox) || seat.has_lost_since(asked.sent.tick) {
            return;
        }
        for other in self.seats.iter_mut().filter(|seat| seat.left.is_none()) {
            let Some(waits) = other.outstanding.front_mut() else { continue };
            // A shared lock may be given already, and this in beside it.
            if matches!(waits.ask, Ask::Lock { shared: true, .. }) && !asked.ask.is_exclusive() {
                continue;
            }
            if waits.queued.is_some_and(|since| since < asked.sent.tick) && waits.ask.mailboxes() == [mailbox]
            {
                waits.passed_by.push(state);
            }
        }
    }

    fn judge_no(&mut self, client: usize, asked: &Asked, answer: &Answer) {
        let mailboxes = asked.ask.mailboxes();
        let &[mailbox, ..] = &mailboxes[..] else { panic!("{answer} to {:?}", asked.ask) };
        let history = &self.boxes[mailbox as usize];
        let since = asked.sent.tick;
        let alone = !asked.is_pipelined;
        let version = answer.number("v");
        match (answer.why.as_str(), &asked.ask) {
            ("conflict", Ask::Write { expected: Some(expected), .. }) => {
                let version = version.expect("the version");
                assert!(version != *expected && version >= asked.floors[mailbox as usize].version);
                assert!(!alone || history.was(since, |state, _| state.version == version), "never {answer}");
                return self.took_effect(client, asked, mailbox, None);
            }
            ("multi", Ask::Write { offset: Some(_), .. }) => {
                assert!(!alone || history.was(since, |state, _| state.count > 1), "never several messages");
                return self.took_effect(client, asked, mailbox, None);
            }
            ("empty", Ask::Take { .. }) => {
                assert!(!alone || history.was(since, |state, _| state.count == 0), "never empty");
            }
            ("full", Ask::Put { dropping: false, body, .. }) => {
                let full = |_, room: Option<u64>| room.is_none_or(|room| room < body.len() as u64);
                let others = self.touches.was_anybody_else(client, mailbox, since);
                assert!(!alone || others || history.was(since, full), "never full");
            }
            ("locked", Ask::Lock { .. }) => {
                assert!(asked.tries_once(), "a lock that waits is not told {answer}");
            }
            ("timeout", Ask::Lock { .. }) => {
                assert!(!asked.tries_once(), "a lock that tries once is not told {answer}");
            }
            ("timeout", Ask::Read { .. }) => {
                let version = version.expect("a reader is told the version");
                assert!(version >= asked.floors[mailbox as usize].version, "{answer} is old");
            }
            ("timeout", _) => {}
            _ => panic!("{answer} to {:?}", asked.ask),
        }
        let for_news = matches!(asked.ask, Ask::Read { after: Some(_), .. });
        if matches!(answer.why.as_str(), "locked" | "timeout") && !for_news {
            self.somebody_was_there(client, asked, answer);
        }
        self.judge_patience(client, asked, answer);
    }

    /// A request was kept out: by another client, or by the reading for those who watch.
    fn somebody_was_there(&self, client: usize, asked: &Asked, answer: &Answer) {
        let there = asked.ask.mailboxes().into_iter().any(|mailbox| {
            self.touches.was_anybody_else(client, mailbox, asked.sent.tick)
                || self.seats.iter().any(|seat| seat.has_watched)
        });
        assert!(there, "{answer}, but nobody else was there");
    }

    /// Nobody is sent away before their time.
    fn judge_patience(&self, client: usize, asked: &Asked, answer: &Answer) {
        let seat = &self.seats[client];
        let own = asked.ask.mailboxes().iter().any(|mailbox| seat.holds.contains_key(mailbox));
        let leases = seat.lease_from().is_some_and(|from| self.now.time >= from);
        let sooner = own || leases || seat.has_lost_since(asked.sent.tick) || seat.left.is_some();
        let in_time = asked.gives_up(asked.sent.time).is_some_and(|at| self.now.time >= at);
        assert!(sooner || in_time, "{answer} too early: asked at {:?}, now {:?}", asked.sent, self.now);
    }

    // ---- locks ----

    fn judge_locked(
        &mut self,
        client: usize,
        asked: &Asked,
        answer: &Answer,
        mailboxes: &[u32],
        shared: bool,
        ttl: Option<Duration>,
    ) {
        let number = answer.number("grant").expect("a number");
        assert!(number > asked.grants, "{answer} after a lock of number {}", asked.grants);
        self.grants = self.grants.max(number);
        // With more behind it, the lock may be over by the time that its client is told.
        assert!(asked.passed_by.is_empty() || asked.is_pipelined, "{:?} was passed", asked.ask);
        for &mailbox in mailboxes {
            self.nobody_holds(client, asked, mailbox, None);
            let state = self.boxes[mailbox as usize].now();
            let hold = Hold {
                shared,
                number,
                ttl: ttl.unwrap_or(LEASE).min(MAX_HOLD),
                asked: asked.sent,
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
    fn nobody_beside(&self, client: usize, mailbox: u32, shared: bool, number: u64) {
        let is_sure = self.seats[client].surely_holds(mailbox, self.now.time).is_some();
        for (other, seat) in self.seats.iter().enumerate().filter(|(other, _)| *other != client) {
            let hold = seat.surely_holds(mailbox, self.now.time);
            let both = is_sure && hold.is_some_and(|hold| !(hold.shared && shared));
            assert!(!both, "{client} and {other} have both locked {mailbox}");
            let same = seat.holds.values().any(|hold| hold.number == number);
            assert!(!same, "the number {number} is given twice");
        }
    }

    fn note_passing_lock(&mut self, client: usize, asked: &Asked, mailbox: u32, state: State) {
        for (other, seat) in self.seats.iter_mut().enumerate().filter(|(_, seat)| seat.left.is_none()) {
            let Some(waits) = seat.outstanding.front_mut() else { continue };
            let before = waits.queued.is_some_and(|since| since < asked.sent.tick)
                && (asked.ask.is_exclusive() || waits.ask.is_exclusive());
            if other != client && before && waits.ask.mailboxes() == [mailbox] {
                waits.passed_by.push(state);
            }
        }
    }

    fn judge_lease(&mut self, client: usize, asked: &Asked) {
        let seat = &mut self.seats[client];
        match &asked.ask {
            Ask::Unlock { mailboxes, grant } => {
                let has = |mailbox: &u32| {
                    seat.holds.get(mailbox).is_some_and(|hold| grant.is_none_or(|grant| grant == hold.number))
                };
                let lost = |mailbox: &u32| seat.lost.contains_key(mailbox);
                let right = match mailboxes {
                    Some(list) => !list.iter().all(has) || list.iter().any(lost),
                    None => !seat.lost.is_empty() || grant.is_some() && !seat.holds.keys().any(has),
                };
                assert!(right, "ERR lease to {:?} with {:?}", asked.ask, seat.holds);
                match mailboxes {
                    Some(list) => list.iter().for_each(|mailbox| _ = seat.lost.remove(mailbox)),
                    None => {
                        seat.lost.clear();
                        let ended = self.take_holds(client, None, *grant);
                        self.note_unlocked(client, &ended);
                    }
                }
            }
            Ask::Read { mailbox, .. } | Ask::Write { mailbox, .. } => {
                assert!(seat.lost.contains_key(mailbox), "no lock of {mailbox} was lost");
            }
            Ask::Put { mailbox, .. } | Ask::Take { mailbox, .. } => {
                assert!(seat.lost.contains_key(mailbox), "no lock of {mailbox} was lost");
            }
            other => panic!("ERR lease to {other:?}"),
        }
    }

    fn take_holds(&mut self, client: usize, list: Option<&[u32]>, grant: Option<u64>) -> Vec<u32> {
        let seat = &mut self.seats[client];
        let is_it = |mailbox: &u32, hold: &Hold| {
            list.is_none_or(|list| list.contains(mailbox)) && grant.is_none_or(|grant| grant == hold.number)
        };
        let ended: Vec<u32> = seat.holds.iter().filter(|(m, hold)| is_it(m, hold)).map(|(m, _)| *m).collect();
        ended.iter().for_each(|mailbox| _ = seat.holds.remove(mailbox));
        ended
    }

    fn note_unlocked(&mut self, client: usize, ended: &[u32]) {
        ended.iter().for_each(|mailbox| self.touches.unlocked(client, *mailbox, self.now.tick));
    }

    fn judge_denied(&self, client: usize, asked: &Asked) {
        let seat = &self.seats[client];
        let own = |mailbox: &u32| match (&asked.ask, seat.holds.get(mailbox)) {
            (Ask::Lock { .. }, hold) => hold.is_some(),
            (ask, Some(hold)) => hold.shared && ask.is_exclusive(),
            (_, None) => false,
        };
        let right = asked.ask.mailboxes().iter().any(own) || seat.has_lost_since(asked.sent.tick);
        assert!(right, "ERR denied to {:?} with {:?}", asked.ask, seat.holds);
    }

    fn judge_deadlock(&self, client: usize, asked: &Asked) {
        let (mailboxes, since) = (asked.ask.mailboxes(), asked.sent.tick);
        let right = self.touches.may_close_cycle(client, asked.number, &mailboxes, since);
        assert!(right, "ERR deadlock to {:?}, and nobody waits in a circle", asked.ask);
    }

    // ---- the rest ----

    fn judge_other(&mut self, client: usize, asked: &Asked, answer: &Answer) {
        match &asked.ask {
            Ask::Unlock { mailboxes, grant } => {
                let seat = &self.seats[client];
                let has = |mailbox: &u32| {
                    seat.holds.get(mailbox).is_some_and(|hold| grant.is_none_or(|grant| grant == hold.number))
                };
                let right = match mailboxes {
                    Some(list) => list.iter().all(has),
                    None => grant.is_none() || seat.holds.keys().any(has),
                };
                let unsure = seat.has_lost_since(asked.sent.tick);
                assert!(right || unsure, "OK to {:?} with {:?}", asked.ask, seat.holds);
                let ended = self.take_holds(client, mailboxes.as_deref(), *grant);
                self.note_unlocked(client, &ended);
            }
            Ask::Watch { mailboxes, after } => {
                let told =
                    answer.text("v").expect("versions").split(',').map(|v| v.parse().expect("a version"));
                let versions: Vec<u64> = told.collect();
                assert_eq!(versions.len(), mailboxes.len());
                for (mailbox, version) in mailboxes.iter().zip(versions) {
                    let floor = asked.floors[*mailbox as usize].version;
                    assert!(
                        after.map_or(version >= floor, |after| after == version),
                        "{answer} after {floor}"
                    );
                    self.seats[client].watches.insert(*mailbox, version);
                }
            }
            Ask::Unwatch { mailboxes } => {
                let watches = &mut self.seats[client].watches;
                match mailboxes {
                    Some(list) => list.iter().for_each(|mailbox| _ = watches.remove(mailbox)),
                    None => watches.clear(),
                }
            }
            other => panic!("{answer} to {other:?}"),
        }
    }

    fn judge_event(&mut self, client: usize, event: &Answer) {
        let mailbox = event.number("box").expect("a mailbox") as u32;
        let version = event.number("v").expect("a version");
        if event.text("lost") == Some("lock") {
            return self.judge_lost_lock(client, mailbox, event);
        }
        let Some(seen) = self.seats[client].watches.get_mut(&mailbox) else {
            panic!("{event} to client {client}, which does not watch that")
        };
        let lost = event.number("lost").unwrap_or(0);
        assert_eq!(version, *seen + 1 + lost, "{event} after version {seen}");
        *seen = version;
        self.boxes[mailbox as usize].saw(version, None, &event.body);
        for (other, seat) in self.seats.iter().enumerate().filter(|(other, _)| *other != client) {
            let hold = seat.surely_holds(mailbox, self.now.time).filter(|hold| !hold.shared);
            assert!(
                hold.is_none_or(|hold| version <= hold.state.version),
                "{event} while {other} has locked it"
            );
        }
    }

    fn judge_lost_lock(&mut self, client: usize, mailbox: u32, event: &Answer) {
        let seat = &mut self.seats[client];
        assert!(seat.holds.contains_key(&mailbox), "{event}, which client {client} had not locked");
        let from = seat.lease_of(mailbox);
        assert!(
            self.now.time >= from,
            "{event} too early: not before {from:?}, and it is {:?}",
            self.now.time
        );
        seat.holds.remove(&mailbox);
        seat.lost.insert(mailbox, self.now);
        seat.last_lost = Some(self.now);
        self.touches.unlocked(client, mailbox, self.now.tick);
    }
}

fn judge_size(asked: &Asked, answer: &Answer) {
    let max = answer.number("max").expect("a limit") as usize;
    let right = match &asked.ask {
        Ask::Write { body, offset: Some(offset), .. } if body.len() <= CAPACITY => {
            max == CAPACITY.saturating_sub(*offset as usize) && body.len() > max
                || *offset as usize > CAPACITY
        }
        ask => max == CAPACITY && ask.body().is_some_and(|body| body.len() > CAPACITY),
    };
    assert!(right, "{answer} to {:?}", asked.ask);
}
