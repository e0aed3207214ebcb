//! What a start reports beside its line, and where.

use std::fs::{self, File};
use std::path::Path;
use std::process::{Command, Stdio};

use dipc_testkit::instance::{BaseDirectory, Instance, start_in_foreground};
use dipc_testkit::port::{Port, classic_port_in};
use dipc_testkit::process::{after, bare, finish, has_ended, run, text};
use dipc_testkit::program;
use dipc_testkit::wait::wait_until;
use nix::libc::SYS_clock_nanosleep;
use nix::sys::signal::Signal;

/// Bytes of the header page of a segment, and of the control area of a mailbox after it.
const HEADER: usize = 4096;
const CONTROL: usize = 128;

/// Starts a server in the background. Returns it with everything that the start has printed to stderr.
#[track_caller]
fn start_with_warnings(command: &mut Command) -> (Instance, String) {
    let outcome = run(command);
    assert_eq!(outcome.code, Some(0), "{outcome:?}");
    (Instance::of(outcome.text()), outcome.stderr)
}

#[test]
fn a_start_in_the_background_prints_its_warnings() {
    let base = BaseDirectory::new();
    let dipc = base.dipc("30 64 0 8");
    let (server, warnings) = start_with_warnings(&mut after("ulimit -n 60", &dipc));
    let limited = "dipc: warning: serving at most 28 clients, not 10000: the descriptor limit is 60\n";
    assert_eq!(warnings, limited);
    server.end(Signal::SIGKILL);

    let segment = base.join(server.port.to_string()).join("segment");
    let mut bytes = fs::read(&segment).expect("the segment");
    bytes[HEADER..HEADER + 29 * CONTROL].fill(1);
    fs::write(&segment, bytes).expect("written");
    let mut again = base.dipc(&format!("30 64 {} 8 --log-file log", server.port));
    let (server, warnings) = start_with_warnings(again.current_dir(base.path()));
    let first = "dipc: warning: mailbox 0: both records damaged, all requests are refused\n";
    assert!(warnings.starts_with(first), "{warnings}");
    assert!(
        warnings.ends_with(
            "mailbox 9: both records damaged, all requests are refused\n\
                                dipc: and 19 more warnings\n"
        ),
        "{warnings}"
    );
    server.connect().ask("r 29\n", "DATA 0 v=0 n=0\n\n");
    server.end(Signal::SIGTERM);
    let log = fs::read_to_string(base.join("log")).expect("a log");
    assert_eq!(log.matches("both records damaged").count(), 29, "{log}");
}

#[test]
fn a_packet_that_no_mailbox_can_hold_is_reported() {
    let base = BaseDirectory::new();
    let (server, warnings) = start_with_warnings(&mut base.dipc("4 8 0 64"));
    let expected = "dipc: warning: PACKET_KB 64 is larger than SIZE_KB 8: a message has at most 8 kB\n";
    assert_eq!(warnings, expected);
    server.end(Signal::SIGKILL);
    for plausible in ["4 8 0 8", "4 8 0"] {
        let (server, warnings) = start_with_warnings(&mut base.dipc(plausible));
        assert_eq!(warnings, "", "{plausible}");
        server.end(Signal::SIGKILL);
    }
}

/// Cause: the classic port was bound again in each try of a start that waits, and warned each time.
#[test]
fn a_start_that_waits_for_another_server_prints_its_warnings_once() {
    let (base, port) = (BaseDirectory::new(), Port::reserve());
    base.start(&format!("4 64 {} 8", port.number)).end(Signal::SIGKILL);
    let lock = File::open(base.join(port.number.to_string()).join("lock")).expect("a lock");
    lock.lock().expect("locked");
    let options = "--bind 0.0.0.0 --open --classic 0 --max-hold 1e12 --log-level off";
    let mut command = base.dipc(&format!("4 64 {} 8 {options}", port.number));
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it runs");
    let sleeps = format!("{SYS_clock_nanosleep} ");
    wait_until("the start waits, or has failed", || {
        let call = fs::read_to_string(format!("/proc/{}/syscall", child.id())).unwrap_or_default();
        call.starts_with(&sleeps) || has_ended(child.id().cast_signed())
    });
    drop(lock);
    let outcome = finish(child, b"");
    assert_eq!(outcome.code, Some(0), "{outcome:?}");
    let classic = classic_port_in(&outcome.text()).expect("a classic port");
    let expected = format!(
        "dipc: warning: the classic port {classic} is TCP only, because --bind is not loopback\n\
         dipc: warning: --max-hold is limited to 100 years\n"
    );
    assert_eq!(outcome.stderr, expected);
}

#[test]
fn a_directory_on_a_disk_is_reported() {
    let (base, disk) = (BaseDirectory::new(), Path::new(env!("CARGO_TARGET_TMPDIR")));
    let disk = disk.join(base.path().file_name().expect("a name"));
    let kind =
        nix::sys::statfs::statfs(disk.parent().expect("a parent")).expect("a directory").filesystem_type();
    let on_disk = kind != nix::sys::statfs::TMPFS_MAGIC;
    for (directory, on_disk) in [(disk.as_path(), on_disk), (base.path(), false)] {
        let log = base.join("log");
        let mut dipc = bare(program::dipc());
        dipc.args(["4", "64", "0", "8", "--dir"]).arg(directory).arg("--log-file").arg(&log);
        let (server, warnings) = start_with_warnings(&mut dipc);
        run(bare(program::dipcrm()).arg(server.port.to_string()).arg("--dir").arg(directory))
            .expect_success();
        for reported in [&warnings, &fs::read_to_string(&log).expect("a log")] {
            assert_eq!(reported.matches("is not on tmpfs").count(), usize::from(on_disk), "{reported}");
        }
        fs::remove_file(log).expect("removed");
    }
    fs::remove_dir(disk).expect("an empty directory");
}

#[test]
fn a_server_in_the_foreground_says_everything_once() {
    let base = BaseDirectory::new();
    let mut dipc = base.dipc("4 64 0 8 --foreground");
    let limited = after("ulimit -n 60", &dipc);
    let (child, server) = start_in_foreground({ limited }.stderr(Stdio::piped()));
    server.signal(Signal::SIGTERM);
    let said = text(&child.wait_with_output().expect("our child").stderr);
    assert_eq!(said.matches("serving at most 28 clients").count(), 1, "{said}");
    assert!(said.contains("stopped") && !said.contains("4 mailboxes"), "{said}");

    // A log file has the line that is printed.
    let log = base.join("log");
    let (child, server) = start_in_foreground(dipc.arg("--log-file").arg(&log).stderr(Stdio::piped()));
    server.signal(Signal::SIGTERM);
    assert_eq!(text(&child.wait_with_output().expect("our child").stderr), "");
    assert!(fs::read_to_string(log).expect("a log").contains("4 mailboxes of 64 kB"));
}
