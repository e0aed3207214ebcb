//! Where the bytes of a new message come from.

use std::convert::Infallible;

use crate::mailboxes::Ring;

/// The bytes of a new message.
pub(crate) trait Source {
    /// Why the bytes are not available.
    type Error;

    /// Number of bytes.
    fn len(&self) -> usize;

    /// Stores the bytes at a position of the ring.
    fn store(self, ring: &mut Ring<'_>, at: u64) -> Result<(), Self::Error>;
}

impl Source for &[u8] {
    type Error = Infallible;

    fn len(&self) -> usize {
        (**self).len()
    }

    fn store(self, ring: &mut Ring<'_>, at: u64) -> Result<(), Infallible> {
        ring.write(at, self);
        Ok(())
    }
}

/// Bytes of which the last ones are still to be received, into the ring itself.
pub(crate) struct Incoming<'a, E> {
    /// The first bytes.
    pub arrived: &'a [u8],
    /// Number of bytes after them.
    pub rest: usize,
    /// Receives these bytes with system calls, into two parts of the ring.
    pub receive: &'a mut Receive<'a, E>,
}

/// Receives as many bytes as two parts of a ring have.
pub(crate) type Receive<'a, E> = dyn FnMut([&mut [u8]; 2]) -> Result<(), E> + 'a;

impl<E> Source for Incoming<'_, E> {
    type Error = E;

    fn len(&self) -> usize {
        self.arrived.len() + self.rest
    }

    fn store(self, ring: &mut Ring<'_>, at: u64) -> Result<(), E> {
        ring.write(at, self.arrived);
        (self.receive)(ring.target(at + self.arrived.len() as u64, self.rest))
    }
}

/// The result of storing bytes that were available.
pub(super) fn certain<T>(result: Result<T, Infallible>) -> T {
    match result {
        Ok(value) => value,
        Err(never) => match never {},
    }
}
