//! Jobs and buffers to be used again, so that a request costs no allocation. Bounded.

use std::time::{Duration, Instant};

use crate::workers::{ConnectionId, Job};

/// Jobs that are kept, and buffers.
const KEPT_MAX: usize = 256;

/// Bytes of all the buffers that are kept, those of the jobs too.
const KEPT_BYTES_MAX: usize = 16 * 1024 * 1024;

/// Bytes, dropped or kept, from which on the allocator is asked to give its free pages back to the system: by itself it
/// keeps what lies below something that is still used.
const TRIMMED_FROM: usize = 1024 * 1024;

/// How often at most: a load of large messages shall not pay for it with each of them.
const TRIMMED_EVERY: Duration = Duration::from_secs(1);

/// What connections take from when they have something to do, and give back to when they rest.
#[derive(Debug, Default)]
pub struct Supplies {
    #[allow(clippy::vec_box, reason = "a job travels as one pointer")]
    jobs: Vec<Box<Job>>,
    buffers: Vec<Vec<u8>>,
    bytes: usize,
    /// Bytes dropped since the last trimming.
    dropped: usize,
    trimmed: Option<Instant>,
}

impl Supplies {
    /// An empty job for a connection.
    pub fn job(&mut self, connection: ConnectionId) -> Box<Job> {
        let Some(mut job) = self.jobs.pop() else { return Box::new(Job::new(connection)) };
        self.bytes -= job.input.capacity() + job.output.capacity();
        job.connection = connection;
        job
    }

    /// Takes a job back.
    pub fn return_job(&mut self, mut job: Box<Job>) {
        debug_assert!(job.grant.is_none(), "a grant is released before its job is used again");
        if self.jobs.len() == KEPT_MAX {
            return self.note_dropped(job.memory());
        }
        debug_assert!(job.held.is_none() && job.taken.is_none(), "what it held has ended");
        job.requests.clear();
        (job.missing, job.waiting, job.place, job.standing) = (None, None, None, None);
        job.answered = 0;
        for buffer in [&mut job.input, &mut job.output] {
            buffer.clear();
            if self.bytes + buffer.capacity() > KEPT_BYTES_MAX {
                self.note_dropped(std::mem::take(buffer).capacity());
            }
            self.bytes += buffer.capacity();
        }
        self.jobs.push(job);
    }

    /// A buffer, its content meaningless.
    pub fn buffer(&mut self) -> Vec<u8> {
        let buffer = self.buffers.pop().unwrap_or_default();
        self.bytes -= buffer.capacity();
        buffer
    }

    /// Takes a buffer back.
    pub fn return_buffer(&mut self, buffer: Vec<u8>) {
        let fits = self.bytes + buffer.capacity() <= KEPT_BYTES_MAX && self.buffers.len() < KEPT_MAX;
        if buffer.capacity() > 0 && fits {
            self.bytes += buffer.capacity();
            self.buffers.push(buffer);
        } else {
            self.note_dropped(buffer.capacity());
        }
    }

    /// Counts memory that was dropped, or is about to be.
    pub fn note_dropped(&mut self, bytes: usize) {
        self.dropped += bytes;
    }

    /// When memory is to be given back to the system.
    pub fn trims_at(&self) -> Option<Instant> {
        let worth_it = self.dropped + self.bytes >= TRIMMED_FROM;
        self.trimmed.filter(|_| worth_it).map(|at| at + TRIMMED_EVERY)
    }

    /// Gives memory back to the system, when it is time for that.
    #[allow(unsafe_code, reason = "malloc_trim has no safe interface")]
    pub fn trim(&mut self, now: Instant) {
        let trimmed = *self.trimmed.get_or_insert(now);
        if trimmed + TRIMMED_EVERY > now || self.trims_at().is_none() {
            return;
        }
        // What is kept lies scattered by now, and keeps the pages around it.
        *self = Supplies { trimmed: Some(now), ..Supplies::default() };
        #[cfg(target_env = "gnu")]
        // SAFETY: takes no pointers, and may be called at any time from any thread. Source: malloc_trim(3).
        unsafe {
            nix::libc::malloc_trim(0);
        }
    }
}
