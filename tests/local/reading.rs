//! What local readers read.

use std::fs;
use std::os::unix::fs::{FileExt, PermissionsExt};

use dipc::client::local::{Copied, Cursor, Local, Miss};

use crate::{Scene, read};

#[test]
fn a_read_returns_what_a_request_returns() {
    let scene = Scene::new("4 64 0 64");
    let local = scene.local();
    assert_eq!((local.mailboxes(), local.capacity()), (4, 64 * 1024));
    assert_eq!(read(&local, 0), Ok((vec![], 0, 0)));
    let mut client = scene.server.connect();
    client.ask("w 0\nhello\n", "OK v=1\n");
    assert_eq!(read(&local, 0), Ok((b"hello".to_vec(), 1, 1)));
    client.ask("put 0\nworld\n", "OK v=2 n=2\n");
    assert_eq!(read(&local, 0), Ok((b"world".to_vec(), 2, 2)));
    client.ask("take 0\ntake 0\n", "DATA 5 v=1 n=1\nhello\nDATA 5 v=2 n=0\nworld\n");
    // The answer of the last take is acknowledged when the next request is answered.
    client.ask("ping\n", "OK\n");
    assert_eq!(read(&local, 0), Ok((vec![], 2, 0)), "the version is that of the mailbox");
    assert_eq!(local.version(0), Ok(2));
    assert_eq!(local.version(4), Err(Miss::NoMailbox { max: 3 }));
    let large: Vec<u8> = (0..60_000u32).map(|number| number as u8).collect();
    client.ask([b"w 3 60000\n".to_vec(), large.clone(), b"\n".to_vec()].concat(), "OK v=1\n");
    assert_eq!(read(&local, 3), Ok((large, 1, 1)));
}

#[test]
fn a_part_is_cut_like_the_part_of_a_request() {
    let scene = Scene::new("4 64 0 64");
    let local = scene.local();
    scene.server.connect().ask("w 1\nhello world\n", "OK v=1\n");
    let mut bytes = b"earlier contents".to_vec();
    for (offset, len, part) in
        [(6, 3, "wor"), (6, u64::MAX, "world"), (11, 1, ""), (u64::MAX, u64::MAX, ""), (0, 0, "")]
    {
        let copied = local.read_part(1, offset, len, &mut bytes);
        assert_eq!(copied, Ok(Copied { version: 1, count: 1, lost: 0 }));
        assert_eq!(bytes, part.as_bytes());
    }
}

#[test]
fn messages_of_every_alignment_wrap_around_the_end_of_the_ring() {
    let scene = Scene::new("1 1 0 1");
    let local = scene.local();
    let mut client = scene.server.connect();
    let (mut version, mut cursor, mut bytes) = (0, Cursor::new(0), Vec::new());
    for round in 0..40u64 {
        let sizes = [(round * 7 + 1) % 300, (round * 31 + 3) % 280, (round * 13) % 250];
        for size in sizes {
            version += 1;
            let data = (version as u8 as char).to_string().repeat(size as usize).replace('\n', "x");
            let data: String =
                data.chars().map(|letter| if letter.is_ascii() { letter } else { 'y' }).collect();
            client.send(format!("put 0 {}\n{data}\n", data.len()));
            assert!(client.line().starts_with(&format!("OK v={version}")));
            assert_eq!(read(&local, 0).expect("read").0, data.as_bytes());
            assert_eq!(
                local.after(&mut cursor, &mut bytes).expect("read").map(|copied| copied.lost),
                Some(0)
            );
            assert_eq!(bytes, data.as_bytes());
        }
        for _ in sizes {
            client.send("take 0\n");
            client.data();
        }
        client.ask("ping\n", "OK\n");
    }
}

#[test]
fn a_cursor_returns_each_message_once_and_counts_lost_ones() {
    let scene = Scene::new("4 64 0 64");
    let local = scene.local();
    let mut client = scene.server.connect();
    let (mut cursor, mut bytes) = (Cursor::new(2), Vec::new());
    assert_eq!(local.after(&mut cursor, &mut bytes), Ok(None));
    for word in ["a", "b", "c", "d"] {
        client.send(format!("put 2\n{word}\n"));
        client.line();
    }
    let mut next = |cursor: &mut Cursor| {
        let copied = local.after(cursor, &mut bytes).expect("read")?;
        Some((String::from_utf8(bytes.clone()).expect("text"), copied.version, copied.count, copied.lost))
    };
    assert_eq!(next(&mut cursor), Some(("a".to_owned(), 1, 4, 0)));
    let mut behind = cursor.clone();
    assert_eq!(next(&mut cursor), Some(("b".to_owned(), 2, 4, 0)));
    client.ask("take 2\ntake 2\ntake 2\n", "DATA 1 v=1 n=3\na\nDATA 1 v=2 n=2\nb\nDATA 1 v=3 n=1\nc\n");
    client.ask("ping\n", "OK\n");
    assert_eq!(next(&mut cursor), Some(("d".to_owned(), 4, 1, 1)));
    assert_eq!(next(&mut behind), Some(("d".to_owned(), 4, 1, 2)));
    assert_eq!(next(&mut cursor), None);
    assert_eq!((cursor.version(), cursor.mailbox()), (4, 2));
    let mut ahead = Cursor::at(2, 5);
    assert_eq!(local.after(&mut ahead, &mut Vec::new()), Err(Miss::Ahead { version: 4 }));
}

#[test]
fn holes_are_no_messages() {
    let scene = Scene::new("4 64 0 64");
    let local = scene.local();
    let mut client = scene.server.connect();
    for word in ["a", "b", "c", "d", "e"] {
        client.send(format!("put 2\n{word}\n"));
        client.line();
    }
    for _ in 0..5 {
        client.send("take 2 ttl=30\n");
        client.data();
    }
    assert_eq!(read(&local, 2), Ok((b"e".to_vec(), 5, 5)), "messages in hand are in the mailbox");
    client.ask("done 2 v=2\ndone 2 v=4\n", "OK n=4\nOK n=3\n");
    let list = |from: u64| {
        let (mut cursor, mut bytes, mut found) = (Cursor::at(2, from), Vec::new(), Vec::new());
        while let Some(copied) = local.after(&mut cursor, &mut bytes).expect("read") {
            found.push((String::from_utf8(bytes.clone()).expect("text"), copied.version, copied.lost));
        }
        found
    };
    let entry = |word: &str, version: u64, lost: u64| (word.to_owned(), version, lost);
    assert_eq!(list(0), [entry("a", 1, 0), entry("c", 3, 1), entry("e", 5, 1)]);
    assert_eq!(list(3), [entry("e", 5, 1)]);
    client.ask("done 2 v=5\n", "OK n=2\n");
    assert_eq!(read(&local, 2), Ok((b"c".to_vec(), 5, 2)), "the newest message that is left");
    assert_eq!(list(3), []);
    client.ask("done 2 v=1\n", "OK n=1\n");
    assert_eq!(read(&local, 2), Ok((b"c".to_vec(), 5, 1)));
    client.ask("put 2\nf\n", "OK v=6 n=2\n");
    assert_eq!(read(&local, 2), Ok((b"f".to_vec(), 6, 2)));
    assert_eq!(list(0), [entry("c", 3, 2), entry("f", 6, 2)]);
}

/// The server is in the middle of a change, or was killed there.
#[test]
fn holes_are_read_only_while_no_change_has_begun() {
    let scene = Scene::new("2 64 0 64");
    let local = scene.local();
    let mut client = scene.server.connect();
    client.ask("put 0\na\nput 0\nb\nput 0\nc\n", "OK v=1 n=1\nOK v=2 n=2\nOK v=3 n=3\n");
    let path = scene.base.join(format!("{}/segment", scene.server.port));
    let file = fs::File::options().read(true).write(true).open(path).expect("opened");
    let begin = |by: u64| {
        let mut begun = [0; 8];
        file.read_exact_at(&mut begun, 4096 + 104).expect("read");
        let begun = u64::from_ne_bytes(begun).wrapping_add(by);
        file.write_all_at(&begun.to_ne_bytes(), 4096 + 104).expect("written");
    };
    let second =
        || local.after(&mut Cursor::at(0, 1), &mut Vec::new()).map(|found| found.map(|of| of.version));
    begin(1);
    assert_eq!((read(&local, 0), second()), (Ok((b"c".to_vec(), 3, 3)), Ok(Some(2))), "without holes");
    begin(1);
    assert_eq!((read(&local, 0), local.version(0)), (Err(Miss::Busy), Err(Miss::Busy)), "a second change");
    assert_eq!(second(), Err(Miss::Busy), "it cannot be known whether the list of this state is whole");
    begin(2u64.wrapping_neg());
    client.ask("take 0 ttl=30\ntake 0 ttl=30\n", "DATA 1 v=1 n=3 tries=1\na\nDATA 1 v=2 n=3 tries=1\nb\n");
    client.ask("done 0 v=2\n", "OK n=2\n");
    assert_eq!((read(&local, 0), second()), (Ok((b"c".to_vec(), 3, 2)), Ok(Some(3))));
    begin(1);
    assert_eq!((read(&local, 0), second()), (Err(Miss::Busy), Err(Miss::Busy)), "with holes");
    assert_eq!(local.version(0), Ok(3));
}

#[test]
fn mailboxes_are_found_by_their_names() {
    let scene = Scene::new("4 64 0 64");
    let local = scene.local();
    let mut client = scene.server.connect();
    let longest = "x".repeat(64);
    for (mailbox, name) in [(1, "jobs"), (2, "job"), (3, &longest)] {
        client.ask(format!("name {mailbox} {name}\n"), format!("OK name={name}\n"));
        assert_eq!(local.find(name), Some(mailbox));
    }
    client.ask("name 1 -\n", "OK name=-\n");
    assert_eq!(
        (local.find("jobs"), local.find("job"), local.find("jo"), local.find("")),
        (None, Some(2), None, None)
    );
}

#[test]
fn a_directory_of_others_and_a_foreign_segment_are_refused() {
    let scene = Scene::new("4 64 0 64");
    let (base, port) = (scene.base.path(), scene.server.port);
    let directory = scene.base.join(port.to_string());
    let kind = || Local::open_in(base, port).map(drop).map_err(|error| error.kind());
    assert_eq!(kind(), Ok(()));
    fs::set_permissions(&directory, fs::Permissions::from_mode(0o750)).expect("changed");
    assert_eq!(kind(), Err(std::io::ErrorKind::PermissionDenied));
    fs::set_permissions(&directory, fs::Permissions::from_mode(0o700)).expect("changed");
    assert_eq!(
        Local::open_in(base, 1).map(drop).map_err(|error| error.kind()),
        Err(std::io::ErrorKind::NotFound)
    );
    let segment = fs::File::options().write(true).open(directory.join("segment")).expect("opened");
    segment.write_all_at(b"other", 0).expect("written");
    assert_eq!(kind(), Err(std::io::ErrorKind::InvalidData));
}

/// Every byte of the control area and the first bytes of the ring are damaged in turn, and then all of them
/// at random. A reader refuses or returns a message, and never leaves its memory.
#[test]
fn damaged_memory_is_refused_and_never_ends_the_reader() {
    let scene = Scene::new("1 1 0 1");
    let local = scene.local();
    let mut client = scene.server.connect();
    client.ask("put 0\none\nput 0\ntwo\nput 0\nthree\n", "OK v=1 n=1\nOK v=2 n=2\nOK v=3 n=3\n");
    let path = scene.base.join(format!("{}/segment", scene.server.port));
    let file = fs::File::options().read(true).write(true).open(path).expect("opened");
    let mut original = vec![0; 4096 + 2056];
    file.read_exact_at(&mut original, 4096).expect("read");
    let mut random = dipc_testkit::rng::Rng::new(7);
    let mut damaged = 0;
    for round in 0..40_000u64 {
        let mut changed = original.clone();
        let places = if round < 128 * 8 { 1 } else { random.below(4) + 1 };
        for _ in 0..places {
            let at = if round < 128 * 8 {
                round / 8
            } else {
                [random.below(128), 4096 + random.below(40)][(random.below(2)) as usize]
            };
            changed[at as usize] ^= 1 << (round % 8);
        }
        file.write_all_at(&changed, 4096).expect("written");
        let mut bytes = Vec::new();
        damaged += u32::from(local.read(0, &mut bytes) == Err(Miss::Damaged));
        assert!(bytes.len() <= 1024);
        for from in [0, 1, 2, 3, u64::MAX] {
            let mut cursor = Cursor::at(0, from);
            for _ in 0..4 {
                if !matches!(local.after(&mut cursor, &mut bytes), Ok(Some(_))) {
                    break;
                }
            }
        }
        let _ = (local.version(0), local.wait(&[(0, 3)], Some(std::time::Duration::ZERO)));
    }
    file.write_all_at(&original, 4096).expect("written");
    assert!(damaged > 1000, "{damaged}");
    assert_eq!(read(&local, 0), Ok((b"three".to_vec(), 3, 3)));
}
