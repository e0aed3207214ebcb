//! The control area of a mailbox, and how a reader without a grant proves that its copy is whole.
//!
//! ```text
//!     word = held << 63 | seq << 1 | active     begun = seq of the change that has begun last
//! ```
//!
//! A reader loads the word. If the mailbox is not held, that instant is the instant of the read. The reader
//! copies what the active record describes, and then looks at `begun`. The change after the state with the
//! number `seq` overwrites none of the state's bytes; the change after that one may. The server stores
//! `begun` before any other store of a change, with a fence behind it. So the copy is one of state `seq` if
//! `begun` is at most `seq + 1` afterwards.
//!
//! The marks of holes and their number are changed in place. They belong to the state only if no change has
//! begun: `begun` is `seq`.

use super::Failed;
use super::miss::Miss;
use super::record::{Holes, Record};
use super::sync::{AtomicU32, AtomicU64, Ordering, fence};

/// The bit of the word of a mailbox that is locked, or whose last take is not acknowledged.
const HELD: u64 = 1 << 63;

/// The control area, as the server lays it out in the segment.
#[derive(Debug)]
#[repr(C, align(128))]
pub(super) struct Control {
    word: AtomicU64,
    records: [Slot; 2],
    begun: AtomicU64,
    bell: AtomicU32,
    holes: AtomicU32,
    newest: AtomicU64,
}

#[cfg(not(feature = "loom"))]
const _: () = assert!(size_of::<Control>() == 128, "part of the layout of the segment");

#[derive(Debug)]
#[repr(C)]
struct Slot {
    version: AtomicU64,
    head: AtomicU64,
    tail: AtomicU64,
    last: AtomicU64,
    count: AtomicU64,
    checksum: AtomicU64,
}

/// A state of a mailbox that was active when its word was loaded.
#[derive(Clone, Copy, Debug)]
pub(super) struct State {
    pub record: Record,
    seq: u64,
}

impl Control {
    /// The active state, unless the mailbox is held.
    pub(super) fn load(&self) -> Result<State, Failed> {
        let word = self.word.load(Ordering::Acquire);
        match word & HELD == 0 {
            true => self.state(word),
            false => Err(Failed::Final(Miss::Held)),
        }
    }

    /// The active state.
    pub(super) fn load_even_held(&self) -> Result<State, Failed> {
        self.state(self.word.load(Ordering::Acquire) & !HELD)
    }

    #[inline]
    fn state(&self, word: u64) -> Result<State, Failed> {
        let slot = &self.records[(word & 1) as usize];
        let state = State { record: slot.load(), seq: word >> 1 };
        match slot.checksum.load(Ordering::Relaxed) == state.record.checksum() {
            true if state.record.is_consistent() => Ok(state),
            _ => Err(self.damaged(&state)),
        }
    }

    /// Whether everything that was copied since the state was loaded belongs to that state. `with_holes`:
    /// also the holes and their number.
    pub(super) fn is_unchanged(&self, state: &State, with_holes: bool) -> bool {
        // Together with the fence behind the store of `begun`: if one of the copied bytes was stored by a
        // later change, `begun` is that of the change.
        fence(Ordering::Acquire);
        let begun = self.begun.load(Ordering::Relaxed);
        if with_holes { begun == state.seq } else { begun <= state.seq + 1 }
    }

    /// The reason for contents that no server writes: they are damaged, or were changed meanwhile.
    pub(super) fn damaged(&self, state: &State) -> Failed {
        match self.is_unchanged(state, true) {
            true => Failed::Final(Miss::Damaged),
            false => Failed::Changed,
        }
    }

    /// The number of holes, and the place of the newest message.
    pub(super) fn holes(&self) -> Holes {
        match self.holes.load(Ordering::Acquire) {
            0 => Holes::default(),
            count => {
                let newest = self.newest.load(Ordering::Relaxed);
                Holes { count, trailing: newest >> 32, distance: newest & u64::from(u32::MAX) }
            }
        }
    }

    /// The word that changes when a change is announced to waiting processes.
    pub(super) fn bell(&self) -> &AtomicU32 {
        &self.bell
    }
}

impl Slot {
    fn load(&self) -> Record {
        Record {
            version: self.version.load(Ordering::Relaxed),
            head: self.head.load(Ordering::Relaxed),
            tail: self.tail.load(Ordering::Relaxed),
            last: self.last.load(Ordering::Relaxed),
            count: self.count.load(Ordering::Relaxed),
        }
    }
}

#[cfg(all(test, feature = "loom"))]
mod model;
