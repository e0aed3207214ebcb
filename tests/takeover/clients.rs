//! What clients see of a takeover.

use std::time::{Duration, Instant};

use dipc::client::{Client, Error, Event};
use dipc_testkit::instance::Instance;
use dipc_testkit::process::run;
use dipc_testkit::wait::wait_until;
use nix::sys::signal::Signal;

use crate::Scene;
use crate::relay::{Relay, Step, halt};

/// How long a server that stops waits for its clients.
const DRAIN_OF_A_STOP: Duration = Duration::from_secs(5);

const DRAIN: &str = "ERR drain : the server is stopping\n";

#[test]
fn messages_and_versions_continue_and_the_epoch_grows_by_one() {
    let mut scene = Scene::new();
    scene.server.connect().ask("w 0\nhello\nput 1\na\nput 1\nb\n", "OK v=1\nOK v=1 n=1\nOK v=2 n=2\n");
    for epoch in 2..=4 {
        scene.take_over();
        assert_eq!(scene.epoch(), epoch);
        assert_eq!(scene.base.pid_file(scene.port.number), scene.server.pid);
        scene.server.connect().ask("r 0\n", "DATA 5 v=1 n=1\nhello\n");
    }
    let request = "w 0\nbye\ntake 1\ntake 1\nput 1\nc\n";
    let answers = "OK v=2\nDATA 1 v=1 n=1\na\nDATA 1 v=2 n=0\nb\nOK v=3 n=1\n";
    scene.server.connect().ask(request, answers);
}

#[test]
fn waiting_requests_are_answered_drain_and_not_executed() {
    let mut scene = Scene::new();
    let mut holder = scene.server.connect();
    let token = holder.lock("lock 0\n");
    let mut waiters: Vec<_> = ["take 1 wait=inf\n", "r 2 after=0\n", "w 0\nx\n", "lock 0\n", "lock 3,0\n"]
        .into_iter()
        .map(|request| {
            let (mut waiter, before) = (scene.server.connect(), scene.server.connect().stat("waiting"));
            waiter.send(request);
            let mut observer = scene.server.connect();
            wait_until("it waits", || observer.stat("waiting") > before);
            waiter
        })
        .collect();
    // More than are drained in one tick: the lock must not be handed to those that are drained later.
    waiters.extend((0..200).map(|_| scene.server.connect()));
    waiters[5..].iter_mut().for_each(|waiter| waiter.send("w 0\nx\n"));
    let mut observer = scene.server.connect();
    wait_until("all wait", || observer.stat("waiting") == 205);
    scene.take_over();
    for waiter in waiters.iter_mut().chain([&mut holder]) {
        waiter.expect(DRAIN);
        waiter.expect_end();
    }
    let mut client = scene.server.connect();
    client.ask("r 0\n", "DATA 0 v=0 n=0\n\n");
    assert_eq!(client.stat("waiting"), 0);
    assert!(client.lock("lock 0,3\n") > token, "the fencing token of a later lock is higher");
}

#[test]
fn watchers_are_told_and_miss_nothing() {
    let mut scene = Scene::new();
    let mut watcher = scene.server.connect();
    watcher.ask("watch 2\r\n", "OK v=0\r\n");
    scene.server.connect().ask("w 2\none\n", "OK v=1\n");
    watcher.expect("EVENT 3 box=2 v=1\r\none\r\n");
    scene.take_over();
    watcher.expect(DRAIN.replace('\n', "\r\n"));
    watcher.expect_end();
    scene.server.connect().ask("w 2\ntwo\n", "OK v=2\n");
    scene.server.connect().ask("watch 2 after=1\n", "OK v=1\nEVENT 3 box=2 v=2\ntwo\n");
}

#[test]
fn the_bundled_client_goes_on() {
    let soon = Some(Duration::from_secs(10));
    let mut scene = Scene::new();
    let mut client = Client::connect(("127.0.0.1", scene.port.number)).expect("connected");
    client.watch(&[2], None).expect("watched");
    scene.take_over();
    scene.server.connect().ask("w 2\nnew\n", "OK v=1\n");
    match client.event(soon) {
        Err(Error::Refused { code, .. }) => assert_eq!(code.word(), "drain"),
        other => panic!("{other:?}"),
    }
    let reconnected = client.reconnect(soon).expect("a server listens");
    assert!(!reconnected.is_new, "the mailboxes are the same");
    match client.event(soon).expect("connected") {
        Some(Event::Message { data, lost: 0, .. }) => assert_eq!(data, b"new"),
        other => panic!("{other:?}"),
    }
}

#[test]
fn messages_in_hand_come_back() {
    let mut scene = Scene::new();
    let mut worker = scene.server.connect();
    worker.ask("put 1\njob\ntake 1 ttl=60\n", "OK v=1 n=1\nDATA 3 v=1 n=1 tries=1\njob\n");
    scene.take_over();
    worker.expect(DRAIN);
    worker.expect_end();
    scene.server.connect().ask("take 1 wait=0\n", "DATA 3 v=1 n=0\njob\n");
}

#[test]
fn idle_clients_are_closed_without_a_word() {
    let mut scene = Scene::new();
    let mut clients: Vec<_> = (0..100).map(|_| scene.server.connect()).collect();
    clients.iter_mut().for_each(|client| client.ask("ping\n", "OK\n"));
    scene.take_over();
    clients.iter_mut().for_each(|client| client.expect_end());
}

/// A request that has arrived is answered. Its bytes were in the socket when the takeover began.
#[test]
fn requests_that_have_arrived_are_answered() {
    let mut scene = Scene::new();
    let mut clients: Vec<_> = (0..20).map(|_| scene.server.connect()).collect();
    clients.iter_mut().for_each(|client| client.ask("ping\n", "OK\n"));
    halt(scene.server.pid);
    let mut command = scene.base.dipc(&scene.arguments());
    let successor = std::thread::spawn(move || run(&mut command));
    clients.iter_mut().for_each(|client| client.send("put 3\nx\n".repeat(50)));
    scene.server.signal(Signal::SIGCONT);
    let outcome = successor.join().expect("no panic");
    assert_eq!(outcome.code, Some(0), "{outcome:?}");
    scene.server = Instance::of(outcome.text());
    let mut answered = 0;
    for client in &mut clients {
        let answers = String::from_utf8(client.read_to_end()).expect("text");
        assert!(answers.lines().all(|line| line.starts_with("OK v=")), "{answers}");
        answered += answers.lines().count() as u64;
    }
    assert_eq!(answered, 1000);
    assert_eq!(scene.server.connect().stat_box(3, "version"), answered);
}

/// A client that reads no answers is cut, and its `take` has not happened.
#[test]
fn a_client_that_does_not_read_does_not_prevent_a_takeover() {
    let mut scene = Scene::new();
    let mut stuck = scene.server.connect();
    stuck.ask(format!("w 0 8000\n{}\nput 1\njob\n", "x".repeat(8000)), "OK v=1\nOK v=1 n=1\n");
    stuck.send(format!("{}take 1\n", "r 0\n".repeat(2000)));
    let mut observer = scene.server.connect();
    wait_until("it is stuck", || observer.stat("flushing") == 1);
    let started = Instant::now();
    scene.take_over();
    assert!(started.elapsed() < DRAIN_OF_A_STOP, "the old server has waited for its client");
    scene.server.connect().ask("take 1 wait=0\n", "DATA 3 v=1 n=0\njob\n");
}

/// The old server waits for the acknowledgement, and executes nothing meanwhile: not even a request that
/// silence completes.
#[test]
fn silence_completes_no_request_while_the_new_server_takes_over() {
    let scene = Scene::with(|_| "--quiet-ms 1".to_owned());
    let (mut relay, mut successor) = Relay::between(&scene);
    relay.pass_until(Step::Ready);
    let mut client = scene.server.connect();
    client.ask("ping\n", "OK\n");
    halt(scene.server.pid);
    client.send("w 0\nhello");
    relay.pass_until(Step::Go);
    scene.server.signal(Signal::SIGCONT);
    let descriptors = relay.take(Step::Descriptors);
    assert!(!client.is_answered_within(Duration::from_millis(100)));
    relay.give(Step::Descriptors, &descriptors);
    relay.skip_to(Step::Descriptors);
    relay.pass_until(Step::Commit);
    client.expect_end();
    successor.serving().connect().ask("r 0\n", "DATA 0 v=0 n=0\n\n");
}

/// A client that neither waits, watches nor holds does not notice a handover that fails.
#[test]
fn a_cancelled_handover_closes_no_idle_client() {
    let scene = Scene::new();
    let mut clients: Vec<_> = (0..100).map(|_| scene.server.connect()).collect();
    clients.iter_mut().for_each(|client| client.ask("ping\n", "OK\n"));
    let (mut relay, mut successor) = Relay::between(&scene);
    relay.pass_until(Step::Descriptors);
    clients.iter_mut().for_each(|client| client.send("put 0\nx\n"));
    successor.kill();
    drop(relay);
    for client in &mut clients {
        let answer = client.line();
        assert!(answer.starts_with("OK v="), "{answer}");
    }
    assert_eq!(scene.server.connect().stat_box(0, "version"), 100);
}

/// The old server does not read its clients after the commit. Only the new one may change the mailboxes.
#[test]
fn requests_behind_the_last_read_are_not_executed() {
    let scene = Scene::new();
    let mut clients: Vec<_> = (0..20).map(|_| scene.server.connect()).collect();
    clients.iter_mut().for_each(|client| client.ask("ping\n", "OK\n"));
    let (mut relay, mut successor) = Relay::between(&scene);
    relay.pass_until(Step::Descriptors);
    clients.iter_mut().for_each(|client| client.send("put 0\nx\n"));
    relay.pass_until(Step::Commit);
    clients.iter_mut().for_each(|client| client.expect_end());
    assert_eq!(successor.serving().connect().stat_box(0, "version"), 0);
}
