//! `dipcrm`: its messages, its exit codes, and the files and processes that it removes.

use std::fs::{self, Permissions};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::time::Instant;

use dipc_testkit::directory::{fingerprint, names};
use dipc_testkit::instance::{BaseDirectory, FILES, Instance, OTHER_USER};
use dipc_testkit::port::Port;
use dipc_testkit::process::{Outcome, bare, has_ended, run, run_both, text};
use dipc_testkit::program;
use nix::sys::signal::Signal;
use nix::unistd::geteuid;

#[test]
fn dipcrm_leaves_no_file_no_process_and_no_memory() {
    let base = BaseDirectory::new();
    let server = base.start("4 64 0 8");
    let mut client = server.connect();
    client.ask("w 0\nhello\n", "OK v=1\n");
    base.dipcrm(server.port).expect_success();
    assert!(has_ended(server.pid));
    base.expect_nothing_left();
    client.expect_end();
    TcpStream::connect(("127.0.0.1", server.port)).expect_err("the port is closed");
    base.dipcrm(server.port).expect_failure(1, &format!("there is no dipc on port {}", server.port));
    base.expect_nothing_left();
}

#[test]
fn dipcrm_cleans_up_after_a_server_that_was_killed() {
    let (base, port) = (BaseDirectory::new(), Port::reserve());
    let server = base.start(&format!("4 64 {} 8", port.number));
    server.connect().ask("w 0\nhello\n", "OK v=1\n");
    server.end(Signal::SIGKILL);
    assert_eq!(base.files(port.number), FILES);
    base.dipcrm(port.number).expect_success();
    base.expect_nothing_left();
    let server = base.start(&format!("4 64 {} 8", port.number));
    server.connect().ask("r 0\n", "DATA 0 v=0 n=0\n\n");
    assert_eq!(server.connect().stat("epoch"), 1);
}

#[test]
fn dipcrm_removes_the_files_of_a_stopped_server() {
    let base = BaseDirectory::new();
    let server = base.start("4 64 0 8");
    server.end(Signal::SIGTERM);
    assert_eq!(base.files(server.port), ["lock", "segment", "waiters"]);
    base.dipcrm(server.port).expect_success();
    base.expect_nothing_left();
}

#[test]
fn dipcrm_removes_the_files_of_a_start_that_was_killed() {
    let (base, port) = (BaseDirectory::new(), Port::reserve());
    let directory = base.join(port.number.to_string());
    let leave = || {
        fs::create_dir(&directory).expect("created");
        fs::set_permissions(&directory, Permissions::from_mode(0o700)).expect("set");
        fs::write(directory.join("lock"), "").expect("written");
        fs::write(directory.join("segment.new"), "half a segment").expect("written");
    };
    leave();
    base.dipcrm(port.number).expect_success();
    base.expect_nothing_left();
    leave();
    let server = base.start(&format!("4 64 {} 8", port.number));
    server.connect().ask("ping\n", "OK\n");
    assert_eq!(base.files(port.number), FILES);
}

#[test]
fn dipcrm_without_an_instance_creates_nothing() {
    let (base, port) = (BaseDirectory::new(), Port::reserve());
    base.dipcrm(port.number).expect_failure(1, "there is no dipc on port");
    let nowhere = base.join("no/where");
    run(bare(program::dipcrm()).arg("5000").arg("--dir").arg(nowhere))
        .expect_failure(1, "there is no dipc on port 5000");
    base.expect_nothing_left();
}

#[test]
fn dipcrm_kills_a_server_that_does_not_answer() {
    let base = BaseDirectory::new();
    let server = base.start("4 64 0 8");
    let mut client = server.connect();
    client.ask("ping\n", "OK\n");
    server.signal(Signal::SIGSTOP);
    let started = Instant::now();
    let outcome = base.dipcrm(server.port);
    assert_eq!(outcome.code, Some(0), "{outcome:?}");
    assert!(outcome.stderr.contains(&format!("process {}", server.pid)), "{outcome:?}");
    assert!(started.elapsed().as_secs() >= 5, "the server had no time to answer the received requests");
    client.expect_end();
    base.expect_nothing_left();
}

#[test]
fn dipcrm_works_right_after_a_start() {
    let (base, port) = (BaseDirectory::new(), Port::reserve());
    for _ in 0..20 {
        let server = base.start(&format!("4 64 {} 8", port.number));
        base.dipcrm(port.number).expect_success();
        assert!(has_ended(server.pid));
        base.expect_nothing_left();
    }
}

#[test]
fn dipcrm_during_a_start_runs_before_it_or_after_it() {
    let (base, port) = (BaseDirectory::new(), Port::reserve());
    for round in 0..30 {
        // In two of three rounds there is an instance to remove.
        if round % 3 > 0 {
            base.start(&format!("4 64 {} 8", port.number)).end(Signal::SIGKILL);
        }
        let mut dipcrm = bare(program::dipcrm());
        dipcrm.arg(port.number.to_string()).arg("--dir").arg(base.path());
        let [start, removal] = run_both([base.dipc(&format!("4 64 {} 8", port.number)), dipcrm]);
        assert!(matches!(start.code, Some(0 | 3)), "{start:?}, {removal:?}");
        assert!(matches!(removal.code, Some(0 | 1)), "{start:?}, {removal:?}");
        if let [pid] = base.processes()[..] {
            let server = Instance::of(start.text());
            assert_eq!((server.pid, base.files(port.number)), (pid, FILES.map(str::to_owned).to_vec()));
            server.connect().ask("ping\n", "OK\n");
            base.dipcrm(port.number).expect_success();
        }
        base.expect_nothing_left();
    }
}

#[test]
fn many_dipcrm_at_the_same_time_do_not_fail() {
    let (base, port) = (BaseDirectory::new(), Port::reserve());
    for _ in 0..20 {
        base.start(&format!("4 64 {} 8", port.number));
        let outcome: Vec<Outcome> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..6).map(|_| scope.spawn(|| base.dipcrm(port.number))).collect();
            threads.into_iter().map(|thread| thread.join().expect("no panic")).collect()
        });
        assert!(outcome.iter().any(|outcome| outcome.code == Some(0)), "{outcome:?}");
        assert!(outcome.iter().all(|outcome| matches!(outcome.code, Some(0 | 1))), "{outcome:?}");
        base.expect_nothing_left();
    }
}

#[test]
fn another_process_with_the_number_of_a_dead_server_survives() {
    let base = BaseDirectory::new();
    let mut innocent = bare("sleep").arg("600").spawn().expect("the program runs");
    let server = base.start("4 64 0 8");
    server.end(Signal::SIGKILL);
    let pid = base.join(server.port.to_string()).join("pid");
    fs::write(pid, format!("{}\n", innocent.id())).expect("written");
    base.dipcrm(server.port).expect_success();
    let survives = innocent.try_wait().expect("our child").is_none();
    innocent.kill().expect("our child");
    innocent.wait().expect("our child");
    assert!(survives);
    base.expect_nothing_left();
}

#[test]
fn dipcrm_removes_no_unknown_file() {
    let base = BaseDirectory::new();
    let server = base.start("4 64 0 8");
    let directory = base.join(server.port.to_string());
    fs::write(directory.join("diary"), "dear diary").expect("written");
    let outcome = base.dipcrm(server.port);
    assert!(outcome.stderr.contains(&directory.display().to_string()), "{outcome:?}");
    assert!(has_ended(server.pid));
    assert_eq!(names(&directory), ["diary"]);
    assert_eq!(fs::read_to_string(directory.join("diary")).expect("read"), "dear diary");
}

#[test]
fn no_client_can_stop_a_server() {
    let base = BaseDirectory::new();
    let server = base.start("4 64 0 8");
    for word in ["stop", "shutdown", "terminate", "kill", "dipcrm", "STOP", "rm"] {
        let answer = format!("ERR verb : unknown verb \"{word}\", try help\n");
        server.connect().ask(format!("{word}\n"), answer);
    }
    server.connect().ask("ping\n", "OK\n");
    assert!(!has_ended(server.pid));
}

#[test]
fn only_the_owner_of_an_instance_removes_it() {
    if !geteuid().is_root() {
        return;
    }
    let base = BaseDirectory::new();
    let server = base.start("4 64 0 8");
    fs::set_permissions(base.path(), Permissions::from_mode(0o755)).expect("set");
    // The other user may not read the directory where the programs were built.
    let [dipc, dipcrm] = [(program::dipc(), "dipc"), (program::dipcrm(), "dipcrm")].map(|(program, name)| {
        fs::copy(program, base.join(name)).expect("copied");
        fs::set_permissions(base.join(name), Permissions::from_mode(0o755)).expect("set");
        text(base.join(name).as_os_str().as_encoded_bytes())
    });
    let before = fingerprint(&base.join(server.port.to_string()));
    let port = server.port.to_string();
    let as_other_user = |program: &str| {
        let mut command = bare(program);
        command.uid(OTHER_USER).gid(OTHER_USER).current_dir("/");
        command
    };
    run(as_other_user(&dipcrm).arg(&port).arg("--dir").arg(base.path()))
        .expect_failure(3, "belongs to another user");
    let arguments = ["4", "64", &port, "8", "--fresh", "--bind", "127.0.0.2", "--dir"];
    run(as_other_user(&dipc).args(arguments).arg(base.path())).expect_failure(1, "belongs to another user");
    assert_eq!(fingerprint(&base.join(&port)), before);
    server.connect().ask("ping\n", "OK\n");
}

#[test]
fn with_keep_the_server_is_stopped_and_its_mailboxes_stay() {
    let (base, port) = (BaseDirectory::new(), Port::reserve());
    let arguments = format!("4 64 {} 8", port.number);
    let server = base.start(&arguments);
    server.connect().ask("w 0\nhello\n", "OK v=1\n");
    let keep = || {
        run(bare(program::dipcrm()).args(["--keep", &port.number.to_string()]).env("DIPC_DIR", base.path()))
    };
    keep().expect_success();
    assert!(has_ended(server.pid));
    let kept = format!("no dipc runs on port {}; its data is kept", port.number);
    keep().expect_failure(1, &kept);
    let again = base.start(&arguments);
    again.connect().ask("r 0\n", "DATA 5 v=1 n=1\nhello\n");
    base.dipcrm(port.number).expect_success();
    keep().expect_failure(1, &format!("there is no dipc on port {}", port.number));
    base.expect_nothing_left();
}
