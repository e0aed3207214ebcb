//! The command that `dipc-cli lock` runs.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::Stdio;

use dipc_testkit::process::{bare, finish, first_line, has_ended, run, signal};
use dipc_testkit::program;
use dipc_testkit::server::Server;
use dipc_testkit::wait::wait_until;
use nix::sys::signal::Signal;
use nix::unistd::geteuid;
use serde_json::json;

/// A user other than root.
const OTHER_USER: u32 = 61234;

/// Exit codes of dipc-cli after a signal ended its command.
const KILLED: i32 = 128 + Signal::SIGKILL as i32;
const TERMINATED: i32 = 128 + Signal::SIGTERM as i32;

#[test]
fn a_command_runs_under_the_lock_and_its_exit_code_is_returned() {
    let server = Server::start("4 64 0 8");
    server.run(&["lock", "1,3", "--", "sh", "-c", "echo $DIPC_BOX $DIPC_GRANT; exit 7"]).expect(7, "1,3 1\n");
    server.run(&["lock", "3", "--", "sh", "-c", "kill -9 $$"]).expect(137, "");
    server.run(&["lock", "3", "--", "/no/such/program"]).expect_failure(127, "cannot run");
    server.run(&["lock", "3", "--", "/dev/null"]).expect_failure(126, "cannot run");
    // The mailbox is locked while the command runs. It is free as soon as the command has ended.
    server
        .run(&["lock", "3", "--", program::dipc_cli(), "lock", "3", "--wait", "0", "--", "true"])
        .expect_failure(75, "locked");
    server
        .run(&["lock", "3", "--", program::dipc_cli(), "write", "3", "--wait", "0", "x"])
        .expect_failure(1, "timeout");
    server
        .run(&["lock", "3", "--shared", "--", program::dipc_cli(), "read", "3", "--wait", "0"])
        .expect(0, "");
    server.run(&["lock", "3", "--wait", "0", "--", "true"]).expect(0, "");
    server.run(&["lock", "3,9", "--", "true"]).expect_failure(2, "box");
    server.run(&["-p", "1", "lock", "3", "--", "true"]).expect_failure(3, "cannot connect");
}

#[test]
fn a_lock_that_is_not_acquired_has_an_exit_code_of_its_own() {
    let server = Server::start("4 64 0 8");
    let mut client = server.connect();
    client.lock("lock 3\n");
    let locked = |options: &[&str]| server.run(&[&["lock", "3"], options].concat());
    locked(&["--wait", "0", "--", "true"]).expect_failure(75, "locked");
    locked(&["--wait", "0.01", "--", "true"]).expect_failure(75, "timeout");
    locked(&["--wait", "0", "-E", "99", "--", "true"]).expect_failure(99, "locked");
    locked(&["--wait", "0", "--conflict-exit-code", "0", "--json", "--", "true"])
        .expect_failure(0, "\"error\":\"locked\"");
    client.ask("unlock 3\n", "OK\n");
    locked(&["--wait", "0", "-E", "99", "--", "sh", "-c", "exit 1"]).expect(1, "");
    server.run(&["lock", "9", "-E", "99", "--", "true"]).expect_failure(2, "box");
}

/// The process has a session of its own. The kernel truncates its name within a character, so the name is not
/// valid UTF-8.
#[test]
fn a_process_in_another_session_ends_with_the_lock() {
    let mut server = Server::start("4 64 0 8");
    let sleeper = server.directory.join("aaaaaaaaaaaaaa\u{fc}");
    std::fs::copy("/bin/sleep", &sleeper).expect("the program is copied");
    let sleeper = sleeper.to_str().expect("a path in UTF-8").to_owned();
    let script = "setsid \"$0\" 1000 & echo $!; wait";
    let held = server.cli(&["lock", "3", "--ttl", "0.6", "--", "sh", "-c", script, &sleeper]).spawn();
    let mut held = held.expect("dipc-cli runs");
    let pid = first_line(&mut held).trim().parse().expect("a number");
    server.kill();
    assert_eq!(finish(held, b"").code, Some(3));
    assert!(has_ended(pid), "{pid} is alive");
}

#[test]
fn orphaned_processes_are_reaped() {
    let server = Server::start("4 64 0 8");
    let script = "i=0; while [ $i -lt 5 ]; do (true &); i=$((i+1)); done; echo up; read x";
    let mut held = server.cli(&["lock", "3", "--ttl", "0.3", "--", "sh", "-c", script]);
    let mut held = held.stdin(Stdio::piped()).spawn().expect("dipc-cli runs");
    assert_eq!(first_line(&mut held), "up\n");
    let children = format!("/proc/{0}/task/{0}/children", held.id());
    let count = || std::fs::read_to_string(&children).expect("a list of children").split_whitespace().count();
    wait_until("only the command is left", || count() == 1);
    finish(held, b"go\n").expect(0, "");
}

/// A shell stops its script if the process that it waits for was killed by SIGINT. It continues the script if
/// that process has exited.
#[test]
fn sigint_kills_the_lock_command_if_it_has_killed_its_command() {
    let server = Server::start("4 64 0 8");
    let mut held = server.cli(&["lock", "3", "--", "sh", "-c", "echo up; exec sleep 1000"]);
    let mut held = held.spawn().expect("dipc-cli runs");
    assert_eq!(first_line(&mut held), "up\n");
    signal(held.id(), Signal::SIGINT);
    assert_eq!(held.wait().expect("the process has ended").signal(), Some(Signal::SIGINT as i32));
    server.run(&["lock", "3", "--wait", "0", "--", "true"]).expect(0, "");
}

#[test]
fn a_command_runs_although_sigchld_is_ignored() {
    let server = Server::start("4 64 0 8");
    server.run(&["write", "3", "x"]).expect(0, "version 1\n");
    let ignoring = |words: &[&str]| {
        let mut command = std::process::Command::new("env");
        command
            .args(["--ignore-signal=CHLD", program::dipc_cli(), "-p", &server.port.to_string()])
            .args(words);
        run(&mut command)
    };
    ignoring(&["lock", "3", "--", "sh", "-c", "echo ran; exit 5"]).expect(5, "ran\n");
    ignoring(&["watch", "3", "-n", "1", "--after", "0", "--", "cat"]).expect(0, "x");
}

#[test]
fn a_command_has_the_standard_input_and_output_of_the_lock_command() {
    let server = Server::start("4 64 0 8");
    server.run_with(&["lock", "3", "--", "cat"], b"any\x00bytes").expect(0, b"any\x00bytes");
}

#[test]
fn the_lock_command_renews_its_lease() {
    let server = Server::start("4 64 0 8");
    let mut held = server.cli(&["lock", "3", "--ttl", "2", "--", "sh", "-c", "echo up; read x"]);
    let mut held = held.stdin(Stdio::piped()).spawn().expect("dipc-cli runs");
    assert_eq!(first_line(&mut held), "up\n");
    // Without a renewal the lock would have expired.
    wait_until("the lock is older than its lease", || {
        let lock = server.run(&["stat", "3", "--json"]).json()["locks"][0].clone();
        assert_eq!(lock["mode"], json!("exclusive"));
        lock["held_seconds"].as_f64() > Some(2.5)
    });
    finish(held, b"go\n").expect(0, "");
}

#[test]
fn a_command_whose_lock_is_lost_gets_sigterm() {
    let server = Server::start("4 64 0 8 --max-hold 1");
    let ran = server.run(&[
        "lock",
        "3",
        "--",
        "sh",
        "-c",
        "trap 'echo terminated; exit 5' TERM; while :; do sleep 0.01; done",
    ]);
    ran.expect(2, "terminated\n");
    assert!(ran.stderr.contains("the lock of mailbox 3 is lost"), "{ran:?}");
}

#[test]
fn a_command_that_ignores_sigterm_is_killed_with_its_children() {
    let server = Server::start("4 64 0 8 --max-hold 0.5");
    // `run` returns when all processes have closed the output: then the last process has ended.
    let ran = server.run(&["lock", "3", "--", "sh", "-c", "trap '' TERM; sleep 1000 & sleep 1000"]);
    ran.expect(2, "");
}

#[test]
fn a_lock_command_that_was_stopped_for_too_long_terminates_its_command() {
    let server = Server::start("4 64 0 8");
    let script = "trap 'echo terminated; exit 5' TERM; echo up; while :; do sleep 0.01; done";
    let mut held =
        server.cli(&["lock", "3", "--ttl", "1", "--", "sh", "-c", script]).spawn().expect("dipc-cli runs");
    assert_eq!(first_line(&mut held), "up\n");
    signal(held.id(), Signal::SIGSTOP);
    // The lock is free as soon as the lease has ended.
    server.run(&["lock", "3", "--", "true"]).expect(0, "");
    signal(held.id(), Signal::SIGCONT);
    finish(held, b"").expect(2, "terminated\n");
}

#[test]
fn a_command_does_not_begin_when_the_lock_is_lost_already() {
    let server = Server::start("4 64 0 8");
    let mut first =
        server.cli(&["lock", "3", "--", "cat"]).stdin(Stdio::piped()).spawn().expect("dipc-cli runs");
    wait_until("the first process holds the lock", || server.stat_json(&["3"], "holders") == 1);
    let second =
        server.cli(&["lock", "3", "--ttl", "1", "--", "echo", "ran"]).spawn().expect("dipc-cli runs");
    wait_until("the second process waits", || server.stat_json(&["3"], "waiting") == 1);
    signal(second.id(), Signal::SIGSTOP);
    drop(first.stdin.take());
    finish(first, b"").expect(0, "");
    // The second process gets the lock while it is stopped, and loses the lock when the lease expires. Then
    // the third process gets the lock.
    server.run(&["lock", "3", "--", "true"]).expect(0, "");
    signal(second.id(), Signal::SIGCONT);
    finish(second, b"").expect(2, "");
}

#[test]
fn a_command_is_killed_with_the_lock_command() {
    let server = Server::start("4 64 0 8");
    let mut held = server
        .cli(&["lock", "3", "--", "sh", "-c", "echo up; exec sleep 1000"])
        .spawn()
        .expect("dipc-cli runs");
    assert_eq!(first_line(&mut held), "up\n");
    signal(held.id(), Signal::SIGKILL);
    // `finish` returns when the command has closed the output: then the command has ended.
    assert_eq!(finish(held, b"").stdout, b"");
    server.run(&["lock", "3", "--", "true"]).expect(0, "");
}

#[test]
fn a_command_ends_with_the_server() {
    let mut server = Server::start("4 64 0 8");
    let script = "trap 'echo terminated; exit 5' TERM; echo up; while :; do sleep 0.01; done";
    let mut held = server.cli(&["lock", "3", "--", "sh", "-c", script]).spawn().expect("dipc-cli runs");
    assert_eq!(first_line(&mut held), "up\n");
    server.kill();
    finish(held, b"").expect(3, "terminated\n");
}

#[test]
fn a_server_that_does_not_answer_ends_the_command() {
    let server = Server::start("4 64 0 8");
    let script = "trap 'echo terminated; exit 5' TERM; echo up; while :; do sleep 0.01; done";
    let mut held =
        server.cli(&["lock", "3", "--ttl", "1", "--", "sh", "-c", script]).spawn().expect("dipc-cli runs");
    assert_eq!(first_line(&mut held), "up\n");
    server.signal(Signal::SIGSTOP);
    let ran = finish(held, b"");
    server.signal(Signal::SIGCONT);
    ran.expect(3, "terminated\n");
    assert!(ran.stderr.contains("silent for too long"), "{ran:?}");
}

#[test]
fn signals_are_forwarded_to_the_command() {
    let server = Server::start("4 64 0 8");
    for (sent, code) in [(Signal::SIGTERM, 5), (Signal::SIGINT, 6), (Signal::SIGUSR1, 7)] {
        let script = "trap 'exit 5' TERM; trap 'exit 6' INT; trap 'exit 7' USR1; \
                      echo up; while :; do sleep 0.01; done";
        let mut held = server.cli(&["lock", "3", "--", "sh", "-c", script]).spawn().expect("dipc-cli runs");
        assert_eq!(first_line(&mut held), "up\n");
        signal(held.id(), sent);
        finish(held, b"").expect(code, "");
        // The mailbox is unlocked.
        server.run(&["lock", "3", "--wait", "0", "--", "true"]).expect(0, "");
    }
}

#[test]
fn a_second_signal_kills_a_command_that_ignores_the_first_one() {
    let server = Server::start("4 64 0 8");
    let script = "trap '' TERM; sleep 1000 & echo up; while :; do sleep 0.01; done";
    let mut held = server.cli(&["lock", "3", "--", "sh", "-c", script]).spawn().expect("dipc-cli runs");
    assert_eq!(first_line(&mut held), "up\n");
    // A signal just after the first one does not count: timeout(1) sends two.
    wait_until("the command is killed", || {
        signal(held.id(), Signal::SIGTERM);
        held.try_wait().expect("our child").is_some()
    });
    // `finish` returns when the last process has closed the output.
    let ran = finish(held, b"");
    // A third signal may end dipc-cli itself.
    assert!(matches!(ran.code, None | Some(KILLED)), "{ran:?}");
    server.run(&["lock", "3", "--wait", "0", "--", "true"]).expect(0, "");
}

/// Without this rule, `timeout 60 dipc-cli lock 3 -- job` would kill the job: timeout(1) sends SIGTERM to its
/// child and to its process group.
#[test]
fn two_signals_at_once_are_one_signal() {
    let server = Server::start("4 64 0 8");
    let script = "trap '' INT; trap 'sleep 0.01; echo terminated; exit 5' TERM; echo up; \
                  while :; do sleep 0.01; done";
    let mut held = server.cli(&["lock", "3", "--", "sh", "-c", script]).spawn().expect("dipc-cli runs");
    assert_eq!(first_line(&mut held), "up\n");
    // Two different signals, since two pending ones of the same kind are one for the kernel.
    for sent in [Signal::SIGSTOP, Signal::SIGTERM, Signal::SIGINT, Signal::SIGCONT] {
        signal(held.id(), sent);
    }
    finish(held, b"").expect(5, "terminated\n");
}

/// `sudo` is such a command: dipc-cli belongs to a user, and the command to root.
#[test]
fn a_command_that_may_not_be_signalled_is_reported_and_a_second_signal_ends_only_the_lock_command() {
    if !geteuid().is_root() {
        return;
    }
    let server = Server::start("4 64 0 8");
    let directory = Public::new();
    let cli = directory.copy(program::dipc_cli(), 0o755);
    let as_root = directory.copy("/usr/bin/setpriv", 0o4755);
    let port = server.port.to_string();
    let mut command = bare(cli);
    command.args(["-p", &port, "lock", "3", "--"]).arg(as_root);
    command.args(["--reuid", "0", "--regid", "0", "--clear-groups", "cat", "/proc/self/stat", "-"]);
    command.uid(OTHER_USER).gid(OTHER_USER).current_dir("/");
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut held = command.spawn().expect("dipc-cli runs");
    let pid: i32 = first_line(&mut held).split(' ').next().expect("a number").parse().expect("a number");
    wait_until("the lock command has ended", || {
        signal(held.id(), Signal::SIGTERM);
        held.try_wait().expect("our child").is_some()
    });
    assert!(!has_ended(pid), "the command belongs to root");
    server.run(&["lock", "3", "--wait", "0", "--", "true"]).expect(0, "");
    let ran = finish(held, b"");
    // A third signal may end dipc-cli before it exits with the code of the second one.
    assert!(matches!(ran.code, None | Some(TERMINATED)), "{ran:?}");
    assert_eq!(ran.stderr.matches("cannot be signalled").count(), 1, "{ran:?}");
}

/// A directory that every user can read, on a file system with set-user-id programs, unlike /dev/shm.
struct Public(PathBuf);

impl Public {
    fn new() -> Self {
        let path = std::env::temp_dir().join(format!("dipc-test-{}", std::process::id()));
        fs::create_dir(&path).expect("created");
        fs::set_permissions(&path, Permissions::from_mode(0o755)).expect("set");
        Public(path)
    }

    /// Copies a program into the directory.
    fn copy(&self, program: &str, mode: u32) -> PathBuf {
        let copy = self.0.join(Path::new(program).file_name().expect("a name"));
        fs::copy(program, &copy).expect("copied");
        fs::set_permissions(&copy, Permissions::from_mode(mode)).expect("set");
        copy
    }
}

impl Drop for Public {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}
