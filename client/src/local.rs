//! Local readers: processes of the same user on the same machine read mailboxes in the shared memory, without
//! a request to the server.
//!
//! ```no_run
//! use std::time::Duration;
//! use dipc_client::local::{Cursor, Local, Miss};
//!
//! let local = Local::open(5000)?;
//! let mut bytes = Vec::new();
//! match local.read(3, &mut bytes) {
//!     Ok(message) => println!("version {}: {} bytes", message.version, bytes.len()),
//!     Err(Miss::Held) => println!("a client has locked the mailbox"),
//!     Err(miss) => println!("{miss}"),
//! }
//!
//! // Each message once, in order. `wait` sleeps until there is a newer one.
//! let mut cursor = Cursor::new(3);
//! while local.wait(&[(3, cursor.version())], Some(Duration::from_secs(5)))? {
//!     while let Some(message) = local.after(&mut cursor, &mut bytes)? {
//!         println!("version {}, {} lost before it", message.version, message.lost);
//!     }
//! }
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! A read returns the message that the mailbox had at one instant between its begin and its end, as a request
//! `r` does, and is never a mixture of two messages. It takes about as long as the copy of the bytes. Writers
//! do not wait for local readers, and local readers never wait for writers.
//!
//! A local read is different from a request in these points:
//!
//! - It stands in no queue. A request that has waited longer does not come before it.
//! - It is not in `stat`, and does not renew a lease. `ERR lease` does not reach it.
//! - A mailbox that a client has locked exclusively, or whose last `take` is not acknowledged, is not read:
//!   [`Miss::Held`], also for the holder of the lock itself. A [`Reader`] then asks the server.
//! - It works while no server runs. If the server was killed, a mailbox that was held stays so until the next
//!   start.
//!
//! The mailboxes of an instance can be removed or replaced: `dipcrm`, `--fresh`, `--resize`, or the removal
//! of their files. A local reader then refuses with [`Miss::Retired`], and [`Local::reopen`] opens the new
//! ones. A restart or a takeover of the server keeps the mailboxes, and the reader continues.
//!
//! Other processes of the user are trusted not to truncate the files of the instance. Any contents of these
//! files are safe: damaged ones are [`Miss::Damaged`].
//!
//! # Reading order
//!
//! | module | content |
//! |---|---|
//! | `local` | [`Local`]: opens the files of an instance; the reads, and the checks around them |
//! | `control`, `record`, `list` | the protocol of a read: one state, its fields, its messages |
//! | `cursor`, `miss`, `reader` | [`Cursor`], [`Miss`], [`Reader`] |
//! | `files`, `header`, `names` | finds and checks the files; their contents |
//! | `waiters` | waits for changes |
//! | `map`, `racy`, `system` | mapped memory, copies of it, system calls; all `unsafe` code |

mod control;
mod cursor;
mod files;
mod header;
mod list;
mod map;
mod miss;
mod names;
mod racy;
mod reader;
mod record;
mod sync;
mod system;
mod waiters;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use control::{Control, State};
pub use cursor::Cursor;
use cursor::Place;
use files::Instance;
use header::Header;
use list::{Entry, List};
use map::Map;
pub use miss::Miss;
pub use reader::Reader;
use waiters::Waiters;

/// Number of tries to copy a message that changes meanwhile. A try fails if two changes begin during it.
const TRIES: usize = 8;

/// Largest number of mailboxes of one [`Local::wait`].
pub const WAIT_MAX: usize = 128;

/// Longest sleep of a wait. Afterwards the files are looked at again: a server that was killed rings no bell.
const WAIT_SLICE: Duration = Duration::from_secs(1);

/// The properties of a message that was read. Its bytes are in the buffer of the caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Copied {
    /// The version of the message. After [`Local::read`] it is that of the mailbox, also if a newer message
    /// was removed.
    pub version: u64,
    /// The number of messages in the mailbox. 0 means that the mailbox is empty and there is no message.
    pub count: u64,
    /// The number of messages between the cursor and this message that no longer exist. 0 without a cursor.
    pub lost: u64,
}

/// The mailboxes of an instance in the shared memory. It opens the segment only for reading.
///
/// Several threads may use it at the same time.
#[derive(Debug)]
pub struct Local {
    base: PathBuf,
    port: u16,
    segment: Segment,
    waiters: Mutex<Option<Waiters>>,
    /// The second of the last look at the name of the segment.
    looked: AtomicI64,
    /// Whether the segment has lost its name.
    is_unlinked: AtomicBool,
}

/// The mapped segment.
#[derive(Debug)]
struct Segment {
    instance: Instance,
    file: std::fs::File,
    map: Map,
    header: Header,
    /// Distinguishes this mapping from all others of this process.
    number: u64,
}

/// Why one try of a read has no result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Failed {
    /// The mailbox was changed meanwhile.
    Changed,
    /// Another try would have the same result.
    Final(Miss),
}

impl Local {
    /// Opens the instance of `port` in the default directory of the server: the environment variable
    /// `DIPC_DIR`, or `/dev/shm/dipc-UID`.
    ///
    /// Fails with [`NotFound`](io::ErrorKind::NotFound) if there is no such instance, with
    /// [`PermissionDenied`](io::ErrorKind::PermissionDenied) if its directory is not this user's alone, and
    /// with [`InvalidData`](io::ErrorKind::InvalidData) if its segment is not one of this version of dipc.
    pub fn open(port: u16) -> io::Result<Self> {
        let base = std::env::var_os("DIPC_DIR").filter(|base| !base.is_empty());
        match base {
            Some(base) => Local::open_in(base, port),
            None => Local::open_in(format!("/dev/shm/dipc-{}", system::user()), port),
        }
    }

    /// Opens the instance of `port` in the directory `base`, that of the server's option `--dir`. Fails as
    /// [`Local::open`] does.
    pub fn open_in(base: impl AsRef<Path>, port: u16) -> io::Result<Self> {
        let base = base.as_ref().to_owned();
        let segment = Segment::open(&base, port)?;
        Ok(Local {
            base,
            port,
            segment,
            waiters: Mutex::new(None),
            looked: AtomicI64::new(system::seconds()),
            is_unlinked: AtomicBool::new(false),
        })
    }

    /// Opens the mailboxes of the same instance again, after [`Miss::Retired`]. If that fails, this reader is
    /// not changed. Fails as [`Local::open`] does.
    pub fn reopen(&mut self) -> io::Result<()> {
        *self = Local::open_in(&self.base, self.port)?;
        Ok(())
    }

    /// Number of mailboxes. The last one has the number `mailboxes - 1`.
    pub fn mailboxes(&self) -> u32 {
        self.segment.header.mailboxes
    }

    /// Bytes that each mailbox can hold.
    pub fn capacity(&self) -> u64 {
        self.segment.header.capacity
    }

    /// The random number that was made with the mailboxes, as in [`Hello::life`](crate::Hello::life).
    pub fn life(&self) -> u64 {
        self.segment.header.life
    }

    /// The number of the mailbox with this name.
    pub fn find(&self, name: &str) -> Option<u32> {
        names::find(&self.segment.map, &self.segment.header, name.as_bytes())
    }

    /// Copies the newest message into `buffer`, in place of its contents. For an empty mailbox the buffer is
    /// empty and [`Copied::count`] is 0.
    pub fn read(&self, mailbox: u32, buffer: &mut Vec<u8>) -> Result<Copied, Miss> {
        self.read_part(mailbox, 0, u64::MAX, buffer)
    }

    /// Copies at most `len` bytes of the newest message from byte `offset` on into `buffer`, in place of its
    /// contents. A part beyond the end of the message is empty.
    pub fn read_part(
        &self,
        mailbox: u32,
        offset: u64,
        len: u64,
        buffer: &mut Vec<u8>,
    ) -> Result<Copied, Miss> {
        self.with_tries(mailbox, |control, state| {
            let list = self.list(mailbox, control, state);
            let entry = list.newest().map_err(|_| control.damaged(state))?;
            self.copy(mailbox, entry, offset, len, buffer);
            match control.is_unchanged(state, list.needs_whole_state()) {
                true => Ok(Copied { version: state.record.version, count: list.count(), lost: 0 }),
                false => Err(Failed::Changed),
            }
        })
    }

    /// The version of the newest message that was ever stored in the mailbox; 0 before the first one.
    pub fn version(&self, mailbox: u32) -> Result<u64, Miss> {
        self.with_tries(mailbox, |control, state| match control.is_unchanged(state, false) {
            true => Ok(state.record.version),
            false => Err(Failed::Changed),
        })
    }

    /// Copies the oldest message that is newer than the cursor into `buffer`, in place of its contents, and
    /// moves the cursor to it. Returns `None`, and leaves the buffer empty, if there is no newer message.
    ///
    /// Fails with [`Miss::Ahead`] if the mailbox has not reached the version of the cursor, or if the cursor
    /// is one of other mailboxes, which have been replaced.
    pub fn after(&self, cursor: &mut Cursor, buffer: &mut Vec<u8>) -> Result<Option<Copied>, Miss> {
        let (mailbox, from, life) = (cursor.mailbox, cursor.version, self.life());
        buffer.clear();
        let (copied, end) = self.with_tries(mailbox, |control, state| {
            let epoch = self.segment.epoch();
            if !control.is_unchanged(state, false) {
                return Err(Failed::Changed);
            }
            if from > state.record.version || cursor.life.is_some_and(|known| known != life) {
                return Err(Failed::Final(Miss::Ahead { version: state.record.version }));
            }
            let place = cursor.place.filter(|place| place.is_of(self.segment.number, epoch));
            let list = self.list(mailbox, control, state);
            let found = list.after(from, place).map_err(|_| control.damaged(state))?;
            if let Some(found) = &found {
                self.copy(mailbox, found.entry, 0, u64::MAX, buffer);
            }
            let is_whole = control.is_unchanged(state, list.needs_whole_state())
                || found.as_ref().is_some_and(|found| {
                    !list.needs_whole_state() && self.still_has(control, found.first_visited, epoch)
                });
            if !is_whole {
                return Err(Failed::Changed);
            }
            Ok(match found {
                None => (None, None),
                Some(found) => {
                    let lost = found.version - from - 1;
                    let copied = Copied { version: found.version, count: list.count(), lost };
                    let place = Place { mapping: self.segment.number, epoch, next: found.entry.end() };
                    (Some(copied), Some(place))
                }
            })
        })?;
        cursor.life = Some(life);
        if let Some(copied) = copied {
            (cursor.version, cursor.place) = (copied.version, end);
        }
        Ok(copied)
    }

    /// Waits until one of the mailboxes has a message that is newer than the version beside it, at most
    /// [`WAIT_MAX`] mailboxes. Returns false if there is none within `timeout`; `None` waits without a limit.
    ///
    /// A wait stands in no queue: a client may take the message before the caller reads it. While a mailbox
    /// is held it has no newer message. Fails with [`Miss::TooMany`] for more mailboxes, and as soon as the
    /// mailboxes are removed or replaced with [`Miss::Retired`].
    pub fn wait(&self, positions: &[(u32, u64)], timeout: Option<Duration>) -> Result<bool, Miss> {
        if positions.len() > WAIT_MAX {
            return Err(Miss::TooMany);
        }
        let deadline = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
        let mut remaining = timeout;
        loop {
            self.look_at_name();
            if self.has_news(positions)? {
                return Ok(true);
            }
            if remaining.is_some_and(|remaining| remaining.is_zero()) {
                return Ok(false);
            }
            let slice = remaining.map_or(WAIT_SLICE, |remaining| remaining.min(WAIT_SLICE));
            self.sleep(positions, slice)?;
            remaining = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
        }
    }

    /// Sleeps until a bell of the mailboxes rings, unless there is news already.
    fn sleep(&self, positions: &[(u32, u64)], slice: Duration) -> Result<(), Miss> {
        let mut bells = Vec::with_capacity(positions.len());
        for &(mailbox, _) in positions {
            bells.push(self.control(mailbox)?.bell());
        }
        let Some(waiters) = self.waiters() else {
            // Without the flags no server rings a bell.
            std::thread::sleep(slice.min(waiters::POLL));
            return Ok(());
        };
        let numbers = positions.iter().map(|&(mailbox, _)| mailbox);
        let seen = waiters.announce(numbers, &bells);
        if !self.has_news(positions)? {
            system::wait_for_change(&bells, &seen, slice);
        }
        Ok(())
    }

    /// The flags of the present server.
    fn waiters(&self) -> Option<Waiters> {
        let mut waiters = self.waiters.lock().unwrap_or_else(PoisonError::into_inner);
        if waiters.as_ref().is_none_or(Waiters::is_unlinked) {
            *waiters = Waiters::open(&self.segment.instance, self.mailboxes()).ok();
        }
        waiters.clone()
    }

    /// Whether a mailbox has a newer message. A mailbox that is held or changes all the time has none: its
    /// bell rings when that ends.
    fn has_news(&self, positions: &[(u32, u64)]) -> Result<bool, Miss> {
        for &(mailbox, version) in positions {
            match self.newest(mailbox) {
                Ok(newest) if newest > version => return Ok(true),
                Ok(_) | Err(Miss::Held | Miss::Busy) => {}
                Err(miss) => return Err(miss),
            }
        }
        Ok(false)
    }

    /// The version of the newest message; 0 if there is none.
    fn newest(&self, mailbox: u32) -> Result<u64, Miss> {
        self.with_tries(mailbox, |control, state| {
            let list = self.list(mailbox, control, state);
            let newest = list.newest_version();
            match control.is_unchanged(state, list.needs_whole_state()) {
                true => newest.map_err(|_| Failed::Final(Miss::Damaged)),
                false => Err(Failed::Changed),
            }
        })
    }

    /// Calls `attempt` with states of the mailbox until it has a result.
    fn with_tries<R>(
        &self,
        mailbox: u32,
        mut attempt: impl FnMut(&Control, &State) -> Result<R, Failed>,
    ) -> Result<R, Miss> {
        self.check_second();
        let control = self.control(mailbox)?;
        for _ in 0..TRIES {
            let loaded = if self.is_retired() { Err(Failed::Final(Miss::Retired)) } else { control.load() };
            let state = loaded.and_then(|state| match state.record.fits(self.capacity()) {
                true => Ok(state),
                false => Err(control.damaged(&state)),
            });
            match state.and_then(|state| attempt(control, &state)) {
                Ok(result) => return Ok(result),
                Err(Failed::Final(miss)) => return Err(miss),
                Err(Failed::Changed) => std::hint::spin_loop(),
            }
        }
        Err(Miss::Busy)
    }

    /// Whether the message of this version is in the mailbox, and was there since `epoch` was loaded: the
    /// bytes of a message are not overwritten as long as it is in its mailbox.
    fn still_has(&self, control: &Control, version: u64, epoch: u64) -> bool {
        let Ok(now) = control.load_even_held() else { return false };
        control.is_unchanged(&now, false)
            && (now.record.first()..=now.record.version).contains(&version)
            && self.segment.epoch() == epoch
    }

    fn list<'a>(&'a self, mailbox: u32, control: &Control, state: &'a State) -> List<'a> {
        List::new(self.segment.ring(mailbox), &state.record, control.holes())
    }

    fn copy(&self, mailbox: u32, entry: Entry, offset: u64, len: u64, buffer: &mut Vec<u8>) {
        let offset = offset.min(entry.len);
        let len = len.min(entry.len - offset);
        self.segment.ring(mailbox).copy(entry.payload() + offset, len as usize, buffer);
    }

    fn control(&self, mailbox: u32) -> Result<&Control, Miss> {
        match mailbox < self.mailboxes() {
            true => Ok(self.segment.map.control(header::control_at(mailbox))),
            false => Err(Miss::NoMailbox { max: self.mailboxes() - 1 }),
        }
    }

    fn is_retired(&self) -> bool {
        self.segment.map.u64(header::RETIRED_AT).load(Ordering::Acquire) != 0
            || self.is_unlinked.load(Ordering::Relaxed)
    }

    /// Looks at the name of the segment if the last look was in another second.
    fn check_second(&self) {
        let now = system::seconds();
        if self.looked.load(Ordering::Relaxed) != now {
            self.looked.store(now, Ordering::Relaxed);
            self.look_at_name();
        }
    }

    fn look_at_name(&self) {
        if files::is_unlinked(&self.segment.file) {
            self.is_unlinked.store(true, Ordering::Relaxed);
        }
    }
}

impl Segment {
    fn open(base: &Path, port: u16) -> io::Result<Self> {
        static NUMBER: AtomicU64 = AtomicU64::new(0);
        let instance = Instance::open(base, port)?;
        let file = instance.segment()?;
        let header = Header::read(&file)?;
        let map = Map::read_only(&file, header.size())?;
        Ok(Segment { instance, file, map, header, number: NUMBER.fetch_add(1, Ordering::Relaxed) })
    }

    /// Number of servers that have used the segment.
    fn epoch(&self) -> u64 {
        self.map.u64(header::EPOCH_AT).load(Ordering::Acquire)
    }

    fn ring(&self, mailbox: u32) -> map::Ring<'_> {
        self.map.ring(self.header.ring_at(mailbox), self.header.ring_size())
    }
}
