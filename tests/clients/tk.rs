//! `clients/python/dipc_tk.py`: the window, on an X server without a screen, used with the mouse and the
//! keyboard.

use std::process::{Command, Stdio};

use dipc_testkit::process::{self, KillOnDrop, first_line};
use dipc_testkit::server::Server;
use dipc_testkit::wait::wait_until;

use super::{ROOT, has};

/// The first interpreter that has tkinter. Without one, prints that nothing is tested.
fn python_with_tkinter() -> Option<&'static str> {
    let has_tkinter = |python: &&str| {
        Command::new(python).args(["-c", "import tkinter"]).output().is_ok_and(|ran| ran.status.success())
    };
    // Debian's module belongs to Debian's interpreter, and another one may be first in PATH.
    let found = ["python3", "/usr/bin/python3"].into_iter().find(has_tkinter);
    if found.is_none() {
        println!("there is no tkinter here: not tested");
    }
    found
}

/// An X server without a screen, with a display number that is free.
struct Display {
    _server: KillOnDrop,
    name: String,
}

impl Display {
    #[track_caller]
    fn start() -> Display {
        let mut xvfb = Command::new("Xvfb");
        xvfb.args(["-displayfd", "1", "-screen", "0", "800x600x24", "-nolisten", "tcp"]);
        let child = xvfb.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn();
        let mut server = KillOnDrop(child.expect("Xvfb starts"));
        let name = format!(":{}", first_line(&mut server.0).trim());
        Display { _server: server, name }
    }

    /// A command whose windows are on this display.
    fn command(&self, program: &str) -> Command {
        let mut command = process::bare(program);
        command.env("DISPLAY", &self.name);
        command
    }
}

#[test]
fn the_window_reads_writes_and_watches() {
    let Some(python) = python_with_tkinter() else { return };
    if !has(&["Xvfb", "xdotool"]) {
        return;
    }
    let server = Server::start("4 64 0 8");
    let display = Display::start();
    let mut test = display.command(python);
    test.arg(format!("{ROOT}/tests/clients/tk.py")).arg(format!("{ROOT}/clients/python"));
    process::run(test.arg(server.port.to_string())).expect_success();
    server.wait_for_stat("connections", |connections| connections == 1);
}

#[test]
fn the_program_is_used_with_the_keyboard_alone() {
    let Some(python) = python_with_tkinter() else { return };
    if !has(&["Xvfb", "xdotool"]) {
        return;
    }
    let server = Server::start("4 64 0 8");
    let display = Display::start();
    let mut window = display.command(python);
    window.arg("-B").arg(format!("{ROOT}/clients/python/dipc_tk.py")).arg(server.port.to_string());
    let mut window = KillOnDrop(window.spawn().expect("the window starts"));
    server.wait_for_stat("connections", |connections| connections == 2);
    let xdotool = |words: &[&str]| {
        process::run(display.command("xdotool").args(words)).expect(0, "");
    };
    xdotool(&["search", "--sync", "--onlyvisible", "--class", "Dipc", "windowfocus", "--sync"]);
    xdotool(&["type", "--delay", "2", "typed"]);
    xdotool(&["key", "alt+w"]);
    let mut client = server.connect();
    wait_until("the text is written", || {
        client.send("r 0\n");
        client.data().1 == b"typed"
    });
    xdotool(&["key", "alt+q"]);
    assert_eq!(process::wait_for_end(&mut window.0), Some(0));
}

#[test]
fn a_wrong_call_or_no_display_is_an_error() {
    let Some(python) = python_with_tkinter() else { return };
    let run = |words: &[&str]| {
        let mut window = process::bare(python);
        window.arg("-B").arg(format!("{ROOT}/clients/python/dipc_tk.py")).args(words).env_remove("DISPLAY");
        process::run(&mut window)
    };
    for words in [&[][..], &["x"], &["0"], &["70000"], &["5000", "6000"], &["--port", "5000"]] {
        run(words).expect_failure(1, "usage: dipc_tk.py [--host H] PORT");
    }
    run(&["5000"]).expect_failure(1, "dipc_tk: no display name");
}
