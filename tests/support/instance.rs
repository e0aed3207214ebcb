//! Instances as a user has them: their directory, their process, and what `dipc` and `dipcrm` say.

use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Barrier;

use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, geteuid};

use super::{Client, DIPC, DIPCRM, Directory, PATIENCE, finish, port_in, text, wait_until};

/// All files of a running instance without a Unix-domain socket.
pub const FILES: [&str; 4] = ["control.sock", "lock", "pid", "segment"];

/// A user who is not root, and whom nothing of ours belongs to.
pub const NOBODY: u32 = 65534;

/// Where instances of a test are. Whatever process of theirs still lives at its end is killed.
pub struct Home(Directory);

/// A server in the background, as its start has described it.
pub struct Instance {
    pub line: String,
    pub port: u16,
    pub pid: i32,
}

/// How a program has ended.
#[derive(Debug)]
pub struct Said {
    pub code: Option<i32>,
    pub out: String,
    pub err: String,
}

impl Home {
    pub fn new() -> Self {
        Home(Directory::new())
    }

    pub fn path(&self) -> &Path {
        self.0.path()
    }

    pub fn join(&self, name: impl AsRef<Path>) -> PathBuf {
        self.path().join(name)
    }

    /// `dipc` with these arguments and its instance here.
    pub fn dipc(&self, arguments: &str) -> Command {
        let mut command = bare(DIPC);
        command.args(arguments.split_whitespace()).arg("--dir").arg(self.path());
        command
    }

    #[track_caller]
    pub fn start(&self, arguments: &str) -> Instance {
        started(&mut self.dipc(arguments))
    }

    #[track_caller]
    pub fn dipcrm(&self, port: u16) -> Said {
        say(bare(DIPCRM).arg(port.to_string()).arg("--dir").arg(self.path()))
    }

    /// The files of the instance on `port`.
    pub fn files(&self, port: u16) -> Vec<String> {
        names(&self.join(port.to_string()))
    }

    pub fn pid_file(&self, port: u16) -> i32 {
        let content = fs::read_to_string(self.join(port.to_string()).join("pid")).expect("a pid file");
        content.trim_end().parse().expect("a number")
    }

    /// Our programs whose command line or environment names this directory.
    pub fn processes(&self) -> Vec<i32> {
        let pids = names(Path::new("/proc")).into_iter().filter_map(|name| name.parse().ok());
        let is_ours = |pid: &i32| {
            fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|name| name.starts_with("dipc"))
        };
        pids.filter(is_ours)
            .filter(|&pid| {
                ["cmdline", "environ"].iter().any(|file| {
                    let words = fs::read(format!("/proc/{pid}/{file}")).unwrap_or_default();
                    mentions(&text(&words), &text(self.path().as_os_str().as_encoded_bytes()))
                })
            })
            .collect()
    }

    #[track_caller]
    pub fn expect_nothing_left(&self) {
        assert_eq!(names(self.path()), [""; 0], "files are left");
        assert_eq!(self.processes(), [], "processes are left");
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        for pid in self.processes() {
            let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
        }
    }
}

impl Instance {
    pub fn connect(&self) -> Client {
        Client::tcp(self.port)
    }

    pub fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.pid), signal).expect("the server is ours");
    }

    /// Sends a signal and waits until the server has ended.
    #[track_caller]
    pub fn end(&self, signal: Signal) {
        self.signal(signal);
        wait_until("the end of the server", || is_gone(self.pid));
    }
}

impl Said {
    #[track_caller]
    pub fn expect(&self, code: i32, reason: &str) {
        assert_eq!(self.code, Some(code), "{self:?}");
        assert!(self.err.contains(reason), "{reason:?} is not in {self:?}");
        assert_eq!(self.out, "", "a failure belongs on stderr");
    }

    #[track_caller]
    pub fn expect_removed(&self) {
        assert_eq!(self.code, Some(0), "{self:?}");
        assert_eq!(self.err, "");
    }
}

/// A program that nothing around these tests advises.
pub fn bare(program: &str) -> Command {
    let mut command = Command::new(program);
    command.env_remove("NOTIFY_SOCKET");
    for (name, _) in
        std::env::vars_os().filter(|(name, _)| text(name.as_encoded_bytes()).starts_with("DIPC_"))
    {
        command.env_remove(name);
    }
    command
}

/// The command, in a shell that has done something before.
pub fn after(setup: &str, command: &Command) -> Command {
    let mut shell = bare("sh");
    shell.arg("-c").arg(format!("{setup}; exec \"$0\" \"$@\""));
    shell.arg(command.get_program()).args(command.get_args());
    shell
}

#[track_caller]
pub fn say(command: &mut Command) -> Said {
    let output = finish(command, PATIENCE);
    Said { code: output.status.code(), out: text(&output.stdout), err: text(&output.stderr) }
}

#[track_caller]
pub fn started(command: &mut Command) -> Instance {
    let said = say(command);
    assert_eq!(said.code, Some(0), "{command:?}: {said:?}");
    assert_eq!(said.err, "");
    instance(said.out)
}

#[track_caller]
pub fn instance(line: String) -> Instance {
    let port = port_in(&line).unwrap_or_else(|| panic!("no port in {line:?}"));
    let pid = line.split("(pid ").nth(1).and_then(|rest| rest.split(',').next()).expect("a pid");
    Instance { port, pid: pid.parse().expect("a number"), line }
}

/// Starts a server that stays; it is killed with its home.
pub fn stays(command: &mut Command) -> (Child, Instance) {
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().expect("the program runs");
    let mut line = String::new();
    BufReader::new(child.stdout.take().expect("piped")).read_line(&mut line).expect("a line");
    assert!(child.try_wait().expect("our child").is_none(), "it has gone to the background");
    let instance = instance(line);
    assert_eq!(instance.pid, child.id() as i32);
    (child, instance)
}

pub fn at_once(commands: [Command; 2]) -> [Said; 2] {
    let barrier = Barrier::new(2);
    std::thread::scope(|scope| {
        commands
            .map(|mut command| {
                let barrier = &barrier;
                scope.spawn(move || {
                    barrier.wait();
                    say(&mut command)
                })
            })
            .map(|thread| thread.join().expect("it ends"))
    })
}

/// Of two starts the one that went well; the other one says that the place is taken.
#[track_caller]
pub fn winner_of(both: [Said; 2]) -> Instance {
    let seen = format!("{both:?}");
    let [first, second] = both;
    let (winner, loser) = if first.code == Some(0) { (first, second) } else { (second, first) };
    assert_eq!(winner.code, Some(0), "nobody won: {seen}");
    assert!(loser.err.contains("in use") || loser.err.contains("a dipc runs in"), "{seen}");
    loser.expect(3, "dipc: ");
    instance(winner.out)
}

/// Sorted; nothing when there is no such directory.
pub fn names(directory: &Path) -> Vec<String> {
    let entries =
        fs::read_dir(directory).into_iter().flatten().map(|entry| entry.expect("an entry").file_name());
    let mut names: Vec<String> = entries.map(|name| text(name.as_encoded_bytes())).collect();
    names.sort();
    names
}

/// Whether `path` is in `text`, and not only as the beginning of a longer name.
pub fn mentions(text: &str, path: &str) -> bool {
    text.match_indices(path)
        .any(|(at, _)| !text[at + path.len()..].starts_with(|next: char| next.is_ascii_digit()))
}

/// What follows the name in /proc/PID/stat, from the state on; `None` when there is no such process.
pub fn stat_of(pid: i32) -> Option<Vec<String>> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    Some(stat.rsplit_once(')')?.1.split_whitespace().map(str::to_owned).collect())
}

/// Whether a process has ended, be it that nobody has taken notice yet.
pub fn is_gone(pid: i32) -> bool {
    stat_of(pid).is_none_or(|fields| matches!(&*fields[0], "Z" | "X"))
}

/// What would have changed if somebody had touched a file.
pub fn traces(path: &Path) -> Vec<(String, u64, u32, u64, i64, i64)> {
    let trace = |name: String| {
        let found = fs::symlink_metadata(path.join(&name)).expect("a file");
        (name, found.ino(), found.mode(), found.size(), found.mtime_nsec(), found.ctime_nsec())
    };
    names(path).into_iter().chain([".".to_owned()]).map(trace).collect()
}

/// A file system of its own. Not everybody may have one.
pub struct Mount(pub PathBuf);

impl Mount {
    pub fn new(at: PathBuf, options: &str) -> Option<Self> {
        fs::create_dir(&at).expect("a new directory");
        let mounted = finish(bare("mount").args(["-t", "tmpfs", "-o", options, "tmpfs"]).arg(&at), PATIENCE);
        if geteuid().is_root() && mounted.status.success() { Some(Mount(at)) } else { None }
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        let _ = finish(bare("umount").arg("-l").arg(&self.0), PATIENCE);
    }
}
