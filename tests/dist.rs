//! What is handed in: the documentation as a PDF, and an archive that is built without a network.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use dipc_testkit::program;

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

/// A directory on the disk that is removed in the end.
struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> Self {
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
        let _ = fs::remove_dir_all(&path);
        fs::create_dir_all(&path).expect("created");
        Scratch(path)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Runs a command, which may take minutes, and expects that it succeeds.
#[track_caller]
fn run(command: &mut Command) {
    let output = command.output().expect("the command runs");
    let text = [output.stdout, output.stderr].concat();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&text));
}

fn make(directory: impl AsRef<Path>) -> Option<Command> {
    let mut command = Command::new(program::find("make")?);
    command.arg("-C").arg(directory.as_ref());
    Some(command)
}

#[test]
fn the_archive_is_built_without_a_network_and_without_crates() {
    let Some(mut dist) = make(ROOT) else { return };
    if !Path::new(ROOT).join(".git").exists() {
        return println!("this is no repository: make dist is not tested");
    }
    let scratch = Scratch::new("dist");
    let archive = scratch.0.join("prog3.tgz");
    run(dist.arg("dist").arg(format!("DIST={}", archive.display())));
    run(Command::new("tar").arg("-xzf").arg(&archive).arg("-C").arg(&scratch.0));
    let tree = scratch.0.join("prog3");
    let mut build = make(&tree).expect("make was found");
    build.env("CARGO_HOME", scratch.0.join("cargo")).env("CARGO_NET_OFFLINE", "true");
    build.env("CARGO_TARGET_DIR", scratch.0.join("target"));
    // The same sources without optimization: a quick build.
    build.env("CARGO_PROFILE_RELEASE_OPT_LEVEL", "0").env("CARGO_PROFILE_RELEASE_LTO", "off");
    build.env("CARGO_PROFILE_RELEASE_DEBUG", "false").env("CARGO_PROFILE_RELEASE_CODEGEN_UNITS", "16");
    run(&mut build);
    for name in ["dipc", "dipcrm", "dipc-cli"] {
        run(Command::new(tree.join(name)).arg("--version"));
    }
}

#[test]
fn the_documentation_is_a_pdf() {
    let Some(mut pdf) = make(ROOT) else { return };
    if program::find("pandoc").is_none() || program::find("weasyprint").is_none() {
        return;
    }
    let scratch = Scratch::new("pdf");
    let file = scratch.0.join("prog3.pdf");
    run(pdf.arg("pdf").arg(format!("PDF={}", file.display())));
    assert!(fs::read(&file).expect("written").starts_with(b"%PDF-"));
}
