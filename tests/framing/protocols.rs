//! Other protocols.

use dipc_testkit::process::text;
use dipc_testkit::server::Server;

use crate::{Harness, stream, wordless};

/// The first bytes that other programs send.
const OTHERS: &[(&str, &[u8])] = &[
    ("a browser", b"GET / HTTP/1.1\r\nHost: localhost:5000\r\nAccept: */*\r\n\r\n"),
    ("a form", b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Type: text/plain\r\n\r\n"),
    ("an upload", b"PUT /x HTTP/1.1\r\n\r\n"),
    ("curl -I", b"HEAD / HTTP/1.0\r\n\r\n"),
    ("a preflight", b"OPTIONS * HTTP/1.1\r\n\r\n"),
    ("a deletion", b"DELETE /x HTTP/1.1\r\n\r\n"),
    ("a patch", b"PATCH /x HTTP/1.1\r\n\r\n"),
    ("a trace", b"TRACE / HTTP/1.1\r\n\r\n"),
    ("a proxy", b"CONNECT localhost:5000 HTTP/1.1\r\n\r\n"),
    ("HTTP/2", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
    ("the rest of HTTP", b"Host: localhost\r\n\r\n"),
    ("ssh", b"SSH-2.0-OpenSSH_9.6\r\n"),
    ("redis", b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$1\r\nv\r\n"),
    ("TLS", b"\x16\x03\x01\x00\xa5\x01\x00\x00\xa1\x03\x03\n"),
    ("memcached", b"\x80\x0b\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0"),
    ("postgres", b"\0\0\0\x08\x04\xd2\x16\x2f"),
    ("SMB", b"\0\0\0\x45\xffSMBr"),
    ("MQTT", b"\x10\x0c\0\x04MQTT\x04\x02\0\x3c\0\0"),
    ("SOCKS", b"\x05\x01\0"),
    ("UTF-16", b"\xfe\xffw\0 \x003\0\n"),
];

#[test]
fn other_protocols_are_closed_and_nothing_is_executed() {
    let mut harness = Harness::new();
    for (program, bytes) in OTHERS {
        let stream = stream([bytes, &b"w 3\nno\nr 3\n"[..]].concat(), "", &[]);
        let whole = wordless(&harness.play(&stream, &[]));
        assert!(matches!(&whole[..], "" | "ERR frame ..\n"), "{program}: {whole:?}");
        for cut in 1..stream.bytes.len() {
            assert_eq!(wordless(&harness.play(&stream, &[cut])), whole, "{program} cut at {cut}");
        }
    }
    assert_eq!(harness.watcher.stat("writes"), 0);
}

#[test]
fn other_protocols_are_closed_without_waiting_for_more() {
    let server = Server::start("4 64 0 8 --quiet-ms 0 --log-file /dev/null");
    for (program, bytes) in OTHERS {
        let mut client = server.connect();
        client.send(bytes);
        let answers = text(&client.read_to_end());
        assert!(answers.is_empty() || answers.starts_with("ERR frame : "), "{program}: {answers:?}");
    }
    let foreign = server.stat("foreign_protocols") + server.stat("err_frame");
    assert_eq!(foreign, OTHERS.len() as u64);
}
