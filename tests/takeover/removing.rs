//! dipcrm beside and after a takeover, and starts beside it.

use dipc_testkit::process::{bare, has_ended, run, run_both};
use dipc_testkit::program;
use dipc_testkit::wait::wait_until;
use nix::sys::signal::Signal;

use crate::Scene;
use crate::relay::{Relay, Step, halt};

#[test]
fn dipcrm_removes_everything_after_takeovers() {
    let mut scene = Scene::new();
    for _ in 0..3 {
        scene.take_over();
    }
    scene.server.connect().ask("w 0\nx\n", "OK v=1\n");
    scene.base.dipcrm(scene.port.number).expect_success();
    assert!(has_ended(scene.server.pid));
    scene.base.expect_nothing_left();
}

/// The kernel reports to dipcrm the process that has begun to listen. With the control socket of the old
/// server, that would be a dead process, and dipcrm would not kill the living one.
#[test]
fn dipcrm_kills_a_new_server_that_does_not_answer() {
    let mut scene = Scene::new();
    scene.take_over();
    halt(scene.server.pid);
    let outcome = scene.base.dipcrm(scene.port.number);
    assert_eq!(outcome.code, Some(0), "{outcome:?}");
    assert!(outcome.stderr.contains(&format!("process {}", scene.server.pid)), "{outcome:?}");
    scene.base.expect_nothing_left();
}

#[test]
fn dipcrm_during_a_handover_ends_it_and_both_servers() {
    for step in [Step::Ready, Step::Go, Step::Descriptors] {
        let scene = Scene::new();
        let (mut relay, successor) = Relay::between(&scene);
        relay.pass_until(step);
        let mut dipcrm = bare(program::dipcrm());
        dipcrm.arg(scene.port.number.to_string()).arg("--dir").arg(scene.base.path());
        let removal = std::thread::spawn(move || run(&mut dipcrm));
        wait_until("the old server ends", || has_ended(scene.server.pid));
        drop(relay);
        successor.outcome().expect_failure(1, "");
        removal.join().expect("no panic").expect_success();
        scene.base.expect_nothing_left();
    }
}

#[test]
fn a_signal_during_a_handover_stops_the_old_server() {
    for step in [Step::Ready, Step::Descriptors] {
        let mut scene = Scene::new();
        scene.server.connect().ask("w 0\nhello\n", "OK v=1\n");
        let (mut relay, successor) = Relay::between(&scene);
        relay.pass_until(step);
        scene.server.end(Signal::SIGTERM);
        drop(relay);
        successor.outcome().expect_failure(1, "");
        scene.start_again();
        scene.server.connect().ask("r 0\n", "DATA 5 v=1 n=1\nhello\n");
    }
}

/// A server that stops for seconds, because a client reads slowly, does not go on with a handover.
#[test]
fn a_server_that_begins_to_stop_ends_the_handover() {
    let scene = Scene::new();
    let mut slow = scene.server.connect();
    slow.ask(format!("w 0 8000\n{}\n", "x".repeat(8000)), "OK v=1\n");
    slow.send("r 0\n".repeat(2000));
    let mut observer = scene.server.connect();
    wait_until("it is stuck", || observer.stat("flushing") == 1);
    let (mut relay, successor) = Relay::between(&scene);
    relay.pass_until(Step::Ready);
    scene.server.signal(Signal::SIGTERM);
    assert!(relay.pass_refusal().contains("stopping"));
    successor.outcome().expect_failure(1, "stopping");
    slow.read_to_end();
    wait_until("the old server ends", || has_ended(scene.server.pid));
}

#[test]
fn dipcrm_and_a_takeover_at_the_same_time_leave_no_process() {
    for _ in 0..20 {
        let scene = Scene::new();
        let mut dipcrm = bare(program::dipcrm());
        dipcrm.arg(scene.port.number.to_string()).arg("--dir").arg(scene.base.path());
        let [takeover, removal] = run_both([scene.base.dipc(&scene.arguments()), dipcrm]);
        assert_eq!(removal.code, Some(0), "{takeover:?}, {removal:?}");
        assert!(matches!(takeover.code, Some(0 | 1)), "{takeover:?}, {removal:?}");
        scene.base.expect_nothing_left();
    }
}

#[test]
fn a_start_during_a_handover_finds_a_server() {
    for step in [Step::Ready, Step::Descriptors, Step::Ack] {
        let scene = Scene::new();
        let (mut relay, mut successor) = Relay::between(&scene);
        relay.pass_until(step);
        let arguments = format!("8 64 {} 8", scene.port.number);
        let mut start = scene.base.dipc(&arguments);
        let other = std::thread::spawn(move || run(&mut start));
        other.join().expect("no panic").expect_failure(3, "");
        relay.pass_until(Step::Commit);
        successor.serving().connect().ask("ping\n", "OK\n");
    }
}
