//! The commands of dipc-cli in README work.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use dipc_testkit::process::run;
use dipc_testkit::program;
use dipc_testkit::server::Server;
use dipc_testkit::wait::HANG;

const README: &str = include_str!("../../README.md");

/// Commands that do not end, the seconds after which `timeout` stops them, and the exit code of `timeout` in
/// this case.
const ENDLESS: [&str; 2] = ["watch", "top"];
const ENDLESS_TIME: &str = "0.3";
const TIMED_OUT: i32 = 124;

#[test]
fn the_commands_of_readme_work_one_after_the_other() {
    let server = Server::start("4 64 0 8");
    let directory = server.directory.join("readme");
    fs::create_dir(&directory).expect("a new directory");
    fs::write(directory.join("picture.png"), b"\x89PNG").expect("the picture is written");
    for program in ["on-message", "make"] {
        fs::write(directory.join(program), "#!/bin/sh\n").expect("the program is written");
        fs::set_permissions(directory.join(program), PermissionsExt::from_mode(0o700))
            .expect("the program is executable");
    }
    let programs = Path::new(program::dipc_cli()).parent().expect("a directory").display();
    let path = format!("{}:{programs}:{}", directory.display(), std::env::var("PATH").expect("a PATH"));
    let block = README.split("```sh\n").nth(1).and_then(|rest| rest.split("```").next()).expect("a block");
    let lines: Vec<_> = block.lines().collect();
    assert!(lines.len() > 8, "{block}");
    for line in lines {
        let is_endless = ENDLESS.iter().any(|verb| line.split(' ').nth(1) == Some(verb));
        let mut command = Command::new("timeout");
        let limit = if is_endless { ENDLESS_TIME } else { &HANG.as_secs().to_string() };
        command.args([limit, "sh", "-c", line]);
        command.current_dir(&directory).env("PATH", &path);
        command.env("DIPC_URL", format!("dipc://127.0.0.1:{}", server.port));
        command.env("DIPC_DIR", server.directory.path());
        let ran = run(&mut command);
        assert_eq!(ran.code, Some(if is_endless { TIMED_OUT } else { 0 }), "{line}: {ran:?}");
        assert_eq!(ran.stderr, "", "{line}");
    }
    assert_eq!(fs::read(directory.join("picture.png")).expect("the file of the taken message"), b"\x89PNG");
}
