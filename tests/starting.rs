//! An instance comes to be, or says why not: what `dipc` says, how it exits, and what it leaves behind.
#![allow(missing_docs)]

mod support;

use std::fs::{self, Permissions};
use std::net::{Ipv6Addr, TcpListener, TcpStream};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::path::{Path, PathBuf};
use std::process::Stdio;

use nix::sys::signal::Signal;
use nix::unistd::{geteuid, getsid};

use support::instance::{
    FILES, Home, Mount, after, at_once, bare, instance, is_gone, names, say, started, stat_of, stays, traces,
    winner_of,
};
use support::{Client, DIPC, DIPCRM, PATIENCE, Port, text};

// ---- starting ----

#[test]
fn a_start_returns_when_clients_can_connect() {
    let (home, port) = (Home::new(), Port::reserve());
    for _ in 0..10 {
        let server = home.start(&format!("4 64 {} 8", port.number));
        server.connect().ask("w 3\nhello\nr 3\n", "OK v=1\nDATA 5 v=1 n=1\nhello\n");
        assert_eq!(server.port, port.number);
        assert_eq!(home.files(port.number), FILES);
        assert_eq!((home.pid_file(port.number), home.processes()), (server.pid, vec![server.pid]));
        home.dipcrm(port.number).expect_removed();
    }
}

#[test]
fn a_server_in_the_background_has_let_go_of_its_terminal() {
    let home = Home::new();
    // Would wait for ever if the server kept the pipe.
    let mut shell = bare("sh");
    shell.arg("-c").arg("line=$(\"$0\" 4 64 0 8 --dir . 2>&1) && echo \"$line\" && pwd");
    shell.arg(DIPC).env("DIPC_LOG_FILE", home.join("log")).current_dir(home.path());
    let server = started(&mut shell);
    assert!(server.line.ends_with(&format!("{}\n", home.path().display())), "{}", server.line);
    let proc = PathBuf::from(format!("/proc/{}", server.pid));
    assert_eq!(fs::read_link(proc.join("cwd")).expect("ours"), Path::new("/"));
    for descriptor in ["fd/0", "fd/1", "fd/2"] {
        assert_eq!(fs::read_link(proc.join(descriptor)).expect("ours"), Path::new("/dev/null"));
    }
    let stat = stat_of(server.pid).expect("it lives");
    let [session, terminal] = [&stat[3], &stat[4]].map(|field| field.parse::<i32>().expect("a number"));
    assert_ne!(session, getsid(None).expect("ours").as_raw(), "it is in the session of its caller");
    assert_ne!(session, server.pid, "it could get a terminal");
    assert_eq!(terminal, 0, "it has a terminal");
}

#[test]
fn a_server_in_the_foreground_stays() {
    let home = Home::new();
    let (mut child, server) = stays(home.dipc("4 64 0 8 --foreground").stderr(Stdio::null()));
    assert_eq!(server.connect().stat("pid"), u64::from(child.id()));
    server.signal(Signal::SIGTERM);
    assert_eq!(child.wait().expect("our child").code(), Some(0));
}

#[test]
fn a_port_that_somebody_else_serves_is_in_use() {
    let home = Home::new();
    let somebody = TcpListener::bind(("127.0.0.1", 0)).expect("a free port");
    let port = somebody.local_addr().expect("bound").port();
    let said = say(&mut home.dipc(&format!("4 64 {port} 8")));
    said.expect(3, &format!("port {port} is in use"));
    home.expect_nothing_left();
    home.dipcrm(port).expect(1, "there is no dipc");
}

#[test]
fn a_second_server_touches_nothing_of_the_first() {
    let (home, other) = (Home::new(), Home::new());
    let first = home.start("4 64 0 8");
    let port = first.port;
    first.connect().ask("w 0\nhello\n", "OK v=1\n");
    let before = traces(&home.join(port.to_string()));
    let in_use = format!("port {port} is in use");
    say(&mut home.dipc(&format!("4 64 {port} 8"))).expect(3, &in_use);
    say(&mut home.dipc(&format!("4 64 {port} 8 --fresh"))).expect(3, &in_use);
    say(&mut home.dipc(&format!("5 64 {port} 8"))).expect(3, &in_use);
    say(&mut other.dipc(&format!("4 64 {port} 8"))).expect(3, &in_use);
    // The port is free there, the instance is not.
    let elsewhere = format!("4 64 {port} 8 --bind 127.0.0.2 --fresh");
    say(&mut home.dipc(&elsewhere)).expect(3, "a dipc runs in");
    assert_eq!(traces(&home.join(port.to_string())), before);
    assert_eq!(home.processes(), [first.pid]);
    other.expect_nothing_left();
    first.connect().ask("r 0\n", "DATA 5 v=1 n=1\nhello\n");
}

#[test]
fn of_two_started_at_once_on_one_port_exactly_one_wins() {
    let (home, port) = (Home::new(), Port::reserve());
    let arguments = format!("4 64 {} 8", port.number);
    for _ in 0..40 {
        let winner = winner_of(at_once([home.dipc(&arguments), home.dipc(&arguments)]));
        assert_eq!(home.files(port.number), FILES);
        assert_eq!((home.pid_file(port.number), home.processes()), (winner.pid, vec![winner.pid]));
        winner.connect().ask("w 0\nhello\nr 0\n", "OK v=1\nDATA 5 v=1 n=1\nhello\n");
        home.dipcrm(port.number).expect_removed();
        home.expect_nothing_left();
    }
}

#[test]
fn of_two_started_at_once_on_one_port_in_two_directories_exactly_one_wins() {
    let (one, two, port) = (Home::new(), Home::new(), Port::reserve());
    let arguments = format!("4 64 {} 8", port.number);
    for _ in 0..40 {
        let winner = winner_of(at_once([one.dipc(&arguments), two.dipc(&arguments)]));
        winner.connect().ask("ping\n", "OK\n");
        let (home, other) = if one.processes().is_empty() { (&two, &one) } else { (&one, &two) };
        assert_eq!((home.pid_file(port.number), home.processes()), (winner.pid, vec![winner.pid]));
        other.expect_nothing_left();
        home.dipcrm(port.number).expect_removed();
    }
}

#[test]
fn servers_on_two_ports_share_a_directory() {
    let home = Home::new();
    let [one, two] = [home.start("4 64 0 8"), home.start("2 1 0 1")];
    one.connect().ask("w 0\none\n", "OK v=1\n");
    two.connect().ask("w 0\ntwo\n", "OK v=1\n");
    home.dipcrm(one.port).expect_removed();
    two.connect().ask("r 0\n", "DATA 3 v=1 n=1\ntwo\n");
    assert_eq!(names(home.path()), [two.port.to_string()]);
    home.dipcrm(two.port).expect_removed();
    home.expect_nothing_left();
}

#[test]
fn wrong_arguments_are_usage() {
    let home = Home::new();
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
        let said = say(&mut home.dipc(arguments));
        assert_eq!((said.code, &*said.out), (Some(2), ""), "{arguments}: {said:?}");
        assert!(!said.err.trim().is_empty(), "{arguments}: no reason");
    }
    for arguments in [&[][..], &["0"], &["http"], &["65536"], &["5000", "5001"], &["--now", "5000"]] {
        let said = say(bare(DIPCRM).args(arguments).env("DIPC_DIR", home.path()));
        assert_eq!((said.code, &*said.out), (Some(2), ""), "{arguments:?}: {said:?}");
        assert!(!said.err.trim().is_empty(), "{arguments:?}: no reason");
    }
    home.expect_nothing_left();
}

#[test]
fn help_and_version_are_no_failures() {
    for program in [DIPC, DIPCRM] {
        for option in ["--help", "--version"] {
            let said = say(bare(program).arg(option));
            assert_eq!((said.code, &*said.err), (Some(0), ""), "{program} {option}");
            assert!(said.out.contains("dipc"), "{said:?}");
        }
    }
}

#[test]
fn only_this_machine_is_served_unless_it_is_said_twice() {
    let home = Home::new();
    for address in ["0.0.0.0", "::", "192.0.2.1"] {
        say(&mut home.dipc(&format!("4 64 0 8 --bind {address}"))).expect(2, "--open");
        say(home.dipc("4 64 0 8").env("DIPC_BIND", address)).expect(2, "--open");
        say(home.dipc("4 64 0 8").env("DIPC_BIND", address).env("DIPC_OPEN", "false")).expect(2, "--open");
    }
    home.expect_nothing_left();
    let server = home.start("4 64 0 8");
    assert!(server.line.contains(" on 127.0.0.1:"), "{}", server.line);
    TcpStream::connect(("127.0.0.2", server.port)).expect_err("on 127.0.0.1 only");
    let neighbour = home.start("4 64 0 8 --bind 127.0.0.2");
    TcpStream::connect(("127.0.0.1", neighbour.port)).expect_err("on 127.0.0.2 only");
}

#[test]
fn an_address_that_is_not_here_cannot_be_listened_on() {
    let home = Home::new();
    // For documentation only: RFC 5737.
    let said = say(&mut home.dipc("4 64 0 8 --bind 192.0.2.1 --open"));
    said.expect(1, "cannot listen on 192.0.2.1");
    home.expect_nothing_left();
}

#[test]
fn ipv6_is_served_where_there_is_any() {
    if TcpListener::bind((Ipv6Addr::LOCALHOST, 0)).is_err() {
        return;
    }
    let home = Home::new();
    let server = home.start("4 64 0 8 --bind ::1");
    assert!(server.line.contains(&format!(" on [::1]:{} ", server.port)), "{}", server.line);
    let stream = TcpStream::connect((Ipv6Addr::LOCALHOST, server.port)).expect("connected");
    stream.set_read_timeout(Some(PATIENCE)).expect("set");
    Client::over(stream).ask("ping\n", "OK\n");
    TcpStream::connect(("127.0.0.1", server.port)).expect_err("on ::1 only");
    home.dipcrm(server.port).expect_removed();
    home.expect_nothing_left();
}

// ---- what a start cannot have ----

#[test]
fn more_memory_than_there_is_is_refused_with_a_reason() {
    let home = Home::new();
    for huge in ["1000000 4194303 0 8", "4294967295 1 0 8"] {
        say(&mut home.dipc(huge)).expect(1, "bytes of shared memory");
        home.expect_nothing_left();
    }
    let addresses = after("ulimit -v 300000", &home.dipc("400 1024 0 8"));
    say(&mut { addresses }).expect(1, "bytes of shared memory");
    home.expect_nothing_left();
}

#[test]
fn a_full_file_system_is_an_error_at_the_start() {
    let home = Home::new();
    let Some(small) = Mount::new(home.join("small"), "size=1m,mode=700") else { return };
    let dipc = |arguments: &str| {
        let mut command = bare(DIPC);
        command.args(arguments.split_whitespace()).arg("--dir").arg(&small.0);
        command
    };
    let said = say(&mut dipc("16 64 0 8"));
    said.expect(1, "bytes of shared memory");
    assert!(said.err.contains("No space left"), "{said:?}");
    assert_eq!(names(&small.0), [""; 0]);
    let server = started(&mut dipc("4 64 0 8"));
    server.connect().ask("ping\n", "OK\n");
    say(bare(DIPCRM).arg(server.port.to_string()).arg("--dir").arg(&small.0)).expect_removed();
    assert_eq!(names(&small.0), [""; 0]);
}

#[test]
fn a_limit_on_the_size_of_files_is_an_error_like_any_other() {
    let home = Home::new();
    let said = say(&mut after("ulimit -f 100", &home.dipc("4 64 0 8")));
    said.expect(1, "bytes of shared memory");
    home.expect_nothing_left();
}

#[test]
fn a_start_that_fails_in_the_background_leaves_nothing() {
    let home = Home::new();
    // Enough descriptors for the mailboxes, but not for clients.
    let said = say(&mut after("ulimit -n 10", &home.dipc("4 64 0 8")));
    said.expect(1, "cannot start the server");
    home.expect_nothing_left();
}

#[test]
fn with_few_descriptors_a_start_tells_the_truth() {
    let home = Home::new();
    for limit in 4..24 {
        let setup = format!("exec >'{0}/out' 2>'{0}/err'; ulimit -n {limit}", home.path().display());
        let code = say(&mut after(&setup, &home.dipc("4 64 0 8"))).code;
        let [out, err] = ["out", "err"].map(|name| fs::read_to_string(home.join(name)).expect("written"));
        if code == Some(0) {
            let server = instance(out);
            server.connect().ask("ping\n", "OK\n");
            home.dipcrm(server.port).expect_removed();
        } else {
            assert!(!err.is_empty(), "with {limit} descriptors: no reason");
        }
        assert_eq!(home.processes(), [], "with {limit} descriptors a server lives on: {code:?}, {err}");
    }
}

#[test]
fn a_caller_that_ignores_its_children_gets_a_server_too() {
    let home = Home::new();
    let mut command = bare("env");
    command.args(["--ignore-signal=CHLD", DIPC, "4", "64", "0", "8", "--dir"]).arg(home.path());
    let server = started(&mut command);
    server.connect().ask("ping\n", "OK\n");
    assert_eq!(home.files(server.port), FILES);
    home.dipcrm(server.port).expect_removed();
    home.expect_nothing_left();
}

#[test]
fn a_directory_that_cannot_be_written_is_named() {
    let home = Home::new();
    let read_only = home.join("read-only");
    let mount = Mount::new(read_only.clone(), "ro,size=1m,mode=700");
    if mount.is_some() || !geteuid().is_root() {
        fs::set_permissions(&read_only, Permissions::from_mode(0o500)).unwrap_or_default();
        let said = say(bare(DIPC).args(["4", "64", "0", "8", "--dir"]).arg(&read_only));
        said.expect(1, &read_only.display().to_string());
    }
    let nowhere = home.join("no/where");
    let said = say(bare(DIPC).args(["4", "64", "0", "8", "--dir"]).arg(&nowhere));
    said.expect(1, &nowhere.display().to_string());
    drop(mount);
    assert_eq!((names(home.path()), home.processes()), (vec!["read-only".to_owned()], vec![]));
}

#[test]
fn a_log_file_that_cannot_be_written_is_an_error() {
    let home = Home::new();
    for log in [home.join("no/log"), home.path().to_owned()] {
        say(home.dipc("4 64 0 8").arg("--log-file").arg(log)).expect(1, "log file");
        home.expect_nothing_left();
    }
}

#[test]
fn an_empty_environment_is_enough() {
    let home = Home::new();
    let server = started(home.dipc("4 64 0 8").env_clear());
    server.connect().ask("ping\n", "OK\n");
}

#[test]
fn no_umask_opens_or_closes_an_instance() {
    for umask in ["000", "777"] {
        let home = Home::new();
        let mut command = home.dipc("4 64 0 8 --unix socket --log-file log");
        command = after(&format!("umask {umask}; cd '{}'", home.path().display()), &command);
        let server = started(&mut command);
        server.connect().ask("ping\n", "OK\n");
        Client::unix(&home.join("socket")).ask("ping\n", "OK\n");
        let directory = home.join(server.port.to_string());
        let mode = |path: &Path| fs::symlink_metadata(path).expect("a file").mode() & 0o7777;
        assert_eq!(mode(&directory), 0o700, "umask {umask}");
        assert_eq!(mode(&home.join("socket")), 0o600, "umask {umask}");
        assert_eq!(mode(&home.join("log")), 0o600, "umask {umask}");
        for name in home.files(server.port) {
            assert_eq!(mode(&directory.join(&name)) & !0o100, 0o600, "umask {umask}: {name}");
        }
        home.dipcrm(server.port).expect_removed();
        assert_eq!(names(home.path()), ["log"]);
    }
}

// ---- where ----

#[test]
fn a_relative_directory_is_the_one_of_the_caller() {
    let home = Home::new();
    let mut dipc = bare(DIPC);
    dipc.args(["4", "64", "0", "8", "--dir", "here", "--log-file"]).arg(home.join("log"));
    let server = started(dipc.current_dir(home.path()));
    let here = home.join("here");
    assert_eq!(names(&here), [server.port.to_string()]);
    assert_eq!(names(&here.join(server.port.to_string())), FILES);
    let port = server.port.to_string();
    say(bare(DIPCRM).args([&*port, "--dir", "here"]).current_dir("/")).expect(1, "there is no dipc");
    say(bare(DIPCRM).args([&*port, "--dir", "here"]).current_dir(home.path())).expect_removed();
    assert_eq!((names(&here), is_gone(server.pid)), (vec![], true));
}

#[test]
fn the_usual_directory_is_in_shared_memory() {
    let (home, port) = (Home::new(), Port::reserve());
    let number = port.number.to_string();
    let usual = PathBuf::from(format!("/dev/shm/dipc-{}/{number}", geteuid()));
    let mut dipc = bare(DIPC);
    let server = started(dipc.args(["4", "64", &number, "8"]).env("DIPC_LOG_FILE", home.join("log")));
    assert_eq!(names(&usual), FILES);
    let modes =
        [&usual, usual.parent().expect("a parent")].map(|path| fs::metadata(path).expect("there").mode());
    assert_eq!(modes.map(|mode| mode & 0o7777), [0o700, 0o700]);
    say(bare(DIPCRM).arg(&number)).expect_removed();
    assert!(!usual.exists() && is_gone(server.pid));
    say(bare(DIPCRM).arg(&number)).expect(1, &format!("there is no dipc on port {number}"));
}

#[test]
fn what_a_start_says_about_stopping_is_true() {
    let home = Home::new();
    let server = home.start("4 64 0 8");
    let advice = server.line.split("to stop and delete all data: ").nth(1).expect("advice");
    let mut words = advice.split_whitespace();
    assert_eq!(words.next(), Some("dipcrm"), "{advice}");
    say(bare(DIPCRM).args(words)).expect_removed();
    home.expect_nothing_left();
}

#[test]
fn a_directory_on_a_disk_is_mentioned_once() {
    let (home, disk) = (Home::new(), Path::new(env!("CARGO_TARGET_TMPDIR")));
    let disk = disk.join(home.path().file_name().expect("a name"));
    let kind = nix::sys::statfs::statfs(disk.parent().expect("a parent")).expect("there").filesystem_type();
    let on_disk = kind != nix::sys::statfs::TMPFS_MAGIC;
    for (directory, on_disk) in [(disk.as_path(), on_disk), (home.path(), false)] {
        let log = home.join("log");
        let mut dipc = bare(DIPC);
        dipc.args(["4", "64", "0", "8", "--dir"]).arg(directory).arg("--log-file").arg(&log);
        let server = started(&mut dipc);
        say(bare(DIPCRM).arg(server.port.to_string()).arg("--dir").arg(directory)).expect_removed();
        let said = fs::read_to_string(&log).expect("a log");
        assert_eq!(said.matches("is not on tmpfs").count(), usize::from(on_disk), "{said}");
        fs::remove_file(log).expect("removed");
    }
    fs::remove_dir(disk).expect("it is empty");
}

#[test]
fn every_option_comes_from_the_environment_too() {
    let home = Home::new();
    let mut dipc = bare(DIPC);
    dipc.args(["4", "64", "0", "8"]).env("DIPC_DIR", home.path()).env("DIPC_UNIX", home.join("socket"));
    dipc.env("DIPC_LOG_FILE", home.join("log")).env("DIPC_LOG_LEVEL", "info").env("DIPC_BIND", "127.0.0.1");
    dipc.env("DIPC_WORKERS", "3")
        .env("DIPC_MAX_CLIENTS", "7")
        .env("DIPC_QUIET_MS", "0")
        .env("DIPC_WAIT", "1");
    dipc.env("DIPC_FOREGROUND", "no").env("DIPC_FRESH", "0").env("DIPC_OPEN", "false");
    let server = started(&mut dipc);
    let mut client = Client::unix(&home.join("socket"));
    assert_eq!([client.stat("workers"), client.stat("max_clients")], [3, 7]);
    client.ask("w 0\nhello\n", "OK v=1\n");
    server.end(Signal::SIGTERM);
    assert!(fs::read_to_string(home.join("log")).expect("a log").contains("7 clients"));

    // The command line has the last word.
    let number = server.port.to_string();
    dipc.args(["--workers", "2"]).env("DIPC_FRESH", "true");
    dipc.env("DIPC_FOREGROUND", "yes");
    let (_child, server) = stays(&mut dipc);
    assert_eq!(server.connect().stat("workers"), 2);
    server.connect().ask("r 0\n", "DATA 0 v=0 n=0\n\n");
    say(bare(DIPCRM).arg(server.port.to_string()).env("DIPC_DIR", home.path())).expect_removed();
    say(bare(DIPCRM).arg(&number).env("DIPC_DIR", home.path())).expect_removed();
    assert_eq!(names(home.path()), ["log"]);
}

#[test]
fn nonsense_in_the_environment_is_usage() {
    let home = Home::new();
    let options =
        ["BIND", "OPEN", "WORKERS", "WAIT", "MAX_CLIENTS", "QUIET_MS", "FRESH", "FOREGROUND", "LOG_LEVEL"];
    for option in options {
        let said = say(home.dipc("4 64 0 8").env(format!("DIPC_{option}"), "nonsense"));
        said.expect(2, "nonsense");
    }
    home.expect_nothing_left();
}

#[test]
fn a_service_manager_is_told_and_the_server_stays() {
    let home = Home::new();
    let path = home.join("notify");
    let name = format!("dipc-test-{}", home.path().file_name().expect("a name").display());
    let sockets = [
        (UnixDatagram::bind(&path).expect("bound"), path.display().to_string()),
        (
            UnixDatagram::bind_addr(&SocketAddr::from_abstract_name(&name).expect("short")).expect("bound"),
            format!("@{name}"),
        ),
    ];
    for (socket, address) in sockets {
        socket.set_read_timeout(Some(PATIENCE)).expect("set");
        let (mut child, server) =
            stays(home.dipc("4 64 0 8").env("NOTIFY_SOCKET", address).stderr(Stdio::null()));
        let mut word = [0; 64];
        let len = socket.recv(&mut word).expect("word comes");
        assert_eq!(text(&word[..len]).lines().next(), Some("READY=1"));
        server.connect().ask("ping\n", "OK\n");
        server.signal(Signal::SIGTERM);
        assert_eq!(child.wait().expect("our child").code(), Some(0));
    }
}
