//! Jobs and buffers to be used again, so that a request costs no allocation. Bounded.

use std::time::{Duration, Instant};

use super::connection::SCRATCH_SIZE;
use crate::workers::{ConnectionId, Job};

/// Jobs that are kept, buffers, and bodies.
const POOLED_MAX: usize = 256;

/// Bytes of all that is kept.
const POOLED_BYTES_MAX: usize = 64 * 1024 * 1024;

/// Bytes from which on a buffer is one for the bodies of large requests: more than one becomes that keeps a part of what
/// is read at once, and grows by a few bytes to the double.
const BODY_MIN: usize = 64 * 1024;
const _: () = assert!(BODY_MIN > 2 * SCRATCH_SIZE);

/// Bytes, dropped or kept, from which on the allocator is asked to give its free pages back to the system: by itself it
/// keeps what lies below something that is still used.
const TRIM_THRESHOLD: usize = 1024 * 1024;

/// How often at most: a load of large messages shall not pay for it with each of them. What nobody has used for so long
/// is dropped.
const TRIM_INTERVAL: Duration = Duration::from_secs(1);

/// What connections take from when they have something to do, and give back to when they rest.
#[derive(Debug, Default)]
pub struct Pools {
    jobs: FreeList<Box<Job>>,
    buffers: FreeList<Vec<u8>>,
    bodies: FreeList<Vec<u8>>,
    /// Bytes on all shelves.
    bytes: usize,
    /// Bytes dropped since the last trimming.
    dropped: usize,
    trimmed: Option<Instant>,
}

impl Pools {
    /// An empty job for a connection.
    pub fn job(&mut self, connection: ConnectionId) -> Box<Job> {
        let Some(mut job) = self.jobs.take() else { return Box::new(Job::new(connection)) };
        self.bytes -= job.memory();
        job.connection = connection;
        job
    }

    /// Takes a job back.
    pub fn return_job(&mut self, mut job: Box<Job>) {
        debug_assert!(job.grant.is_none(), "a grant is released before its job is used again");
        if job.input.capacity() >= BODY_MIN {
            self.return_buffer(std::mem::take(&mut job.input));
        }
        if self.jobs.items.len() == POOLED_MAX {
            return self.record_dropped(job.memory());
        }
        debug_assert!(job.locks.is_none() && job.in_flight.is_none(), "what it held has ended");
        job.requests.clear();
        (job.blocked_on, job.waiting, job.read_cursor, job.watch_cursor) = (None, None, None, None);
        job.answered = 0;
        for buffer in [&mut job.input, &mut job.output] {
            buffer.clear();
            if self.bytes + buffer.capacity() > POOLED_BYTES_MAX {
                self.record_dropped(std::mem::take(buffer).capacity());
            }
        }
        self.bytes += job.memory();
        self.jobs.push(job);
    }

    /// A buffer, its content meaningless, perhaps with room for `len` bytes: what is used again costs neither page faults
    /// nor zeroing.
    pub fn buffer(&mut self, len: usize) -> Vec<u8> {
        let shelf = if len < BODY_MIN { &mut self.buffers } else { &mut self.bodies };
        let buffer = shelf.take().unwrap_or_default();
        self.bytes -= buffer.capacity();
        buffer
    }

    /// Takes a buffer back.
    pub fn return_buffer(&mut self, buffer: Vec<u8>) {
        let shelf = if buffer.capacity() < BODY_MIN { &mut self.buffers } else { &mut self.bodies };
        let fits = self.bytes + buffer.capacity() <= POOLED_BYTES_MAX && shelf.items.len() < POOLED_MAX;
        if buffer.capacity() > 0 && fits {
            self.bytes += buffer.capacity();
            shelf.push(buffer);
        } else {
            self.record_dropped(buffer.capacity());
        }
    }

    /// Counts memory that was dropped, or is about to be.
    pub fn record_dropped(&mut self, bytes: usize) {
        self.dropped += bytes;
    }

    /// When memory is to be given back to the system.
    pub fn trims_at(&self) -> Option<Instant> {
        let worth_it = self.dropped + self.bytes >= TRIM_THRESHOLD;
        self.trimmed.filter(|_| worth_it).map(|at| at + TRIM_INTERVAL)
    }

    /// Gives memory back to the system, when it is time for that.
    #[allow(unsafe_code, reason = "malloc_trim has no safe interface")]
    pub fn trim(&mut self, now: Instant) {
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
        // SAFETY: takes no pointers, and may be called at any time from any thread. Source: malloc_trim(3).
        unsafe {
            nix::libc::malloc_trim(0);
        }
    }
}

/// Things to be used again, those used last first.
#[derive(Debug)]
struct FreeList<T> {
    items: Vec<T>,
    /// How many there were at the least since the last look: the oldest ones, which nobody has taken.
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

    /// Takes out what nobody has used since the last look.
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
        let mut supplies = Pools::default();
        supplies.return_buffer(vec![0; LARGE]);
        supplies.return_buffer(vec![0; BODY_MIN - 1]);
        assert_eq!(supplies.buffer(LARGE).len(), LARGE);
        assert_eq!(supplies.buffer(1).len(), BODY_MIN - 1);
        assert_eq!((supplies.buffer(LARGE).len(), supplies.bytes), (0, 0), "there is none left");
    }

    #[test]
    fn what_nobody_uses_is_dropped() {
        let (mut supplies, start) = (Pools::default(), Instant::now());
        supplies.trim(start);
        (0..3).for_each(|_| supplies.return_buffer(vec![0; LARGE]));
        let mut kept = |periods: u32, uses: usize| {
            let used: Vec<_> = (0..uses).map(|_| supplies.buffer(LARGE)).collect();
            used.into_iter().for_each(|buffer| supplies.return_buffer(buffer));
            supplies.trim(start + periods * TRIM_INTERVAL);
            assert_eq!(supplies.trims_at().is_some(), supplies.bytes > 0, "or they stay for ever");
            supplies.bytes / LARGE
        };
        assert_eq!(kept(1, 0), 3, "used a moment ago");
        assert_eq!(kept(2, 2), 2);
        assert_eq!(kept(3, 2), 2);
        assert_eq!(kept(4, 1), 1);
        assert_eq!(kept(5, 0), 0);
    }
}
