//! From the socket to a batch of requests.

use std::io;
use std::time::Instant;

use super::Connection;
use crate::protocol::{Framed, Limits};
use crate::reactor::phase::Phase;
use crate::reactor::supplies::Supplies;
use crate::reactor::wire::Wire;
use crate::workers::{ConnectionId, Job};

/// Requests that one turn of a connection takes: as many take less time than it takes to write their answers.
pub const REQUESTS_PER_TURN: usize = 128;

/// Bytes that one turn of a connection reads.
pub const BYTES_PER_TURN: usize = 256 * 1024;

/// Bytes that the reactor reads at once when it does not know what is coming: a message of 16 KiB and what is around it.
pub const SCRATCH_SIZE: usize = 17 * 1024;

/// Missing bytes from which on they are read to where they stay, instead of being copied there.
const DIRECT_MIN: usize = 4 * 1024;

/// Bytes that are asked for behind a body: when they do not come the socket is known to be empty, without another look.
const BEHIND_BODY: usize = 64;

/// Bytes that a body's buffer grows by at once, at most.
const GROWTH_MAX: usize = 256 * 1024;

/// What a turn found.
#[derive(Debug)]
pub enum Turn {
    /// A batch of complete requests.
    Batch(Box<Job>),
    /// No complete request; the next event tells when to look again.
    Rest,
    /// It has had its share; there may be more.
    Again,
    /// The client will send nothing more.
    End,
}

impl<W: Wire> Connection<W> {
    /// Cuts the next batch from what is there and what can be read now.
    pub fn turn(
        &mut self,
        id: ConnectionId,
        scratch: &mut [u8],
        limits: &Limits,
        supplies: &mut Supplies,
        now: Instant,
    ) -> io::Result<Turn> {
        debug_assert!(matches!(self.phase, Phase::Idle));
        let mut job = supplies.job(id);
        let mut received = 0;
        let mut missing = 0;
        if self.more || self.input.as_slice().len() >= SCRATCH_SIZE {
            // Or it is a body under way: what it lacks tells where to read to.
            missing = self.cut_kept(&mut job, limits, supplies);
        }
        while job.requests.is_empty() && self.readable && received < BYTES_PER_TURN {
            let direct = if missing >= DIRECT_MIN { self.direct(missing, supplies) } else { 0 };
            let room = if direct > 0 { direct } else { scratch.len() };
            let result = match direct {
                0 => self.wire.read(scratch),
                len => self.input.read_from(&mut self.wire, len),
            };
            let read = match result {
                Ok(read) => read,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.readable = false;
                    break;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            };
            if read == 0 {
                (self.readable, self.ended) = (false, true);
                break;
            }
            received += read;
            self.since = now;
            self.quiet_tried = false;
            // A short read has emptied the socket: the next arrival makes an event. Only the end of input, which has
            // been announced already, is still to be fetched.
            self.readable = read == room || self.hung_up || self.reads_end_early;
            missing = match direct {
                0 => self.cut_scratch(&scratch[..read], &mut job, limits, supplies),
                _ => self.cut_kept(&mut job, limits, supplies),
            };
        }
        if job.requests.is_empty() && self.ended {
            self.finish(&mut job, limits);
        }
        if !job.requests.is_empty() {
            return Ok(Turn::Batch(job));
        }
        supplies.return_job(job);
        Ok(match () {
            () if self.ended => Turn::End,
            () if self.readable => Turn::Again,
            () => Turn::Rest,
        })
    }

    /// Takes what is there as a request when it lacks nothing but its end of line.
    pub fn quiet(&mut self, id: ConnectionId, limits: &Limits, supplies: &mut Supplies) -> Option<Box<Job>> {
        self.quiet_tried = true;
        let mut job = supplies.job(id);
        self.finish(&mut job, limits);
        if job.requests.is_empty() {
            supplies.return_job(job);
            return None;
        }
        Some(job)
    }

    /// How many bytes to read to where they stay, when a body lacks `missing`. Memory follows what has arrived, not what was
    /// announced: a large buffer is for who has sent as much as is read at once.
    fn direct(&mut self, missing: usize, supplies: &mut Supplies) -> usize {
        let (arrived, wanted) = (self.input.as_slice().len(), missing + BEHIND_BODY);
        if arrived >= SCRATCH_SIZE && self.input.room() < wanted {
            let buffer = supplies.buffer(arrived + wanted);
            let is_larger = buffer.len() > arrived + self.input.room();
            supplies.return_buffer(if is_larger { self.input.move_to(buffer) } else { buffer });
        }
        let growth = arrived.clamp(SCRATCH_SIZE, GROWTH_MAX);
        wanted.min(growth.max(self.input.room())).min(BYTES_PER_TURN)
    }

    /// Makes what is there a request, if it lacks only its end of line.
    fn finish(&mut self, job: &mut Job, limits: &Limits) {
        if !self.alone || !self.framer.may_finish(self.input.as_slice(), limits) {
            return;
        }
        self.input.extend(b"\n");
        let Some(mut framed) = self.framer.finish(self.input.as_slice(), limits) else {
            return self.input.shorten(1);
        };
        let (bytes, start) = self.input.take();
        framed.move_body(start);
        job.input = bytes;
        job.requests.push(framed);
        self.alone = false;
    }

    /// Cuts from bytes just received. What is left is kept.
    fn cut_scratch(
        &mut self,
        bytes: &[u8],
        job: &mut Job,
        limits: &Limits,
        supplies: &mut Supplies,
    ) -> usize {
        if !self.input.is_empty() {
            self.input.extend(bytes);
            return self.cut_kept(job, limits, supplies);
        }
        self.alone |= !self.framer.is_swallowing();
        let (used, missing) = self.cut(bytes, &mut job.requests, limits);
        if !job.requests.is_empty() {
            job.input.extend_from_slice(&bytes[..used]);
        }
        if used < bytes.len() {
            let rest = &bytes[used..];
            if !self.input.has_room() {
                // More than fits into one read is a body: what of it is here goes at once to where the rest is read to.
                let body = if rest.len() == SCRATCH_SIZE { missing + BEHIND_BODY } else { 0 };
                self.input.keep_in(supplies.buffer(rest.len() + body));
            }
            self.input.extend(rest);
        }
        missing
    }

    /// Cuts from what was kept. Whichever is shorter is copied, the batch or the rest.
    fn cut_kept(&mut self, job: &mut Job, limits: &Limits, supplies: &mut Supplies) -> usize {
        let mut input = std::mem::take(&mut self.input);
        let (used, missing) = self.cut(input.as_slice(), &mut job.requests, limits);
        let rest = input.as_slice().len() - used;
        if job.requests.is_empty() || used < rest {
            if !job.requests.is_empty() {
                job.input.extend_from_slice(&input.as_slice()[..used]);
            }
            input.consume(used);
            self.input = input;
        } else {
            if rest > 0 {
                self.input.keep_in(supplies.buffer(rest));
                self.input.extend(&input.as_slice()[used..]);
            }
            let (bytes, start) = input.take();
            job.requests.iter_mut().for_each(|framed| framed.move_body(start));
            supplies.return_buffer(std::mem::replace(&mut job.input, bytes));
        }
        if self.input.is_empty() {
            supplies.return_buffer(self.input.take().0);
        }
        missing
    }

    /// Cuts at most one batch from the front of `bytes`; tells how many it took and how many the next request lacks.
    fn cut(&mut self, bytes: &[u8], found: &mut Vec<Framed>, limits: &Limits) -> (usize, usize) {
        let (used, missing) = self.framer.cut(bytes, limits, REQUESTS_PER_TURN, found);
        self.alone &= found.is_empty();
        self.more = found.len() == REQUESTS_PER_TURN && used < bytes.len();
        (used, missing)
    }
}
