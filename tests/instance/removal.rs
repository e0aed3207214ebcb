//! `dipcrm` and servers that it may not or cannot stop, and processes that are no server.

use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};

use dipc_testkit::instance::{BaseDirectory, start, start_in_foreground};
use dipc_testkit::port::Port;
use dipc_testkit::process::{KillOnDrop, bare, first_line, run, text, wait_for_end};
use dipc_testkit::program;
use nix::unistd::geteuid;

use crate::tracer::run_with;

/// The user of the server that belongs to another user.
const OTHER_USER: u32 = dipc_testkit::instance::OTHER_USER;

/// Cause: in another pid namespace the server has no number, and dipcrm gave up.
#[test]
fn dipcrm_in_another_pid_namespace_stops_the_server() {
    let base = BaseDirectory::new();
    let (child, server) = start_in_foreground(base.dipc("4 64 0 8 --foreground").stderr(Stdio::null()));
    let mut child = KillOnDrop(child);
    let mut dipcrm = bare("unshare");
    dipcrm.args(["--pid", "--fork", program::dipcrm(), &server.port.to_string(), "--dir"]).arg(base.path());
    let outcome = run(&mut dipcrm);
    if outcome.stderr.contains("unshare") {
        return println!("this user may not create a pid namespace: not tested");
    }
    outcome.expect_success();
    assert_eq!(wait_for_end(&mut child.0), Some(0), "it was killed");
    base.expect_nothing_left();
}

/// Cause: dipcrm looked only at the directory of its own user, and said that there was no server.
#[test]
fn a_server_of_another_user_is_reported() {
    if !geteuid().is_root() {
        return;
    }
    let (base, others) = (BaseDirectory::new(), BaseDirectory::new());
    let dipc = others.join("dipc");
    fs::copy(program::dipc(), &dipc).expect("copied");
    let set = |path, mode| fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("set");
    set(dipc.as_path(), 0o755);
    set(others.path(), 0o755);
    let home = others.join("home");
    fs::create_dir(&home).expect("created");
    std::os::unix::fs::chown(&home, Some(OTHER_USER), Some(OTHER_USER)).expect("changed");
    let mut command = bare(&dipc);
    command.args(["4", "64", "0", "8", "--dir"]).arg(&home).uid(OTHER_USER).gid(OTHER_USER);
    let server = start(command.current_dir("/"));
    base.dipcrm(server.port).expect_failure(3, &format!("a process of user {OTHER_USER} listens"));
    server.connect().ask("ping\n", "OK\n");
}

/// A process that has the control socket of an instance, and closes every connection to it.
const LISTENER: &str = "
import socket, sys
control = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
control.bind(sys.argv[1])
control.listen()
print('listening', flush=True)
control.accept()[0].close()
control.close()
print('closed', flush=True)
sys.stdin.read()
";

/// Cause: the number of the process that had listened was taken for the server's after the server had ended.
/// Its number belonged to another process then, which was killed.
#[test]
fn a_process_that_is_no_longer_the_server_is_not_signalled() {
    let Some(python) = program::python3() else { return };
    let (base, port) = (BaseDirectory::new(), Port::reserve());
    let server = base.start(&format!("4 64 {} 8", port.number));
    server.end(nix::sys::signal::Signal::SIGKILL);
    let directory = base.join(port.number.to_string());
    let lock = fs::File::open(directory.join("lock")).expect("a lock");
    lock.lock().expect("locked");
    fs::remove_file(directory.join("control.sock")).expect("removed");
    let mut listener = Command::new(python);
    listener.args(["-c", LISTENER]).arg(directory.join("control.sock"));
    let listener = listener.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("it runs");
    let mut listener = KillOnDrop(listener);
    assert_eq!(first_line(&mut listener.0), "listening\n");
    let port_text = port.number.to_string();
    let mut dipcrm = bare(program::dipcrm());
    dipcrm.args([&*port_text, "--dir"]).arg(base.path());
    let outcome = std::thread::scope(|scope| {
        let outcome = scope.spawn(|| run_with("pidfd_open:delay_enter=1000000", &dipcrm));
        if outcome.is_finished() {
            return outcome.join().expect("it ends");
        }
        assert_eq!(first_line(&mut listener.0), "closed\n");
        drop(lock);
        outcome.join().expect("it ends")
    });
    let Some(outcome) = outcome else { return };
    assert_eq!(outcome.code, Some(0), "{outcome:?}");
    assert!(!outcome.stderr.contains("killing"), "{}", text(&outcome.stdout));
    assert!(listener.0.try_wait().expect("our child").is_none(), "another process was killed");
    listener.0.stdin.take().expect("piped").flush().expect("open");
    base.expect_nothing_left();
}
