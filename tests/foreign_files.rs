//! Files of other programs and of other users at the paths of an instance.

use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};
use std::os::unix::net::UnixListener;
use std::path::Path;

use dipc_testkit::directory::names;
use dipc_testkit::instance::{BaseDirectory, Instance, OTHER_USER, start};
use dipc_testkit::port::Port;
use dipc_testkit::process::{bare, run};
use dipc_testkit::program;
use nix::sys::stat::Mode;
use nix::unistd::{geteuid, mkfifo};

/// Creates a file of a kind that an instance does not have.
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
fn no_planted_file_is_followed() {
    let (base, port) = (BaseDirectory::new(), Port::reserve());
    let directory = base.join(port.number.to_string());
    let (precious, nothing) = (base.join("precious"), base.join("nothing"));
    for name in ["lock", "segment", "segment.new", "waiters", "control.sock", "pid", "socket"] {
        for (kind, plant) in PLANTS {
            let what = format!("{kind} as {name}");
            fs::write(&precious, "precious").expect("written");
            fs::create_dir(&directory).expect("created");
            fs::set_permissions(&directory, Permissions::from_mode(0o700)).expect("set");
            plant(&directory.join(name), &precious);
            let planted = fs::symlink_metadata(directory.join(name)).expect("planted").ino();
            let dipc = format!("4 64 {} 8 --unix {}", port.number, base.join("unix").display());

            let outcome = run(&mut base.dipc(&dipc));
            if outcome.code == Some(0) {
                assert!(!matches!(name, "lock" | "segment"), "{what} is used: {outcome:?}");
                Instance::of(outcome.text()).connect().ask("ping\n", "OK\n");
                assert_ne!(
                    fs::symlink_metadata(directory.join(name)).map_or(0, |found| found.ino()),
                    planted
                );
            } else {
                outcome.expect_failure(1, &directory.join(name).display().to_string());
                assert_eq!(base.processes(), [0; 0], "{what}");
                assert_eq!(
                    fs::symlink_metadata(directory.join(name)).map_or(0, |found| found.ino()),
                    planted
                );
                assert!(!base.join("unix").exists(), "{what}: a socket is left");
            }
            let outcome = base.dipcrm(port.number);
            assert!(matches!(outcome.code, Some(0 | 3)), "{what}: {outcome:?}");
            assert_eq!(base.processes(), [0; 0], "{what}");
            assert_eq!(fs::read(&precious).expect("still there"), b"precious", "{what}");
            assert!(fs::symlink_metadata(&nothing).is_err(), "{what}: it was followed");
            let _ = fs::remove_dir_all(&directory);
        }
    }
}

#[test]
fn a_directory_that_is_open_to_others_is_not_used() {
    let (base, port) = (BaseDirectory::new(), Port::reserve());
    let directory = base.join(port.number.to_string());
    let arguments = format!("4 64 {} 8", port.number);
    fs::create_dir(&directory).expect("created");
    for mode in [0o755, 0o770, 0o702, 0o1777] {
        fs::set_permissions(&directory, Permissions::from_mode(mode)).expect("set");
        run(&mut base.dipc(&arguments))
            .expect_failure(1, &format!("{} is open to other users", directory.display()));
        base.dipcrm(port.number).expect_failure(3, "is open to other users");
        assert_eq!(fs::metadata(&directory).expect("still there").mode() & 0o7777, mode);
        assert_eq!((names(&directory), base.processes()), (vec![], vec![]));
    }
    fs::remove_dir(&directory).expect("removed");
    for (mode, cure) in [(0o770, "chmod 700 "), (0o1777, "--dir ")] {
        fs::set_permissions(base.path(), Permissions::from_mode(mode)).expect("set");
        run(&mut base.dipc(&arguments))
            .expect_failure(1, &format!("{} is open to other users", base.path().display()));
        run(&mut base.dipc(&arguments)).expect_failure(1, &format!("{cure}{}", base.path().display()));
        base.dipcrm(port.number).expect_failure(3, "is open to other users");
        base.expect_nothing_left();
    }
    // The new directory of the advice works.
    let advised = base.join("dipc");
    start(bare(program::dipc()).args(arguments.split(' ')).arg("--dir").arg(&advised));
    run(bare(program::dipcrm()).arg(port.number.to_string()).arg("--dir").arg(&advised)).expect_success();
}

#[test]
fn a_directory_of_another_user_is_not_used() {
    if !geteuid().is_root() {
        return;
    }
    let (base, port) = (BaseDirectory::new(), Port::reserve());
    let directory = base.join(port.number.to_string());
    fs::create_dir(&directory).expect("created");
    fs::set_permissions(&directory, Permissions::from_mode(0o700)).expect("set");
    chown(&directory, Some(OTHER_USER), Some(OTHER_USER)).expect("given away");
    run(&mut base.dipc(&format!("4 64 {} 8", port.number))).expect_failure(1, "belongs to another user");
    base.dipcrm(port.number).expect_failure(3, "belongs to another user");
    assert_eq!((names(&directory), base.processes()), (vec![], vec![]));
}

#[test]
fn a_file_that_is_no_directory_is_refused_as_the_directory() {
    let (base, port) = (BaseDirectory::new(), Port::reserve());
    let (ours, directory) = (base.join("ours"), base.join(port.number.to_string()));
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
        // As the directory of the instance, and as its base directory.
        for parent in [base.path(), &directory] {
            let number = port.number.to_string();
            let outcome = run(bare(program::dipc()).args(["4", "64", &number, "8", "--dir"]).arg(parent));
            outcome.expect_failure(1, &directory.display().to_string());
            let outcome = run(bare(program::dipcrm()).arg(&number).arg("--dir").arg(parent));
            outcome.expect_failure(3, &directory.display().to_string());
        }
        assert_eq!(names(&ours), ["precious"], "{kind}");
        assert_eq!(fs::read(&precious).expect("still there"), b"precious", "{kind}");
        fs::remove_file(&directory).expect("still there");
    }
    assert_eq!(base.processes(), [0; 0]);
}
