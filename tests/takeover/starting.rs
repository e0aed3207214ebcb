//! How a new server starts: in the background, in the foreground, from the environment.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use dipc_testkit::instance::{Instance, start, start_in_foreground};
use dipc_testkit::process::{has_ended, run, stat_fields};
use dipc_testkit::wait::wait_until;
use dipc_testkit::waiter::Waiter;
use nix::sys::signal::Signal;

use crate::Scene;

#[test]
fn a_new_server_in_the_background_has_no_terminal() {
    let mut scene = Scene::with(|base| format!("--log-file {}", base.join("log").display()));
    scene.take_over();
    let proc = PathBuf::from(format!("/proc/{}", scene.server.pid));
    let link = |name: &str| fs::read_link(proc.join(name)).expect("ours");
    wait_until("the report is sent", || link("fd/0") == Path::new("/dev/null"));
    assert_eq!((link("cwd"), link("fd/1")), (PathBuf::from("/"), PathBuf::from("/dev/null")));
    wait_until("stderr is the log", || link("fd/2") == scene.base.join("log"));
    let stat = stat_fields(scene.server.pid).expect("the server lives");
    assert_ne!(
        stat[3],
        scene.server.pid.to_string(),
        "the server leads its session, and could get a terminal"
    );
    assert_eq!(stat[4], "0", "the server has a terminal");
    let log = fs::read_to_string(scene.base.join("log")).expect("a log");
    assert!(log.contains("handing over") && log.contains("a new server has taken over"), "{log}");
}

#[test]
fn servers_in_the_background_and_in_the_foreground_take_over_from_each_other() {
    let mut scene = Scene::new();
    scene.server.connect().ask("w 0\nhello\n", "OK v=1\n");
    let old = scene.server.pid;
    let mut command = scene.base.dipc(&scene.arguments());
    let (mut child, server) = start_in_foreground(command.arg("--foreground").stderr(Stdio::null()));
    wait_until("the old server ends", || has_ended(old));
    scene.server = server;
    assert_eq!(scene.epoch(), 2);
    scene.server = start(&mut scene.base.dipc(&scene.arguments()));
    assert_eq!(child.wait().expect("our child").code(), Some(0), "a server that has handed over succeeds");
    assert_eq!(scene.epoch(), 3);
    scene.server.connect().ask("r 0\n", "DATA 5 v=1 n=1\nhello\n");
    scene.server.end(Signal::SIGTERM);
    assert_eq!(scene.base.files(scene.port.number), ["lock", "segment", "waiters"]);
}

#[test]
fn names_are_kept_and_those_of_the_file_are_given() {
    let mut scene = Scene::with(|base| {
        fs::write(base.join("names"), "3 orders\n").expect("written");
        format!("--names {}", base.join("names").display())
    });
    scene.server.connect().ask("name 0 jobs\n", "OK name=jobs\n");
    fs::write(scene.base.join("names"), "4 orders\n").expect("written");
    scene.take_over();
    let mut client = scene.server.connect();
    client.ask("name 0\nname 3\nname 4\n", "OK name=jobs\nOK name=-\nOK name=orders\n");
    fs::write(scene.base.join("names"), "4 Orders\n").expect("written");
    let refused = run(&mut scene.base.dipc(&scene.arguments()));
    assert_eq!(refused.code, Some(2), "{}", refused.stderr);
    client.ask("name 4\n", "OK name=orders\n");
}

#[test]
fn processes_that_wait_in_the_shared_memory_wait_for_the_new_server() {
    let mut scene = Scene::new();
    let waiter = Waiter::open(&scene.base, &scene.server);
    waiter.set_flag(2);
    scene.take_over();
    assert_eq!((waiter.flag(2), waiter.bell(2)), (1, 0));
    scene.server.connect().ask("w 2\nnews\n", "OK v=1\n");
    wait_until("the bell", || (waiter.flag(2), waiter.bell(2)) == (0, 1));
    assert!(!waiter.is_retired());
}

#[test]
fn the_option_is_also_a_variable() {
    let mut scene = Scene::new();
    let arguments = scene.arguments().replace("--takeover", "");
    let mut command = scene.base.dipc(&arguments);
    scene.server = Instance::of(start(command.env("DIPC_TAKEOVER", "1")).line);
    assert_eq!(scene.epoch(), 2);
}
