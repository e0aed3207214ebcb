//! Instances as a user sees them: their directory, their process, and the output of `dipc` and `dipcrm`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::client::Client;
use crate::directory::{Directory, names};
use crate::port::port_in;
use crate::process::{self, Outcome, bare, first_line, has_ended, run, text};
use crate::program;
use crate::wait::wait_until;

/// All files of a running instance without a Unix-domain socket.
pub const FILES: [&str; 5] = ["control.sock", "lock", "pid", "segment", "waiters"];

/// A user other than root that owns no file of these tests.
pub const OTHER_USER: u32 = 65534;

/// A base directory, the `--dir` of instances. When it is dropped, the processes of its instances are killed.
pub struct BaseDirectory(Directory);

impl BaseDirectory {
    /// Makes the directory.
    #[track_caller]
    #[expect(clippy::new_without_default, reason = "it makes a directory, which a default value should not")]
    pub fn new() -> Self {
        BaseDirectory(Directory::new())
    }

    /// Its path.
    pub fn path(&self) -> &Path {
        self.0.path()
    }

    /// The path of a file in it.
    pub fn join(&self, name: impl AsRef<Path>) -> PathBuf {
        self.0.join(name)
    }

    /// `dipc` with these arguments. Its instance is in this directory.
    pub fn dipc(&self, arguments: &str) -> Command {
        let mut command = bare(program::dipc());
        command.args(arguments.split_whitespace()).arg("--dir").arg(self.path());
        command
    }

    /// Starts an instance.
    #[track_caller]
    pub fn start(&self, arguments: &str) -> Instance {
        start(&mut self.dipc(arguments))
    }

    /// Runs `dipcrm`.
    #[track_caller]
    pub fn dipcrm(&self, port: u16) -> Outcome {
        run(bare(program::dipcrm()).arg(port.to_string()).arg("--dir").arg(self.path()))
    }

    /// The files of the instance on `port`.
    pub fn files(&self, port: u16) -> Vec<String> {
        names(&self.join(port.to_string()))
    }

    /// The number in the pid file of the instance on `port`.
    #[track_caller]
    pub fn pid_file(&self, port: u16) -> i32 {
        let content = fs::read_to_string(self.join(port.to_string()).join("pid")).expect("a pid file");
        content.trim_end().parse().expect("a number")
    }

    /// The processes of dipc whose command line or environment names this directory.
    pub fn processes(&self) -> Vec<i32> {
        let pids = names(Path::new("/proc")).into_iter().filter_map(|name| name.parse().ok());
        let is_dipc = |pid: &i32| {
            fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|name| name.starts_with("dipc"))
        };
        let path = text(self.path().as_os_str().as_encoded_bytes());
        let names_path = |pid: &i32| {
            ["cmdline", "environ"].iter().any(|file| {
                let words = fs::read(format!("/proc/{pid}/{file}")).unwrap_or_default();
                contains_path(&text(&words), &path)
            })
        };
        pids.filter(is_dipc).filter(names_path).collect()
    }

    /// Expects that no file and no process is left.
    #[track_caller]
    pub fn expect_nothing_left(&self) {
        assert_eq!(names(self.path()), [""; 0], "files are left");
        assert_eq!(self.processes(), [0; 0], "processes are left");
    }
}

impl Drop for BaseDirectory {
    fn drop(&mut self) {
        for pid in self.processes() {
            let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
        }
    }
}

/// A server in the background, as the line of its start describes it.
pub struct Instance {
    /// What `dipc` has printed.
    pub line: String,
    /// Where it listens.
    pub port: u16,
    /// Its process.
    pub pid: i32,
}

impl Instance {
    /// Reads the line that `dipc` has printed.
    #[track_caller]
    pub fn of(line: String) -> Self {
        let port = port_in(&line).unwrap_or_else(|| panic!("no port in {line:?}"));
        let pid = line.split("(pid ").nth(1).and_then(|rest| rest.split(',').next()).expect("a pid");
        Instance { port, pid: pid.parse().expect("a number"), line }
    }

    /// A new connection.
    #[track_caller]
    pub fn connect(&self) -> Client {
        Client::tcp(self.port)
    }

    /// Sends it a signal.
    #[track_caller]
    pub fn signal(&self, signal: Signal) {
        process::signal(self.pid.cast_unsigned(), signal);
    }

    /// Sends a signal and waits until the server has ended.
    #[track_caller]
    pub fn end(&self, signal: Signal) {
        self.signal(signal);
        wait_until("the end of the server", || has_ended(self.pid));
    }
}

/// Runs a command that starts an instance in the background.
#[track_caller]
pub fn start(command: &mut Command) -> Instance {
    let outcome = run(command);
    assert_eq!(outcome.code, Some(0), "{command:?}: {outcome:?}");
    assert_eq!(outcome.stderr, "");
    Instance::of(outcome.text())
}

/// Runs a command that starts a server in the foreground. It is killed with its base directory.
#[track_caller]
pub fn start_in_foreground(command: &mut Command) -> (Child, Instance) {
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().expect("the program runs");
    let line = first_line(&mut child);
    assert!(child.try_wait().expect("our child").is_none(), "the program runs in the background");
    let instance = Instance::of(line);
    assert_eq!(instance.pid, child.id().cast_signed());
    (child, instance)
}

/// Returns the instance of the one start that succeeded. The other start must have failed because the port or
/// the directory is in use.
#[track_caller]
pub fn winner_of(both: [Outcome; 2]) -> Instance {
    let seen = format!("{both:?}");
    let [first, second] = both;
    let (winner, loser) = if first.code == Some(0) { (first, second) } else { (second, first) };
    assert_eq!(winner.code, Some(0), "neither start succeeded: {seen}");
    assert!(loser.stderr.contains("in use") || loser.stderr.contains("a dipc runs in"), "{seen}");
    loser.expect_failure(3, "dipc: ");
    Instance::of(winner.text())
}

/// Whether `text` contains `path`. A longer path that continues with a digit does not count.
fn contains_path(text: &str, path: &str) -> bool {
    text.match_indices(path)
        .any(|(at, _)| !text[at + path.len()..].starts_with(|next: char| next.is_ascii_digit()))
}
