//! A kill during a start.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::process::{Command, Stdio};
use std::time::Instant;

use dipc_testkit::port::Port;
use dipc_testkit::process::KillOnDrop;
use dipc_testkit::program;
use dipc_testkit::rng::Rng;
use dipc_testkit::server::Server;
use dipc_testkit::wait::HANG;
use nix::sys::signal::Signal::SIGKILL;

use crate::message::{Content, Message, read, whole};

#[test]
fn a_kill_during_a_start_leaves_the_messages_as_they_were() {
    let port = Port::reserve();
    let arguments = format!("4 64 {} 64", port.number);
    let mut server = Server::start(&arguments);
    let message = Message { front: 1, back: 2 };
    server.connect().ask(whole(0, message), "OK v=1\n");
    server.signal(SIGKILL);
    server.wait();
    let mut random = Rng::new(2);
    for _ in 0..100 {
        // Each listing of the directory takes some time. A start takes as long as 20 to 100 listings.
        let listings = random.below(200);
        let begun = begin_start(&server, &arguments);
        (0..listings).for_each(|_| drop(fs::read_dir(server.directory.path()).map(Iterator::count)));
        drop(begun);
    }
    server.restart(&arguments);
    assert_eq!(read(&mut server.connect(), 0), Content { version: 1, message });
}

#[test]
fn a_kill_while_the_segment_is_created_does_not_prevent_the_next_start() {
    let port = Port::reserve();
    let arguments = format!("20000 1 {} 1", port.number);
    let mut server = Server::start(&arguments);
    server.signal(SIGKILL);
    server.wait();
    let segment = server.directory.path().join(server.port.to_string()).join("segment");
    let mut random = Rng::new(3);
    for _ in 0..20 {
        let number_of_file = || fs::metadata(&segment).map(|found| found.ino()).ok();
        let before = number_of_file();
        let begun = begin_start(&server, &format!("{arguments} --fresh"));
        // There is no pause between two checks, because the new segment is created in less time than a pause.
        let started = Instant::now();
        while number_of_file() == before {
            assert!(started.elapsed() < HANG, "the old segment stays");
        }
        (0..random.below(2_000)).for_each(|_| assert!(number_of_file() != before));
        drop(begun);
        server.restart(&arguments);
        let mut client = server.connect();
        client.ask("r 0\nr 19999\n", "DATA 0 v=0 n=0\n\nDATA 0 v=0 n=0\n\n");
        client.ask("w 19999\nhello\n", "OK v=1\n");
        server.signal(SIGKILL);
        server.wait();
    }
}

/// Starts a server without waiting until it is ready.
fn begin_start(server: &Server, arguments: &str) -> KillOnDrop {
    let child = Command::new(program::dipc())
        .args(arguments.split_whitespace())
        .arg("--dir")
        .arg(server.directory.path())
        .args(["--foreground", "--log-level", "off"])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .spawn();
    KillOnDrop(child.expect("started"))
}
