//! The new or the old server is killed or halted between two messages of the handover.

use std::fs;

use dipc_testkit::process::has_ended;
use dipc_testkit::wait::wait_until;
use nix::sys::signal::Signal;

use crate::relay::{Relay, Step, Successor, halt};
use crate::{Scene, pid_of};

/// A server with a message, the relay that has passed the messages up to `step`, and the new server.
fn scene_at(step: Step) -> (Scene, Relay, Successor) {
    let scene = Scene::new();
    scene.server.connect().ask("w 0\nhello\n", "OK v=1\n");
    let (mut relay, successor) = Relay::between(&scene);
    relay.pass_until(step);
    (scene, relay, successor)
}

#[test]
fn before_the_commit_the_old_server_goes_on_when_the_new_one_is_killed() {
    for step in [Step::Nothing, Step::Hello, Step::Ready, Step::Go, Step::Descriptors] {
        let (scene, relay, mut successor) = scene_at(step);
        successor.kill();
        drop(relay);
        scene.server.connect().ask("r 0\nw 1\nx\n", "DATA 5 v=1 n=1\nhello\nOK v=1\n");
        scene.expect_undisturbed();
        scene.base.dipcrm(scene.port.number).expect_success();
        scene.base.expect_nothing_left();
    }
}

/// The acknowledgement has arrived, and its sender is dead. The commit cannot be sent.
#[test]
fn a_new_server_that_dies_after_its_acknowledgement_has_not_taken_over() {
    let (scene, relay, mut successor) = scene_at(Step::Descriptors);
    let ack = relay.take(Step::Ack);
    halt(scene.server.pid);
    relay.give(Step::Ack, &ack);
    successor.kill();
    drop(relay);
    scene.server.signal(Signal::SIGCONT);
    scene.server.connect().ask("r 0\n", "DATA 5 v=1 n=1\nhello\n");
    scene.expect_undisturbed();
}

#[test]
fn until_the_descriptors_are_requested_no_client_notices() {
    let scene = Scene::new();
    let mut client = scene.server.connect();
    client.ask("lock 0\nwatch 1\n", "OK grant=1\nOK v=0\n");
    for step in [Step::Nothing, Step::Hello, Step::Ready] {
        let (mut relay, mut successor) = Relay::between(&scene);
        relay.pass_until(step);
        client.ask("ping\n", "OK\n");
        successor.kill();
        drop(relay);
        client.send("w 0\nx\n");
        assert!(client.line().starts_with("OK v="));
    }
    scene.server.connect().ask("w 1\nx\n", "OK v=1\n");
    client.expect("EVENT 1 box=1 v=1\nx\n");
}

/// After the commit a killed server is a crashed server: the mailboxes stay, and a start goes on with them.
#[test]
fn after_the_commit_the_mailboxes_survive_a_kill_of_the_new_server() {
    for step in [Step::Ack, Step::Commit] {
        let (mut scene, relay, mut successor) = scene_at(step);
        match step {
            // The commit is sent, and has not arrived.
            Step::Ack => drop(relay.take(Step::Commit)),
            _ => successor.serving().connect().ask("w 1\nx\n", "OK v=1\n"),
        }
        successor.kill();
        let old = scene.server.pid;
        wait_until("the old server ends", || has_ended(old));
        scene.start_again();
        scene.server.connect().ask("r 0\n", "DATA 5 v=1 n=1\nhello\n");
        assert_eq!(scene.epoch(), if step == Step::Ack { 2 } else { 3 });
    }
}

#[test]
fn a_late_acknowledgement_is_refused_and_the_new_server_touches_nothing() {
    let (scene, relay, mut successor) = scene_at(Step::Go);
    let descriptors = relay.take(Step::Descriptors);
    successor.halt();
    relay.give(Step::Descriptors, &descriptors);
    drop(descriptors);
    assert!(relay.pass_refusal().contains("did not acknowledge in time"));
    scene.server.connect().ask("w 0\nlater\n", "OK v=2\n");
    let path = scene.base.join(scene.port.number.to_string()).join("segment");
    let segment = fs::read(&path).expect("read");
    successor.resume();
    let ack = relay.take(Step::Ack);
    relay.give(Step::Ack, &ack);
    successor.outcome().expect_failure(1, "did not acknowledge in time");
    assert_eq!(fs::read(&path).expect("read"), segment);
    scene.expect_undisturbed();
    scene.server.connect().ask("r 0\n", "DATA 5 v=2 n=1\nlater\n");
}

#[test]
fn a_new_server_that_is_not_prepared_in_time_is_refused_and_no_client_notices() {
    let (scene, relay, mut successor) = scene_at(Step::Hello);
    let mut client = scene.server.connect();
    client.ask("ping\n", "OK\n");
    let ready = relay.take(Step::Ready);
    successor.halt();
    relay.give(Step::Ready, &ready);
    assert!(relay.pass_refusal().contains("not prepared in time"));
    successor.resume();
    let go = relay.take(Step::Go);
    relay.give(Step::Go, &go);
    successor.outcome().expect_failure(1, "not prepared in time");
    client.ask("ping\n", "OK\n");
    scene.expect_undisturbed();
}

#[test]
fn a_new_server_fails_when_the_old_one_is_killed_and_a_start_goes_on() {
    for step in [Step::Hello, Step::Ready, Step::Go, Step::Descriptors] {
        let (mut scene, relay, successor) = scene_at(step);
        scene.server.end(Signal::SIGKILL);
        drop(relay);
        successor.outcome().expect_failure(1, "the running server has ended");
        scene.start_again();
        assert_eq!(scene.epoch(), 2);
        scene.server.connect().ask("r 0\n", "DATA 5 v=1 n=1\nhello\n");
        scene.base.dipcrm(scene.port.number).expect_success();
        scene.base.expect_nothing_left();
    }
}

/// Both processes listen on the same sockets for a moment. A connection of that time is accepted once, by the
/// server that serves.
#[test]
fn connections_between_the_two_servers_are_accepted() {
    let (scene, mut relay, mut successor) = scene_at(Step::Descriptors);
    let mut early = scene.server.connect();
    early.send("r 0\n");
    relay.pass_until(Step::Ack);
    let mut late = scene.server.connect();
    late.send("r 0\n");
    relay.pass_until(Step::Commit);
    let server = successor.serving();
    for client in [&mut early, &mut late] {
        client.expect("DATA 5 v=1 n=1\nhello\n");
        assert_eq!(pid_of(client), server.pid);
    }
    // The same with a handover that fails.
    let scene = Scene::new();
    let (mut relay, mut successor) = Relay::between(&scene);
    relay.pass_until(Step::Descriptors);
    let mut client = scene.server.connect();
    client.send("ping\n");
    successor.kill();
    drop(relay);
    client.expect("OK\n");
    assert_eq!(pid_of(&mut client), scene.server.pid);
}
