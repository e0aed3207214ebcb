//! The start of a server with `--classic`.

use std::net::UdpSocket;
use std::process::Command;

use dipc_testkit::client::Client;
use dipc_testkit::directory::Directory;
use dipc_testkit::port::Port;
use dipc_testkit::process::{first_line, run, wait_for_end};
use dipc_testkit::program;
use dipc_testkit::server::Server;

fn dipc(directory: &Directory, arguments: &str) -> Command {
    let mut command = Command::new(program::dipc());
    command.args(arguments.split_whitespace()).arg("--dir").arg(directory.path());
    command
}

#[test]
fn port_itself_may_be_classic() {
    let port = Port::reserve();
    let server = Server::start(&format!("4 64 {0} 8 --classic {0}", port.number));
    assert_eq!(server.classic, None);
    let mut client = server.connect();
    client.ask("w 3 hello\n", "OK v=1\n");
    client.ask("r 3\n", "hello\n");
    let mut text = server.connect();
    text.send("hello\nr 3\n");
    assert!(text.line().starts_with("OK proto=1 "));
    text.expect("DATA 6 v=1 n=1\nhello\n\n");
    let udp = UdpSocket::bind("127.0.0.1:0").expect("bound");
    udp.send_to(b"r 3", ("127.0.0.1", server.port)).expect("sent");
    let mut answer = [0; 100];
    let len = udp.recv(&mut answer).expect("an answer");
    assert_eq!(&answer[..len], b"hello\n");
}

#[test]
fn silence_is_needed() {
    let directory = Directory::new();
    let outcome = run(&mut dipc(&directory, "4 64 0 8 --classic 0 --quiet-ms 0"));
    outcome.expect_failure(2, "--classic needs a --quiet-ms above 0");
}

#[test]
fn a_classic_port_in_use_is_refused_and_nothing_is_left() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("bound");
    let number = taken.local_addr().expect("bound").port();
    let directory = Directory::new();
    let outcome = run(&mut dipc(&directory, &format!("4 64 0 8 --classic {number}")));
    outcome.expect_failure(3, &format!("port {number} is in use"));
    assert_eq!(std::fs::read_dir(directory.path()).expect("there").count(), 0);
}

#[test]
fn beyond_loopback_the_classic_port_is_tcp_only() {
    let directory = Directory::new();
    let mut command =
        dipc(&directory, "4 64 0 8 --classic 0 --bind 0.0.0.0 --open --foreground --log-level warn");
    command.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped());
    let mut child = command.spawn().expect("started");
    let line = first_line(&mut child);
    let port = dipc_testkit::port::classic_port_in(&line).expect("a classic port");
    Client::tcp(port).ask("w 0 x", "OK v=1\n");
    // No other socket has this port, so the system refuses the packet.
    let udp = UdpSocket::bind("127.0.0.1:0").expect("bound");
    udp.connect(("127.0.0.1", port)).expect("connected");
    udp.send(b"r 0").expect("sent");
    assert_eq!(udp.recv(&mut [0; 9]).expect_err("refused").kind(), std::io::ErrorKind::ConnectionRefused);
    dipc_testkit::process::signal(child.id(), nix::sys::signal::Signal::SIGTERM);
    assert_eq!(wait_for_end(&mut child), Some(0));
    let mut stderr = String::new();
    std::io::Read::read_to_string(&mut child.stderr.take().expect("piped"), &mut stderr).expect("text");
    assert!(stderr.contains(&format!("the classic port {port} is TCP only")), "{stderr}");
}
