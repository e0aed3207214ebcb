//! The received bytes of a connection: reads the socket, and cuts batches of requests.

use std::io::{self, Read};
use std::time::Instant;

use super::Connection;
use super::data::Data;
use crate::memory::{self, Exhausted};
use crate::protocol::{Completed, Framed, Limits, Silence};
use crate::reactor::phase::Phase;
use crate::reactor::pools::Pools;
use crate::reactor::transport::Transport;
use crate::workers::{ConnectionId, Job, Owner};

/// Largest number of requests in a batch. Executing this many takes less time than writing their replies.
pub(super) const REQUESTS_PER_BATCH: usize = 128;

/// Bytes that one call of [`Connection::receive`] reads before it returns [`Received::BudgetSpent`].
pub(super) const BYTES_PER_RECEIVE: usize = 256 * 1024;

/// Size of the buffer that all connections share, and largest read of a request whose length is not known: a
/// message of 16 KiB with its header.
pub(crate) const SCRATCH_SIZE: usize = 17 * 1024;

/// If a request lacks at least this many bytes, they are read directly into the input of its connection,
/// without a copy.
const DIRECT_MIN: usize = 4 * 1024;

/// Bytes that the reactor reads at once if it expects a header and large data: the data is then received into
/// its mailbox.
const EXPECTED_HEADER: usize = 128;

/// A direct read asks for this many bytes more than the body lacks. If it returns fewer bytes than it has
/// asked for, the socket is empty, and no further system call has to show that.
const AFTER_BODY: usize = 64;

/// Largest growth of a body's buffer in one step.
const GROWTH_MAX: usize = 256 * 1024;

/// Bytes of memory for a job and a batch of small requests, beside the buffered bytes.
const RECEIVE_MEMORY: usize = 3 * SCRATCH_SIZE;

/// The result of [`Connection::receive`].
#[derive(Debug)]
pub(crate) enum Received {
    /// A batch of complete requests.
    Batch(Box<Job>),
    /// A request that is complete except for data that has arrived at the socket:
    /// [`Connection::receive_data`] can receive it into the mailbox, and [`Connection::load_data`] into
    /// memory.
    Data(Framed),
    /// No complete request. The next bytes cause an event.
    WouldBlock,
    /// No complete request yet, and the socket may have more bytes.
    BudgetSpent,
    /// No complete request yet. This many bytes of memory, for the next bytes of the socket, were not
    /// available.
    Exhausted(usize),
    /// The client will send nothing more.
    Eof,
}

/// Received bytes, the oldest first. Owns no memory while it is empty.
#[derive(Debug, Default)]
pub(super) struct Input {
    /// Initialized memory. Bytes outside of `start..end` are meaningless.
    bytes: Vec<u8>,
    start: u32,
    end: u32,
}

impl Input {
    /// The buffered bytes.
    pub(super) fn as_slice(&self) -> &[u8] {
        &self.bytes[self.start as usize..self.end as usize]
    }

    /// Whether no bytes are buffered.
    pub(super) fn is_empty(&self) -> bool {
        self.start == self.end
    }

    /// Bytes of memory.
    pub(super) fn capacity(&self) -> usize {
        self.bytes.capacity()
    }

    /// Bytes that can be added without more memory. Includes the space of consumed bytes, before the buffered
    /// bytes, which [`Input::try_reserve`] makes usable.
    pub(super) fn room(&self) -> usize {
        self.bytes.len() - self.as_slice().len()
    }

    /// Sets the buffer of an empty input, to which bytes are added next.
    pub(super) fn set_buffer(&mut self, bytes: Vec<u8>) {
        debug_assert_eq!(self.capacity(), 0, "an empty input owns no memory");
        *self = Input { bytes, start: 0, end: 0 };
    }

    /// Moves the buffered bytes to a larger buffer. Returns the old buffer.
    pub(super) fn swap_buffer(&mut self, mut bytes: Vec<u8>) -> Vec<u8> {
        let len = self.as_slice().len();
        bytes[..len].copy_from_slice(self.as_slice());
        let before = std::mem::replace(self, Input { bytes, start: 0, end: len as u32 });
        before.bytes
    }

    /// Appends bytes.
    pub(super) fn extend(&mut self, more: &[u8]) {
        self.reserve(more.len());
        let end = self.end as usize;
        self.bytes[end..end + more.len()].copy_from_slice(more);
        self.end += more.len() as u32;
    }

    /// Reads at most `len` bytes from `source` and appends them. [`Input::try_reserve`] must have made room
    /// for them after the buffered bytes. Returns the number of bytes read.
    pub(super) fn read_from(&mut self, source: &mut impl Read, len: usize) -> io::Result<usize> {
        let end = self.end as usize;
        let read = source.read(&mut self.bytes[end..end + len])?;
        self.end += read as u32;
        Ok(read)
    }

    /// Drops the oldest `len` bytes.
    pub(super) fn consume(&mut self, len: usize) {
        debug_assert!(len <= self.as_slice().len());
        self.start += len as u32;
    }

    /// Drops the newest `len` bytes, and the buffer if it is empty then.
    pub(super) fn truncate_back(&mut self, len: usize) {
        debug_assert!(len <= self.as_slice().len());
        self.end -= len as u32;
        if self.is_empty() {
            *self = Input::default();
        }
    }

    /// Takes the buffer and the offset of the buffered bytes in it. The input is empty afterwards.
    pub(super) fn take(&mut self) -> (Vec<u8>, usize) {
        let Input { bytes, start, .. } = std::mem::take(self);
        (bytes, start as usize)
    }

    /// Makes room for `len` more bytes after the buffered bytes, if the memory is available. The space of
    /// consumed bytes is used first.
    pub(super) fn try_reserve(&mut self, len: usize) -> Result<(), Exhausted> {
        let missing = self.compact(len);
        memory::reserve(&mut self.bytes, missing)?;
        self.bytes.resize(self.bytes.len() + missing, 0);
        Ok(())
    }

    /// Makes room for `len` more bytes as [`Input::try_reserve`] does, but does not check the memory limit:
    /// [`Connection::receive_memory`] has included these bytes.
    fn reserve(&mut self, len: usize) {
        let missing = self.compact(len);
        self.bytes.reserve_exact(missing);
        self.bytes.resize(self.bytes.len() + missing, 0);
    }

    /// Moves the buffered bytes to the front of the buffer if `len` more bytes do not fit after them. Returns
    /// the number of bytes by which the buffer is still too short.
    fn compact(&mut self, len: usize) -> usize {
        if self.start > 0 && self.end as usize + len > self.bytes.len() {
            self.bytes.copy_within(self.start as usize..self.end as usize, 0);
            self.end -= self.start;
            self.start = 0;
        }
        (self.end as usize + len).saturating_sub(self.bytes.len())
    }
}

impl<T: Transport> Connection<T> {
    /// Largest number of bytes of memory that [`Connection::receive`] allocates without a check of the memory
    /// limit.
    pub(crate) fn receive_memory(&self) -> usize {
        RECEIVE_MEMORY + self.input.as_slice().len()
    }

    /// Cuts the next batch from the buffered bytes and from bytes that can be read now. Leaves at most
    /// `kernel_memory` bytes of large data in the socket until all of it has arrived; `None`: all data is
    /// received into memory.
    pub(crate) fn receive(
        &mut self,
        id: ConnectionId,
        scratch: &mut [u8],
        limits: &Limits,
        pools: &mut Pools,
        kernel_memory: Option<usize>,
        now: Instant,
    ) -> io::Result<Received> {
        debug_assert!(matches!(self.phase, Phase::Idle));
        let mut job = pools.job(Owner::Client(id));
        let mut received = 0;
        let mut missing = 0;
        if self.buffered || self.input.as_slice().len() >= SCRATCH_SIZE || self.awaits_data() {
            // `cut_input` copies the batch or the bytes after it, whichever is shorter: at most half of the
            // buffered bytes.
            let copied = self.input.as_slice().len() / 2;
            if self.buffered && copied > DIRECT_MIN && memory::reserve(&mut job.input, copied).is_err() {
                pools.return_job(job);
                return Ok(Received::Exhausted(copied));
            }
            // A large body may be incomplete: `missing` decides whether to read directly into its buffer.
            missing = self.cut_input(&mut job, limits, pools);
        }
        while job.requests.is_empty() && received < BYTES_PER_RECEIVE {
            let most = kernel_memory.filter(|_| missing > 0 || self.awaits_data());
            match most.map_or(Data::Loaded, |most| self.locate_data(missing, limits, most)) {
                Data::Arrived(framed) => {
                    pools.return_job(job);
                    return Ok(Received::Data(framed));
                }
                Data::Awaited => {
                    self.readable = false;
                    break;
                }
                Data::Loaded => {}
            }
            if !self.readable {
                break;
            }
            let direct = if missing >= DIRECT_MIN { self.direct_read_len(missing, pools) } else { 0 };
            let scratch = if self.expects_data { &mut scratch[..EXPECTED_HEADER] } else { &mut scratch[..] };
            let room = if direct > 0 { direct } else { scratch.len() };
            if (direct > 0 || !self.input.is_empty()) && self.input.try_reserve(room).is_err() {
                pools.return_job(job);
                return Ok(Received::Exhausted(room));
            }
            let result = match direct {
                0 => self.transport.read(scratch),
                len => self.input.read_from(&mut self.transport, len),
            };
            let read = match result {
                Ok(read) => read,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.readable = false;
                    break;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => {
                    pools.return_job(job);
                    return Err(error);
                }
            };
            if read == 0 {
                (self.readable, self.eof) = (false, true);
                break;
            }
            received += read;
            self.last_progress = now;
            self.silence_tried = false;
            // A short read has emptied the socket, and the next bytes cause an event. The end of input causes
            // no second event, so it must be read now.
            self.readable = read == room || self.hung_up || self.reads_end_early;
            missing = match direct {
                0 => self.cut_scratch(&scratch[..read], &mut job, limits, pools),
                _ => self.cut_input(&mut job, limits, pools),
            };
        }
        if job.requests.is_empty() && self.eof {
            self.complete_last(&mut job, limits);
        }
        if !job.requests.is_empty() {
            return Ok(Received::Batch(job));
        }
        pools.return_job(job);
        Ok(match () {
            () if self.eof => Received::Eof,
            () if self.readable => Received::BudgetSpent,
            () => Received::WouldBlock,
        })
    }

    /// Completes the buffered request after a silence: at most its end of line may be missing. Returns `None`
    /// if the buffered bytes are no such request.
    pub(crate) fn complete_on_silence(
        &mut self,
        id: ConnectionId,
        limits: &Limits,
        pools: &mut Pools,
    ) -> Option<Box<Job>> {
        self.silence_tried = true;
        let mut job = pools.job(Owner::Client(id));
        self.complete_last(&mut job, limits);
        if job.requests.is_empty() {
            pools.return_job(job);
            return None;
        }
        Some(job)
    }

    /// Number of bytes to read directly into the input if a body lacks `missing` bytes. May move the input to
    /// a larger buffer of the pools. The memory grows with the bytes that have arrived, not with the
    /// announced length: only a client that has sent [`SCRATCH_SIZE`] bytes gets a large buffer.
    fn direct_read_len(&mut self, missing: usize, pools: &mut Pools) -> usize {
        let (arrived, wanted) = (self.input.as_slice().len(), missing + AFTER_BODY);
        if arrived >= SCRATCH_SIZE && self.input.room() < wanted {
            let buffer = pools.buffer(arrived + wanted);
            let is_larger = buffer.len() > arrived + self.input.room();
            pools.return_buffer(if is_larger { self.input.swap_buffer(buffer) } else { buffer });
        }
        let growth = arrived.clamp(SCRATCH_SIZE, GROWTH_MAX);
        wanted.min(growth.max(self.input.room())).min(BYTES_PER_RECEIVE)
    }

    /// Adds the buffered bytes to the job as a request if at most its end of line is missing. Drops them if
    /// they need no answer.
    fn complete_last(&mut self, job: &mut Job, limits: &Limits) {
        if self.framing.silence(self.input.as_slice(), self.first_since_reply, limits) == Silence::Never {
            return;
        }
        self.input.extend(b"\n");
        match self.framing.complete(self.input.as_slice(), limits) {
            Completed::NotYet => return self.input.truncate_back(1),
            Completed::Dropped => drop(self.input.take()),
            Completed::Request(mut framed) => {
                let (bytes, start) = self.input.take();
                framed.move_body(start);
                job.input = bytes;
                job.requests.push(framed);
            }
        }
        self.first_since_reply = false;
    }

    /// Cuts a batch from bytes that were just read into the shared buffer. Stores the bytes after the batch
    /// in the input. Returns the number of bytes that the next request lacks.
    fn cut_scratch(&mut self, bytes: &[u8], job: &mut Job, limits: &Limits, pools: &mut Pools) -> usize {
        if !self.input.is_empty() {
            self.input.extend(bytes);
            return self.cut_input(job, limits, pools);
        }
        self.first_since_reply |= !self.framing.is_discarding();
        let (used, missing) = self.cut(bytes, &mut job.requests, limits);
        if !job.requests.is_empty() {
            job.input.extend_from_slice(&bytes[..used]);
        }
        if used < bytes.len() {
            let rest = &bytes[used..];
            self.input.set_buffer(pools.buffer(rest.len()));
            self.input.extend(rest);
        }
        missing
    }

    /// Cuts a batch from the input. Copies the batch or the bytes after it, whichever is shorter. Returns the
    /// number of bytes that the next request lacks.
    fn cut_input(&mut self, job: &mut Job, limits: &Limits, pools: &mut Pools) -> usize {
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
                self.input.set_buffer(pools.buffer(rest));
                self.input.extend(&input.as_slice()[used..]);
            }
            let (bytes, start) = input.take();
            job.requests.iter_mut().for_each(|framed| framed.move_body(start));
            pools.return_buffer(std::mem::replace(&mut job.input, bytes));
        }
        if self.input.is_empty() {
            pools.return_buffer(self.input.take().0);
        }
        missing
    }

    /// Cuts at most one batch from the front of `bytes`. Returns the number of bytes used, and the number of
    /// bytes that the next request lacks.
    fn cut(&mut self, bytes: &[u8], found: &mut Vec<Framed>, limits: &Limits) -> (usize, usize) {
        let (used, missing) = self.framing.cut(bytes, limits, REQUESTS_PER_BATCH, found, !self.readable);
        self.first_since_reply &= found.is_empty();
        if !found.is_empty() {
            (self.loads_data, self.expects_data) = (false, false);
            self.end_await();
        }
        self.buffered = missing == 0 && used < bytes.len();
        (used, missing)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeps_unconsumed_bytes() {
        let mut input = Input::default();
        input.extend(b"hello ");
        input.consume(4);
        let mut more: &[u8] = b"world and more";
        input.try_reserve(5).expect("memory");
        assert_eq!(input.read_from(&mut more, 5).expect("read"), 5);
        assert_eq!(input.as_slice(), b"o world");
        assert_eq!(input.swap_buffer(vec![0; 100]).len(), 7);
        assert_eq!((input.as_slice(), input.room()), (&b"o world"[..], 93));
        let (bytes, start) = input.take();
        assert_eq!(&bytes[start..start + 7], b"o world");
        assert_eq!((input.is_empty(), input.capacity()), (true, 0));
    }

    /// A silence within a refused body adds an end of line to an empty input, and removes it again.
    #[test]
    fn owns_no_memory_while_it_is_empty() {
        let mut input = Input::default();
        input.extend(b"\n");
        input.truncate_back(1);
        assert_eq!((input.is_empty(), input.capacity()), (true, 0));
    }
}
