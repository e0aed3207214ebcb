//! The listening sockets, and what to do when nobody more can be let in.
//!
//! mio is edge-triggered: a connection that was not accepted makes no second event. So whoever stops accepting before
//! the backlog is empty says so in [`Doors::pending`], and comes back.

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;

use mio::net::{TcpListener, UnixListener};
use mio::{Interest, Registry, Token};
use nix::errno::Errno;
use socket2::Socket;

/// Who listens.
#[derive(Debug)]
pub enum Door {
    /// On an address.
    Tcp(TcpListener),
    /// On a path.
    Unix(UnixListener),
}

/// All doors.
#[derive(Debug)]
pub struct Doors {
    doors: Vec<Door>,
    /// There may be clients in the backlog.
    pub pending: bool,
    /// A descriptor to give away when there is none left: without it a newcomer could not even be refused.
    reserve: Option<File>,
}

/// A client that was accepted.
#[derive(Debug)]
pub struct Newcomer {
    /// Its socket.
    pub socket: Socket,
    /// Whether it came on a path.
    pub is_unix: bool,
}

/// Who came.
#[derive(Debug)]
pub enum Arrival {
    /// A client.
    Client(Newcomer),
    /// A client for whom there is no descriptor; it is to be turned away.
    Excess(Newcomer),
}

/// What [`Doors::knock`] ended with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Backlog {
    /// Nobody more.
    Empty,
    /// Its share of this turn is over.
    More,
    /// The system lacks something; try again later.
    Stuck(Errno),
}

impl Doors {
    /// Opens the doors; their events carry tokens from `first` on.
    pub fn open(mut doors: Vec<Door>, first: usize, registry: &Registry) -> io::Result<Self> {
        for (number, door) in doors.iter_mut().enumerate() {
            let token = Token(first + number);
            match door {
                Door::Tcp(listener) => registry.register(listener, token, Interest::READABLE)?,
                Door::Unix(listener) => registry.register(listener, token, Interest::READABLE)?,
            }
        }
        Ok(Doors { doors, pending: true, reserve: Some(reserve()?) })
    }

    /// Accepts who is there, at most `share`, and calls `enter` with each.
    pub fn knock(&mut self, mut share: usize, mut enter: impl FnMut(Arrival)) -> Backlog {
        let Doors { doors, reserve: kept, .. } = self;
        for door in doors.iter() {
            loop {
                if share == 0 {
                    return Backlog::More;
                }
                share -= 1;
                if kept.is_none() {
                    // Before the last free descriptor goes to a client.
                    *kept = reserve().ok();
                }
                match accept(door) {
                    Ok(newcomer) => enter(Arrival::Client(newcomer)),
                    Err(Errno::EAGAIN) => break,
                    Err(Errno::EMFILE | Errno::ENFILE) => {
                        drop(kept.take());
                        let accepted = accept(door);
                        let stuck = accepted.as_ref().err().copied();
                        if let Ok(newcomer) = accepted {
                            enter(Arrival::Excess(newcomer));
                        }
                        *kept = reserve().ok();
                        match stuck {
                            None => {}
                            Some(Errno::EAGAIN) => break,
                            Some(errno) => return Backlog::Stuck(errno),
                        }
                    }
                    Err(errno) if concerns_only_the_newcomer(errno) => {}
                    Err(errno) => return Backlog::Stuck(errno),
                }
            }
        }
        Backlog::Empty
    }

    /// Lets nobody in any more.
    pub fn close(&mut self) {
        self.doors.clear();
        self.pending = false;
    }
}

fn accept(door: &Door) -> Result<Newcomer, Errno> {
    let accepted = match door {
        Door::Tcp(listener) => listener.accept().map(|(stream, _)| OwnedFd::from(stream)),
        Door::Unix(listener) => listener.accept().map(|(stream, _)| OwnedFd::from(stream)),
    };
    let is_unix = matches!(door, Door::Unix(_));
    accepted
        .map(|fd| Newcomer { socket: Socket::from(fd), is_unix })
        .map_err(|error| Errno::from_raw(error.raw_os_error().unwrap_or(0)))
}

/// Errors of accept(2) that the next newcomer will not have: it went away, or the network did.
fn concerns_only_the_newcomer(errno: Errno) -> bool {
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
pub fn reserve() -> io::Result<File> {
    File::open("/dev/null")
}
