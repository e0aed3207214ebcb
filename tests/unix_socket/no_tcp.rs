//! A server without TCP: PORT is only the name of its instance.

use std::net::{TcpListener, TcpStream};

use dipc_testkit::client::Client;
use dipc_testkit::directory::names;
use dipc_testkit::instance::{BaseDirectory, start_in_foreground};
use dipc_testkit::port::Port;
use dipc_testkit::process::run;
use nix::sys::signal::Signal;

/// The arguments of a server without TCP on this port, with its socket in this directory.
fn arguments(base: &BaseDirectory, port: &Port) -> String {
    format!("4 64 {} 8 --no-tcp --unix {}", port.number, base.join("socket").display())
}

#[test]
fn it_is_served_and_removed_without_tcp() {
    let (base, port) = (BaseDirectory::new(), Port::reserve());
    let socket = base.join("socket");
    let server = base.start(&arguments(&base, &port));
    let expected = format!("dipc: 4 mailboxes of 64 kB on {} (pid {}, ", socket.display(), server.pid);
    assert!(server.line.starts_with(&expected), "{}", server.line);
    let removal = format!(": dipcrm {} --dir {}\n", port.number, base.path().display());
    assert!(server.line.ends_with(&removal), "{}", server.line);
    TcpStream::connect(("127.0.0.1", port.number)).expect_err("it does not listen on TCP");
    Client::unix(&socket).ask("w 3\nhello\nr 3\n", "OK v=1\nDATA 5 v=1 n=1\nhello\n");
    let files = ["control.sock", "lock", "pid", "segment", "socket", "waiters"];
    assert_eq!(base.files(port.number), files);

    base.dipcrm(port.number).expect_success();
    base.expect_nothing_left();
    base.dipcrm(port.number).expect_failure(1, "there is no dipc on port");
}

#[test]
fn it_does_not_need_its_port() {
    let (base, port) = (BaseDirectory::new(), Port::reserve());
    let other = TcpListener::bind(("127.0.0.1", 0)).expect("a free port");
    let taken = other.local_addr().expect("bound").port();
    let socket = base.join("socket");
    base.start(&format!("4 64 {taken} 8 --no-tcp --unix {}", socket.display()));
    Client::unix(&socket).ask("ping\n", "OK\n");
    base.dipcrm(taken).expect_success();
    base.expect_nothing_left();

    // In the foreground, too.
    let mut dipc = base.dipc(&format!("{} --foreground", arguments(&base, &port)));
    let (mut child, server) = start_in_foreground(&mut dipc);
    assert_eq!(server.port, port.number);
    Client::unix(&socket).ask("ping\n", "OK\n");
    server.signal(Signal::SIGTERM);
    assert_eq!(child.wait().expect("our child").code(), Some(0));
    assert_eq!(base.files(port.number), ["lock", "segment", "waiters"]);
}

#[test]
fn one_instance_has_one_server_with_or_without_tcp() {
    let (base, port) = (BaseDirectory::new(), Port::reserve());
    base.start(&arguments(&base, &port));
    let second = format!("4 64 {} 8 --no-tcp --unix {}", port.number, base.join("second").display());
    run(&mut base.dipc(&second)).expect_failure(3, "a dipc runs in");
    run(&mut base.dipc(&format!("4 64 {} 8", port.number))).expect_failure(3, "a dipc runs in");
    assert_eq!(names(base.path()), [&*port.number.to_string(), "socket"]);
}

#[test]
fn it_continues_with_the_mailboxes_of_a_killed_server() {
    let (base, port) = (BaseDirectory::new(), Port::reserve());
    let socket = base.join("socket");
    let server = base.start(&arguments(&base, &port));
    Client::unix(&socket).ask("w 3\nhello\n", "OK v=1\n");
    server.end(Signal::SIGKILL);
    // The next server may listen on TCP.
    let with_tcp = base.start(&format!("4 64 {} 8", port.number));
    with_tcp.connect().ask("r 3\n", "DATA 5 v=1 n=1\nhello\n");
    with_tcp.end(Signal::SIGTERM);
    assert_eq!(names(base.path()), [port.number.to_string()], "the socket of the killed server is left");

    let last = base.start(&arguments(&base, &port));
    Client::unix(&socket).ask("r 3\n", "DATA 5 v=1 n=1\nhello\n");
    last.end(Signal::SIGKILL);
    base.dipcrm(port.number).expect_success();
    base.expect_nothing_left();
}
