//! Where a server is, and the URL that says so.

use std::fmt;
use std::io::{self, ErrorKind};
use std::net::{TcpStream, ToSocketAddrs};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use super::socket::Socket;
use super::{Client, Error};

/// Where a server is: `dipc://host:port`, or `dipc+unix:///path`.
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
        /// A name or an address; one of IPv6 stands in brackets in the URL only.
        host: String,
        /// The port, not 0.
        port: u16,
    },
    /// A Unix socket.
    Unix(PathBuf),
}

impl Address {
    /// Connects; each address of the host is tried for at most `timeout`.
    pub fn connect(&self, timeout: Option<Duration>) -> Result<Client, Error> {
        let stream = match self {
            Address::Tcp { host, port } => tcp((host.as_str(), *port), timeout)?,
            Address::Unix(path) => Socket::Unix(unix(path, timeout)?),
        };
        Ok(Client::from_socket(stream))
    }
}

/// Connects. A server that accepts nobody lets everybody wait whom its backlog does not hold; the standard library knows
/// no end of that, so somebody else waits.
fn unix(path: &Path, timeout: Option<Duration>) -> io::Result<UnixStream> {
    let Some(timeout) = timeout else { return UnixStream::connect(path) };
    let (done, connected) = mpsc::channel();
    let path = path.to_owned();
    // Nobody listens any more when it comes too late.
    thread::spawn(move || drop(done.send(UnixStream::connect(path))));
    connected
        .recv_timeout(timeout)
        .unwrap_or_else(|_| Err(io::Error::new(ErrorKind::TimedOut, "it lets nobody in")))
}

/// Connects to the first of the addresses that answers.
pub(super) fn tcp(addresses: impl ToSocketAddrs, timeout: Option<Duration>) -> io::Result<Socket> {
    let mut failed = io::Error::new(ErrorKind::NotFound, "the name has no address");
    for address in addresses.to_socket_addrs()? {
        let connected = match timeout {
            Some(timeout) => TcpStream::connect_timeout(&address, timeout),
            None => TcpStream::connect(address),
        };
        match connected {
            Ok(stream) => {
                stream.set_nodelay(true)?;
                return Ok(Socket::Tcp(stream));
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
                false => Err("three slashes and an absolute path: dipc+unix:///path".to_owned()),
            };
        }
        let rest = url.strip_prefix("dipc://").ok_or("neither dipc://host:port nor dipc+unix:///path")?;
        let place = rest.strip_suffix('/').unwrap_or(rest);
        let (host, port) = place.rsplit_once(':').ok_or("the port is missing: dipc://host:port")?;
        let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        match port.parse() {
            Ok(port) if port > 0 && !host.is_empty() && !host.contains(['[', ']', '/']) => {
                Ok(Address::Tcp { host: host.to_owned(), port })
            }
            _ => Err("a host and a port of 1 to 65535: dipc://host:port".to_owned()),
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
    fn urls_come_back_as_they_were() {
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
