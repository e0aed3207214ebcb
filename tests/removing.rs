//! An instance is removed: what `dipcrm` says, how it exits, and what it leaves behind.
#![allow(missing_docs)]

mod support;

use std::fs::{self, Permissions};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::time::Instant;

use nix::sys::signal::Signal;
use nix::unistd::geteuid;

use support::instance::{FILES, Home, NOBODY, Said, at_once, bare, instance, is_gone, names, say, traces};
use support::{DIPC, DIPCRM, Port, text};

#[test]
fn dipcrm_leaves_no_file_no_process_and_no_memory() {
    let home = Home::new();
    let server = home.start("4 64 0 8");
    let mut client = server.connect();
    client.ask("w 0\nhello\n", "OK v=1\n");
    home.dipcrm(server.port).expect_removed();
    assert!(is_gone(server.pid));
    home.expect_nothing_left();
    client.expect_end();
    TcpStream::connect(("127.0.0.1", server.port)).expect_err("nobody listens");
    home.dipcrm(server.port).expect(1, &format!("there is no dipc on port {}", server.port));
    home.expect_nothing_left();
}

#[test]
fn dipcrm_cleans_up_after_a_server_that_was_killed() {
    let (home, port) = (Home::new(), Port::reserve());
    let server = home.start(&format!("4 64 {} 8", port.number));
    server.connect().ask("w 0\nhello\n", "OK v=1\n");
    server.end(Signal::SIGKILL);
    assert_eq!(home.files(port.number), FILES);
    home.dipcrm(port.number).expect_removed();
    home.expect_nothing_left();
    let server = home.start(&format!("4 64 {} 8", port.number));
    server.connect().ask("r 0\n", "DATA 0 v=0 n=0\n\n");
    assert_eq!(server.connect().stat("epoch"), 1);
}

#[test]
fn dipcrm_removes_what_a_stopped_server_has_kept() {
    let home = Home::new();
    let server = home.start("4 64 0 8");
    server.end(Signal::SIGTERM);
    assert_eq!(home.files(server.port), ["lock", "segment"]);
    home.dipcrm(server.port).expect_removed();
    home.expect_nothing_left();
}

#[test]
fn dipcrm_removes_what_a_start_has_left_that_was_killed() {
    let (home, port) = (Home::new(), Port::reserve());
    let directory = home.join(port.number.to_string());
    let leave = || {
        fs::create_dir(&directory).expect("created");
        fs::set_permissions(&directory, Permissions::from_mode(0o700)).expect("set");
        fs::write(directory.join("lock"), "").expect("written");
        fs::write(directory.join("segment.new"), "half a segment").expect("written");
    };
    leave();
    home.dipcrm(port.number).expect_removed();
    home.expect_nothing_left();
    leave();
    let server = home.start(&format!("4 64 {} 8", port.number));
    server.connect().ask("ping\n", "OK\n");
    assert_eq!(home.files(port.number), FILES);
}

#[test]
fn dipcrm_where_there_is_nothing_makes_nothing() {
    let (home, port) = (Home::new(), Port::reserve());
    home.dipcrm(port.number).expect(1, "there is no dipc on port");
    let nowhere = home.join("no/where");
    say(bare(DIPCRM).arg("5000").arg("--dir").arg(nowhere)).expect(1, "there is no dipc on port 5000");
    home.expect_nothing_left();
}

#[test]
fn dipcrm_kills_a_server_that_does_not_answer() {
    let home = Home::new();
    let server = home.start("4 64 0 8");
    let mut client = server.connect();
    client.ask("ping\n", "OK\n");
    server.signal(Signal::SIGSTOP);
    let started = Instant::now();
    let said = home.dipcrm(server.port);
    assert_eq!(said.code, Some(0), "{said:?}");
    assert!(said.err.contains(&format!("process {}", server.pid)), "{said:?}");
    assert!(started.elapsed().as_secs() >= 5, "it had no time to answer what has arrived");
    client.expect_end();
    home.expect_nothing_left();
}

#[test]
fn dipcrm_works_right_after_a_start() {
    let (home, port) = (Home::new(), Port::reserve());
    for _ in 0..20 {
        let server = home.start(&format!("4 64 {} 8", port.number));
        home.dipcrm(port.number).expect_removed();
        assert!(is_gone(server.pid));
        home.expect_nothing_left();
    }
}

#[test]
fn dipcrm_during_a_start_comes_before_it_or_after_it() {
    let (home, port) = (Home::new(), Port::reserve());
    for round in 0..30 {
        // Now with, now without something to remove.
        if round % 3 > 0 {
            home.start(&format!("4 64 {} 8", port.number)).end(Signal::SIGKILL);
        }
        let mut dipcrm = bare(DIPCRM);
        dipcrm.arg(port.number.to_string()).arg("--dir").arg(home.path());
        let [start, removal] = at_once([home.dipc(&format!("4 64 {} 8", port.number)), dipcrm]);
        assert!(matches!(start.code, Some(0 | 3)), "{start:?}, {removal:?}");
        assert!(matches!(removal.code, Some(0 | 1)), "{start:?}, {removal:?}");
        if let [pid] = home.processes()[..] {
            let server = instance(start.out);
            assert_eq!((server.pid, home.files(port.number)), (pid, FILES.map(str::to_owned).to_vec()));
            server.connect().ask("ping\n", "OK\n");
            home.dipcrm(port.number).expect_removed();
        }
        home.expect_nothing_left();
    }
}

#[test]
fn of_many_dipcrm_at_once_none_fails() {
    let (home, port) = (Home::new(), Port::reserve());
    for _ in 0..20 {
        home.start(&format!("4 64 {} 8", port.number));
        let said: Vec<Said> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..6).map(|_| scope.spawn(|| home.dipcrm(port.number))).collect();
            threads.into_iter().map(|thread| thread.join().expect("it ends")).collect()
        });
        assert!(said.iter().any(|said| said.code == Some(0)), "{said:?}");
        assert!(said.iter().all(|said| matches!(said.code, Some(0 | 1))), "{said:?}");
        home.expect_nothing_left();
    }
}

#[test]
fn an_innocent_process_with_the_number_of_a_dead_server_survives() {
    let home = Home::new();
    let mut innocent = bare("sleep").arg("600").spawn().expect("the program runs");
    let server = home.start("4 64 0 8");
    server.end(Signal::SIGKILL);
    let pid = home.join(server.port.to_string()).join("pid");
    fs::write(pid, format!("{}\n", innocent.id())).expect("written");
    home.dipcrm(server.port).expect_removed();
    let survives = innocent.try_wait().expect("our child").is_none();
    innocent.kill().expect("our child");
    innocent.wait().expect("our child");
    assert!(survives);
    home.expect_nothing_left();
}

#[test]
fn dipcrm_removes_no_file_that_it_does_not_know() {
    let home = Home::new();
    let server = home.start("4 64 0 8");
    let directory = home.join(server.port.to_string());
    fs::write(directory.join("diary"), "dear diary").expect("written");
    let said = home.dipcrm(server.port);
    assert!(said.err.contains(&directory.display().to_string()), "{said:?}");
    assert!(is_gone(server.pid));
    assert_eq!(names(&directory), ["diary"]);
    assert_eq!(fs::read_to_string(directory.join("diary")).expect("read"), "dear diary");
}

#[test]
fn no_client_can_stop_a_server() {
    let home = Home::new();
    let server = home.start("4 64 0 8");
    for word in ["stop", "shutdown", "exit", "kill", "dipcrm", "STOP", "rm"] {
        let answer = format!("ERR verb : unknown verb \"{word}\", try help\n");
        server.connect().ask(format!("{word}\n"), answer);
    }
    server.connect().ask("ping\n", "OK\n");
    assert!(!is_gone(server.pid));
}

#[test]
fn only_its_owner_removes_an_instance() {
    if !geteuid().is_root() {
        return;
    }
    let home = Home::new();
    let server = home.start("4 64 0 8");
    fs::set_permissions(home.path(), Permissions::from_mode(0o755)).expect("set");
    // Where the programs were built, others may not look.
    let [dipc, dipcrm] = [(DIPC, "dipc"), (DIPCRM, "dipcrm")].map(|(program, name)| {
        fs::copy(program, home.join(name)).expect("copied");
        fs::set_permissions(home.join(name), Permissions::from_mode(0o755)).expect("set");
        text(home.join(name).as_os_str().as_encoded_bytes())
    });
    let before = traces(&home.join(server.port.to_string()));
    let port = server.port.to_string();
    let stranger = |program: &str| {
        let mut command = bare(program);
        command.uid(NOBODY).gid(NOBODY).current_dir("/");
        command
    };
    say(stranger(&dipcrm).arg(&port).arg("--dir").arg(home.path())).expect(3, "belongs to another user");
    let arguments = ["4", "64", &port, "8", "--fresh", "--bind", "127.0.0.2", "--dir"];
    say(stranger(&dipc).args(arguments).arg(home.path())).expect(1, "belongs to another user");
    assert_eq!(traces(&home.join(&port)), before);
    server.connect().ask("ping\n", "OK\n");
}
