//! Local reads and requests of several processes are one history: linearizable by versions.

use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use dipc::client::local::Miss;

use crate::{Over, Scene, read};

/// `begun` is the highest version of a write that was sent, `done` that of a write that was answered, or was
/// seen by a reader. A read returns at least the version that was done before it began, and at most the
/// version that was begun when it ended.
#[test]
fn local_reads_and_requests_are_linearizable() {
    const WRITES: u64 = 4000;
    let scene = Scene::new("1 64 0 64");
    let local = scene.local();
    let (begun, done, over) = (AtomicU64::new(0), AtomicU64::new(0), Over::default());
    let is_over = over.flag();
    let check = |from: u64, bytes: Vec<u8>, version: u64| {
        assert!(version >= from, "version {version} after {from}");
        assert!(version <= begun.load(Ordering::SeqCst), "version {version} was not written yet");
        let expected = if version == 0 { String::new() } else { format!("message {version}") };
        assert_eq!(bytes, expected.as_bytes());
        done.fetch_max(version, Ordering::SeqCst);
    };
    thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while !is_over.load(Ordering::Relaxed) {
                    let from = done.load(Ordering::SeqCst);
                    match read(&local, 0) {
                        Ok((bytes, version, _)) => check(from, bytes, version),
                        Err(Miss::Busy) => {}
                        Err(miss) => panic!("{miss}"),
                    }
                }
            });
        }
        scope.spawn(|| {
            let mut client = scene.server.connect();
            while !is_over.load(Ordering::Relaxed) {
                let from = done.load(Ordering::SeqCst);
                client.send("r 0\n");
                let (header, bytes) = client.data();
                check(from, bytes, dipc_testkit::client::field(&header, "v"));
            }
        });
        let mut client = scene.server.connect();
        for version in 1..=WRITES {
            begun.store(version, Ordering::SeqCst);
            client.ask(format!("w 0\nmessage {version}\n"), format!("OK v={version}\n"));
            done.fetch_max(version, Ordering::SeqCst);
        }
        drop(over);
    });
}
