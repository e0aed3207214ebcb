//! The directory of an instance.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use dipc_testkit::directory::names;
use dipc_testkit::instance::{BaseDirectory, FILES, start};
use dipc_testkit::port::Port;
use dipc_testkit::process::{bare, has_ended, run};
use dipc_testkit::program;
use nix::unistd::geteuid;

#[test]
fn a_relative_directory_is_below_the_one_of_the_caller() {
    let base = BaseDirectory::new();
    let mut dipc = bare(program::dipc());
    dipc.args(["4", "64", "0", "8", "--dir", "here", "--log-file"]).arg(base.join("log"));
    let server = start(dipc.current_dir(base.path()));
    let here = base.join("here");
    assert_eq!(names(&here), [server.port.to_string()]);
    assert_eq!(names(&here.join(server.port.to_string())), FILES);
    let port = server.port.to_string();
    run(bare(program::dipcrm()).args([&*port, "--dir", "here"]).current_dir("/"))
        .expect_failure(3, "there is no dipc");
    run(bare(program::dipcrm()).args([&*port, "--dir", "here"]).current_dir(base.path())).expect_success();
    assert_eq!((names(&here), has_ended(server.pid)), (vec![], true));
}

#[test]
fn the_default_directory_is_in_shared_memory() {
    let (base, port) = (BaseDirectory::new(), Port::reserve());
    let number = port.number.to_string();
    let usual = PathBuf::from(format!("/dev/shm/dipc-{}/{number}", geteuid()));
    let mut dipc = bare(program::dipc());
    let server = start(dipc.args(["4", "64", &number, "8"]).env("DIPC_LOG_FILE", base.join("log")));
    assert_eq!(names(&usual), FILES);
    let modes = [&usual, usual.parent().expect("a parent")]
        .map(|path| fs::metadata(path).expect("a directory").mode());
    assert_eq!(modes.map(|mode| mode & 0o7777), [0o700, 0o700]);
    run(bare(program::dipcrm()).arg(&number)).expect_success();
    assert!(!usual.exists() && has_ended(server.pid));
    run(bare(program::dipcrm()).arg(&number))
        .expect_failure(1, &format!("there is no dipc on port {number}"));
}

#[test]
fn a_directory_on_a_disk_is_logged_once() {
    let (base, disk) = (BaseDirectory::new(), Path::new(env!("CARGO_TARGET_TMPDIR")));
    let disk = disk.join(base.path().file_name().expect("a name"));
    let kind =
        nix::sys::statfs::statfs(disk.parent().expect("a parent")).expect("a directory").filesystem_type();
    let on_disk = kind != nix::sys::statfs::TMPFS_MAGIC;
    for (directory, on_disk) in [(disk.as_path(), on_disk), (base.path(), false)] {
        let log = base.join("log");
        let mut dipc = bare(program::dipc());
        dipc.args(["4", "64", "0", "8", "--dir"]).arg(directory).arg("--log-file").arg(&log);
        let server = start(&mut dipc);
        run(bare(program::dipcrm()).arg(server.port.to_string()).arg("--dir").arg(directory))
            .expect_success();
        let outcome = fs::read_to_string(&log).expect("a log");
        assert_eq!(outcome.matches("is not on tmpfs").count(), usize::from(on_disk), "{outcome}");
        fs::remove_file(log).expect("removed");
    }
    fs::remove_dir(disk).expect("an empty directory");
}
