//! An interrupted dump leaves no file.

use std::fs;
use std::os::unix::process::ExitStatusExt;

use dipc_testkit::directory::names;
use dipc_testkit::process::{KillOnDrop, signal};
use dipc_testkit::server::Server;
use nix::sys::signal::Signal;

use crate::contents::{file, put};

#[test]
fn a_signal_leaves_neither_a_new_file_nor_a_temporary_one() {
    let server = Server::start("4 64 0 8");
    let mut holder = server.connect();
    put(&mut holder, 1, [b"one".to_vec()]);
    holder.lock("lock 1 ttl=600\n");
    let directory = server.directory.join("dumps");
    fs::create_dir(&directory).expect("a directory");
    let path = file(&server, "dumps/dump");
    fs::write(&path, "old").expect("written");
    for ending in [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP] {
        let mut dump =
            KillOnDrop(server.cli(&["dump", &path, "--wait", "inf"]).spawn().expect("dipc-cli runs"));
        server.wait_for_stat("waiting", |count| count == 1);
        assert_eq!(names(&directory).len(), 2, "{:?}", names(&directory));
        signal(dump.0.id(), ending);
        let status = dump.0.wait().expect("it ends");
        assert_eq!(status.signal(), Some(ending as i32));
        assert_eq!(names(&directory), ["dump"]);
        server.wait_for_stat("waiting", |count| count == 0);
    }
    assert_eq!(fs::read_to_string(&path).expect("the file"), "old");
}

#[test]
fn the_end_of_the_server_leaves_no_file() {
    let mut server = Server::start("4 64 0 8");
    let mut holder = server.connect();
    put(&mut holder, 1, [b"one".to_vec()]);
    holder.lock("lock 1 ttl=600\n");
    let dump = server.cli(&["dump", &file(&server, "dump"), "--wait", "inf"]).spawn().expect("dipc-cli runs");
    server.wait_for_stat("waiting", |count| count == 1);
    server.kill();
    dipc_testkit::process::finish(dump, b"").expect_failure(3, "the server closed the connection");
    assert!(!names(server.directory.path()).iter().any(|name| name.contains("dump")));
}
