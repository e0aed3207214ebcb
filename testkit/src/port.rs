//! TCP ports of a test.

use std::net::SocketAddr;

use socket2::{Domain, Socket, Type};

/// A port that only this test uses. It stays bound, so the system gives it to no other program. A server can
/// listen on it nevertheless, because both set `SO_REUSEADDR`.
pub struct Port {
    /// Its number.
    pub number: u16,
    _bound: Socket,
}

impl Port {
    /// Takes a free port.
    #[track_caller]
    pub fn reserve() -> Self {
        let bound = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
        bound.set_reuse_address(true).expect("set");
        bound.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).expect("a free port");
        let number = bound.local_addr().expect("bound").as_socket().expect("an address").port();
        Port { number, _bound: bound }
    }
}

/// The port in the line that dipc prints when it is ready: `dipc: 4 mailboxes of 64 kB on 127.0.0.1:5000
/// (..`. With `--no-tcp` the line has PORT only in its last command, `dipcrm 5000`.
pub fn port_in(line: &str) -> Option<u16> {
    let address = line.split(" on ").nth(1)?.split([' ', '(']).next()?;
    let removed = || line.rsplit(": dipcrm ").next()?.split_whitespace().next();
    let port = if address.starts_with('/') { removed()? } else { address.rsplit(':').next()? };
    port.parse().ok()
}

/// The port of `--classic` in this line, `.. and 127.0.0.1:5001 (classic)`.
pub fn classic_port_in(line: &str) -> Option<u16> {
    line.split(" (classic)").next().filter(|before| *before != line)?.rsplit(':').next()?.parse().ok()
}
