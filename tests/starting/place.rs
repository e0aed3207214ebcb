//! The directory of an instance.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

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
