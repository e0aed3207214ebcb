//! The queue against its law, word for word.

use super::*;
use proptest::prelude::*;

/// A mailbox that nobody has written to.
const NOTHING: Contents = Contents { version: 0, count: 0, room: Some(1) };

/// The law, word for word, over a plain list of everybody who came and has not left.
#[derive(Default)]
struct Naive {
    /// Arrival, mode, whether it is in.
    present: Vec<(u64, Mode, bool)>,
}

impl Naive {
    /// Admits whoever may be admitted, in order; returns who that was.
    fn settle(&mut self) -> Vec<u64> {
        let mut let_in = Vec::new();
        for at in 0..self.present.len() {
            let (number, mode, is_in) = self.present[at];
            let others = || self.present.iter().filter(|other| other.2);
            let conflict = match mode {
                Mode::Shared => others().any(|other| other.1 == Mode::Exclusive),
                Mode::Exclusive => others().count() > 0,
            };
            if is_in {
                continue;
            }
            if conflict {
                break;
            }
            self.present[at].2 = true;
            let_in.push(number);
        }
        let_in
    }

    fn leave(&mut self, number: u64) -> Vec<u64> {
        self.present.retain(|entry| entry.0 != number);
        self.settle()
    }
}

#[derive(Clone, Debug)]
enum Step {
    Admit(bool),
    TryAdmit(bool),
    Release(prop::sample::Index),
    Cancel(prop::sample::Index),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        4 => any::<bool>().prop_map(Step::Admit),
        1 => any::<bool>().prop_map(Step::TryAdmit),
        3 => any::<prop::sample::Index>().prop_map(Step::Release),
        2 => any::<prop::sample::Index>().prop_map(Step::Cancel),
    ];
    prop::collection::vec(step, 1..200)
}

fn mode(shared: bool) -> Mode {
    if shared { Mode::Shared } else { Mode::Exclusive }
}

proptest! {
    #[test]
    fn behaves_like_the_law_word_for_word(steps in steps()) {
        let mut admission = Admission::default();
        let mut naive = Naive::default();
        let mut holding: Vec<(u64, Grant)> = Vec::new();
        let mut tickets: Vec<(u64, Ticket)> = Vec::new();
        for (arrival, step) in (0u64..).zip(steps) {
            let mut admitted = Vec::new();
            let mut expected = Vec::new();
            match step {
                Step::Admit(shared) => {
                    naive.present.push((arrival, mode(shared), false));
                    expected = naive.settle();
                    match admission.admit(mode(shared), arrival) {
                        Admitted::Granted(grant, job) => admitted.push((grant, job)),
                        Admitted::Queued(ticket) => tickets.push((arrival, ticket)),
                    }
                }
                Step::TryAdmit(shared) => {
                    naive.present.push((arrival, mode(shared), false));
                    expected = naive.settle();
                    if expected.is_empty() {
                        naive.leave(arrival);
                    }
                    admitted.extend(admission.try_admit(mode(shared)).map(|grant| (grant, arrival)));
                }
                Step::Release(which) if !holding.is_empty() => {
                    let (number, grant) = holding.remove(which.index(holding.len()));
                    expected = naive.leave(number);
                    admission.release(grant, || NOTHING, &mut admitted);
                }
                Step::Cancel(which) if !tickets.is_empty() => {
                    let (number, ticket) = tickets[which.index(tickets.len())];
                    let waits = naive.present.iter().any(|entry| entry.0 == number && !entry.2);
                    if waits {
                        expected = naive.leave(number);
                    }
                    prop_assert_eq!(admission.cancel(ticket, &mut admitted), waits.then_some(number));
                }
                _ => {}
            }
            let found: Vec<u64> = admitted.iter().map(|(_, job)| *job).collect();
            prop_assert_eq!(found, expected);
            holding.extend(admitted.into_iter().map(|(grant, job)| (job, grant)));
            prop_assert!(!admission.next_is_grantable());
            prop_assert_eq!(admission.waiting(), naive.present.iter().filter(|entry| !entry.2).count());
            prop_assert_eq!(admission.overtakes(), 0);
        }
    }
}

#[test]
fn a_cancelled_writer_frees_the_readers_behind_it() {
    let mut admission = Admission::default();
    let Admitted::Granted(reader, _) = admission.admit(Mode::Shared, "first") else { panic!() };
    let Admitted::Queued(writer) = admission.admit(Mode::Exclusive, "writer") else { panic!() };
    let Admitted::Queued(_) = admission.admit(Mode::Shared, "second") else { panic!() };
    let mut admitted = Vec::new();
    assert_eq!(admission.cancel(writer, &mut admitted), Some("writer"));
    assert_eq!(admitted.len(), 1);
    assert_eq!(admitted[0].1, "second");
    assert_eq!(admission.cancel(writer, &mut admitted), None);
    admission.release(reader, || NOTHING, &mut admitted);
}

#[test]
fn an_empty_queue_gives_its_room_back() {
    let mut admission = Admission::default();
    let Admitted::Granted(writer, _) = admission.admit(Mode::Exclusive, 0) else { panic!() };
    for job in 1..1000 {
        let Admitted::Queued(_) = admission.admit(Mode::Shared, job) else { panic!() };
    }
    let mut admitted = Vec::new();
    admission.release(writer, || NOTHING, &mut admitted);
    assert_eq!(admitted.len(), 999);
    assert!(admission.queue.capacity() <= ROOM_KEPT);
}
