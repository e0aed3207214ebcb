//! The answers to each verb, over the real server: to telnet, to nc, to programs, and to clients that send no
//! newline.

use std::fmt::Write as _;
use std::fs::File;
use std::os::unix::fs::FileExt;

use dipc_testkit::client::Client;
use dipc_testkit::server::Server;

fn served() -> (Server, Client) {
    let server = Server::start("4 64 0 8");
    let client = server.connect();
    (server, client)
}

#[test]
fn telnet_gets_every_answer_with_its_line_ends() {
    let (_server, mut telnet) = served();
    telnet.ask("w 3\r\nhello\r\n", "OK v=1\r\n");
    telnet.ask("r 3\r\n", "DATA 5 v=1 n=1\r\nhello\r\n");
    telnet.ask("raed 3\r\n", "ERR verb : unknown verb \"raed\", try help\r\n");
    telnet.ask("r 9\r\n", "ERR box max=3 : no mailbox 9; this server has 0 to 3\r\n");
    telnet.send("help\r\n");
    let header = telnet.line();
    let len: usize = header.trim_end().strip_prefix("DATA ").expect("DATA").parse().expect("a length");
    let mut help = String::new();
    while help.len() < len {
        let _ = writeln!(help, "{}", telnet.line());
    }
    assert!(
        help.lines().count() < 24 && help.lines().all(|line| line.len() < 80),
        "fits one screen:\n{help}"
    );
    telnet.expect("\r\n");
    telnet.send("q\r\n");
    telnet.expect_end();
}

#[test]
fn one_packet_of_nc_is_answered_in_order() {
    let (_server, mut nc) = served();
    nc.send("w 3\nhello\nr 3\nq\n");
    nc.expect("OK v=1\nDATA 5 v=1 n=1\nhello\n");
    nc.expect_end();
}

#[test]
fn clients_without_newlines_are_answered() {
    let (_server, mut client) = served();
    client.ask("w 0\nhello", "OK v=1\n");
    client.ask("r 0", "DATA 5 v=1 n=1\nhello\n");
    client.ask("w 9\nhello", "ERR box max=3 : no mailbox 9; this server has 0 to 3\n");
    client.send("r 0");
    client.half_close();
    client.expect("DATA 5 v=1 n=1\nhello\n");
    client.expect_end();
}

#[test]
fn silence_completes_no_write_that_has_no_data_yet() {
    let server = Server::start("4 64 0 8 --quiet-ms 20");
    let mut typist = server.connect();
    typist.send("w 3\n");
    // The silence of each of these clients begins later, and completes a request.
    server.connect().ask("r 0", "DATA 0 v=0 n=0\n\n");
    server.connect().ask("r 0", "DATA 0 v=0 n=0\n\n");
    typist.ask("hello\n", "OK v=1\n");
}

#[test]
fn silence_completes_nothing_when_it_is_turned_off() {
    let server = Server::start("4 64 0 8 --quiet-ms 0");
    let mut client = server.connect();
    client.send("r 0");
    server.connect().ask("ping\n", "OK\n");
    assert_eq!(server.stat("completed_by_silence"), 0);
    client.ask("\n", "DATA 0 v=0 n=0\n\n");
}

#[test]
fn a_message_may_contain_any_bytes() {
    let (_server, mut client) = served();
    let all: Vec<u8> = (0..=255).collect();
    client.send("write 1 256\n");
    client.send(&all);
    client.send("\n");
    client.expect("OK v=1\n");
    client.send("read 1\n");
    assert_eq!(client.data(), ("DATA 256 v=1 n=1".into(), all));
    client.ask("w 1 0\n\n", "OK v=2\n");
    client.ask("r 1\n", "DATA 0 v=2 n=1\n\n");
}

#[test]
fn reads_and_writes_of_a_part() {
    let (_server, mut client) = served();
    client.ask("w 2 11\nhello world\n", "OK v=1\n");
    client.ask("r 2 off=6\n", "DATA 5 v=1 n=1\nworld\n");
    client.ask("r 2 off=6 len=2\n", "DATA 2 v=1 n=1\nwo\n");
    client.ask("r 2 off=99\n", "DATA 0 v=1 n=1\n\n");
    client.ask("w 2 5 off=6\nthere\n", "OK v=2\n");
    client.ask("w 2 off=13\n!\n", "OK v=3\n");
    client.ask("r 2\n", b"DATA 14 v=3 n=1\nhello there\0\0!\n");
    client.ask(
        "w 2 5 off=65532\nabcde\n",
        "ERR size max=4 : message too large (5 bytes); from off= on the mailbox has room for 4\n",
    );
    client.ask("w 2 4 off=65532\nabcd\n", "OK v=4\n");
    client.ask("r 2 off=65530\n", b"DATA 6 v=4 n=1\n\0\0abcd\n");
    client.ask("w 2 0 off=65537\n\n", "ERR size max=0 : off= is behind the end of the mailbox\n");
}

#[test]
fn a_write_with_a_version_is_refused_after_another_write() {
    let (_server, mut client) = served();
    client.ask("w 1 if=0\nfirst\n", "OK v=1\n");
    client.ask("w 1 if=0\nsecond\n", "NO conflict v=1\n");
    client.ask("w 1 5 if=1\nthird\n", "OK v=2\n");
    client.ask("r 1\n", "DATA 5 v=2 n=1\nthird\n");
}

#[test]
fn verbs_without_a_mailbox() {
    let (_server, mut client) = served();
    client.ask("ping\n", "OK\n");
    let version = env!("CARGO_PKG_VERSION");
    let properties = format!("OK proto=1 server=dipc/{version} boxes=4 size=65536 packet=8192 life=");
    client.send("hello name=me token=x\n");
    let hello = client.line();
    let (life, features) =
        hello.strip_prefix(&properties).and_then(|rest| rest.split_once(' ')).expect("properties");
    assert!(life.parse::<u64>().expect("a number") < 1 << 53);
    assert_eq!(features, "feat=after,full,grant,if,jobs,len,lock,names,off,put,take,ttl,version,wait,watch");
    client.ask("hello nmae=me\n", "ERR syntax : hello has no key \"nmae\", try help\n");
    assert_eq!(client.stat("told"), 2);
    assert_eq!(client.stat("err_syntax"), 1);
    assert_eq!(client.stat("overtakes"), 0);
    client.send("quit 3\n");
    client.expect_end();
}

#[test]
fn a_damaged_mailbox_is_refused_and_the_others_work() {
    let (server, mut client) = served();
    client.ask("w 0\nwhole\nw 1\nto be damaged\n", "OK v=1\nOK v=1\n");
    let segment = server.directory.path().join(format!("{}/segment", server.port));
    let segment = File::options().write(true).open(segment).expect("the segment");
    // The control areas of 128 bytes follow the header page. In that of mailbox 1, first only the field
    // `tail` of both records is damaged.
    for record in [8, 56] {
        segment.write_all_at(&[0xff; 8], 4096 + 128 + record + 16).expect("damaged");
    }
    server.connect().ask("r 1\nr 1\nr 1\n", "ERR internal : this mailbox is damaged\n");
    segment.write_all_at(&[0xa5; 128], 4096 + 128).expect("damaged");
    client.send("r 1\nr 0\n");
    client.expect("ERR internal : this mailbox is damaged\n");
    client.expect_end();
    server.connect().ask("w 1\nnew\n", "ERR internal : this mailbox is damaged\n");
    server.connect().ask("r 0\n", "DATA 5 v=1 n=1\nwhole\n");
    assert_eq!(server.stat("err_internal"), 3);
}
