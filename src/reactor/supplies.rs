//! Jobs and buffers to be used again, so that a request costs no allocation. Bounded.

use crate::workers::{ConnectionId, Job};

/// Jobs that are kept.
const JOBS_MAX: usize = 256;

/// Buffers that are kept for input.
const BUFFERS_MAX: usize = 256;

/// Bytes of a buffer beyond which it is not kept, so that at most 48 MiB lie here.
const KEPT_MAX: usize = 64 * 1024;

/// What connections take from when they have something to do, and give back to when they rest.
#[derive(Debug, Default)]
pub struct Supplies {
    #[allow(clippy::vec_box, reason = "a job travels as one pointer")]
    jobs: Vec<Box<Job>>,
    buffers: Vec<Vec<u8>>,
}

impl Supplies {
    /// An empty job for a connection.
    pub fn job(&mut self, connection: ConnectionId) -> Box<Job> {
        match self.jobs.pop() {
            Some(mut job) => {
                job.connection = connection;
                job
            }
            None => Box::new(Job::new(connection)),
        }
    }

    /// Takes a job back.
    pub fn return_job(&mut self, mut job: Box<Job>) {
        debug_assert!(job.grant.is_none(), "a grant is released before its job is used again");
        if self.jobs.len() == JOBS_MAX {
            return;
        }
        job.requests.clear();
        job.answered = 0;
        for buffer in [&mut job.input, &mut job.output] {
            buffer.clear();
            if buffer.capacity() > KEPT_MAX {
                *buffer = Vec::new();
            }
        }
        self.jobs.push(job);
    }

    /// A buffer, its content meaningless.
    pub fn buffer(&mut self) -> Vec<u8> {
        self.buffers.pop().unwrap_or_default()
    }

    /// Takes a buffer back.
    pub fn return_buffer(&mut self, buffer: Vec<u8>) {
        if (1..=KEPT_MAX).contains(&buffer.capacity()) && self.buffers.len() < BUFFERS_MAX {
            self.buffers.push(buffer);
        }
    }
}
