//! The descriptors that a server was started with.

use std::fs::{self, File};
use std::path::Path;
use std::process::Stdio;

use dipc_testkit::instance::{BaseDirectory, start, start_in_foreground};
use dipc_testkit::process::{KillOnDrop, after};

/// How many descriptors of a process lead to this file.
fn descriptors_of(pid: i32, file: &Path) -> usize {
    let all = fs::read_dir(format!("/proc/{pid}/fd")).expect("the server lives");
    all.filter(|fd| fs::read_link(fd.as_ref().expect("an entry").path()).is_ok_and(|to| to == file)).count()
}

/// Cause: the server kept every descriptor of its starter, so `flock FILE dipc ..` held its lock as long as
/// the server lived, and the reader of an inherited pipe never saw its end.
#[test]
fn a_server_keeps_no_descriptor_of_its_starter() {
    let base = BaseDirectory::new();
    let file = base.join("inherited");
    File::create(&file).expect("created");
    let setup = format!("exec 3>'{0}' 7>'{0}' 9<'{0}'", file.display());
    let server = start(&mut after(&setup, &base.dipc("4 64 0 8")));
    assert_eq!(descriptors_of(server.pid, &file), 0);
    server.connect().ask("ping\n", "OK\n");
    let mut command = after(&setup, &base.dipc("4 64 0 8 --foreground --log-level off"));
    let (child, server) = start_in_foreground(&mut command);
    let _child = KillOnDrop(child);
    assert_eq!(descriptors_of(server.pid, &file), 0);
    server.connect().ask("ping\n", "OK\n");
}

#[test]
fn descriptors_that_a_service_manager_passes_stay_open() {
    let base = BaseDirectory::new();
    let file = base.join("passed");
    File::create(&file).expect("created");
    let setup = format!("exec 3>'{0}' 4>'{0}' 5>'{0}'; export LISTEN_FDS=2 LISTEN_PID=$$", file.display());
    let command = base.dipc("4 64 0 8 --foreground --log-level off");
    for (setup, kept) in [(setup.clone(), 2), (format!("{setup}; LISTEN_PID=1"), 0)] {
        let (child, server) = start_in_foreground(after(&setup, &command).stderr(Stdio::null()));
        let _child = KillOnDrop(child);
        assert_eq!(descriptors_of(server.pid, &file), kept, "{setup}");
    }
}
