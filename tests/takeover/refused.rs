//! Takeovers that are refused. The running server goes on.

use std::fs;
use std::net::TcpListener;

use dipc_testkit::instance::BaseDirectory;
use dipc_testkit::port::Port;
use dipc_testkit::process::{has_ended, run};
use dipc_testkit::wait::wait_until;
use nix::sys::signal::Signal;

use crate::relay::{Message, Relay, Step, greet, listen};
use crate::{Scene, pid_of};

#[test]
fn another_geometry_or_address_is_refused_and_nothing_changes() {
    let second = Port::reserve();
    let scene =
        Scene::with(|base| format!("--unix {} --classic {}", base.join("socket").display(), second.number));
    let mut watcher = scene.server.connect();
    watcher.ask("watch 0\nlock 1\n", "OK v=0\nOK grant=1\n");
    let (port, options) = (scene.port.number, &scene.options);
    let socket = scene.base.join("socket").display().to_string();
    for (arguments, reason) in [
        (format!("9 64 {port} 8 {options}"), "9 of 64 kB"),
        (format!("8 65 {port} 8 {options}"), "8 of 65 kB"),
        (format!("8 64 {port} 9 {options}"), "packets of 9 kB"),
        (format!("8 64 {port} 8 {options} --bind 127.0.0.2"), "not 127.0.0.2"),
        (format!("8 64 {port} 8 --unix {socket}"), "the classic address"),
        (format!("8 64 {port} 8 --unix {socket} --classic {port}"), "the classic address"),
        (format!("8 64 {port} 8 --classic {}", second.number), "the Unix-domain socket"),
        (format!("8 64 {port} 8 --unix {socket}2 --classic {}", second.number), "the Unix-domain socket"),
        (format!("8 64 {port} 8 --unix {socket} --no-tcp"), "the address"),
    ] {
        run(&mut scene.base.dipc(&format!("{arguments} --takeover"))).expect_failure(4, reason);
    }
    scene.expect_undisturbed();
    scene.server.connect().ask("w 0\nx\n", "OK v=1\n");
    watcher.expect("EVENT 1 box=0 v=1\nx\n");
    watcher.ask("unlock 1\n", "OK\n");
}

#[test]
fn without_a_running_server_there_is_nothing_to_take_over() {
    let (base, port) = (BaseDirectory::new(), Port::reserve());
    let arguments = format!("8 64 {} 8", port.number);
    let takeover = format!("{arguments} --takeover");
    run(&mut base.dipc(&takeover)).expect_failure(1, "start it without --takeover");
    base.expect_nothing_left();
    let server = base.start(&arguments);
    server.connect().ask("w 0\nhello\n", "OK v=1\n");
    server.end(Signal::SIGKILL);
    run(&mut base.dipc(&takeover)).expect_failure(1, "start it without --takeover");
    run(base.dipc(&takeover).arg("--foreground")).expect_failure(1, "start it without --takeover");
    base.start(&arguments).connect().ask("r 0\n", "DATA 5 v=1 n=1\nhello\n");
}

#[test]
fn a_second_takeover_at_the_same_time_is_refused() {
    let mut scene = Scene::new();
    for step in [Step::Ready, Step::Descriptors] {
        let (mut relay, mut successor) = Relay::between(&scene);
        relay.pass_until(step);
        run(&mut scene.base.dipc(&scene.arguments())).expect_failure(3, "another takeover is in progress");
        relay.pass_until(Step::Commit);
        let old = scene.server.pid;
        scene.server = successor.serving();
        wait_until("the old server ends", || has_ended(old));
        assert_eq!(pid_of(&mut scene.server.connect()), scene.server.pid);
        scene.take_over();
    }
}

/// A server that does not know the first message of a takeover answers like to `ping`.
#[test]
fn a_server_without_takeover_is_left_alone() {
    let scene = Scene::new();
    for answer in ["running", "stopping"] {
        let fake = BaseDirectory::new();
        let directory = fake.join(scene.port.number.to_string());
        fs::create_dir(&directory).expect("created");
        fs::set_permissions(&directory, std::os::unix::fs::PermissionsExt::from_mode(0o700)).expect("set");
        let listener = listen(&directory.join("control.sock"));
        let answering = std::thread::spawn(move || listener.answer(answer.as_bytes()));
        run(&mut fake.dipc(&scene.arguments())).expect_failure(4, "cannot hand over");
        assert!(answering.join().expect("no panic").starts_with(b"takeover 1\n"));
    }
}

#[test]
fn a_stopping_server_is_not_taken_over() {
    let scene = Scene::new();
    let mut slow = scene.server.connect();
    // Its answers are more than all buffers hold, so the server drains for a while.
    slow.ask(format!("w 0 8000\n{}\n", "x".repeat(8000)), "OK v=1\n");
    slow.send("r 0\n".repeat(8000));
    let mut observer = scene.server.connect();
    wait_until("it is flushing", || observer.stat("flushing") == 1);
    scene.server.signal(Signal::SIGTERM);
    observer.expect_end();
    run(&mut scene.base.dipc(&scene.arguments())).expect_failure(1, "stopping");
    slow.read_to_end();
    wait_until("the server ends", || has_ended(scene.server.pid));
}

#[test]
fn a_server_whose_files_have_lost_their_names_is_not_taken_over() {
    let scene = Scene::new();
    let directory = scene.base.join(scene.port.number.to_string());
    fs::remove_file(directory.join("segment")).expect("removed");
    run(&mut scene.base.dipc(&scene.arguments())).expect_failure(1, "lost names: segment");
    scene.expect_undisturbed();
}

#[test]
fn another_version_of_the_takeover_is_refused() {
    let scene = Scene::new();
    let refused = "refused 4 the running server knows version 1 of the takeover, and not 2; ";
    for hello in [&b"takeover 2\n"[..], b"takeover 2\nanything that a later version says"] {
        assert!(greet(&scene, hello).starts_with(refused));
    }
    assert!(greet(&scene, b"takeover 1\n8 65536\n").starts_with("refused 4 "));
    scene.expect_undisturbed();
}

#[test]
fn an_unexpected_message_ends_the_handover() {
    for (step, message) in [(Step::Ready, &b"ack"[..]), (Step::Descriptors, b"go"), (Step::Go, b"anything")] {
        let scene = Scene::new();
        let (mut relay, successor) = Relay::between(&scene);
        relay.pass_until(step);
        if step == Step::Go {
            drop(relay.take(Step::Descriptors));
        }
        relay.send_to_old(message);
        assert!(relay.pass_refusal().contains("unexpected message"));
        successor.outcome().expect_failure(1, "unexpected message");
        scene.expect_undisturbed();
    }
}

type Change = fn(&mut Message);

/// The new server refuses descriptors that are not those of its listeners and files. The old one goes on.
#[test]
fn other_descriptors_are_refused() {
    let changes: [(&str, Change); 5] = [
        ("other descriptors", |message| drop(message.1.pop())),
        ("other descriptors", |message| {
            let more = message.1[0].try_clone().expect("cloned");
            message.1.push(more);
        }),
        ("is not the file", |message| message.1.swap(0, 1)),
        ("not the expected socket", |message| {
            let other = TcpListener::bind("127.0.0.1:0").expect("bound");
            message.1[2] = other.into();
        }),
        ("another message", |message| message.0 = b"descriptor".to_vec()),
    ];
    for (reason, change) in changes {
        let scene = Scene::new();
        let (mut relay, successor) = Relay::between(&scene);
        relay.pass_until(Step::Go);
        let mut descriptors = relay.take(Step::Descriptors);
        change(&mut descriptors);
        relay.give(Step::Descriptors, &descriptors);
        successor.outcome().expect_failure(1, reason);
        drop((relay, descriptors));
        scene.expect_undisturbed();
    }
}

/// A lock file that is locked by another open file is not the lock of the running server.
#[test]
fn a_descriptor_that_does_not_hold_the_lock_is_refused() {
    let scene = Scene::new();
    let (mut relay, successor) = Relay::between(&scene);
    relay.pass_until(Step::Go);
    let mut descriptors = relay.take(Step::Descriptors);
    let lock = scene.base.join(scene.port.number.to_string()).join("lock");
    descriptors.1[0] = fs::File::open(lock).expect("opened").into();
    relay.give(Step::Descriptors, &descriptors);
    successor.outcome().expect_failure(1, "a dipc runs in");
    drop((relay, descriptors));
    scene.expect_undisturbed();
}
