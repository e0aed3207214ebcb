//! Waits for changes.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use dipc::client::local::{Cursor, Local, Miss, WAIT_MAX};
use dipc_testkit::instance::BaseDirectory;
use dipc_testkit::port::Port;
use dipc_testkit::wait::{HANG, wait_until};
use dipc_testkit::waiter::Waiter;
use nix::sys::signal::Signal;

use crate::{Over, Scene, read};

#[test]
fn a_wait_ends_with_a_newer_message_or_its_timeout() {
    let scene = Scene::new("4 64 0 64");
    let (local, flags) = (scene.local(), Waiter::open(&scene.base, &scene.server));
    assert_eq!(local.wait(&[(1, 0)], Some(Duration::ZERO)), Ok(false));
    assert_eq!(local.wait(&[(1, 0), (2, 0)], Some(Duration::from_millis(20))), Ok(false));
    assert_eq!(local.wait(&[], Some(Duration::from_millis(1))), Ok(false));
    assert_eq!(local.wait(&[(1, 0); WAIT_MAX + 1], None), Err(Miss::TooMany));
    assert_eq!(local.wait(&[(1, 0), (4, 0)], None), Err(Miss::NoMailbox { max: 3 }));
    let mut client = scene.server.connect();
    client.ask("w 1\nhello\n", "OK v=1\n");
    assert_eq!(local.wait(&[(2, 0), (1, 0)], None), Ok(true));
    let bell = flags.bell(1);
    thread::scope(|scope| {
        let waiting = scope.spawn(|| local.wait(&[(1, 1)], Some(HANG)));
        wait_until("the flag", || flags.flag(1) != 0);
        client.ask("w 1\nnews\n", "OK v=2\n");
        assert_eq!(waiting.join().expect("no panic"), Ok(true));
    });
    assert_eq!(flags.bell(1), bell + 1);
}

/// Every message is news to a reader that waits for each, whatever the instant of the change.
#[test]
fn no_change_is_missed() {
    const MESSAGES: u64 = 3000;
    let scene = Scene::new("4 64 0 64");
    let local = scene.local();
    let seen = [const { AtomicU64::new(0) }; 3];
    thread::scope(|scope| {
        let readers: Vec<_> = seen
            .iter()
            .map(|seen| {
                let local = &local;
                scope.spawn(move || {
                    let (mut version, mut slow) = (0, 0);
                    while version < MESSAGES {
                        let asked = std::time::Instant::now();
                        assert_eq!(local.wait(&[(2, version), (3, 0)], Some(HANG)), Ok(true));
                        // A lost wake-up ends with the slice of the wait.
                        slow += u32::from(asked.elapsed() > Duration::from_millis(900));
                        version = local.version(2).unwrap_or(version);
                        seen.store(version, Ordering::Relaxed);
                    }
                    slow
                })
            })
            .collect();
        let mut client = scene.server.connect();
        for version in 1..=MESSAGES {
            client.ask("w 2\nnews\n", format!("OK v={version}\n"));
            if version % 3 == 0 {
                while seen.iter().any(|seen| seen.load(Ordering::Relaxed) < version) {
                    thread::yield_now();
                }
            }
        }
        let slow: u32 = readers.into_iter().map(|reader| reader.join().expect("no panic")).sum();
        assert_eq!(slow, 0, "a wake-up was lost");
    });
}

#[test]
fn the_end_of_a_lock_wakes_and_a_taken_message_is_no_news() {
    let scene = Scene::new("4 64 0 64");
    let (local, flags) = (scene.local(), Waiter::open(&scene.base, &scene.server));
    let mut client = scene.server.connect();
    client.lock("lock 1\n");
    thread::scope(|scope| {
        let waiting = scope.spawn(|| local.wait(&[(1, 0)], Some(HANG)));
        wait_until("the flag", || flags.flag(1) != 0);
        client.ask("w 1\nhalf\nw 1\nwhole\n", "OK v=1\nOK v=2\n");
        assert_ne!(flags.flag(1), 0, "a change under a lock is no news");
        client.ask("unlock 1\n", "OK\n");
        assert_eq!(waiting.join().expect("no panic"), Ok(true));
    });
    client.ask("take 1\nping\n", "DATA 5 v=2 n=0\nwhole\nOK\n");
    assert_eq!(local.wait(&[(1, 0)], Some(Duration::ZERO)), Ok(false), "the message is gone");
    assert_eq!(local.after(&mut Cursor::new(1), &mut Vec::new()), Ok(None));
}

#[test]
fn a_wait_goes_on_with_the_next_server_and_ends_with_the_mailboxes() {
    let (base, port) = (BaseDirectory::new(), Port::reserve());
    let arguments = format!("4 64 {} 64", port.number);
    let server = base.start(&arguments);
    let local = Local::open_in(base.path(), port.number).expect("opened");
    thread::scope(|scope| {
        let waiting = scope.spawn(|| local.wait(&[(1, 0)], Some(HANG)));
        let flags = Waiter::open(&base, &server);
        wait_until("the flag", || flags.flag(1) != 0);
        server.end(Signal::SIGKILL);
        let server = base.start(&arguments);
        let flags = Waiter::open(&base, &server);
        wait_until("the flag of the next server", || flags.flag(1) != 0);
        server.connect().ask("w 1\nnews\n", "OK v=1\n");
        assert_eq!(waiting.join().expect("no panic"), Ok(true));

        let waiting = scope.spawn(|| local.wait(&[(1, 1), (2, 0)], None));
        wait_until("the flag", || flags.flag(2) != 0);
        base.dipcrm(port.number).expect_success();
        assert_eq!(waiting.join().expect("no panic"), Err(Miss::Retired));
    });
}

/// Another process of the user sets and clears all flags all the time. The server serves, and a wait ends at
/// the latest with its slice.
#[test]
fn a_hostile_page_of_flags_harms_no_writer() {
    let scene = Scene::new("4 64 0 64");
    let local = scene.local();
    let path = scene.base.join(format!("{}/waiters", scene.server.port));
    let over = Over::default();
    let is_over = over.flag();
    thread::scope(|scope| {
        scope.spawn(|| {
            let flags = File::options().write(true).open(path).expect("opened");
            let mut random = dipc_testkit::rng::Rng::new(3);
            while !is_over.load(Ordering::Relaxed) {
                let bytes = random.bits().to_ne_bytes();
                let zeros = [0; 8];
                for at in [0, 8] {
                    flags
                        .write_all_at(if random.below(2) == 0 { &zeros } else { &bytes }, at)
                        .expect("written");
                }
            }
        });
        let mut client = scene.server.connect();
        for version in 1..=2000u64 {
            client.ask("w 1\nnews\n", format!("OK v={version}\n"));
            if version % 500 == 0 {
                assert_eq!(local.wait(&[(1, version - 1)], Some(HANG)), Ok(true));
                assert_eq!(read(&local, 1), Ok((b"news".to_vec(), version, 1)));
            }
        }
        thread::scope(|scope| {
            let waiting = scope.spawn(|| local.wait(&[(1, 2000)], Some(HANG)));
            client.ask("w 1\nnews\n", "OK v=2001\n");
            assert_eq!(waiting.join().expect("no panic"), Ok(true));
        });
        drop(over);
    });
}

/// A file that is too short is not used.
#[test]
fn a_wait_without_flags_looks_again_and_again() {
    let scene = Scene::new("4 64 0 64");
    let local = scene.local();
    let path = scene.base.join(format!("{}/waiters", scene.server.port));
    std::fs::remove_file(&path).expect("removed");
    std::fs::write(&path, "short").expect("written");
    thread::scope(|scope| {
        let waiting = scope.spawn(|| local.wait(&[(1, 0)], Some(HANG)));
        scene.server.connect().ask("w 1\nnews\n", "OK v=1\n");
        assert_eq!(waiting.join().expect("no panic"), Ok(true));
    });
}
