//! Who comes: a place at the table, or a word why there is none.

use std::mem::MaybeUninit;
use std::net::Shutdown;
use std::os::fd::AsRawFd;
use std::time::Duration;

use mio::unix::SourceFd;
use socket2::Socket;

use super::Reactor;
use super::connection::READING;
use super::connections::token_of;
use super::doors::{Arrival, Backlog, Newcomer};
use crate::protocol::{Eol, Refusal, Reply};

/// Connections that one turn accepts.
const ACCEPTS_PER_TURN: usize = 256;

/// Newcomers that wait in the hall.
const HALL_MAX: usize = 16;

/// When to try again to accept after the system lacked something.
const ACCEPT_RETRY: Duration = Duration::from_millis(100);

/// Turns that the backlog has at most when the server stops: as many as it can fill.
const LAST_TURNS: usize = 4096 / ACCEPTS_PER_TURN;

impl Reactor {
    /// Lets in who stands before the doors. Who finds no place waits in the hall until all events have been looked at:
    /// whoever left before this newcomer came has left a place, but the news of that may be in one of them.
    pub(super) fn accept(&mut self) {
        for newcomer in std::mem::take(&mut self.hall) {
            match (self.server.is_full(), self.saw_all) {
                (false, _) => self.enter(newcomer),
                (true, false) => self.hall.push(newcomer),
                (true, true) => self.refuse_for_want_of_places(newcomer),
            }
        }
        if self.accept_again.is_some_and(|at| at <= self.server.now) {
            self.accept_again = None;
        }
        if self.doors.pending && self.accept_again.is_none() {
            self.knock();
        }
    }

    /// Lets in who has come before the doors close for ever.
    pub(super) fn empty_backlog(&mut self) {
        self.accept_again = None;
        self.doors.pending = true;
        for _ in 0..LAST_TURNS {
            self.accept();
            if !self.doors.pending {
                break;
            }
        }
    }

    fn knock(&mut self) {
        let places = self.server.settings.max_clients.saturating_sub(self.server.connections.len());
        let share = ACCEPTS_PER_TURN.min((places + HALL_MAX).saturating_sub(self.hall.len()));
        let mut arrived = Vec::new();
        let mut excess = 0;
        let clients = self.server.connections.len();
        let backlog = self.doors.knock(share, |arrival| match arrival {
            Arrival::Client(newcomer) => arrived.push(newcomer),
            Arrival::Excess(newcomer) => {
                excess += 1;
                turn_away(&newcomer.socket, &busy(clients));
            }
        });
        self.server.counters.busy_descriptors += excess;
        for newcomer in arrived {
            if self.server.is_full() { self.hall.push(newcomer) } else { self.enter(newcomer) }
        }
        self.doors.pending = backlog != Backlog::Empty;
        if let Backlog::Stuck(errno) = backlog {
            if self.server.counters.accepts_stuck == 0 {
                log::warn!("cannot accept for now: {errno}; this is said once");
            }
            self.server.counters.accepts_stuck += 1;
            self.accept_again = Some(self.server.now + ACCEPT_RETRY);
        }
    }

    fn enter(&mut self, newcomer: Newcomer) {
        let Newcomer { socket, is_unix } = newcomer;
        let fd = socket.as_raw_fd();
        let id = self.server.enter(socket, is_unix);
        if let Err(error) = self.poll.registry().register(&mut SourceFd(&fd), token_of(id), READING) {
            self.server.fail(id, &error);
        }
    }

    fn refuse_for_want_of_places(&mut self, newcomer: Newcomer) {
        self.server.counters.busy_clients += 1;
        turn_away(&newcomer.socket, &busy(self.server.settings.max_clients));
    }
}

fn busy(max: usize) -> Vec<u8> {
    let mut answer = Vec::new();
    Reply::Refused(&Refusal::Busy { max }).encode(Eol::Lf, &mut answer);
    answer
}

/// Tells a client why it is not served, as far as that is possible without waiting for it.
fn turn_away(socket: &Socket, answer: &[u8]) {
    // What cannot be said at once is not said: the place is needed, and the client sees the end anyhow.
    let _ = socket.send(answer);
    let _ = socket.shutdown(Shutdown::Write);
    let mut unread = [MaybeUninit::uninit(); 1024];
    let _ = socket.recv(&mut unread);
}
