//! Every interleaving of a few threads at one mailbox: `cargo test --lib --features loom model`.

mod leaving;
mod queue;
mod wait_set;

use std::sync::Arc;

use std::collections::BTreeSet;

use loom::sync::atomic::{AtomicU32, Ordering};

use super::*;

/// What somebody comes for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ask {
    /// To be in, and out again.
    Enter(Mode),
    /// To stay in: the grant goes home.
    Lock,
    /// Of several that take, this one.
    Take(u32),
    Put,
    /// To see that something was put.
    News(u32),
}

impl Ask {
    fn mode(self) -> Mode {
        match self {
            Ask::Enter(mode) => mode,
            Ask::News(_) => Mode::Shared,
            Ask::Lock | Ask::Take(_) | Ask::Put => Mode::Exclusive,
        }
    }
}

/// A mailbox, and who is inside it as far as those inside can tell. What is behind a lock of std is what happened, told
/// to the test; the model need not look there.
struct Shared {
    mailbox: SharedAdmission<Ask>,
    readers: AtomicU32,
    writers: AtomicU32,
    contents: std::sync::Mutex<Contents>,
    done: std::sync::Mutex<Vec<Ask>>,
    home: std::sync::Mutex<Vec<Grant>>,
}

impl Shared {
    fn new() -> Arc<Self> {
        let contents = Contents { version: 0, count: 0, room: Some(1) };
        Arc::new(Shared {
            mailbox: SharedAdmission::default(),
            readers: AtomicU32::new(0),
            writers: AtomicU32::new(0),
            contents: contents.into(),
            done: Default::default(),
            home: Default::default(),
        })
    }

    fn contents(&self) -> Contents {
        *self.contents.lock().expect("whole")
    }

    /// What a worker does with a granted job, and with all that its release lets in. The ticket of the last one that
    /// was set aside.
    fn run(&self, grant: Grant, ask: Ask) -> Option<Ticket> {
        let mut admitted = vec![(grant, ask)];
        let mut set_aside = None;
        while let Some((grant, ask)) = admitted.pop() {
            if ask == Ask::Lock {
                self.home.lock().expect("whole").push(grant);
                continue;
            }
            self.be_in(grant.mode());
            match self.serve(ask) {
                Ok(()) => {
                    self.done.lock().expect("whole").push(ask);
                    self.mailbox.release(grant, || self.contents(), &mut admitted);
                }
                Err(need) => {
                    let contents = self.contents();
                    set_aside = Some(self.mailbox.wait_for(grant, need, contents, ask, &mut admitted));
                }
            }
        }
        set_aside
    }

    fn be_in(&self, mode: Mode) {
        match mode {
            Mode::Shared => {
                self.readers.fetch_add(1, Ordering::SeqCst);
                assert_eq!(self.writers.load(Ordering::SeqCst), 0, "a reader beside a writer");
                self.readers.fetch_sub(1, Ordering::SeqCst);
            }
            Mode::Exclusive => {
                assert_eq!(self.writers.fetch_add(1, Ordering::SeqCst), 0, "two writers");
                assert_eq!(self.readers.load(Ordering::SeqCst), 0, "a writer beside a reader");
                self.writers.fetch_sub(1, Ordering::SeqCst);
            }
        }
    }

    fn serve(&self, ask: Ask) -> Result<(), Condition> {
        let mut contents = self.contents.lock().expect("whole");
        let Contents { version, count, .. } = *contents;
        let need = match ask {
            Ask::Enter(_) | Ask::Lock => return Ok(()),
            Ask::Take(_) => Condition::NonEmpty,
            Ask::Put => Condition::Room(1),
            Ask::News(_) => Condition::NewerThan(0),
        };
        if !need.is_met(&contents) {
            return Err(need);
        }
        *contents = match ask {
            Ask::Put => Contents { version: version + 1, count: 1, room: None },
            Ask::Take(_) => Contents { version, count: 0, room: Some(1) },
            _ => Contents { version, count, ..*contents },
        };
        Ok(())
    }

    /// Comes, and goes on as far as it can; a ticket when that is not to the end.
    fn ask(&self, ask: Ask) -> Option<Ticket> {
        match self.mailbox.admit(ask.mode(), ask) {
            Admitted::Granted(grant, ask) => self.run(grant, ask),
            Admitted::Queued(ticket) => Some(ticket),
        }
    }

    /// The same, in one step if that is brief.
    fn try_inline(&self, ask: Ask) -> Option<Ticket> {
        let mut admitted = Vec::new();
        let work = |grant: &mut Grant| {
            matches!(ask, Ask::Enter(_) | Ask::Put).then(|| {
                self.be_in(grant.mode());
                self.serve(ask).expect("what it needs is there");
            })
        };
        match self.mailbox.try_inline(ask.mode(), work, || self.contents(), &mut admitted) {
            Some(Ok(())) => self.done.lock().expect("whole").push(ask),
            Some(Err(grant)) => return self.run(grant, ask),
            None => return self.ask(ask),
        }
        for (grant, ask) in admitted {
            self.run(grant, ask);
        }
        None
    }

    /// Gives up, as at a deadline, or when the client is gone. Whoever that lets in runs.
    fn give_up(&self, ticket: Ticket) -> bool {
        let mut admitted = Vec::new();
        let cancelled = self.mailbox.cancel(ticket, &mut admitted).is_some();
        for (grant, ask) in admitted {
            self.run(grant, ask);
        }
        cancelled
    }

    /// How often somebody was served.
    fn served(&self, ask: Ask) -> usize {
        self.done.lock().expect("whole").iter().filter(|done| **done == ask).count()
    }

    /// Comes when nobody is in, and stays.
    fn stay(&self, mode: Mode) -> Grant {
        self.mailbox.try_admit(mode).expect("nobody is in")
    }

    /// Comes behind somebody who stays.
    fn wait(&self, ask: Ask) -> Ticket {
        self.ask(ask).expect("somebody is in")
    }

    fn nobody_is_left(&self) {
        assert_eq!(self.mailbox.waiting(), 0, "somebody waits and nobody is in");
        assert_eq!(self.mailbox.inspect(|admission| admission.holders()), None, "somebody never left");
        assert_eq!(self.mailbox.overtakes(), 0);
    }
}

/// Runs `model` with each interleaving of its threads that takes at most three preemptions; everything that came of it.
fn explore<O>(model: impl Fn(&Arc<Shared>) -> O + Sync + Send + 'static) -> BTreeSet<O>
where
    O: Ord + Send + 'static,
{
    let outcomes = Arc::new(std::sync::Mutex::new(BTreeSet::new()));
    let told = Arc::clone(&outcomes);
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(3);
    builder.check(move || {
        let outcome = model(&Shared::new());
        told.lock().expect("whole").insert(outcome);
    });
    std::mem::take(&mut outcomes.lock().expect("whole"))
}

/// Runs `act` beside the others.
fn beside<R: 'static>(
    shared: &Arc<Shared>,
    act: impl FnOnce(&Shared) -> R + 'static,
) -> loom::thread::JoinHandle<R> {
    let shared = Arc::clone(shared);
    loom::thread::spawn(move || act(&shared))
}

fn joined<R>(thread: loom::thread::JoinHandle<R>) -> R {
    thread.join().expect("the other thread ends")
}
