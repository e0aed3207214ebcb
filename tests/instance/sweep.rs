//! Every system call of a start fails once, and nothing is left of a start that has failed.

use std::collections::BTreeMap;
use std::fs::{self, File, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use dipc_testkit::directory::names;
use dipc_testkit::instance::BaseDirectory;
use dipc_testkit::process::{KillOnDrop, bare, run, wait_for_end};
use dipc_testkit::program;
use dipc_testkit::wait::HANG;

use crate::tracer::strace;

/// What a start may be: its arguments, and those of strace that select its processes.
const STARTS: [(&str, &str); 4] = [
    ("TCP, in the background", ""),
    ("TCP, in the foreground", "--foreground"),
    ("TCP and Unix, in the background", "--unix socket"),
    ("TCP and Unix, in the foreground", "--unix socket --foreground"),
];

/// Errors for the calls of the sweep.
const ERRORS: [&str; 2] = ["EIO", "EMFILE"];

/// Calls that are not failed: they end or begin a process, or cannot fail.
const SKIPPED: [&str; 4] = ["execve", "exit", "exit_group", "rt_sigreturn"];

/// Fails every system call of a start, one in each run: `cargo test --test instance -- --ignored --nocapture
/// sweep`. Takes some minutes.
#[test]
#[ignore = "some minutes"]
fn sweep_over_all_system_calls_of_a_start() {
    let mut leftovers = Vec::new();
    for (name, arguments) in STARTS {
        let mut counts: BTreeMap<&str, u32> = BTreeMap::new();
        for (call, number) in calls_of_a_start(arguments) {
            for error in ERRORS {
                let injection = format!("{call}:error={error}:when={number}");
                let (result, left) = start_with(&injection, arguments);
                *counts.entry(result).or_default() += 1;
                leftovers.extend(left.map(|left| format!("{name}: {injection}: {left}")));
            }
        }
        println!("{name}: {counts:?}");
    }
    println!("left something: {}", leftovers.len());
    assert_eq!(leftovers, [""; 0]);
}

/// Every system call of a successful start until its server is ready, with its number among the calls of its
/// name in its process.
fn calls_of_a_start(arguments: &str) -> Vec<(String, usize)> {
    let base = BaseDirectory::new();
    let log = base.join("calls");
    let mut traced = Command::new("strace");
    traced.args(["-f", "-qq", "-o"]).arg(&log);
    let outcome = run_start(&base, traced, arguments);
    assert_eq!(outcome.0, Some(0), "{outcome:?}");
    let mut counts: BTreeMap<(String, String), usize> = BTreeMap::new();
    let calls = fs::read_to_string(&log).expect("a log");
    for line in calls.lines() {
        let Some((pid, call)) = line.split_once(' ') else { continue };
        let Some((call, _)) = call.trim_start().split_once('(') else { continue };
        if call.chars().all(|c| c.is_ascii_alphanumeric() || c == '_') && !SKIPPED.contains(&call) {
            *counts.entry((pid.to_owned(), call.to_owned())).or_default() += 1;
        }
    }
    let mut most: BTreeMap<String, usize> = BTreeMap::new();
    for ((_, call), count) in counts {
        let most = most.entry(call).or_default();
        *most = count.max(*most);
    }
    most.into_iter().flat_map(|(call, count)| (1..=count).map(move |n| (call.clone(), n))).collect()
}

/// A start with one failing call. Returns its result, and what is left of one that has failed.
fn start_with(injection: &str, arguments: &str) -> (&'static str, Option<String>) {
    let base = BaseDirectory::new();
    let traced = strace(injection).expect("strace");
    let (code, text) = run_start(&base, traced, arguments);
    // A server whose start has failed may still remove its files.
    let has_ended = is_soon(|| base.processes().is_empty());
    let _ = fs::remove_dir(base.join("instances"));
    let files = names(base.path());
    // A server that has started keeps its mailboxes if it fails afterwards.
    let failed_later = code != Some(0) && text.starts_with("dipc: 4 mailboxes");
    let has_files = !files.is_empty() && !failed_later;
    let left = (has_files || !has_ended).then(|| format!("{code:?}, {text:?}: {files:?}, {has_ended}"));
    let result = match code {
        Some(0) => "started",
        _ if failed_later => "failed after the start",
        Some(_) => "failed",
        None => "aborted",
    };
    (result, left)
}

/// Runs a start, and removes its server if it has succeeded. Returns its exit code and what it printed.
fn run_start(base: &BaseDirectory, mut traced: Command, arguments: &str) -> (Option<i32>, String) {
    let directory = base.join("instances");
    fs::create_dir(&directory).expect("created");
    fs::set_permissions(&directory, Permissions::from_mode(0o700)).expect("set");
    // With -D the process that is started is dipc, and not strace.
    traced.args(["-D", program::dipc(), "4", "64", "0", "8", "--log-level", "off", "--dir"]).arg(&directory);
    traced.args(arguments.split_whitespace()).current_dir(base.path());
    let out = base.join("out");
    let file = File::create(&out).expect("created");
    traced.stdin(Stdio::null()).stdout(file.try_clone().expect("cloned")).stderr(file);
    let mut child = KillOnDrop(traced.spawn().expect("it runs"));
    let is_foreground = arguments.contains("--foreground");
    let mut code = None;
    let port = || {
        let port = names(&directory).first()?.parse::<u16>().ok()?;
        directory.join(format!("{port}/segment")).exists().then_some(port)
    };
    is_soon(|| {
        code = child.0.try_wait().expect("our child").map(|status| status.code());
        code.is_some() || is_foreground && port().is_some()
    });
    if let Some(port) = port().filter(|_| code.is_none() && is_foreground || code == Some(Some(0))) {
        run(bare(program::dipcrm()).arg(port.to_string()).arg("--dir").arg(&directory)).expect_success();
        code = code.or_else(|| Some(wait_for_end(&mut child.0)));
    }
    let text = fs::read_to_string(&out).expect("written");
    fs::remove_file(&out).expect("removed");
    (code.flatten(), text)
}

/// Whether the condition holds before the bound of a hang.
fn is_soon(mut holds: impl FnMut() -> bool) -> bool {
    let deadline = Instant::now() + HANG;
    while !holds() {
        if Instant::now() > deadline {
            return false;
        }
        thread::sleep(Duration::from_millis(2));
    }
    true
}
