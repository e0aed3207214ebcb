//! The listening sockets, and what to do when nobody more can be let in.
//!
//! mio is edge-triggered: a connection that was not accepted makes no second event. So whoever stops accepting before
//! the backlog is empty says so in [`Listeners::pending`], and comes back.

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;

use mio::net::{TcpListener, UnixListener};
use mio::{Interest, Registry, Token};
use nix::errno::Errno;
use socket2::Socket;

/// Who listens.
#[derive(Debug)]
pub enum Listener {
    /// On an address.
    Tcp(TcpListener),
    /// On a path.
    Unix(UnixListener),
}

/// All doors.
#[derive(Debug)]
pub struct Listeners {
    listeners: Vec<Listener>,
    /// There may be clients in the backlog.
    pub pending: bool,
    /// A descriptor to give away when there is none left: without it a newcomer could not even be refused.
    spare_fd: Option<File>,
}

/// A client that was accepted.
#[derive(Debug)]
pub struct Accepted {
    /// Its socket.
    pub socket: Socket,
    /// Whether it came on a path.
    pub is_unix: bool,
}

/// Who came.
#[derive(Debug)]
pub enum AcceptOutcome {
    /// A client.
    Ok(Accepted),
    /// A client for whom there is no descriptor; it is to be turned away.
    NoDescriptor(Accepted),
}

/// What [`Listeners::accept_batch`] ended with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AcceptEnd {
    /// Nobody more.
    WouldBlock,
    /// Its share of this turn is over.
    BudgetSpent,
    /// The system lacks something; try again later.
    Failed(Errno),
}

impl Listeners {
    /// Opens the doors; their events carry tokens from `first` on.
    pub fn open(mut doors: Vec<Listener>, first: usize, registry: &Registry) -> io::Result<Self> {
        for (number, door) in doors.iter_mut().enumerate() {
            let token = Token(first + number);
            match door {
                Listener::Tcp(listener) => registry.register(listener, token, Interest::READABLE)?,
                Listener::Unix(listener) => registry.register(listener, token, Interest::READABLE)?,
            }
        }
        Ok(Listeners { listeners: doors, pending: true, spare_fd: Some(open_spare_fd()?) })
    }

    /// Accepts who is there, at most `share`, and calls `enter` with each.
    pub fn accept_batch(&mut self, mut budget: usize, mut on_accept: impl FnMut(AcceptOutcome)) -> AcceptEnd {
        let Listeners { listeners: doors, spare_fd: kept, .. } = self;
        for door in doors.iter() {
            loop {
                if budget == 0 {
                    return AcceptEnd::BudgetSpent;
                }
                budget -= 1;
                if kept.is_none() {
                    // Before the last free descriptor goes to a client.
                    *kept = open_spare_fd().ok();
                }
                match accept(door) {
                    Ok(newcomer) => on_accept(AcceptOutcome::Ok(newcomer)),
                    Err(Errno::EAGAIN) => break,
                    Err(Errno::EMFILE | Errno::ENFILE) => {
                        drop(kept.take());
                        let accepted = accept(door);
                        let stuck = accepted.as_ref().err().copied();
                        if let Ok(newcomer) = accepted {
                            on_accept(AcceptOutcome::NoDescriptor(newcomer));
                        }
                        *kept = open_spare_fd().ok();
                        match stuck {
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

    /// Lets nobody in any more.
    pub fn close(&mut self) {
        self.listeners.clear();
        self.pending = false;
    }
}

fn accept(door: &Listener) -> Result<Accepted, Errno> {
    let accepted = match door {
        Listener::Tcp(listener) => listener.accept().map(|(stream, _)| OwnedFd::from(stream)),
        Listener::Unix(listener) => listener.accept().map(|(stream, _)| OwnedFd::from(stream)),
    };
    let is_unix = matches!(door, Listener::Unix(_));
    accepted
        .map(|fd| Accepted { socket: Socket::from(fd), is_unix })
        .map_err(|error| Errno::from_raw(error.raw_os_error().unwrap_or(0)))
}

/// Errors of accept(2) that the next newcomer will not have: it went away, or the network did.
fn is_transient(errno: Errno) -> bool {
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

/// A descriptor that can be given away when there is none left.
pub fn open_spare_fd() -> io::Result<File> {
    File::open("/dev/null")
}
