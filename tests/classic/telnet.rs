//! Telnet at the classic port.

use crate::server;

#[test]
fn negotiations_are_refused() {
    let server = server();
    let mut client = server.connect_classic();
    client.send(b"\xff\xfd\x06\xff\xfb\x1f");
    client.expect(b"\xff\xfc\x06\xff\xfe\x1f");
    client.ask("w 3 hello\r\n", "OK v=1\r\n");
    client.send(b"\xff\xf4\xff\xfd\x06");
    client.expect(b"\xff\xfc\x06");
    client.ask("r 3\r\n", "hello\r\n");
}
