//! What locks and unacknowledged takes hide.

use std::sync::atomic::Ordering;
use std::thread;

use dipc::client::Client;
use dipc::client::local::{Miss, Reader};
use dipc_testkit::wait::wait_until;

use crate::{Over, Scene, read};

#[test]
fn an_exclusive_lock_keeps_readers_out_until_it_ends() {
    let scene = Scene::new("4 64 0 64");
    let local = scene.local();
    let [mut holder, mut other] = [scene.server.connect(), scene.server.connect()];
    holder.ask("w 1\nbefore\n", "OK v=1\n");
    holder.lock("lock 1\n");
    assert_eq!(read(&local, 1), Err(Miss::Held));
    assert_eq!(local.version(1), Err(Miss::Held));
    assert_eq!(local.after(&mut dipc::client::local::Cursor::new(1), &mut Vec::new()), Err(Miss::Held));
    assert_eq!(read(&local, 2), Ok((vec![], 0, 0)), "another mailbox");
    holder.ask("w 1\nhalf\n", "OK v=2\n");
    assert_eq!(read(&local, 1), Err(Miss::Held));
    holder.ask("w 1\nwhole\nunlock 1\n", "OK v=3\nOK\n");
    assert_eq!(read(&local, 1), Ok((b"whole".to_vec(), 3, 1)));
    // A lock for reading hides nothing.
    holder.lock("lock 1 r\n");
    assert_eq!(read(&local, 1), Ok((b"whole".to_vec(), 3, 1)));
    holder.ask("unlock 1\n", "OK\n");
    // The end of the connection ends the lock.
    holder.lock("lock 1\n");
    drop(holder);
    wait_until("the end of the lock", || read(&local, 1).is_ok());
    // So does the end of the lease.
    other.lock("lock 1 ttl=0.1\n");
    wait_until("the end of the lease", || read(&local, 1).is_ok());
}

#[test]
fn no_reader_sees_the_messages_that_a_holder_replaces() {
    let scene = Scene::new("1 64 0 64");
    let local = scene.local();
    let over = Over::default();
    let is_over = over.flag();
    let mut holder = scene.server.connect();
    holder.ask("w 0\nwhole\n", "OK v=1\n");
    thread::scope(|scope| {
        let reader = scope.spawn(|| {
            let (mut whole, mut held) = (0, 0);
            while !is_over.load(Ordering::Relaxed) {
                match read(&local, 0) {
                    Ok((bytes, version, 1)) => {
                        assert_eq!((bytes.as_slice(), version % 2), (b"whole".as_slice(), 1));
                        whole += 1;
                    }
                    Err(Miss::Held) => held += 1,
                    Err(Miss::Busy) => {}
                    other => panic!("{other:?}"),
                }
            }
            (whole, held)
        });
        for _ in 0..300 {
            holder.lock("lock 0\n");
            for word in ["half", "whole"] {
                holder.send(format!("w 0\n{word}\n"));
                assert!(holder.line().starts_with("OK v="));
            }
            holder.ask("unlock 0\n", "OK\n");
        }
        drop(over);
        let (whole, held) = reader.join().expect("no panic");
        assert!(whole > 0 && held > 0, "{whole} whole, {held} held");
    });
}

/// The answer to a take of a large message cannot be written while its client does not read. When the client
/// ends, the message is in the mailbox again.
#[test]
fn no_reader_sees_a_take_that_is_undone() {
    let scene = Scene::new("1 8192 0 8192");
    let local = scene.local();
    let mut client = scene.server.connect();
    let size = 8 << 20;
    client.send(format!("w 0 {size}\n"));
    client.send(vec![b'x'; size]);
    client.ask("\n", "OK v=1\n");
    let over = Over::default();
    let is_over = over.flag();
    thread::scope(|scope| {
        let reader = scope.spawn(|| {
            let (mut bytes, mut seen, mut held) = (Vec::new(), 0, 0);
            while !is_over.load(Ordering::Relaxed) {
                match local.read_part(0, 0, 8, &mut bytes) {
                    Ok(copied) => {
                        assert_eq!(
                            (copied.version, copied.count, bytes.as_slice()),
                            (1, 1, b"xxxxxxxx".as_slice())
                        );
                        seen += 1;
                    }
                    Err(Miss::Held) => held += 1,
                    other => panic!("{other:?}"),
                }
            }
            (seen, held)
        });
        for round in 0..20 {
            let mut taker = scene.server.connect();
            taker.send("take 0\n");
            wait_until("the take", || local.read_part(0, 0, 8, &mut Vec::new()) == Err(Miss::Held));
            taker.reset();
            wait_until("its end", || client.stat("untaken") == round + 1);
        }
        drop(over);
        let (seen, held) = reader.join().expect("no panic");
        assert!(seen > 0 && held > 0, "{seen} seen, {held} held");
    });
    assert_eq!(
        read(&local, 0).map(|(bytes, version, count)| (bytes.len(), version, count)),
        Ok((size, 1, 1))
    );
}

#[test]
fn a_reader_with_a_connection_asks_the_server_for_a_held_mailbox() {
    let scene = Scene::new("4 64 0 64");
    let client = || Client::connect(("127.0.0.1", scene.server.port)).expect("connected");
    let mut reader = Reader::new(scene.local(), client());
    reader.client().write(1, "one").expect("written");
    assert_eq!(reader.read(1).expect("read").data, b"one");
    // The holder of a lock reads with its own connection, so it does not wait for itself.
    reader.client().lock(1).expect("locked").keep();
    reader.client().write(1, "two").expect("written");
    assert_eq!(reader.local().version(1), Err(Miss::Held));
    let message = reader.read(1).expect("read");
    assert_eq!((message.data.as_slice(), message.version, message.count), (b"two".as_slice(), 2, 1));
    // Another one waits in the queue.
    let mut other = Reader::new(scene.local(), client());
    thread::scope(|scope| {
        let waiting = scope.spawn(move || other.read(1).expect("read").data);
        let mut observer = scene.server.connect();
        wait_until("the read waits", || observer.stat_box(1, "waiting") == 1);
        reader.client().write(1, "three").expect("written");
        reader.client().unlock(&[1], None).expect("unlocked");
        assert_eq!(waiting.join().expect("no panic"), b"three");
    });
}
