//! [`Address`]: the address of a server and its URL.

use std::fmt;
use std::io::{self, ErrorKind};
use std::net::{SocketAddr, TcpStream, ToSocketAddrs};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use super::socket::Socket;
use super::{Client, Error};

/// The address of a server. As text it is a URL: `dipc://HOST:PORT` or `dipc+unix:///PATH`.
///
/// An IPv6 address is in brackets in the URL. A `/` after the port is accepted. The error of [`FromStr`] is a
/// text for people that describes the expected format.
///
/// ```
/// use dipc_client::Address;
///
/// let tcp: Address = "dipc://localhost:5000".parse()?;
/// assert_eq!(tcp, Address::Tcp { host: "localhost".into(), port: 5000 });
/// let unix: Address = "dipc+unix:///run/dipc.sock".parse()?;
/// assert_eq!(unix.to_string(), "dipc+unix:///run/dipc.sock");
/// assert!("http://localhost:5000".parse::<Address>().is_err());
/// # Ok::<(), String>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    /// A TCP port.
    Tcp {
        /// A host name or an IP address, IPv6 without brackets.
        host: String,
        /// The port, 1 to 65535.
        port: u16,
    },
    /// The path of a Unix-domain socket.
    Unix(PathBuf),
}

impl Address {
    /// Connects. `timeout` limits the attempt for each address of the host; `None` is the limit of the
    /// system. An attempt that exceeds it fails with [`Error::Io`] of kind [`TimedOut`](ErrorKind::TimedOut).
    pub fn connect(&self, timeout: Option<Duration>) -> Result<Client, Error> {
        let stream = match self {
            Address::Tcp { host, port } => connect_tcp((host.as_str(), *port), timeout)?.0,
            Address::Unix(path) => Socket::Unix(connect_unix(path, timeout)?),
        };
        Ok(Client::from_socket(stream, self.clone()))
    }
}

/// Connects to a Unix-domain socket. If the backlog of the listener is full, `connect` blocks, and the
/// standard library has no timeout for it: a thread connects, and this function waits for the thread.
fn connect_unix(path: &Path, timeout: Option<Duration>) -> io::Result<UnixStream> {
    let Some(timeout) = timeout else { return UnixStream::connect(path) };
    let (done, connected) = mpsc::channel();
    let path = path.to_owned();
    // After the timeout the receiver is gone. Then sending fails, which closes the late connection.
    thread::spawn(move || drop(done.send(UnixStream::connect(path))));
    connected.recv_timeout(timeout).unwrap_or_else(|_| {
        Err(io::Error::new(ErrorKind::TimedOut, "the server does not accept the connection"))
    })
}

/// Connects to the first address that accepts the connection.
pub(super) fn connect_tcp(
    addresses: impl ToSocketAddrs,
    timeout: Option<Duration>,
) -> io::Result<(Socket, SocketAddr)> {
    let mut failed = io::Error::new(ErrorKind::NotFound, "the name has no address");
    for address in addresses.to_socket_addrs()? {
        let connected = match timeout {
            Some(timeout) => TcpStream::connect_timeout(&address, timeout),
            None => TcpStream::connect(address),
        };
        match connected {
            Ok(stream) => {
                stream.set_nodelay(true)?;
                return Ok((Socket::Tcp(stream), address));
            }
            Err(error) => failed = error,
        }
    }
    Err(failed)
}

impl FromStr for Address {
    type Err = String;

    fn from_str(url: &str) -> Result<Self, String> {
        if let Some(path) = url.strip_prefix("dipc+unix://") {
            return match path.starts_with('/') {
                true => Ok(Address::Unix(PathBuf::from(path))),
                false => Err("expected three slashes and an absolute path: dipc+unix:///path".to_owned()),
            };
        }
        let rest = url.strip_prefix("dipc://").ok_or("neither dipc://host:port nor dipc+unix:///path")?;
        let authority = rest.strip_suffix('/').unwrap_or(rest);
        let (host, port) = authority.rsplit_once(':').ok_or("the port is missing: dipc://host:port")?;
        let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        match port.parse() {
            Ok(port) if port > 0 && !host.is_empty() && !host.contains(['[', ']', '/']) => {
                Ok(Address::Tcp { host: host.to_owned(), port })
            }
            _ => Err("expected a host and a port from 1 to 65535: dipc://host:port".to_owned()),
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Address::Tcp { host, port } if host.contains(':') => write!(f, "dipc://[{host}]:{port}"),
            Address::Tcp { host, port } => write!(f, "dipc://{host}:{port}"),
            Address::Unix(path) => write!(f, "dipc+unix://{}", path.display()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_parsed_and_displayed_unchanged() {
        for url in ["dipc://localhost:5000", "dipc://[::1]:1", "dipc+unix:///a b/c"] {
            assert_eq!(url.parse::<Address>().map(|address| address.to_string()), Ok(url.to_owned()));
        }
        for bad in [
            "",
            "dipc://",
            "dipc://x",
            "dipc://x:0",
            "dipc://:5",
            "dipc://x:99999",
            "dipc+unix://x",
            "dipc://[::1:5",
        ] {
            assert!(bad.parse::<Address>().is_err(), "{bad}");
        }
    }
}
