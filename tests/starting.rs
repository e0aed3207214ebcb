//! An instance comes to be, or says why not: what `dipc` says, how it exits, and what it leaves behind.
#![allow(missing_docs)]

use std::fs::{self, Permissions};
use std::net::{Ipv6Addr, TcpListener, TcpStream};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::path::{Path, PathBuf};
use std::process::Stdio;

use dipc_testkit::client::Client;
use dipc_testkit::directory::{fingerprint, names};
use dipc_testkit::instance::{BaseDirectory, FILES, Instance, start, start_in_foreground, winner_of};
use dipc_testkit::mount::Mount;
use dipc_testkit::port::Port;
use dipc_testkit::process::{after, bare, has_ended, run, run_both, stat_fields, text};
use dipc_testkit::program;
use dipc_testkit::wait::HANG;
use nix::sys::signal::Signal;
use nix::unistd::{geteuid, getsid};

// ---- starting ----

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
fn a_server_in_the_background_has_let_go_of_its_terminal() {
    let base = BaseDirectory::new();
    // Would wait for ever if the server kept the pipe.
    let mut shell = bare("sh");
    shell.arg("-c").arg("line=$(\"$0\" 4 64 0 8 --dir . 2>&1) && echo \"$line\" && pwd");
    shell.arg(program::dipc()).env("DIPC_LOG_FILE", base.join("log")).current_dir(base.path());
    let server = start(&mut shell);
    assert!(server.line.ends_with(&format!("{}\n", base.path().display())), "{}", server.line);
    let proc = PathBuf::from(format!("/proc/{}", server.pid));
    assert_eq!(fs::read_link(proc.join("cwd")).expect("ours"), Path::new("/"));
    for descriptor in ["fd/0", "fd/1", "fd/2"] {
        assert_eq!(fs::read_link(proc.join(descriptor)).expect("ours"), Path::new("/dev/null"));
    }
    let stat = stat_fields(server.pid).expect("it lives");
    let [session, terminal] = [&stat[3], &stat[4]].map(|field| field.parse::<i32>().expect("a number"));
    assert_ne!(session, getsid(None).expect("ours").as_raw(), "it is in the session of its caller");
    assert_ne!(session, server.pid, "it could get a terminal");
    assert_eq!(terminal, 0, "it has a terminal");
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
fn a_port_that_somebody_else_serves_is_in_use() {
    let base = BaseDirectory::new();
    let somebody = TcpListener::bind(("127.0.0.1", 0)).expect("a free port");
    let port = somebody.local_addr().expect("bound").port();
    let outcome = run(&mut base.dipc(&format!("4 64 {port} 8")));
    outcome.expect_failure(3, &format!("port {port} is in use"));
    base.expect_nothing_left();
    base.dipcrm(port).expect_failure(1, "there is no dipc");
}

#[test]
fn a_second_server_touches_nothing_of_the_first() {
    let (base, other) = (BaseDirectory::new(), BaseDirectory::new());
    let first = base.start("4 64 0 8");
    let port = first.port;
    first.connect().ask("w 0\nhello\n", "OK v=1\n");
    let before = fingerprint(&base.join(port.to_string()));
    let in_use = format!("port {port} is in use");
    run(&mut base.dipc(&format!("4 64 {port} 8"))).expect_failure(3, &in_use);
    run(&mut base.dipc(&format!("4 64 {port} 8 --fresh"))).expect_failure(3, &in_use);
    run(&mut base.dipc(&format!("5 64 {port} 8"))).expect_failure(3, &in_use);
    run(&mut other.dipc(&format!("4 64 {port} 8"))).expect_failure(3, &in_use);
    // The port is free there, the instance is not.
    let elsewhere = format!("4 64 {port} 8 --bind 127.0.0.2 --fresh");
    run(&mut base.dipc(&elsewhere)).expect_failure(3, "a dipc runs in");
    assert_eq!(fingerprint(&base.join(port.to_string())), before);
    assert_eq!(base.processes(), [first.pid]);
    other.expect_nothing_left();
    first.connect().ask("r 0\n", "DATA 5 v=1 n=1\nhello\n");
}

#[test]
fn of_two_started_at_once_on_one_port_exactly_one_wins() {
    let (base, port) = (BaseDirectory::new(), Port::reserve());
    let arguments = format!("4 64 {} 8", port.number);
    for _ in 0..40 {
        let winner = winner_of(run_both([base.dipc(&arguments), base.dipc(&arguments)]));
        assert_eq!(base.files(port.number), FILES);
        assert_eq!((base.pid_file(port.number), base.processes()), (winner.pid, vec![winner.pid]));
        winner.connect().ask("w 0\nhello\nr 0\n", "OK v=1\nDATA 5 v=1 n=1\nhello\n");
        base.dipcrm(port.number).expect_success();
        base.expect_nothing_left();
    }
}

#[test]
fn of_two_started_at_once_on_one_port_in_two_directories_exactly_one_wins() {
    let (one, two, port) = (BaseDirectory::new(), BaseDirectory::new(), Port::reserve());
    let arguments = format!("4 64 {} 8", port.number);
    for _ in 0..40 {
        let winner = winner_of(run_both([one.dipc(&arguments), two.dipc(&arguments)]));
        winner.connect().ask("ping\n", "OK\n");
        let (base, other) = if one.processes().is_empty() { (&two, &one) } else { (&one, &two) };
        assert_eq!((base.pid_file(port.number), base.processes()), (winner.pid, vec![winner.pid]));
        other.expect_nothing_left();
        base.dipcrm(port.number).expect_success();
    }
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
fn wrong_arguments_are_usage() {
    let base = BaseDirectory::new();
    let wrong = [
        "",
        "4",
        "4 64 0",
        "4 64 0 8 9",
        "0 64 0 8",
        "4 0 0 8",
        "4 64 0 0",
        "-4 64 0 8",
        "four 64 0 8",
        "4 64 65536 8",
        "4 64 http 8",
        "4294967296 64 0 8",
        "4 4194304 0 8",
        "4 64 0 99999999999999999999",
        "4 64 0 8 --workers 0",
        "4 64 0 8 --max-clients 0",
        "4 64 0 8 --wait -1",
        "4 64 0 8 --wait soon",
        "4 64 0 8 --bind nowhere",
        "4 64 0 8 --log-level loud",
        "4 64 0 8 --frehs",
        "4294967295 4194303 0 8",
    ];
    for arguments in wrong {
        let outcome = run(&mut base.dipc(arguments));
        assert_eq!((outcome.code, &*outcome.text()), (Some(2), ""), "{arguments}: {outcome:?}");
        assert!(!outcome.stderr.trim().is_empty(), "{arguments}: no reason");
    }
    for arguments in [&[][..], &["0"], &["http"], &["65536"], &["5000", "5001"], &["--now", "5000"]] {
        let outcome = run(bare(program::dipcrm()).args(arguments).env("DIPC_DIR", base.path()));
        assert_eq!((outcome.code, &*outcome.text()), (Some(2), ""), "{arguments:?}: {outcome:?}");
        assert!(!outcome.stderr.trim().is_empty(), "{arguments:?}: no reason");
    }
    base.expect_nothing_left();
}

#[test]
fn help_and_version_are_no_failures() {
    for program in [program::dipc(), program::dipcrm()] {
        for option in ["--help", "--version"] {
            let outcome = run(bare(program).arg(option));
            assert_eq!((outcome.code, &*outcome.stderr), (Some(0), ""), "{program} {option}");
            assert!(outcome.text().contains("dipc"), "{outcome:?}");
        }
    }
}

#[test]
fn only_this_machine_is_served_unless_it_is_said_twice() {
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
fn an_address_that_is_not_here_cannot_be_listened_on() {
    let base = BaseDirectory::new();
    // For documentation only: RFC 5737.
    let outcome = run(&mut base.dipc("4 64 0 8 --bind 192.0.2.1 --open"));
    outcome.expect_failure(1, "cannot listen on 192.0.2.1");
    base.expect_nothing_left();
}

#[test]
fn ipv6_is_served_where_there_is_any() {
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

// ---- what a start cannot have ----

#[test]
fn more_memory_than_there_is_is_refused_with_a_reason() {
    let base = BaseDirectory::new();
    for huge in ["1000000 4194303 0 8", "4294967295 1 0 8"] {
        run(&mut base.dipc(huge)).expect_failure(1, "bytes of shared memory");
        base.expect_nothing_left();
    }
    let addresses = after("ulimit -v 300000", &base.dipc("400 1024 0 8"));
    run(&mut { addresses }).expect_failure(1, "bytes of shared memory");
    base.expect_nothing_left();
}

#[test]
fn a_full_file_system_is_an_error_at_the_start() {
    let base = BaseDirectory::new();
    let Some(small) = Mount::new(base.join("small"), "size=1m,mode=700") else { return };
    let dipc = |arguments: &str| {
        let mut command = bare(program::dipc());
        command.args(arguments.split_whitespace()).arg("--dir").arg(small.path());
        command
    };
    let outcome = run(&mut dipc("16 64 0 8"));
    outcome.expect_failure(1, "bytes of shared memory");
    assert!(outcome.stderr.contains("No space left"), "{outcome:?}");
    assert_eq!(names(small.path()), [""; 0]);
    let server = start(&mut dipc("4 64 0 8"));
    server.connect().ask("ping\n", "OK\n");
    run(bare(program::dipcrm()).arg(server.port.to_string()).arg("--dir").arg(small.path())).expect_success();
    assert_eq!(names(small.path()), [""; 0]);
}

#[test]
fn a_limit_on_the_size_of_files_is_an_error_like_any_other() {
    let base = BaseDirectory::new();
    let outcome = run(&mut after("ulimit -f 100", &base.dipc("4 64 0 8")));
    outcome.expect_failure(1, "bytes of shared memory");
    base.expect_nothing_left();
}

#[test]
fn a_start_that_fails_in_the_background_leaves_nothing() {
    let base = BaseDirectory::new();
    // Enough descriptors for the mailboxes, but not for clients.
    let outcome = run(&mut after("ulimit -n 10", &base.dipc("4 64 0 8")));
    outcome.expect_failure(1, "cannot start the server");
    base.expect_nothing_left();
}

#[test]
fn with_few_descriptors_a_start_tells_the_truth() {
    let base = BaseDirectory::new();
    for limit in 4..24 {
        let setup = format!("exec >'{0}/out' 2>'{0}/err'; ulimit -n {limit}", base.path().display());
        let code = run(&mut after(&setup, &base.dipc("4 64 0 8"))).code;
        let [out, err] = ["out", "err"].map(|name| fs::read_to_string(base.join(name)).expect("written"));
        if code == Some(0) {
            let server = Instance::of(out);
            server.connect().ask("ping\n", "OK\n");
            base.dipcrm(server.port).expect_success();
        } else {
            assert!(!err.is_empty(), "with {limit} descriptors: no reason");
        }
        assert_eq!(base.processes(), [0; 0], "with {limit} descriptors a server lives on: {code:?}, {err}");
    }
}

#[test]
fn a_caller_that_ignores_its_children_gets_a_server_too() {
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
fn a_directory_that_cannot_be_written_is_named() {
    let base = BaseDirectory::new();
    let read_only = base.join("read-only");
    let mount = Mount::new(read_only.clone(), "ro,size=1m,mode=700");
    if mount.is_some() || !geteuid().is_root() {
        fs::set_permissions(&read_only, Permissions::from_mode(0o500)).unwrap_or_default();
        let outcome = run(bare(program::dipc()).args(["4", "64", "0", "8", "--dir"]).arg(&read_only));
        outcome.expect_failure(1, &read_only.display().to_string());
    }
    let nowhere = base.join("no/where");
    let outcome = run(bare(program::dipc()).args(["4", "64", "0", "8", "--dir"]).arg(&nowhere));
    outcome.expect_failure(1, &nowhere.display().to_string());
    drop(mount);
    assert_eq!((names(base.path()), base.processes()), (vec!["read-only".to_owned()], vec![]));
}

#[test]
fn a_log_file_that_cannot_be_written_is_an_error() {
    let base = BaseDirectory::new();
    for log in [base.join("no/log"), base.path().to_owned()] {
        run(base.dipc("4 64 0 8").arg("--log-file").arg(log)).expect_failure(1, "log file");
        base.expect_nothing_left();
    }
}

#[test]
fn an_empty_environment_is_enough() {
    let base = BaseDirectory::new();
    let server = start(base.dipc("4 64 0 8").env_clear());
    server.connect().ask("ping\n", "OK\n");
}

#[test]
fn no_umask_opens_or_closes_an_instance() {
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

// ---- where ----

#[test]
fn a_relative_directory_is_the_one_of_the_caller() {
    let base = BaseDirectory::new();
    let mut dipc = bare(program::dipc());
    dipc.args(["4", "64", "0", "8", "--dir", "here", "--log-file"]).arg(base.join("log"));
    let server = start(dipc.current_dir(base.path()));
    let here = base.join("here");
    assert_eq!(names(&here), [server.port.to_string()]);
    assert_eq!(names(&here.join(server.port.to_string())), FILES);
    let port = server.port.to_string();
    run(bare(program::dipcrm()).args([&*port, "--dir", "here"]).current_dir("/"))
        .expect_failure(1, "there is no dipc");
    run(bare(program::dipcrm()).args([&*port, "--dir", "here"]).current_dir(base.path())).expect_success();
    assert_eq!((names(&here), has_ended(server.pid)), (vec![], true));
}

#[test]
fn the_usual_directory_is_in_shared_memory() {
    let (base, port) = (BaseDirectory::new(), Port::reserve());
    let number = port.number.to_string();
    let usual = PathBuf::from(format!("/dev/shm/dipc-{}/{number}", geteuid()));
    let mut dipc = bare(program::dipc());
    let server = start(dipc.args(["4", "64", &number, "8"]).env("DIPC_LOG_FILE", base.join("log")));
    assert_eq!(names(&usual), FILES);
    let modes =
        [&usual, usual.parent().expect("a parent")].map(|path| fs::metadata(path).expect("there").mode());
    assert_eq!(modes.map(|mode| mode & 0o7777), [0o700, 0o700]);
    run(bare(program::dipcrm()).arg(&number)).expect_success();
    assert!(!usual.exists() && has_ended(server.pid));
    run(bare(program::dipcrm()).arg(&number))
        .expect_failure(1, &format!("there is no dipc on port {number}"));
}

#[test]
fn what_a_start_says_about_stopping_is_true() {
    let base = BaseDirectory::new();
    let server = base.start("4 64 0 8");
    let advice = server.line.split("to stop: ").nth(1).expect("advice");
    let mut words = advice.split_whitespace();
    assert_eq!(words.next(), Some("dipcrm"), "{advice}");
    run(bare(program::dipcrm()).args(words)).expect_success();
    base.expect_nothing_left();
}

#[test]
fn a_directory_on_a_disk_is_mentioned_once() {
    let (base, disk) = (BaseDirectory::new(), Path::new(env!("CARGO_TARGET_TMPDIR")));
    let disk = disk.join(base.path().file_name().expect("a name"));
    let kind = nix::sys::statfs::statfs(disk.parent().expect("a parent")).expect("there").filesystem_type();
    let on_disk = kind != nix::sys::statfs::TMPFS_MAGIC;
    for (directory, on_disk) in [(disk.as_path(), on_disk), (base.path(), false)] {
        let log = base.join("log");
        let mut dipc = bare(program::dipc());
        dipc.args(["4", "64", "0", "8", "--dir"]).arg(directory).arg("--log-file").arg(&log);
        let server = start(&mut dipc);
        run(bare(program::dipcrm()).arg(server.port.to_string()).arg("--dir").arg(directory))
            .expect_success();
        let outcome = fs::read_to_string(&log).expect("a log");
        assert_eq!(outcome.matches("is not on tmpfs").count(), usize::from(on_disk), "{outcome}");
        fs::remove_file(log).expect("removed");
    }
    fs::remove_dir(disk).expect("it is empty");
}

#[test]
fn every_option_comes_from_the_environment_too() {
    let base = BaseDirectory::new();
    let mut dipc = bare(program::dipc());
    dipc.args(["4", "64", "0", "8"]).env("DIPC_DIR", base.path()).env("DIPC_UNIX", base.join("socket"));
    dipc.env("DIPC_LOG_FILE", base.join("log")).env("DIPC_LOG_LEVEL", "info").env("DIPC_BIND", "127.0.0.1");
    dipc.env("DIPC_WORKERS", "3")
        .env("DIPC_MAX_CLIENTS", "7")
        .env("DIPC_QUIET_MS", "0")
        .env("DIPC_WAIT", "1");
    dipc.env("DIPC_FOREGROUND", "no").env("DIPC_FRESH", "0").env("DIPC_OPEN", "false");
    let server = start(&mut dipc);
    let mut client = Client::unix(&base.join("socket"));
    assert_eq!([client.stat("workers"), client.stat("max_clients")], [3, 7]);
    client.ask("w 0\nhello\n", "OK v=1\n");
    server.end(Signal::SIGTERM);
    assert!(fs::read_to_string(base.join("log")).expect("a log").contains("7 clients"));

    // The command line has the last word.
    let number = server.port.to_string();
    dipc.args(["--workers", "2"]).env("DIPC_FRESH", "true");
    dipc.env("DIPC_FOREGROUND", "yes");
    let (_child, server) = start_in_foreground(&mut dipc);
    assert_eq!(server.connect().stat("workers"), 2);
    server.connect().ask("r 0\n", "DATA 0 v=0 n=0\n\n");
    run(bare(program::dipcrm()).arg(server.port.to_string()).env("DIPC_DIR", base.path())).expect_success();
    run(bare(program::dipcrm()).arg(&number).env("DIPC_DIR", base.path())).expect_success();
    assert_eq!(names(base.path()), ["log"]);
}

#[test]
fn nonsense_in_the_environment_is_usage() {
    let base = BaseDirectory::new();
    let options =
        ["BIND", "OPEN", "WORKERS", "WAIT", "MAX_CLIENTS", "QUIET_MS", "FRESH", "FOREGROUND", "LOG_LEVEL"];
    for option in options {
        let outcome = run(base.dipc("4 64 0 8").env(format!("DIPC_{option}"), "nonsense"));
        outcome.expect_failure(2, "nonsense");
    }
    base.expect_nothing_left();
}

#[test]
fn a_service_manager_is_told_and_the_server_stays() {
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
        let (mut child, server) =
            start_in_foreground(base.dipc("4 64 0 8").env("NOTIFY_SOCKET", address).stderr(Stdio::null()));
        let mut word = [0; 64];
        let len = socket.recv(&mut word).expect("word comes");
        assert_eq!(text(&word[..len]).lines().next(), Some("READY=1"));
        server.connect().ask("ping\n", "OK\n");
        server.signal(Signal::SIGTERM);
        assert_eq!(child.wait().expect("our child").code(), Some(0));
    }
}
