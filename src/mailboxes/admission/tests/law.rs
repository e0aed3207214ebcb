//! Any sequence of arrivals and departures, beside a naive model of the law.

use proptest::prelude::*;
use proptest::sample::Index;
use proptest::test_runner::TestCaseResult;

use super::*;

/// The law, word for word, over a plain list of everybody who came and has not left.
struct Naive {
    present: Vec<Somebody>,
    contents: Contents,
}

/// One of them, by the number of its arrival.
#[derive(Clone, Copy)]
struct Somebody {
    number: u64,
    mode: Mode,
    is: Is,
}

#[derive(Clone, Copy, PartialEq)]
enum Is {
    In,
    Queued,
    Aside(Condition),
}

impl Naive {
    /// Lets in whoever may be in, one after the other, until nobody may; returns who that was.
    fn settle(&mut self) -> Vec<u64> {
        let mut let_in = Vec::new();
        while let Some(next) = self.next()
            && !self.conflicts(self.present[next].mode)
        {
            self.present[next].is = Is::In;
            let_in.push(self.present[next].number);
        }
        let_in
    }

    /// Who is next: a reader with news, else a taker, else a putter, else the head of the queue.
    fn next(&self) -> Option<usize> {
        let news = self.first(|is| matches!(is, Is::Aside(Condition::NewerThan(_)) if self.is_due(is)));
        let taker = self.first(|is| is == Is::Aside(Condition::NonEmpty)).filter(|at| self.is_due_at(*at));
        let putter =
            self.first(|is| matches!(is, Is::Aside(Condition::Room(_)))).filter(|at| self.is_due_at(*at));
        news.or(taker).or(putter).or(self.first(|is| is == Is::Queued))
    }

    /// The first to have come of those who are so.
    fn first(&self, so: impl Fn(Is) -> bool) -> Option<usize> {
        self.present.iter().position(|somebody| so(somebody.is))
    }

    fn is_due_at(&self, at: usize) -> bool {
        self.is_due(self.present[at].is)
    }

    /// Whether the mailbox holds what somebody aside needs.
    fn is_due(&self, is: Is) -> bool {
        let Contents { version, count, room } = self.contents;
        match is {
            Is::Aside(Condition::NewerThan(after)) => count > 0 && version > after,
            Is::Aside(Condition::NonEmpty) => count > 0,
            Is::Aside(Condition::Room(bytes)) => room.is_some_and(|room| room >= bytes),
            Is::In | Is::Queued => false,
        }
    }

    fn conflicts(&self, mode: Mode) -> bool {
        let mut holders = self.present.iter().filter(|other| other.is == Is::In);
        holders.any(|holder| mode == Mode::Exclusive || holder.mode == Mode::Exclusive)
    }

    fn arrive(&mut self, number: u64, mode: Mode) -> Vec<u64> {
        self.present.push(Somebody { number, mode, is: Is::Queued });
        self.settle()
    }

    fn leave(&mut self, number: u64) -> Vec<u64> {
        self.present.retain(|somebody| somebody.number != number);
        self.settle()
    }

    fn set_aside(&mut self, number: u64, need: Condition) -> Vec<u64> {
        let mode = if let Condition::NewerThan(_) = need { Mode::Shared } else { Mode::Exclusive };
        for somebody in self.present.iter_mut().filter(|somebody| somebody.number == number) {
            *somebody = Somebody { number, mode, is: Is::Aside(need) };
        }
        self.settle()
    }

    fn waits(&self, number: u64) -> bool {
        self.present.iter().any(|somebody| somebody.number == number && somebody.is != Is::In)
    }

    fn count(&self, so: impl Fn(&Somebody) -> bool) -> usize {
        self.present.iter().filter(|somebody| so(somebody)).count()
    }
}

#[derive(Clone, Debug)]
enum Step {
    Admit(Mode),
    TryAdmit(Mode),
    /// A holder leaves; if it was alone, with other contents.
    Release(Index, Contents),
    /// A holder misses something.
    SetAside(Index, Condition),
    Cancel(Index),
}

fn mode() -> impl Strategy<Value = Mode> {
    prop_oneof![Just(Mode::Shared), Just(Mode::Exclusive)]
}

/// So few values that most of them matter to somebody.
fn contents() -> impl Strategy<Value = Contents> {
    (0..4u64, 0..3u64, prop::option::of(0..4u64)).prop_map(|(version, count, room)| Contents {
        version,
        count,
        room,
    })
}

fn need() -> impl Strategy<Value = Condition> {
    prop_oneof![
        2 => (0..4u64).prop_map(Condition::NewerThan),
        1 => Just(Condition::NonEmpty),
        2 => (0..4u64).prop_map(Condition::Room),
    ]
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        4 => mode().prop_map(Step::Admit),
        1 => mode().prop_map(Step::TryAdmit),
        3 => (any::<Index>(), contents()).prop_map(|(which, contents)| Step::Release(which, contents)),
        2 => (any::<Index>(), need()).prop_map(|(which, need)| Step::SetAside(which, need)),
        2 => any::<Index>().prop_map(Step::Cancel),
    ];
    prop::collection::vec(step, 1..200)
}

/// Does the same to the queue and to the model.
struct Both {
    admission: Admission<u64>,
    naive: Naive,
    holding: Vec<(u64, Grant)>,
    tickets: Vec<(u64, Ticket)>,
}

impl Both {
    fn new() -> Self {
        let naive = Naive { present: Vec::new(), contents: NOTHING };
        Both { admission: Admission::default(), naive, holding: Vec::new(), tickets: Vec::new() }
    }

    fn step(&mut self, arrival: u64, step: Step) -> TestCaseResult {
        let Both { admission, naive, holding, tickets } = self;
        let (mut admitted, mut expected) = (Vec::new(), Vec::new());
        match step {
            Step::Admit(mode) => {
                expected = naive.arrive(arrival, mode);
                match admission.admit(mode, arrival) {
                    Admitted::Granted(grant, job) => admitted.push((grant, job)),
                    Admitted::Queued(ticket) => tickets.push((arrival, ticket)),
                }
            }
            Step::TryAdmit(mode) => {
                expected = naive.arrive(arrival, mode);
                if expected.is_empty() {
                    naive.leave(arrival);
                }
                admitted.extend(admission.try_admit(mode).map(|grant| (grant, arrival)));
            }
            Step::Release(which, contents) if !holding.is_empty() => {
                let (number, grant) = holding.remove(which.index(holding.len()));
                if grant.mode() == Mode::Exclusive {
                    naive.contents = contents;
                }
                expected = naive.leave(number);
                let contents = naive.contents;
                admission.release(grant, || contents, &mut admitted);
            }
            Step::SetAside(which, need) if !holding.is_empty() => {
                let (number, grant) = holding.remove(which.index(holding.len()));
                expected = naive.set_aside(number, need);
                let ticket = admission.wait_for(grant, need, naive.contents, number, &mut admitted);
                tickets.push((number, ticket));
            }
            Step::Cancel(which) if !tickets.is_empty() => {
                let (number, ticket) = tickets[which.index(tickets.len())];
                let waits = naive.waits(number);
                if waits {
                    expected = naive.leave(number);
                }
                prop_assert_eq!(admission.waiter(ticket).copied(), waits.then_some(number));
                prop_assert_eq!(admission.cancel(ticket, &mut admitted), waits.then_some(number));
            }
            Step::Release(..) | Step::SetAside(..) | Step::Cancel(_) => {}
        }
        let found: Vec<u64> = admitted.iter().map(|(_, job)| *job).collect();
        prop_assert_eq!(found, expected);
        holding.extend(admitted.into_iter().map(|(grant, job)| (job, grant)));
        self.agree()
    }

    fn agree(&self) -> TestCaseResult {
        let Both { admission, naive, holding, .. } = self;
        prop_assert!(!admission.next_is_grantable());
        prop_assert_eq!(admission.overtakes(), 0);
        prop_assert_eq!(admission.waiting(), naive.count(|somebody| somebody.is == Is::Queued));
        prop_assert_eq!(
            admission.waiting_for_condition(),
            naive.count(|somebody| matches!(somebody.is, Is::Aside(_)))
        );
        let needs_room = |somebody: &Somebody| matches!(somebody.is, Is::Aside(Condition::Room(_)));
        prop_assert_eq!(admission.has_room_waiter(), naive.count(needs_room) > 0);
        let holders = holding.first().map(|(_, grant)| (grant.mode(), holding.len() as u32));
        prop_assert_eq!(admission.holders(), holders);
        for (number, grant) in holding {
            let is_so = |somebody: &Somebody| {
                (somebody.number, somebody.mode, somebody.is == Is::In) == (*number, grant.mode(), true)
            };
            prop_assert_eq!(naive.count(is_so), 1);
        }
        Ok(())
    }
}

fn behaves_like_the_law(steps: Vec<Step>) -> TestCaseResult {
    let mut both = Both::new();
    (0..).zip(steps).try_for_each(|(arrival, step)| both.step(arrival, step))
}

proptest! {
    #[test]
    fn behaves_like_the_law_word_for_word(steps in steps()) {
        behaves_like_the_law(steps)?;
    }
}
