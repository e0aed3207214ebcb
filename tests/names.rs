//! The names of mailboxes over the real server: `name`, `stat names`, `--names`, and names in the place of
//! numbers.

use std::fs;

use dipc_testkit::directory::Directory;
use dipc_testkit::instance::BaseDirectory;
use dipc_testkit::process::run;
use dipc_testkit::server::Server;

fn named() -> Server {
    let server = Server::start("4 64 0 8 --classic 0");
    server.connect().ask("name 3 jobs\nname 1 chat-room.2\n", "OK name=jobs\nOK name=chat-room.2\n");
    server
}

#[test]
fn a_name_stands_wherever_a_number_may() {
    let server = named();
    let mut client = server.connect();
    client.ask("put jobs 5\nhello\n", "OK v=1 n=1\n");
    client.ask("r jobs after=0\n", "DATA 5 v=1 n=1\nhello\n");
    client.ask("w 3 if=1\nnew\n", "OK v=2\n");
    client.ask("take ttl=60 jobs\ndone jobs v=2\n", "DATA 3 v=2 n=1 tries=1\nnew\nOK n=0\n");
    client.ask("lock jobs,chat-room.2,0 r\nunlock 3,1,0\n", "OK grant=1\nOK\n");
    client.ask("watch chat-room.2,jobs\n", "OK v=0,2\n");
    client.ask("w chat-room.2\nhi\n", "OK v=1\n");
    client.expect("EVENT 2 box=1 v=1\nhi\n");
    client.ask("unwatch jobs\n", "OK\n");
    assert_eq!(client.stat_lines("stat jobs\n")[..2], ["mailbox 3", "name jobs"]);
    assert_eq!(client.stat_lines("stat box jobs\n")[..2], ["mailbox 3", "name jobs"]);
    assert_eq!(client.stat_lines("stat 0\n")[..2], ["mailbox 0", "name -"]);
    assert_eq!(client.stat_lines("stat names\n"), ["1 chat-room.2", "3 jobs"]);
    client.ask("name jobs\nname 0\n", "OK name=jobs\nOK name=-\n");
}

#[test]
fn a_name_belongs_to_one_mailbox() {
    let server = named();
    let mut client = server.connect();
    client.ask("name 0 jobs\n", "NO conflict box=3\n");
    client.ask("name 3 jobs\n", "OK name=jobs\n");
    client.ask("name jobs work\n", "OK name=work\n");
    client.ask("r jobs\n", "ERR box max=3 : no mailbox has the name jobs; this server has 0 to 3\n");
    client.ask("name 0 jobs\n", "OK name=jobs\n");
    client.ask("name work -\nname 3\n", "OK name=-\nOK name=-\n");
    client.ask("name 3 -\n", "OK name=-\n");
    assert_eq!(client.stat_lines("stat names\n"), ["0 jobs", "1 chat-room.2"]);
}

#[test]
fn a_refused_request_with_an_unknown_name_still_has_its_data() {
    let server = named();
    let mut client = server.connect();
    let refusal = "ERR box max=3 : no mailbox has the name nobody; this server has 0 to 3\n";
    client.ask("w nobody 5\nping\n\nput nobody\nping\nping\n", [refusal, refusal, "OK\n"].concat());
    let form = "ERR syntax : a name has 1 to 64 of a-z 0-9 _ . - and begins with a letter, and is not conns, \
                locks, names or r: name 3 jobs; name 3 - removes it\n";
    for word in ["Jobs", "0", "r", "names", &"a".repeat(65)] {
        client.ask(format!("name 3 {word}\n"), form);
    }
    client.ask("name 9 jobs\n", "ERR box max=3 : no mailbox 9; this server has 0 to 3\n");
    client.ask("name jobs\n", "OK name=jobs\n");
}

#[test]
fn a_name_is_resolved_when_its_request_becomes_next() {
    let server = Server::start("4 64 0 8");
    let mut client = server.connect();
    // All in one send: each request sees the names as the one before has left them.
    client.ask(
        "name 0 new\nw new\na\nname new -\nw new\nb\nname 2 new\nw new\nc\nr 2\n",
        "OK name=new\nOK v=1\nOK name=-\nERR box max=3 : no mailbox has the name new; \
         this server has 0 to 3\nOK name=new\nOK v=1\nDATA 1 v=1 n=1\nc\n",
    );
    // The second request becomes next after the name has moved.
    client.ask("name 3 jobs\n", "OK name=jobs\n");
    let mut waiting = server.connect();
    server.send_waiting(&mut waiting, "take 1 wait=inf\nw jobs\nmoved\n");
    client.ask("name jobs -\nname 0 jobs\nput 1\nx\n", "OK name=-\nOK name=jobs\nOK v=1 n=1\n");
    waiting.expect("DATA 1 v=1 n=0\nx\nOK v=2\n");
    client.ask("r 0\n", "DATA 5 v=2 n=1\nmoved\n");
}

#[test]
fn requests_for_one_named_mailbox_are_one_run() {
    let server = named();
    let mut client = server.connect();
    let mut holder = server.connect();
    holder.ask("lock jobs\n", "OK grant=1\n");
    server.send_waiting(&mut client, "put jobs\na\nput 3\nb\nput jobs\nc\nr jobs\n");
    let mut other = server.enqueue("put jobs\nother\n");
    holder.ask("unlock jobs\n", "OK\n");
    client.expect("OK v=1 n=1\nOK v=2 n=2\nOK v=3 n=3\nDATA 1 v=3 n=3\nc\n");
    other.expect("OK v=4 n=4\n");
}

#[test]
fn names_survive_a_stop_and_a_kill() {
    let mut server = named();
    let arguments = format!("4 64 {} 8", server.port);
    for _ in 0..2 {
        server.kill();
        server.restart(&arguments);
        let mut client = server.connect();
        assert_eq!(client.stat_lines("stat names\n"), ["1 chat-room.2", "3 jobs"]);
        client
            .ask("name chat-room.2 other\nname other chat-room.2\n", "OK name=other\nOK name=chat-room.2\n");
    }
}

#[test]
fn the_names_of_a_million_mailboxes_are_sent_in_parts() {
    let server = Server::start("3000 1 0 1");
    let mut client = server.connect();
    let long = "x".repeat(50);
    let requests: String = (0..3000).map(|mailbox| format!("name {mailbox} {long}.{mailbox}\n")).collect();
    client.send(requests);
    (0..3000).for_each(|mailbox| client.expect(format!("OK name={long}.{mailbox}\n")));
    client.send("stat names\n");
    assert!(client.data().0.contains(" more="));
    let lines = client.stat_lines("stat names\n");
    assert!(lines.into_iter().eq((0..3000).map(|mailbox| format!("{mailbox} {long}.{mailbox}"))));
}

#[test]
fn a_classic_datagram_may_have_a_name_after_a_blank() {
    let server = named();
    let mut client = server.connect_classic();
    client.ask("w jobs\nhello", "OK v=1\n");
    client.ask("r jobs\n", "hello");
    let mut client = server.connect_classic();
    client.ask("w jobs again", "OK v=2\n");
    client.ask("r 3\n", "again");
    // Without a number or a name it is no request.
    let mut client = server.connect_classic();
    client.send("w nobody hello");
    assert!(client.line().starts_with("ERR "));
}

#[test]
fn a_file_names_mailboxes_at_the_start() {
    let directory = Directory::new();
    let file = directory.join("names");
    fs::write(&file, "# queues\n3 jobs\n0 chat\n").expect("written");
    let mut server = Server::start(&format!("4 64 0 8 --names {}", file.display()));
    assert_eq!(server.connect().stat_lines("stat names\n"), ["0 chat", "3 jobs"]);
    server.connect().ask("name 2 kept\nname 1 moved\n", "OK name=kept\nOK name=moved\n");
    server.kill();
    // Names of the file come before those that are kept.
    fs::write(&file, "3 moved\n1 jobs\n").expect("written");
    server.restart(&format!("4 64 {} 8 --names {}", server.port, file.display()));
    assert_eq!(server.connect().stat_lines("stat names\n"), ["0 chat", "1 jobs", "2 kept", "3 moved"]);
}

#[test]
fn a_file_with_a_mistake_names_nothing_and_starts_nothing() {
    let (base, directory) = (BaseDirectory::new(), Directory::new());
    let file = directory.join("names");
    let start = || run(base.dipc("4 64 0 8").arg("--names").arg(&file));
    start().expect_failure(1, "cannot read the names in");
    for (text, reason) in [
        ("0 a\n4 jobs\n", "line 2: no mailbox 4; there are 0 to 3"),
        ("0 a\n1 a\n", "line 2: a is the name of another mailbox"),
        ("0 A\n", "line 1: A is not a valid name"),
    ] {
        fs::write(&file, text).expect("written");
        start().expect_failure(2, reason);
        base.expect_nothing_left();
    }
}
