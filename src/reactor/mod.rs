//! The one thread that owns every socket and every clock.
//!
//! It fills the connections' buffers, cuts batches of requests from them, takes each request's place in the queue of
//! its mailbox, runs what is granted or hands it to the workers, and writes the answers. Because one thread takes all places, the
//! order of arrival is a total order, and fairness is an argument of one sentence.
//!
//! The [`Reactor`] is the shell: poll, signals, listeners. The `Server` is what happens to clients; it
//! knows sockets only as a `Wire` and time only as a value.
//!
//! Its files, in the order of a request's life:
//!
//! | | |
//! |---|---|
//! | `doors`, `arrivals` | who comes |
//! | `lookout` | whether to sleep until then |
//! | `connection`, `phase`, `input`, `output`, `wire` | one client: receiving, being busy, sending |
//! | `server`, `jobs`, `waiting`, `takings`, `ending` | the way of a batch to its mailbox and back, and to its end |
//! | `session`, `locks`, `watchers`, `events` | what outlives a request |
//! | `connections`, `deadlines`, `supplies` | tables: of clients, of times, of memory that is used again |
//! | `control`, `report`, `stat` | for the owner, and for whoever looks |
//! | `simulation` | all of it again, without a kernel |
//!
//! **The law**: whatever travels (job, completion, ticket, deadline, event) carries the [`ConnectionId`](crate::workers::ConnectionId) it belongs to;
//! what comes back to another generation is dropped and counted. A connection that closes during a batch of events is
//! removed after it.

mod accept;
mod busy_poll;
mod closing;
mod connection;
mod connections;
mod control;
mod deadlines;
mod events;
mod extras;
mod inflight;
mod input;
mod jobs;
mod listeners;
mod locks;
mod output;
mod phase;
mod pools;
mod report;
mod server;
#[cfg(all(test, not(feature = "loom")))]
mod simulation;
mod stat;
mod transport;
mod waiting;
mod watches;

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use mio::event::Event;
use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token, Waker};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook_mio::v1_0::Signals;
use socket2::Socket;

use crate::workers::{Completions, Mailboxes, Pool};
use busy_poll::{BusyPoll, SPIN};
use connections::{id_of, token_of};
use control::Control;
use listeners::{Accepted, Listeners};
use server::Server;

pub use closing::DRAIN;
pub use control::STOP;
pub use listeners::Listener;

const WAKER: Token = Token(0);
const SIGNALS: Token = Token(1);
const CONTROL: Token = Token(2);
/// Doors have the tokens from here up to [`connections::FIRST_TOKEN`].
const FIRST_LISTENER: usize = 3;

/// Events that one poll takes: so few that the sockets which were read are still in the cache when their answers leave, and
/// so many that nothing is left of what a turn costs.
const EVENTS_MAX: usize = 64;

/// What a user can set.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// Threads of the pool.
    pub workers: usize,
    /// How long a request waits that does not say.
    pub wait: Duration,
    /// Clients served at once.
    pub max_clients: usize,
    /// How long a lock may be held at most.
    pub max_hold: Duration,
    /// Silence that completes a request without an end of line; zero never does.
    pub quiet: Duration,
}

/// The server with its poll.
pub struct Reactor {
    poll: Poll,
    signals: Signals,
    control: Control,
    listeners: Listeners,
    server: Server<Socket>,
    /// Newcomers for whom there was no place: somebody may just be leaving.
    deferred: Vec<Accepted>,
    accept_retry_at: Option<Instant>,
    busy_poll: BusyPoll,
    /// Whether the last poll had room for more events than there were.
    poll_drained: bool,
    reopen_log: fn(),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stopping {
    No,
    /// Answering what has arrived, until then.
    Draining(Instant),
    Now,
}

impl Reactor {
    /// Everything that serving needs: the pool runs, the signals are caught, the doors are watched.
    pub fn new(
        mailboxes: Mailboxes,
        listeners: Vec<Listener>,
        control: OwnedFd,
        settings: Settings,
        reopen_log: fn(),
    ) -> io::Result<Self> {
        let poll = Poll::new()?;
        let mut signals = Signals::new([SIGTERM, SIGINT, SIGHUP])?;
        poll.registry().register(&mut signals, SIGNALS, Interest::READABLE)?;
        let control = Control::open(control, CONTROL, poll.registry())?;
        let listeners = Listeners::open(listeners, FIRST_LISTENER, poll.registry())?;
        let mailboxes = Arc::new(mailboxes);
        let waker = Waker::new(poll.registry(), WAKER)?;
        let completions = Arc::new(Completions::new(move || waker.wake()));
        let pool = Pool::start(settings.workers, Arc::clone(&mailboxes), Arc::clone(&completions))?;
        let server = Server::new(mailboxes, pool, completions, settings, Instant::now());
        Ok(Reactor {
            poll,
            signals,
            control,
            listeners,
            server,
            deferred: Vec::new(),
            accept_retry_at: None,
            busy_poll: BusyPoll::default(),
            poll_drained: true,
            reopen_log,
        })
    }

    /// Serves until it is told to stop.
    pub fn run(mut self) -> io::Result<()> {
        let mut events = Events::with_capacity(EVENTS_MAX);
        while !self.server.has_stopped() {
            self.wait_for_events(&mut events)?;
            // Who has left is known before anybody is answered: a message is not for them any more.
            for event in &events {
                self.note(event);
            }
            for event in &events {
                self.dispatch(event);
            }
            self.server.finish_tick();
            self.register();
            if self.server.remove_closed() {
                // A descriptor is free: whoever stands before the door is let in now, not at the next timer.
                self.accept_retry_at = None;
            }
            self.accept();
        }
        self.server.stop();
        Ok(())
    }

    fn wait_for_events(&mut self, events: &mut Events) -> io::Result<()> {
        let timeout = self.timeout();
        if timeout == Some(Duration::ZERO) || !self.busy_poll.is_due() || !self.busy_poll(events)? {
            self.poll(events, timeout)?;
        }
        self.server.begin_tick(Instant::now());
        self.poll_drained = events.iter().count() < EVENTS_MAX;
        Ok(())
    }

    /// Looks for events again and again for a moment; whether there were any. Whoever else wants this processor has it in
    /// between.
    fn busy_poll(&mut self, events: &mut Events) -> io::Result<bool> {
        let until = Instant::now() + SPIN;
        let mut found = false;
        while !found && Instant::now() < until {
            self.poll(events, Some(Duration::ZERO))?;
            found = !events.is_empty();
            if !found {
                std::thread::yield_now();
            }
        }
        self.busy_poll.record(found);
        Ok(found)
    }

    fn poll(&mut self, events: &mut Events, timeout: Option<Duration>) -> io::Result<()> {
        match self.poll.poll(events, timeout) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => events.clear(),
            result => result?,
        }
        Ok(())
    }

    /// How long nothing is to be done: the one place where time enters.
    fn timeout(&self) -> Option<Duration> {
        let accept_now = self.listeners.pending && self.accept_retry_at.is_none();
        if accept_now || !self.deferred.is_empty() || self.server.is_busy() {
            return Some(Duration::ZERO);
        }
        let next = [self.server.next_deadline(), self.accept_retry_at].into_iter().flatten().min()?;
        Some(next.saturating_duration_since(Instant::now()))
    }

    fn note(&mut self, event: &Event) {
        if event.token() >= Token(connections::FIRST_TOKEN) {
            self.server.record_readiness(id_of(event.token()), event.into());
        }
    }

    fn dispatch(&mut self, event: &Event) {
        match event.token() {
            WAKER => {}
            SIGNALS => self.read_signals(),
            CONTROL => {
                // Several may ask; only a signal says that it takes too long.
                let asked = self.control.stop_requested(self.poll.registry());
                if asked && self.server.stopping == Stopping::No {
                    log::info!("dipcrm asks to stop");
                    self.stop();
                }
            }
            Token(token) if token < connections::FIRST_TOKEN => self.listeners.pending = true,
            token => self.server.on_ready(id_of(token), event.into()),
        }
    }

    fn read_signals(&mut self) {
        let signals: Vec<_> = self.signals.pending().collect();
        for signal in signals {
            match signal {
                SIGHUP => (self.reopen_log)(),
                _ => {
                    log::info!("signal {signal}");
                    self.stop();
                }
            }
        }
    }

    /// Begins to stop, or at the second call stops.
    fn stop(&mut self) {
        if self.server.stopping != Stopping::No {
            self.server.stopping = Stopping::Now;
            return;
        }
        self.accept_remaining();
        self.listeners.close();
        self.server.drain();
    }

    /// Tells the poll what the server waits for now.
    fn register(&mut self) {
        while let Some(id) = self.server.to_reregister.pop() {
            let Some(connection) = self.server.connections.find(id) else { continue };
            let Some(interest) = connection.changed_interest() else { continue };
            let fd = connection.transport().as_raw_fd();
            let registered = self.poll.registry().reregister(&mut SourceFd(&fd), token_of(id), interest);
            if let Err(error) = registered {
                self.server.fail(id, &error);
            }
        }
    }
}
