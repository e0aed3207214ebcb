//! A program that is run to its end, and information of the system about a process.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

use crate::wait::{HANG, wait_until};

/// How a program ended, and what it printed.
#[derive(Debug)]
pub struct Outcome {
    /// Its exit code; `None` after a signal.
    pub code: Option<i32>,
    /// What it printed.
    pub stdout: Vec<u8>,
    /// What it printed on standard error.
    pub stderr: String,
}

impl Outcome {
    /// What it printed, as text.
    pub fn text(&self) -> String {
        text(&self.stdout)
    }

    /// Expects that it ended with this code and printed exactly this.
    #[track_caller]
    pub fn expect(&self, code: i32, stdout: impl AsRef<[u8]>) {
        let stdout = stdout.as_ref().escape_ascii().to_string();
        assert_eq!((self.code, self.stdout.escape_ascii().to_string()), (Some(code), stdout), "{self:?}");
    }

    /// Expects that it failed with this code, printed nothing, and has this reason in its message.
    #[track_caller]
    pub fn expect_failure(&self, code: i32, reason: &str) {
        self.expect(code, "");
        assert!(self.stderr.contains(reason), "{reason:?} is not in {self:?}");
    }

    /// Expects that it ended with code 0 and without a message.
    #[track_caller]
    pub fn expect_success(&self) {
        assert_eq!((self.code, self.stderr.as_str()), (Some(0), ""), "{self:?}");
    }

    /// The JSON value that it printed.
    #[track_caller]
    pub fn json(&self) -> Value {
        assert_eq!(self.code, Some(0), "{self:?}");
        serde_json::from_slice(&self.stdout).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }
}

/// Runs a command without input to its end.
#[track_caller]
pub fn run(command: &mut Command) -> Outcome {
    let command = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let child = command.spawn().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    finish(child, b"")
}

/// Starts two commands at the same time and runs both to their ends.
pub fn run_both(commands: [Command; 2]) -> [Outcome; 2] {
    let barrier = std::sync::Barrier::new(2);
    thread::scope(|scope| {
        commands
            .map(|mut command| {
                let barrier = &barrier;
                scope.spawn(move || {
                    barrier.wait();
                    run(&mut command)
                })
            })
            .map(|thread| thread.join().expect("a thread without a panic"))
    })
}

/// Waits until a program has ended and no process holds its output any more. `input` is written to its
/// standard input if that is a pipe; standard output and standard error have to be pipes.
#[track_caller]
pub fn finish(mut child: Child, input: &[u8]) -> Outcome {
    if let Some(mut stdin) = child.stdin.take() {
        let input = input.to_vec();
        // On a separate thread, because the program may print before it reads. It may also end without
        // reading.
        thread::spawn(move || stdin.write_all(&input));
    }
    let deadline = Instant::now() + HANG;
    let stdout = read_to_end(child.stdout.take().expect("piped"));
    let stderr = read_to_end(child.stderr.take().expect("piped"));
    let receive = |from: &mpsc::Receiver<Vec<u8>>| {
        from.recv_timeout(deadline.saturating_duration_since(Instant::now())).ok()
    };
    let Some((stdout, stderr)) = receive(&stdout).zip(receive(&stderr)) else {
        let _ = child.kill();
        let status = child.wait();
        panic!(
            "process {} does not end, or a process that it started holds its output: {status:?}",
            child.id()
        );
    };
    let code = wait_for_end(&mut child);
    Outcome { code, stdout, stderr: text(&stderr) }
}

fn read_to_end(mut from: impl Read + Send + 'static) -> mpsc::Receiver<Vec<u8>> {
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || {
        let mut bytes = Vec::new();
        let _ = from.read_to_end(&mut bytes);
        let _ = sender.send(bytes);
    });
    receiver
}

/// Waits for the first line that a program prints, or for the end of its output. The rest stays unread.
#[track_caller]
pub fn first_line(child: &mut Child) -> String {
    let stdout = child.stdout.take().expect("piped");
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || {
        // A buffer of one byte, so that no byte after the line is read.
        let mut reader = BufReader::with_capacity(1, stdout);
        let mut line = String::new();
        let _ = reader.read_line(&mut line);
        let _ = sender.send((line, reader.into_inner()));
    });
    let Ok((line, stdout)) = receiver.recv_timeout(HANG) else {
        let _ = child.kill();
        let status = child.wait();
        panic!("process {} prints no line: {status:?}", child.id());
    };
    child.stdout = Some(stdout);
    line
}

/// Waits for the end of a program. Returns its exit code, or `None` after a signal.
#[track_caller]
pub fn wait_for_end(child: &mut Child) -> Option<i32> {
    let pid = child.id();
    wait_until(&format!("the end of process {pid}"), || child.try_wait().expect("our child").is_some());
    child.wait().expect("our child").code()
}

/// A program that is killed when this is dropped.
pub struct KillOnDrop(pub Child);

impl Drop for KillOnDrop {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A command without the variables of dipc and of a service manager in its environment.
pub fn bare(program: impl AsRef<std::ffi::OsStr>) -> Command {
    let mut command = Command::new(program);
    command.env_remove("NOTIFY_SOCKET");
    let is_ours = |name: &std::ffi::OsStr| text(name.as_encoded_bytes()).starts_with("DIPC_");
    for (name, _) in std::env::vars_os().filter(|(name, _)| is_ours(name)) {
        command.env_remove(name);
    }
    command
}

/// The command, in a shell that runs `setup` first.
pub fn after(setup: &str, command: &Command) -> Command {
    let mut shell = bare("sh");
    shell.arg("-c").arg(format!("{setup}; exec \"$0\" \"$@\""));
    shell.arg(command.get_program()).args(command.get_args());
    shell
}

/// Sends a signal to a process of this test.
#[track_caller]
pub fn signal(pid: u32, signal: Signal) {
    kill(Pid::from_raw(pid.cast_signed()), signal).expect("the process is ours");
}

/// The fields of /proc/PID/stat from the state (field 3) on; `None` when there is no such process. Source:
/// proc_pid_stat(5).
pub fn stat_fields(pid: i32) -> Option<Vec<String>> {
    // The name before the state may have any bytes.
    let stat = text(&fs::read(format!("/proc/{pid}/stat")).ok()?);
    Some(stat.rsplit_once(')')?.1.split_whitespace().map(str::to_owned).collect())
}

/// Whether a process has ended. Its parent may not have waited for it yet.
pub fn has_ended(pid: i32) -> bool {
    stat_fields(pid).is_none_or(|fields| matches!(&*fields[0], "Z" | "X"))
}

/// The processor time of a process, in the kernel and outside it.
#[track_caller]
pub fn cpu_time(pid: i32) -> Duration {
    /// Milliseconds of a clock tick: Linux has 100 in a second.
    const TICK_MS: u64 = 10;
    let fields = stat_fields(pid).expect("the process lives");
    // utime and stime, fields 14 and 15.
    let ticks = fields[11..13].iter().map(|field| field.parse::<u64>().expect("a number"));
    Duration::from_millis(TICK_MS * ticks.sum::<u64>())
}

/// Bytes as text. Bytes that are not UTF-8 are replaced.
pub fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
