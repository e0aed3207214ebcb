//! A test for each sentence of the law.

use super::*;

const SHARED: Mode = Mode::Shared;
const EXCLUSIVE: Mode = Mode::Exclusive;

/// The contents of a mailbox that has the first `count` messages ever put, and room for a message of `room`
/// bytes.
fn contents(count: u64, room: u64) -> Contents {
    Contents::of_list(count, count, Some(room))
}

/// An admission, and the requests that the last step admitted.
#[derive(Default)]
struct Queue {
    admission: Admission<&'static str>,
    released: Released<&'static str>,
}

impl Queue {
    /// The names of the requests that the last step admitted, in order.
    fn admitted(&self) -> Vec<&'static str> {
        self.released.jobs.iter().map(|(_, name)| *name).collect()
    }

    /// A request arrives and is admitted.
    fn enter(&mut self, mode: Mode) -> Grant {
        self.admission.try_admit(mode, Purpose::Request).expect("admitted")
    }

    /// A request arrives and has to wait.
    fn wait(&mut self, mode: Mode, name: &'static str) -> Ticket {
        match self.admission.admit(mode, Purpose::Request, name) {
            Admitted::Granted(..) => panic!("{name} is admitted"),
            Admitted::Queued(ticket) => ticket,
            Admitted::Locked(_) => unreachable!("{name} waits for locks"),
        }
    }

    /// A request is admitted to a mailbox that has no messages and no room, and joins the wait set.
    fn block(&mut self, condition: Condition, name: &'static str) -> Ticket {
        let grant = self.enter(condition.mode());
        self.admission.wait_for(grant, condition, contents(0, 0), name, &mut self.released)
    }

    /// A holder releases its grant. Returns the requests that this admits.
    fn release(&mut self, grant: Grant, contents: Contents) -> Vec<&'static str> {
        self.released = Released::default();
        self.admission.release(grant, || contents, &mut self.released);
        self.admitted()
    }

    /// The first request of the last step releases its grant. Returns the requests that this admits.
    fn release_next(&mut self, contents: Contents) -> Vec<&'static str> {
        let (grant, _) = self.released.jobs.remove(0);
        self.release(grant, contents)
    }

    /// A waiter is cancelled. Returns the requests that this admits.
    fn cancel(&mut self, ticket: Ticket) -> Vec<&'static str> {
        self.released = Released::default();
        self.admission.cancel(ticket, &mut self.released).expect("waits");
        self.admitted()
    }

    /// A writer arrives, changes the contents, and releases its grant. Returns the requests that this admits.
    fn change(&mut self, contents: Contents) -> Vec<&'static str> {
        let grant = self.enter(EXCLUSIVE);
        self.release(grant, contents)
    }
}

// ---- the queue ----

#[test]
fn consecutive_readers_hold_the_mailbox_together() {
    let mut queue = Queue::default();
    let writer = queue.enter(EXCLUSIVE);
    queue.wait(SHARED, "reader");
    queue.wait(SHARED, "second");
    queue.wait(EXCLUSIVE, "writer");
    queue.wait(SHARED, "third");
    assert_eq!(queue.release(writer, EMPTY), ["reader", "second"]);
    assert_eq!(queue.admission.holders(), Some((SHARED, 2)));
}

#[test]
fn a_writer_holds_the_mailbox_alone() {
    let mut queue = Queue::default();
    let reader = queue.enter(SHARED);
    let second = queue.enter(SHARED);
    queue.wait(EXCLUSIVE, "writer");
    queue.wait(EXCLUSIVE, "second writer");
    assert!(queue.release(reader, EMPTY).is_empty());
    assert_eq!(queue.release(second, EMPTY), ["writer"]);
    assert_eq!(queue.release_next(EMPTY), ["second writer"]);
}

#[test]
fn a_reader_does_not_overtake_a_waiting_writer() {
    let mut queue = Queue::default();
    let _reader = queue.enter(SHARED);
    queue.wait(EXCLUSIVE, "writer");
    assert_eq!(queue.admission.try_admit(SHARED, Purpose::Request), None);
    queue.wait(SHARED, "reader");
}

#[test]
fn a_request_that_does_not_wait_for_locks_waits_behind_other_requests() {
    let mut queue = Queue::default();
    let writer = queue.enter(EXCLUSIVE);
    let admitted = queue.admission.admit_unless_locked(EXCLUSIVE, Purpose::Request, "second");
    assert!(matches!(admitted, Admitted::Queued(_)));
    assert_eq!(queue.release(writer, EMPTY), ["second"]);
}

#[test]
fn a_request_that_does_not_wait_for_locks_waits_behind_no_lock() {
    let mut queue = Queue::default();
    let writer = queue.enter(EXCLUSIVE);
    let Admitted::Queued(lock) = queue.admission.admit(SHARED, Purpose::Lock, "lock") else {
        panic!("admitted beside a writer");
    };
    let refused = Admitted::Locked("reader");
    // The lock waits.
    assert_eq!(queue.admission.admit_unless_locked(SHARED, Purpose::Request, "reader"), refused);
    assert_eq!(queue.release(writer, EMPTY), ["lock"]);
    // The lock holds the mailbox, and a writer waits for it.
    let writer = queue.wait(EXCLUSIVE, "writer");
    assert_eq!(queue.admission.admit_unless_locked(SHARED, Purpose::Request, "reader"), refused);
    assert!(queue.cancel(writer).is_empty() && queue.admission.cancel(lock, &mut queue.released).is_none());
    // A reader beside a shared lock need not wait.
    let admitted = queue.admission.admit_unless_locked(SHARED, Purpose::Request, "reader");
    assert!(matches!(admitted, Admitted::Granted(..)));
}

#[test]
fn a_cancelled_lock_excludes_no_request() {
    let mut queue = Queue::default();
    let _writer = queue.enter(EXCLUSIVE);
    let Admitted::Queued(lock) = queue.admission.admit(EXCLUSIVE, Purpose::Lock, "lock") else {
        panic!("admitted beside a writer");
    };
    assert!(queue.admission.is_locked());
    queue.cancel(lock);
    assert!(!queue.admission.is_locked());
}

#[test]
fn a_failed_try_changes_nothing() {
    let mut queue = Queue::default();
    let writer = queue.enter(EXCLUSIVE);
    assert_eq!(queue.admission.try_admit(SHARED, Purpose::Request), None);
    assert_eq!(queue.admission.try_admit(EXCLUSIVE, Purpose::Request), None);
    assert_eq!(queue.admission.waiting(), 0);
    assert!(queue.release(writer, EMPTY).is_empty());
    assert_eq!(queue.admission.holders(), None);
}

#[test]
fn a_cancelled_writer_admits_the_readers_behind_it() {
    let mut queue = Queue::default();
    let _reader = queue.enter(SHARED);
    let writer = queue.wait(EXCLUSIVE, "writer");
    queue.wait(SHARED, "second");
    assert_eq!(queue.cancel(writer), ["second"]);
    assert_eq!(queue.admission.cancel(writer, &mut Released::default()), None, "it was cancelled before");
}

#[test]
fn a_grant_describes_its_admission() {
    let describe = |grant: &Grant| (grant.number(), grant.resumed(), grant.has_waiters());
    let mut queue = Queue::default();
    queue.block(Condition::NonEmpty, "first");
    queue.block(Condition::NonEmpty, "second");
    let putter = queue.enter(EXCLUSIVE);
    assert_eq!(describe(&putter), (2, false, true));
    assert_eq!(queue.release(putter, contents(2, 0)), ["first"]);
    assert_eq!(describe(&queue.released.jobs[0].0), (0, true, true));
    assert_eq!(queue.release_next(contents(1, 0)), ["second"]);
    assert_eq!(describe(&queue.released.jobs[0].0), (1, true, false));
    assert!(queue.release_next(contents(0, 1)).is_empty());
    assert_eq!(describe(&queue.enter(EXCLUSIVE)), (3, false, false));
}

/// The law excludes this, so the test pretends that a later request was admitted.
#[test]
fn an_overtaken_request_is_counted() {
    let mut queue = Queue::default();
    queue.admission.newest = Some(7);
    assert!(queue.enter(SHARED).overtaken());
    assert_eq!(queue.admission.overtakes(), 1);
    queue.admission.newest = Some(1);
    let second = queue.enter(SHARED);
    assert_eq!((second.number(), second.overtaken()), (1, false));
    assert_eq!(queue.admission.overtakes(), 1);
}

/// The corollary holds after every operation. The test violates it by queueing a request at a free mailbox.
#[test]
fn a_waiter_of_a_free_mailbox_is_grantable() {
    let mut queue = Queue::default();
    assert!(!queue.admission.next_is_grantable());
    queue.admission.enqueue(SHARED, Purpose::Request, "reader");
    assert!(queue.admission.next_is_grantable());
}

// ---- the wait set ----

#[test]
fn a_request_in_the_wait_set_delays_no_other_request() {
    let mut queue = Queue::default();
    let taker = queue.enter(EXCLUSIVE);
    queue.wait(EXCLUSIVE, "putter");
    let _ticket =
        queue.admission.wait_for(taker, Condition::NonEmpty, contents(0, 1), "taker", &mut queue.released);
    assert_eq!(queue.admitted(), ["putter"]);
    assert_eq!((queue.admission.waiting(), queue.admission.waiting_for_condition()), (0, 1));
}

#[test]
fn a_ready_request_of_the_wait_set_is_next_before_the_queue() {
    let mut queue = Queue::default();
    queue.block(Condition::NonEmpty, "taker");
    let putter = queue.enter(EXCLUSIVE);
    queue.wait(EXCLUSIVE, "writer");
    queue.wait(SHARED, "reader");
    assert_eq!(queue.release(putter, contents(1, 0)), ["taker"]);
    assert_eq!(queue.release_next(contents(0, 1)), ["writer"]);
    assert_eq!(queue.admission.overtakes(), 0);
}

#[test]
fn the_queue_does_not_overtake_a_ready_request_that_conflicts() {
    let mut queue = Queue::default();
    queue.block(Condition::NewerThan(0), "reader");
    queue.block(Condition::NonEmpty, "taker");
    let putter = queue.enter(EXCLUSIVE);
    queue.wait(SHARED, "from the queue");
    assert_eq!(queue.release(putter, contents(1, 0)), ["reader"]);
    assert_eq!(queue.admission.try_admit(SHARED, Purpose::Request), None);
    assert_eq!(queue.release_next(contents(1, 0)), ["taker"]);
    assert_eq!(queue.release_next(contents(0, 1)), ["from the queue"]);
}

#[test]
fn all_readers_with_a_newer_message_are_admitted_together() {
    let mut queue = Queue::default();
    queue.block(Condition::NewerThan(0), "first");
    queue.block(Condition::NewerThan(5), "later");
    queue.block(Condition::NewerThan(0), "second");
    assert_eq!(queue.change(contents(1, 0)), ["first", "second"]);
    assert_eq!(queue.admission.waiting_for_condition(), 1);
}

#[test]
fn readers_of_the_wait_set_are_admitted_in_order_of_arrival() {
    let mut queue = Queue::default();
    let [first, second] = [queue.enter(SHARED), queue.enter(SHARED)];
    for (grant, name) in [(second, "second"), (first, "first")] {
        queue.admission.wait_for(grant, Condition::NewerThan(0), EMPTY, name, &mut queue.released);
    }
    assert_eq!(queue.change(contents(1, 0)), ["first", "second"]);
}

#[test]
fn readers_see_a_message_before_it_is_taken() {
    let mut queue = Queue::default();
    queue.block(Condition::NonEmpty, "taker");
    queue.block(Condition::NewerThan(0), "reader");
    assert_eq!(queue.change(contents(1, 0)), ["reader"]);
    assert_eq!(queue.release_next(contents(1, 0)), ["taker"]);
}

#[test]
fn a_message_that_was_removed_admits_no_reader() {
    let mut queue = Queue::default();
    queue.block(Condition::NewerThan(0), "reader");
    assert!(queue.change(Contents::of_list(7, 0, Some(1))).is_empty());
}

#[test]
fn a_message_whose_newer_ones_were_removed_admits_no_reader_of_these() {
    let mut queue = Queue::default();
    queue.block(Condition::NewerThan(5), "reader");
    let holes = Contents { newest: 5, count: 1, ..contents(7, 1) };
    assert!(queue.change(holes).is_empty());
    assert_eq!(queue.change(Contents { newest: 6, ..holes }), ["reader"]);
}

#[test]
fn a_message_in_hand_admits_no_taker_until_it_is_given_back() {
    let mut queue = Queue::default();
    InHand::hand_out(queue.admission.in_hand(), &Located::of_version(1));
    queue.block(Condition::NonEmpty, "first");
    queue.block(Condition::NonEmpty, "second");
    assert!(queue.change(contents(1, 0)).is_empty());
    queue.released = Released::default();
    assert!(!queue.admission.give_back(2, &mut queue.released), "another message");
    assert!(queue.admission.give_back(1, &mut queue.released));
    assert_eq!(queue.admitted(), ["first"]);
}

#[test]
fn a_message_that_is_given_back_before_its_taker_waits_admits_the_taker() {
    let mut queue = Queue::default();
    InHand::hand_out(queue.admission.in_hand(), &Located::of_version(1));
    let grant = queue.enter(EXCLUSIVE);
    assert!(queue.admission.give_back(1, &mut queue.released));
    queue.admission.wait_for(grant, Condition::NonEmpty, contents(1, 0), "taker", &mut queue.released);
    assert_eq!(queue.admitted(), ["taker"]);
}

#[test]
fn each_message_admits_one_taker_in_order() {
    let mut queue = Queue::default();
    queue.block(Condition::NonEmpty, "first");
    queue.block(Condition::NonEmpty, "second");
    assert_eq!(queue.change(contents(2, 0)), ["first"]);
    assert_eq!(queue.release_next(contents(1, 0)), ["second"]);
}

#[test]
fn a_small_put_does_not_overtake_an_earlier_large_one() {
    let mut queue = Queue::default();
    queue.block(Condition::Room(3), "large");
    queue.block(Condition::Room(1), "small");
    assert!(queue.change(contents(1, 2)).is_empty());
    assert_eq!(queue.change(contents(0, 4)), ["large"]);
    assert_eq!(queue.release_next(contents(1, 1)), ["small"]);
}

#[test]
fn a_cancelled_large_put_admits_the_small_one_behind_it() {
    let mut queue = Queue::default();
    let large = queue.block(Condition::Room(3), "large");
    queue.block(Condition::Room(1), "small");
    assert!(queue.change(contents(1, 2)).is_empty());
    assert_eq!(queue.cancel(large), ["small"]);
}

#[test]
fn takers_come_before_putters() {
    let mut queue = Queue::default();
    queue.block(Condition::Room(1), "putter");
    queue.block(Condition::NonEmpty, "taker");
    assert_eq!(queue.change(contents(1, 1)), ["taker"]);
    assert_eq!(queue.release_next(contents(0, 2)), ["putter"]);
}

#[test]
fn a_cancelled_ready_taker_admits_the_queue() {
    let mut queue = Queue::default();
    let taker = queue.block(Condition::NonEmpty, "taker");
    queue.block(Condition::NewerThan(0), "reader");
    assert_eq!(queue.change(contents(1, 0)), ["reader"]);
    queue.wait(SHARED, "from the queue");
    let reader = queue.released.jobs.remove(0).0;
    assert_eq!(queue.cancel(taker), ["from the queue"]);
    assert!(queue.release(reader, contents(1, 0)).is_empty());
}

#[test]
fn a_holder_learns_whether_its_change_meets_a_condition() {
    let mut queue = Queue::default();
    queue.block(Condition::NonEmpty, "taker");
    let _lock = queue.enter(EXCLUSIVE);
    assert!(!queue.admission.update_contents(contents(0, 1)));
    assert!(queue.admission.update_contents(contents(1, 0)));
}

#[test]
fn a_holder_excludes_the_requests_whose_condition_it_has_met() {
    for (condition, name) in [(Condition::NewerThan(0), "reader"), (Condition::NonEmpty, "taker")] {
        let mut queue = Queue::default();
        queue.block(condition, name);
        let lock = queue.enter(EXCLUSIVE);
        let other = queue.wait(SHARED, "other");
        assert!(queue.admission.update_contents(contents(1, 0)));
        assert!(queue.cancel(other).is_empty());
        assert_eq!(queue.release(lock, contents(1, 0)), [name]);
    }
}

#[test]
fn a_cancelled_reader_does_not_count_as_waiting() {
    let mut queue = Queue::default();
    let reader = queue.block(Condition::NewerThan(0), "reader");
    queue.block(Condition::NewerThan(9), "waiting");
    assert!(queue.cancel(reader).is_empty());
    let _lock = queue.enter(EXCLUSIVE);
    assert!(!queue.admission.update_contents(contents(1, 0)));
}

#[test]
fn a_cancelled_reader_delays_no_other_request() {
    let mut queue = Queue::default();
    let reader = queue.block(Condition::NewerThan(0), "reader");
    queue.block(Condition::NewerThan(9), "waiting");
    assert!(queue.cancel(reader).is_empty());
    assert!(queue.change(contents(1, 0)).is_empty());
    let _writer = queue.enter(EXCLUSIVE);
}

#[test]
fn a_reader_of_the_wait_set_is_admitted_when_a_lock_with_a_new_message_ends() {
    let mut queue = Queue::default();
    queue.block(Condition::NewerThan(0), "reader");
    let lock = queue.enter(EXCLUSIVE);
    assert_eq!(queue.admission.try_admit(SHARED, Purpose::Request), None);
    assert_eq!(queue.release(lock, contents(3, 0)), ["reader"]);
}

#[test]
fn a_reader_releases_without_a_call_for_the_contents() {
    let mut queue = Queue::default();
    queue.block(Condition::NonEmpty, "taker");
    let reader = queue.enter(SHARED);
    queue.admission.release(reader, || unreachable!("called"), &mut queue.released);
    assert!(queue.admitted().is_empty());
}

#[test]
fn without_a_wait_set_the_contents_are_not_called_for() {
    let mut queue = Queue::default();
    let writer = queue.enter(EXCLUSIVE);
    queue.wait(SHARED, "reader");
    queue.admission.release(writer, || unreachable!("called"), &mut queue.released);
    assert_eq!(queue.admitted(), ["reader"]);
}

#[test]
fn a_request_that_rejoins_the_wait_set_keeps_its_place() {
    let mut queue = Queue::default();
    queue.block(Condition::NonEmpty, "first");
    queue.block(Condition::NonEmpty, "second");
    assert_eq!(queue.change(contents(1, 0)), ["first"]);
    let (grant, name) = queue.released.jobs.remove(0);
    let ticket = queue.admission.wait_for(grant, Condition::NonEmpty, EMPTY, name, &mut queue.released);
    assert_eq!(queue.admission.waiter(ticket), Some(&mut "first"));
    assert_eq!(queue.change(contents(1, 0)), ["first"]);
}

/// A regression test: a holder once released its mailbox for a reader that had left.
#[test]
fn a_reader_that_has_left_is_not_waited_for() {
    let mut queue = Queue::default();
    let left = queue.block(Condition::NewerThan(0), "left");
    queue.block(Condition::NewerThan(5), "other");
    assert!(queue.cancel(left).is_empty());
    let writer = queue.enter(EXCLUSIVE);
    assert!(!queue.admission.update_contents(contents(1, 0)), "no request is ready");
    assert!(queue.release(writer, contents(1, 0)).is_empty());
}

/// The law for the read for the watchers. No job represents that read.
#[test]
fn the_read_for_the_watchers_is_next_when_there_is_a_newer_message() {
    let mut queue = Queue::default();
    queue.admission.add_watcher();
    assert!(queue.admission.await_message(0, || contents(0, 1)), "there is no message");
    let writer = queue.enter(EXCLUSIVE);
    queue.wait(EXCLUSIVE, "second");
    assert!(queue.release(writer, contents(1, 0)).is_empty(), "the watchers come before the queue");
    let read = queue.released.watch.take().expect("admitted");
    assert_eq!(queue.release(read, contents(1, 0)), ["second"]);
    let second = queue.released.jobs.remove(0).0;
    queue.release(second, contents(2, 0));
    assert_eq!(queue.released.watch, None, "the watchers have to ask again");
    assert!(!queue.admission.await_message(1, || contents(2, 0)), "there is a newer message already");
}

#[test]
fn without_watchers_no_read_is_admitted_for_them() {
    let mut queue = Queue::default();
    queue.admission.add_watcher();
    assert!(queue.admission.await_message(0, || EMPTY));
    queue.admission.remove_watcher();
    let writer = queue.enter(EXCLUSIVE);
    queue.admission.release(writer, || unreachable!("called"), &mut queue.released);
    assert_eq!(queue.released.watch, None);
}
