//! The TCP and UDP sockets of a server: PORT, and the port of `--classic`. With `--no-tcp` there are none.

use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixListener;
use std::time::Duration;

use mio::net::{TcpListener, UdpSocket};
use socket2::{Domain, Protocol, Socket, TcpKeepalive, Type};

use super::handover::Description;
use crate::options::ServerOptions;
use crate::reactor::{Listener, SocketKind};

/// Connections that the kernel queues until they are accepted.
pub(super) const BACKLOG: i32 = 4096;

/// Pauses before further tries to listen.
const LISTEN_RETRIES: [Duration; 3] =
    [Duration::from_millis(2), Duration::from_millis(5), Duration::from_millis(11)];

/// Idle time after which the kernel sends a keep-alive probe to a client.
const KEEPALIVE_TIME: Duration = Duration::from_secs(60);

/// Time between two probes, and the number of unanswered probes that closes the connection.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(10);
const KEEPALIVE_PROBES: u32 = 3;

/// How long the kernel resends data that a client does not acknowledge.
const USER_TIMEOUT: Duration = Duration::from_secs(30);

/// Why a server cannot listen on a port.
#[derive(Debug, thiserror::Error)]
pub(super) enum ListenError {
    /// Another process listens on the port.
    #[error("port {0} is in use")]
    PortInUse(u16),
    /// A system call failed.
    #[error("cannot listen on {0}: {1}")]
    Io(SocketAddr, io::Error),
}

/// Why received descriptors cannot be used.
#[derive(Debug, thiserror::Error)]
pub(super) enum AdoptError {
    /// A descriptor is something else than the message says.
    #[error("the running server has sent a descriptor that is not the expected socket")]
    Other,
    /// A system call failed.
    #[error("cannot use a socket of the running server: {0}")]
    Io(#[from] io::Error),
}

/// The sockets of a server that does not listen yet, or listens.
#[derive(Debug)]
pub(super) struct Sockets {
    port: u16,
    /// `None` with `--no-tcp`.
    main: Option<TcpSocket>,
    classic: Classic,
    /// The UDP socket of the classic port, if its address is loopback.
    udp: Option<std::net::UdpSocket>,
}

/// The port of `--classic`.
#[derive(Debug)]
enum Classic {
    Off,
    /// PORT itself.
    Main,
    Second(TcpSocket),
}

/// A bound TCP socket.
#[derive(Debug)]
struct TcpSocket {
    socket: Socket,
    address: SocketAddr,
}

impl Sockets {
    /// Binds PORT and the classic port.
    pub(super) fn bind(options: &ServerOptions) -> Result<Self, ListenError> {
        if options.no_tcp {
            return Ok(Sockets { port: options.port, main: None, classic: Classic::Off, udp: None });
        }
        let main = TcpSocket::bind(SocketAddr::new(options.bind(), options.port))?;
        let port = main.address.port();
        let classic = match options.classic {
            None => Classic::Off,
            Some(port) if port == options.port && port != 0 => Classic::Main,
            Some(port) => Classic::Second(TcpSocket::bind(SocketAddr::new(options.bind(), port))?),
        };
        let mut sockets = Sockets { port, main: Some(main), classic, udp: None };
        // A packet of 3 bytes can ask for an answer of 65,507 bytes. From another machine its address may be
        // forged.
        if let Some(address) = sockets.classic_address().filter(|address| address.ip().is_loopback()) {
            sockets.udp = Some(bind_udp(address).map_err(|error| listen_error(address, error))?);
        }
        Ok(sockets)
    }

    /// The sockets of a running server of this description, and its Unix-domain socket. Each descriptor must
    /// be a socket of the expected kind with the expected address.
    pub(super) fn adopt(
        description: &Description,
        port: u16,
        received: Vec<(SocketKind, OwnedFd)>,
    ) -> Result<(Self, Option<UnixListener>), AdoptError> {
        let mut sockets = Sockets { port, main: None, classic: Classic::Off, udp: None };
        let mut unix = None;
        for (kind, fd) in received {
            let socket = Socket::from(fd);
            let found = socket.local_addr()?;
            let is_stream = socket.r#type()? == Type::STREAM && socket.is_listener()?;
            let at = |expected: SocketAddr| found.as_socket().filter(|found| has_address(found, expected));
            match (kind, description.tcp, description.classic) {
                (SocketKind::Tcp, Some(tcp), _) if is_stream && let Some(address) = at(tcp) => {
                    sockets.main = Some(TcpSocket { socket, address });
                }
                (SocketKind::Classic, _, Some(classic)) if is_stream && let Some(address) = at(classic) => {
                    let socket = TcpSocket { socket, address };
                    match sockets.main {
                        None => (sockets.main, sockets.classic) = (Some(socket), Classic::Main),
                        Some(_) => sockets.classic = Classic::Second(socket),
                    }
                }
                (SocketKind::Udp, _, Some(classic))
                    if socket.r#type()? == Type::DGRAM && at(classic).is_some() =>
                {
                    sockets.udp = Some(socket.into());
                }
                (SocketKind::Unix, ..) if is_stream && found.as_pathname() == description.unix.as_deref() => {
                    unix = Some(socket.into());
                }
                _ => return Err(AdoptError::Other),
            }
        }
        Ok((sockets, unix))
    }

    /// PORT, or the port that the system has chosen for PORT 0. It names the directory of the instance.
    pub(super) fn port(&self) -> u16 {
        self.port
    }

    /// The classic port, if it has no UDP.
    pub(super) fn classic_without_udp(&self) -> Option<u16> {
        self.classic_address().filter(|_| self.udp.is_none()).map(|address| address.port())
    }

    /// What this server is, for the comparison with a new one.
    pub(super) fn description(&self, options: &ServerOptions) -> Description {
        let tcp = self.main.as_ref().map(|main| main.address);
        Description { tcp, classic: self.classic_address(), ..Description::of(options) }
    }

    /// The addresses, for people.
    pub(super) fn addresses(&self) -> Vec<String> {
        let main = self.main.iter().map(|main| main.address.to_string());
        main.chain(self.second().map(|second| format!("{} (classic)", second.address))).collect()
    }

    /// Listens on all TCP sockets.
    pub(super) fn listen(&self) -> Result<(), ListenError> {
        self.main.iter().chain(self.second()).try_for_each(TcpSocket::listen)
    }

    /// The sockets for the reactor.
    pub(super) fn into_listeners(self) -> (Vec<Listener>, Option<UdpSocket>) {
        let main = self.main.map(TcpSocket::into_listener);
        let (main, second) = match self.classic {
            Classic::Off => (main.map(Listener::Tcp), None),
            Classic::Main => (main.map(Listener::Classic), None),
            Classic::Second(second) => (main.map(Listener::Tcp), Some(second.into_listener())),
        };
        let listeners = main.into_iter().chain(second.map(Listener::Classic)).collect();
        (listeners, self.udp.map(UdpSocket::from_std))
    }

    /// The TCP socket of a classic port that is not PORT.
    fn second(&self) -> Option<&TcpSocket> {
        match &self.classic {
            Classic::Off | Classic::Main => None,
            Classic::Second(second) => Some(second),
        }
    }

    fn classic_address(&self) -> Option<SocketAddr> {
        match &self.classic {
            Classic::Off => None,
            Classic::Main => self.main.as_ref().map(|main| main.address),
            Classic::Second(second) => Some(second.address),
        }
    }
}

impl TcpSocket {
    fn bind(address: SocketAddr) -> Result<Self, ListenError> {
        let bound = || {
            let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
            socket.set_reuse_address(true)?;
            socket.set_nonblocking(true)?;
            // Accepted connections inherit the options of the listener, without a system call for each.
            socket.set_tcp_nodelay(true)?;
            let keepalive = TcpKeepalive::new().with_time(KEEPALIVE_TIME);
            let keepalive = keepalive.with_interval(KEEPALIVE_INTERVAL).with_retries(KEEPALIVE_PROBES);
            socket.set_tcp_keepalive(&keepalive)?;
            socket.set_tcp_user_timeout(Some(USER_TIMEOUT))?;
            // Telnet sends some of its options as urgent data; the framer expects them in the stream.
            socket.set_out_of_band_inline(true)?;
            if address.ip().is_loopback() {
                // If the system's default is BBR, a timer paces every answer. Pacing has no use on loopback.
                // Every Linux has Reno. If it cannot be set, the default works, too.
                let _ = socket.set_tcp_congestion(b"reno");
            }
            socket.bind(&address.into())?;
            let address = socket.local_addr()?.as_socket().unwrap_or(address);
            Ok(TcpSocket { socket, address })
        };
        bound().map_err(|error| listen_error(address, error))
    }

    /// Listens. Two servers that begin to listen on one port at the same time can both fail, so both try
    /// again.
    fn listen(&self) -> Result<(), ListenError> {
        for pause in LISTEN_RETRIES {
            match self.socket.listen(BACKLOG) {
                Err(error) if error.kind() == io::ErrorKind::AddrInUse => std::thread::sleep(pause),
                result => return result.map_err(|error| listen_error(self.address, error)),
            }
        }
        self.socket.listen(BACKLOG).map_err(|error| listen_error(self.address, error))
    }

    fn into_listener(self) -> TcpListener {
        TcpListener::from_std(self.socket.into())
    }
}

/// Whether a socket has the expected address. Port 0 is any port.
fn has_address(found: &SocketAddr, expected: SocketAddr) -> bool {
    found.ip() == expected.ip() && (expected.port() == 0 || found.port() == expected.port())
}

fn bind_udp(address: SocketAddr) -> io::Result<std::net::UdpSocket> {
    let socket = std::net::UdpSocket::bind(address)?;
    socket.set_nonblocking(true)?;
    Ok(socket)
}

fn listen_error(address: SocketAddr, error: io::Error) -> ListenError {
    match error.kind() {
        io::ErrorKind::AddrInUse => ListenError::PortInUse(address.port()),
        _ => ListenError::Io(address, error),
    }
}
