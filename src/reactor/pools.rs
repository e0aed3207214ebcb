//! Pools of jobs and buffers, so that a request costs no allocation. The memory of the pools is bounded.

use std::time::{Duration, Instant};

use super::connection::SCRATCH_SIZE;
use crate::workers::{Job, JobState, Owner};

/// Largest number of pooled jobs, of pooled buffers and of pooled bodies.
const POOLED_MAX: usize = 256;

/// Largest number of bytes of all pooled memory.
const POOLED_BYTES_MAX: usize = 64 * 1024 * 1024;

/// Buffers of at least this size belong to the large pool, `bodies`. This size exceeds 2 × SCRATCH_SIZE
/// because a buffer that holds one read may double when it grows.
const BODY_MIN: usize = 64 * 1024;
const _: () = assert!(BODY_MIN > 2 * SCRATCH_SIZE);

/// Threshold of dropped and pooled bytes for a trim, which makes the allocator return its free pages to the
/// system. By itself the allocator keeps pages below memory that is in use.
const TRIM_THRESHOLD: usize = 1024 * 1024;

/// Shortest time between two trims, so a load of large messages does not cause a trim for each message. A
/// trim also frees the items that were not used since the previous trim.
const TRIM_INTERVAL: Duration = Duration::from_secs(1);

/// The pools. Connections take jobs and buffers when they have work, and return them when they are idle.
#[derive(Debug, Default)]
pub(super) struct Pools {
    jobs: FreeList<Box<Job>>,
    buffers: FreeList<Vec<u8>>,
    bodies: FreeList<Vec<u8>>,
    /// Bytes of all pooled memory.
    bytes: usize,
    /// Bytes dropped since the last trim.
    dropped: usize,
    trimmed: Option<Instant>,
    /// Jobs that were taken and are not returned: a worker, a queue or a connection has them.
    outstanding: usize,
    /// Large messages are copied, and not sent from their mailbox.
    copies: bool,
}

impl Pools {
    /// Empty pools. `copies` says that large messages are copied, and not sent from their mailbox.
    pub(super) fn new(copies: bool) -> Self {
        Pools { copies, ..Pools::default() }
    }

    /// Takes an empty job.
    pub(super) fn job(&mut self, owner: Owner) -> Box<Job> {
        self.outstanding += 1;
        let Some(mut job) = self.jobs.take() else {
            return Box::new(Job { copies: self.copies, ..Job::new(owner) });
        };
        self.bytes -= job.memory();
        job.owner = owner;
        job
    }

    /// Returns a job to the pool.
    pub(super) fn return_job(&mut self, mut job: Box<Job>) {
        self.outstanding -= 1;
        debug_assert!(!job.holds_grant(), "a grant is released before its job is pooled");
        if job.input.capacity() >= BODY_MIN {
            self.return_buffer(std::mem::take(&mut job.input));
        }
        if self.jobs.items.len() == POOLED_MAX {
            return self.record_dropped(job.memory());
        }
        debug_assert!(job.locks.is_none(), "the client has its locks, or they have ended");
        debug_assert!(job.receipts.is_none(), "the client has its messages in hand, or they were given back");
        job.requests.clear();
        (job.state, job.cursor, job.wait, job.next) = (JobState::Ready, None, None, 0);
        for buffer in [&mut job.input, &mut job.output] {
            buffer.clear();
            if self.bytes + buffer.capacity() > POOLED_BYTES_MAX {
                self.record_dropped(std::mem::take(buffer).capacity());
            }
        }
        self.bytes += job.memory();
        self.jobs.push(job);
    }

    /// Number of jobs that were taken and are not returned.
    pub(super) fn outstanding(&self) -> usize {
        self.outstanding
    }

    /// Takes a buffer with meaningless content. The buffer is from the large pool if `len` is at least
    /// [`BODY_MIN`]. Returns an empty buffer if the pool is empty. A pooled buffer costs neither page faults
    /// nor zeroing.
    pub(super) fn buffer(&mut self, len: usize) -> Vec<u8> {
        let list = if len < BODY_MIN { &mut self.buffers } else { &mut self.bodies };
        let buffer = list.take().unwrap_or_default();
        self.bytes -= buffer.capacity();
        buffer
    }

    /// Returns a buffer to the pool.
    pub(super) fn return_buffer(&mut self, buffer: Vec<u8>) {
        let list = if buffer.capacity() < BODY_MIN { &mut self.buffers } else { &mut self.bodies };
        let fits = self.bytes + buffer.capacity() <= POOLED_BYTES_MAX && list.items.len() < POOLED_MAX;
        if buffer.capacity() > 0 && fits {
            self.bytes += buffer.capacity();
            list.push(buffer);
        } else {
            self.record_dropped(buffer.capacity());
        }
    }

    /// Drops everything. Returns false if the pools were empty.
    pub(super) fn clear(&mut self) -> bool {
        let bytes = std::mem::take(&mut self.bytes);
        self.dropped += bytes;
        (self.jobs, self.buffers, self.bodies) = Default::default();
        bytes > 0
    }

    /// Counts memory that was dropped, or is about to be dropped.
    pub(super) fn record_dropped(&mut self, bytes: usize) {
        self.dropped += bytes;
    }

    /// When memory should be returned to the system. `None` before the first call of [`Pools::trim`], or if
    /// dropped and pooled bytes are below [`TRIM_THRESHOLD`].
    pub(super) fn trims_at(&self) -> Option<Instant> {
        let worth_it = self.dropped + self.bytes >= TRIM_THRESHOLD;
        self.trimmed.filter(|_| worth_it).map(|at| at + TRIM_INTERVAL)
    }

    /// Returns memory to the system if [`Pools::trims_at`] has passed.
    #[allow(unsafe_code, reason = "malloc_trim has no safe interface")]
    pub(super) fn trim(&mut self, now: Instant) {
        let trimmed = *self.trimmed.get_or_insert(now);
        if trimmed + TRIM_INTERVAL > now || self.trims_at().is_none() {
            return;
        }
        self.trimmed = Some(now);
        let jobs = self.jobs.unused().map(|job| job.memory()).sum::<usize>();
        let buffers = self.buffers.unused().chain(self.bodies.unused());
        let unused = jobs + buffers.map(|buffer| buffer.capacity()).sum::<usize>();
        self.bytes -= unused;
        self.dropped += unused;
        if self.dropped < TRIM_THRESHOLD {
            return;
        }
        self.dropped = 0;
        #[cfg(target_env = "gnu")]
        // SAFETY: malloc_trim takes no pointers and may be called at any time from any thread. Source:
        // malloc_trim(3).
        unsafe {
            nix::libc::malloc_trim(0);
        }
    }
}

/// Pooled items, the oldest first. The item that was returned last is taken first.
#[derive(Debug)]
struct FreeList<T> {
    items: Vec<T>,
    /// The lowest number of items since the last trim. This many of the oldest items were not used since
    /// then.
    low_water: usize,
}

impl<T> Default for FreeList<T> {
    fn default() -> Self {
        FreeList { items: Vec::new(), low_water: 0 }
    }
}

impl<T> FreeList<T> {
    fn take(&mut self) -> Option<T> {
        let item = self.items.pop();
        self.low_water = self.low_water.min(self.items.len());
        item
    }

    fn push(&mut self, item: T) {
        self.items.push(item);
    }

    /// Removes the items that were not used since the last call.
    fn unused(&mut self) -> impl Iterator<Item = T> {
        let unused = self.low_water;
        self.low_water = self.items.len() - unused;
        self.items.drain(..unused)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LARGE: usize = 1024 * 1024;

    #[test]
    fn a_large_buffer_is_for_a_large_body() {
        let mut pools = Pools::default();
        pools.return_buffer(vec![0; LARGE]);
        pools.return_buffer(vec![0; BODY_MIN - 1]);
        assert_eq!(pools.buffer(LARGE).len(), LARGE);
        assert_eq!(pools.buffer(1).len(), BODY_MIN - 1);
        assert_eq!((pools.buffer(LARGE).len(), pools.bytes), (0, 0), "the pools are empty");
    }

    #[test]
    fn unused_buffers_are_dropped() {
        let (mut pools, start) = (Pools::default(), Instant::now());
        pools.trim(start);
        (0..3).for_each(|_| pools.return_buffer(vec![0; LARGE]));
        let mut pooled = |periods: u32, uses: usize| {
            let used: Vec<_> = (0..uses).map(|_| pools.buffer(LARGE)).collect();
            used.into_iter().for_each(|buffer| pools.return_buffer(buffer));
            pools.trim(start + periods * TRIM_INTERVAL);
            assert_eq!(pools.trims_at().is_some(), pools.bytes > 0, "pooled memory has a time to be trimmed");
            pools.bytes / LARGE
        };
        assert_eq!(pooled(1, 0), 3, "in use during the period");
        assert_eq!(pooled(2, 2), 2);
        assert_eq!(pooled(3, 2), 2);
        assert_eq!(pooled(4, 1), 1);
        assert_eq!(pooled(5, 0), 0);
    }
}
