//! A start that fails.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;

use dipc_testkit::directory::names;
use dipc_testkit::instance::{BaseDirectory, Instance, start};
use dipc_testkit::mount::Mount;
use dipc_testkit::process::{after, bare, run};
use dipc_testkit::program;
use dipc_testkit::wait::wait_until;
use nix::unistd::geteuid;

#[test]
fn an_address_of_another_machine_cannot_be_listened_on() {
    let base = BaseDirectory::new();
    // An address for documentation only: RFC 5737.
    let outcome = run(&mut base.dipc("4 64 0 8 --bind 192.0.2.1 --open"));
    outcome.expect_failure(1, "cannot listen on 192.0.2.1");
    base.expect_nothing_left();
}

#[test]
fn more_memory_than_the_machine_has_is_refused_with_a_reason() {
    let base = BaseDirectory::new();
    for huge in ["1000000 2097151 0 8", "4294967295 1 0 8"] {
        run(&mut base.dipc(huge)).expect_failure(1, "bytes of shared memory");
        base.expect_nothing_left();
    }
    let addresses = after("ulimit -v 300000", &base.dipc("400 1024 0 8"));
    run(&mut { addresses }).expect_failure(1, "bytes of shared memory");
    base.expect_nothing_left();
}

#[test]
fn a_full_file_system_is_an_error_at_the_start() {
    let base = BaseDirectory::new();
    let Some(small) = Mount::new(base.join("small"), "size=1m,mode=700") else { return };
    let dipc = |arguments: &str| {
        let mut command = bare(program::dipc());
        command.args(arguments.split_whitespace()).arg("--dir").arg(small.path());
        command
    };
    let outcome = run(&mut dipc("16 64 0 8"));
    outcome.expect_failure(1, "bytes of shared memory");
    assert!(outcome.stderr.contains("No space left"), "{outcome:?}");
    assert_eq!(names(small.path()), [""; 0]);
    let server = start(&mut dipc("4 64 0 8"));
    server.connect().ask("ping\n", "OK\n");
    run(bare(program::dipcrm()).arg(server.port.to_string()).arg("--dir").arg(small.path())).expect_success();
    assert_eq!(names(small.path()), [""; 0]);
}

#[test]
fn a_limit_on_the_size_of_files_is_an_error_at_the_start() {
    let base = BaseDirectory::new();
    let outcome = run(&mut after("ulimit -f 100", &base.dipc("4 64 0 8")));
    outcome.expect_failure(1, "bytes of shared memory");
    base.expect_nothing_left();
}

#[test]
fn a_start_that_fails_in_the_background_leaves_nothing() {
    let base = BaseDirectory::new();
    // Enough descriptors for the mailboxes, but not for clients.
    let outcome = run(&mut after("ulimit -n 12", &base.dipc("4 64 0 8")));
    outcome.expect_failure(1, "cannot start the server");
    base.expect_nothing_left();
}

#[test]
fn with_few_descriptors_a_start_succeeds_or_fails_with_a_reason() {
    let base = BaseDirectory::new();
    for limit in 4..24 {
        let setup = format!("exec >'{0}/out' 2>'{0}/err'; ulimit -n {limit}", base.path().display());
        let code = run(&mut after(&setup, &base.dipc("4 64 0 8"))).code;
        let [out, err] = ["out", "err"].map(|name| fs::read_to_string(base.join(name)).expect("written"));
        if code == Some(0) {
            let server = Instance::of(out);
            server.connect().ask("ping\n", "OK\n");
            base.dipcrm(server.port).expect_success();
        } else {
            assert!(!err.is_empty(), "with {limit} descriptors: no reason");
        }
        // A failed server reports before its process ends, and holds no pipe of this test.
        wait_until(&format!("no server with {limit} descriptors: {code:?}, {err}"), || {
            base.processes().is_empty()
        });
    }
}

#[test]
fn a_directory_that_cannot_be_written_is_named() {
    let base = BaseDirectory::new();
    let read_only = base.join("read-only");
    let mount = Mount::new(read_only.clone(), "ro,size=1m,mode=700");
    if mount.is_some() || !geteuid().is_root() {
        fs::set_permissions(&read_only, Permissions::from_mode(0o500)).unwrap_or_default();
        let outcome = run(bare(program::dipc()).args(["4", "64", "0", "8", "--dir"]).arg(&read_only));
        outcome.expect_failure(1, &read_only.display().to_string());
    }
    let nowhere = base.join("no/where");
    let outcome = run(bare(program::dipc()).args(["4", "64", "0", "8", "--dir"]).arg(&nowhere));
    outcome.expect_failure(1, &nowhere.display().to_string());
    drop(mount);
    assert_eq!((names(base.path()), base.processes()), (vec!["read-only".to_owned()], vec![]));
}

#[test]
fn a_log_file_that_cannot_be_written_is_an_error() {
    let base = BaseDirectory::new();
    for log in [base.join("no/log"), base.path().to_owned()] {
        run(base.dipc("4 64 0 8").arg("--log-file").arg(log)).expect_failure(1, "log file");
        base.expect_nothing_left();
    }
}
