//! Commands that go on after a restart of the server.

use std::io::{BufRead, BufReader, Read};
use std::process::Child;

use dipc_testkit::port::Port;
use dipc_testkit::process::{run, wait_for_end};
use dipc_testkit::server::Server;
use dipc_testkit::terminal::Terminal;

fn arguments(port: &Port) -> String {
    format!("4 64 {} 8", port.number)
}

/// The next lines of standard output.
fn lines(child: &mut Child) -> impl Iterator<Item = String> + use<> {
    BufReader::new(child.stdout.take().expect("piped")).lines().map(|line| line.expect("text"))
}

#[test]
fn a_watch_goes_on_after_a_restart() {
    let port = Port::reserve();
    let mut server = Server::start(&arguments(&port));
    let mut watch = server.cli(&["watch", "2", "-n", "4"]).spawn().expect("dipc-cli runs");
    let mut lines = lines(&mut watch);
    server.wait_for_stat("watching", |watching| watching == 1);
    server.connect().ask("put 2\none\n", "OK v=1 n=1\n");
    assert_eq!(lines.next().as_deref(), Some("one"));
    server.kill();
    server.restart(&arguments(&port));
    // The watch may be connected again, or not yet.
    server.connect().ask("put 2\ntwo\nput 2\nthree\n", "OK v=2 n=2\nOK v=3 n=3\n");
    assert_eq!([lines.next(), lines.next()], [Some("two".into()), Some("three".into())]);
    run(&mut server.dipcrm()).expect_success();
    server.wait();
    server.restart(&arguments(&port));
    server.connect().ask("put 2\nnew\n", "OK v=1 n=1\n");
    assert_eq!(lines.next().as_deref(), Some("new"));
    assert_eq!(wait_for_end(&mut watch), Some(0));
    let mut notes = String::new();
    watch.stderr.take().expect("piped").read_to_string(&mut notes).expect("text");
    for note in ["the server", "connecting again", "connected again", "the mailboxes are new"] {
        assert!(notes.contains(note), "{notes:?} lacks {note:?}");
    }
}

#[test]
fn without_retry_a_watch_ends_with_the_connection() {
    let mut server = Server::start("4 64 0 8");
    let mut watch = server.cli(&["watch", "2", "--retry", "0"]).spawn().expect("dipc-cli runs");
    server.wait_for_stat("watching", |watching| watching == 1);
    server.kill();
    assert_eq!(wait_for_end(&mut watch), Some(3));
}

#[test]
fn a_watch_ends_if_no_server_comes_back() {
    let mut server = Server::start("4 64 0 8");
    let mut watch = server.cli(&["watch", "2", "--retry", "0.3"]).spawn().expect("dipc-cli runs");
    server.wait_for_stat("watching", |watching| watching == 1);
    server.kill();
    assert_eq!(wait_for_end(&mut watch), Some(3));
}

#[test]
fn a_chat_goes_on_and_repeats_no_line() {
    let port = Port::reserve();
    let mut server = Server::start(&arguments(&port));
    let mut anna = Terminal::start(&server, &["chat", "1", "--name", "anna"]);
    anna.expect("* anna joins");
    anna.press("before\r");
    server.wait_for_stat("puts", |puts| puts == 2);
    server.kill();
    anna.expect("connecting again");
    server.restart(&arguments(&port));
    anna.expect("connected again");
    server.connect().ask("put 1\nbob: hello\n", "OK v=3 n=3\n");
    anna.expect("bob: hello");
    anna.press("after\r");
    server.wait_for_stat("puts", |puts| puts == 2);
    server.connect().ask("r 1\n", "DATA 11 v=4 n=4\nanna: after\n");
}

#[test]
fn top_goes_on() {
    let port = Port::reserve();
    let mut server = Server::start(&arguments(&port));
    let mut top = Terminal::start(&server, &["top"]);
    top.expect("HOLDERS");
    server.kill();
    top.expect("connecting again");
    server.restart(&arguments(&port));
    top.expect("connected again");
    top.expect("HOLDERS");
    top.press("q");
    top.expect_end(0);
}
