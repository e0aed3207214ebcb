//! The server under load: connects to it, and prepares its mailboxes.

use std::io::{self, Error, ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, ToSocketAddrs};
use std::time::Duration;

use dipc::client::{Address, Code, Reason};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use socket2::{SockAddr, Socket, Type};

use super::inspection::holds_messages;
use super::mix::Mix;
use super::options::BenchOptions;
use super::systems::{Answer, System};
use crate::failure::Failure;
use crate::options::Connection;

/// Maximum number of connections from one source address. Linux has 28,000 ephemeral ports for each address.
const PER_SOURCE: usize = 20_000;

/// File descriptors besides those of the connections.
const OTHER_DESCRIPTORS: usize = 32;

/// Timeout of connecting, and of an answer before the load begins.
const SETUP_TIMEOUT: Duration = Duration::from_secs(35);

/// A server on this machine.
#[derive(Debug)]
pub(super) struct Target {
    pub address: Address,
    system: System,
    socket: SockAddr,
}

impl Target {
    /// Tries the addresses of the host in order. Returns the first one that accepts a connection. All
    /// addresses must be loopback: the load generator must not flood other machines.
    pub(super) fn find(connection: &Connection, system: System) -> Result<Self, Failure> {
        let address = connection.address_of(system.port(), system == System::Dipc)?;
        let candidates = match &address {
            Address::Unix(path) => SockAddr::unix(path).map(|socket| vec![socket]),
            Address::Tcp { host, port } => loopback(host, *port),
        };
        let candidates = candidates.map_err(|error| connect_failure(&address, system, error))?;
        let mut last = Error::new(ErrorKind::NotFound, "the host name has no address");
        for socket in candidates {
            let target = Target { address: address.clone(), system, socket };
            match target.open(0) {
                Ok(probe) => {
                    // The connection is closed without a reset, because some servers report a reset as an
                    // error.
                    probe.set_linger(None).map_err(connection_failure)?;
                    return Ok(target);
                }
                Err(error) => last = error,
            }
        }
        Err(connect_failure(&address, system, last))
    }

    /// Opens a blocking connection with timeouts.
    pub(super) fn dial(&self, number: usize) -> Result<Socket, Failure> {
        self.open(number).map_err(|error| connect_failure(&self.address, self.system, error))
    }

    fn open(&self, number: usize) -> io::Result<Socket> {
        let socket = Socket::new(self.socket.domain(), Type::STREAM, None)?;
        if !self.socket.is_unix() {
            socket.set_tcp_nodelay(true)?;
            // Closes with a reset. Otherwise thousands of sockets in TIME_WAIT would use up the ports of the
            // next run.
            socket.set_linger(Some(Duration::ZERO))?;
        }
        if let Some(source) = source_address(number).filter(|_| self.socket.is_ipv4()) {
            socket.bind(&SocketAddr::from((source, 0)).into())?;
        }
        socket.set_read_timeout(Some(SETUP_TIMEOUT))?;
        // The write timeout applies to connecting as well, when the server's backlog is full.
        socket.set_write_timeout(Some(SETUP_TIMEOUT))?;
        socket.connect(&self.socket)?;
        Ok(socket)
    }

    /// Inspects a server other than dipc. Fails if the server does not speak the system's protocol, or if a
    /// key of the run holds a value that may not be overwritten.
    pub(super) fn inspect(&self, options: &BenchOptions) -> Result<(), Failure> {
        let mut socket = self.dial(0)?;
        self.exchange(&mut socket, self.system.ping())?;
        let mixes = if options.overwrite { &[] } else { options.mix.as_slice() };
        for &mix in mixes {
            let look = mix.look(self.system);
            for mailbox in 0..options.mailboxes {
                let bytes = self.system.head(look, mailbox, options.size).unwrap_or_default().into_bytes();
                match answer(&mut socket, self.system, &bytes).map_err(connection_failure)? {
                    Answer::No => {}
                    Answer::Error(line) => return Err(refused(&line)),
                    Answer::Ok | Answer::Data(_) => {
                        return Err(holds_messages(&format!("the key of mailbox {mailbox}")));
                    }
                }
            }
        }
        Ok(())
    }

    /// Overwrites every mailbox with the contents that the mix needs.
    pub(super) fn prepare(&self, options: &BenchOptions, mix: Mix) -> Result<(), Failure> {
        let (mut socket, request) = (self.dial(0)?, mix.preparation(self.system));
        let data = self.system.data(options.size);
        for mailbox in 0..options.mailboxes {
            let mut bytes = self.system.head(request, mailbox, options.size).unwrap_or_default().into_bytes();
            if request.has_data() {
                bytes.extend_from_slice(&data);
            }
            self.exchange(&mut socket, &bytes)?;
        }
        Ok(())
    }

    /// Opens the idle connections. The server has answered one ping on each of them.
    pub(super) fn open_idle(&self, options: &BenchOptions) -> Result<Vec<Socket>, Failure> {
        let open = |number| {
            let mut socket = self.dial(options.connections + number)?;
            self.exchange(&mut socket, self.system.ping())?;
            socket.set_nonblocking(true).map_err(connection_failure)?;
            Ok(socket)
        };
        (0..options.idle).map(open).collect()
    }

    /// Sends a request and waits for its answer, which has to be OK.
    fn exchange(&self, socket: &mut Socket, request: &[u8]) -> Result<(), Failure> {
        match answer(socket, self.system, request).map_err(connection_failure)? {
            Answer::Ok => Ok(()),
            Answer::No => Err(dipc::client::Error::NotDone { reason: Reason::Timeout, version: None }.into()),
            Answer::Error(line) => Err(refused(&line)),
            Answer::Data(_) => Err(connection_failure(super::systems::malformed("data without a read"))),
        }
    }
}

/// The failure for a refused request. `busy` and `drain` keep their codes, because the server may accept the
/// same request later.
fn refused(line: &str) -> Failure {
    let text = line.to_owned();
    match line.split(' ').nth(1) {
        Some("busy") => dipc::client::Error::Refused { code: Code::Busy, text, max: None }.into(),
        Some("drain") => dipc::client::Error::Refused { code: Code::Drain, text, max: None }.into(),
        _ => Failure::Usage(format!("refused: {line}")),
    }
}

/// The source address of a connection. None: any.
fn source_address(number: usize) -> Option<Ipv4Addr> {
    let source = u32::from(Ipv4Addr::LOCALHOST) + (number / PER_SOURCE) as u32;
    (number >= PER_SOURCE).then_some(Ipv4Addr::from(source))
}

fn answer(socket: &mut Socket, system: System, request: &[u8]) -> io::Result<Answer> {
    // A server that refuses the connection may have closed it. Its reason can be read nevertheless.
    let sent = socket.write_all(request);
    let (mut input, mut buffer) = (Vec::new(), [0; 4096]);
    loop {
        match socket
            .read(&mut buffer)
            .map_err(|error| sent.as_ref().err().map_or(error.kind(), Error::kind))?
        {
            0 => return Err(ErrorKind::UnexpectedEof.into()),
            length => input.extend_from_slice(&buffer[..length]),
        }
        if let Some((answer, _)) = system.decode(&input)? {
            return Ok(answer);
        }
    }
}

/// Whether an idle connection is open. It is readable only if the server has closed it.
pub(super) fn is_open(mut socket: &Socket) -> bool {
    socket.read(&mut [0]).is_err_and(|error| error.kind() == ErrorKind::WouldBlock)
}

/// Raises the limit of open files for the connections of the run. Fails if the hard limit is too low.
pub(super) fn reserve_descriptors(options: &BenchOptions) -> Result<(), Failure> {
    let (_, files) = getrlimit(Resource::RLIMIT_NOFILE).map_err(|error| connection_failure(error.into()))?;
    if (options.connections + options.idle + OTHER_DESCRIPTORS) as u64 > files {
        let text = format!("the connections need more than {files} open files (ulimit -Hn)");
        return Err(Failure::Usage(text));
    }
    setrlimit(Resource::RLIMIT_NOFILE, files, files).map_err(|error| connection_failure(error.into()))
}

/// An error of a connection, as a failure of the command.
pub(super) fn connection_failure(error: Error) -> Failure {
    dipc::client::Error::Io(error).into()
}

fn connect_failure(address: &Address, system: System, error: Error) -> Failure {
    match (error.kind(), system) {
        (ErrorKind::InvalidInput, _) => Failure::Usage(error.to_string()),
        (_, System::Dipc) => Failure::Connect(address.clone(), error.into()),
        _ => {
            let place = address.to_string().replacen("dipc", system.name(), 1);
            connection_failure(Error::new(error.kind(), format!("cannot connect to {place}: {error}")))
        }
    }
}

fn loopback(host: &str, port: u16) -> io::Result<Vec<SockAddr>> {
    let addresses: Vec<_> = (host, port).to_socket_addrs()?.collect();
    match addresses.iter().find(|address| !address.ip().is_loopback()) {
        Some(remote) => {
            let text = format!(
                "bench runs only against a server on this machine, and {} is not a loopback address",
                remote.ip()
            );
            Err(Error::new(ErrorKind::InvalidInput, text))
        }
        None => Ok(addresses.into_iter().map(SockAddr::from).collect()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_connections_come_from_several_addresses() {
        assert_eq!((source_address(0), source_address(PER_SOURCE - 1)), (None, None));
        assert_eq!(source_address(PER_SOURCE), Some(Ipv4Addr::new(127, 0, 0, 2)));
        assert_eq!(source_address(3 * PER_SOURCE - 1), Some(Ipv4Addr::new(127, 0, 0, 3)));
    }
}
