//! `clients/java/`: the Java client with its test and example, compiled for Java 11.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use dipc_testkit::process;
use dipc_testkit::server::Server;

use super::{ROOT, block, has, run_against};

/// The directory of the compiled classes. `None` without a compiler.
fn classes() -> Option<&'static Path> {
    static CLASSES: OnceLock<Option<PathBuf>> = OnceLock::new();
    let build = || {
        let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join("clients-java");
        let sources = ["Dipc", "Example", "Test"].map(|name| format!("{ROOT}/clients/java/{name}.java"));
        let mut javac = Command::new("javac");
        // The lint `try` objects to a close() in a block that closes again, which is permitted here.
        javac.args(["--release", "11", "-Xlint:all,-try", "-Werror", "-d"]).arg(&directory).args(sources);
        process::run(&mut javac).expect(0, "");
        directory
    };
    CLASSES.get_or_init(|| has(&["javac", "java"]).then(build)).as_deref()
}

/// A program of `clients/java/`. The first compiler of the virtual machine suffices, and starts faster.
fn java(classes: &Path, class: &str, port: &str) -> Command {
    let mut java = Command::new("java");
    java.args(["-XX:TieredStopAtLevel=1", "-Xshare:auto", "-cp"]).arg(classes).args([class, port]);
    java
}

#[test]
fn every_method_and_every_exception_of_the_java_client() {
    let Some(classes) = classes() else { return };
    let server = Server::start("4 64 0 8");
    process::run(&mut java(classes, "Test", &server.port.to_string())).expect(0, "");
    server.wait_for_stat("connections", |connections| connections == 1);
}

#[test]
fn the_example_prints_the_answers() {
    let Some(classes) = classes() else { return };
    let server = Server::start("4 64 0 8");
    process::run(&mut java(classes, "Example", &server.port.to_string())).expect(
        0,
        "read version 1: hello\ncounter version 1: 1\ntake version 1: a job\ntake: empty\n\
         event version 1: it rains\n",
    );
}

#[test]
fn the_program_of_the_page_runs() {
    let Some(classes) = classes() else { return };
    let server = Server::start("4 64 0 8");
    let source = classes.join("Hello.java");
    std::fs::write(&source, block("java", server.port)).expect("the program is written");
    let mut java = Command::new("java");
    process::run(java.arg("-cp").arg(classes).arg(source)).expect(0, "any text\n");
    server.connect().ask("r 1\n", "DATA 19 v=1 n=1\nwritten with lock 1\n");
}

#[test]
fn bytes_that_are_no_answer_end_the_connection() {
    let Some(classes) = classes() else { return };
    let cases: [(&[u8], &str); 6] = [
        (b"OK life=1", "java.io.IOException: the server closed the connection"),
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", "java.io.IOException: not an answer of dipc"),
        (b"DATA 9999999999 v=1 n=1\n", "java.io.IOException: a message of 9999999999 bytes is too large"),
        (b"EVENT 3 box=0 v=1\nabcd", "java.io.IOException: not an answer of dipc"),
        (b"OK life=1\nOK\n", "java.io.IOException: the server answered another request"),
        (b"ERR busy max=1 : too many clients\n", "Dipc$Refused: busy max=1: too many clients"),
    ];
    for (answer, error) in cases {
        let outcome =
            run_against(|port| java(classes, "Example", port), "hello name=example\nw 3 5\nhello\n", answer);
        outcome.expect_failure(1, error);
    }
}
