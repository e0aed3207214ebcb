//! Who comes: a place at the table, or a word why there is none.

use std::os::fd::AsRawFd;
use std::time::Duration;

use mio::Interest;
use mio::unix::SourceFd;

use super::Reactor;
use super::connection::{Connection, turn_away};
use super::connections::token_of;
use super::doors::{Arrival, Backlog};
use crate::protocol::{Eol, Refusal, Reply};

/// When to try again to accept after the system lacked something.
const ACCEPT_RETRY: Duration = Duration::from_millis(100);

impl Reactor {
    pub(super) fn accept(&mut self) {
        if self.accept_again.is_some_and(|at| at <= self.now) {
            self.accept_again = None;
        }
        if !self.doors.pending || self.accept_again.is_some() {
            return;
        }
        let Reactor { doors, connections, settings, counters, poll, now, .. } = self;
        let busy = |max: usize| {
            let mut answer = Vec::new();
            Reply::Refused(&Refusal::Busy { max }).encode(Eol::Lf, &mut answer);
            answer
        };
        let backlog = doors.knock(|arrival| match arrival {
            Arrival::Client(socket) if connections.len() < settings.max_clients => {
                let fd = socket.as_raw_fd();
                let id = connections.insert(|generation| Connection::new(socket, generation, *now));
                if poll.registry().register(&mut SourceFd(&fd), token_of(id), Interest::READABLE).is_err() {
                    return connections.remove(id);
                }
                counters.accepted += 1;
            }
            Arrival::Client(socket) => {
                counters.busy_clients += 1;
                turn_away(&socket, &busy(settings.max_clients));
            }
            Arrival::Excess(socket) => {
                counters.busy_descriptors += 1;
                turn_away(&socket, &busy(connections.len()));
            }
        });
        self.doors.pending = backlog != Backlog::Empty;
        if let Backlog::Stuck(errno) = backlog {
            if self.counters.accepts_stuck == 0 {
                log::warn!("cannot accept for now: {errno}; this is said once");
            }
            self.counters.accepts_stuck += 1;
            self.accept_again = Some(self.now + ACCEPT_RETRY);
        }
    }
}
