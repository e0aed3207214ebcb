//! Names of mailboxes: `dipc-cli name`, and names in the place of numbers.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::PathBuf;
use std::process::{Child, Stdio};

use dipc_testkit::port::Port;
use dipc_testkit::process::{run, wait_for_end};
use dipc_testkit::program;
use dipc_testkit::server::Server;
use dipc_testkit::wait::wait_until;
use serde_json::json;

/// A server whose mailbox 3 has the name `jobs`, and whose mailbox 1 has the name `room`.
fn named() -> Server {
    let server = Server::start("4 64 0 8");
    server.connect().ask("name 3 jobs\nname 1 room\n", "OK name=jobs\nOK name=room\n");
    server
}

/// A command that gives the name `jobs` to mailbox 0.
fn move_jobs() -> String {
    let cli = program::dipc_cli();
    format!("{cli} name 3 - >/dev/null; {cli} name 0 jobs >/dev/null")
}

#[test]
fn every_command_accepts_names() {
    let server = named();
    server.run(&["put", "jobs", "one"]).expect(0, "version 1\ncount 1\n");
    server.run(&["write", "jobs", "--if", "1", "two"]).expect(0, "version 2\n");
    server.run(&["read", "jobs"]).expect(0, "two");
    server.run(&["edit", "jobs", "--", "sed", "s/$/!/"]).expect(0, "version 3\n");
    server.run(&["watch", "room,jobs", "--after", "0", "-n", "1"]).expect(0, "3: two!\n");
    let json = json!({ "mailbox": 3, "version": 3, "count": 1, "lost": 0, "data": "two!" });
    let ran = server.run(&["read", "jobs", "--json", "--after", "2"]);
    assert_eq!(ran.json(), json);
    assert_eq!(server.run(&["stat", "jobs", "--json"]).json()["mailbox"], json!(3));
    let taken = server.run(&["take", "jobs", "--json"]).json();
    assert_eq!((&taken["mailbox"], &taken["count"]), (&json!(3), &json!(0)));
    server.run(&["lock", "jobs,0", "--", "sh", "-c", "echo $DIPC_BOX"]).expect(0, "3,0\n");
    let ran = server.run_with(&["chat", "room", "--name", "bob", "--json"], "hi\n");
    assert!(ran.text().contains("\"data\":\"bob: hi\"") && ran.text().contains("\"mailbox\":1"), "{ran:?}");
    server.run(&["put", "jobs", "bad"]).expect(0, "version 4\ncount 1\n");
    let failing = ["take", "jobs", "--max-tries", "1", "--failed", "room", "--", "false"];
    server.run(&failing).expect_failure(1, "mailbox room");
    server.run(&["take", "room", "--", "cat"]).expect(0, "* bob joins");
    let same = ["take", "jobs", "--max-tries", "1", "--failed", "3", "--", "false"];
    server.run(&same).expect_failure(2, "--failed has to be another mailbox than BOX");
    server.run(&["read", "nobody"]).expect_failure(2, "box: no mailbox has the name nobody");
    server
        .run(&["lock", "jobs,nobody", "--", "true"])
        .expect_failure(2, "box: no mailbox has the name nobody");
}

#[test]
fn a_name_is_printed_set_and_removed() {
    let server = Server::start("4 64 0 8");
    server.run(&["name", "3"]).expect(0, "mailbox 3\nname -\n");
    server.run(&["name", "3", "jobs"]).expect(0, "mailbox 3\nname jobs\n");
    server.run(&["name", "jobs"]).expect(0, "mailbox 3\nname jobs\n");
    assert_eq!(
        server.run(&["name", "jobs", "work", "--json"]).json(),
        json!({ "mailbox": 3, "name": "work" })
    );
    server.run(&["name", "0", "work"]).expect_failure(1, "conflict: mailbox 3 has this name");
    server.run(&["name", "0", "zero"]).expect(0, "mailbox 0\nname zero\n");
    server.run(&["stat", "names"]).expect(0, "0 zero\n3 work\n");
    let names = json!([{ "mailbox": 0, "name": "zero" }, { "mailbox": 3, "name": "work" }]);
    assert_eq!(server.run(&["stat", "names", "--json"]).json(), names);
    assert_eq!(server.run(&["name", "work", "-", "--json"]).json(), json!({ "mailbox": 3, "name": null }));
    server.run(&["stat", "names"]).expect(0, "0 zero\n");
    for wrong in ["Work", "0", "two words", "names"] {
        server.run(&["name", "0", wrong]).expect_failure(2, "begins with a letter");
    }
}

#[test]
fn the_prompt_accepts_names() {
    let server = named();
    let input =
        "lock jobs,room\nstat locks\nunlock room\nunlock jobs\nname room\nname room -\nput jobs a job\n";
    let text = server.run_with(&[], input).text();
    let lines: Vec<_> = text.lines().collect();
    assert!(lines[1].starts_with("1 ") && lines[2].starts_with("3 "), "{text}");
    assert_eq!(lines[3..], ["mailbox 1", "name room", "mailbox 1", "name -", "version 1", "count 1"]);
    assert_eq!(server.stat("locks_held"), 0);
}

/// The watch at the prompt ends for the mailbox that it began with.
#[test]
fn commands_stay_with_their_mailbox_when_the_name_moves() {
    let server = named();
    let script = |end: &str| format!("{}; echo $DIPC_BOX; {end}", move_jobs());
    server.run(&["edit", "jobs", "--", "sh", "-c", &script("")]).expect(0, "version 1\n");
    server.run(&["read", "3"]).expect(0, "3\n");
    assert_eq!(server.run(&["stat", "names"]).text(), "0 jobs\n1 room\n");
    server.connect().ask("name 0 -\nname 3 jobs\n", "OK name=-\nOK name=jobs\n");
    let watch = format!("watch jobs --after 0 -n 1 -- sh -c '{}'\nstat conns\n", script("true"));
    let text = server.run_with(&[], watch).text();
    assert!(text.starts_with("3\n") && text.contains("watches=-"), "{text}");
    server.connect().ask("name 0 -\nname 3 jobs\n", "OK name=-\nOK name=jobs\n");
    server.run(&["lock", "jobs", "--", "sh", "-c", &script("exit 9")]).expect(9, "3\n");
    assert_eq!(server.stat("locks_held"), 0);
}

#[test]
fn a_request_by_name_for_a_mailbox_of_an_outer_lock_fails_at_once() {
    let server = named();
    for (locked, asked) in [("3", "jobs"), ("jobs", "3"), ("jobs", "jobs")] {
        let words = ["lock", locked, "--", program::dipc_cli(), "lock", asked, "--wait", "inf", "--", "true"];
        server.run(&words).expect_failure(2, "deadlock: mailbox 3 is locked by the dipc-cli that runs");
    }
    let under = |words: &[&str]| server.run(&[&["lock", "jobs", "--", program::dipc_cli()], words].concat());
    under(&["write", "jobs", "--wait", "0", "x"]).expect_failure(1, "mailbox 3 is locked by");
    under(&["write", "room", "x"]).expect(0, "version 1\n");
    under(&["read", "nobody"]).expect_failure(2, "box: no mailbox has the name nobody");
}

#[test]
fn top_shows_names() {
    let server = named();
    server.connect().ask(format!("name 2 {}\n", "x".repeat(64)), format!("OK name={}\n", "x".repeat(64)));
    let text = server.run(&["top", "--once"]).text();
    let rows: Vec<Vec<_>> =
        text.lines().skip(3).map(|row| row.split_whitespace().take(3).collect()).collect();
    assert_eq!(rows[0], ["BOX", "NAME", "VERSION"]);
    assert_eq!(rows[1..4], [["0", "-", "0"], ["1", "room", "0"], ["2", &"x".repeat(20), "0"]]);
    assert_eq!(server.run(&["top", "--once", "--json"]).json()["mailboxes"][3]["name"], json!("jobs"));
    let without = Server::start("1 64 0 8").run(&["top", "--once"]).text();
    assert!(!without.contains("NAME"), "{without}");
}

/// A server that is replaced by one with new mailboxes, where `jobs` is mailbox 1 in place of 2.
struct Replaced {
    server: Server,
    arguments: String,
    names: PathBuf,
}

impl Replaced {
    fn start(port: &Port) -> Self {
        let names = std::env::temp_dir().join(format!("dipc-names-{}", port.number));
        fs::write(&names, "2 jobs\n").expect("written");
        let arguments = format!("4 64 {} 8 --names {}", port.number, names.display());
        Replaced { server: Server::start(&arguments), arguments, names }
    }

    fn replace(&mut self) {
        run(&mut self.server.dipcrm()).expect_success();
        self.server.wait();
        fs::write(&self.names, "1 jobs\n").expect("written");
        self.server.restart(&self.arguments);
        wait_until("the new mailbox is watched", || self.server.stat_json(&["1"], "watchers") == 1);
    }
}

impl Drop for Replaced {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.names);
    }
}

/// The next lines of standard output.
fn lines(child: &mut Child) -> impl Iterator<Item = String> + use<> {
    BufReader::new(child.stdout.take().expect("piped")).lines().map(|line| line.expect("text"))
}

#[test]
fn a_watch_goes_on_with_the_new_mailbox_of_its_name() {
    let port = Port::reserve();
    let mut replaced = Replaced::start(&port);
    let mut watch = replaced.server.cli(&["watch", "jobs", "-n", "2"]).spawn().expect("dipc-cli runs");
    let mut lines = lines(&mut watch);
    replaced.server.wait_for_stat("watching", |watching| watching == 1);
    replaced.server.connect().ask("put 2\none\n", "OK v=1 n=1\n");
    assert_eq!(lines.next().as_deref(), Some("one"));
    replaced.replace();
    replaced.server.connect().ask("put 1\nnew\n", "OK v=1 n=1\n");
    assert_eq!(lines.next().as_deref(), Some("new"));
    assert_eq!(wait_for_end(&mut watch), Some(0));
}

#[test]
fn a_chat_goes_on_in_the_new_mailbox_of_its_name() {
    let port = Port::reserve();
    let mut replaced = Replaced::start(&port);
    let mut chat = replaced.server.cli(&["chat", "jobs", "--name", "bob"]);
    let mut chat = chat.stdin(Stdio::piped()).spawn().expect("dipc-cli runs");
    let mut lines = lines(&mut chat);
    assert_eq!(lines.next().as_deref(), Some("* bob joins"));
    replaced.replace();
    replaced.server.connect().ask("put 1\nanna: hi\n", "OK v=1 n=1\n");
    assert_eq!(lines.next().as_deref(), Some("anna: hi"));
    chat.stdin.take().expect("piped").write_all(b"hello\n").expect("the chat reads");
    assert_eq!(wait_for_end(&mut chat), Some(0));
    assert_eq!(lines.map(|line| line + "\n").collect::<String>(), "bob: hello\n* bob leaves\n");
    let mut reader = replaced.server.connect();
    reader.ask("r 1 after=1\n", "DATA 10 v=2 n=3\nbob: hello\n");
}
