//! Files and sockets at which a call could block for ever. A start, a running server and `dipcrm` do not.

use std::fs::{self, File};
use std::io::{ErrorKind, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixDatagram, UnixListener};
use std::path::Path;
use std::process::Stdio;

use dipc_testkit::client::{reset, tcp_stream};
use dipc_testkit::instance::{BaseDirectory, start_in_foreground};
use dipc_testkit::port::Port;
use dipc_testkit::process::{KillOnDrop, run, wait_for_end};
use dipc_testkit::server::Server;
use dipc_testkit::wait::wait_until;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::sys::signal::Signal;
use nix::sys::stat::Mode;
use nix::unistd::{mkfifo, pipe};
use socket2::{Domain, SockAddr, Socket, Type};

/// A pipe that has no more room: a reader that does not read, and the writing end, which blocks.
fn full_pipe() -> (OwnedFd, OwnedFd) {
    let (reader, writer) = pipe().expect("a pipe");
    fcntl(&writer, FcntlArg::F_SETFL(OFlag::O_NONBLOCK)).expect("set");
    let mut file = File::from(writer);
    while file.write(&[b'x'; 4096]).is_ok() {}
    fcntl(&file, FcntlArg::F_SETFL(OFlag::empty())).expect("set");
    (reader, file.into())
}

/// A socket that listens and has no place in its backlog, with the connections that take it.
fn full_socket(path: &Path) -> (UnixListener, Vec<Socket>) {
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None).expect("a socket");
    socket.bind(&SockAddr::unix(path).expect("short")).expect("bound");
    socket.listen(0).expect("listening");
    let mut connected = Vec::new();
    loop {
        let client = Socket::new(Domain::UNIX, Type::STREAM, None).expect("a socket");
        client.set_nonblocking(true).expect("set");
        match client.connect(&SockAddr::unix(path).expect("short")) {
            Ok(()) => connected.push(client),
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                return (OwnedFd::from(socket).into(), connected);
            }
            Err(error) => panic!("{error}"),
        }
    }
}

/// Cause: connect(2) waits for a place in the backlog of a Unix-domain socket.
#[test]
fn a_unix_socket_with_a_full_backlog_does_not_block() {
    let base = BaseDirectory::new();
    let path = base.join("socket");
    let full = full_socket(&path);
    run(base.dipc("4 64 0 8").arg("--unix").arg(&path)).expect_failure(3, "another server listens on");
    drop(full);
    fs::remove_file(&path).expect("removed");
    // One that takes the path of a server that was killed.
    let port = Port::reserve();
    let command = &mut base.dipc(&format!("4 64 {} 8", port.number));
    let server = dipc_testkit::instance::start(command.arg("--unix").arg(&path));
    server.end(Signal::SIGKILL);
    fs::remove_file(&path).expect("removed");
    let _full = full_socket(&path);
    let outcome = base.dipcrm(port.number);
    assert_eq!(outcome.code, Some(0), "{outcome:?}");
    assert!(path.exists());
}

/// Cause: open(2) of a FIFO waits for a process at its other end.
#[test]
fn a_fifo_does_not_block() {
    let base = BaseDirectory::new();
    let fifo = base.join("fifo");
    mkfifo(&fifo, Mode::S_IRWXU).expect("made");
    run(base.dipc("4 64 0 8").arg("--log-file").arg(&fifo)).expect_failure(1, "cannot open the log file");
    run(base.dipc("4 64 0 8").arg("--unix").arg(fifo.join("socket"))).expect_failure(1, "Not a directory");
    run(base.dipc("4 64 0 8").arg("--unix").arg(&fifo)).expect_failure(1, "is not a socket");
    fs::remove_file(&fifo).expect("removed");
    base.expect_nothing_left();
}

/// Cause: SIGHUP opened the FIFO, and the server waited for its reader.
#[test]
fn a_log_that_has_become_a_fifo_does_not_stop_a_server() {
    let base = BaseDirectory::new();
    let log = base.join("log");
    let server = base.start(&format!("4 64 0 8 --log-file {}", log.display()));
    let rotated = base.join("log.1");
    fs::rename(&log, &rotated).expect("renamed");
    mkfifo(&log, Mode::S_IRWXU).expect("made");
    server.signal(Signal::SIGHUP);
    wait_until("the log says so", || {
        fs::read_to_string(&rotated).is_ok_and(|log| log.contains("cannot reopen"))
    });
    server.connect().ask("ping\n", "OK\n");
    server.end(Signal::SIGTERM);
    assert!(fs::read_to_string(&rotated).expect("a log").contains("stopped"));
}

/// Cause: the reactor itself wrote the log, and waited for room in the pipe.
#[test]
fn a_log_that_nobody_reads_does_not_stop_a_server() {
    let (base, port) = (BaseDirectory::new(), Port::reserve());
    let (_reader, writer) = full_pipe();
    let mut command = base.dipc(&format!("4 64 {} 8 --foreground --log-level debug", port.number));
    let (child, server) = start_in_foreground(command.stderr(writer));
    let mut child = KillOnDrop(child);
    let mut client = server.connect();
    // Every reset is a line.
    wait_until("lines are dropped", || {
        for _ in 0..100 {
            let mut stream = tcp_stream(server.port);
            stream.write_all(b"r 0\n").expect("sent");
            reset(stream).expect("set");
        }
        client.stat("log_lines_dropped") > 0
    });
    server.signal(Signal::SIGTERM);
    assert_eq!(wait_for_end(&mut child.0), Some(0));
}

/// Cause: the line of a started server was written to a pipe without room.
#[test]
fn a_reader_of_stdout_that_does_not_read_does_not_stop_a_start() {
    let (base, port) = (BaseDirectory::new(), Port::reserve());
    for foreground in ["", "--foreground"] {
        let [(_out, stdout), (_err, stderr)] = [full_pipe(), full_pipe()];
        let mut command = base.dipc(&format!("4 64 {} 8 {foreground}", port.number));
        let child = command.stdin(Stdio::null()).stdout(stdout).stderr(stderr).spawn().expect("it runs");
        let mut child = KillOnDrop(child);
        let directory = base.join(port.number.to_string());
        wait_until("a server", || directory.join("segment").exists());
        dipc_testkit::client::Client::tcp(port.number).ask("ping\n", "OK\n");
        base.dipcrm(port.number).expect_success();
        assert_eq!(wait_for_end(&mut child.0), Some(0), "{foreground}");
        drop(command);
    }
}

#[test]
fn a_service_manager_that_does_not_read_does_not_stop_a_start() {
    let base = BaseDirectory::new();
    let path = base.join("notify");
    let _manager = UnixDatagram::bind(&path).expect("bound");
    let sender = UnixDatagram::unbound().expect("a socket");
    sender.set_nonblocking(true).expect("set");
    while sender.send_to(b"full", &path).is_ok() {}
    let mut command = base.dipc("4 64 0 8 --foreground");
    let (child, server) = start_in_foreground(command.env("NOTIFY_SOCKET", &path).stderr(Stdio::null()));
    let mut child = KillOnDrop(child);
    server.connect().ask("ping\n", "OK\n");
    server.signal(Signal::SIGTERM);
    assert_eq!(wait_for_end(&mut child.0), Some(0));
}

#[test]
fn a_control_socket_with_a_full_backlog_does_not_block_a_start() {
    let server = Server::start("4 64 0 8");
    server.halt();
    let control = server.directory.join(format!("{}/control.sock", server.port));
    let mut connected = Vec::new();
    loop {
        let client = Socket::new(Domain::UNIX, Type::SEQPACKET, None).expect("a socket");
        client.set_nonblocking(true).expect("set");
        match client.connect(&SockAddr::unix(&control).expect("short")) {
            Ok(()) => connected.push(client),
            Err(_) => break,
        }
    }
    let mut second = dipc_testkit::process::bare(dipc_testkit::program::dipc());
    second.args(["4", "64", &server.port.to_string(), "8", "--bind", "127.0.0.2", "--dir"]);
    run(second.arg(server.directory.path())).expect_failure(3, "a dipc runs in");
    server.signal(Signal::SIGCONT);
    server.connect().ask("ping\n", "OK\n");
}
