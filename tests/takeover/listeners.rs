//! Every listener is passed: the sockets are the same, and their backlogs are kept.

use std::fs;
use std::net::UdpSocket;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use dipc_testkit::client::Client;
use dipc_testkit::directory::inode;
use dipc_testkit::port::Port;
use dipc_testkit::wait::HANG;

use crate::Scene;
use crate::relay::{Relay, Step};

/// The inodes of the sockets that a process has open.
fn sockets(pid: i32) -> Vec<String> {
    let descriptors = fs::read_dir(format!("/proc/{pid}/fd")).expect("the process lives");
    let links = descriptors.filter_map(|entry| fs::read_link(entry.expect("listed").path()).ok());
    let names = links.map(|link| link.display().to_string());
    names.filter(|name| name.starts_with("socket:")).collect()
}

fn udp(port: u16) -> UdpSocket {
    let socket = UdpSocket::bind(("127.0.0.1", 0)).expect("bound");
    socket.connect(("127.0.0.1", port)).expect("connected");
    socket.set_read_timeout(Some(HANG)).expect("set");
    socket
}

fn receive(socket: &UdpSocket) -> Vec<u8> {
    let mut answer = [0; 1024];
    let len = socket.recv(&mut answer).expect("an answer");
    answer[..len].to_vec()
}

/// Four sockets: TCP, Unix, classic and UDP. Clients that connect before the commit are served by the new
/// server.
#[test]
fn unix_classic_and_udp_are_passed() {
    let second = Port::reserve();
    let scene =
        Scene::with(|base| format!("--unix {} --classic {}", base.join("socket").display(), second.number));
    let path = scene.base.join("socket");
    let (before, file) = (sockets(scene.server.pid), inode(&path));
    let (mut relay, mut successor) = Relay::between(&scene);
    relay.pass_until(Step::Descriptors);
    let mut clients = [Client::unix(&path), Client::tcp(second.number), scene.server.connect()];
    clients.iter_mut().for_each(|client| client.send("ping\n"));
    let packets = udp(second.number);
    packets.send(b"w 0 by packet").expect("sent");
    relay.pass_until(Step::Commit);
    let server = successor.serving();
    clients.iter_mut().for_each(|client| client.expect("OK\n"));
    assert!(receive(&packets).starts_with(b"OK"));
    clients[0].ask("r 0\n", "DATA 9 v=1 n=1\nby packet\n");
    let after = sockets(server.pid);
    let passed = before.iter().filter(|socket| after.contains(socket)).count();
    assert!(passed >= 4, "{before:?}, {after:?}");
    assert_eq!(inode(&path), file, "the file of the socket is the same");
    assert_eq!(
        before.len(),
        server_sockets_without_clients(&after, clients.len()),
        "no descriptor is left over"
    );
    drop(clients);
    scene.base.dipcrm(scene.port.number).expect_success();
    assert_eq!(inode(&path), None);
    scene.base.expect_nothing_left();
}

fn server_sockets_without_clients(sockets: &[String], clients: usize) -> usize {
    sockets.len() - clients
}

#[test]
fn a_server_without_tcp_is_taken_over() {
    let mut scene = Scene::with(|base| format!("--unix {} --no-tcp", base.join("socket").display()));
    let path = scene.base.join("socket");
    Client::unix(&path).ask("w 0\nhello\n", "OK v=1\n");
    scene.take_over();
    let mut client = Client::unix(&path);
    client.ask("r 0\n", "DATA 5 v=1 n=1\nhello\n");
    assert_eq!(client.stat("epoch"), 2);
}

#[test]
fn a_classic_port_that_was_chosen_and_one_that_is_port_are_passed() {
    let mut scene = Scene::with(|_| "--classic 0".to_owned());
    scene.take_over();
    let second = dipc_testkit::port::classic_port_in(&scene.server.line).expect("a second port");
    Client::tcp(second).ask("ping\n", "OK\n");
    let packets = udp(second);
    packets.send(b"w 0 x").expect("sent");
    assert!(receive(&packets).starts_with(b"OK"));

    let port = Port::reserve();
    let base = dipc_testkit::instance::BaseDirectory::new();
    let arguments = format!("8 64 {0} 8 --classic {0}", port.number);
    base.start(&arguments);
    let server = base.start(&format!("{arguments} --takeover"));
    server.connect().ask("ping\n", "OK\n");
    let packets = udp(port.number);
    packets.send(b"w 0 x").expect("sent");
    assert!(receive(&packets).starts_with(b"OK"));
}

/// The lock and the segment are the same open files, so the lock is never free.
#[test]
fn the_lock_is_held_at_every_step() {
    let scene = Scene::new();
    let directory = scene.base.join(scene.port.number.to_string());
    let is_locked = |name: &str| {
        let file = fs::File::open(directory.join(name)).expect("opened");
        matches!(file.try_lock(), Err(fs::TryLockError::WouldBlock))
    };
    let ino = |path: &Path| fs::metadata(path).expect("a file").ino();
    let before = ["lock", "segment"].map(|name| ino(&directory.join(name)));
    let (mut relay, mut successor) = Relay::between(&scene);
    for step in Step::ALL {
        relay.pass_until(step);
        assert!(is_locked("lock") && is_locked("segment"), "{step:?}");
    }
    let server = successor.serving();
    dipc_testkit::wait::wait_until("the old server ends", || {
        dipc_testkit::process::has_ended(scene.server.pid)
    });
    assert!(is_locked("lock") && is_locked("segment"));
    assert_eq!(["lock", "segment"].map(|name| ino(&directory.join(name))), before);
    server.connect().ask("ping\n", "OK\n");
}
