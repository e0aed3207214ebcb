//! The listening sockets, and the spare descriptor that is used to reject clients when no other descriptor is
//! left.
//!
//! mio is edge-triggered: a connection that was not accepted causes no second event. So an accept loop that
//! stops before the backlog is empty sets [`Listeners::pending`] and is continued later.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use mio::net::{TcpListener, UnixListener};
use mio::{Interest, Registry, Token};
use nix::errno::Errno;
use socket2::Socket;

use super::connection::ListenerKind;
use super::handover::SocketKind;

/// A listening socket.
#[derive(Debug)]
pub(crate) enum Listener {
    /// A TCP socket.
    Tcp(TcpListener),
    /// The TCP socket of the classic port.
    Classic(TcpListener),
    /// A Unix-domain socket.
    Unix(UnixListener),
}

/// All listening sockets.
#[derive(Debug)]
pub(super) struct Listeners {
    listeners: Vec<Listener>,
    /// The backlog may contain connections.
    pub pending: bool,
    /// A descriptor that is closed when no other is left, so that the next client can be accepted and
    /// rejected.
    spare_fd: Option<File>,
}

/// An accepted connection.
#[derive(Debug)]
pub(super) struct Accepted {
    /// The connected socket.
    pub socket: Socket,
    /// The listener that accepted it.
    pub listener: ListenerKind,
}

/// A result of accept(2).
#[derive(Debug)]
pub(super) enum AcceptOutcome {
    /// A connection to be served.
    Ok(Accepted),
    /// A connection to be rejected, since no descriptor is left for it.
    NoDescriptor(Accepted),
}

/// Why [`Listeners::accept_batch`] stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum AcceptEnd {
    /// The backlog is empty.
    WouldBlock,
    /// The budget is used up.
    BudgetSpent,
    /// The system lacks a resource. Accepting should be retried later.
    Failed(Errno),
}

impl Listeners {
    /// Registers the listeners. Their events carry the tokens from `first` on.
    pub(super) fn open(mut listeners: Vec<Listener>, first: usize, registry: &Registry) -> io::Result<Self> {
        for (number, listener) in listeners.iter_mut().enumerate() {
            let token = Token(first + number);
            match listener {
                Listener::Tcp(socket) | Listener::Classic(socket) => {
                    registry.register(socket, token, Interest::READABLE)?
                }
                Listener::Unix(socket) => registry.register(socket, token, Interest::READABLE)?,
            }
        }
        Ok(Listeners { listeners, pending: true, spare_fd: Some(open_spare_fd()?) })
    }

    /// Accepts at most `budget` connections and passes each to `on_accept`.
    pub(super) fn accept_batch(
        &mut self,
        mut budget: usize,
        mut on_accept: impl FnMut(AcceptOutcome),
    ) -> AcceptEnd {
        let Listeners { listeners, spare_fd, .. } = self;
        for listener in listeners.iter() {
            loop {
                if budget == 0 {
                    return AcceptEnd::BudgetSpent;
                }
                budget -= 1;
                if spare_fd.is_none() {
                    // The spare descriptor is opened before the last free descriptor is given to a client.
                    *spare_fd = open_spare_fd().ok();
                }
                match accept(listener) {
                    Ok(client) => on_accept(AcceptOutcome::Ok(client)),
                    Err(Errno::EAGAIN) => break,
                    Err(Errno::EMFILE | Errno::ENFILE) => {
                        drop(spare_fd.take());
                        let accepted = accept(listener);
                        let error = accepted.as_ref().err().copied();
                        if let Ok(client) = accepted {
                            on_accept(AcceptOutcome::NoDescriptor(client));
                        }
                        *spare_fd = open_spare_fd().ok();
                        match error {
                            None => {}
                            Some(Errno::EAGAIN) => break,
                            Some(errno) => return AcceptEnd::Failed(errno),
                        }
                    }
                    Err(errno) if is_transient(errno) => {}
                    Err(errno) => return AcceptEnd::Failed(errno),
                }
            }
        }
        AcceptEnd::WouldBlock
    }

    /// Closes all listeners.
    pub(super) fn close(&mut self) {
        self.listeners.clear();
        self.pending = false;
    }

    /// Closes the descriptors of all listeners, which a new server has, too. Its connections cause no events
    /// here.
    pub(super) fn hand_over(&mut self, registry: &Registry) {
        for listener in &mut self.listeners {
            // Fails only for a listener that is not registered.
            let _ = match listener {
                Listener::Tcp(socket) | Listener::Classic(socket) => registry.deregister(socket),
                Listener::Unix(socket) => registry.deregister(socket),
            };
        }
        self.close();
    }

    /// The descriptor of each listener, with its kind.
    pub(super) fn descriptors(&self) -> impl Iterator<Item = (SocketKind, BorrowedFd<'_>)> {
        self.listeners.iter().map(|listener| match listener {
            Listener::Tcp(socket) => (SocketKind::Tcp, socket.as_fd()),
            Listener::Classic(socket) => (SocketKind::Classic, socket.as_fd()),
            Listener::Unix(socket) => (SocketKind::Unix, socket.as_fd()),
        })
    }
}

fn accept(listener: &Listener) -> Result<Accepted, Errno> {
    let accepted = match listener {
        Listener::Tcp(socket) | Listener::Classic(socket) => {
            socket.accept().map(|(stream, _)| OwnedFd::from(stream))
        }
        Listener::Unix(socket) => socket.accept().map(|(stream, _)| OwnedFd::from(stream)),
    };
    let kind = match listener {
        Listener::Tcp(_) => ListenerKind::Tcp,
        Listener::Classic(_) => ListenerKind::Classic,
        Listener::Unix(_) => ListenerKind::Unix,
    };
    accepted
        .map(|fd| Accepted { socket: Socket::from(fd), listener: kind })
        .map_err(|error| Errno::from_raw(error.raw_os_error().unwrap_or(0)))
}

/// Whether an error of accept(2) concerns only one connection, for example because that connection was closed
/// or its network failed. The next call may succeed.
pub(super) fn is_transient(errno: Errno) -> bool {
    matches!(
        errno,
        Errno::EINTR
            | Errno::ECONNABORTED
            | Errno::EPERM
            | Errno::EPROTO
            | Errno::ENETDOWN
            | Errno::ENOPROTOOPT
            | Errno::EHOSTDOWN
            | Errno::ENONET
            | Errno::EHOSTUNREACH
            | Errno::EOPNOTSUPP
            | Errno::ENETUNREACH
    )
}

/// Opens a descriptor that can be closed when no other is left.
pub(super) fn open_spare_fd() -> io::Result<File> {
    File::open("/dev/null")
}
