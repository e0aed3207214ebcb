//! All interleavings and reorderings of a reader beside a server that changes the mailbox, and of a waiter
//! beside one that rings the bell: `cargo test -p dipc-client --features loom model`.
//!
//! The server here stores what the server stores. Its own model checks it beside such a reader.

use loom::sync::{Arc, Condvar, Mutex};
use loom::thread;

use super::*;
use crate::local::waiters;

/// Changes of a model. The third one overwrites the bytes of the first.
const CHANGES: u64 = 3;

/// The control area of a mailbox, and a ring with room for two messages of two words.
struct Memory {
    control: Control,
    ring: [[AtomicU64; 2]; 2],
}

impl Memory {
    fn new() -> Arc<Self> {
        let word = || AtomicU64::new(0);
        let slot = || Slot {
            version: word(),
            head: word(),
            tail: word(),
            last: word(),
            count: word(),
            checksum: word(),
        };
        let control = Control {
            word: word(),
            records: [slot(), slot()],
            begun: word(),
            bell: AtomicU32::new(0),
            holes: AtomicU32::new(0),
            newest: word(),
        };
        let memory = Memory { control, ring: [[word(), word()], [word(), word()]] };
        memory.store(0, Record { version: 0, head: 0, tail: 0, last: 0, count: 0 });
        Arc::new(memory)
    }

    fn store(&self, index: usize, record: Record) {
        let slot = &self.control.records[index];
        slot.version.store(record.version, Ordering::Relaxed);
        slot.head.store(record.head, Ordering::Relaxed);
        slot.tail.store(record.tail, Ordering::Relaxed);
        slot.last.store(record.last, Ordering::Relaxed);
        slot.count.store(record.count, Ordering::Relaxed);
        slot.checksum.store(record.checksum(), Ordering::Relaxed);
    }

    /// Writes the message of a version. `held` is the bit of the word before and after.
    fn write(&self, version: u64, held: u64) {
        let half = version & 1;
        self.control.begun.store(version, Ordering::Relaxed);
        fence(Ordering::SeqCst);
        self.ring[half as usize].iter().for_each(|word| word.store(version, Ordering::Relaxed));
        let head = half * 100;
        self.store(half as usize, Record { version, head, last: head, tail: head + 20, count: 1 });
        self.control.word.store(held | version << 1 | half, Ordering::Release);
    }

    /// The version of the message; `None` if the read is refused.
    fn read(&self) -> Option<u64> {
        let state = self.control.load();
        let state = match state {
            Ok(state) => state,
            Err(Failed::Final(Miss::Damaged)) => panic!("a whole record is not damaged"),
            Err(_) => return None,
        };
        let half = (state.record.head / 100) as usize & 1;
        let [front, back] = [0, 1].map(|index| self.ring[half][index].load(Ordering::Relaxed));
        if !self.control.is_unchanged(&state, false) {
            return None;
        }
        let version = state.record.version;
        assert_eq!((front, back, state.seq), (version, version, version), "a torn copy");
        Some(version)
    }
}

fn check(model: impl Fn() + Send + Sync + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(2);
    builder.check(model);
}

#[test]
fn model_a_read_copies_one_state() {
    check(|| {
        let memory = Memory::new();
        let server = Arc::clone(&memory);
        let server = thread::spawn(move || (1..=CHANGES).for_each(|version| server.write(version, 0)));
        memory.read();
        server.join().expect("no panic");
        assert_eq!(memory.read(), Some(CHANGES));
    });
}

#[test]
fn model_a_read_returns_no_message_of_a_holder() {
    check(|| {
        let memory = Memory::new();
        let server = Arc::clone(&memory);
        let server = thread::spawn(move || {
            server.control.word.store(HELD, Ordering::Release);
            server.write(1, HELD);
            server.write(2, HELD);
            server.control.word.store(2 << 1, Ordering::Release);
        });
        assert_ne!(memory.read(), Some(1), "an unfinished message");
        server.join().expect("no panic");
        assert_eq!(memory.read(), Some(2));
    });
}

/// A lost wake-up is a waiter that sleeps for ever; loom reports that as a deadlock.
#[test]
fn model_a_waiter_hears_of_the_change() {
    struct Shared {
        version: AtomicU64,
        flag: AtomicU32,
        bell: AtomicU32,
        kernel: Mutex<()>,
        rung: Condvar,
    }
    check(|| {
        let shared = Arc::new(Shared {
            version: AtomicU64::new(0),
            flag: AtomicU32::new(0),
            bell: AtomicU32::new(0),
            kernel: Mutex::new(()),
            rung: Condvar::new(),
        });
        let waiter = Arc::clone(&shared);
        let waiter = thread::spawn(move || {
            let mut version = 0;
            while version < 2 {
                let seen = waiters::announce([&waiter.flag].into_iter(), &[&waiter.bell]);
                let found = waiter.version.load(Ordering::Relaxed);
                if found > version {
                    version = found;
                    continue;
                }
                let kernel = waiter.kernel.lock().expect("no panic");
                if waiter.bell.load(Ordering::Relaxed) == seen[0] {
                    drop(waiter.rung.wait(kernel).expect("no panic"));
                }
            }
        });
        for version in 1..=2 {
            shared.version.store(version, Ordering::Release);
            fence(Ordering::SeqCst);
            if shared.flag.load(Ordering::Relaxed) != 0 && shared.flag.swap(0, Ordering::SeqCst) != 0 {
                shared.bell.fetch_add(1, Ordering::SeqCst);
                let _kernel = shared.kernel.lock().expect("no panic");
                shared.rung.notify_all();
            }
        }
        waiter.join().expect("no panic");
    });
}
