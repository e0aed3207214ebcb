//! A start after a server that is ending.

use std::fs::{self, File};

use dipc_testkit::instance::{BaseDirectory, Instance};
use dipc_testkit::port::Port;
use dipc_testkit::process::{finish, has_ended, run};
use dipc_testkit::wait::wait_until;
use nix::libc::SYS_clock_nanosleep;
use nix::sys::signal::Signal;
use std::process::Stdio;

/// Cause: a killed server keeps its lock and its port until the kernel has freed its memory, and a start in
/// that time failed.
#[test]
fn a_start_waits_for_the_lock_of_a_server_that_is_ending() {
    let (base, port) = (BaseDirectory::new(), Port::reserve());
    let arguments = format!("4 64 {} 8", port.number);
    base.start(&arguments).end(Signal::SIGKILL);
    let lock = File::open(base.join(port.number.to_string()).join("lock")).expect("a lock");
    lock.lock().expect("locked");
    let mut command = base.dipc(&arguments);
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it runs");
    let sleeps = format!("{SYS_clock_nanosleep} ");
    wait_until("the start waits, or has failed", || {
        let call = fs::read_to_string(format!("/proc/{}/syscall", child.id())).unwrap_or_default();
        call.starts_with(&sleeps) || has_ended(child.id().cast_signed())
    });
    drop(lock);
    let outcome = finish(child, b"");
    outcome.expect_success();
    Instance::of(outcome.text()).connect().ask("ping\n", "OK\n");
}

#[test]
fn a_server_is_killed_and_started_again_at_once() {
    let (base, port) = (BaseDirectory::new(), Port::reserve());
    let arguments = format!("16 4096 {} 8", port.number);
    for round in 1..=10 {
        let server = base.start(&arguments);
        server.connect().ask(format!("w 0\nround {round}\n"), format!("OK v={round}\n"));
        server.signal(Signal::SIGKILL);
    }
}

#[test]
fn a_start_does_not_wait_for_ever() {
    let (base, port) = (BaseDirectory::new(), Port::reserve());
    let arguments = format!("4 64 {} 8", port.number);
    let server = base.start(&arguments);
    server.signal(Signal::SIGSTOP);
    run(&mut base.dipc(&arguments)).expect_failure(3, "is in use");
    // The directory is locked, and nothing listens on its control socket.
    server.end(Signal::SIGKILL);
    let lock = File::open(base.join(port.number.to_string()).join("lock")).expect("a lock");
    lock.lock().expect("locked");
    run(&mut base.dipc(&arguments)).expect_failure(3, "a dipc runs in");
}
