//! The law, a test for each of its sentences.

use super::*;

const SHARED: Mode = Mode::Shared;
const EXCLUSIVE: Mode = Mode::Exclusive;

/// A mailbox that has so many messages, all of them new, and room for a message of so many bytes.
fn holding(count: u64, room: u64) -> Contents {
    Contents { version: count, count, room: Some(room) }
}

/// A queue in which nobody waits for anything that is there, and whom the last step let in.
#[derive(Default)]
struct Door {
    admission: Admission<&'static str>,
    admitted: Vec<(Grant, &'static str)>,
}

impl Door {
    /// Who was let in since this was asked, in order.
    fn let_in(&mut self) -> Vec<&'static str> {
        self.admitted.iter().map(|(_, name)| *name).collect()
    }

    /// Somebody comes and is in.
    fn enter(&mut self, mode: Mode) -> Grant {
        self.admission.try_admit(mode).expect("may be in")
    }

    /// Somebody comes and has to wait.
    fn queue(&mut self, mode: Mode, name: &'static str) -> Ticket {
        match self.admission.admit(mode, name) {
            Admitted::Granted(..) => panic!("{name} is in"),
            Admitted::Queued(ticket) => ticket,
        }
    }

    /// Somebody comes and misses something in a mailbox that has nothing.
    fn aside(&mut self, need: Condition, name: &'static str) -> Ticket {
        let grant = self.enter(need.mode());
        self.admission.wait_for(grant, need, holding(0, 0), name, &mut self.admitted)
    }

    /// A holder leaves the mailbox with these contents; who that lets in.
    fn release(&mut self, grant: Grant, contents: Contents) -> Vec<&'static str> {
        self.admitted.clear();
        self.admission.release(grant, || contents, &mut self.admitted);
        self.let_in()
    }

    /// The first of those who were let in leaves.
    fn next(&mut self, contents: Contents) -> Vec<&'static str> {
        let (grant, _) = self.admitted.remove(0);
        self.release(grant, contents)
    }

    /// Somebody gives up; who that lets in.
    fn cancel(&mut self, ticket: Ticket) -> Vec<&'static str> {
        self.admitted.clear();
        self.admission.cancel(ticket, &mut self.admitted).expect("waits");
        self.let_in()
    }

    /// Somebody comes, changes the mailbox, and leaves; who that lets in.
    fn change(&mut self, contents: Contents) -> Vec<&'static str> {
        let grant = self.enter(EXCLUSIVE);
        self.release(grant, contents)
    }
}

// ---- the queue ----

#[test]
fn consecutive_readers_are_in_together() {
    let mut door = Door::default();
    let writer = door.enter(EXCLUSIVE);
    door.queue(SHARED, "reader");
    door.queue(SHARED, "another");
    door.queue(EXCLUSIVE, "writer");
    door.queue(SHARED, "third");
    assert_eq!(door.release(writer, NOTHING), ["reader", "another"]);
    assert_eq!(door.admission.holders(), Some((SHARED, 2)));
}

#[test]
fn a_writer_is_in_alone() {
    let mut door = Door::default();
    let reader = door.enter(SHARED);
    let another = door.enter(SHARED);
    door.queue(EXCLUSIVE, "writer");
    door.queue(EXCLUSIVE, "another writer");
    assert!(door.release(reader, NOTHING).is_empty());
    assert_eq!(door.release(another, NOTHING), ["writer"]);
    assert_eq!(door.next(NOTHING), ["another writer"]);
}

#[test]
fn a_reader_does_not_pass_a_waiting_writer() {
    let mut door = Door::default();
    let _reader = door.enter(SHARED);
    door.queue(EXCLUSIVE, "writer");
    assert_eq!(door.admission.try_admit(SHARED), None);
    door.queue(SHARED, "reader");
}

#[test]
fn who_tries_once_in_vain_was_never_there() {
    let mut door = Door::default();
    let writer = door.enter(EXCLUSIVE);
    assert_eq!(door.admission.try_admit(SHARED), None);
    assert_eq!(door.admission.try_admit(EXCLUSIVE), None);
    assert_eq!(door.admission.waiting(), 0);
    assert!(door.release(writer, NOTHING).is_empty());
    assert_eq!(door.admission.holders(), None);
}

#[test]
fn a_writer_that_gives_up_frees_the_readers_behind_it() {
    let mut door = Door::default();
    let _reader = door.enter(SHARED);
    let writer = door.queue(EXCLUSIVE, "writer");
    door.queue(SHARED, "second");
    assert_eq!(door.cancel(writer), ["second"]);
    assert_eq!(door.admission.cancel(writer, &mut Vec::new()), None, "it has left");
}

#[test]
fn an_empty_queue_gives_its_room_back() {
    let mut door = Door::default();
    let writer = door.enter(EXCLUSIVE);
    for _ in 1..1000 {
        door.queue(SHARED, "reader");
    }
    assert_eq!(door.release(writer, NOTHING).len(), 999);
    assert!(door.admission.queue.capacity() <= ROOM_KEPT);
}

// ---- aside ----

#[test]
fn others_pass_who_is_set_aside() {
    let mut door = Door::default();
    let taker = door.enter(EXCLUSIVE);
    door.queue(EXCLUSIVE, "putter");
    let _ticket =
        door.admission.wait_for(taker, Condition::NonEmpty, holding(0, 1), "taker", &mut door.admitted);
    assert_eq!(door.let_in(), ["putter"]);
    assert_eq!((door.admission.waiting(), door.admission.waiting_for_condition()), (0, 1));
}

#[test]
fn who_was_set_aside_is_next_before_the_whole_queue() {
    let mut door = Door::default();
    door.aside(Condition::NonEmpty, "taker");
    let putter = door.enter(EXCLUSIVE);
    door.queue(EXCLUSIVE, "writer");
    door.queue(SHARED, "reader");
    assert_eq!(door.release(putter, holding(1, 0)), ["taker"]);
    assert_eq!(door.next(holding(0, 1)), ["writer"]);
    assert_eq!(door.admission.overtakes(), 0);
}

#[test]
fn nobody_from_the_queue_passes_who_is_due_but_cannot_be_in_yet() {
    let mut door = Door::default();
    door.aside(Condition::NewerThan(0), "reader");
    door.aside(Condition::NonEmpty, "taker");
    let putter = door.enter(EXCLUSIVE);
    door.queue(SHARED, "from the queue");
    assert_eq!(door.release(putter, holding(1, 0)), ["reader"]);
    assert_eq!(door.admission.try_admit(SHARED), None);
    assert_eq!(door.next(holding(1, 0)), ["taker"]);
    assert_eq!(door.next(holding(0, 1)), ["from the queue"]);
}

#[test]
fn readers_are_due_together_those_who_have_news() {
    let mut door = Door::default();
    door.aside(Condition::NewerThan(0), "first");
    door.aside(Condition::NewerThan(5), "later");
    door.aside(Condition::NewerThan(0), "second");
    assert_eq!(door.change(holding(1, 0)), ["first", "second"]);
    assert_eq!(door.admission.waiting_for_condition(), 1);
}

#[test]
fn readers_who_were_in_together_come_back_in_the_order_of_arrival() {
    let mut door = Door::default();
    let [first, second] = [door.enter(SHARED), door.enter(SHARED)];
    for (grant, name) in [(second, "second"), (first, "first")] {
        door.admission.wait_for(grant, Condition::NewerThan(0), NOTHING, name, &mut door.admitted);
    }
    assert_eq!(door.change(holding(1, 0)), ["first", "second"]);
}

#[test]
fn what_is_taken_has_been_seen() {
    let mut door = Door::default();
    door.aside(Condition::NonEmpty, "taker");
    door.aside(Condition::NewerThan(0), "reader");
    assert_eq!(door.change(holding(1, 0)), ["reader"]);
    assert_eq!(door.next(holding(1, 0)), ["taker"]);
}

#[test]
fn a_message_that_is_gone_already_is_no_news() {
    let mut door = Door::default();
    door.aside(Condition::NewerThan(0), "reader");
    assert!(door.change(Contents { version: 7, count: 0, room: Some(1) }).is_empty());
}

#[test]
fn takers_come_in_order_one_for_each_message() {
    let mut door = Door::default();
    door.aside(Condition::NonEmpty, "first");
    door.aside(Condition::NonEmpty, "second");
    assert_eq!(door.change(holding(2, 0)), ["first"]);
    assert_eq!(door.next(holding(1, 0)), ["second"]);
}

#[test]
fn a_smaller_put_does_not_pass_an_earlier_one() {
    let mut door = Door::default();
    door.aside(Condition::Room(3), "large");
    door.aside(Condition::Room(1), "small");
    assert!(door.change(holding(1, 2)).is_empty());
    assert_eq!(door.change(holding(0, 4)), ["large"]);
    assert_eq!(door.next(holding(1, 1)), ["small"]);
}

#[test]
fn a_large_put_that_gives_up_frees_the_smaller_one_behind_it() {
    let mut door = Door::default();
    let large = door.aside(Condition::Room(3), "large");
    door.aside(Condition::Room(1), "small");
    assert!(door.change(holding(1, 2)).is_empty());
    assert_eq!(door.cancel(large), ["small"]);
}

#[test]
fn a_taker_makes_room_before_a_putter_takes_it() {
    let mut door = Door::default();
    door.aside(Condition::Room(1), "putter");
    door.aside(Condition::NonEmpty, "taker");
    assert_eq!(door.change(holding(1, 1)), ["taker"]);
    assert_eq!(door.next(holding(0, 2)), ["putter"]);
}

#[test]
fn who_gives_up_when_it_is_due_frees_the_queue() {
    let mut door = Door::default();
    let taker = door.aside(Condition::NonEmpty, "taker");
    door.aside(Condition::NewerThan(0), "reader");
    assert_eq!(door.change(holding(1, 0)), ["reader"]);
    door.queue(SHARED, "from the queue");
    let reader = door.admitted.remove(0).0;
    assert_eq!(door.cancel(taker), ["from the queue"]);
    assert!(door.release(reader, holding(1, 0)).is_empty());
}

#[test]
fn who_waited_for_news_and_left_keeps_nobody_out() {
    let mut door = Door::default();
    let reader = door.aside(Condition::NewerThan(0), "reader");
    door.aside(Condition::NewerThan(9), "patient");
    assert!(door.cancel(reader).is_empty());
    assert!(door.change(holding(1, 0)).is_empty());
    let _writer = door.enter(EXCLUSIVE);
}

#[test]
fn a_lock_that_brings_news_wakes_who_waits_for_it_when_it_ends() {
    let mut door = Door::default();
    door.aside(Condition::NewerThan(0), "watchers");
    let lock = door.enter(EXCLUSIVE);
    assert_eq!(door.admission.try_admit(SHARED), None);
    assert_eq!(door.release(lock, holding(3, 0)), ["watchers"]);
}

#[test]
fn readers_change_nothing_so_nobody_is_asked_what_there_is() {
    let mut door = Door::default();
    door.aside(Condition::NonEmpty, "taker");
    let reader = door.enter(SHARED);
    door.admission.release(reader, || unreachable!("asked"), &mut door.admitted);
    assert!(door.let_in().is_empty());
}

#[test]
fn where_nobody_is_aside_nobody_is_asked_what_there_is() {
    let mut door = Door::default();
    let writer = door.enter(EXCLUSIVE);
    door.queue(SHARED, "reader");
    door.admission.release(writer, || unreachable!("asked"), &mut door.admitted);
    assert_eq!(door.let_in(), ["reader"]);
}

#[test]
fn who_comes_back_and_misses_it_again_keeps_its_place() {
    let mut door = Door::default();
    door.aside(Condition::NonEmpty, "first");
    door.aside(Condition::NonEmpty, "second");
    assert_eq!(door.change(holding(1, 0)), ["first"]);
    let (grant, name) = door.admitted.remove(0);
    let ticket = door.admission.wait_for(grant, Condition::NonEmpty, NOTHING, name, &mut door.admitted);
    assert_eq!(door.admission.waiter(ticket), Some(&mut "first"));
    assert_eq!(door.change(holding(1, 0)), ["first"]);
}
