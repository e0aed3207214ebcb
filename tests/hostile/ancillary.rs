//! Clients that send more than bytes: urgent data and descriptors.

use std::io::{IoSlice, Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;

use dipc_testkit::server::Server;
use dipc_testkit::wait::HANG;
use nix::sys::signal::Signal::{SIGCONT, SIGSTOP};
use nix::sys::socket::{self, ControlMessage, MsgFlags, sendmsg};

use crate::scene::{Scene, expect, send};

/// Sends while the server is stopped, so that the server finds all bytes at the same time.
fn at_once(scene: &Scene, send: impl FnOnce()) {
    scene.server.signal(SIGSTOP);
    send();
    scene.server.signal(SIGCONT);
}

#[test]
fn urgent_data_delays_no_request() {
    let mut scene = Scene::new("4 64 0 8");
    let mut stream = scene.connect();
    stream.set_read_timeout(Some(HANG / 4)).expect("set");
    at_once(&scene, || {
        send(&mut stream, "ping\n");
        // An empty line: the answers are the same whether the server skips its byte or not.
        socket::send(stream.as_raw_fd(), b"\n", MsgFlags::MSG_OOB).expect("sent");
        send(&mut stream, "ping\nping\n");
    });
    expect(&mut stream, "OK\nOK\nOK\n");
    drop(stream);
    scene.ends_as_it_began();
}

#[test]
fn the_urgent_data_mark_of_telnet_is_skipped_like_its_options() {
    let mut scene = Scene::new("4 64 0 8");
    let mut telnet = scene.connect();
    telnet.set_read_timeout(Some(HANG / 4)).expect("set");
    at_once(&scene, || {
        // The bytes of an interrupt key: IAC IP, then IAC DM, of which DM is urgent data.
        send(&mut telnet, b"\xff\xf4\xff");
        socket::send(telnet.as_raw_fd(), b"\xf2", MsgFlags::MSG_OOB).expect("sent");
        send(&mut telnet, "ping\r\n");
    });
    expect(&mut telnet, "OK\r\n");
    drop(telnet);
    scene.ends_as_it_began();
}

#[test]
fn descriptors_that_a_client_passes_are_closed_and_delay_no_request() {
    let mut scene = Scene::on(Server::start_with_socket("4 64 0 8"));
    let mut stream = UnixStream::connect(scene.server.socket()).expect("connected");
    scene.made += 1;
    stream.set_read_timeout(Some(HANG / 4)).expect("set");
    scene.catch_up();
    let before = scene.server.descriptors();
    let passed = [stream.as_raw_fd()];
    at_once(&scene, || {
        stream.write_all(b"ping\n").expect("sent");
        let rights = [ControlMessage::ScmRights(&passed)];
        let bytes = [IoSlice::new(b"ping\n")];
        sendmsg::<()>(stream.as_raw_fd(), &bytes, &rights, MsgFlags::empty(), None).expect("sent");
        stream.write_all(b"ping\n").expect("sent");
    });
    let mut answers = [0; 9];
    stream.read_exact(&mut answers).expect("three answers");
    assert_eq!(&answers, b"OK\nOK\nOK\n");
    assert_eq!(scene.server.descriptors(), before);
    drop(stream);
    scene.ends_as_it_began();
}
