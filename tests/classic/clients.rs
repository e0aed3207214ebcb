//! Datagrams over TCP, as clients of a few lines send them.

use dipc_testkit::client::Client;
use std::process::Command;
use std::time::Duration;

use dipc_testkit::process::{run, text};
use dipc_testkit::program;
use dipc_testkit::server::Server;

use crate::server;

/// The answers that are read after each of these sends on one connection.
fn conversation(client: &mut Client, steps: &[(&[u8], &str)]) {
    for (bytes, answer) in steps {
        client.send(bytes);
        client.expect(answer);
    }
}

#[test]
fn each_client_of_a_few_lines_is_answered() {
    let server = server();
    let client = || server.connect_classic();
    // A prompt loop that sends one datagram for each line of its user.
    conversation(&mut client(), &[(b"w 0\nhello", "OK v=1\n"), (b"r 0", "hello"), (b"r 0\n", "hello")]);
    // A client with ends of lines, and one with blanks instead of a line.
    conversation(
        &mut client(),
        &[(b"w 1 hello\n", "OK v=1\n"), (b"r 1\n", "hello\n"), (b"R1\r\n", "hello\n")],
    );
    // The line and the data in two sends.
    let mut two = client();
    two.send("w 2\n");
    conversation(&mut two, &[(b"in two sends", "OK v=1\n"), (b"r 2\n", "in two sends")]);
    // Lines that look like requests are data, and change no other mailbox.
    let list = b"w 3\nShopping list:\nw 1\neggs\nq\n";
    conversation(
        &mut client(),
        &[(list, "OK v=1\n"), (b"r 3\n", "Shopping list:\nw 1\neggs\nq\n"), (b"r 1", "hello\n")],
    );
    assert_eq!(server.stat("overtakes"), 0);
}

#[test]
fn a_datagram_may_come_byte_by_byte() {
    let server = server();
    let mut client = server.connect_classic();
    for byte in b"w 0\nslow\n" {
        client.send([*byte]);
    }
    client.expect("OK v=1\n");
    for byte in b"read 0\n" {
        client.send([*byte]);
    }
    client.expect("slow\n");
}

#[test]
fn a_write_without_data_is_answered_and_the_next_datagram_is_its_data() {
    let server = server();
    let mut client = server.connect_classic();
    conversation(&mut client, &[(b"w 0", "OK v=1\n"), (b"the data", "OK v=2\n"), (b"r 0\n", "the data")]);
    conversation(&mut client, &[(b"w 0\n", "OK v=3\n"), (b"r 0\n", "\n")]);
}

#[test]
fn an_empty_mailbox_answers_an_end_of_line() {
    let server = server();
    conversation(&mut server.connect_classic(), &[(b"r 0", "\n"), (b"r 1\r\n", "\r\n")]);
}

#[test]
fn packets_of_fixed_size_are_answered_with_packets() {
    let server = server();
    let mut client = server.connect_classic();
    let packet = |text: &str, byte: u8| {
        let mut packet = text.as_bytes().to_vec();
        packet.resize(8192, byte);
        packet
    };
    for byte in [0, b' '] {
        client
            .ask(packet("w 0\npadded", byte), packet(if byte == 0 { "OK v=1\n" } else { "OK v=2\n" }, byte));
        client.ask(packet("r 0", byte), packet("padded", byte));
    }
    // One byte less or more is no packet of full size: silence ends it, and NUL ends its data.
    client.ask(&packet("w 0\nshort", 0)[..8191], "OK v=3\n");
    client.ask([packet("w 0\nlong", 0), vec![0]].concat(), "OK v=4\n");
    client.ask("r 0", "long");
    // A buffer with garbage behind the end of its text.
    let garbage = [&b"w 0\ntext\0"[..], &[b'g'; 2000]].concat();
    conversation(&mut client, &[(&garbage, "OK v=5\n"), (b"r 0\0", "text")]);
}

#[test]
fn data_above_the_packet_size_is_refused() {
    let server = server();
    let mut client = server.connect_classic();
    client.send([&b"w 0\n"[..], &[b'x'; 9000]].concat());
    let line = client.line();
    assert!(line.starts_with("ERR size max=8192 : "), "{line}");
    client.ask("r 0", "\n");
    client.ask([&b"w 0\n"[..], &[b'x'; 8192]].concat(), "OK v=1\n");
    // More than can be discarded closes the connection.
    client.send(vec![b'x'; 2 << 20]);
    let end = text(&client.read_to_end());
    assert!(end.starts_with("ERR size max=8192 : "), "{end}");
}

#[test]
fn errors_keep_the_connection() {
    let server = server();
    let mut client = server.connect_classic();
    for (datagram, error) in [("w 9\nx", "ERR box max=3"), ("eggs", "ERR verb"), ("r 0 x\n", "ERR syntax")] {
        for _ in 0..9 {
            client.send(datagram);
            let line = client.line();
            assert!(line.starts_with(error), "{datagram:?}: {line}");
        }
    }
    client.ask("help\n", "r3: read mailbox 3. w3, and the text behind it: write. q: leave.\n");
    client.send("q\n");
    client.expect_end();
}

#[test]
fn the_end_of_the_input_ends_a_datagram() {
    let server = server();
    for (datagram, answer) in [("w 0\nlast", "OK v=1\n"), ("r 0", "last"), ("w 0", "OK v=2\n")] {
        let mut client = server.connect_classic();
        client.send(datagram);
        client.half_close();
        client.expect(answer);
        client.expect_end();
    }
}

#[test]
fn a_client_of_the_text_protocol_is_served_on_either_port() {
    let server = server();
    for (round, mut client) in [server.connect(), server.connect_classic()].into_iter().enumerate() {
        client.send("hello name=x\n");
        assert!(client.line().starts_with("OK proto=1 "));
        let version = round + 1;
        client.ask("w 0 5\nhello\nr 0\n", format!("OK v={version}\nDATA 5 v={version} n=1\nhello\n"));
        client.ask("w 0 5 if=9\nhello\n", format!("NO conflict v={version}\n"));
        client.ask("lock 0\nunlock 0\n", format!("OK grant={version}\nOK\n"));
    }
    let mut client = server.connect_classic();
    client.ask("ping", "OK\n");
    client.ask("put 2 4\na\nb\n\ntake 2\n", "OK v=1 n=1\nDATA 4 v=1 n=0\na\nb\n\n");
    client.ask("watch 2\nput 2 1\nx\n", "OK v=1\nOK v=2 n=1\nEVENT 1 box=2 v=2\nx\n");
    let mut reader = server.connect_classic();
    reader.ask("r 2 after=1\n", "DATA 1 v=2 n=1\nx\n");
}

#[test]
fn the_text_port_answers_as_ever() {
    let server = server();
    let mut client = server.connect();
    client.ask("w 3\nhello\nr 3\n", "OK v=1\nDATA 5 v=1 n=1\nhello\n");
    client.send("w 3 hello\n");
    assert!(text(&client.read_to_end()).starts_with("ERR frame : "));
    let mut client = server.connect();
    client.send("\0\0\0\x03r 3");
    assert!(text(&client.read_to_end()).starts_with("ERR frame : "));
}

#[test]
fn other_protocols_are_closed() {
    let server = server();
    for words in ["GET / HTTP/1.1\r\nHost: localhost\r\n\r\n", "SSH-2.0-OpenSSH\r\n", "\x16\x03\x01\x02\0"] {
        let mut client = server.connect_classic();
        client.send(words);
        client.expect_end();
    }
    assert_eq!(server.stat("foreign_protocols"), 3);
}

#[test]
fn the_rust_client_works_on_either_port() {
    let server = server();
    for (round, port) in [server.port, server.classic.expect("a classic port")].into_iter().enumerate() {
        let version = round as u64 + 1;
        let connect = || dipc::client::Client::connect(("127.0.0.1", port)).expect("connected");
        assert_eq!(connect().write(3, "hello").expect("written"), version);
        let read = connect().read(3).expect("read");
        assert_eq!((read.data, read.version), (b"hello".to_vec(), version));
        let mut client = connect();
        client.put(2, "job").expect("put");
        assert_eq!(client.take(2, None).expect("taken").data, b"job");
    }
}

#[test]
fn the_python_clients_work_at_the_classic_port() {
    let Some(python) = program::python3() else { return };
    let server = server();
    let port = server.classic.expect("a classic port").to_string();
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/clients/python");
    let script = "\
import sys, asyncio, dipc, dipc_aio
with dipc.connect(int(sys.argv[1])) as m:
    print(m.write(3, b'hello'), m.read(3))
async def main():
    async with dipc_aio.connect(int(sys.argv[1])) as m:
        print(await m.read(3), await m.write(3, b'again'))
asyncio.run(main())
";
    let mut command = Command::new(python);
    command.args(["-c", script, &port]).env("PYTHONPATH", folder);
    run(&mut command).expect(0, "1 b'hello'\nb'hello' 2\n");
}

#[test]
fn the_program_of_the_manual_prints_the_list() {
    let Some(python) = program::python3() else { return };
    let server = server();
    let port = server.classic.expect("a classic port").to_string();
    let manual = include_str!("../../docs/clients.md");
    let (_, rest) = manual.split_once("```python\n").expect("a program");
    let (code, _) = rest.split_once("```").expect("its end");
    let list = "Shopping list:\nw 1\neggs\n";
    run(Command::new(python).args(["-c", &code.replace("5001", &port)]))
        .expect(0, format!("OK v=1\n\n{list}{list}"));
    server.connect().ask("r 1\n", "DATA 0 v=0 n=0\n\n");
}

/// The end of the answer to a read: by the line of the request, by the data, and by whether the client has
/// sent a datagram without an end of line.
#[test]
fn an_end_of_line_is_added_where_the_client_expects_one() {
    let server = server();
    let data = [("x", "x"), ("x\n", "x\n"), ("x\r\n", "x\r\n"), ("\n", "\n"), ("x\ny", "x\ny")];
    for (read, added) in [("r 0", ""), ("r 0\n", "\n"), ("r 0\r\n", "\r\n")] {
        for (data, shown) in data {
            server.connect().ask(format!("w 0 {}\n{data}\n", data.len()), "OK v=");
            let mut lines = server.connect_classic();
            let end = if data.ends_with('\n') { "" } else { added };
            lines.ask(read, format!("{shown}{end}"));
            // After a datagram without an end of line none is added.
            let mut bare = server.connect_classic();
            bare.ask("r 0", shown);
            bare.ask(read, shown);
            bare.send("q\n");
            bare.expect_end();
            lines.send("q\n");
            lines.expect_end();
        }
        server.connect().ask("w 0 0\n\n", "OK v=");
        let empty = if added.is_empty() { "\n" } else { added };
        server.connect_classic().ask(read, empty);
    }
}

/// More bytes probably follow a line without data, so it is not complete after the silence of `--quiet-ms`.
#[test]
fn a_write_waits_a_second_for_its_data() {
    let server = Server::start("4 64 0 8 --classic 0 --quiet-ms 50");
    let mut client = server.connect_classic();
    client.send("w 2\n");
    assert!(!client.is_answered_within(Duration::from_millis(300)), "the line is answered without its data");
    client.ask("the data", "OK v=1\n");
    client.ask("r 2", "the data");
}
