//! `dipc-cli ls`: the table, and servers and files in every state.

use std::fs::{self, File, Permissions};
use std::os::unix::fs::{FileExt, PermissionsExt, chown, symlink};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;
use std::thread;

use dipc_testkit::client::Client;
use dipc_testkit::instance::{BaseDirectory, Instance, OTHER_USER};
use dipc_testkit::port::Port;
use dipc_testkit::process::{Outcome, bare, run, stat_fields};
use dipc_testkit::program;
use dipc_testkit::terminal::Terminal;
use dipc_testkit::wait::wait_until;
use nix::sys::signal::Signal;
use nix::sys::stat::Mode;
use nix::unistd::{geteuid, mkfifo};
use serde_json::Value;
use socket2::{Domain, SockAddr, Socket, Type};

/// Offset of the format in the header of a segment.
const FORMAT_AT: u64 = 12;

/// `dipc-cli ls` of this directory.
fn ls_of(base: &Path, options: &[&str]) -> Command {
    let mut command = bare(program::dipc_cli());
    command.arg("ls").arg("--dir").arg(base).args(options);
    command
}

#[track_caller]
fn ls(base: &BaseDirectory, options: &[&str]) -> Outcome {
    let outcome = run(&mut ls_of(base.path(), options));
    assert_eq!(outcome.code, Some(0), "{outcome:?}");
    outcome
}

/// The objects of `dipc-cli ls --json`.
#[track_caller]
fn objects(base: &BaseDirectory) -> Vec<Value> {
    let outcome = ls(base, &["--json"]);
    outcome.text().lines().map(|line| serde_json::from_str(line).expect("an object")).collect()
}

#[track_caller]
fn object(base: &BaseDirectory, port: u16) -> Value {
    objects(base).into_iter().find(|found| found["port"] == port).expect("the instance is listed")
}

/// The columns of the row of a port, up to the number of clients.
#[track_caller]
fn row(table: &Outcome, port: u16) -> String {
    let text = table.text();
    let rows = text.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    let found = rows.into_iter().find(|words| words[0] == port.to_string()).expect("a row");
    found[1..6].join(" ")
}

/// Halts a server, and expects that it is halted.
#[track_caller]
fn halt(server: &Instance) {
    server.signal(Signal::SIGSTOP);
    wait_until("the server halts", || stat_fields(server.pid).is_some_and(|fields| fields[0] == "T"));
}

#[test]
fn running_and_dead_servers_are_listed_with_their_numbers() {
    let (base, port) = (BaseDirectory::new(), Port::reserve());
    let socket = base.join("socket");
    let tcp = base.start("4 64 0 8");
    let [killed, stopped] = [base.start("2 100 0"), base.start("3 16 0 1")];
    killed.end(Signal::SIGKILL);
    stopped.end(Signal::SIGTERM);
    let unix = base.start(&format!("1 16 {} 4 --no-tcp --unix {}", port.number, socket.display()));
    let mut client = Client::unix(&socket);
    client.ask("ping\n", "OK\n");

    let table = ls(&base, &[]);
    let rows = [(&tcp, "running 4 64 8 0"), (&unix, "running 1 16 4 1")];
    let dead = [(&killed, "dead 2 100 100 -"), (&stopped, "dead 3 16 1 -")];
    for (server, expected) in rows.into_iter().chain(dead) {
        assert_eq!(row(&table, server.port), expected, "{table:?}");
    }
    let first = dead.iter().map(|(server, _)| server.port).min().expect("two");
    let numbers = if first == killed.port { format!("2 100 {first} 100") } else { format!("3 16 {first} 1") };
    let dir = base.path().display();
    let advice = format!(
        "dipc-cli: port {first} has mailboxes and no server; to continue with them: dipc {numbers} \
         --dir {dir}; to delete them: dipcrm {first} --dir {dir}\n"
    );
    assert_eq!(table.stderr, advice);
    let listed: Vec<_> = objects(&base).iter().map(|found| found["port"].as_u64()).collect();
    assert!(listed.len() == 4 && listed.is_sorted(), "{listed:?}");
}

#[test]
fn json_has_sizes_in_bytes_and_null_for_what_is_unknown() {
    let base = BaseDirectory::new();
    let server = base.start("4 64 0 8");
    let (_one, mut two) = (server.connect(), server.connect());
    two.ask("ping\n", "OK\n");
    wait_until("both are served", || two.stat("connections") == 2);
    let found = object(&base, server.port);
    for (name, value) in [
        ("state", Value::from("running")),
        ("pid", server.pid.into()),
        ("mailboxes", 4.into()),
        ("size", 65536.into()),
        ("packet", 8192.into()),
        ("clients", 2.into()),
        ("note", Value::Null),
    ] {
        assert_eq!(found[name], value, "{name}: {found}");
    }
    let memory = found["memory_bytes"].as_u64().expect("a number");
    assert!((4 * 2 * 65536..4 * 3 * 65536).contains(&memory), "{found}");
    assert!(found["age_seconds"].as_u64().is_some_and(|age| age < 60), "{found}");

    server.end(Signal::SIGKILL);
    let outcome = ls(&base, &["--json"]);
    assert_eq!(outcome.stderr, "", "advice is for people");
    let found = object(&base, server.port);
    assert_eq!(
        (&found["state"], &found["clients"], &found["pid"]),
        (&"dead".into(), &Value::Null, &Value::Null)
    );
    assert_eq!((&found["mailboxes"], &found["size"]), (&4.into(), &65536.into()));
}

#[test]
fn a_terminal_shows_the_same_table() {
    let base = BaseDirectory::new();
    let server = base.start("4 64 0 8");
    let mut terminal = Terminal::run(&ls_of(base.path(), &[]));
    let shown = terminal.expect(&format!("{}  running", server.port));
    assert!(shown.contains("MAILBOXES  SIZE_KB  PACKET_KB  CLIENTS  MEMORY_KB  AGE\r\n"), "{shown}");
    terminal.expect_end(0);
}

#[test]
fn without_servers_it_says_so() {
    let base = BaseDirectory::new();
    let absent = base.join("absent");
    for directory in [base.path(), &absent] {
        let outcome = run(&mut ls_of(directory, &[]));
        outcome.expect(0, "");
        assert_eq!(outcome.stderr, format!("dipc-cli: there is no server in {}\n", directory.display()));
        // The same from the environment. The option takes precedence.
        assert_eq!(
            run(bare(program::dipc_cli()).arg("ls").env("DIPC_DIR", directory)).stderr,
            outcome.stderr
        );
        assert_eq!(run(ls_of(directory, &[]).env("DIPC_DIR", "/absent")).stderr, outcome.stderr);
    }
    assert!(!absent.exists(), "it was created");
    let usual = run(bare(program::dipc_cli()).args(["ls", "--json"]).env("DIPC_DIR", ""));
    assert_eq!(usual.code, Some(0), "{usual:?}");
    run(&mut ls_of(Path::new("/dev/null"), &[])).expect_failure(74, "Not a directory");
    let other = run(ls_of(base.path(), &[]).arg("5000"));
    assert_eq!(other.code, Some(2), "{other:?}");
    // A limit that no instant can have.
    let server = base.start("4 64 0 8");
    assert_eq!(row(&ls(&base, &["--timeout", "18000000000000000000"]), server.port), "running 4 64 8 0");
}

/// Both have the same port, at two addresses.
#[test]
fn clients_are_those_of_the_server_of_the_directory() {
    let (one, two, port) = (BaseDirectory::new(), BaseDirectory::new(), Port::reserve());
    one.start(&format!("4 64 {} 8", port.number));
    two.start(&format!("4 64 {} 8 --bind 127.0.0.2", port.number));
    let mut client = Client::tcp(port.number);
    client.ask("ping\n", "OK\n");
    assert_eq!(row(&ls(&one, &[]), port.number), "running 4 64 8 1");
    assert_eq!(row(&ls(&two, &[]), port.number), "running 4 64 8 0");
}

/// The kernel queues only a few connections to the control socket of a halted server. If listings used them
/// up, dipcrm could not connect, and could not stop the server.
#[test]
fn a_halted_server_delays_no_listing_and_keeps_room_for_dipcrm() {
    let base = BaseDirectory::new();
    let server = base.start("4 64 0 8");
    halt(&server);
    for timeout in ["0.01"; 20].into_iter().chain(["1e-9"]) {
        let table = ls(&base, &["--timeout", timeout]);
        assert_eq!((row(&table, server.port), &*table.stderr), ("running 4 64 8 ?".to_owned(), ""));
    }
    let control = base.join(server.port.to_string()).join("control.sock");
    let dipcrm = Socket::new(Domain::UNIX, Type::SEQPACKET, None).expect("a socket");
    dipcrm.set_nonblocking(true).expect("set");
    dipcrm.connect(&SockAddr::unix(control).expect("short")).expect("room for a connection");
    // Without --timeout the limit is a second.
    assert_eq!(row(&ls(&base, &[]), server.port), "running 4 64 8 ?");
    server.signal(Signal::SIGCONT);
    wait_until("the number of clients", || row(&ls(&base, &[]), server.port) == "running 4 64 8 0");
}

#[test]
fn a_server_whose_files_have_lost_their_names_is_running() {
    let base = BaseDirectory::new();
    let server = base.start("4 64 0 8");
    halt(&server);
    for name in ["lock", "segment"] {
        fs::remove_file(base.join(server.port.to_string()).join(name)).expect("removed");
        assert_eq!(object(&base, server.port)["state"], "running", "without {name}");
    }
}

#[test]
fn a_segment_of_another_format_has_a_note() {
    let base = BaseDirectory::new();
    let server = base.start("4 64 0 8");
    server.end(Signal::SIGTERM);
    let segment = base.join(server.port.to_string()).join("segment");
    let whole = fs::read(&segment).expect("a segment");
    type Damage = fn(&File);
    let damage: [(&str, Damage); 4] = [
        ("has the format of another version of dipc", |file| {
            file.write_all_at(&99u32.to_ne_bytes(), FORMAT_AT).expect("written");
        }),
        ("has a damaged header", |file| file.write_all_at(&[9], FORMAT_AT + 4).expect("written")),
        ("is shorter than its header", |file| file.set_len(100).expect("cut")),
        ("is not as long as its header says", |file| file.set_len(8192).expect("cut")),
    ];
    for (reason, damage) in damage {
        fs::write(&segment, &whole).expect("written");
        damage(&File::options().write(true).open(&segment).expect("opened"));
        let table = ls(&base, &[]);
        assert_eq!(row(&table, server.port), "dead - - - -");
        assert!(table.text().ends_with(&format!("  other format: the segment {reason}\n")), "{table:?}");
        let advice = format!("port {0} has files and no server; to delete them: dipcrm {0} ", server.port);
        assert!(table.stderr.contains(&advice), "{table:?}");
    }
}

#[test]
fn planted_files_are_not_followed_and_do_not_block() {
    let (base, elsewhere) = (BaseDirectory::new(), BaseDirectory::new());
    let precious = base.join("precious");
    fs::write(&precious, "precious").expect("written");
    type Plant = fn(at: &Path, precious: &Path);
    let plants: [(&str, &str, Plant); 3] = [
        ("a pipe", "is not a plain file of its own", |at, _| mkfifo(at, Mode::S_IRWXU).expect("made")),
        ("a link", "symbolic links", |at, precious| symlink(precious, at).expect("linked")),
        ("a directory", "is not a plain file of its own", |at, _| fs::create_dir(at).expect("made")),
    ];
    // As a file of an instance.
    let directory = base.join("5000");
    for name in ["lock", "segment", "segment.new", "waiters", "control.sock", "pid", "socket"] {
        for (kind, note, plant) in plants {
            fs::create_dir(&directory).expect("made");
            fs::set_permissions(&directory, Permissions::from_mode(0o700)).expect("set");
            fs::write(directory.join("lock"), "").expect("written");
            let _ = fs::remove_file(directory.join(name));
            plant(&directory.join(name), &precious);
            let table = ls(&base, &[]);
            assert_eq!(row(&table, 5000), "dead - - - -", "{kind} as {name}");
            assert_eq!(table.text().contains(note), name == "segment", "{kind} as {name}: {table:?}");
            fs::remove_dir_all(&directory).expect("removed");
        }
    }
    // As the directory itself.
    let target = elsewhere.join("target");
    fs::create_dir(&target).expect("made");
    symlink(&target, base.join("5001")).expect("linked");
    mkfifo(&base.join("5002"), Mode::S_IRWXU).expect("made");
    fs::create_dir(base.join("5003")).expect("made");
    fs::set_permissions(base.join("5003"), Permissions::from_mode(0o755)).expect("set");
    fs::create_dir(base.join("5004.old")).expect("made");
    let outcome = ls(&base, &[]);
    outcome.expect(0, "");
    for (name, reason) in
        [("5001", "directory"), ("5002", "Not a directory"), ("5003", "is open to other users")]
    {
        let path = base.join(name).display().to_string();
        let is_noted = outcome.stderr.lines().any(|line| line.contains(&path) && line.contains(reason));
        assert!(is_noted, "{name}: {outcome:?}");
    }
    assert!(!outcome.stderr.contains("5004.old"), "{outcome:?}");
}

#[test]
fn instances_of_other_users_are_not_listed() {
    if !geteuid().is_root() {
        return println!("only root can change the owner of a file: not tested");
    }
    let base = BaseDirectory::new();
    let server = base.start("4 64 0 8");
    let foreign = base.join("5000");
    fs::create_dir(&foreign).expect("made");
    fs::set_permissions(&foreign, Permissions::from_mode(0o700)).expect("set");
    chown(&foreign, Some(OTHER_USER), Some(OTHER_USER)).expect("changed");
    let table = ls(&base, &[]);
    assert_eq!((row(&table, server.port), table.text().lines().count()), ("running 4 64 8 0".to_owned(), 2));
    assert!(table.stderr.contains("5000 belongs to another user"), "{table:?}");

    // The other user, who cannot read a directory, and may not use one of root.
    let copy = BaseDirectory::new();
    let program = copy.join("dipc-cli");
    fs::copy(program::dipc_cli(), &program).expect("copied");
    let set = |path: &Path, mode| fs::set_permissions(path, Permissions::from_mode(mode)).expect("set");
    set(copy.path(), 0o755);
    set(&program, 0o755);
    let as_other = |dir: &Path| {
        let mut command = bare(&program);
        command.arg("ls").arg("--dir").arg(dir).uid(OTHER_USER).gid(OTHER_USER).current_dir("/");
        run(&mut command)
    };
    as_other(base.path()).expect_failure(74, "Permission denied");
    set(base.path(), 0o755);
    as_other(base.path()).expect_failure(74, "belongs to another user");
    // A directory of their own with an instance that they cannot enter.
    let own = copy.join("own");
    fs::create_dir_all(own.join("5000")).expect("made");
    chown(&own, Some(OTHER_USER), Some(OTHER_USER)).expect("changed");
    chown(own.join("5000"), Some(OTHER_USER), Some(OTHER_USER)).expect("changed");
    set(&own, 0o700);
    set(&own.join("5000"), 0);
    let refused = as_other(&own);
    refused.expect(0, "");
    assert!(refused.stderr.contains("5000: Permission denied"), "{refused:?}");
}

#[test]
fn listing_does_not_disturb_servers_that_start_and_end() {
    let (base, port) = (BaseDirectory::new(), Port::reserve());
    let arguments = format!("4 64 {} 8", port.number);
    thread::scope(|scope| {
        let servers = scope.spawn(|| {
            for round in 0..20 {
                let server = base.start(&arguments);
                if round % 2 == 0 {
                    server.end(Signal::SIGKILL);
                }
                base.dipcrm(port.number).expect_success();
            }
        });
        while !servers.is_finished() {
            ls(&base, &[]);
        }
    });
    base.expect_nothing_left();
}

/// A lock that a listing takes for an instant can be the reason that a start fails.
#[test]
fn listing_takes_no_lock() {
    if Command::new("strace").arg("-V").output().is_err() {
        return println!("there is no strace here: not tested");
    }
    let base = BaseDirectory::new();
    let [running, dead] = [base.start("4 64 0 8"), base.start("4 64 0 8")];
    dead.end(Signal::SIGKILL);
    let calls = base.join("calls");
    let mut strace = bare("strace");
    strace.args(["-f", "-qq", "-e", "trace=flock,unlinkat,renameat,mkdirat,openat", "-o"]).arg(&calls);
    let table = run(strace.args([program::dipc_cli(), "ls", "--dir"]).arg(base.path()));
    assert_eq!([running.port, dead.port].map(|port| row(&table, port).len()), [16, 13], "{table:?}");
    let calls = fs::read_to_string(calls).expect("the calls");
    assert!(calls.contains("\"segment\", O_RDONLY"), "{calls}");
    for forbidden in
        ["flock(", "unlinkat(", "renameat(", "mkdirat(", "O_CREAT", "O_TRUNC", "O_WRONLY", "O_RDWR"]
    {
        assert!(!calls.contains(forbidden), "{forbidden} in {calls}");
    }
}

#[test]
fn the_prompt_does_not_list() {
    let base = BaseDirectory::new();
    let server = base.start("4 64 0 8");
    let mut prompt = bare("sh");
    prompt.arg("-c").arg(format!("echo ls | {} -p {}", program::dipc_cli(), server.port));
    run(&mut prompt).expect_failure(2, "a command of the shell, not of the prompt");
}
