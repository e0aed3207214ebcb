//! What somebody else has put where an instance is to be.
#![allow(missing_docs)]

mod support;

use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};
use std::os::unix::net::UnixListener;
use std::path::Path;

use nix::sys::stat::Mode;
use nix::unistd::{geteuid, mkfifo};

use support::instance::{Home, NOBODY, bare, instance, names, say};
use support::{DIPC, DIPCRM, Port};

/// Makes something that is no file of an instance.
type Plant = fn(at: &Path, precious: &Path);

const PLANTS: [(&str, Plant); 6] = [
    ("a link", |at, precious| symlink(precious, at).expect("linked")),
    ("a link to nothing", |at, precious| symlink(precious.with_file_name("nothing"), at).expect("linked")),
    ("a second name", |at, precious| fs::hard_link(precious, at).expect("linked")),
    ("a pipe", |at, _| mkfifo(at, Mode::S_IRWXU).expect("made")),
    ("a directory", |at, _| fs::create_dir(at).expect("created")),
    ("a socket", |at, _| drop(UnixListener::bind(at).expect("bound"))),
];

#[test]
fn nothing_behind_a_planted_file_is_touched() {
    let (home, port) = (Home::new(), Port::reserve());
    let directory = home.join(port.number.to_string());
    let (precious, nothing) = (home.join("precious"), home.join("nothing"));
    for name in ["lock", "segment", "segment.new", "control.sock", "pid", "socket"] {
        for (kind, plant) in PLANTS {
            let what = format!("{kind} as {name}");
            fs::write(&precious, "precious").expect("written");
            fs::create_dir(&directory).expect("created");
            fs::set_permissions(&directory, Permissions::from_mode(0o700)).expect("set");
            plant(&directory.join(name), &precious);
            let planted = fs::symlink_metadata(directory.join(name)).expect("planted").ino();
            let dipc = format!("4 64 {} 8 --unix {}", port.number, home.join("unix").display());

            let said = say(&mut home.dipc(&dipc));
            if said.code == Some(0) {
                assert!(!matches!(name, "lock" | "segment"), "{what} is used: {said:?}");
                instance(said.out).connect().ask("ping\n", "OK\n");
                assert_ne!(
                    fs::symlink_metadata(directory.join(name)).map_or(0, |found| found.ino()),
                    planted
                );
            } else {
                said.expect(1, &directory.join(name).display().to_string());
                assert_eq!(home.processes(), [], "{what}");
                assert_eq!(
                    fs::symlink_metadata(directory.join(name)).map_or(0, |found| found.ino()),
                    planted
                );
                assert!(!home.join("unix").exists(), "{what}: a socket is left");
            }
            let said = home.dipcrm(port.number);
            assert!(matches!(said.code, Some(0 | 3)), "{what}: {said:?}");
            assert_eq!(home.processes(), [], "{what}");
            assert_eq!(fs::read(&precious).expect("still there"), b"precious", "{what}");
            assert!(fs::symlink_metadata(&nothing).is_err(), "{what}: it was followed");
            let _ = fs::remove_dir_all(&directory);
        }
    }
}

#[test]
fn a_directory_that_is_open_to_others_is_not_used() {
    let (home, port) = (Home::new(), Port::reserve());
    let directory = home.join(port.number.to_string());
    let arguments = format!("4 64 {} 8", port.number);
    fs::create_dir(&directory).expect("created");
    for mode in [0o755, 0o770, 0o702, 0o1777] {
        fs::set_permissions(&directory, Permissions::from_mode(mode)).expect("set");
        say(&mut home.dipc(&arguments)).expect(1, &format!("{} is open to other users", directory.display()));
        home.dipcrm(port.number).expect(3, "is open to other users");
        assert_eq!(fs::metadata(&directory).expect("still there").mode() & 0o7777, mode);
        assert_eq!((names(&directory), home.processes()), (vec![], vec![]));
    }
    fs::remove_dir(&directory).expect("removed");
    for mode in [0o770, 0o1777] {
        fs::set_permissions(home.path(), Permissions::from_mode(mode)).expect("set");
        say(&mut home.dipc(&arguments))
            .expect(1, &format!("{} is open to other users", home.path().display()));
        home.dipcrm(port.number).expect(3, "is open to other users");
        home.expect_nothing_left();
    }
}

#[test]
fn a_directory_of_another_user_is_not_used() {
    if !geteuid().is_root() {
        return;
    }
    let (home, port) = (Home::new(), Port::reserve());
    let directory = home.join(port.number.to_string());
    fs::create_dir(&directory).expect("created");
    fs::set_permissions(&directory, Permissions::from_mode(0o700)).expect("set");
    chown(&directory, Some(NOBODY), Some(NOBODY)).expect("given away");
    say(&mut home.dipc(&format!("4 64 {} 8", port.number))).expect(1, "belongs to another user");
    home.dipcrm(port.number).expect(3, "belongs to another user");
    assert_eq!((names(&directory), home.processes()), (vec![], vec![]));
}

#[test]
fn nothing_but_a_directory_is_taken_for_one() {
    let (home, port) = (Home::new(), Port::reserve());
    let (ours, directory) = (home.join("ours"), home.join(port.number.to_string()));
    fs::create_dir(&ours).expect("created");
    fs::set_permissions(&ours, Permissions::from_mode(0o700)).expect("set");
    let precious = ours.join("precious");
    for (kind, plant) in [
        ("a link to a directory", (|at, _| symlink("ours", at).expect("linked")) as Plant),
        PLANTS[0],
        PLANTS[1],
        PLANTS[2],
        PLANTS[3],
        PLANTS[5],
    ] {
        fs::write(&precious, "precious").expect("written");
        plant(&directory, &precious);
        // As the directory of the instance, and as the one that it is in.
        for base in [home.path(), &directory] {
            let number = port.number.to_string();
            let said = say(bare(DIPC).args(["4", "64", &number, "8", "--dir"]).arg(base));
            said.expect(1, &directory.display().to_string());
            let said = say(bare(DIPCRM).arg(&number).arg("--dir").arg(base));
            said.expect(3, &directory.display().to_string());
        }
        assert_eq!(names(&ours), ["precious"], "{kind}");
        assert_eq!(fs::read(&precious).expect("still there"), b"precious", "{kind}");
        fs::remove_file(&directory).expect("still there");
    }
    assert_eq!(home.processes(), []);
}
