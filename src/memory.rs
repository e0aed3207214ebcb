//! The memory that the server has allocated for clients, and its limit.
//!
//! [`CountingAllocator`] counts all allocated bytes of the process. The bytes that the process allocates
//! after `set_limit` are counted as memory of the clients: buffers, jobs, answers, watches, locks and names.
//! A request that needs memory asks for it first, with `reserve` or `has_room`. If there is none, the reactor
//! frees some, or the request is refused.

use std::alloc::{GlobalAlloc, Layout, System};
use std::ptr;
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicUsize, Ordering};

/// Bytes that the allocator adds to each allocation, as a mean.
const OVERHEAD: usize = 16;

/// Largest allocation that is served from the spare memory if the system has no memory left.
const SMALL: usize = 64 * 1024;

/// The spare memory.
const SPARE: Layout = match Layout::from_size_align(1024 * 1024, 4096) {
    Ok(layout) => layout,
    Err(_) => panic!("a valid layout"),
};

/// One in this number of bytes of the limit is kept for [`Use::Brief`].
const BRIEF_SHARE: usize = 8;

/// Allocations of at least this size are mapped one by one, and unmapped when they are freed. Smaller ones
/// come from the heap of the allocator, which keeps freed memory for later.
const MAPPED_MIN: nix::libc::c_int = 256 * 1024;

/// Allocated bytes of the process.
static ALLOCATED: AtomicUsize = AtomicUsize::new(0);
/// Bytes that threads are about to allocate.
static CLAIMED: AtomicUsize = AtomicUsize::new(0);
/// Bytes that the process had allocated when the limit was set.
static BASE: AtomicUsize = AtomicUsize::new(0);
static LIMIT: AtomicUsize = AtomicUsize::new(usize::MAX);
/// Memory that is freed when the system has no memory left, so that small allocations still succeed. Null if
/// it was freed, or before `set_limit`.
static SPARE_MEMORY: AtomicPtr<u8> = AtomicPtr::new(ptr::null_mut());

/// Whether the system has refused an allocation.
static REFUSED: AtomicBool = AtomicBool::new(false);

/// The allocator of the system, with a count of the allocated bytes. A program makes it its allocator with
/// `#[global_allocator]`.
#[derive(Debug)]
pub struct CountingAllocator;

#[allow(unsafe_code, reason = "an allocator has no safe interface")]
// SAFETY: every method passes its arguments to the allocator of the system and returns its result. The
// arguments meet the same contract, GlobalAlloc. A method that frees the spare memory and tries again has got
// a null pointer before, so nothing was allocated. The count is only changed by atomic operations, which do
// not allocate.
unsafe impl GlobalAlloc for CountingAllocator {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: see above.
        allocate(layout.size(), || unsafe { System.alloc(layout) })
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: see above.
        allocate(layout.size(), || unsafe { System.alloc_zeroed(layout) })
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        ALLOCATED.fetch_sub(layout.size() + OVERHEAD, Ordering::Relaxed);
        // SAFETY: see above.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // SAFETY: see above. A failed call leaves the old memory as it is.
        let moved = allocate(size, || unsafe { System.realloc(pointer, layout, size) });
        if !moved.is_null() {
            ALLOCATED.fetch_sub(layout.size() + OVERHEAD, Ordering::Relaxed);
        }
        moved
    }
}

/// Counts an allocation. If the system refuses a small one, frees the spare memory and tries again.
#[inline]
fn allocate(size: usize, allocate: impl Fn() -> *mut u8) -> *mut u8 {
    let mut pointer = allocate();
    if pointer.is_null() {
        REFUSED.store(true, Ordering::Relaxed);
        if size <= SMALL && free_spare() {
            pointer = allocate();
        }
    }
    if !pointer.is_null() {
        ALLOCATED.fetch_add(size + OVERHEAD, Ordering::Relaxed);
    }
    pointer
}

/// Frees the spare memory. Returns false if there is none.
#[allow(unsafe_code, reason = "the allocator of the system has no safe interface")]
#[cold]
fn free_spare() -> bool {
    let spare = SPARE_MEMORY.swap(ptr::null_mut(), Ordering::AcqRel);
    if !spare.is_null() {
        // SAFETY: `spare` was allocated by `refill_spare` with this layout. The swap passes it to one thread.
        unsafe { System.dealloc(spare, SPARE) };
    }
    !spare.is_null()
}

/// Allocates the spare memory unless it is there. Returns whether it is there. To be called by one thread.
#[allow(unsafe_code, reason = "the allocator of the system has no safe interface")]
pub(crate) fn refill_spare() -> bool {
    if SPARE_MEMORY.load(Ordering::Acquire).is_null() {
        // SAFETY: the layout has a size above 0.
        let spare = unsafe { System.alloc(SPARE) };
        SPARE_MEMORY.store(spare, Ordering::Release);
        return !spare.is_null();
    }
    true
}

/// For how long memory is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Use {
    /// For a small request. A part of the limit is kept for this use, so small requests are still served when
    /// other clients have filled the rest.
    Brief,
    /// For a large message, or for something that outlives its request.
    Lasting,
}

/// The system has no memory left, or the limit is reached.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Exhausted;

/// Limits the memory that is allocated from now on.
#[allow(unsafe_code, reason = "mallopt has no safe interface")]
pub(crate) fn set_limit(limit: usize) {
    #[cfg(target_env = "gnu")]
    // SAFETY: mallopt takes two numbers and may be called at any time. Source: mallopt(3).
    unsafe {
        nix::libc::mallopt(nix::libc::M_MMAP_THRESHOLD, MAPPED_MIN);
    }
    refill_spare();
    let base = ALLOCATED.load(Ordering::Relaxed);
    BASE.store(base, Ordering::Relaxed);
    LIMIT.store(base.saturating_add(limit), Ordering::Relaxed);
}

/// Bytes that are allocated for clients.
pub(crate) fn used() -> usize {
    ALLOCATED.load(Ordering::Relaxed).saturating_sub(BASE.load(Ordering::Relaxed))
}

/// Whether `bytes` may be allocated.
#[inline]
pub(crate) fn has_room(bytes: usize, usage: Use) -> bool {
    !is_spare_used() && has_room_beside(bytes, usage, CLAIMED.load(Ordering::Relaxed))
}

fn has_room_beside(bytes: usize, usage: Use, claimed: usize) -> bool {
    let (limit, base) = (LIMIT.load(Ordering::Relaxed), BASE.load(Ordering::Relaxed));
    let kept = if usage == Use::Lasting { (limit - base) / BRIEF_SHARE } else { 0 };
    let allocated = ALLOCATED.load(Ordering::Relaxed);
    allocated.saturating_add(claimed).saturating_add(bytes) <= limit - kept
}

/// Whether the spare memory was freed, because the system had no memory left.
fn is_spare_used() -> bool {
    LIMIT.load(Ordering::Relaxed) != usize::MAX && SPARE_MEMORY.load(Ordering::Relaxed).is_null()
}

/// Whether the system has `bytes` more memory. It is only asked after it has refused an allocation.
pub(crate) fn is_available(bytes: usize) -> bool {
    if REFUSED.load(Ordering::Relaxed) {
        REFUSED.store(Vec::<u8>::new().try_reserve_exact(bytes).is_err(), Ordering::Relaxed);
    }
    !REFUSED.load(Ordering::Relaxed)
}

/// Makes room for `additional` bytes after the content of a buffer.
///
/// # Errors
///
/// [`Exhausted`] if the buffer has to grow and the limit is reached or the system has no memory. The buffer
/// is unchanged then.
#[inline]
pub(crate) fn reserve(buffer: &mut Vec<u8>, additional: usize) -> Result<(), Exhausted> {
    if buffer.capacity() - buffer.len() >= additional {
        return Ok(());
    }
    grow(buffer, additional)
}

#[cold]
fn grow(buffer: &mut Vec<u8>, additional: usize) -> Result<(), Exhausted> {
    let missing = additional - (buffer.capacity() - buffer.len());
    // A buffer that grows often doubles, unless the memory does not suffice.
    if missing < buffer.capacity() {
        let doubled = buffer.capacity() * 2 - buffer.len();
        if claim(buffer.capacity(), || buffer.try_reserve_exact(doubled).is_ok()) {
            return Ok(());
        }
    }
    match claim(missing, || buffer.try_reserve_exact(additional).is_ok()) {
        true => Ok(()),
        false => Err(Exhausted),
    }
}

/// The use of a buffer that grows by `bytes`.
pub(crate) fn use_of_buffer(bytes: usize) -> Use {
    if bytes > SMALL { Use::Lasting } else { Use::Brief }
}

/// Calls `allocate` if there is room for `bytes`. Meanwhile the room is not given to another thread.
fn claim(bytes: usize, allocate: impl FnOnce() -> bool) -> bool {
    let claimed = CLAIMED.fetch_add(bytes, Ordering::Relaxed);
    let has_room = !is_spare_used() && has_room_beside(bytes, use_of_buffer(bytes), claimed);
    let is_allocated = has_room && allocate();
    CLAIMED.fetch_sub(bytes, Ordering::Relaxed);
    is_allocated
}
