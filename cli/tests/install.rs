//! `make install` and `make uninstall`, with the programs of this build, in a directory of the test.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use dipc_testkit::program;

const PREFIX: &str = "/opt/dipc";

/// Runs `make TARGET` of the checkout on the programs in `programs`. Removes the variables of a make that
/// runs this test.
fn make(target: &str, programs: &Path, destination: &Path) -> Output {
    let mut command = Command::new("make");
    command.current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/.."));
    for variable in ["MAKEFLAGS", "MFLAGS", "MAKELEVEL", "MAKEFILES"] {
        command.env_remove(variable);
    }
    command.arg(target).arg(format!("PREFIX={PREFIX}"));
    command.arg(format!("PROGRAMS={}", programs.display()));
    command.arg(format!("DESTDIR={}", destination.display()));
    command.output().expect("make runs")
}

/// The files below `directory`: their paths relative to `directory`, and their permissions.
fn files(directory: &Path) -> BTreeMap<String, u32> {
    let mut found = BTreeMap::new();
    let mut directories = vec![directory.to_owned()];
    while let Some(next) = directories.pop() {
        for entry in fs::read_dir(next).expect("a directory") {
            let path = entry.expect("an entry").path();
            let metadata = path.metadata().expect("the entry exists");
            if metadata.is_dir() {
                directories.push(path);
            } else {
                let name =
                    path.strip_prefix(directory).expect("a path below the directory").display().to_string();
                found.insert(name, metadata.permissions().mode() & 0o777);
            }
        }
    }
    found
}

fn programs() -> &'static Path {
    Path::new(program::dipc_cli()).parent().expect("a directory")
}

/// An empty directory of one test. It is removed when this value is dropped.
struct Destination(PathBuf);

impl Destination {
    fn new(test: &str) -> Self {
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{test}-{}", std::process::id()));
        fs::create_dir(&path).expect("a new directory");
        Destination(path)
    }
}

impl Drop for Destination {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

#[test]
fn install_installs_every_file_and_uninstall_removes_them() {
    let destination = Destination::new("install");
    let installed = make("install", programs(), &destination.0);
    assert!(installed.status.success(), "{installed:?}");

    let found = files(&destination.0);
    for program in ["dipc", "dipcrm", "dipc-cli"] {
        assert_eq!(found.get(&format!("opt/dipc/bin/{program}")), Some(&0o755), "{program}: {found:?}");
        let runs = Command::new(destination.0.join("opt/dipc/bin").join(program)).arg("--version").output();
        let version = String::from_utf8(runs.expect("the program runs").stdout).expect("text");
        assert_eq!(version, format!("{program} {}\n", env!("CARGO_PKG_VERSION")));
    }
    for data in [
        "share/man/man8/dipc.8",
        "share/man/man8/dipcrm.8",
        "share/man/man1/dipc-cli.1",
        "share/man/man1/dipc-cli-lock.1",
        "share/man/man1/dipc-cli-ls.1",
        "share/man/man7/dipc-protocol.7",
        "share/bash-completion/completions/dipc-cli",
        "share/bash-completion/completions/dipcrm",
        "share/zsh/site-functions/_dipc",
        "share/zsh/site-functions/_dipc-cli",
        "share/fish/vendor_completions.d/dipc-cli.fish",
    ] {
        let name = format!("opt/dipc/{data}");
        assert_eq!(found.get(&name), Some(&0o644), "{name}: {found:?}");
        assert!(fs::read_to_string(destination.0.join(&name)).expect("text").contains("dipc"), "{name}");
    }
    let zsh = fs::read_to_string(destination.0.join("opt/dipc/share/zsh/site-functions/_dipc-cli"));
    assert!(zsh.expect("text").starts_with("#compdef dipc-cli\n"));

    let kept = destination.0.join("opt/dipc/share/man/man1/other.1");
    fs::write(&kept, "the page of another program").expect("the page is written");
    let removed = make("uninstall", programs(), &destination.0);
    assert!(removed.status.success(), "{removed:?}");
    let left: Vec<_> = files(&destination.0).into_keys().collect();
    assert_eq!(left, ["opt/dipc/share/man/man1/other.1"]);
}

#[test]
fn install_fails_before_it_writes_when_a_program_is_missing() {
    let destination = Destination::new("missing");
    let empty = Destination::new("empty");
    let failed = make("install", &empty.0, &destination.0);
    assert!(!failed.status.success(), "{failed:?}");
    let says = String::from_utf8(failed.stderr).expect("text");
    assert!(says.contains("dipc is missing, run make first"), "{says}");
    assert_eq!(files(&destination.0), BTreeMap::new());
}
