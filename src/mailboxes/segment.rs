//! The shared memory of all mailboxes: one file, mapped, and the ring of each mailbox in it.
//!
//! ```text
//!     header page │ control area of mailbox 0, 1, 2 .. │ ring of mailbox 0, 1, 2 .. │ names
//! ```
//!
//! The control areas are contiguous, not each next to its ring. A start with a million mailboxes therefore
//! reads 128 bytes for each of them and touches no page of the rings. The file has no holes: its memory is
//! reserved when the file is created, so that a full `/dev/shm` is an error at the start and never a SIGBUS
//! later.
#![allow(unsafe_code, reason = "maps the file and accesses the mapped memory")]

use std::fs::File;
use std::io::{self, Read};
use std::marker::PhantomData;
use std::os::unix::fs::FileExt;
use std::ptr;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};

use memmap2::{MmapOptions, MmapRaw};

use super::block::{Block, Control, ENTRY_HEADER, Recovered};
use super::waiters::{Waiters, ring};
use crate::protocol::{MAILBOX_NAME_MAX, Name};

const HEADER_SIZE: usize = 4096;
const MAGIC: [u8; 8] = *b"dipc.seg";
const FORMAT: u32 = 3;
const ENDIANNESS: u32 = 0x0102_0304;
/// Offsets of the fields that change: the packet size of the last start, whether the segment is retired, the
/// counter of fencing tokens, and the epoch. The checksum covers the bytes before these fields.
const PACKET_AT: usize = HEADER_SIZE - 40;
const RETIRED_AT: usize = HEADER_SIZE - 32;
const TOKENS_AT: usize = HEADER_SIZE - 24;
const EPOCH_AT: usize = HEADER_SIZE - 16;
const CHECKSUM_AT: usize = HEADER_SIZE - 8;

/// The largest capacity of a mailbox: the length of an entry has 31 bits.
pub(crate) const CAPACITY_MAX: u64 = (i32::MAX as u64) - ENTRY_HEADER as u64;

/// Number and sizes of the mailboxes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Geometry {
    /// Number of mailboxes, at least one.
    pub mailboxes: u32,
    /// Bytes that each mailbox can hold.
    pub capacity: u64,
    /// Most bytes of data in one request.
    pub packet: u64,
}

impl Geometry {
    /// Bytes of the whole segment; `None` if a file cannot be that large.
    pub fn segment_size(&self) -> Option<u64> {
        let names = u64::from(self.mailboxes) * (size_of::<AtomicU64>() + 2 * MAILBOX_NAME_MAX) as u64;
        self.names_at()?.checked_add(names).filter(|&size| i64::try_from(size).is_ok())
    }

    /// Where the names begin: for each mailbox a word, then for each mailbox two names. The word is 0 if the
    /// mailbox has never had a name, else `sequence number << 1 | index of the current name`.
    fn names_at(&self) -> Option<u64> {
        let rings = u64::from(self.mailboxes).checked_mul(self.ring_size()?)?;
        self.rings_at().checked_add(rings)
    }

    /// Whether the mailboxes have the same number and size. The packet size is that of a start.
    pub(crate) fn has_mailboxes_of(&self, other: &Geometry) -> bool {
        (self.mailboxes, self.capacity) == (other.mailboxes, other.capacity)
    }

    fn ring_size(&self) -> Option<u64> {
        self.capacity.checked_add(ENTRY_HEADER as u64)?.checked_mul(2)?.checked_next_multiple_of(8)
    }

    fn rings_at(&self) -> u64 {
        let controls = u64::from(self.mailboxes) * size_of::<Control>() as u64;
        (HEADER_SIZE as u64 + controls).next_multiple_of(HEADER_SIZE as u64)
    }
}

/// Why a file cannot be used as a segment.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SegmentError {
    /// A system call failed.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// The size of the segment overflows.
    #[error("too many mailboxes of this size: this machine cannot address the memory")]
    TooLarge,
    /// Not a segment, or one of another version or machine.
    #[error("the segment {0}")]
    Foreign(&'static str),
    /// A segment with mailboxes of another number or size.
    #[error("existing data has a different size: {} mailboxes of {} kB", .0.mailboxes, .0.capacity / 1024)]
    OtherGeometry(Geometry),
    /// The mailboxes cannot be taken over into others of another number or size.
    #[error("existing data does not fit: {0}")]
    DoesNotFit(String),
}

/// The mapped file.
#[derive(Debug)]
pub(crate) struct Segment {
    map: MmapRaw,
    geometry: Geometry,
    ring_size: usize,
    epoch: AtomicU64,
    life: u64,
    waiters: Option<Waiters>,
}

/// What a retired segment contained.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Retired {
    pub geometry: Geometry,
    /// Number of messages in all mailboxes.
    pub messages: u64,
}

impl Segment {
    /// Creates a segment of empty mailboxes in `file`, which is empty. The header is written last: a file
    /// without a header is not a segment.
    pub(crate) fn create(file: &File, geometry: Geometry, uid: u32) -> Result<Self, SegmentError> {
        let segment = Segment::allocate(file, geometry, random()?)?;
        file.write_all_at(&header(geometry, uid, segment.life), 0)?;
        Ok(segment)
    }

    /// Allocates the memory of a segment of empty mailboxes. It has no header yet.
    pub(super) fn allocate(file: &File, geometry: Geometry, life: u64) -> Result<Self, SegmentError> {
        let size = geometry.segment_size().ok_or(SegmentError::TooLarge)?;
        reserve(file, size)?;
        let segment = Segment::map(file, geometry, life)?;
        for mailbox in 0..geometry.mailboxes {
            segment.control(mailbox).format();
        }
        Ok(segment)
    }

    /// Writes the header of a segment that goes on with the mailboxes of `old`: the epoch grows, and so do
    /// the fencing tokens.
    pub(super) fn complete(self, file: &File, uid: u32, old: &Segment) -> Result<Self, SegmentError> {
        file.write_all_at(&header(self.geometry, uid, self.life), 0)?;
        let epoch = old.word(EPOCH_AT).load(Ordering::Relaxed);
        self.word(EPOCH_AT).store(epoch, Ordering::Relaxed);
        self.begin_epoch();
        self.word(TOKENS_AT).store(old.word(TOKENS_AT).load(Ordering::Relaxed), Ordering::Relaxed);
        Ok(self)
    }

    /// Opens an existing segment, which must have mailboxes of this number and size. Increments its epoch,
    /// and stores the packet size.
    pub(crate) fn open(file: &File, geometry: Geometry) -> Result<Self, SegmentError> {
        let segment = Segment::attach(file, geometry)?;
        segment.begin_epoch();
        Ok(segment)
    }

    /// Maps an existing segment, which must have mailboxes of this number and size. Changes nothing, because
    /// another server may still use the segment.
    pub(crate) fn attach(file: &File, geometry: Geometry) -> Result<Self, SegmentError> {
        let found = Segment::geometry_of(file)?;
        if !found.has_mailboxes_of(&geometry) {
            return Err(SegmentError::OtherGeometry(found));
        }
        let (_, life) = check(file)?;
        Segment::map(file, geometry, life)
    }

    /// Increments the epoch, and stores the packet size: from now on this server alone uses the segment.
    pub(crate) fn begin_epoch(&self) {
        self.word(PACKET_AT).store(self.geometry.packet, Ordering::Relaxed);
        // A kill of dipcrm may have left a retired segment behind.
        self.word(RETIRED_AT).store(0, Ordering::Relaxed);
        let epoch = self.word(EPOCH_AT).fetch_add(1, Ordering::Relaxed).wrapping_add(1);
        self.epoch.store(epoch, Ordering::Relaxed);
    }

    /// Marks a segment that no server will use again, and wakes the processes that wait for its mailboxes.
    pub(crate) fn retire(file: &File) -> Result<Retired, SegmentError> {
        let geometry = Segment::geometry_of(file)?;
        let segment = Segment::open(file, geometry)?;
        segment.word(RETIRED_AT).store(1, Ordering::Release);
        let mut messages = 0;
        for mailbox in 0..geometry.mailboxes {
            let control = segment.control(mailbox);
            messages += control.contents(geometry.capacity).map_or(0, |contents| contents.count);
            ring(control.bell());
        }
        Ok(Retired { geometry, messages })
    }

    /// Number and sizes of the mailboxes in a file, whose header and length are checked. Nothing is changed.
    pub(crate) fn geometry_of(file: &File) -> Result<Geometry, SegmentError> {
        let (geometry, _) = check(file)?;
        match geometry.segment_size() == Some(file.metadata()?.len()) {
            true => Ok(geometry),
            false => Err(SegmentError::Foreign("is not as long as its header says")),
        }
    }

    /// Lets processes wait for changes in the shared memory.
    pub(crate) fn set_waiters(&mut self, waiters: Waiters) {
        self.waiters = Some(waiters);
    }

    /// Wakes the processes that wait for a change of a mailbox in the shared memory. To be called after the
    /// change.
    pub(super) fn notify(&self, mailbox: u32) {
        if self.waiters.as_ref().is_some_and(|waiters| waiters.take(mailbox)) {
            ring(self.control(mailbox).bell());
        }
    }

    /// Recovers every mailbox at a start. Returns those that were damaged.
    pub(crate) fn recover(&self) -> Vec<(u32, Recovered)> {
        (0..self.geometry.mailboxes)
            .map(|mailbox| (mailbox, self.recover_mailbox(mailbox)))
            .filter(|(_, found)| *found != Recovered::Whole)
            .collect()
    }

    fn recover_mailbox(&self, mailbox: u32) -> Recovered {
        let control = self.control(mailbox);
        let recovered = control.recover();
        if recovered == Recovered::Lost || !control.has_holes() {
            return recovered;
        }
        // SAFETY: no request is admitted before the recovery ends.
        let is_whole = unsafe { self.block(mailbox) }.recount();
        if is_whole { recovered } else { Recovered::Lost }
    }

    /// Number and sizes of the mailboxes.
    pub(crate) fn geometry(&self) -> Geometry {
        self.geometry
    }

    /// Number of servers that have used this segment, including this one.
    pub(crate) fn epoch(&self) -> u64 {
        self.epoch.load(Ordering::Relaxed)
    }

    /// A random number that identifies the segment. It is generated when the segment is created.
    pub(crate) fn life(&self) -> u64 {
        self.life
    }

    /// The fencing token of the next lock, from 1. The counter survives restarts, so every lock has a higher
    /// token than all locks before it.
    pub(crate) fn next_token(&self) -> u64 {
        self.word(TOKENS_AT).fetch_add(1, Ordering::Relaxed).wrapping_add(1)
    }

    /// The names of the mailboxes. A name that is not valid, because its memory is damaged, is none.
    pub(crate) fn names(&self) -> impl Iterator<Item = (u32, Name)> {
        (0..self.geometry.mailboxes).filter_map(|mailbox| Some((mailbox, self.name(mailbox)?)))
    }

    pub(super) fn name(&self, mailbox: u32) -> Option<Name> {
        let word = self.name_word(mailbox).load(Ordering::Acquire);
        if word == 0 {
            return None;
        }
        let bytes = self.name_bytes(mailbox, word).each_ref().map(|byte| byte.load(Ordering::Relaxed));
        let name = bytes.split(|byte| *byte == 0).next()?;
        Name::new(str::from_utf8(name).ok()?)
    }

    /// Stores the name of a mailbox, or that it has none. A kill leaves the old name or the new one. To be
    /// called by one thread.
    pub(crate) fn set_name(&self, mailbox: u32, name: Option<&Name>) {
        let word = self.name_word(mailbox);
        let next = (word.load(Ordering::Relaxed) >> 1).wrapping_add(1) << 1
            | (1 - (word.load(Ordering::Relaxed) & 1));
        let name = name.map_or("", Name::as_str).bytes().chain(std::iter::repeat(0));
        for (to, byte) in self.name_bytes(mailbox, next).iter().zip(name) {
            to.store(byte, Ordering::Relaxed);
        }
        word.store(next, Ordering::Release);
    }

    /// The word that chooses the name of a mailbox.
    fn name_word(&self, mailbox: u32) -> &AtomicU64 {
        assert!(mailbox < self.geometry.mailboxes);
        // `names_at` is a multiple of 8, because the size of each ring is one.
        self.word(self.names_at() + mailbox as usize * size_of::<AtomicU64>())
    }

    /// The bytes of the name that a word chooses.
    fn name_bytes(&self, mailbox: u32, word: u64) -> &[AtomicU8; MAILBOX_NAME_MAX] {
        let slots = self.names_at() + self.geometry.mailboxes as usize * size_of::<AtomicU64>();
        let slot = mailbox as usize * 2 + (word & 1) as usize;
        // SAFETY: `segment_size` includes two names of each mailbox. They consist of atomics, for which every
        // bit pattern is valid, and live as long as `self`.
        unsafe { &*self.map.as_ptr().add(slots + slot * MAILBOX_NAME_MAX).cast() }
    }

    fn names_at(&self) -> usize {
        self.geometry.names_at().expect("the segment is mapped") as usize
    }

    /// The control area of a mailbox.
    pub(crate) fn control(&self, mailbox: u32) -> &Control {
        assert!(mailbox < self.geometry.mailboxes);
        let at = HEADER_SIZE + mailbox as usize * size_of::<Control>();
        // SAFETY: the control areas follow the header page. Each is aligned and lies inside the mapping,
        // which lives as long as `self`. A control area consists of atomics, for which every bit pattern is
        // valid.
        unsafe { &*self.map.as_ptr().add(at).cast::<Control>() }
    }

    /// The memory of a mailbox.
    ///
    /// # Safety
    ///
    /// The caller holds a grant for this mailbox as long as the block lives, and an exclusive one if it
    /// writes.
    pub(super) unsafe fn block(&self, mailbox: u32) -> Block<'_> {
        let control = self.control(mailbox);
        let at = self.geometry.rings_at() as usize + mailbox as usize * self.ring_size;
        // SAFETY: `segment_size` includes all rings, and the caller's grant excludes conflicting accesses.
        let ring = unsafe { Ring::new(self.map.as_mut_ptr().add(at), self.ring_size) };
        Block::new(control, ring, self.geometry.capacity as usize)
    }

    fn map(file: &File, geometry: Geometry, life: u64) -> Result<Self, SegmentError> {
        let size = geometry.segment_size().ok_or(SegmentError::TooLarge)?;
        let len = usize::try_from(size).map_err(|_| SegmentError::TooLarge)?;
        Segment::with_map(MmapOptions::new().len(len).map_raw(file)?, geometry, life)
    }

    /// The segment in a mapping of a whole file.
    pub(super) fn over(map: MmapRaw, geometry: Geometry, file: &File) -> Result<Self, SegmentError> {
        Segment::with_map(map, geometry, check(file)?.1)
    }

    fn with_map(map: MmapRaw, geometry: Geometry, life: u64) -> Result<Self, SegmentError> {
        let ring_size = geometry.ring_size().ok_or(SegmentError::TooLarge)?;
        Ok(Segment {
            map,
            geometry,
            ring_size: usize::try_from(ring_size).map_err(|_| SegmentError::TooLarge)?,
            epoch: AtomicU64::new(1),
            life,
            waiters: None,
        })
    }

    fn word(&self, at: usize) -> &AtomicU64 {
        // SAFETY: all callers pass aligned offsets inside the header page or the names, which are mapped as
        // long as `self` lives.
        unsafe { &*self.map.as_ptr().add(at).cast::<AtomicU64>() }
    }
}

/// A ring buffer inside the segment. Position `p` is at offset `p` modulo the size of the ring.
///
/// [`Segment`] creates a ring for the holder of a grant. The grant excludes concurrent writes, so plain
/// copies are free of data races. Writes go through raw pointers, not slices: the compiler may move a store
/// through `&mut` behind the commit that follows it, but not a store through a pointer into shared memory.
#[derive(Debug)]
pub(crate) struct Ring<'a> {
    start: *mut u8,
    size: usize,
    segment: PhantomData<&'a [u8]>,
}

impl<'a> Ring<'a> {
    /// The ring of `size` bytes from `start` on.
    ///
    /// # Safety
    ///
    /// `size` bytes from `start` on stay mapped during `'a`. No other thread or process writes to them while
    /// this ring exists, and none reads them while this ring is written to.
    unsafe fn new(start: *mut u8, size: usize) -> Self {
        Ring { start, size, segment: PhantomData }
    }

    /// Bytes in the ring.
    pub(crate) fn size(&self) -> usize {
        self.size
    }

    /// The `len` bytes at `position`, in two parts if they wrap. `len` is at most the size of the ring.
    pub(crate) fn read(&self, position: u64, len: usize) -> [&[u8]; 2] {
        let [(at, front), (_, back)] = self.parts(position, len);
        // SAFETY: `parts` stays within the ring, which is mapped and not written to concurrently: see `new`.
        unsafe {
            [
                std::slice::from_raw_parts(self.start.add(at), front),
                std::slice::from_raw_parts(self.start, back),
            ]
        }
    }

    /// Writes `bytes`, at most the size of the ring, to `position`.
    pub(crate) fn write(&mut self, position: u64, bytes: &[u8]) {
        let [(at, front), (_, back)] = self.parts(position, bytes.len());
        // SAFETY: `parts` stays within the ring, which is mapped and not accessed concurrently: see `new`.
        // `bytes` is memory of this process outside of the segment, so the two do not overlap.
        unsafe {
            ptr::copy_nonoverlapping(bytes.as_ptr(), self.start.add(at), front);
            ptr::copy_nonoverlapping(bytes.as_ptr().add(front), self.start, back);
        }
    }

    /// The `len` bytes at `position`, in two parts if they wrap. Only for a system call that stores into
    /// them: the compiler cannot move its stores behind a commit.
    pub(super) fn target(&mut self, position: u64, len: usize) -> [&mut [u8]; 2] {
        let [(at, front), (_, back)] = self.parts(position, len);
        // SAFETY: `parts` stays within the ring, which is mapped and not accessed concurrently: see `new`.
        // The two parts do not overlap, because `len` is at most the size of the ring.
        unsafe {
            [
                std::slice::from_raw_parts_mut(self.start.add(at), front),
                std::slice::from_raw_parts_mut(self.start, back),
            ]
        }
    }

    /// Sets or clears a bit of the byte at `position`, with a single store.
    pub(crate) fn set_bit(&mut self, position: u64, bit: u8, is_set: bool) {
        let [(at, _), _] = self.parts(position, 1);
        // SAFETY: `parts` stays within the ring, which is mapped and not accessed concurrently: see `new`.
        // Every bit pattern is valid for a byte.
        let byte = unsafe { AtomicU8::from_ptr(self.start.add(at)) };
        let old = byte.load(Ordering::Relaxed);
        byte.store(if is_set { old | bit } else { old & !bit }, Ordering::Release);
    }

    /// Copies the `len` bytes at `from` to `to`. The two ranges do not overlap.
    pub(crate) fn copy(&mut self, from: u64, to: u64, len: usize) {
        debug_assert!({
            let distance =
                (self.size as u64 + to % self.size as u64 - from % self.size as u64) % self.size as u64;
            len as u64 <= distance && distance + len as u64 <= self.size as u64 || len == 0
        });
        let mut done = 0;
        while done < len {
            let [(source, readable), _] = self.parts(from + done as u64, len - done);
            let [(target, writable), _] = self.parts(to + done as u64, len - done);
            let step = readable.min(writable);
            // SAFETY: both ranges lie within the ring, and the caller guarantees that they do not overlap.
            unsafe { ptr::copy_nonoverlapping(self.start.add(source), self.start.add(target), step) };
            done += step;
        }
    }

    /// Writes `len` zeros to `position`.
    pub(crate) fn zero(&mut self, position: u64, len: usize) {
        let [(at, front), (_, back)] = self.parts(position, len);
        // SAFETY: as in `write`.
        unsafe {
            ptr::write_bytes(self.start.add(at), 0, front);
            ptr::write_bytes(self.start, 0, back);
        }
    }

    /// The parts of `len` bytes at `position`: offset and length up to the end of the ring, then from its
    /// start.
    fn parts(&self, position: u64, len: usize) -> [(usize, usize); 2] {
        assert!(len <= self.size, "{len} bytes in a ring of {}", self.size);
        let size = self.size as u64;
        // A position below the size, the frequent case, needs no division.
        let at = if position < size { position } else { position % size } as usize;
        let front = len.min(self.size - at);
        [(at, front), (0, len - front)]
    }
}

/// Allocates the memory of the file.
fn reserve(file: &File, size: u64) -> io::Result<()> {
    let size = i64::try_from(size).map_err(io::Error::other)?;
    Ok(nix::fcntl::posix_fallocate(file, 0, size)?)
}

fn header(geometry: Geometry, uid: u32, life: u64) -> [u8; HEADER_SIZE] {
    let mut header = [0; HEADER_SIZE];
    let mut at = 0;
    let mut put = |bytes: &[u8]| {
        header[at..at + bytes.len()].copy_from_slice(bytes);
        at += bytes.len();
    };
    put(&MAGIC);
    put(&ENDIANNESS.to_ne_bytes());
    put(&FORMAT.to_ne_bytes());
    put(&geometry.mailboxes.to_ne_bytes());
    put(&uid.to_ne_bytes());
    put(&geometry.capacity.to_ne_bytes());
    put(&life.to_ne_bytes());
    header[PACKET_AT..RETIRED_AT].copy_from_slice(&geometry.packet.to_ne_bytes());
    header[EPOCH_AT..CHECKSUM_AT].copy_from_slice(&1u64.to_ne_bytes());
    let sum = checksum(&header[..PACKET_AT]);
    header[CHECKSUM_AT..].copy_from_slice(&sum.to_ne_bytes());
    header
}

/// A random number of at most 53 bits. A client can store it exactly even as a floating-point number.
fn random() -> io::Result<u64> {
    let mut bytes = [0; 8];
    File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    Ok(u64::from_ne_bytes(bytes) >> 11)
}

/// Reads and checks a header. Returns the geometry and the life.
fn check(file: &File) -> Result<(Geometry, u64), SegmentError> {
    let mut header = [0; HEADER_SIZE];
    match file.read_exact_at(&mut header, 0) {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
            return Err(SegmentError::Foreign("is shorter than its header"));
        }
        result => result?,
    }
    let u32_at = |at: usize| u32::from_ne_bytes(header[at..at + 4].try_into().expect("four bytes"));
    let u64_at = |at: usize| u64::from_ne_bytes(header[at..at + 8].try_into().expect("eight bytes"));
    if header[..8] != MAGIC {
        return Err(SegmentError::Foreign("was not made by dipc"));
    }
    if u32_at(8) != ENDIANNESS {
        return Err(SegmentError::Foreign("was made on a machine with another byte order"));
    }
    if u32_at(12) != FORMAT {
        return Err(SegmentError::Foreign("has the format of another version of dipc"));
    }
    if u64_at(CHECKSUM_AT) != checksum(&header[..PACKET_AT]) {
        return Err(SegmentError::Foreign("has a damaged header"));
    }
    let geometry = Geometry { mailboxes: u32_at(16), capacity: u64_at(24), packet: u64_at(PACKET_AT) };
    Ok((geometry, u64_at(32)))
}

/// FNV-1a, 64 bits. Source: <http://www.isthe.com/chongo/tech/comp/fnv/>
fn checksum(bytes: &[u8]) -> u64 {
    bytes
        .iter()
        .fold(0xcbf2_9ce4_8422_2325, |sum, byte| (sum ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}

#[cfg(all(test, not(feature = "loom")))]
pub(super) mod tests;
