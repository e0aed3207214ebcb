//! `clients/c/`: the C client with its test and examples, compiled with the sanitizers.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::sync::OnceLock;

use dipc_testkit::client::Client;
use dipc_testkit::port::Port;
use dipc_testkit::process::{self, KillOnDrop, first_line};
use dipc_testkit::program;
use dipc_testkit::server::Server;

use super::{ROOT, block, has, run_against, start, type_in};

/// The directory of the compiled programs. `None` without a compiler or make.
pub(super) fn programs() -> Option<&'static Path> {
    static PROGRAMS: OnceLock<Option<PathBuf>> = OnceLock::new();
    let build = || {
        let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join("clients-c");
        std::fs::create_dir_all(&directory).expect("a directory");
        let mut make = Command::new("make");
        make.args(["-s", "-C", &format!("{ROOT}/clients/c"), &format!("BUILD={}", directory.display())]);
        make.arg("CFLAGS=-O1 -g -fsanitize=address,undefined -fno-sanitize-recover=all");
        // The variables of a make that runs this test.
        make.env_remove("MAKEFLAGS").env_remove("MAKELEVEL");
        process::run(&mut make).expect_success();
        directory
    };
    PROGRAMS.get_or_init(|| has(&["make", "cc"]).then(build)).as_deref()
}

#[test]
fn every_function_and_every_error_of_the_c_client() {
    let Some(programs) = programs() else { return };
    let server = Server::start_with_socket("4 64 0 8");
    let mut test = Command::new(programs.join("dipc_test"));
    let outcome = process::run(test.arg(server.port.to_string()).arg(server.socket()));
    outcome.expect_success();
    server.wait_for_stat("connections", |connections| connections == 1);
}

#[test]
fn the_example_prints_the_answers() {
    let Some(programs) = programs() else { return };
    let server = Server::start("4 64 0 8");
    let outcome = process::run(Command::new(programs.join("example")).arg(server.port.to_string()));
    outcome.expect(
        0,
        "read version 1: hello\ncounter version 1: 1\ntake version 1: a job\ntake: empty\n\
         event version 1: it rains\n",
    );
}

#[test]
fn the_program_of_the_page_runs() {
    let Some(programs) = programs() else { return };
    let server = Server::start("4 64 0 8");
    let program = programs.join("page");
    std::fs::write(programs.join("page.c"), block("c", server.port)).expect("the program is written");
    let mut cc = Command::new("cc");
    cc.args(["-std=c99", "-Wall", "-Wextra", "-Werror", &format!("-I{ROOT}/clients/c"), "-o"]).arg(&program);
    cc.arg(programs.join("page.c")).arg(format!("{ROOT}/clients/c/dipc.c"));
    process::run(&mut cc).expect_success();
    process::run(&mut Command::new(program)).expect(0, "any bytes\n");
}

#[test]
fn bytes_that_are_no_answer_end_the_connection() {
    let Some(programs) = programs() else { return };
    let example = |port: &str| {
        let mut command = Command::new(programs.join("example"));
        command.arg(port);
        command
    };
    let long_line = [b'x'; 65536];
    let cases: &[(&[u8], &str)] = &[
        (b"", "the server closed the connection"),
        (b"OK life=1", "the server closed the connection"),
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", "not an answer of dipc"),
        (b"OKAY\n", "not an answer of dipc"),
        (b"OK\0life=1\n", "not an answer of dipc"),
        (b"DATA 99999999999999999999 v=1 n=1\n", "not an answer of dipc"),
        (b"DATA five v=1 n=1\n", "not an answer of dipc"),
        (b"EVENT 3 box=0 v=1\nabcd", "not an answer of dipc"),
        (&long_line, "not an answer of dipc"),
        (b"OK life=1\nOK\n", "the server answered another request"),
        (b"OK life=1\nOK v=99999999999999999999\n", "the server answered another request"),
        (b"OK life=1\nDATA 5 v=1 n=1\nhello\n", "the server answered another request"),
        (b"ERR syntax : unknown\nOK v=1\n", "the server does not accept hello"),
        (b"ERR busy max=1 : too many clients, try again\n", "busy max=1: too many clients, try again"),
        (b"OK life=1\nERR drain : the server is stopping\n", "drain: the server is stopping"),
        (b"OK life=1\nNO timeout\n", "timeout"),
        (b"OK life=1\nNO reason with=fields\n", "reason with=fields"),
    ];
    for (answer, error) in cases {
        let outcome = run_against(example, "hello name=example\nw 3 5\nhello\n", answer);
        outcome.expect(1, "");
        assert_eq!(outcome.stderr, format!("example: {error}\n"), "{}", answer.escape_ascii());
    }
}

#[test]
fn frames_are_answered_in_frames() {
    let Some(programs) = programs() else { return };
    let help = process::run(Command::new(program::dipc()).arg("--help")).text();
    if !help.contains("--classic") {
        println!("dipc has no option --classic: frames are not tested");
        return;
    }
    let classic = Port::reserve();
    let server = Server::start(&format!("4 64 0 8 --classic {}", classic.number));
    let frames = |arguments: &[&str], input: &[u8]| {
        let port = classic.number.to_string();
        process::finish(start(programs.join("frames"), &[&[port.as_str()], arguments].concat()), input)
    };
    frames(&["w 3", "hello"], b"").expect(0, "OK v=1\n");
    frames(&["r 3"], b"").expect(0, "hello");
    let bytes: Vec<u8> = (0..=255).collect();
    frames(&["w 3"], &bytes).expect(0, "OK v=2\n");
    frames(&["r 3"], b"").expect(0, &bytes);
    server.connect().ask("r 0\n", "DATA 0 v=0 n=0\n\n");
}

/// A program in a talk over mailbox 2.
#[track_caller]
fn talk(programs: &Path, port: u16, name: &str) -> KillOnDrop {
    KillOnDrop(start(programs.join("talk"), &[&port.to_string(), "2", name]))
}

#[track_caller]
fn expect_lines(child: &mut Child, lines: &[&str]) {
    for line in lines {
        assert_eq!(first_line(child).trim_end_matches('\n'), *line);
    }
}

/// Ends the input of a program, and expects that it then prints nothing and succeeds.
#[track_caller]
fn leave(mut talk: KillOnDrop) {
    drop(talk.0.stdin.take());
    assert_eq!(first_line(&mut talk.0), "");
    assert_eq!(process::wait_for_end(&mut talk.0), Some(0));
}

#[test]
fn everyone_in_a_talk_sees_all_lines_in_one_order() {
    let Some(programs) = programs() else { return };
    let server = Server::start("4 1 0 1");
    let mut anna = talk(programs, server.port, "anna");
    type_in(&mut anna.0, "hello\n");
    expect_lines(&mut anna.0, &["anna: hello"]);
    let mut ben = talk(programs, server.port, "ben");
    expect_lines(&mut ben.0, &["anna: hello"]);
    type_in(&mut ben.0, "grüß dich\x1b[2J\u{9b}2J\nand a line without an end");
    expect_lines(&mut anna.0, &["ben: grüß dich?[2J?2J"]);
    drop(ben.0.stdin.take());
    expect_lines(&mut ben.0, &["ben: grüß dich?[2J?2J", "ben: and a line without an end"]);
    expect_lines(&mut anna.0, &["ben: and a line without an end"]);
    // The mailbox has 1 kB, so the oldest lines are dropped.
    type_in(&mut anna.0, &format!("{}\n{}\n", "a".repeat(600), "b".repeat(600)));
    expect_lines(
        &mut anna.0,
        &[&format!("anna: {}", "a".repeat(600)), &format!("anna: {}", "b".repeat(600))],
    );
    let mut carl = talk(programs, server.port, "carl");
    expect_lines(&mut carl.0, &["* 4 lines are lost", &format!("anna: {}", "b".repeat(600))]);
    leave(ben);
    leave(anna);
    leave(carl);
}

#[test]
fn a_talk_goes_on_after_a_restart_of_the_server() {
    let Some(programs) = programs() else { return };
    let mut server = Server::start("4 64 0 8");
    let again = format!("4 64 {} 8", server.port);
    let mut anna = talk(programs, server.port, "anna");
    type_in(&mut anna.0, "before\n");
    expect_lines(&mut anna.0, &["anna: before"]);
    server.kill();
    assert!(first_line(&mut anna.0).starts_with("* "), "a note about the loss");
    server.restart(&again);
    expect_lines(&mut anna.0, &["* connected again"]);
    type_in(&mut anna.0, "after\n");
    expect_lines(&mut anna.0, &["anna: after"]);
    server.kill();
    assert!(first_line(&mut anna.0).starts_with("* "), "a note about the loss");
    server.restart(&format!("{again} --fresh"));
    expect_lines(&mut anna.0, &["* connected again", "* the mailbox is a new one, this talk starts again"]);
    type_in(&mut anna.0, "fresh\n");
    expect_lines(&mut anna.0, &["anna: fresh"]);
    leave(anna);
}

#[test]
fn a_line_whose_answer_is_lost_is_not_sent_twice() {
    const HELLO: &str = "OK proto=1 life=7\n";
    let Some(programs) = programs() else { return };
    let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a free port");
    let mut anna = talk(programs, listener.local_addr().expect("bound").port(), "anna");
    let mut first = Client::over(listener.accept().expect("a connection").0);
    first.expect("hello\nwatch 2 after=0\n");
    first.send(format!("{HELLO}OK v=0\n"));
    type_in(&mut anna.0, "once\n");
    first.expect("put 2 10 full=drop wait=5.000\nanna: once\n");
    drop(first);
    let mut second = Client::over(listener.accept().expect("a connection").0);
    expect_lines(
        &mut anna.0,
        &["* your last line may or may not have been sent", "* the server closed the connection"],
    );
    second.expect("hello\nping\n");
    second.send(format!("{HELLO}OK\n"));
    second.expect("watch 2 after=0\n");
    second.send("OK v=0\n");
    expect_lines(&mut anna.0, &["* connected again"]);
    leave(anna);
    second.expect("q\n");
    second.expect_end();
}
