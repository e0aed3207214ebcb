//! The threads, and who runs which job.

use std::collections::VecDeque;
use std::io;
use std::iter;
use std::sync::Arc;
use std::thread;

use crossbeam_deque::{Injector, Steal, Stealer, Worker};

use super::Mailboxes;
use super::completions::Completions;
use super::job::{Completion, Job, JobState};
use super::sleep::Sleep;
use super::step::run;
use crate::protocol::{Framed, MailboxRequest, Request};

/// Jobs that a worker takes at a time.
const STEAL_BATCH: usize = 16;

/// Bytes of a job from which on it is long: it is a worker's, and others are not kept waiting behind it. A
/// shorter one the reactor may run itself: handing it over and taking it back costs more than such a copy,
/// and waking a worker two context switches.
const LONG_JOB: usize = 128 * 1024;

/// Bytes that the reactor copies so in one turn, all jobs together, where a job counts for [`JOB_COST`]
/// besides and each request for [`REQUEST_COST`]: about a millisecond. What is beyond is the workers': they
/// share it, and nobody waits for the sockets meanwhile. Zero leaves all to the workers.
const INLINE_BUDGET: usize = 8 * 1024 * 1024;

/// What it costs to write a job's answers, in bytes that could be copied meanwhile.
const JOB_COST: usize = 32 * 1024;

/// What a request costs besides the bytes that it copies, likewise.
const REQUEST_COST: usize = 512;

/// Bytes of large messages that are received, copied and answered at a time: so many stay in a processor's
/// cache meanwhile. Small ones are better done all together, each step of all of them after the one before.
const CACHE_BUDGET: usize = 128 * 1024;

/// Bytes from which on a message is large, as far as the cache is concerned.
const LARGE: usize = 4 * 1024;

/// The pool as the reactor sees it.
#[derive(Debug)]
pub(crate) struct Pool {
    shared: Arc<Shared>,
    workers: usize,
    pending: Pending,
    /// What is left of the reactor's share in this turn.
    inline_budget: usize,
    inline_jobs: u64,
    posted: u64,
}

#[derive(Debug)]
struct Shared {
    mailboxes: Arc<Mailboxes>,
    injector: Injector<Box<Job>>,
    stealers: Box<[Stealer<Box<Job>>]>,
    sleep: Sleep,
    completions: Arc<Completions>,
}

impl Pool {
    /// Starts `workers` threads.
    pub(crate) fn start(
        workers: usize,
        mailboxes: Arc<Mailboxes>,
        completions: Arc<Completions>,
    ) -> io::Result<Self> {
        let deques: Vec<Worker<Box<Job>>> = iter::repeat_with(Worker::new_fifo).take(workers).collect();
        let stealers = deques.iter().map(Worker::stealer).collect();
        let (injector, sleep) = (Injector::new(), Sleep::new(workers));
        let shared = Arc::new(Shared { mailboxes, injector, stealers, sleep, completions });
        let spawn = |(number, deque)| {
            let shared = Arc::clone(&shared);
            thread::Builder::new().name(format!("worker-{number}")).spawn(move || work(&shared, deque))
        };
        deques.into_iter().enumerate().map(spawn).collect::<io::Result<Vec<_>>>()?;
        Ok(Pool {
            shared,
            workers,
            pending: Pending::default(),
            inline_budget: INLINE_BUDGET,
            inline_jobs: 0,
            posted: 0,
        })
    }

    /// Takes a granted job. It starts with the next [`Pool::dispatch`].
    pub(crate) fn submit(&mut self, job: Box<Job>) {
        debug_assert!(
            matches!(job.state, JobState::Granted(_)) || job.has_locks(),
            "only admitted jobs are executed"
        );
        self.pending.push(job, &self.shared.mailboxes);
    }

    /// Whether as many bytes of large messages wait as the cache holds: they should be dispatched before
    /// there are more.
    pub(crate) fn is_cache_budget_spent(&self) -> bool {
        self.pending.bulk >= CACHE_BUDGET
    }

    /// A turn of the reactor begins: it may run its share of jobs.
    pub(crate) fn begin_tick(&mut self) {
        self.inline_budget = INLINE_BUDGET;
    }

    /// Starts submitted jobs. Short ones are run here and now, up to the share of this turn; `home` receives
    /// them. The others are posted to the workers, of whom at most one is woken. What stays behind when large
    /// messages have filled `home` starts with the next call: who calls does so until nothing comes home any
    /// more.
    pub(crate) fn dispatch(&mut self, home: &mut Vec<Completion>) {
        let Pool { shared, pending, inline_budget: share, inline_jobs: unaided, posted, .. } = self;
        let mailboxes = &*shared.mailboxes;
        let (before, mut copied) = (*posted, 0);
        while copied < CACHE_BUDGET
            && let Some((job, bulk)) = pending.pop()
        {
            // What the jobs before it have written, it may find.
            let weight = cost(&job, mailboxes);
            let cost = weight + (job.requests.len() - job.next) * REQUEST_COST + JOB_COST;
            if weight < LONG_JOB && cost <= *share {
                *share -= cost;
                *unaided += 1;
                copied += bulk;
                home.push(run(job, mailboxes, |let_in| pending.push(let_in, mailboxes)));
                continue;
            }
            shared.injector.push(job);
            *posted += 1;
            if *posted == before + 1 {
                // At once: what is long shall not wait for the short ones behind it.
                shared.sleep.notify();
            }
        }
        if *posted > before + 1 {
            shared.sleep.notify();
        }
    }

    /// Whether a submitted job waits for [`Pool::dispatch`].
    pub(crate) fn has_submitted(&self) -> bool {
        !self.pending.jobs.is_empty()
    }

    /// Takes out what was submitted: a simulation runs it in its own order.
    #[cfg(all(test, not(feature = "loom")))]
    pub(crate) fn take_pending(&mut self) -> VecDeque<Box<Job>> {
        std::mem::take(&mut self.pending).jobs.into_iter().map(|(job, _)| job).collect()
    }

    /// How many jobs the reactor ran itself.
    pub(crate) fn inline_jobs(&self) -> u64 {
        self.inline_jobs
    }

    /// How many jobs were the workers'.
    pub(crate) fn posted(&self) -> u64 {
        self.posted
    }

    /// How many workers sleep.
    pub(crate) fn asleep(&self) -> usize {
        self.shared.sleep.sleeping()
    }

    /// How many workers there are.
    pub(crate) fn workers(&self) -> usize {
        self.workers
    }

    /// Lets the workers go. Nobody waits for them: what they are still at has lost its client, and the
    /// process may end in the middle of it, as it may at any time.
    pub(crate) fn stop(self) {
        self.shared.sleep.stop();
    }
}

/// Granted jobs that wait for [`Pool::dispatch`], each with the bytes that it copies of large messages.
#[derive(Debug, Default)]
struct Pending {
    jobs: VecDeque<(Box<Job>, usize)>,
    /// All these bytes.
    bulk: usize,
}

impl Pending {
    fn push(&mut self, job: Box<Job>, mailboxes: &Mailboxes) {
        let bulk = large_bytes(&job, mailboxes);
        self.bulk += bulk;
        self.jobs.push_back((job, bulk));
    }

    fn pop(&mut self) -> Option<(Box<Job>, usize)> {
        let (job, bulk) = self.jobs.pop_front()?;
        self.bulk -= bulk;
        Some((job, bulk))
    }
}

/// How many bytes of large messages a job copies, if it is not a long one: of those that it brings along, and
/// of the one that it reads first. Less exact than [`cost`], for it costs every job.
fn large_bytes(job: &Job, mailboxes: &Mailboxes) -> usize {
    let brought = job.body_bytes();
    let each = brought / (job.requests.len() - job.next);
    let read = match job.current().map(|framed| &framed.request) {
        Some(&Request::Mailbox(
            MailboxRequest::Read { mailbox, .. } | MailboxRequest::Take { mailbox, .. },
        )) => mailboxes.segment().control(mailbox).approximate_bytes(mailboxes.geometry().capacity) as usize,
        _ => 0,
    };
    if each.max(read) < LARGE || brought.max(read) >= LONG_JOB { 0 } else { brought.max(read) }
}

/// About how many bytes a job copies: what is read, what is written, and what a patch leaves as it is. What
/// one request writes, those behind it may find.
fn cost(job: &Job, mailboxes: &Mailboxes) -> usize {
    let capacity = mailboxes.geometry().capacity;
    let bulk = |mailbox| mailboxes.segment().control(mailbox).approximate_bytes(capacity);
    let (mut weight, mut written) = (0, 0);
    for Framed { request, body, .. } in &job.requests[job.next..] {
        let body = body.len() as u64;
        weight += body;
        match *request {
            Request::Mailbox(MailboxRequest::Read { mailbox, .. } | MailboxRequest::Take { mailbox, .. }) => {
                weight += written.max(bulk(mailbox))
            }
            Request::Mailbox(MailboxRequest::Write { mailbox, offset: Some(offset), .. }) => {
                written = written.max(bulk(mailbox)).max(offset.saturating_add(body).min(capacity));
                weight += written;
            }
            _ => written = written.max(body),
        }
    }
    weight as usize
}

/// The life of a worker: find work, run it, send it home; sleep when there is none.
fn work(shared: &Shared, deque: Worker<Box<Job>>) {
    let mut done = Vec::with_capacity(STEAL_BATCH);
    loop {
        while let Some(job) = find(shared, &deque) {
            let long = cost(&job, &shared.mailboxes) >= LONG_JOB;
            if long {
                post(shared, &mut done);
                // Whoever is let in shall not wait for the rest of this batch.
                let hand_over = |job| {
                    deque.push(job);
                    shared.sleep.notify();
                };
                done.push(shared.sleep.block_in_place(|| run(job, &shared.mailboxes, hand_over)));
            } else {
                done.push(run(job, &shared.mailboxes, |job| deque.push(job)));
            }
            if long || done.len() == STEAL_BATCH {
                post(shared, &mut done);
            }
        }
        post(shared, &mut done);
        if !shared.sleep.wait_for_work(|| has_work(shared)) {
            return;
        }
    }
}

/// Tells the reactor. Of jobs that were queued and have gone on in the meantime there is nothing to tell.
fn post(shared: &Shared, done: &mut Vec<Completion>) {
    done.retain(|completion| match completion {
        Completion::Done(_) => true,
        Completion::WaitStarted(parked) => {
            shared.mailboxes.queue(parked.mailbox).with_waiter(parked.ticket, |_| ()).is_some()
        }
    });
    shared.completions.post(done).expect("the reactor can be woken");
}

fn has_work(shared: &Shared) -> bool {
    !shared.injector.is_empty() || shared.stealers.iter().any(|stealer| !stealer.is_empty())
}

/// The next job: the worker's own, else some of the posted, else another worker's.
fn find(shared: &Shared, deque: &Worker<Box<Job>>) -> Option<Box<Job>> {
    if let Some(job) = deque.pop() {
        return Some(job);
    }
    loop {
        let posted = shared.injector.steal_batch_with_limit_and_pop(deque, STEAL_BATCH);
        let found = posted.or_else(|| shared.stealers.iter().map(Stealer::steal).collect());
        match found {
            Steal::Success(job) => return Some(job),
            Steal::Empty => return None,
            Steal::Retry => {}
        }
    }
}
