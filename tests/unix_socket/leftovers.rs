//! Starts with a file at the path of the socket.

use std::fs;
use std::os::unix::fs::symlink;
use std::os::unix::net::UnixListener;
use std::path::Path;

use dipc_testkit::client::Client;
use dipc_testkit::directory::{Directory, inode};
use dipc_testkit::port::Port;
use dipc_testkit::process::run;
use dipc_testkit::server::Server;
use nix::sys::signal::Signal;
use nix::sys::stat::Mode;
use nix::unistd::mkfifo;

use crate::{dipc, expect_refused, serve, serve_on};

#[test]
fn the_socket_of_a_killed_server_is_replaced() {
    let port = Port::reserve();
    let (mut server, path) = serve_on(port.number);
    server.kill();
    let leftover = inode(&path);
    assert!(leftover.is_some());
    // The socket is replaced by the same instance, and by another one.
    server.restart(&format!("4 64 {} 8 --unix {}", server.port, path.display()));
    Client::unix(&path).ask("ping\n", "OK\n");
    assert_ne!(inode(&path), leftover);
    server.kill();
    let other = Server::start(&format!("4 64 0 8 --unix {}", path.display()));
    assert_eq!(Client::unix(&path).stat("pid"), other.pid() as u64);
}

#[test]
fn the_socket_of_a_living_server_is_not_replaced() {
    let (server, path) = serve();
    let before = inode(&path);
    expect_refused(&path, 3, "another server listens on");
    // A server that does not answer still listens.
    server.signal(Signal::SIGSTOP);
    expect_refused(&path, 3, "another server listens on");
    server.signal(Signal::SIGCONT);
    assert_eq!(inode(&path), before);
    Client::unix(&path).ask("ping\n", "OK\n");
}

#[test]
fn a_file_that_is_no_socket_is_not_replaced() {
    let directory = Directory::new();
    let [file, link, dangling, pipe, folder] =
        ["file", "link", "dangling", "pipe", "folder"].map(|name| directory.path().join(name));
    fs::write(&file, "precious").expect("written");
    symlink(&file, &link).expect("linked");
    symlink(directory.path().join("nothing"), &dangling).expect("linked");
    mkfifo(&pipe, Mode::S_IRWXU).expect("made");
    fs::create_dir(&folder).expect("created");
    for path in [&file, &link, &dangling, &pipe, &folder] {
        let before = inode(path);
        expect_refused(path, 1, "is not a socket");
        assert_eq!(inode(path), before);
    }
    assert_eq!(fs::read(&file).expect("read"), b"precious");
    assert_eq!(fs::read_dir(directory.path()).expect("ours").count(), 5);
}

#[test]
fn a_link_to_a_leftover_is_not_replaced() {
    let directory = Directory::new();
    let [leftover, link] = ["leftover", "link"].map(|name| directory.path().join(name));
    drop(UnixListener::bind(&leftover).expect("bound"));
    symlink(&leftover, &link).expect("linked");
    let before = inode(&leftover);
    expect_refused(&link, 1, "is not a socket");
    assert_eq!(inode(&leftover), before);
}

#[test]
fn a_start_that_fails_leaves_no_socket() {
    let (directory, port) = (Directory::new(), Port::reserve());
    let path = directory.path().join("socket");
    let mut kept = Server::start_in(Directory::new(), &format!("4 64 {} 8", port.number));
    let other = |arguments: String, base: &Path| run(dipc(base, &arguments, &path).arg("--foreground")).code;
    // The starts fail for these reasons: the port is in use, the segment has another geometry, and there is
    // not enough memory.
    assert_eq!(other(format!("4 64 {} 8", port.number), directory.path()), Some(3));
    assert_eq!(inode(&path), None);
    kept.kill();
    assert_eq!(other(format!("5 64 {} 8", port.number), kept.directory.path()), Some(4));
    assert_eq!(inode(&path), None);
    assert_eq!(other("1000000 2097151 0 8".to_owned(), directory.path()), Some(1));
    assert_eq!(inode(&path), None);
    assert_eq!(fs::read_dir(directory.path()).expect("ours").count(), 0);
}
