//! The worker threads, and the choice between them and the reactor: the reactor runs short jobs itself, the
//! workers run the others.
//!
//! [`Pool`] belongs to the reactor's thread. The workers share a queue of posted jobs, and each worker has a
//! deque that the other workers steal from.

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
use super::step::{Next, run};
use super::transfer::is_sent;
use crate::protocol::{Framed, MailboxRequest, Request};

/// Largest number of posted jobs that a worker takes at once. A worker that has this many completions posts
/// them.
const STEAL_BATCH: usize = 16;

/// Jobs that copy at least this many bytes are long. A worker runs a long job, and other jobs are not kept
/// waiting behind it. The reactor may run a shorter job itself: handing the job over and taking it back costs
/// more than the copy, and waking a worker costs two context switches.
const LONG_JOB: usize = 128 * 1024;

/// Default of the largest total cost of the jobs that the reactor runs itself in one tick, about 750
/// microseconds. The cost of a job is the bytes that it copies, plus [`JOB_COST`], plus [`REQUEST_COST`] for
/// each request. Jobs beyond the budget go to the workers, which share them, so the sockets do not wait. With
/// 0, all jobs go to the workers.
pub(crate) const INLINE_BUDGET: usize = 6 * 1024 * 1024;

/// Cost of writing the replies of a job, as the number of bytes that could be copied in the same time.
const JOB_COST: usize = 32 * 1024;

/// Cost of a request without the bytes that it copies, in the same unit.
const REQUEST_COST: usize = 512;

/// Bytes of large messages that are received, copied and answered together: this many bytes stay in a
/// processor's cache. For small messages it is faster to receive all of them, then to copy all, then to
/// answer all.
const CACHE_BUDGET: usize = 128 * 1024;

/// Messages of at least this many bytes count for [`CACHE_BUDGET`].
const LARGE: usize = 4 * 1024;

/// The reactor's side of the pool.
#[derive(Debug)]
pub(crate) struct Pool {
    shared: Arc<Shared>,
    workers: usize,
    pending: Pending,
    /// The largest total cost of the jobs that the reactor runs itself in one tick.
    inline_budget: usize,
    /// The unspent part of this budget.
    inline_left: usize,
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
    /// Starts `workers` threads. In each tick, the reactor may run jobs of the cost `inline_budget` itself.
    pub(crate) fn start(
        workers: usize,
        inline_budget: usize,
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
            inline_budget,
            inline_left: inline_budget,
            inline_jobs: 0,
            posted: 0,
        })
    }

    /// Adds an admitted job. The next [`Pool::dispatch`] starts it.
    pub(crate) fn submit(&mut self, job: Box<Job>) {
        debug_assert!(
            matches!(job.state, JobState::Granted(_)) || job.has_locks(),
            "only admitted jobs are executed"
        );
        self.pending.push(job, &self.shared.mailboxes);
    }

    /// Whether the submitted jobs copy at least [`CACHE_BUDGET`] bytes of large messages. If so, the caller
    /// dispatches them before it submits more jobs.
    pub(crate) fn is_cache_budget_spent(&self) -> bool {
        self.pending.large_bytes >= CACHE_BUDGET
    }

    /// Begins a tick: the reactor may spend the inline budget again.
    pub(crate) fn begin_tick(&mut self) {
        self.inline_left = self.inline_budget;
    }

    /// Starts submitted jobs. Short jobs are run on the calling thread, up to the inline budget of the tick,
    /// and their completions are appended to `completions`. The other jobs are posted to the workers. One
    /// worker is woken if none is available. After [`CACHE_BUDGET`] bytes of large messages the remaining
    /// jobs are left for the next call, so the caller repeats the call until a call appends no completion.
    pub(crate) fn dispatch(&mut self, completions: &mut Vec<Completion>) {
        let Pool { shared, pending, inline_left, inline_jobs, posted, .. } = self;
        let mailboxes = &*shared.mailboxes;
        let (posted_before, mut large_copied) = (*posted, 0);
        while large_copied < CACHE_BUDGET
            && let Some((job, large_bytes)) = pending.pop()
        {
            // Computed only now, because the previous jobs may have written the messages that this job reads.
            let copied = copied_bytes(&job, mailboxes);
            let cost = copied + (job.requests.len() - job.next) * REQUEST_COST + JOB_COST;
            if (copied < LONG_JOB || is_sent(&job, mailboxes)) && cost <= *inline_left {
                *inline_left -= cost;
                *inline_jobs += 1;
                large_copied += large_bytes;
                let mut watches = Vec::new();
                completions.push(run(job, mailboxes, |next| match next {
                    Next::Job(job) => pending.push(job, mailboxes),
                    Next::Watch { mailbox, grant } => watches.push(Completion::Watch { mailbox, grant }),
                }));
                completions.append(&mut watches);
                continue;
            }
            shared.injector.push(job);
            *posted += 1;
            if *posted == posted_before + 1 {
                // Immediately, so that a long job does not wait for the short jobs behind it.
                shared.sleep.notify();
            }
        }
        if *posted > posted_before + 1 {
            shared.sleep.notify();
        }
    }

    /// Whether a submitted job waits for [`Pool::dispatch`].
    pub(crate) fn has_submitted(&self) -> bool {
        !self.pending.jobs.is_empty()
    }

    /// Removes all submitted jobs. A simulation runs them in an order of its own.
    #[cfg(all(test, not(feature = "loom")))]
    pub(crate) fn take_pending(&mut self) -> VecDeque<Box<Job>> {
        std::mem::take(&mut self.pending).jobs.into_iter().map(|(job, _)| job).collect()
    }

    /// Number of jobs that the reactor ran itself.
    pub(crate) fn inline_jobs(&self) -> u64 {
        self.inline_jobs
    }

    /// Number of jobs that were posted to the workers.
    pub(crate) fn posted(&self) -> u64 {
        self.posted
    }

    /// Number of sleeping workers.
    pub(crate) fn asleep(&self) -> usize {
        self.shared.sleep.sleeping()
    }

    /// Number of workers.
    pub(crate) fn workers(&self) -> usize {
        self.workers
    }

    /// Tells the workers to end, without waiting for them. The clients of jobs that still run have
    /// disconnected. The end of the process may interrupt a write. The mailbox stays intact, as after any
    /// kill.
    pub(crate) fn stop(self) {
        self.shared.sleep.stop();
    }
}

/// Submitted jobs that [`Pool::dispatch`] has not started, each with the result of [`large_bytes`].
#[derive(Debug, Default)]
struct Pending {
    jobs: VecDeque<(Box<Job>, usize)>,
    /// The sum of these results.
    large_bytes: usize,
}

impl Pending {
    fn push(&mut self, job: Box<Job>, mailboxes: &Mailboxes) {
        let large_bytes = large_bytes(&job, mailboxes);
        self.large_bytes += large_bytes;
        self.jobs.push_back((job, large_bytes));
    }

    fn pop(&mut self) -> Option<(Box<Job>, usize)> {
        let (job, large_bytes) = self.jobs.pop_front()?;
        self.large_bytes -= large_bytes;
        Some((job, large_bytes))
    }
}

/// About how many bytes of large messages a job copies: the bodies of its requests, or the message that its
/// current request reads. 0 if the messages are small or the job is long. This estimate is less exact than
/// [`copied_bytes`], because it is computed for every job.
fn large_bytes(job: &Job, mailboxes: &Mailboxes) -> usize {
    let body_bytes = job.body_bytes();
    let mean = body_bytes / (job.requests.len() - job.next);
    let read = match job.current().map(|framed| &framed.request) {
        Some(&Request::Mailbox(
            MailboxRequest::Read { mailbox, .. } | MailboxRequest::Take { mailbox, .. },
        )) => mailboxes.segment().control(mailbox).approximate_bytes(mailboxes.geometry().capacity) as usize,
        _ => 0,
    };
    let copied = body_bytes.max(read);
    if mean.max(read) < LARGE || copied >= LONG_JOB { 0 } else { copied }
}

/// About how many bytes a job copies: the messages that it reads, the bodies that it writes, and the
/// unchanged bytes of a message that it patches. A message that one request writes may be read by the
/// requests behind it.
fn copied_bytes(job: &Job, mailboxes: &Mailboxes) -> usize {
    let capacity = mailboxes.geometry().capacity;
    let message_bytes = |mailbox| mailboxes.segment().control(mailbox).approximate_bytes(capacity);
    let (mut copied, mut written) = (0, 0);
    for Framed { request, body, .. } in &job.requests[job.next..] {
        let body = body.len() as u64;
        copied += body;
        match *request {
            Request::Mailbox(MailboxRequest::Read { mailbox, .. } | MailboxRequest::Take { mailbox, .. }) => {
                copied += written.max(message_bytes(mailbox));
            }
            Request::Mailbox(MailboxRequest::Write { mailbox, offset: Some(offset), .. }) => {
                let patched_end = offset.saturating_add(body).min(capacity);
                written = written.max(message_bytes(mailbox)).max(patched_end);
                copied += written;
            }
            _ => written = written.max(body),
        }
    }
    copied as usize
}

/// The loop of a worker: finds a job, runs it, posts its completion. Sleeps while there is no job, and
/// returns when the pool stops.
fn work(shared: &Shared, deque: Worker<Box<Job>>) {
    let mut done = Vec::with_capacity(STEAL_BATCH);
    let mut watches = Vec::new();
    loop {
        while let Some(job) = find(shared, &deque) {
            let is_long = copied_bytes(&job, &shared.mailboxes) >= LONG_JOB;
            if is_long {
                post(shared, &mut done);
                // Another worker can steal an admitted job, so that job need not wait for the rest of this
                // batch.
                let on_admitted = |next| match next {
                    Next::Job(job) => {
                        deque.push(job);
                        shared.sleep.notify();
                    }
                    Next::Watch { mailbox, grant } => {
                        post(shared, &mut vec![Completion::Watch { mailbox, grant }])
                    }
                };
                done.push(shared.sleep.block_in_place(|| run(job, &shared.mailboxes, on_admitted)));
            } else {
                done.push(run(job, &shared.mailboxes, |next| match next {
                    Next::Job(job) => deque.push(job),
                    Next::Watch { mailbox, grant } => watches.push(Completion::Watch { mailbox, grant }),
                }));
                done.append(&mut watches);
            }
            if is_long || done.len() >= STEAL_BATCH {
                post(shared, &mut done);
            }
        }
        post(shared, &mut done);
        if !shared.sleep.wait_for_work(|| has_work(shared)) {
            return;
        }
    }
}

/// Posts completions to the reactor. Drops those that announce a wait that has ended since.
fn post(shared: &Shared, done: &mut Vec<Completion>) {
    done.retain(|completion| match completion {
        Completion::Done(_) | Completion::Watch { .. } => true,
        Completion::WaitStarted(started) => {
            shared.mailboxes.queue(started.mailbox).with_waiter(started.ticket, |_| ()).is_some()
        }
    });
    shared.completions.post(done).expect("the reactor can be woken");
}

fn has_work(shared: &Shared) -> bool {
    !shared.injector.is_empty() || shared.stealers.iter().any(|stealer| !stealer.is_empty())
}

/// Takes the next job: from the worker's own deque, else from the posted jobs, else from another worker. Up
/// to [`STEAL_BATCH`] posted jobs are moved to the deque.
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
