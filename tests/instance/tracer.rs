//! strace, which lets a system call of a program fail.

use std::fs;
use std::process::{Child, Command, Stdio};

use dipc_testkit::process::{KillOnDrop, run};
use dipc_testkit::wait::wait_until;

/// The command of strace with this injection; `None` on a machine without strace. Then the test says that it
/// tests nothing.
pub(crate) fn strace(injection: &str) -> Option<Command> {
    if Command::new("strace").arg("-V").output().is_err() {
        println!("there is no strace here: not tested");
        return None;
    }
    let mut command = Command::new("strace");
    let call = injection.split(':').next().expect("a call");
    command.args(["-f", "-qq", "-o", "/dev/null", "-e", &format!("trace={call}")]);
    command.args(["-e", &format!("inject={injection}")]);
    Some(command)
}

/// Attaches strace with this injection to a process.
#[track_caller]
pub(crate) fn attach(pid: i32, injection: &str) -> Option<KillOnDrop> {
    let child: Child = strace(injection)?
        .args(["-p", &pid.to_string()])
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("strace runs");
    let child = KillOnDrop(child);
    wait_until("strace is attached", || {
        let threads = fs::read_dir(format!("/proc/{pid}/task")).expect("the process lives");
        threads
            .map(|thread| thread.expect("a thread").path().join("status"))
            .all(|status| fs::read_to_string(status).is_ok_and(|status| !status.contains("TracerPid:\t0\n")))
    });
    Some(child)
}

/// `command`, run to its end with this injection.
#[track_caller]
pub(crate) fn run_with(injection: &str, command: &Command) -> Option<dipc_testkit::process::Outcome> {
    let mut traced = strace(injection)?;
    traced.arg(command.get_program()).args(command.get_args());
    Some(run(&mut traced))
}
