//! The one thread that owns every socket and every clock.
//!
//! It fills the connections' buffers and cuts batches of requests from them. It queues the first request of
//! each batch at the mailbox of that request. It runs admitted jobs or hands them to the workers, and writes
//! the answers. Only one thread queues first requests, so their order of arrival is a total order. Fairness
//! follows from this order.
//!
//! The [`Reactor`] handles the poll, the signals and the listeners. The [`Server`] handles clients. The
//! server knows a socket only as a `Transport`, and time only as a value.
//!
//! The files of this module, in the order of a request's life:
//!
//! | | |
//! |---|---|
//! | `listeners`, `accept`, `datagrams` | new connections, and the UDP socket |
//! | `busy_poll` | whether to sleep until the next event |
//! | `connection` (`input`, `output`), `phase`, `transport` | one client: receiving, waiting, sending |
//! | `server` | the steps of a job, and work that is left for later ticks; see its own table |
//! | `clients`, `extras`, `locks`, `leases` | the state of the server, each fact stored once |
//! | `watches`, `watch_list` | the watches of all clients, and of one |
//! | `deadlines`, `budget`, `pools`, `stat` | deadlines of clients; work of a tick; reused memory; counters |
//! | `control`, `handover` | how `dipcrm` asks the server to stop; how a new server takes over |
//! | `host` | what the reactor needs of the instance |
//! | `simulation` | the whole server without a kernel |
//!
//! **The law**: every job, deadline and event of a client carries the
//! [`ConnectionId`](crate::workers::ConnectionId) of this client. An item is dropped if its generation is not
//! the current generation of the slot. Dropped jobs are counted. A connection that closes while the events of
//! a poll are handled is removed after the last of them.

mod accept;
mod budget;
mod busy_poll;
mod clients;
mod connection;
mod control;
mod datagrams;
mod deadlines;
mod extras;
mod handover;
mod host;
mod leases;
mod listeners;
mod locks;
mod phase;
mod pools;
mod server;
#[cfg(all(test, not(feature = "loom")))]
mod simulation;
mod stat;
mod transport;
mod watch_list;
mod watches;

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use mio::event::Event;
use mio::net::UdpSocket;
use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token, Waker};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook_mio::v1_0::Signals;
use socket2::Socket;

use crate::memory;
use crate::workers::{Completions, Mailboxes, Pool};
use busy_poll::BusyPoll;
use clients::{FIRST_TOKEN, id_of, token_of};
use control::Control;
use datagrams::Datagrams;
use handover::Handover;
use listeners::{Accepted, Listeners};
use server::Server;

pub(crate) use control::{PING, RUNNING, STOP, STOPPING};
pub(crate) use handover::{
    ACK, ACK_TIME, COMMIT, DRAIN_TIME, GO, HELLO, QUIET_TIME, READY, Refusal, SocketKind, Successor,
};
pub(crate) use host::{End, FileCheck, Host};
pub(crate) use listeners::Listener;
pub(crate) use server::DRAIN;

const WAKER: Token = Token(0);
const SIGNALS: Token = Token(1);
const CONTROL: Token = Token(2);
const DATAGRAMS: Token = Token(3);
/// Listeners have the tokens from here up to [`FIRST_TOKEN`].
const FIRST_LISTENER: usize = 4;

/// Largest number of events of one poll. It is small enough that the sockets are still in the cache when
/// their answers are written, and large enough to make the cost of a tick negligible.
const EVENTS_MAX: usize = 64;

/// Time limit for closing sockets in a tick. A tick closes at least one socket if there is one to be closed.
const CLOSING_TIME: Duration = Duration::from_micros(100);

/// The settings that a user can choose.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Settings {
    /// Threads of the pool.
    pub workers: usize,
    /// Wait of requests without `wait=`.
    pub wait: Duration,
    /// Limit of connections.
    pub max_clients: usize,
    /// Limit of the memory for clients, in bytes.
    pub client_memory: usize,
    /// Limit of the time that a lock is held.
    pub max_hold: Duration,
    /// Silence that completes a request without an end of line. Zero: silence completes no request.
    pub quiet: Duration,
    /// Duration of a busy poll. Zero: the reactor sleeps at once.
    pub spin: Duration,
    /// What the reactor may run itself in a tick; see [`INLINE_BUDGET`](crate::workers::INLINE_BUDGET). Zero:
    /// the workers execute all requests for mailboxes.
    pub inline_budget: usize,
}

/// Time between two checks of the instance's files. The server logs the loss of a name within a second.
const FILE_CHECK_INTERVAL: Duration = Duration::from_millis(500);

/// The server with its poll.
pub(crate) struct Reactor {
    poll: Poll,
    signals: Signals,
    control: Control,
    handover: Handover,
    listeners: Listeners,
    datagrams: Option<Datagrams>,
    server: Server<Socket>,
    /// New connections that wait because the table is full. An event of this poll may free a slot.
    deferred: Vec<Accepted>,
    accept_retry_at: Option<Instant>,
    busy_poll: BusyPoll,
    /// Whether the last poll returned all pending events.
    poll_drained: bool,
    host: Host,
    file_check_at: Instant,
    /// Whether a signal has asked to stop.
    has_signal: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stopping {
    No,
    /// A new server takes over: all waits end, and no request is received.
    EndingWaits,
    /// A new server takes over: each client is read once more. The server may continue afterwards.
    HandingOver,
    /// A new server has taken over: nothing is received, and connections are closed until this instant.
    HandedOver(Instant),
    /// Requests that have arrived are answered until this instant.
    Draining(Instant),
    Now,
}

impl Reactor {
    /// Starts the pool, catches the signals and registers the listeners. Accepts nothing before
    /// [`Reactor::run`].
    pub(crate) fn new(
        mailboxes: Mailboxes,
        listeners: Vec<Listener>,
        datagrams: Option<UdpSocket>,
        control: Option<OwnedFd>,
        settings: Settings,
        host: Host,
    ) -> io::Result<Self> {
        let poll = Poll::new()?;
        let mut signals = Signals::new([SIGTERM, SIGINT, SIGHUP])?;
        poll.registry().register(&mut signals, SIGNALS, Interest::READABLE)?;
        let control = Control::open(control, CONTROL, poll.registry())?;
        let listeners = Listeners::open(listeners, FIRST_LISTENER, poll.registry())?;
        let datagrams =
            datagrams.map(|socket| Datagrams::open(socket, DATAGRAMS, poll.registry())).transpose()?;
        let mailboxes = Arc::new(mailboxes);
        let waker = Waker::new(poll.registry(), WAKER)?;
        let completions = Arc::new(Completions::new(move || waker.wake()));
        let (workers, inline) = (settings.workers, settings.inline_budget);
        let pool = Pool::start(workers, inline, Arc::clone(&mailboxes), Arc::clone(&completions))?;
        let server = Server::new(mailboxes, pool, completions, settings, Instant::now());
        memory::set_limit(settings.client_memory);
        Ok(Reactor {
            poll,
            signals,
            control,
            handover: Handover::None,
            listeners,
            datagrams,
            server,
            deferred: Vec::new(),
            accept_retry_at: None,
            busy_poll: BusyPoll::new(settings.spin),
            poll_drained: true,
            host,
            file_check_at: Instant::now() + FILE_CHECK_INTERVAL,
            has_signal: false,
        })
    }

    /// Serves until the server has stopped, or has handed over to a new one.
    pub(crate) fn run(mut self) -> io::Result<End> {
        let mut events = Events::with_capacity(EVENTS_MAX);
        while !self.server.has_stopped() {
            self.wait_for_events(&mut events)?;
            // All events are recorded before any is handled. So no message is sent to a client that has
            // waited and whose disconnection is one of these events.
            for event in &events {
                if event.token() >= Token(FIRST_TOKEN) {
                    self.server.clients.record_readiness(id_of(event.token()), event.into());
                }
            }
            self.server.run_postponed();
            for event in &events {
                self.dispatch(event);
            }
            self.receive_packets();
            self.server.finish_tick();
            if let Some(datagrams) = &self.datagrams {
                self.server.send_packets(|packet, to| datagrams.send(packet, to));
            }
            let registry = self.poll.registry();
            self.server.reregister(|id, socket, interest| {
                registry.reregister(&mut SourceFd(&socket.as_raw_fd()), token_of(id), interest)
            });
            self.remove_closed();
            if self.handover.is_serving() {
                self.accept();
            }
            self.keep_instance();
            self.advance_handover();
            self.server.end_tick(Instant::now());
        }
        let end = if self.handover.is_committed() { End::HandedOver } else { End::Stopped };
        self.server.stop();
        Ok(end)
    }

    /// Handles packets of UDP, up to the budget of the tick.
    fn receive_packets(&mut self) {
        if !self.handover.is_serving() {
            return;
        }
        let Some(datagrams) = self.datagrams.as_mut().filter(|datagrams| datagrams.pending) else { return };
        let own = datagrams.address();
        let server = &mut self.server;
        // A packet whose sender is the socket itself would be answered for ever.
        datagrams.receive(|packet, from| Some(from) == own || server.on_packet(packet, from));
    }

    /// Retries a failed accept at the control socket, and checks the files of the instance.
    fn keep_instance(&mut self) {
        let now = self.server.now();
        if self.control.retry_at().is_some_and(|at| at <= now) {
            self.read_control();
        }
        if self.file_check_at > now {
            return;
        }
        self.file_check_at = now + FILE_CHECK_INTERVAL;
        let check = self.check_files();
        self.server.counters.files_missing = check.missing;
        self.server.counters.files_restored += check.restored;
        if let Some(listener) = check.control
            && let Err(error) = self.control.replace(listener, self.poll.registry())
        {
            log::error!("cannot listen on the control socket: {error}");
        }
    }

    /// Closes sockets until [`CLOSING_TIME`] has passed, because closing a socket with full buffers takes
    /// long.
    fn remove_closed(&mut self) {
        if !self.server.clients.remove_closed() {
            return;
        }
        // A descriptor is free. Connections that wait for a descriptor are accepted now, not at the next
        // timer.
        self.accept_retry_at = None;
        let until = Instant::now() + CLOSING_TIME;
        while Instant::now() < until && self.server.clients.remove_closed() {}
    }

    fn wait_for_events(&mut self, events: &mut Events) -> io::Result<()> {
        let timeout = self.timeout();
        let busily = match timeout {
            Some(Duration::ZERO) => None,
            _ => self.busy_poll.count_pause(),
        };
        let found = match busily {
            Some(duration) => self.busy_poll(events, duration)?,
            None => false,
        };
        if !found {
            self.poll(events, timeout)?;
        }
        self.server.begin_tick(Instant::now());
        self.server.counters.log_lines_dropped = (self.host.dropped_log_lines)();
        self.poll_drained = events.iter().count() < EVENTS_MAX;
        Ok(())
    }

    /// Polls for a moment without sleeping, and yields the processor between two polls. Returns whether there
    /// were events.
    fn busy_poll(&mut self, events: &mut Events, duration: Duration) -> io::Result<bool> {
        let until = Instant::now() + duration;
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

    /// How long the poll may sleep. Only this function reads the next deadline.
    fn timeout(&self) -> Option<Duration> {
        let accept_now = self.listeners.pending && self.accept_retry_at.is_none();
        let has_packets = self.datagrams.as_ref().is_some_and(|datagrams| datagrams.pending);
        let is_serving = self.handover.is_serving();
        if is_serving && (accept_now || has_packets || !self.deferred.is_empty()) || self.server.is_busy() {
            return Some(Duration::ZERO);
        }
        let retries = [
            self.server.next_deadline(),
            self.accept_retry_at.filter(|_| is_serving),
            self.control.retry_at(),
            self.handover.next_deadline(),
        ];
        let next = retries.into_iter().flatten().fold(self.file_check_at, Instant::min);
        Some(next.saturating_duration_since(Instant::now()))
    }

    fn dispatch(&mut self, event: &Event) {
        match event.token() {
            WAKER => {}
            SIGNALS => self.read_signals(),
            CONTROL => self.read_control(),
            DATAGRAMS => {
                if let Some(datagrams) = &mut self.datagrams {
                    datagrams.pending = true;
                }
            }
            Token(token) if token < FIRST_TOKEN => self.listeners.pending = true,
            token => self.server.on_event(id_of(token), event.into()),
        }
    }

    fn read_control(&mut self) {
        let is_stopping = self.server.is_stopping();
        let messages = self.control.receive(self.poll.registry(), is_stopping, self.server.now());
        if messages.stop && !is_stopping {
            log::info!("dipcrm asks to stop");
            self.stop();
        }
        for (peer, hello) in messages.hellos {
            self.on_hello(peer, &hello);
        }
        self.read_handover();
    }

    fn read_signals(&mut self) {
        let signals: Vec<_> = self.signals.pending().collect();
        for signal in signals {
            match signal {
                SIGHUP => (self.host.reopen_log)(),
                _ => {
                    log::info!(
                        "{}",
                        nix::sys::signal::Signal::try_from(signal).map_or("signal", |signal| signal.as_str())
                    );
                    // The second signal stops at once. The first one does not, even if the server is draining
                    // already: dipcrm sends a signal if its message gets no answer in time, and the server
                    // may read the message later.
                    if std::mem::replace(&mut self.has_signal, true) {
                        self.server.stop_at_once();
                    } else {
                        self.stop();
                    }
                }
            }
        }
    }

    /// Begins to stop, unless the server is stopping already.
    fn stop(&mut self) {
        if self.server.is_stopping() {
            return;
        }
        self.cancel_handover("the running server is stopping");
        self.accept_remaining();
        self.listeners.close();
        self.receive_packets();
        self.server.drain();
    }
}
