//! The data of a large message, which is received from the socket into the mailbox itself, when all of it has
//! arrived. Until then the kernel keeps it.

use std::io::{self, ErrorKind, IoSliceMut, Read};
use std::ops::Range;
use std::time::Instant;

use super::Connection;
use crate::mailboxes::Incoming;
use crate::memory::{self, Exhausted};
use crate::protocol::{Framed, Limits};
use crate::reactor::pools::Pools;
use crate::reactor::transport::Transport;
use crate::workers::is_received;

/// Data is received into its mailbox if at least this many bytes of it are missing. The simulation sends
/// messages of a few bytes.
const DATA_MIN: usize = if cfg!(test) { 8 } else { 16 * 1024 };

/// More data is received into memory in portions, and copied by a worker: the other clients are served
/// meanwhile.
const DATA_MAX: usize = 2 * 1024 * 1024;
const _: () = assert!(DATA_MAX / 1024 < u16::MAX as usize);

/// Bytes that are received behind the data. If they do not arrive, the socket is known to be empty.
const AFTER_DATA: usize = 64;

/// Where the missing data of a request is.
pub(super) enum Data {
    /// All of it has arrived at the socket.
    Arrived(Framed),
    /// The next event comes when it has.
    Awaited,
    /// It is received into memory as it arrives.
    Loaded,
}

/// Why data was not received into its mailbox.
#[derive(Debug)]
pub(crate) enum DataError {
    /// No end of line follows. The bytes are in the input.
    Unended,
    /// The socket has failed.
    Io(io::Error),
}

impl<T: Transport> Connection<T> {
    /// Finds out where the data of the request in the input is, of which `missing` bytes are missing. Leaves
    /// at most `kernel_memory` bytes in the socket.
    pub(super) fn locate_data(&mut self, missing: usize, limits: &Limits, kernel_memory: usize) -> Data {
        // A read of a Unix-domain socket, or before urgent data, may return less than has arrived.
        if self.loads_data || self.reads_end_early || !(DATA_MIN..=DATA_MAX).contains(&missing) {
            self.end_await();
            return Data::Loaded;
        }
        let is_eligible = |framed: &Framed| framed.body.len() <= DATA_MAX && is_received(&framed.request);
        let found = self.framing.incomplete(self.input.as_slice(), limits).filter(is_eligible);
        let Some(framed) = found else {
            self.end_await();
            return Data::Loaded;
        };
        if self.transport.available() >= missing {
            return Data::Arrived(framed);
        }
        if self.awaits_data() && !self.readable {
            return Data::Awaited;
        }
        if self.awaits_data() {
            // An event without all the data: the socket has no room for more. It gets room when this part is
            // read.
            self.end_await();
            return Data::Loaded;
        }
        // Without its end of line, too: a silence completes the request then.
        let may_wait = !self.hung_up && missing + 1024 <= kernel_memory;
        if may_wait && self.transport.await_bytes(missing - 1) {
            self.low_water_kb = missing.div_ceil(1024) as u16;
            return Data::Awaited;
        }
        self.loads_data = true;
        Data::Loaded
    }

    /// Bytes that the kernel keeps until all of them have arrived.
    pub(crate) fn awaited_bytes(&self) -> usize {
        usize::from(self.low_water_kb) * 1024
    }

    /// Whether the kernel keeps data until all of it has arrived.
    pub(crate) fn awaits_data(&self) -> bool {
        self.low_water_kb > 0
    }

    /// Lets the data of the request in the input be received into memory.
    pub(crate) fn load_data(&mut self) {
        self.loads_data = true;
        self.end_await();
        self.readable = true;
    }

    /// Lets the socket be readable as usual.
    pub(super) fn end_await(&mut self) {
        if std::mem::take(&mut self.low_water_kb) > 0 {
            self.transport.await_bytes(1);
        }
    }

    /// Passes the data of the request in the input to `store`, which receives the rest of it from the socket.
    /// `body` is the range of the data. Returns the result of `store`. Unless it is `Ok(true)`, the request
    /// is still in the input, and its data is received into memory.
    pub(crate) fn receive_data(
        &mut self,
        body: Range<usize>,
        pools: &mut Pools,
        now: Instant,
        store: impl FnOnce(Incoming<'_, DataError>) -> Result<bool, DataError>,
    ) -> Result<bool, DataError> {
        let mut input = std::mem::take(&mut self.input);
        let (mut after, mut after_len, mut end_len) = ([0; AFTER_DATA], 0, 0);
        let mut unended = Vec::new();
        let Connection { transport, framing, .. } = self;
        let mut receive = |mut parts: [&mut [u8]; 2]| {
            after_len = read_all(transport, &mut parts, &mut after).map_err(DataError::Io)?;
            match framing.end_data(&after[..after_len]) {
                Some(len) => end_len = len,
                None => {
                    memory::reserve(&mut unended, parts[0].len() + parts[1].len()).map_err(exhausted)?;
                    parts.iter().for_each(|part| unended.extend_from_slice(part));
                    return Err(DataError::Unended);
                }
            }
            Ok(())
        };
        let (arrived, rest) = (&input.as_slice()[body.start..], body.end - input.as_slice().len());
        let stored = store(Incoming { arrived, rest, receive: &mut receive });
        match &stored {
            Ok(true) => {
                pools.return_buffer(input.take().0);
                let following = &after[end_len..after_len];
                if !following.is_empty() {
                    self.input.extend(following);
                }
                self.buffered = !following.is_empty();
                (self.first_since_reply, self.silence_tried) = (false, false);
                self.expects_data = true;
                self.last_progress = now;
                self.end_await();
                self.readable = after_len == AFTER_DATA || self.hung_up || self.reads_end_early;
            }
            Ok(false) | Err(DataError::Io(_)) => self.input = input,
            Err(DataError::Unended) => {
                input.try_reserve(unended.len() + after_len).map_err(exhausted)?;
                input.extend(&unended);
                input.extend(&after[..after_len]);
                self.input = input;
                self.buffered = true;
                self.load_data();
            }
        }
        stored
    }
}

/// Reads all bytes of `parts`, which have arrived, and at most a few after them. Returns the number of bytes
/// in `after`.
fn read_all(source: &mut impl Read, parts: &mut [&mut [u8]; 2], after: &mut [u8]) -> io::Result<usize> {
    let [front, back] = parts;
    let (mut read, front_len, len) = (0, front.len(), front.len() + back.len());
    while read < len {
        let mut slices = [
            IoSliceMut::new(&mut front[read.min(front_len)..]),
            IoSliceMut::new(&mut back[read.saturating_sub(front_len)..]),
            IoSliceMut::new(after),
        ];
        match source.read_vectored(&mut slices) {
            Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
            Ok(some) => read += some,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(read - len)
}

fn exhausted(_: Exhausted) -> DataError {
    DataError::Io(ErrorKind::OutOfMemory.into())
}
