//! The Rust programs in `examples/`, each against a server of its own. `tests/clients/` tests the others.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use dipc_testkit::process;
use dipc_testkit::program;
use dipc_testkit::server::Server;

const EXAMPLES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/examples");

/// Runs an example and returns the lines that it prints.
#[track_caller]
fn run(example: &str) -> Vec<String> {
    let server = Server::start("4 64 0 8");
    let url = format!("dipc://127.0.0.1:{}", server.port);
    let program = build(example);
    let by_argument = process::run(Command::new(&program).arg(&url).env_remove("DIPC_URL"));
    by_argument.expect_success();
    process::run(Command::new(&program).env("DIPC_URL", &url)).expect_success();
    by_argument.text().lines().map(str::to_owned).collect()
}

/// `cargo test` builds the examples. `cargo test --test examples` does not: a missing or outdated one is
/// built here.
fn build(example: &str) -> PathBuf {
    let directory = Path::new(program::dipc()).parent().expect("a directory");
    let program = directory.join("examples").join(example);
    let source = Path::new(EXAMPLES).join(example).with_extension("rs");
    let modified = |file: &Path| file.metadata().and_then(|metadata| metadata.modified()).ok();
    if modified(&program) < modified(&source) {
        let profile = directory.file_name().filter(|name| *name != "debug").unwrap_or("dev".as_ref());
        let mut cargo = Command::new(env!("CARGO"));
        cargo.current_dir(env!("CARGO_MANIFEST_DIR")).args(["build", "--example", example]);
        cargo.arg("--profile").arg(profile);
        cargo.arg("--target-dir").arg(directory.parent().expect("a target directory"));
        let built = cargo.output().expect("cargo runs");
        assert!(built.status.success(), "{}", process::text(&built.stderr));
    }
    program
}

#[test]
fn work_queue_hands_each_job_to_one_worker() {
    let lines = run("work_queue");
    let jobs = lines.iter().filter_map(|line| line.split_once(": "));
    let mut jobs = jobs.map(|(worker, job)| (job, worker)).collect::<Vec<_>>();
    jobs.sort_unstable();
    assert!(
        jobs.iter().all(|(_, worker)| ["worker 1", "worker 2", "worker 3"].contains(worker)),
        "{lines:?}"
    );
    let expected = (1..=9).map(|number| format!("job {number}")).collect::<Vec<_>>();
    assert_eq!(jobs.iter().map(|(job, _)| *job).collect::<Vec<_>>(), expected);
}

#[test]
fn counter_loses_no_increment() {
    assert_eq!(run("counter"), ["4 clients counted to 100"]);
}

#[test]
fn lock_refuses_the_older_fencing_token() {
    assert_eq!(run("lock"), [r#""new" with token 2: written"#, r#""old" with token 1: refused"#]);
}

#[test]
fn publish_subscribe_delivers_every_message_to_every_subscriber() {
    let lines = run("publish_subscribe");
    for name in ["anna: ", "ben: "] {
        let received = lines.iter().filter_map(|line| line.strip_prefix(name)).collect::<Vec<_>>();
        let expected = ["it rains", "it snows", "the sun shines"];
        let expected =
            (1..).zip(expected).map(|(version, text)| format!("message {version}, {text} (0 lost)"));
        assert_eq!(received, expected.collect::<Vec<_>>(), "{lines:?}");
    }
}

#[test]
fn every_example_is_tested() {
    let files = Path::new(EXAMPLES).read_dir().expect("a directory");
    let sources = files.map(|file| file.expect("a file").path());
    let sources = sources.filter(|path| path.extension().is_some_and(|extension| extension == "rs"));
    let names = sources.map(|path| path.file_stem().expect("a name").to_owned());
    let expected = ["counter", "lock", "publish_subscribe", "work_queue"].map(Into::into);
    assert_eq!(names.collect::<BTreeSet<_>>(), expected.into());
}
