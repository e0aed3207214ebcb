//! The messages of a handover that name an instance, and the one with its descriptors.
//!
//! [`reactor::handover`](crate::reactor) has the order of all messages and the law. The first message begins
//! with the version of the handover, so that servers of different versions refuse each other.

use std::ffi::OsString;
use std::io::{IoSlice, IoSliceMut};
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::PathBuf;

use nix::cmsg_space;
use nix::errno::Errno;
use nix::sys::socket::{ControlMessage, ControlMessageOwned, MsgFlags, recvmsg, sendmsg};

use crate::mailboxes::Geometry;
use crate::options::ServerOptions;
use crate::reactor::{HELLO, Refusal, SocketKind};

/// The version of the handover: of its messages, and of the state that the segment must be in.
const VERSION: u32 = 1;

/// The exit code of a server that the running one cannot hand over to.
const INCOMPATIBLE: u8 = 4;

/// The first word of the message with the descriptors.
const DESCRIPTORS: &str = "descriptors";

/// Largest number of descriptors that the kernel passes in a message. Source: unix(7), `SCM_MAX_FD`.
const DESCRIPTORS_MAX: usize = 253;

/// Largest number of bytes of the message with the descriptors.
const MESSAGE_MAX: usize = 256;

/// The numbers and addresses of a server, which a new one must have, too.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Description {
    pub geometry: Geometry,
    pub tcp: Option<SocketAddr>,
    /// The address of the classic port. Port 0 in the description of a new server: any port but PORT.
    pub classic: Option<SocketAddr>,
    /// An absolute path.
    pub unix: Option<PathBuf>,
}

impl Description {
    /// What a new server with these options would be.
    pub(super) fn of(options: &ServerOptions) -> Self {
        let address = |port| SocketAddr::new(options.bind(), port);
        Description {
            geometry: options.geometry(),
            tcp: (!options.no_tcp).then(|| address(options.port)),
            classic: options.classic.map(address),
            unix: options.unix.clone(),
        }
    }

    /// The first message of a new server. The path is last, because it may contain any bytes.
    pub(super) fn hello(&self) -> Vec<u8> {
        let Description { geometry: Geometry { mailboxes, capacity, packet }, tcp, classic, unix } = self;
        let address =
            |address: &Option<SocketAddr>| address.map_or("-".to_owned(), |found| found.to_string());
        let numbers = format!("{VERSION}\n{mailboxes} {capacity} {packet}\n");
        let addresses = format!("{}\n{}\n", address(tcp), address(classic));
        let path = unix.as_ref().map_or(&b""[..], |path| path.as_os_str().as_bytes());
        [HELLO, numbers.as_bytes(), addresses.as_bytes(), path].concat()
    }

    /// Compares the first message of a new server with this one.
    pub(super) fn examine(&self, hello: &[u8]) -> Result<(), Refusal> {
        let refused = |reason: String| Refusal { code: INCOMPATIBLE, reason };
        let lines = hello.strip_prefix(HELLO).unwrap_or_default();
        let (version, lines) = split_line(lines);
        if version != VERSION.to_string() {
            let version = version.escape_debug();
            return Err(refused(format!(
                "the running server knows version {VERSION} of the takeover, and not {version}; stop it with \
                 dipcrm --keep, and start without --takeover"
            )));
        }
        let new =
            parse(lines).ok_or_else(|| refused("the request for the takeover is damaged".to_owned()))?;
        self.difference(&new).map_or(Ok(()), |reason| Err(refused(reason)))
    }

    /// The first difference of a new server, for people.
    fn difference(&self, new: &Description) -> Option<String> {
        let differs = |what: &str, own: String, new: String| {
            Some(format!("the running server has {what} {own}, not {new}; nothing has changed"))
        };
        if self.geometry != new.geometry {
            return differs(
                "mailboxes of another number or size:",
                sizes(&self.geometry),
                sizes(&new.geometry),
            );
        }
        let address =
            |address: Option<SocketAddr>| address.map_or("none".to_owned(), |found| found.to_string());
        if self.tcp != new.tcp {
            return differs("the address", address(self.tcp), address(new.tcp));
        }
        let is_any = |own: SocketAddr, new: SocketAddr| {
            new.port() == 0 && own.ip() == new.ip() && self.tcp.is_some_and(|tcp| tcp.port() != own.port())
        };
        let is_same = match (self.classic, new.classic) {
            (Some(own), Some(new)) => own == new || is_any(own, new),
            (own, new) => own == new,
        };
        if !is_same {
            return differs("the classic address", address(self.classic), address(new.classic));
        }
        let path = |path: &Option<PathBuf>| {
            path.as_deref().map_or("none".to_owned(), |path| path.display().to_string())
        };
        if self.unix != new.unix {
            return differs("the Unix-domain socket", path(&self.unix), path(&new.unix));
        }
        None
    }

    /// The sockets of such a server, in the order in which they are sent.
    fn sockets(&self) -> Vec<SocketKind> {
        let is_second = self.classic.map(|found| found.port()) != self.tcp.map(|found| found.port());
        let main = match self.classic {
            Some(_) if !is_second => vec![SocketKind::Classic],
            Some(_) => vec![SocketKind::Tcp, SocketKind::Classic],
            None => self.tcp.iter().map(|_| SocketKind::Tcp).collect(),
        };
        let unix = self.unix.iter().map(|_| SocketKind::Unix);
        // As in `Sockets::bind`: packets are served on loopback only.
        let udp = self.classic.filter(|found| found.ip().is_loopback()).map(|_| SocketKind::Udp);
        main.into_iter().chain(unix).chain(udp).collect()
    }
}

fn sizes(geometry: &Geometry) -> String {
    let Geometry { mailboxes, capacity, packet } = geometry;
    format!("{mailboxes} of {} kB with packets of {} kB", capacity / 1024, packet / 1024)
}

/// The text before the first line feed, and the bytes after it.
fn split_line(bytes: &[u8]) -> (String, &[u8]) {
    let end = bytes.iter().position(|byte| *byte == b'\n').unwrap_or(bytes.len());
    (String::from_utf8_lossy(&bytes[..end]).into_owned(), bytes.get(end + 1..).unwrap_or_default())
}

/// The description in the lines of a first message.
fn parse(lines: &[u8]) -> Option<Description> {
    let (numbers, lines) = split_line(lines);
    let (tcp, lines) = split_line(lines);
    let (classic, path) = split_line(lines);
    let mut numbers = numbers.split(' ');
    let mut number = || numbers.next()?.parse::<u64>().ok();
    let mailboxes = u32::try_from(number()?).ok()?;
    let geometry = Geometry { mailboxes, capacity: number()?, packet: number()? };
    let address = |word: &str| match word {
        "-" => Some(None),
        word => word.parse().ok().map(Some),
    };
    let unix = (!path.is_empty()).then(|| OsString::from_vec(path.to_vec()).into());
    Some(Description { geometry, tcp: address(&tcp)?, classic: address(&classic)?, unix })
}

/// The descriptors of an instance that were received.
#[derive(Debug)]
pub(super) struct Received {
    pub lock: OwnedFd,
    pub segment: OwnedFd,
    pub sockets: Vec<(SocketKind, OwnedFd)>,
    /// The inode of the file of the Unix-domain socket.
    pub inode: u64,
}

/// Why descriptors cannot be received.
#[derive(Debug, thiserror::Error)]
pub(super) enum ReceiveError {
    #[error(transparent)]
    Io(#[from] Errno),
    /// The message is an answer without descriptors.
    #[error("{}", .0.reason)]
    Refused(Refusal),
    #[error("the running server has ended")]
    Ended,
    #[error("the running server has sent {0}")]
    Unexpected(&'static str),
}

/// Sends the lock file, the segment and the sockets in one message.
pub(super) fn send_descriptors(
    peer: &OwnedFd,
    files: [BorrowedFd<'_>; 2],
    sockets: &[(SocketKind, BorrowedFd<'_>)],
    inode: u64,
) -> Result<(), Errno> {
    let words = sockets.iter().map(|(kind, _)| word_of(*kind)).collect::<Vec<_>>().join(" ");
    let text = format!("{DESCRIPTORS} {inode} {words}");
    let files = files.into_iter().map(|file| file.as_raw_fd());
    let descriptors: Vec<RawFd> = files.chain(sockets.iter().map(|(_, socket)| socket.as_raw_fd())).collect();
    let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL;
    let rights = [ControlMessage::ScmRights(&descriptors)];
    sendmsg::<()>(peer.as_raw_fd(), &[IoSlice::new(text.as_bytes())], &rights, flags, None).map(drop)
}

/// Receives the descriptors of a server that is as described. Does not wait. Descriptors of a message that is
/// not as expected are closed.
pub(super) fn receive_descriptors(peer: &OwnedFd, expected: &Description) -> Result<Received, ReceiveError> {
    let mut bytes = [0; MESSAGE_MAX];
    let (len, descriptors) = match receive_rights(peer, &mut bytes) {
        // It has ended with an unread message.
        Err(Errno::ECONNRESET) => return Err(ReceiveError::Ended),
        received => received?,
    };
    let message = &bytes[..len];
    if let Some(refusal) = Refusal::decode(message) {
        return Err(ReceiveError::Refused(refusal));
    }
    if len == 0 {
        return Err(ReceiveError::Ended);
    }
    let text = String::from_utf8_lossy(message);
    let mut words = text.split(' ');
    if words.next() != Some(DESCRIPTORS) {
        return Err(ReceiveError::Unexpected("another message than the descriptors"));
    }
    let inode = words.next().and_then(|word| word.parse().ok());
    let inode = inode.ok_or(ReceiveError::Unexpected("a damaged message"))?;
    let kinds = expected.sockets();
    let is_expected = words.filter(|word| !word.is_empty()).eq(kinds.iter().map(|kind| word_of(*kind)));
    if !is_expected || descriptors.len() != kinds.len() + 2 {
        return Err(ReceiveError::Unexpected("other descriptors than those of its listeners and files"));
    }
    let mut descriptors = descriptors.into_iter();
    let mut next = || descriptors.next().ok_or(ReceiveError::Unexpected("too few descriptors"));
    let (lock, segment) = (next()?, next()?);
    let sockets = kinds.into_iter().zip(descriptors).collect();
    Ok(Received { lock, segment, sockets, inode })
}

/// Receives a message. Returns its length and its descriptors, which no child process inherits. Fails with
/// `ENOBUFS` if this process has no room for all of them.
#[allow(unsafe_code, reason = "takes ownership of the descriptors that recvmsg returns")]
fn receive_rights(peer: &OwnedFd, bytes: &mut [u8]) -> Result<(usize, Vec<OwnedFd>), Errno> {
    let mut space = cmsg_space!([RawFd; DESCRIPTORS_MAX]);
    let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_CMSG_CLOEXEC;
    let mut parts = [IoSliceMut::new(bytes)];
    let received = recvmsg::<()>(peer.as_raw_fd(), &mut parts, Some(&mut space), flags)?;
    let mut descriptors = Vec::new();
    for message in received.cmsgs()? {
        if let ControlMessageOwned::ScmRights(rights) = message {
            // SAFETY: the kernel has made these descriptors for this process, and nothing else owns them.
            descriptors.extend(rights.into_iter().map(|fd| unsafe { OwnedFd::from_raw_fd(fd) }));
        }
    }
    Ok((received.bytes, descriptors))
}

fn word_of(kind: SocketKind) -> &'static str {
    match kind {
        SocketKind::Tcp => "tcp",
        SocketKind::Classic => "classic",
        SocketKind::Unix => "unix",
        SocketKind::Udp => "udp",
    }
}

#[cfg(test)]
mod tests;
