//! Lists the instances of this user, without asking a server.
//!
//! **The law**: nothing is locked, created or changed, and nothing blocks. So a listing does not disturb a
//! server that starts, runs or stops. Files can vanish between two steps.

use std::ffi::CStr;
use std::fs::File;
use std::io::Read;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use nix::dir::Dir;
use nix::fcntl::{AtFlags, OFlag};
use nix::sys::stat::{SFlag, fstatat};
use nix::unistd::geteuid;

use super::directory::{Directory, DirectoryError, LOCK, NEW_SEGMENT, PID, SEGMENT};
use super::lock_table::is_locked;
use super::tcp_table::listening_on;
use crate::client::Address;
use crate::mailboxes::{Geometry, Segment, SegmentError};

/// Bytes of a block in the status of a file. Source: inode(7).
const BLOCK_SIZE: u64 = 512;

/// Largest number of bytes that are read of `pid`.
const PID_LEN_MAX: u64 = 16;

/// The instances in a directory.
#[derive(Debug)]
pub struct Listing {
    /// The directory of all instances.
    pub base: PathBuf,
    /// The instances, by port.
    pub instances: Vec<Instance>,
    /// Why directories with the name of a port are not listed: another user's, a link, without permission.
    pub refused: Vec<String>,
}

/// An instance, as its files and the tables of the kernel describe it.
#[derive(Debug)]
pub struct Instance {
    /// The name of its directory: the port that the server was started with.
    pub port: u16,
    /// Its directory.
    pub path: PathBuf,
    /// Whether it has a server.
    pub state: State,
    /// What the segment contains.
    pub contents: Contents,
    /// Bytes of memory of the segment.
    pub memory: u64,
    /// When the segment was created.
    pub created: Option<SystemTime>,
}

/// Whether an instance has a server.
#[derive(Debug)]
pub enum State {
    /// A process has locked the instance, or listens on its control socket. It may be starting or stopping.
    Running {
        /// The process id that the server has written.
        pid: Option<u64>,
        /// Where the server may be reached. Another server of this user may listen on the same port at
        /// another address.
        addresses: Vec<Address>,
    },
    /// There is no server.
    Dead,
}

/// What the segment of an instance contains.
#[derive(Debug)]
pub enum Contents {
    /// Mailboxes of this number and size.
    Mailboxes(Geometry),
    /// Not a segment of this version of dipc.
    OtherFormat(String),
    /// The file cannot be read.
    Unreadable(String),
    /// There is no segment.
    None,
}

/// Why the instances cannot be listed.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub struct ListError(#[from] DirectoryError);

/// Lists the instances in `base`, or in the default directory.
pub fn list(base: Option<&Path>) -> Result<Listing, ListError> {
    let (mut instances, mut refused) = (Vec::new(), Vec::new());
    for port in ports(base)? {
        match Directory::find(base, port) {
            Ok(Some(directory)) => instances.extend(directory.describe(port)),
            Ok(None) => {}
            Err(error) => refused.push(error.to_string()),
        }
    }
    Ok(Listing { base: Directory::base(base), instances, refused })
}

/// The ports that have a directory, in ascending order.
fn ports(base: Option<&Path>) -> Result<Vec<u16>, DirectoryError> {
    let Some(fd) = Directory::open_base(base)? else { return Ok(Vec::new()) };
    let failed = |errno| DirectoryError::io(&Directory::base(base), errno);
    let mut ports = Vec::new();
    for entry in Dir::from_fd(fd).map_err(failed)?.iter() {
        ports.extend(port_of(entry.map_err(failed)?.file_name()));
    }
    ports.sort_unstable();
    Ok(ports)
}

/// The port that a directory is named after.
fn port_of(name: &CStr) -> Option<u16> {
    let name = name.to_str().ok()?;
    name.parse().ok().filter(|port: &u16| *port > 0 && port.to_string() == name)
}

impl Directory {
    /// Describes the instance. `None` if its directory has no file of an instance, or was removed.
    fn describe(&self, port: u16) -> Option<Instance> {
        let state = if self.has_server() { self.running(port) } else { State::Dead };
        let memory = self.memory();
        let (contents, created) = match self.open_file(SEGMENT, OFlag::O_RDONLY) {
            Ok(file) => (contents(&file), created(&file)),
            Err(error) if error.is_not_found() => (Contents::None, None),
            Err(error) => (Contents::Unreadable(error.to_string()), None),
        };
        let is_empty = matches!((&state, &contents), (State::Dead, Contents::None));
        let has_files = !is_empty || [LOCK, NEW_SEGMENT].into_iter().any(|name| self.exists(name));
        has_files.then(|| Instance { port, path: self.path().to_owned(), state, contents, memory, created })
    }

    /// Whether a process has the instance or its segment locked, or listens on the control socket. The socket
    /// is asked last, because the kernel queues only a few connections for a server that is halted.
    fn has_server(&self) -> bool {
        let is_locked = |name| self.identity(name).is_ok_and(|file| is_locked(file).unwrap_or(false));
        is_locked(LOCK) || is_locked(SEGMENT) || self.has_listener()
    }

    fn running(&self, port: u16) -> State {
        let unix = self.socket_path().map(Address::Unix);
        let own = geteuid().as_raw();
        let listening = listening_on(port).unwrap_or_default().into_iter();
        let tcp = listening.filter(|socket| socket.user == own).map(|socket| {
            let host = reachable(socket.address).to_string();
            Address::Tcp { host, port }
        });
        State::Running { pid: self.pid(), addresses: unix.into_iter().chain(tcp).collect() }
    }

    /// The number in the file `pid`.
    fn pid(&self) -> Option<u64> {
        let mut text = String::new();
        self.open_file(PID, OFlag::O_RDONLY).ok()?.take(PID_LEN_MAX).read_to_string(&mut text).ok()?;
        text.trim_end().parse().ok()
    }

    /// Bytes of memory of the segment, and of one that a start is creating or has left.
    fn memory(&self) -> u64 {
        let found = [SEGMENT, NEW_SEGMENT]
            .into_iter()
            .filter_map(|name| fstatat(self.descriptor(), name, AtFlags::AT_SYMLINK_NOFOLLOW).ok())
            .filter(|found| found.st_mode & SFlag::S_IFMT.bits() == SFlag::S_IFREG.bits());
        found.map(|found| found.st_blocks.cast_unsigned() * BLOCK_SIZE).sum()
    }
}

/// Reads and checks the header of a segment, and the length of the file.
fn contents(file: &File) -> Contents {
    match Segment::geometry_of(file) {
        Ok(geometry) => Contents::Mailboxes(geometry),
        Err(SegmentError::Io(error)) => Contents::Unreadable(error.to_string()),
        Err(error) => Contents::OtherFormat(error.to_string()),
    }
}

/// When a file was created; on a file system that does not record it, when it was last written.
fn created(file: &File) -> Option<SystemTime> {
    let found = file.metadata().ok()?;
    found.created().or_else(|_| found.modified()).ok()
}

/// The address to connect to. A socket that listens on all addresses is reached over loopback.
fn reachable(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(Ipv4Addr::UNSPECIFIED) => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(Ipv6Addr::UNSPECIFIED) => Ipv6Addr::LOCALHOST.into(),
        address => address,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_names_of_ports_are_ports() {
        assert_eq!([c"1", c"5000", c"65535"].map(port_of), [Some(1), Some(5000), Some(65535)]);
        for name in [c".", c"..", c"0", c"05000", c"+5000", c"65536", c"5000.old", c"lock", c"\xff"] {
            assert_eq!(port_of(name), None, "{name:?}");
        }
    }
}
