//! All interleavings of a few threads that use one mailbox: `cargo test --lib --features loom model`.

mod cancel;
mod queue;
mod wait_set;

use std::sync::Arc;

use std::collections::BTreeSet;

use loom::sync::atomic::{AtomicU32, Ordering};

use super::*;

/// A request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Request {
    /// Holds the mailbox only while it executes.
    Access(Mode),
    /// Keeps the mailbox: the grant outlives the request.
    Lock,
    /// A take; the number tells several apart.
    Take(u32),
    Put,
    /// A read that waits for the first message; the number tells several apart.
    ReadNew(u32),
    /// The read for the watchers.
    Watch,
}

impl Request {
    fn mode(self) -> Mode {
        match self {
            Request::Access(mode) => mode,
            Request::ReadNew(_) | Request::Watch => Mode::Shared,
            Request::Lock | Request::Take(_) | Request::Put => Mode::Exclusive,
        }
    }
}

/// A mailbox, with the numbers of its holders, which the holders count themselves. Mutexes of std protect the
/// records of the test, because these records need not be part of the model.
struct Shared {
    mailbox: SharedAdmission<Request>,
    readers: AtomicU32,
    writers: AtomicU32,
    contents: std::sync::Mutex<Contents>,
    executed: std::sync::Mutex<Vec<Request>>,
    locks: std::sync::Mutex<Vec<Grant>>,
}

impl Shared {
    fn new() -> Arc<Self> {
        let contents = Contents::of_list(0, 0, Some(1));
        Arc::new(Shared {
            mailbox: SharedAdmission::default(),
            readers: AtomicU32::new(0),
            writers: AtomicU32::new(0),
            contents: contents.into(),
            executed: Default::default(),
            locks: Default::default(),
        })
    }

    fn contents(&self) -> Contents {
        *self.contents.lock().expect("not poisoned")
    }

    /// Executes a granted request, and all requests that its release admits, as a worker does. Returns the
    /// ticket of the last request that joined the wait set.
    fn run(&self, grant: Grant, request: Request) -> Option<Ticket> {
        let mut released = Released { jobs: vec![(grant, request)], watch: None };
        let mut waiting = None;
        while let Some((grant, request)) = released.jobs.pop().or_else(|| self.watch(&mut released)) {
            if request == Request::Lock {
                self.locks.lock().expect("not poisoned").push(grant);
                continue;
            }
            self.check_holders(grant.mode());
            match self.execute(request) {
                Ok(()) => {
                    self.executed.lock().expect("not poisoned").push(request);
                    self.mailbox.release(grant, || self.contents(), &mut released);
                }
                Err(condition) => {
                    let contents = self.contents();
                    let ticket = self.mailbox.wait_for(grant, condition, contents, request, &mut released);
                    waiting = Some(ticket);
                }
            }
        }
        waiting
    }

    /// Counts as a holder of the mailbox for a moment, and asserts that no other holder conflicts.
    fn check_holders(&self, mode: Mode) {
        match mode {
            Mode::Shared => {
                self.readers.fetch_add(1, Ordering::SeqCst);
                assert_eq!(self.writers.load(Ordering::SeqCst), 0, "a reader together with a writer");
                self.readers.fetch_sub(1, Ordering::SeqCst);
            }
            Mode::Exclusive => {
                assert_eq!(self.writers.fetch_add(1, Ordering::SeqCst), 0, "two writers");
                assert_eq!(self.readers.load(Ordering::SeqCst), 0, "a writer together with a reader");
                self.writers.fetch_sub(1, Ordering::SeqCst);
            }
        }
    }

    fn execute(&self, request: Request) -> Result<(), Condition> {
        let mut contents = self.contents.lock().expect("not poisoned");
        let Contents { version, count, .. } = *contents;
        let condition = match request {
            Request::Access(_) | Request::Lock | Request::Watch => return Ok(()),
            Request::Take(_) => Condition::NonEmpty,
            Request::Put => Condition::Room(1),
            Request::ReadNew(_) => Condition::NewerThan(0),
        };
        if !condition.is_met(&contents) {
            return Err(condition);
        }
        *contents = match request {
            Request::Put => Contents::of_list(version + 1, 1, None),
            Request::Take(_) => Contents::of_list(version, 0, Some(1)),
            _ => Contents::of_list(version, count, contents.room),
        };
        Ok(())
    }

    /// Admits and runs a request. Returns its ticket if it has to wait.
    fn submit(&self, request: Request) -> Option<Ticket> {
        match self.mailbox.admit(request.mode(), Purpose::Request, request) {
            Admitted::Granted(grant, request) => self.run(grant, request),
            Admitted::Queued(ticket) => Some(ticket),
            Admitted::Locked(_) => unreachable!("the request waits for locks"),
        }
    }

    /// Like `submit`, but a small request takes one critical section.
    fn try_inline(&self, request: Request) -> Option<Ticket> {
        let mut released = Released::default();
        let work = |grant: &mut Grant| {
            matches!(request, Request::Access(_) | Request::Put).then(|| {
                self.check_holders(grant.mode());
                self.execute(request).expect("its condition is met");
            })
        };
        match self.mailbox.try_inline(request.mode(), work, || self.contents(), &mut released) {
            Some(Ok(())) => self.executed.lock().expect("not poisoned").push(request),
            Some(Err(grant)) => return self.run(grant, request),
            None => return self.submit(request),
        }
        self.run_released(released);
        None
    }

    fn run_released(&self, mut released: Released<Request>) {
        let watch = self.watch(&mut released);
        for (grant, request) in released.jobs.into_iter().chain(watch) {
            self.run(grant, request);
        }
    }

    /// The read for the watchers, if it was admitted.
    fn watch(&self, released: &mut Released<Request>) -> Option<(Grant, Request)> {
        Some((released.watch.take()?, Request::Watch))
    }

    /// Cancels a request, as a timeout or a disconnect does, and runs the requests that this admits.
    fn cancel(&self, ticket: Ticket) -> bool {
        let mut released = Released::default();
        let cancelled = self.mailbox.cancel(ticket, &mut released).is_some();
        self.run_released(released);
        cancelled
    }

    /// Number of executions of a request.
    fn executions(&self, request: Request) -> usize {
        self.executed.lock().expect("not poisoned").iter().filter(|executed| **executed == request).count()
    }

    /// Holds the mailbox, which is free.
    fn hold(&self, mode: Mode) -> Grant {
        self.mailbox.try_admit(mode, Purpose::Request).expect("the mailbox is free")
    }

    /// Queues a request behind a holder.
    fn queue(&self, request: Request) -> Ticket {
        self.submit(request).expect("the mailbox is held")
    }

    fn assert_idle(&self) {
        assert_eq!(self.mailbox.waiting(), 0, "a request waits for a free mailbox");
        assert_eq!(self.mailbox.inspect(|admission| admission.holders()), None, "a grant was not released");
        assert_eq!(self.mailbox.overtakes(), 0);
    }
}

/// Runs `model` with each interleaving of its threads that has at most three preemptions. Returns the set of
/// outcomes.
fn explore<O>(model: impl Fn(&Arc<Shared>) -> O + Sync + Send + 'static) -> BTreeSet<O>
where
    O: Ord + Send + 'static,
{
    let outcomes = Arc::new(std::sync::Mutex::new(BTreeSet::new()));
    let collected = Arc::clone(&outcomes);
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(3);
    builder.check(move || {
        let outcome = model(&Shared::new());
        collected.lock().expect("not poisoned").insert(outcome);
    });
    std::mem::take(&mut outcomes.lock().expect("not poisoned"))
}

/// Runs `work` in another thread.
fn spawn<R: 'static>(
    shared: &Arc<Shared>,
    work: impl FnOnce(&Shared) -> R + 'static,
) -> loom::thread::JoinHandle<R> {
    let shared = Arc::clone(shared);
    loom::thread::spawn(move || work(&shared))
}

fn join<R>(thread: loom::thread::JoinHandle<R>) -> R {
    thread.join().expect("the thread did not panic")
}
