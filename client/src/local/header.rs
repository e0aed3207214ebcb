//! The header page of a segment, and where its parts begin.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use super::record::ENTRY_HEADER;

const PAGE: usize = 4096;
const MAGIC: [u8; 8] = *b"dipc.seg";
const ENDIANNESS: u32 = 0x0102_0304;
const FORMAT: u32 = 3;
/// Bytes of a control area.
const CONTROL_SIZE: u64 = 128;
/// Bytes of a name, with zeros behind it.
pub(super) const NAME_SIZE: u64 = 64;
/// The length of an entry has 31 bits.
const CAPACITY_MAX: u64 = i32::MAX as u64 - ENTRY_HEADER;

/// The checksum covers the bytes before this offset.
const CHECKED: usize = PAGE - 40;
/// Offset of the word that is not 0 if no server will use the segment again.
pub(super) const RETIRED_AT: usize = PAGE - 32;
/// Offset of the number of servers that have used the segment.
pub(super) const EPOCH_AT: usize = PAGE - 16;
const CHECKSUM_AT: usize = PAGE - 8;

/// The fields of a header that do not change. The segment of these mailboxes has the length of the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Header {
    /// At least 1.
    pub mailboxes: u32,
    pub capacity: u64,
    pub life: u64,
    size: usize,
}

impl Header {
    /// Reads and checks the header of a file, and the length of the file.
    pub(super) fn read(file: &File) -> io::Result<Self> {
        let mut page = [0; PAGE];
        file.read_exact_at(&mut page, 0).map_err(|error| match error.kind() {
            io::ErrorKind::UnexpectedEof => foreign("is shorter than its header"),
            _ => error,
        })?;
        Header::parse(&page, file.metadata()?.len())
    }

    fn parse(page: &[u8; PAGE], file_size: u64) -> io::Result<Self> {
        let number = |at: usize| u64::from_ne_bytes(std::array::from_fn(|index| page[at + index]));
        let half = |at: usize| u32::from_ne_bytes(std::array::from_fn(|index| page[at + index]));
        if page[..8] != MAGIC {
            return Err(foreign("was not made by dipc"));
        }
        if half(8) != ENDIANNESS {
            return Err(foreign("was made on a machine with another byte order"));
        }
        if half(12) != FORMAT {
            return Err(foreign("has the format of another version of dipc"));
        }
        if number(CHECKSUM_AT) != fnv(&page[..CHECKED]) {
            return Err(foreign("has a damaged header"));
        }
        let (mailboxes, capacity, life) = (half(16), number(24), number(32));
        let header = Header { mailboxes, capacity, life, size: 0 };
        match header.length().filter(|&size| mailboxes > 0 && capacity <= CAPACITY_MAX && size == file_size) {
            Some(size) => Ok(Header { size: usize::try_from(size).map_err(io::Error::other)?, ..header }),
            None => Err(foreign("is not as long as its header says")),
        }
    }

    /// Bytes of the segment.
    pub(super) fn size(&self) -> usize {
        self.size
    }

    /// Bytes of a ring: two messages of full size.
    pub(super) fn ring_size(&self) -> usize {
        (2 * (self.capacity + ENTRY_HEADER)).next_multiple_of(8) as usize
    }

    /// Where the ring of a mailbox begins.
    pub(super) fn ring_at(&self, mailbox: u32) -> usize {
        self.rings_at() as usize + mailbox as usize * self.ring_size()
    }

    /// Where the names begin: a word for each mailbox, then two names for each mailbox.
    pub(super) fn names_at(&self) -> usize {
        self.ring_at(self.mailboxes)
    }

    fn rings_at(&self) -> u64 {
        (PAGE as u64 + u64::from(self.mailboxes) * CONTROL_SIZE).next_multiple_of(PAGE as u64)
    }

    /// The length that the file must have; `None` if there is no such file.
    fn length(&self) -> Option<u64> {
        let ring = self.capacity.checked_add(ENTRY_HEADER)?.checked_mul(2)?.checked_next_multiple_of(8)?;
        let mailboxes = u64::from(self.mailboxes);
        let names = mailboxes * (size_of::<u64>() as u64 + 2 * NAME_SIZE);
        self.rings_at().checked_add(mailboxes.checked_mul(ring)?)?.checked_add(names)
    }
}

/// Where the control area of a mailbox begins.
pub(super) fn control_at(mailbox: u32) -> usize {
    PAGE + mailbox as usize * CONTROL_SIZE as usize
}

fn foreign(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("the segment {what}"))
}

/// FNV-1a, 64 bits.
fn fnv(bytes: &[u8]) -> u64 {
    let step = |sum: u64, byte: &u8| (sum ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, step)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(mailboxes: u32, capacity: u64) -> [u8; PAGE] {
        let mut page = [0; PAGE];
        page[..8].copy_from_slice(&MAGIC);
        page[8..12].copy_from_slice(&ENDIANNESS.to_ne_bytes());
        page[12..16].copy_from_slice(&FORMAT.to_ne_bytes());
        page[16..20].copy_from_slice(&mailboxes.to_ne_bytes());
        page[24..32].copy_from_slice(&capacity.to_ne_bytes());
        let sum = fnv(&page[..CHECKED]);
        page[CHECKSUM_AT..].copy_from_slice(&sum.to_ne_bytes());
        page
    }

    #[test]
    fn a_header_describes_its_file_or_is_refused() {
        let size = 8192 + 4 * 136 + 4 * 136;
        let header = Header::parse(&page(4, 64), size).expect("valid");
        assert_eq!((header.ring_size(), header.ring_at(1), header.names_at()), (136, 8192 + 136, 8192 + 544));
        assert!(Header::parse(&page(4, 64), size - 1).is_err());
        let mut other = page(4, 64);
        other[20] = 1;
        assert!(Header::parse(&other, size).is_err(), "the checksum covers all fields");
    }

    #[test]
    fn no_header_has_a_length_that_overflows() {
        for (mailboxes, capacity) in
            [(u32::MAX, u64::MAX), (0, 64), (1, CAPACITY_MAX + 1), (u32::MAX, 1 << 62)]
        {
            for size in [0, 4096, u64::MAX] {
                assert!(Header::parse(&page(mailboxes, capacity), size).is_err());
            }
        }
    }
}
