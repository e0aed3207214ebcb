//! All interleavings and reorderings of a server that changes a mailbox beside a reader of the shared memory,
//! and beside a process that waits for the bell: `cargo test --lib --features loom model`.
//!
//! The reader here is the one that `dipc_client::local` has. Its own model checks it beside such a server.

use loom::sync::Arc;
use loom::sync::{Condvar, Mutex};
use loom::thread;

use super::super::waiters::take_flag;
use super::*;

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
        control.format();
        Arc::new(Memory { control, ring: [[word(), word()], [word(), word()]] })
    }

    /// Writes the message of a version, as `Block::write` does.
    fn write(&self, version: u64) {
        let half = version & 1;
        self.control.begin();
        self.ring[half as usize].iter().for_each(|word| word.store(version, Ordering::Relaxed));
        let head = half * 100;
        self.control.commit(Record { version, head, last: head, tail: head + 20, count: 1 });
    }

    /// The version of the message; `None` if the mailbox is held or the copy is not whole.
    fn read(&self) -> Option<u64> {
        let word = self.control.word.load(Ordering::Acquire);
        if word & HELD != 0 {
            return None;
        }
        let record = self.control.records[active(word)].load();
        let half = (record.map_or(0, |record| record.head) / 100) as usize & 1;
        let [front, back] = [0, 1].map(|index| self.ring[half][index].load(Ordering::Relaxed));
        fence(Ordering::Acquire);
        if self.control.begun.load(Ordering::Relaxed) > (word >> 1) + 1 {
            return None;
        }
        let version = record.expect("a whole copy of the record").version;
        assert_eq!((front, back, word >> 1), (version, version, version), "a torn copy");
        Some(version)
    }
}

fn check(model: impl Fn() + Send + Sync + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(2);
    builder.check(model);
}

#[test]
fn model_a_local_reader_copies_one_state() {
    check(|| {
        let memory = Memory::new();
        let server = Arc::clone(&memory);
        let server = thread::spawn(move || (1..=CHANGES).for_each(|version| server.write(version)));
        memory.read();
        server.join().expect("no panic");
        assert_eq!(memory.read(), Some(CHANGES));
    });
}

/// A holder writes twice, and only the second message is finished.
#[test]
fn model_a_local_reader_sees_no_message_of_a_holder() {
    check(|| {
        let memory = Memory::new();
        let server = Arc::clone(&memory);
        let server = thread::spawn(move || {
            server.control.set_held(true);
            server.write(1);
            server.write(2);
            server.control.set_held(false);
        });
        assert_ne!(memory.read(), Some(1), "an unfinished message");
        server.join().expect("no panic");
        assert_eq!(memory.read(), Some(2));
    });
}

/// A lost wake-up is a waiter that sleeps for ever; loom reports that as a deadlock.
#[test]
fn model_a_waiter_hears_of_the_change() {
    struct Bell {
        version: AtomicU64,
        flag: AtomicU32,
        bell: AtomicU32,
        kernel: Mutex<()>,
        rung: Condvar,
    }
    check(|| {
        let shared = Arc::new(Bell {
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
                let seen = waiter.bell.load(Ordering::Acquire);
                waiter.flag.store(1, Ordering::Relaxed);
                fence(Ordering::SeqCst);
                let found = waiter.version.load(Ordering::Relaxed);
                if found > version {
                    version = found;
                    continue;
                }
                let kernel = waiter.kernel.lock().expect("no panic");
                if waiter.bell.load(Ordering::Relaxed) == seen {
                    drop(waiter.rung.wait(kernel).expect("no panic"));
                }
            }
        });
        for version in 1..=2 {
            shared.version.store(version, Ordering::Release);
            if take_flag(&shared.flag) {
                shared.bell.fetch_add(1, Ordering::SeqCst);
                let _kernel = shared.kernel.lock().expect("no panic");
                shared.rung.notify_all();
            }
        }
        waiter.join().expect("no panic");
    });
}
