//! Every interleaving of a few threads at one mailbox: `cargo test --lib --features loom,planted-bugs model`.

use super::super::planted::Bug;
use super::*;
use loom::sync::Arc;
use loom::sync::atomic::{AtomicU32, Ordering};

/// A mailbox that nobody has written to.
const NOTHING: Contents = Contents { version: 0, count: 0, room: Some(1) };

/// A mailbox, and who is inside it as far as those inside can tell.
#[derive(Default)]
struct Shared {
    mailbox: Mailbox<Mode>,
    writers: AtomicU32,
    ran: AtomicU32,
}

impl Shared {
    /// What a worker does with a granted job, and with all that its release lets in.
    fn run(&self, grant: Grant) {
        let mut admitted = vec![(grant, Mode::Shared)];
        while let Some((grant, _)) = admitted.pop() {
            match grant.mode() {
                Mode::Shared => {
                    assert_eq!(self.writers.load(Ordering::SeqCst), 0, "a reader beside a writer")
                }
                Mode::Exclusive => {
                    assert_eq!(self.writers.fetch_add(1, Ordering::SeqCst), 0, "two writers");
                    self.writers.fetch_sub(1, Ordering::SeqCst);
                }
            }
            self.ran.fetch_add(1, Ordering::SeqCst);
            self.mailbox.release(grant, || NOTHING, &mut admitted);
        }
    }

    fn ask(&self, mode: Mode) -> Option<Ticket> {
        match self.mailbox.admit(mode, mode) {
            Admitted::Granted(grant, _) => {
                self.run(grant);
                None
            }
            Admitted::Queued(ticket) => Some(ticket),
        }
    }

    /// Gives up, as at a deadline. Whoever that lets in runs.
    fn give_up(&self, ticket: Ticket) -> bool {
        let mut admitted = Vec::new();
        let cancelled = self.mailbox.cancel(ticket, &mut admitted).is_some();
        admitted.into_iter().for_each(|(grant, _)| self.run(grant));
        cancelled
    }
}

fn shared(bug: Option<Bug>) -> Arc<Shared> {
    let shared = Arc::new(Shared::default());
    shared.mailbox.admission.lock().planted = bug;
    shared
}

fn explore(model: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(3);
    builder.check(model);
}

/// Three arrivals, each granted or queued: all run, and nobody is left behind.
fn everybody_runs(bug: Option<Bug>) {
    explore(move || {
        let shared = shared(bug);
        let other = Arc::clone(&shared);
        let thread = loom::thread::spawn(move || {
            other.ask(Mode::Shared);
            other.ask(Mode::Exclusive);
        });
        shared.ask(Mode::Exclusive);
        thread.join().expect("the other thread ends");
        assert_eq!(shared.mailbox.waiting(), 0, "somebody waits and nobody is in");
        assert_eq!(shared.ran.load(Ordering::SeqCst), 3);
        assert_eq!(shared.mailbox.overtakes(), 0);
    });
}

/// A reader stays in, a writer behind it gives up while another reader arrives: that one gets in.
fn a_waiter_gives_up(bug: Option<Bug>) {
    explore(move || {
        let shared = shared(bug);
        let (reader, writer) = reader_and_waiting_writer(&shared);
        let other = Arc::clone(&shared);
        let thread = loom::thread::spawn(move || assert!(other.give_up(writer)));
        shared.ask(Mode::Shared);
        thread.join().expect("the other thread ends");
        assert_eq!(shared.mailbox.waiting(), 0, "a reader waits for a reader");
        shared.run(reader);
        assert_eq!(shared.ran.load(Ordering::SeqCst), 2);
    });
}

fn reader_and_waiting_writer(shared: &Shared) -> (Grant, Ticket) {
    let Admitted::Granted(reader, _) = shared.mailbox.admit(Mode::Shared, Mode::Shared) else { panic!() };
    let Admitted::Queued(writer) = shared.mailbox.admit(Mode::Exclusive, Mode::Exclusive) else { panic!() };
    (reader, writer)
}

#[test]
fn model_everybody_runs() {
    everybody_runs(None);
}

#[test]
fn model_a_waiter_gives_up() {
    a_waiter_gives_up(None);
}

#[test]
fn model_giving_up_races_with_the_grant() {
    explore(|| {
        let shared = shared(None);
        let (reader, writer) = reader_and_waiting_writer(&shared);
        let other = Arc::clone(&shared);
        let thread = loom::thread::spawn(move || other.give_up(writer));
        shared.run(reader);
        let gave_up = thread.join().expect("the other thread ends");
        assert_eq!(shared.ran.load(Ordering::SeqCst), if gave_up { 1 } else { 2 }, "exactly one of both");
        assert_eq!(shared.mailbox.waiting(), 0);
    });
}

#[test]
#[should_panic(expected = "a reader waits for a reader")]
fn model_finds_the_cancel_that_admits_nobody() {
    a_waiter_gives_up(Some(Bug::CancelWithoutNext));
}

#[test]
#[should_panic(expected = "somebody waits and nobody is in")]
fn model_finds_deciding_and_queueing_under_separate_locks() {
    everybody_runs(Some(Bug::SeparateLocks));
}
