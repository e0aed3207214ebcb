//! Random sequences of operations, compared with a naive model of the law.

use proptest::prelude::*;
use proptest::sample::Index;
use proptest::test_runner::TestCaseResult;

use super::*;

/// The law over a plain list of all requests that have arrived and not left, in order of arrival.
struct Naive {
    requests: Vec<Request>,
    contents: Contents,
    /// The versions of the messages in hand.
    in_hand: Vec<u64>,
}

#[derive(Clone, Copy)]
struct Request {
    number: u64,
    mode: Mode,
    purpose: Purpose,
    state: State,
}

#[derive(Clone, Copy, PartialEq)]
enum State {
    Granted,
    Queued,
    InWaitSet(Condition),
}

impl Naive {
    /// Admits requests, one after the other, until the next one conflicts. Returns their numbers.
    fn admit(&mut self) -> Vec<u64> {
        let mut admitted = Vec::new();
        while let Some(next) = self.next()
            && !self.conflicts(self.requests[next].mode)
        {
            self.requests[next].state = State::Granted;
            admitted.push(self.requests[next].number);
        }
        admitted
    }

    /// The next request: a ready reader of the wait set, else its first taker or putter, if that is ready,
    /// else the head of the queue.
    fn next(&self) -> Option<usize> {
        let is_reader = |state| matches!(state, State::InWaitSet(Condition::NewerThan(_)));
        let is_taker = |state| state == State::InWaitSet(Condition::NonEmpty);
        let is_putter = |state| matches!(state, State::InWaitSet(Condition::Room(_)));
        let is_ready_at = |at: &usize| self.is_ready(self.requests[*at].state);
        self.first(|state| is_reader(state) && self.is_ready(state))
            .or(self.first(is_taker).filter(is_ready_at))
            .or(self.first(is_putter).filter(is_ready_at))
            .or(self.first(|state| state == State::Queued))
    }

    /// The index of the first request in such a state.
    fn first(&self, matches: impl Fn(State) -> bool) -> Option<usize> {
        self.requests.iter().position(|request| matches(request.state))
    }

    /// Whether the contents meet the condition of a request in the wait set.
    fn is_ready(&self, state: State) -> bool {
        let Contents { newest, count, room, .. } = self.contents;
        match state {
            State::InWaitSet(Condition::NewerThan(after)) => newest > after,
            State::InWaitSet(Condition::NonEmpty) => count > self.in_hand.len() as u64,
            State::InWaitSet(Condition::Room(bytes)) => room.is_some_and(|room| room >= bytes),
            State::Granted | State::Queued => false,
        }
    }

    fn conflicts(&self, mode: Mode) -> bool {
        let mut holders = self.requests.iter().filter(|other| other.state == State::Granted);
        holders.any(|holder| mode == Mode::Exclusive || holder.mode == Mode::Exclusive)
    }

    fn arrive(&mut self, number: u64, mode: Mode, purpose: Purpose) -> Vec<u64> {
        self.requests.push(Request { number, mode, purpose, state: State::Queued });
        self.admit()
    }

    /// The read for the watchers waits for a message newer than this version, or than a lower one for which
    /// it waits already.
    fn watch(&mut self, version: u64) {
        let waiting = self
            .requests
            .iter_mut()
            .find(|request| request.number == WATCH && request.state != State::Granted);
        match waiting {
            Some(Request { state: State::InWaitSet(Condition::NewerThan(lowest)), .. }) => {
                *lowest = version.min(*lowest)
            }
            _ => {
                let state = State::InWaitSet(Condition::NewerThan(version));
                let (mode, purpose) = (Mode::Shared, Purpose::Request);
                self.requests.push(Request { number: WATCH, mode, purpose, state });
            }
        }
    }

    fn leave(&mut self, number: u64) -> Vec<u64> {
        // While a read for the watchers is executed, the next one may wait already.
        let waits = |request: &Request| number == WATCH && request.state != State::Granted;
        self.requests.retain(|request| request.number != number || waits(request));
        self.admit()
    }

    fn wait(&mut self, number: u64, condition: Condition) -> Vec<u64> {
        let mode = if let Condition::NewerThan(_) = condition { Mode::Shared } else { Mode::Exclusive };
        for request in self.requests.iter_mut().filter(|request| request.number == number) {
            *request = Request { mode, state: State::InWaitSet(condition), ..*request };
        }
        self.admit()
    }

    fn waits(&self, number: u64) -> bool {
        self.requests.iter().any(|request| request.number == number && request.state != State::Granted)
    }

    fn count(&self, matches: impl Fn(&Request) -> bool) -> usize {
        self.requests.iter().filter(|request| matches(request)).count()
    }
}

#[derive(Clone, Debug)]
enum Step {
    Admit(Mode, Purpose),
    AdmitUnlessLocked(Mode, Purpose),
    TryAdmit(Mode),
    /// A holder releases its grant; an exclusive one has changed the contents.
    Release(Index, Contents),
    /// The condition of a holder does not hold.
    Wait(Index, Condition),
    /// The read for the watchers waits for a newer message.
    Watch(u64),
    Cancel(Index),
    /// The exclusive holder hands out a message.
    HandOut,
    GiveBack(Index),
}

fn mode() -> impl Strategy<Value = Mode> {
    prop_oneof![Just(Mode::Shared), Just(Mode::Exclusive)]
}

/// One in four requests is a lock.
fn purpose() -> impl Strategy<Value = Purpose> {
    prop_oneof![3 => Just(Purpose::Request), 1 => Just(Purpose::Lock)]
}

/// Contents from a small range, so that most of them meet some conditions.
fn contents() -> impl Strategy<Value = Contents> {
    let fields = (0..4u64, 0..4u64, 0..3u64, prop::option::of(0..4u64));
    fields.prop_map(|(version, newest, count, room)| Contents {
        newest: if count > 0 { newest.min(version) } else { 0 },
        ..Contents::of_list(version, count, room)
    })
}

fn condition() -> impl Strategy<Value = Condition> {
    prop_oneof![
        2 => (0..4u64).prop_map(Condition::NewerThan),
        1 => Just(Condition::NonEmpty),
        2 => (0..4u64).prop_map(Condition::Room),
    ]
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        4 => (mode(), purpose()).prop_map(|(mode, purpose)| Step::Admit(mode, purpose)),
        2 => (mode(), purpose()).prop_map(|(mode, purpose)| Step::AdmitUnlessLocked(mode, purpose)),
        1 => mode().prop_map(Step::TryAdmit),
        3 => (any::<Index>(), contents()).prop_map(|(which, contents)| Step::Release(which, contents)),
        2 => (any::<Index>(), condition()).prop_map(|(which, condition)| Step::Wait(which, condition)),
        2 => any::<Index>().prop_map(Step::Cancel),
        1 => (0..4u64).prop_map(Step::Watch),
        1 => Just(Step::HandOut),
        1 => any::<Index>().prop_map(Step::GiveBack),
    ];
    prop::collection::vec(step, 1..200)
}

/// The number of the read for the watchers.
const WATCH: u64 = u64::MAX;

/// Whether a holder may wait for a condition.
fn may_wait((number, grant): &(u64, Grant)) -> bool {
    *number != WATCH && grant.purpose == Purpose::Request
}

/// The admission and the model, which execute the same steps.
struct Both {
    admission: Admission<u64>,
    naive: Naive,
    holding: Vec<(u64, Grant)>,
    tickets: Vec<(u64, Ticket)>,
}

impl Both {
    fn new() -> Self {
        let naive = Naive { requests: Vec::new(), contents: EMPTY, in_hand: Vec::new() };
        Both { admission: Admission::default(), naive, holding: Vec::new(), tickets: Vec::new() }
    }

    fn step(&mut self, arrival: u64, step: Step) -> TestCaseResult {
        let Both { admission, naive, holding, tickets } = self;
        let (mut released, mut expected) = (Released::default(), Vec::new());
        match step {
            Step::Admit(mode, purpose) => {
                expected = naive.arrive(arrival, mode, purpose);
                match admission.admit(mode, purpose, arrival) {
                    Admitted::Granted(grant, job) => released.jobs.push((grant, job)),
                    Admitted::Queued(ticket) => tickets.push((arrival, ticket)),
                    Admitted::Locked(_) => prop_assert!(false, "a request that waits is refused"),
                }
            }
            Step::AdmitUnlessLocked(mode, purpose) => {
                let is_locked = naive.count(|request| request.purpose == Purpose::Lock) > 0;
                expected = naive.arrive(arrival, mode, purpose);
                match admission.admit_unless_locked(mode, purpose, arrival) {
                    Admitted::Granted(grant, job) => released.jobs.push((grant, job)),
                    Admitted::Queued(ticket) => {
                        prop_assert!(!is_locked, "a lock is before the request");
                        tickets.push((arrival, ticket));
                    }
                    Admitted::Locked(number) => {
                        prop_assert!(is_locked && number == arrival);
                        prop_assert!(naive.leave(arrival).is_empty());
                    }
                }
            }
            Step::TryAdmit(mode) => {
                expected = naive.arrive(arrival, mode, Purpose::Request);
                if expected.is_empty() {
                    naive.leave(arrival);
                }
                released
                    .jobs
                    .extend(admission.try_admit(mode, Purpose::Request).map(|grant| (grant, arrival)));
            }
            Step::Release(which, contents) if !holding.is_empty() => {
                let (number, grant) = holding.remove(which.index(holding.len()));
                if grant.mode() == Mode::Exclusive {
                    naive.contents = contents;
                }
                expected = naive.leave(number);
                let contents = naive.contents;
                admission.release(grant, || contents, &mut released);
            }
            Step::Wait(which, condition) if holding.iter().any(may_wait) => {
                let candidates: Vec<usize> =
                    (0..holding.len()).filter(|at| may_wait(&holding[*at])).collect();
                let (number, grant) = holding.remove(*which.get(&candidates));
                expected = naive.wait(number, condition);
                let ticket = admission.wait_for(grant, condition, naive.contents, number, &mut released);
                tickets.push((number, ticket));
            }
            Step::Cancel(which) if !tickets.is_empty() => {
                let (number, ticket) = tickets[which.index(tickets.len())];
                let waits = naive.waits(number);
                if waits {
                    expected = naive.leave(number);
                }
                prop_assert_eq!(admission.waiter(ticket).copied(), waits.then_some(number));
                prop_assert_eq!(admission.cancel(ticket, &mut released), waits.then_some(number));
            }
            Step::Watch(version) => {
                let contents = naive.contents;
                let waits = !naive.is_ready(State::InWaitSet(Condition::NewerThan(version)));
                prop_assert_eq!(admission.await_message(version, || contents), waits);
                if waits {
                    naive.watch(version);
                }
            }
            Step::HandOut if holding.iter().any(|(_, grant)| grant.mode() == Mode::Exclusive) => {
                InHand::hand_out(admission.in_hand(), &Located::of_version(arrival));
                naive.in_hand.push(arrival);
            }
            Step::GiveBack(which) if !naive.in_hand.is_empty() => {
                let version = naive.in_hand.remove(which.index(naive.in_hand.len()));
                expected = naive.admit();
                prop_assert!(admission.give_back(version, &mut released));
            }
            Step::Release(..) | Step::Wait(..) | Step::Cancel(_) | Step::HandOut | Step::GiveBack(_) => {}
        }
        prop_assert_eq!(released.watch.is_some(), expected.contains(&WATCH));
        expected.retain(|number| *number != WATCH);
        let found: Vec<u64> = released.jobs.iter().map(|(_, job)| *job).collect();
        prop_assert_eq!(found, expected);
        holding.extend(released.jobs.into_iter().map(|(grant, job)| (job, grant)));
        holding.extend(released.watch.map(|grant| (WATCH, grant)));
        self.compare()
    }

    fn compare(&self) -> TestCaseResult {
        let Both { admission, naive, holding, .. } = self;
        prop_assert!(!admission.next_is_grantable());
        prop_assert_eq!(admission.overtakes(), 0);
        prop_assert_eq!(admission.in_hand_count(), naive.in_hand.len() as u64);
        prop_assert_eq!(admission.is_locked(), naive.count(|request| request.purpose == Purpose::Lock) > 0);
        prop_assert_eq!(admission.waiting(), naive.count(|request| request.state == State::Queued));
        prop_assert_eq!(
            admission.waiting_for_condition(),
            naive.count(|request| request.number != WATCH && matches!(request.state, State::InWaitSet(_)))
        );
        let needs_room = |request: &Request| matches!(request.state, State::InWaitSet(Condition::Room(_)));
        prop_assert_eq!(admission.has_room_waiter(), naive.count(needs_room) > 0);
        let holders = holding.first().map(|(_, grant)| (grant.mode(), holding.len() as u32));
        prop_assert_eq!(admission.holders(), holders);
        for (number, grant) in holding {
            let is_holder = |request: &Request| {
                (request.number, request.mode, request.state) == (*number, grant.mode(), State::Granted)
            };
            prop_assert_eq!(naive.count(is_holder), 1);
        }
        Ok(())
    }
}

proptest! {
    #[test]
    fn admits_exactly_as_the_law_says(steps in steps()) {
        let mut both = Both::new();
        (0..).zip(steps).try_for_each(|(arrival, step)| both.step(arrival, step))?;
    }
}
