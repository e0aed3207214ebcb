//! The Unix-domain socket beside the TCP port: who is served there, and what becomes of its file.
#![allow(missing_docs)]

use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt, symlink};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;

use dipc_testkit::client::Client;
use dipc_testkit::directory::{Directory, inode};
use dipc_testkit::instance::{BaseDirectory, start};
use dipc_testkit::port::{Port, port_in};
use dipc_testkit::process::{bare, run};
use dipc_testkit::program;
use dipc_testkit::server::Server;
use dipc_testkit::wait::HANG;
use nix::sys::signal::Signal;
use nix::sys::stat::Mode;
use nix::unistd::mkfifo;

/// The longest path that fits into a socket's address: sun_path has 108 bytes, the last one is NUL.
const PATH_MAX: usize = 107;

fn serve() -> (Server, PathBuf) {
    serve_on(0)
}

fn serve_on(port: u16) -> (Server, PathBuf) {
    let server = Server::start_with_socket(&format!("4 64 {port} 8"));
    let path = server.socket();
    (server, path)
}

/// `dipc` with these arguments, its instance in `directory` and its socket at `path`.
fn dipc(directory: &Path, arguments: &str, path: &Path) -> Command {
    let mut command = Command::new(program::dipc());
    command.args(arguments.split_whitespace()).args(["--log-level", "warn"]);
    command.arg("--dir").arg(directory).arg("--unix").arg(path);
    command
}

/// A start that is to fail: it says why, and leaves nothing of an instance.
#[track_caller]
fn expect_refused(path: &Path, code: i32, reason: &str) {
    let directory = Directory::new();
    let outcome = run(dipc(directory.path(), "4 64 0 8", path).arg("--foreground"));
    outcome.expect_failure(code, reason);
    outcome.expect_failure(code, &path.to_string_lossy());
    assert_eq!(fs::read_dir(directory.path()).expect("ours").count(), 0, "an instance is left");
}

// ---- serving ----

#[test]
fn both_doors_lead_to_the_same_mailboxes() {
    let (server, path) = serve();
    let (mut unix, mut tcp) = (Client::unix(&path), server.connect());
    unix.ask("w 3\nhello\n", "OK v=1\n");
    tcp.ask("r 3\n", "DATA 5 v=1 n=1\nhello\n");
    tcp.ask("w 3 if=1\r\nworld\r\n", "OK v=2\r\n");
    unix.ask("r 3\nr 9\n", "DATA 5 v=2 n=1\nworld\nERR box max=3 : mailboxes are numbered 0 to 3\n");
    assert_eq!(unix.stat("connections"), 2);
    unix.send("q\n");
    unix.expect_end();
    tcp.ask("ping\n", "OK\n");
}

#[test]
fn the_oldest_clients_are_served_on_a_path() {
    let (_server, path) = serve();
    Client::unix(&path).ask("w 0\nhello", "OK v=1\n");
    let mut client = Client::unix(&path);
    client.send("r 0");
    client.half_close();
    client.expect("DATA 5 v=1 n=1\nhello\n");
    client.expect_end();
}

#[test]
fn a_pipeline_is_answered_in_order_on_a_path() {
    let (_server, path) = serve();
    let mut client = Client::unix(&path);
    client.send("w 0 5\nhello\n".repeat(1000));
    for version in 1..=1000 {
        client.expect(format!("OK v={version}\n"));
    }
}

#[test]
fn many_clients_come_through_both_doors_at_once() {
    let (server, path) = serve();
    let mut clients: Vec<Client> =
        (0..300).map(|n| if n % 2 == 0 { Client::unix(&path) } else { server.connect() }).collect();
    clients.iter_mut().for_each(|client| client.send("ping\n"));
    clients.iter_mut().for_each(|client| client.expect("OK\n"));
    assert_eq!(clients[0].stat("connections"), 300);
}

#[test]
fn the_limit_of_clients_counts_both_doors() {
    let server = Server::start_with_socket("4 64 0 8 --max-clients 1");
    let mut first = server.connect();
    first.ask("ping\n", "OK\n");
    let mut second = Client::unix(&server.socket());
    assert!(second.line().starts_with("ERR busy max=1"));
    second.expect_end();
    first.ask("ping\n", "OK\n");
}

#[test]
fn the_file_is_a_socket_for_its_owner_only() {
    let (server, path) = serve();
    let found = fs::symlink_metadata(&path).expect("there");
    assert!(found.file_type().is_socket());
    assert_eq!(found.mode() & 0o7777, 0o600);
    drop(server);
}

// ---- what is there already ----

#[test]
fn the_leftover_of_a_killed_server_is_replaced() {
    let port = Port::reserve();
    let (mut server, path) = serve_on(port.number);
    server.kill();
    let leftover = inode(&path);
    assert!(leftover.is_some());
    // By the same instance, and by another one.
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
    // It is alive even while it does not answer.
    server.signal(Signal::SIGSTOP);
    expect_refused(&path, 3, "another server listens on");
    server.signal(Signal::SIGCONT);
    assert_eq!(inode(&path), before);
    Client::unix(&path).ask("ping\n", "OK\n");
}

#[test]
fn what_is_not_a_socket_is_not_replaced() {
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
    let other = |arguments: String, home: &Path| run(dipc(home, &arguments, &path).arg("--foreground")).code;
    // The port is in use; the segment is of another geometry; there is no memory.
    assert_eq!(other(format!("4 64 {} 8", port.number), directory.path()), Some(3));
    assert_eq!(inode(&path), None);
    kept.kill();
    assert_eq!(other(format!("5 64 {} 8", port.number), kept.directory.path()), Some(4));
    assert_eq!(inode(&path), None);
    assert_eq!(other("1000000 4194303 0 8".to_owned(), directory.path()), Some(1));
    assert_eq!(inode(&path), None);
    assert_eq!(fs::read_dir(directory.path()).expect("ours").count(), 0);
}

// ---- two at once ----

/// A server in the foreground whose start is still open; killed with the test.
struct Starting {
    child: Child,
    line: mpsc::Receiver<String>,
}

impl Starting {
    fn new(command: &mut Command) -> Self {
        let mut child = command
            .arg("--foreground")
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("it runs");
        let mut stdout = BufReader::new(child.stdout.take().expect("piped"));
        let (tell, line) = mpsc::channel();
        std::thread::spawn(move || {
            let mut line = String::new();
            let _ = stdout.read_line(&mut line);
            let _ = tell.send(line);
        });
        Starting { child, line }
    }

    /// The port on which it serves; `None` when it has ended instead.
    fn port(&self) -> Option<u16> {
        port_in(&self.line.recv_timeout(HANG).expect("it starts or ends"))
    }

    fn end(&mut self) -> (Option<i32>, String) {
        let code = self.child.wait().expect("our child").code();
        (code, std::io::read_to_string(self.child.stderr.take().expect("piped")).expect("read"))
    }
}

impl Drop for Starting {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn of_two_started_at_once_on_one_path_exactly_one_wins() {
    let (home, directory) = (Directory::new(), Directory::new());
    let path = directory.path().join("socket");
    for round in 0..40 {
        let start = || Starting::new(&mut dipc(home.path(), "4 64 0 8", &path));
        let both = [start(), start()];
        let ports = [both[0].port(), both[1].port()];
        let [one, two] = both;
        let (port, mut winner, mut loser) = match ports {
            [Some(port), None] => (port, one, two),
            [None, Some(port)] => (port, two, one),
            _ => panic!("round {round}: the ports are {ports:?}"),
        };
        let (code, said) = loser.end();
        assert_eq!(code, Some(3), "{said}");
        assert!(said.contains("another server listens on"), "{said}");
        assert_eq!(Client::unix(&path).stat("pid"), u64::from(winner.child.id()));
        Client::tcp(port).ask("ping\n", "OK\n");
        // Only the winner has an instance.
        assert_eq!(fs::read_dir(home.path()).expect("ours").count(), 1);
        fs::remove_dir_all(home.path().join(port.to_string())).expect("removed");
        // Now with, now without a leftover that both want to replace.
        winner.child.kill().expect("our child");
        winner.end();
        if round % 4 == 0 {
            fs::remove_file(&path).expect("a leftover");
        }
    }
}

// ---- its end ----

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
fn dipcrm_removes_the_socket_with_all_the_rest() {
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
fn dipcrm_removes_the_socket_that_an_earlier_start_has_left() {
    let port = Port::reserve();
    let (mut server, path) = serve_on(port.number);
    server.kill();
    server.restart(&format!("4 64 {} 8", server.port));
    run(&mut server.dipcrm()).expect_success();
    assert_eq!(inode(&path), None, "nobody will ever remove it");
}

#[test]
fn a_socket_that_is_somebody_elses_by_now_stays() {
    let (mut server, path) = serve();
    fs::remove_file(&path).expect("removed");
    let somebody = UnixListener::bind(&path).expect("bound");
    let theirs = inode(&path);
    server.signal(Signal::SIGTERM);
    assert_eq!(server.wait(), Some(0));
    assert_eq!(inode(&path), theirs);
    drop(somebody);

    let (mut server, path) = serve();
    server.kill();
    fs::remove_file(&path).expect("removed");
    let _somebody = UnixListener::bind(&path).expect("bound");
    let theirs = inode(&path);
    assert_eq!(run(&mut server.dipcrm()).code, Some(0));
    assert_eq!(inode(&path), theirs);
}

#[test]
fn dipcrm_removes_no_file_of_another_kind() {
    let (mut server, path) = serve();
    server.kill();
    fs::remove_file(&path).expect("removed");
    fs::write(&path, "precious").expect("written");
    assert_eq!(run(&mut server.dipcrm()).code, Some(0));
    assert_eq!(fs::read(&path).expect("read"), b"precious");
}

// ---- the path ----

#[test]
fn a_relative_path_is_the_one_of_the_caller() {
    let base = BaseDirectory::new();
    let path = base.join("socket");
    for relative in ["socket", "./socket", "../socket"] {
        let inside = base.join("inside");
        fs::create_dir(&inside).expect("created");
        let from = if relative.starts_with("..") { &inside } else { base.path() };
        let start_here = || {
            let mut command = bare(program::dipc());
            command.args(["4", "64", "0", "8", "--unix", relative, "--dir"]).arg(base.path());
            start(command.current_dir(from))
        };

        let server = start_here();
        Client::unix(&path).ask("ping\n", "OK\n");
        server.end(Signal::SIGTERM);
        assert_eq!(inode(&path), None);
        base.dipcrm(server.port).expect_success();

        let server = start_here();
        base.dipcrm(server.port).expect_success();
        assert_eq!(inode(&path), None);

        let server = start_here();
        server.end(Signal::SIGKILL);
        base.dipcrm(server.port).expect_success();
        assert_eq!(inode(&path), None);
        fs::remove_dir(&inside).expect("nothing is left in it");
    }
}

#[test]
fn a_path_may_be_as_long_as_an_address_and_no_longer() {
    let directory = Directory::new();
    let room = PATH_MAX - directory.path().as_os_str().as_bytes().len() - 1;
    let (longest, longer) = ("s".repeat(room), "s".repeat(room + 1));
    let path = directory.path().join(&longest);
    let server = Server::start(&format!("4 64 0 8 --unix {}", path.display()));
    Client::unix(&path).ask("ping\n", "OK\n");
    drop(server);
    expect_refused(&directory.path().join(longer), 1, "must be shorter");
    expect_refused(&directory.path().join("s".repeat(250)), 1, "must be shorter");
}

#[test]
fn a_path_in_no_directory_is_an_error() {
    let directory = Directory::new();
    expect_refused(&directory.path().join("no/socket"), 1, "No such file");
    fs::write(directory.path().join("file"), "").expect("written");
    expect_refused(&directory.path().join("file/socket"), 1, "Not a directory");
}

#[test]
fn a_directory_that_somebody_has_locked_keeps_no_start_waiting() {
    let (base, directory) = (BaseDirectory::new(), Directory::new());
    let somebody = File::open(directory.path()).expect("opened");
    somebody.lock().expect("locked");
    let path = directory.path().join("socket");
    let outcome = run(base.dipc("4 64 0 8").arg("--unix").arg(&path));
    if let Some(port) = port_in(&outcome.text()) {
        Client::unix(&path).ask("ping\n", "OK\n");
        base.dipcrm(port).expect_success();
    } else {
        assert_ne!(outcome.code, Some(0));
        assert!(outcome.stderr.contains(&*path.to_string_lossy()), "{outcome:?}");
    }
}
