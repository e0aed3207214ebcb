//! A server that is ready.

use std::fs;
use std::net::{Ipv6Addr, TcpListener, TcpStream};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::path::{Path, PathBuf};
use std::process::Stdio;

use dipc_testkit::client::Client;
use dipc_testkit::directory::names;
use dipc_testkit::instance::{BaseDirectory, FILES, Instance, start, start_in_foreground};
use dipc_testkit::port::Port;
use dipc_testkit::process::{after, bare, run, stat_fields, text};
use dipc_testkit::program;
use dipc_testkit::wait::HANG;
use nix::sys::signal::Signal;
use nix::unistd::getsid;

#[test]
fn a_start_returns_when_clients_can_connect() {
    let (base, port) = (BaseDirectory::new(), Port::reserve());
    for _ in 0..10 {
        let server = base.start(&format!("4 64 {} 8", port.number));
        server.connect().ask("w 3\nhello\nr 3\n", "OK v=1\nDATA 5 v=1 n=1\nhello\n");
        assert_eq!(server.port, port.number);
        assert_eq!(base.files(port.number), FILES);
        assert_eq!((base.pid_file(port.number), base.processes()), (server.pid, vec![server.pid]));
        base.dipcrm(port.number).expect_success();
    }
}

#[test]
fn a_server_in_the_background_has_no_terminal() {
    let base = BaseDirectory::new();
    // The shell would wait forever if the server kept the pipe.
    let mut shell = bare("sh");
    shell.arg("-c").arg("line=$(\"$0\" 4 64 0 8 --dir . 2>&1) && echo \"$line\" && pwd");
    shell.arg(program::dipc()).env("DIPC_LOG_FILE", base.join("log")).current_dir(base.path());
    let server = start(&mut shell);
    assert!(server.line.ends_with(&format!("{}\n", base.path().display())), "{}", server.line);
    let proc = PathBuf::from(format!("/proc/{}", server.pid));
    assert_eq!(fs::read_link(proc.join("cwd")).expect("ours"), Path::new("/"));
    for descriptor in ["fd/0", "fd/1"] {
        assert_eq!(fs::read_link(proc.join(descriptor)).expect("ours"), Path::new("/dev/null"));
    }
    // The runtime prints there why it aborts a process, for example when no memory is left.
    assert_eq!(fs::read_link(proc.join("fd/2")).expect("ours"), base.join("log"));
    let stat = stat_fields(server.pid).expect("the server lives");
    let [session, terminal] = [&stat[3], &stat[4]].map(|field| field.parse::<i32>().expect("a number"));
    assert_ne!(session, getsid(None).expect("ours").as_raw(), "the server is in the session of its caller");
    assert_ne!(session, server.pid, "the server leads its session, and could get a terminal");
    assert_eq!(terminal, 0, "the server has a terminal");
}

#[test]
fn a_server_in_the_foreground_stays() {
    let base = BaseDirectory::new();
    let (mut child, server) = start_in_foreground(base.dipc("4 64 0 8 --foreground").stderr(Stdio::null()));
    assert_eq!(server.connect().stat("pid"), u64::from(child.id()));
    server.signal(Signal::SIGTERM);
    assert_eq!(child.wait().expect("our child").code(), Some(0));
}

#[test]
fn servers_on_two_ports_share_a_directory() {
    let base = BaseDirectory::new();
    let [one, two] = [base.start("4 64 0 8"), base.start("2 1 0 1")];
    one.connect().ask("w 0\none\n", "OK v=1\n");
    two.connect().ask("w 0\ntwo\n", "OK v=1\n");
    base.dipcrm(one.port).expect_success();
    two.connect().ask("r 0\n", "DATA 3 v=1 n=1\ntwo\n");
    assert_eq!(names(base.path()), [two.port.to_string()]);
    base.dipcrm(two.port).expect_success();
    base.expect_nothing_left();
}

#[test]
fn other_machines_are_served_only_with_bind_and_open() {
    let base = BaseDirectory::new();
    for address in ["0.0.0.0", "::", "192.0.2.1"] {
        run(&mut base.dipc(&format!("4 64 0 8 --bind {address}"))).expect_failure(2, "--open");
        run(base.dipc("4 64 0 8").env("DIPC_BIND", address)).expect_failure(2, "--open");
        run(base.dipc("4 64 0 8").env("DIPC_BIND", address).env("DIPC_OPEN", "false"))
            .expect_failure(2, "--open");
    }
    base.expect_nothing_left();
    let server = base.start("4 64 0 8");
    assert!(server.line.contains(" on 127.0.0.1:"), "{}", server.line);
    TcpStream::connect(("127.0.0.2", server.port)).expect_err("on 127.0.0.1 only");
    let neighbour = base.start("4 64 0 8 --bind 127.0.0.2");
    TcpStream::connect(("127.0.0.1", neighbour.port)).expect_err("on 127.0.0.2 only");
}

#[test]
fn ipv6_is_served_if_the_system_has_it() {
    if TcpListener::bind((Ipv6Addr::LOCALHOST, 0)).is_err() {
        return;
    }
    let base = BaseDirectory::new();
    let server = base.start("4 64 0 8 --bind ::1");
    assert!(server.line.contains(&format!(" on [::1]:{} ", server.port)), "{}", server.line);
    let stream = TcpStream::connect((Ipv6Addr::LOCALHOST, server.port)).expect("connected");
    stream.set_read_timeout(Some(HANG)).expect("set");
    Client::over(stream).ask("ping\n", "OK\n");
    TcpStream::connect(("127.0.0.1", server.port)).expect_err("on ::1 only");
    base.dipcrm(server.port).expect_success();
    base.expect_nothing_left();
}

#[test]
fn a_caller_that_ignores_sigchld_gets_a_server() {
    let base = BaseDirectory::new();
    let mut command = bare("env");
    command.args(["--ignore-signal=CHLD", program::dipc(), "4", "64", "0", "8", "--dir"]).arg(base.path());
    let server = start(&mut command);
    server.connect().ask("ping\n", "OK\n");
    assert_eq!(base.files(server.port), FILES);
    base.dipcrm(server.port).expect_success();
    base.expect_nothing_left();
}

#[test]
fn a_start_needs_no_environment() {
    let base = BaseDirectory::new();
    let server = start(base.dipc("4 64 0 8").env_clear());
    server.connect().ask("ping\n", "OK\n");
}

#[test]
fn the_modes_of_an_instance_do_not_depend_on_the_umask() {
    for umask in ["000", "777"] {
        let base = BaseDirectory::new();
        let mut command = base.dipc("4 64 0 8 --unix socket --log-file log");
        command = after(&format!("umask {umask}; cd '{}'", base.path().display()), &command);
        let server = start(&mut command);
        server.connect().ask("ping\n", "OK\n");
        Client::unix(&base.join("socket")).ask("ping\n", "OK\n");
        let directory = base.join(server.port.to_string());
        let mode = |path: &Path| fs::symlink_metadata(path).expect("a file").mode() & 0o7777;
        assert_eq!(mode(&directory), 0o700, "umask {umask}");
        assert_eq!(mode(&base.join("socket")), 0o600, "umask {umask}");
        assert_eq!(mode(&base.join("log")), 0o600, "umask {umask}");
        for name in base.files(server.port) {
            assert_eq!(mode(&directory.join(&name)) & !0o100, 0o600, "umask {umask}: {name}");
        }
        base.dipcrm(server.port).expect_success();
        assert_eq!(names(base.path()), ["log"]);
    }
}

#[test]
fn the_commands_that_a_start_and_a_stop_print_work() {
    let (base, port) = (BaseDirectory::new(), Port::reserve());
    let server = base.start(&format!("4 64 {} 8", port.number));
    server.connect().ask("put 0\na\nput 0\nb\n", "OK v=1 n=1\nOK v=2 n=2\n");
    let (_, advice) = server.line.split_once("; to stop and keep all data: ").expect("advice");
    let (stop, delete) = advice.split_once("; to delete it: ").expect("advice");
    let run_advice = |advice: &str, program: &str| {
        let outcome = run(bare(program).args(advice.split_whitespace().skip(1)));
        outcome.expect_success();
        outcome.text().to_owned()
    };
    let stopped = run_advice(stop, program::dipcrm());
    let (_, again) = stopped.split_once(" is kept; to continue with it: ").expect(&stopped);
    assert!(again.starts_with(&format!("dipc 4 64 {} 8 --dir ", port.number)), "{stopped}");
    Instance::of(run_advice(again, program::dipc())).connect().ask("r 0\n", "DATA 1 v=2 n=2\nb\n");
    let deleted = run_advice(delete, program::dipcrm());
    let directory = base.join(port.number.to_string());
    assert_eq!(
        deleted,
        format!("dipcrm: deleted {}: 4 mailboxes of 64 kB with 2 messages\n", directory.display())
    );
    base.expect_nothing_left();
}

#[test]
fn a_service_manager_is_notified_and_the_server_stays() {
    let base = BaseDirectory::new();
    let path = base.join("notify");
    let name = format!("dipc-test-{}", base.path().file_name().expect("a name").display());
    let sockets = [
        (UnixDatagram::bind(&path).expect("bound"), path.display().to_string()),
        (
            UnixDatagram::bind_addr(&SocketAddr::from_abstract_name(&name).expect("short")).expect("bound"),
            format!("@{name}"),
        ),
    ];
    for (socket, address) in sockets {
        socket.set_read_timeout(Some(HANG)).expect("set");
        let (mut child, server) = start_in_foreground(
            base.dipc("4 64 0 8 --foreground").env("NOTIFY_SOCKET", address).stderr(Stdio::null()),
        );
        let mut word = [0; 64];
        let len = socket.recv(&mut word).expect("a notification");
        assert_eq!(text(&word[..len]).lines().next(), Some("READY=1"));
        server.connect().ask("ping\n", "OK\n");
        server.signal(Signal::SIGTERM);
        assert_eq!(child.wait().expect("our child").code(), Some(0));
    }
}

#[test]
fn notify_socket_alone_does_not_keep_a_server_in_the_foreground() {
    let base = BaseDirectory::new();
    let mut command = bare("env");
    let dipc = base.dipc("4 64 0 8");
    command.arg(format!("NOTIFY_SOCKET={}", base.join("other-service").display()));
    command.arg(dipc.get_program()).args(dipc.get_args());
    let outcome = run(&mut command);
    outcome.expect_success();
    Instance::of(outcome.text()).connect().ask("ping\n", "OK\n");
}
