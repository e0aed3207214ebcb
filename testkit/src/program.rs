//! The paths of the built programs, in the parent of the directory of the running test executable.
//!
//! Cargo tells a test only the programs of its own package. `cargo test` builds the programs of all packages
//! before any test runs; a test of one package (`-p dipc-cli`) needs `cargo build` before it.

use std::process::Command;
use std::sync::OnceLock;

/// The server.
#[track_caller]
pub fn dipc() -> &'static str {
    static PATH: OnceLock<String> = OnceLock::new();
    PATH.get_or_init(|| built("dipc"))
}

/// The program that removes an instance.
#[track_caller]
pub fn dipcrm() -> &'static str {
    static PATH: OnceLock<String> = OnceLock::new();
    PATH.get_or_init(|| built("dipcrm"))
}

/// The command line.
#[track_caller]
pub fn dipc_cli() -> &'static str {
    static PATH: OnceLock<String> = OnceLock::new();
    PATH.get_or_init(|| built("dipc-cli"))
}

/// The Python interpreter; see [`find`].
pub fn python3() -> Option<&'static str> {
    find("python3")
}

/// A program of the system. On a machine without it, prints that nothing is tested and returns `None`.
pub fn find(name: &'static str) -> Option<&'static str> {
    let exists = Command::new(name).arg("--version").output().is_ok();
    if !exists {
        println!("there is no {name} here: not tested");
    }
    exists.then_some(name)
}

/// `target/PROFILE/NAME`, found from `target/PROFILE/deps/TEST-HASH`.
#[track_caller]
fn built(name: &str) -> String {
    let test = std::env::current_exe().expect("the path of this test");
    let profile = test.parent().and_then(|deps| deps.parent()).expect("a test executable is in PROFILE/deps");
    let program = profile.join(name);
    let command = match profile.file_name().and_then(|name| name.to_str()) {
        Some("debug") => "cargo build".to_owned(),
        Some(profile) => format!("cargo build --profile {profile}"),
        None => unreachable!("cargo's profiles are named in ASCII"),
    };
    assert!(program.exists(), "there is no {}: run `{command}` first", program.display());
    program.into_os_string().into_string().expect("a path in UTF-8")
}
