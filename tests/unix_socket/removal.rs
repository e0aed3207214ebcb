//! When the socket file is removed, and when it is kept.

use std::fs;
use std::os::unix::net::UnixListener;

use dipc_testkit::client::Client;
use dipc_testkit::directory::inode;
use dipc_testkit::port::Port;
use dipc_testkit::process::run;
use nix::sys::signal::Signal;

use crate::{serve, serve_on};

#[test]
fn a_server_that_stops_removes_its_socket() {
    for signal in [Signal::SIGTERM, Signal::SIGINT] {
        let (mut server, path) = serve();
        let mut client = Client::unix(&path);
        client.ask("ping\n", "OK\n");
        server.signal(signal);
        client.expect_end();
        assert_eq!(server.wait(), Some(0));
        assert_eq!(inode(&path), None);
    }
}

#[test]
fn dipcrm_removes_the_socket_with_the_instance() {
    let (mut server, path) = serve();
    run(&mut server.dipcrm()).expect_success();
    assert_eq!(server.wait(), Some(0));
    assert_eq!(inode(&path), None);
    assert_eq!(fs::read_dir(server.directory.path()).expect("ours").count(), 0);
}

#[test]
fn dipcrm_removes_the_socket_of_a_killed_server() {
    let (mut server, path) = serve();
    server.kill();
    assert!(inode(&path).is_some());
    run(&mut server.dipcrm()).expect_success();
    assert_eq!(fs::read_dir(server.directory.path()).expect("ours").count(), 0);
}

#[test]
fn dipcrm_removes_the_socket_of_an_earlier_start() {
    let port = Port::reserve();
    let (mut server, path) = serve_on(port.number);
    server.kill();
    server.restart(&format!("4 64 {} 8", server.port));
    run(&mut server.dipcrm()).expect_success();
    assert_eq!(inode(&path), None, "no later start would remove it");
}

#[test]
fn a_socket_that_belongs_to_another_program_stays() {
    let (mut server, path) = serve();
    fs::remove_file(&path).expect("removed");
    let other = UnixListener::bind(&path).expect("bound");
    let others = inode(&path);
    server.signal(Signal::SIGTERM);
    assert_eq!(server.wait(), Some(0));
    assert_eq!(inode(&path), others);
    drop(other);

    let (mut server, path) = serve();
    server.kill();
    fs::remove_file(&path).expect("removed");
    let _other = UnixListener::bind(&path).expect("bound");
    let others = inode(&path);
    assert_eq!(run(&mut server.dipcrm()).code, Some(0));
    assert_eq!(inode(&path), others);
}

#[test]
fn dipcrm_removes_no_file_that_is_no_socket() {
    let (mut server, path) = serve();
    server.kill();
    fs::remove_file(&path).expect("removed");
    fs::write(&path, "precious").expect("written");
    assert_eq!(run(&mut server.dipcrm()).code, Some(0));
    assert_eq!(fs::read(&path).expect("read"), b"precious");
}
