//! An instance from its start to its removal: what `dipc` and `dipcrm` say, how they exit, and what they leave behind.
#![allow(missing_docs)]

mod support;

use std::fs::{self, File, Permissions};
use std::io::{BufRead, BufReader};
use std::net::{Ipv6Addr, TcpListener, TcpStream};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};
use std::os::unix::net::{SocketAddr, UnixDatagram, UnixListener};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Barrier;
use std::time::Instant;

use nix::sys::signal::{Signal, kill};
use nix::sys::stat::Mode;
use nix::unistd::{Pid, geteuid, getsid, mkfifo};

use support::{Client, DIPC, DIPCRM, Directory, PATIENCE, Port, Server, finish, port_in, text, wait_until};

/// All files of a running instance without a Unix-domain socket.
const FILES: [&str; 4] = ["control.sock", "lock", "pid", "segment"];

/// A user who is not root, and whom nothing of ours belongs to.
const NOBODY: u32 = 65534;

/// Where instances of a test are. Whatever process of theirs still lives at its end is killed.
struct Home(Directory);

/// A server in the background, as its start has described it.
struct Instance {
    line: String,
    port: u16,
    pid: i32,
}

/// How a program has ended.
#[derive(Debug)]
struct Said {
    code: Option<i32>,
    out: String,
    err: String,
}

impl Home {
    fn new() -> Self {
        Home(Directory::new())
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    fn join(&self, name: impl AsRef<Path>) -> PathBuf {
        self.path().join(name)
    }

    /// `dipc` with these arguments and its instance here.
    fn dipc(&self, arguments: &str) -> Command {
        let mut command = bare(DIPC);
        command.args(arguments.split_whitespace()).arg("--dir").arg(self.path());
        command
    }

    #[track_caller]
    fn start(&self, arguments: &str) -> Instance {
        started(&mut self.dipc(arguments))
    }

    #[track_caller]
    fn dipcrm(&self, port: u16) -> Said {
        say(bare(DIPCRM).arg(port.to_string()).arg("--dir").arg(self.path()))
    }

    /// The files of the instance on `port`.
    fn files(&self, port: u16) -> Vec<String> {
        names(&self.join(port.to_string()))
    }

    fn pid_file(&self, port: u16) -> i32 {
        let content = fs::read_to_string(self.join(port.to_string()).join("pid")).expect("a pid file");
        content.trim_end().parse().expect("a number")
    }

    /// Our programs whose command line or environment names this directory.
    fn processes(&self) -> Vec<i32> {
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
    fn expect_nothing_left(&self) {
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
    fn connect(&self) -> Client {
        Client::tcp(self.port)
    }

    fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.pid), signal).expect("the server is ours");
    }

    /// Sends a signal and waits until the server has ended.
    #[track_caller]
    fn end(&self, signal: Signal) {
        self.signal(signal);
        wait_until("the end of the server", || is_gone(self.pid));
    }
}

impl Said {
    #[track_caller]
    fn expect(&self, code: i32, reason: &str) {
        assert_eq!(self.code, Some(code), "{self:?}");
        assert!(self.err.contains(reason), "{reason:?} is not in {self:?}");
        assert_eq!(self.out, "", "a failure belongs on stderr");
    }

    #[track_caller]
    fn expect_removed(&self) {
        assert_eq!(self.code, Some(0), "{self:?}");
        assert_eq!(self.err, "");
    }
}

/// A program that nothing around these tests advises.
fn bare(program: &str) -> Command {
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
fn after(setup: &str, command: &Command) -> Command {
    let mut shell = bare("sh");
    shell.arg("-c").arg(format!("{setup}; exec \"$0\" \"$@\""));
    shell.arg(command.get_program()).args(command.get_args());
    shell
}

#[track_caller]
fn say(command: &mut Command) -> Said {
    let output = finish(command, PATIENCE);
    Said { code: output.status.code(), out: text(&output.stdout), err: text(&output.stderr) }
}

#[track_caller]
fn started(command: &mut Command) -> Instance {
    let said = say(command);
    assert_eq!(said.code, Some(0), "{command:?}: {said:?}");
    assert_eq!(said.err, "");
    instance(said.out)
}

#[track_caller]
fn instance(line: String) -> Instance {
    let port = port_in(&line).unwrap_or_else(|| panic!("no port in {line:?}"));
    let pid = line.split("(pid ").nth(1).and_then(|rest| rest.split(',').next()).expect("a pid");
    Instance { port, pid: pid.parse().expect("a number"), line }
}

/// Starts a server that stays; it is killed with its home.
fn stays(command: &mut Command) -> (Child, Instance) {
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().expect("the program runs");
    let mut line = String::new();
    BufReader::new(child.stdout.take().expect("piped")).read_line(&mut line).expect("a line");
    assert!(child.try_wait().expect("our child").is_none(), "it has gone to the background");
    let instance = instance(line);
    assert_eq!(instance.pid, child.id() as i32);
    (child, instance)
}

fn at_once(commands: [Command; 2]) -> [Said; 2] {
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
fn winner_of(both: [Said; 2]) -> Instance {
    let seen = format!("{both:?}");
    let [first, second] = both;
    let (winner, loser) = if first.code == Some(0) { (first, second) } else { (second, first) };
    assert_eq!(winner.code, Some(0), "nobody won: {seen}");
    assert!(loser.err.contains("in use") || loser.err.contains("a dipc runs in"), "{seen}");
    loser.expect(3, "dipc: ");
    instance(winner.out)
}

/// Sorted; nothing when there is no such directory.
fn names(directory: &Path) -> Vec<String> {
    let entries =
        fs::read_dir(directory).into_iter().flatten().map(|entry| entry.expect("an entry").file_name());
    let mut names: Vec<String> = entries.map(|name| text(name.as_encoded_bytes())).collect();
    names.sort();
    names
}

/// Whether `path` is in `text`, and not only as the beginning of a longer name.
fn mentions(text: &str, path: &str) -> bool {
    text.match_indices(path)
        .any(|(at, _)| !text[at + path.len()..].starts_with(|next: char| next.is_ascii_digit()))
}

/// What follows the name in /proc/PID/stat, from the state on; `None` when there is no such process.
fn stat_of(pid: i32) -> Option<Vec<String>> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    Some(stat.rsplit_once(')')?.1.split_whitespace().map(str::to_owned).collect())
}

/// Whether a process has ended, be it that nobody has taken notice yet.
fn is_gone(pid: i32) -> bool {
    stat_of(pid).is_none_or(|fields| matches!(&*fields[0], "Z" | "X"))
}

/// What would have changed if somebody had touched a file.
fn traces(path: &Path) -> Vec<(String, u64, u32, u64, i64, i64)> {
    let trace = |name: String| {
        let found = fs::symlink_metadata(path.join(&name)).expect("a file");
        (name, found.ino(), found.mode(), found.size(), found.mtime_nsec(), found.ctime_nsec())
    };
    names(path).into_iter().chain([".".to_owned()]).map(trace).collect()
}

/// A file system of its own. Not everybody may have one.
struct Mount(PathBuf);

impl Mount {
    fn new(at: PathBuf, options: &str) -> Option<Self> {
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

// ---- starting ----

#[test]
fn a_start_returns_when_clients_can_connect() {
    let (home, port) = (Home::new(), Port::reserve());
    for _ in 0..10 {
        let server = home.start(&format!("4 64 {} 8", port.number));
        server.connect().ask("w 3\nhello\nr 3\n", "OK v=1\nDATA 5 v=1 n=1\nhello\n");
        assert_eq!(server.port, port.number);
        assert_eq!(home.files(port.number), FILES);
        assert_eq!((home.pid_file(port.number), home.processes()), (server.pid, vec![server.pid]));
        home.dipcrm(port.number).expect_removed();
    }
}

#[test]
fn a_server_in_the_background_has_let_go_of_its_terminal() {
    let home = Home::new();
    // Would wait for ever if the server kept the pipe.
    let mut shell = bare("sh");
    shell.arg("-c").arg("line=$(\"$0\" 4 64 0 8 --dir . 2>&1) && echo \"$line\" && pwd");
    shell.arg(DIPC).env("DIPC_LOG_FILE", home.join("log")).current_dir(home.path());
    let server = started(&mut shell);
    assert!(server.line.ends_with(&format!("{}\n", home.path().display())), "{}", server.line);
    let proc = PathBuf::from(format!("/proc/{}", server.pid));
    assert_eq!(fs::read_link(proc.join("cwd")).expect("ours"), Path::new("/"));
    for descriptor in ["fd/0", "fd/1", "fd/2"] {
        assert_eq!(fs::read_link(proc.join(descriptor)).expect("ours"), Path::new("/dev/null"));
    }
    let stat = stat_of(server.pid).expect("it lives");
    let [session, terminal] = [&stat[3], &stat[4]].map(|field| field.parse::<i32>().expect("a number"));
    assert_ne!(session, getsid(None).expect("ours").as_raw(), "it is in the session of its caller");
    assert_ne!(session, server.pid, "it could get a terminal");
    assert_eq!(terminal, 0, "it has a terminal");
}

#[test]
fn a_server_in_the_foreground_stays() {
    let home = Home::new();
    let (mut child, server) = stays(home.dipc("4 64 0 8 --foreground").stderr(Stdio::null()));
    assert_eq!(server.connect().stat("pid"), u64::from(child.id()));
    server.signal(Signal::SIGTERM);
    assert_eq!(child.wait().expect("our child").code(), Some(0));
}

#[test]
fn a_port_that_somebody_else_serves_is_in_use() {
    let home = Home::new();
    let somebody = TcpListener::bind(("127.0.0.1", 0)).expect("a free port");
    let port = somebody.local_addr().expect("bound").port();
    let said = say(&mut home.dipc(&format!("4 64 {port} 8")));
    said.expect(3, &format!("port {port} is in use"));
    home.expect_nothing_left();
    home.dipcrm(port).expect(1, "there is no dipc");
}

#[test]
fn a_second_server_touches_nothing_of_the_first() {
    let (home, other) = (Home::new(), Home::new());
    let first = home.start("4 64 0 8");
    let port = first.port;
    first.connect().ask("w 0\nhello\n", "OK v=1\n");
    let before = traces(&home.join(port.to_string()));
    let in_use = format!("port {port} is in use");
    say(&mut home.dipc(&format!("4 64 {port} 8"))).expect(3, &in_use);
    say(&mut home.dipc(&format!("4 64 {port} 8 --fresh"))).expect(3, &in_use);
    say(&mut home.dipc(&format!("5 64 {port} 8"))).expect(3, &in_use);
    say(&mut other.dipc(&format!("4 64 {port} 8"))).expect(3, &in_use);
    // The port is free there, the instance is not.
    let elsewhere = format!("4 64 {port} 8 --bind 127.0.0.2 --fresh");
    say(&mut home.dipc(&elsewhere)).expect(3, "a dipc runs in");
    assert_eq!(traces(&home.join(port.to_string())), before);
    assert_eq!(home.processes(), [first.pid]);
    other.expect_nothing_left();
    first.connect().ask("r 0\n", "DATA 5 v=1 n=1\nhello\n");
}

#[test]
fn of_two_started_at_once_on_one_port_exactly_one_wins() {
    let (home, port) = (Home::new(), Port::reserve());
    let arguments = format!("4 64 {} 8", port.number);
    for _ in 0..40 {
        let winner = winner_of(at_once([home.dipc(&arguments), home.dipc(&arguments)]));
        assert_eq!(home.files(port.number), FILES);
        assert_eq!((home.pid_file(port.number), home.processes()), (winner.pid, vec![winner.pid]));
        winner.connect().ask("w 0\nhello\nr 0\n", "OK v=1\nDATA 5 v=1 n=1\nhello\n");
        home.dipcrm(port.number).expect_removed();
        home.expect_nothing_left();
    }
}

#[test]
fn of_two_started_at_once_on_one_port_in_two_directories_exactly_one_wins() {
    let (one, two, port) = (Home::new(), Home::new(), Port::reserve());
    let arguments = format!("4 64 {} 8", port.number);
    for _ in 0..40 {
        let winner = winner_of(at_once([one.dipc(&arguments), two.dipc(&arguments)]));
        winner.connect().ask("ping\n", "OK\n");
        let (home, other) = if one.processes().is_empty() { (&two, &one) } else { (&one, &two) };
        assert_eq!((home.pid_file(port.number), home.processes()), (winner.pid, vec![winner.pid]));
        other.expect_nothing_left();
        home.dipcrm(port.number).expect_removed();
    }
}

#[test]
fn servers_on_two_ports_share_a_directory() {
    let home = Home::new();
    let [one, two] = [home.start("4 64 0 8"), home.start("2 1 0 1")];
    one.connect().ask("w 0\none\n", "OK v=1\n");
    two.connect().ask("w 0\ntwo\n", "OK v=1\n");
    home.dipcrm(one.port).expect_removed();
    two.connect().ask("r 0\n", "DATA 3 v=1 n=1\ntwo\n");
    assert_eq!(names(home.path()), [two.port.to_string()]);
    home.dipcrm(two.port).expect_removed();
    home.expect_nothing_left();
}

#[test]
fn wrong_arguments_are_usage() {
    let home = Home::new();
    let wrong = [
        "",
        "4",
        "4 64 0",
        "4 64 0 8 9",
        "0 64 0 8",
        "4 0 0 8",
        "4 64 0 0",
        "-4 64 0 8",
        "four 64 0 8",
        "4 64 65536 8",
        "4 64 http 8",
        "4294967296 64 0 8",
        "4 4194304 0 8",
        "4 64 0 99999999999999999999",
        "4 64 0 8 --workers 0",
        "4 64 0 8 --max-clients 0",
        "4 64 0 8 --wait -1",
        "4 64 0 8 --wait soon",
        "4 64 0 8 --bind nowhere",
        "4 64 0 8 --log-level loud",
        "4 64 0 8 --frehs",
        "4294967295 4194303 0 8",
    ];
    for arguments in wrong {
        let said = say(&mut home.dipc(arguments));
        assert_eq!((said.code, &*said.out), (Some(2), ""), "{arguments}: {said:?}");
        assert!(!said.err.trim().is_empty(), "{arguments}: no reason");
    }
    for arguments in [&[][..], &["0"], &["http"], &["65536"], &["5000", "5001"], &["--now", "5000"]] {
        let said = say(bare(DIPCRM).args(arguments).env("DIPC_DIR", home.path()));
        assert_eq!((said.code, &*said.out), (Some(2), ""), "{arguments:?}: {said:?}");
        assert!(!said.err.trim().is_empty(), "{arguments:?}: no reason");
    }
    home.expect_nothing_left();
}

#[test]
fn help_and_version_are_no_failures() {
    for program in [DIPC, DIPCRM] {
        for option in ["--help", "--version"] {
            let said = say(bare(program).arg(option));
            assert_eq!((said.code, &*said.err), (Some(0), ""), "{program} {option}");
            assert!(said.out.contains("dipc"), "{said:?}");
        }
    }
}

#[test]
fn only_this_machine_is_served_unless_it_is_said_twice() {
    let home = Home::new();
    for address in ["0.0.0.0", "::", "192.0.2.1"] {
        say(&mut home.dipc(&format!("4 64 0 8 --bind {address}"))).expect(2, "--open");
        say(home.dipc("4 64 0 8").env("DIPC_BIND", address)).expect(2, "--open");
        say(home.dipc("4 64 0 8").env("DIPC_BIND", address).env("DIPC_OPEN", "false")).expect(2, "--open");
    }
    home.expect_nothing_left();
    let server = home.start("4 64 0 8");
    assert!(server.line.contains(" on 127.0.0.1:"), "{}", server.line);
    TcpStream::connect(("127.0.0.2", server.port)).expect_err("on 127.0.0.1 only");
    let neighbour = home.start("4 64 0 8 --bind 127.0.0.2");
    TcpStream::connect(("127.0.0.1", neighbour.port)).expect_err("on 127.0.0.2 only");
}

#[test]
fn an_address_that_is_not_here_cannot_be_listened_on() {
    let home = Home::new();
    // For documentation only: RFC 5737.
    let said = say(&mut home.dipc("4 64 0 8 --bind 192.0.2.1 --open"));
    said.expect(1, "cannot listen on 192.0.2.1");
    home.expect_nothing_left();
}

#[test]
fn ipv6_is_served_where_there_is_any() {
    if TcpListener::bind((Ipv6Addr::LOCALHOST, 0)).is_err() {
        return;
    }
    let home = Home::new();
    let server = home.start("4 64 0 8 --bind ::1");
    assert!(server.line.contains(&format!(" on [::1]:{} ", server.port)), "{}", server.line);
    let stream = TcpStream::connect((Ipv6Addr::LOCALHOST, server.port)).expect("connected");
    stream.set_read_timeout(Some(PATIENCE)).expect("set");
    Client::over(stream).ask("ping\n", "OK\n");
    TcpStream::connect(("127.0.0.1", server.port)).expect_err("on ::1 only");
    home.dipcrm(server.port).expect_removed();
    home.expect_nothing_left();
}

// ---- what a start cannot have ----

#[test]
fn more_memory_than_there_is_is_refused_with_a_reason() {
    let home = Home::new();
    for huge in ["1000000 4194303 0 8", "4294967295 1 0 8"] {
        say(&mut home.dipc(huge)).expect(1, "bytes of shared memory");
        home.expect_nothing_left();
    }
    let addresses = after("ulimit -v 300000", &home.dipc("400 1024 0 8"));
    say(&mut { addresses }).expect(1, "bytes of shared memory");
    home.expect_nothing_left();
}

#[test]
fn a_full_file_system_is_an_error_at_the_start() {
    let home = Home::new();
    let Some(small) = Mount::new(home.join("small"), "size=1m,mode=700") else { return };
    let dipc = |arguments: &str| {
        let mut command = bare(DIPC);
        command.args(arguments.split_whitespace()).arg("--dir").arg(&small.0);
        command
    };
    let said = say(&mut dipc("16 64 0 8"));
    said.expect(1, "bytes of shared memory");
    assert!(said.err.contains("No space left"), "{said:?}");
    assert_eq!(names(&small.0), [""; 0]);
    let server = started(&mut dipc("4 64 0 8"));
    server.connect().ask("ping\n", "OK\n");
    say(bare(DIPCRM).arg(server.port.to_string()).arg("--dir").arg(&small.0)).expect_removed();
    assert_eq!(names(&small.0), [""; 0]);
}

#[test]
fn a_limit_on_the_size_of_files_is_an_error_like_any_other() {
    let home = Home::new();
    let said = say(&mut after("ulimit -f 100", &home.dipc("4 64 0 8")));
    said.expect(1, "bytes of shared memory");
    home.expect_nothing_left();
}

#[test]
fn a_start_that_fails_in_the_background_leaves_nothing() {
    let home = Home::new();
    // Enough descriptors for the mailboxes, but not for clients.
    let said = say(&mut after("ulimit -n 10", &home.dipc("4 64 0 8")));
    said.expect(1, "cannot start the server");
    home.expect_nothing_left();
}

#[test]
fn with_few_descriptors_a_start_tells_the_truth() {
    let home = Home::new();
    for limit in 4..24 {
        let setup = format!("exec >'{0}/out' 2>'{0}/err'; ulimit -n {limit}", home.path().display());
        let code = say(&mut after(&setup, &home.dipc("4 64 0 8"))).code;
        let [out, err] = ["out", "err"].map(|name| fs::read_to_string(home.join(name)).expect("written"));
        if code == Some(0) {
            let server = instance(out);
            server.connect().ask("ping\n", "OK\n");
            home.dipcrm(server.port).expect_removed();
        } else {
            assert!(!err.is_empty(), "with {limit} descriptors: no reason");
        }
        assert_eq!(home.processes(), [], "with {limit} descriptors a server lives on: {code:?}, {err}");
    }
}

#[test]
fn a_caller_that_ignores_its_children_gets_a_server_too() {
    let home = Home::new();
    let mut command = bare("env");
    command.args(["--ignore-signal=CHLD", DIPC, "4", "64", "0", "8", "--dir"]).arg(home.path());
    let server = started(&mut command);
    server.connect().ask("ping\n", "OK\n");
    assert_eq!(home.files(server.port), FILES);
    home.dipcrm(server.port).expect_removed();
    home.expect_nothing_left();
}

#[test]
fn a_directory_that_cannot_be_written_is_named() {
    let home = Home::new();
    let read_only = home.join("read-only");
    let mount = Mount::new(read_only.clone(), "ro,size=1m,mode=700");
    if mount.is_some() || !geteuid().is_root() {
        fs::set_permissions(&read_only, Permissions::from_mode(0o500)).unwrap_or_default();
        let said = say(bare(DIPC).args(["4", "64", "0", "8", "--dir"]).arg(&read_only));
        said.expect(1, &read_only.display().to_string());
    }
    let nowhere = home.join("no/where");
    let said = say(bare(DIPC).args(["4", "64", "0", "8", "--dir"]).arg(&nowhere));
    said.expect(1, &nowhere.display().to_string());
    drop(mount);
    assert_eq!((names(home.path()), home.processes()), (vec!["read-only".to_owned()], vec![]));
}

#[test]
fn a_log_file_that_cannot_be_written_is_an_error() {
    let home = Home::new();
    for log in [home.join("no/log"), home.path().to_owned()] {
        say(home.dipc("4 64 0 8").arg("--log-file").arg(log)).expect(1, "log file");
        home.expect_nothing_left();
    }
}

#[test]
fn an_empty_environment_is_enough() {
    let home = Home::new();
    let server = started(home.dipc("4 64 0 8").env_clear());
    server.connect().ask("ping\n", "OK\n");
}

#[test]
fn no_umask_opens_or_closes_an_instance() {
    for umask in ["000", "777"] {
        let home = Home::new();
        let mut command = home.dipc("4 64 0 8 --unix socket --log-file log");
        command = after(&format!("umask {umask}; cd '{}'", home.path().display()), &command);
        let server = started(&mut command);
        server.connect().ask("ping\n", "OK\n");
        Client::unix(&home.join("socket")).ask("ping\n", "OK\n");
        let directory = home.join(server.port.to_string());
        let mode = |path: &Path| fs::symlink_metadata(path).expect("a file").mode() & 0o7777;
        assert_eq!(mode(&directory), 0o700, "umask {umask}");
        assert_eq!(mode(&home.join("socket")), 0o600, "umask {umask}");
        assert_eq!(mode(&home.join("log")), 0o600, "umask {umask}");
        for name in home.files(server.port) {
            assert_eq!(mode(&directory.join(&name)) & !0o100, 0o600, "umask {umask}: {name}");
        }
        home.dipcrm(server.port).expect_removed();
        assert_eq!(names(home.path()), ["log"]);
    }
}

// ---- where ----

#[test]
fn a_relative_directory_is_the_one_of_the_caller() {
    let home = Home::new();
    let mut dipc = bare(DIPC);
    dipc.args(["4", "64", "0", "8", "--dir", "here", "--log-file"]).arg(home.join("log"));
    let server = started(dipc.current_dir(home.path()));
    let here = home.join("here");
    assert_eq!(names(&here), [server.port.to_string()]);
    assert_eq!(names(&here.join(server.port.to_string())), FILES);
    let port = server.port.to_string();
    say(bare(DIPCRM).args([&*port, "--dir", "here"]).current_dir("/")).expect(1, "there is no dipc");
    say(bare(DIPCRM).args([&*port, "--dir", "here"]).current_dir(home.path())).expect_removed();
    assert_eq!((names(&here), is_gone(server.pid)), (vec![], true));
}

#[test]
fn the_usual_directory_is_in_shared_memory() {
    let (home, port) = (Home::new(), Port::reserve());
    let number = port.number.to_string();
    let usual = PathBuf::from(format!("/dev/shm/dipc-{}/{number}", geteuid()));
    let mut dipc = bare(DIPC);
    let server = started(dipc.args(["4", "64", &number, "8"]).env("DIPC_LOG_FILE", home.join("log")));
    assert_eq!(names(&usual), FILES);
    let modes =
        [&usual, usual.parent().expect("a parent")].map(|path| fs::metadata(path).expect("there").mode());
    assert_eq!(modes.map(|mode| mode & 0o7777), [0o700, 0o700]);
    say(bare(DIPCRM).arg(&number)).expect_removed();
    assert!(!usual.exists() && is_gone(server.pid));
    say(bare(DIPCRM).arg(&number)).expect(1, &format!("there is no dipc on port {number}"));
}

#[test]
fn what_a_start_says_about_stopping_is_true() {
    let home = Home::new();
    let server = home.start("4 64 0 8");
    let advice = server.line.split("to stop: ").nth(1).expect("advice");
    let mut words = advice.split_whitespace();
    assert_eq!(words.next(), Some("dipcrm"), "{advice}");
    say(bare(DIPCRM).args(words)).expect_removed();
    home.expect_nothing_left();
}

#[test]
fn a_directory_on_a_disk_is_mentioned_once() {
    let (home, disk) = (Home::new(), Path::new(env!("CARGO_TARGET_TMPDIR")));
    let disk = disk.join(home.path().file_name().expect("a name"));
    let kind = nix::sys::statfs::statfs(disk.parent().expect("a parent")).expect("there").filesystem_type();
    let on_disk = kind != nix::sys::statfs::TMPFS_MAGIC;
    for (directory, on_disk) in [(disk.as_path(), on_disk), (home.path(), false)] {
        let log = home.join("log");
        let mut dipc = bare(DIPC);
        dipc.args(["4", "64", "0", "8", "--dir"]).arg(directory).arg("--log-file").arg(&log);
        let server = started(&mut dipc);
        say(bare(DIPCRM).arg(server.port.to_string()).arg("--dir").arg(directory)).expect_removed();
        let said = fs::read_to_string(&log).expect("a log");
        assert_eq!(said.matches("is not on tmpfs").count(), usize::from(on_disk), "{said}");
        fs::remove_file(log).expect("removed");
    }
    fs::remove_dir(disk).expect("it is empty");
}

#[test]
fn every_option_comes_from_the_environment_too() {
    let home = Home::new();
    let mut dipc = bare(DIPC);
    dipc.args(["4", "64", "0", "8"]).env("DIPC_DIR", home.path()).env("DIPC_UNIX", home.join("socket"));
    dipc.env("DIPC_LOG_FILE", home.join("log")).env("DIPC_LOG_LEVEL", "info").env("DIPC_BIND", "127.0.0.1");
    dipc.env("DIPC_WORKERS", "3")
        .env("DIPC_MAX_CLIENTS", "7")
        .env("DIPC_QUIET_MS", "0")
        .env("DIPC_WAIT", "1");
    dipc.env("DIPC_FOREGROUND", "no").env("DIPC_FRESH", "0").env("DIPC_OPEN", "false");
    let server = started(&mut dipc);
    let mut client = Client::unix(&home.join("socket"));
    assert_eq!([client.stat("workers"), client.stat("max_clients")], [3, 7]);
    client.ask("w 0\nhello\n", "OK v=1\n");
    server.end(Signal::SIGTERM);
    assert!(fs::read_to_string(home.join("log")).expect("a log").contains("7 clients"));

    // The command line has the last word.
    let number = server.port.to_string();
    dipc.args(["--workers", "2"]).env("DIPC_FRESH", "true");
    dipc.env("DIPC_FOREGROUND", "yes");
    let (_child, server) = stays(&mut dipc);
    assert_eq!(server.connect().stat("workers"), 2);
    server.connect().ask("r 0\n", "DATA 0 v=0 n=0\n\n");
    say(bare(DIPCRM).arg(server.port.to_string()).env("DIPC_DIR", home.path())).expect_removed();
    say(bare(DIPCRM).arg(&number).env("DIPC_DIR", home.path())).expect_removed();
    assert_eq!(names(home.path()), ["log"]);
}

#[test]
fn nonsense_in_the_environment_is_usage() {
    let home = Home::new();
    let options =
        ["BIND", "OPEN", "WORKERS", "WAIT", "MAX_CLIENTS", "QUIET_MS", "FRESH", "FOREGROUND", "LOG_LEVEL"];
    for option in options {
        let said = say(home.dipc("4 64 0 8").env(format!("DIPC_{option}"), "nonsense"));
        said.expect(2, "nonsense");
    }
    home.expect_nothing_left();
}

#[test]
fn a_service_manager_is_told_and_the_server_stays() {
    let home = Home::new();
    let path = home.join("notify");
    let name = format!("dipc-test-{}", home.path().file_name().expect("a name").display());
    let sockets = [
        (UnixDatagram::bind(&path).expect("bound"), path.display().to_string()),
        (
            UnixDatagram::bind_addr(&SocketAddr::from_abstract_name(&name).expect("short")).expect("bound"),
            format!("@{name}"),
        ),
    ];
    for (socket, address) in sockets {
        socket.set_read_timeout(Some(PATIENCE)).expect("set");
        let (mut child, server) =
            stays(home.dipc("4 64 0 8").env("NOTIFY_SOCKET", address).stderr(Stdio::null()));
        let mut word = [0; 64];
        let len = socket.recv(&mut word).expect("word comes");
        assert_eq!(text(&word[..len]).lines().next(), Some("READY=1"));
        server.connect().ask("ping\n", "OK\n");
        server.signal(Signal::SIGTERM);
        assert_eq!(child.wait().expect("our child").code(), Some(0));
    }
}

// ---- the log ----

#[test]
fn a_rotated_log_is_opened_anew() {
    let home = Home::new();
    let server = started(home.dipc("4 64 0 8 --log-file log").current_dir(home.path()));
    let (log, rotated) = (home.join("log"), home.join("log.1"));
    wait_until("the log begins", || {
        fs::read_to_string(&log).is_ok_and(|log| log.contains("4 mailboxes of 64 kB"))
    });
    fs::rename(&log, &rotated).expect("renamed");
    server.signal(Signal::SIGHUP);
    wait_until("a new log", || log.exists());
    server.connect().ask("ping\n", "OK\n");
    server.end(Signal::SIGTERM);
    assert!(fs::read_to_string(&log).expect("a log").contains("stopped"));
    assert!(!fs::read_to_string(&rotated).expect("a log").contains("stopped"));
}

#[test]
fn a_log_that_cannot_be_opened_anew_goes_on() {
    let home = Home::new();
    fs::create_dir(home.join("logs")).expect("created");
    let server = started(home.dipc("4 64 0 8 --log-file logs/log").current_dir(home.path()));
    let old = File::open(home.join("logs/log")).expect("a log");
    fs::remove_dir_all(home.join("logs")).expect("removed");
    server.signal(Signal::SIGHUP);
    let written = || std::io::read_to_string(&old).expect("read");
    let mut log = String::new();
    wait_until("a complaint", || {
        log += &written();
        log.contains("cannot open")
    });
    server.connect().ask("ping\n", "OK\n");
    server.end(Signal::SIGTERM);
    log += &written();
    assert!(log.contains("stopped"), "{log}");
}

#[test]
fn a_hangup_ends_no_server_without_a_log() {
    let mut server = Server::start("4 64 0 8");
    server.signal(Signal::SIGHUP);
    server.connect().ask("ping\n", "OK\n");
    server.signal(Signal::SIGTERM);
    assert_eq!(server.wait(), Some(0));
}

// ---- removing ----

#[test]
fn dipcrm_leaves_no_file_no_process_and_no_memory() {
    let home = Home::new();
    let server = home.start("4 64 0 8");
    let mut client = server.connect();
    client.ask("w 0\nhello\n", "OK v=1\n");
    home.dipcrm(server.port).expect_removed();
    assert!(is_gone(server.pid));
    home.expect_nothing_left();
    client.expect_end();
    TcpStream::connect(("127.0.0.1", server.port)).expect_err("nobody listens");
    home.dipcrm(server.port).expect(1, &format!("there is no dipc on port {}", server.port));
    home.expect_nothing_left();
}

#[test]
fn dipcrm_cleans_up_after_a_server_that_was_killed() {
    let (home, port) = (Home::new(), Port::reserve());
    let server = home.start(&format!("4 64 {} 8", port.number));
    server.connect().ask("w 0\nhello\n", "OK v=1\n");
    server.end(Signal::SIGKILL);
    assert_eq!(home.files(port.number), FILES);
    home.dipcrm(port.number).expect_removed();
    home.expect_nothing_left();
    let server = home.start(&format!("4 64 {} 8", port.number));
    server.connect().ask("r 0\n", "DATA 0 v=0 n=0\n\n");
    assert_eq!(server.connect().stat("epoch"), 1);
}

#[test]
fn dipcrm_removes_what_a_stopped_server_has_kept() {
    let home = Home::new();
    let server = home.start("4 64 0 8");
    server.end(Signal::SIGTERM);
    assert_eq!(home.files(server.port), ["lock", "segment"]);
    home.dipcrm(server.port).expect_removed();
    home.expect_nothing_left();
}

#[test]
fn dipcrm_removes_what_a_start_has_left_that_was_killed() {
    let (home, port) = (Home::new(), Port::reserve());
    let directory = home.join(port.number.to_string());
    let leave = || {
        fs::create_dir(&directory).expect("created");
        fs::set_permissions(&directory, Permissions::from_mode(0o700)).expect("set");
        fs::write(directory.join("lock"), "").expect("written");
        fs::write(directory.join("segment.new"), "half a segment").expect("written");
    };
    leave();
    home.dipcrm(port.number).expect_removed();
    home.expect_nothing_left();
    leave();
    let server = home.start(&format!("4 64 {} 8", port.number));
    server.connect().ask("ping\n", "OK\n");
    assert_eq!(home.files(port.number), FILES);
}

#[test]
fn dipcrm_where_there_is_nothing_makes_nothing() {
    let (home, port) = (Home::new(), Port::reserve());
    home.dipcrm(port.number).expect(1, "there is no dipc on port");
    let nowhere = home.join("no/where");
    say(bare(DIPCRM).arg("5000").arg("--dir").arg(nowhere)).expect(1, "there is no dipc on port 5000");
    home.expect_nothing_left();
}

#[test]
fn dipcrm_kills_a_server_that_does_not_answer() {
    let home = Home::new();
    let server = home.start("4 64 0 8");
    let mut client = server.connect();
    client.ask("ping\n", "OK\n");
    server.signal(Signal::SIGSTOP);
    let started = Instant::now();
    let said = home.dipcrm(server.port);
    assert_eq!(said.code, Some(0), "{said:?}");
    assert!(said.err.contains(&format!("process {}", server.pid)), "{said:?}");
    assert!(started.elapsed().as_secs() >= 5, "it had no time to answer what has arrived");
    client.expect_end();
    home.expect_nothing_left();
}

#[test]
fn dipcrm_works_right_after_a_start() {
    let (home, port) = (Home::new(), Port::reserve());
    for _ in 0..20 {
        let server = home.start(&format!("4 64 {} 8", port.number));
        home.dipcrm(port.number).expect_removed();
        assert!(is_gone(server.pid));
        home.expect_nothing_left();
    }
}

#[test]
fn dipcrm_during_a_start_comes_before_it_or_after_it() {
    let (home, port) = (Home::new(), Port::reserve());
    for round in 0..30 {
        // Now with, now without something to remove.
        if round % 3 > 0 {
            home.start(&format!("4 64 {} 8", port.number)).end(Signal::SIGKILL);
        }
        let mut dipcrm = bare(DIPCRM);
        dipcrm.arg(port.number.to_string()).arg("--dir").arg(home.path());
        let [start, removal] = at_once([home.dipc(&format!("4 64 {} 8", port.number)), dipcrm]);
        assert!(matches!(start.code, Some(0 | 3)), "{start:?}, {removal:?}");
        assert!(matches!(removal.code, Some(0 | 1)), "{start:?}, {removal:?}");
        if let [pid] = home.processes()[..] {
            let server = instance(start.out);
            assert_eq!((server.pid, home.files(port.number)), (pid, FILES.map(str::to_owned).to_vec()));
            server.connect().ask("ping\n", "OK\n");
            home.dipcrm(port.number).expect_removed();
        }
        home.expect_nothing_left();
    }
}

#[test]
fn of_many_dipcrm_at_once_none_fails() {
    let (home, port) = (Home::new(), Port::reserve());
    for _ in 0..20 {
        home.start(&format!("4 64 {} 8", port.number));
        let said: Vec<Said> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..6).map(|_| scope.spawn(|| home.dipcrm(port.number))).collect();
            threads.into_iter().map(|thread| thread.join().expect("it ends")).collect()
        });
        assert!(said.iter().any(|said| said.code == Some(0)), "{said:?}");
        assert!(said.iter().all(|said| matches!(said.code, Some(0 | 1))), "{said:?}");
        home.expect_nothing_left();
    }
}

#[test]
fn an_innocent_process_with_the_number_of_a_dead_server_survives() {
    let home = Home::new();
    let mut innocent = bare("sleep").arg("600").spawn().expect("the program runs");
    let server = home.start("4 64 0 8");
    server.end(Signal::SIGKILL);
    let pid = home.join(server.port.to_string()).join("pid");
    fs::write(pid, format!("{}\n", innocent.id())).expect("written");
    home.dipcrm(server.port).expect_removed();
    let survives = innocent.try_wait().expect("our child").is_none();
    innocent.kill().expect("our child");
    innocent.wait().expect("our child");
    assert!(survives);
    home.expect_nothing_left();
}

#[test]
fn dipcrm_removes_no_file_that_it_does_not_know() {
    let home = Home::new();
    let server = home.start("4 64 0 8");
    let directory = home.join(server.port.to_string());
    fs::write(directory.join("diary"), "dear diary").expect("written");
    let said = home.dipcrm(server.port);
    assert!(said.err.contains(&directory.display().to_string()), "{said:?}");
    assert!(is_gone(server.pid));
    assert_eq!(names(&directory), ["diary"]);
    assert_eq!(fs::read_to_string(directory.join("diary")).expect("read"), "dear diary");
}

#[test]
fn no_client_can_stop_a_server() {
    let home = Home::new();
    let server = home.start("4 64 0 8");
    for word in ["stop", "shutdown", "exit", "kill", "dipcrm", "STOP", "rm"] {
        let answer = format!("ERR verb : unknown verb \"{word}\", try help\n");
        server.connect().ask(format!("{word}\n"), answer);
    }
    server.connect().ask("ping\n", "OK\n");
    assert!(!is_gone(server.pid));
}

#[test]
fn only_its_owner_removes_an_instance() {
    if !geteuid().is_root() {
        return;
    }
    let home = Home::new();
    let server = home.start("4 64 0 8");
    fs::set_permissions(home.path(), Permissions::from_mode(0o755)).expect("set");
    // Where the programs were built, others may not look.
    let [dipc, dipcrm] = [(DIPC, "dipc"), (DIPCRM, "dipcrm")].map(|(program, name)| {
        fs::copy(program, home.join(name)).expect("copied");
        fs::set_permissions(home.join(name), Permissions::from_mode(0o755)).expect("set");
        text(home.join(name).as_os_str().as_encoded_bytes())
    });
    let before = traces(&home.join(server.port.to_string()));
    let port = server.port.to_string();
    let stranger = |program: &str| {
        let mut command = bare(program);
        command.uid(NOBODY).gid(NOBODY).current_dir("/");
        command
    };
    say(stranger(&dipcrm).arg(&port).arg("--dir").arg(home.path())).expect(3, "belongs to another user");
    let arguments = ["4", "64", &port, "8", "--fresh", "--bind", "127.0.0.2", "--dir"];
    say(stranger(&dipc).args(arguments).arg(home.path())).expect(1, "belongs to another user");
    assert_eq!(traces(&home.join(&port)), before);
    server.connect().ask("ping\n", "OK\n");
}

// ---- what somebody else has put there ----

/// Makes something that is no file of an instance.
type Plant = fn(at: &Path, precious: &Path);

const PLANTS: [(&str, Plant); 6] = [
    ("a link", |at, precious| symlink(precious, at).expect("linked")),
    ("a link to nothing", |at, precious| symlink(precious.with_file_name("nothing"), at).expect("linked")),
    ("a second name", |at, precious| fs::hard_link(precious, at).expect("linked")),
    ("a pipe", |at, _| mkfifo(at, Mode::S_IRWXU).expect("made")),
    ("a directory", |at, _| fs::create_dir(at).expect("created")),
    ("a socket", |at, _| drop(UnixListener::bind(at).expect("bound"))),
];

#[test]
fn nothing_behind_a_planted_file_is_touched() {
    let (home, port) = (Home::new(), Port::reserve());
    let directory = home.join(port.number.to_string());
    let (precious, nothing) = (home.join("precious"), home.join("nothing"));
    for name in ["lock", "segment", "segment.new", "control.sock", "pid", "socket"] {
        for (kind, plant) in PLANTS {
            let what = format!("{kind} as {name}");
            fs::write(&precious, "precious").expect("written");
            fs::create_dir(&directory).expect("created");
            fs::set_permissions(&directory, Permissions::from_mode(0o700)).expect("set");
            plant(&directory.join(name), &precious);
            let planted = fs::symlink_metadata(directory.join(name)).expect("planted").ino();
            let dipc = format!("4 64 {} 8 --unix {}", port.number, home.join("unix").display());

            let said = say(&mut home.dipc(&dipc));
            if said.code == Some(0) {
                assert!(!matches!(name, "lock" | "segment"), "{what} is used: {said:?}");
                instance(said.out).connect().ask("ping\n", "OK\n");
                assert_ne!(
                    fs::symlink_metadata(directory.join(name)).map_or(0, |found| found.ino()),
                    planted
                );
            } else {
                said.expect(1, &directory.join(name).display().to_string());
                assert_eq!(home.processes(), [], "{what}");
                assert_eq!(
                    fs::symlink_metadata(directory.join(name)).map_or(0, |found| found.ino()),
                    planted
                );
                assert!(!home.join("unix").exists(), "{what}: a socket is left");
            }
            let said = home.dipcrm(port.number);
            assert!(matches!(said.code, Some(0 | 3)), "{what}: {said:?}");
            assert_eq!(home.processes(), [], "{what}");
            assert_eq!(fs::read(&precious).expect("still there"), b"precious", "{what}");
            assert!(fs::symlink_metadata(&nothing).is_err(), "{what}: it was followed");
            let _ = fs::remove_dir_all(&directory);
        }
    }
}

#[test]
fn a_directory_that_is_open_to_others_is_not_used() {
    let (home, port) = (Home::new(), Port::reserve());
    let directory = home.join(port.number.to_string());
    let arguments = format!("4 64 {} 8", port.number);
    fs::create_dir(&directory).expect("created");
    for mode in [0o755, 0o770, 0o702, 0o1777] {
        fs::set_permissions(&directory, Permissions::from_mode(mode)).expect("set");
        say(&mut home.dipc(&arguments)).expect(1, &format!("{} is open to other users", directory.display()));
        home.dipcrm(port.number).expect(3, "is open to other users");
        assert_eq!(fs::metadata(&directory).expect("still there").mode() & 0o7777, mode);
        assert_eq!((names(&directory), home.processes()), (vec![], vec![]));
    }
    fs::remove_dir(&directory).expect("removed");
    for mode in [0o770, 0o1777] {
        fs::set_permissions(home.path(), Permissions::from_mode(mode)).expect("set");
        say(&mut home.dipc(&arguments))
            .expect(1, &format!("{} is open to other users", home.path().display()));
        home.dipcrm(port.number).expect(3, "is open to other users");
        home.expect_nothing_left();
    }
}

#[test]
fn a_directory_of_another_user_is_not_used() {
    if !geteuid().is_root() {
        return;
    }
    let (home, port) = (Home::new(), Port::reserve());
    let directory = home.join(port.number.to_string());
    fs::create_dir(&directory).expect("created");
    fs::set_permissions(&directory, Permissions::from_mode(0o700)).expect("set");
    chown(&directory, Some(NOBODY), Some(NOBODY)).expect("given away");
    say(&mut home.dipc(&format!("4 64 {} 8", port.number))).expect(1, "belongs to another user");
    home.dipcrm(port.number).expect(3, "belongs to another user");
    assert_eq!((names(&directory), home.processes()), (vec![], vec![]));
}

#[test]
fn nothing_but_a_directory_is_taken_for_one() {
    let (home, port) = (Home::new(), Port::reserve());
    let (ours, directory) = (home.join("ours"), home.join(port.number.to_string()));
    fs::create_dir(&ours).expect("created");
    fs::set_permissions(&ours, Permissions::from_mode(0o700)).expect("set");
    let precious = ours.join("precious");
    for (kind, plant) in [
        ("a link to a directory", (|at, _| symlink("ours", at).expect("linked")) as Plant),
        PLANTS[0],
        PLANTS[1],
        PLANTS[2],
        PLANTS[3],
        PLANTS[5],
    ] {
        fs::write(&precious, "precious").expect("written");
        plant(&directory, &precious);
        // As the directory of the instance, and as the one that it is in.
        for base in [home.path(), &directory] {
            let number = port.number.to_string();
            let said = say(bare(DIPC).args(["4", "64", &number, "8", "--dir"]).arg(base));
            said.expect(1, &directory.display().to_string());
            let said = say(bare(DIPCRM).arg(&number).arg("--dir").arg(base));
            said.expect(3, &directory.display().to_string());
        }
        assert_eq!(names(&ours), ["precious"], "{kind}");
        assert_eq!(fs::read(&precious).expect("still there"), b"precious", "{kind}");
        fs::remove_file(&directory).expect("still there");
    }
    assert_eq!(home.processes(), []);
}
