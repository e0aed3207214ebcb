//! Ticks of the reactor, interleaved with other actions.

use super::*;
use crate::reactor::connection::Readiness;
use crate::workers::ConnectionId;

impl World {
    /// One tick of the reactor's loop.
    pub(super) fn run_tick(&mut self) {
        self.begin_tick();
        let mut events: Vec<usize> =
            (0..self.clients.len()).filter(|client| self.has_event(*client)).collect();
        self.rng.shuffle(&mut events);
        let events: Vec<_> = events.into_iter().filter_map(|client| self.take_readiness(client)).collect();
        self.server.run_postponed();
        self.check_and_interleave();
        for (id, readiness) in events {
            // As if the budget were spent.
            let is_postponed = !readiness.broken && !readiness.hung_up && self.rng.chance(10);
            if !is_postponed {
                self.on_event(id, readiness);
            } else if let Some(mut client) = self.server.clients.get(id) {
                client.postpone();
            }
            self.interleave();
            // Completions may arrive before all events are handled, as the completions of large messages do.
            if self.rng.chance(10) {
                let budget = self.completion_budget();
                self.deliver_completions(budget);
            }
        }
        self.server.run_continuing();
        self.check_and_interleave();
        self.server.expire_deadlines();
        self.check_and_interleave();
        let budget = self.completion_budget();
        self.deliver_completions(budget);
        self.server.send_events();
        self.check_and_interleave();
        self.server.work_off_backlog();
        self.check_and_interleave();
        self.reregister();
        while self.server.clients.remove_closed() {}
        self.check_and_interleave();
    }

    pub(super) fn has_event(&self, client: usize) -> bool {
        let pipe = self.clients[client].pipe.borrow();
        pipe.has_event() && !pipe.is_dropped()
    }

    /// Records the readiness of a client's socket.
    pub(crate) fn take_readiness(&mut self, client: usize) -> Option<(ConnectionId, Readiness)> {
        let id = self.clients[client].id;
        let readiness = self.clients[client].pipe.borrow_mut().take_event()?;
        self.server.clients.record_readiness(id, readiness);
        Some((id, readiness))
    }

    pub(crate) fn on_event(&mut self, id: ConnectionId, readiness: Readiness) {
        self.server.on_event(id, readiness);
        self.advance_sequence();
        self.check_output();
    }

    /// A random number of completions that this tick handles.
    pub(super) fn completion_budget(&mut self) -> usize {
        if self.rng.chance(60) { self.done.len() } else { self.rng.below(self.done.len() + 1) }
    }

    pub(super) fn deliver_completions(&mut self, count: usize) {
        for _ in 0..count {
            let Some(completion) = self.rng.take_random(&mut self.done) else { return };
            // The reactor may miss the start of a wait that has already ended.
            if let Completion::WaitStarted(started) = &completion {
                let queue = self.server.mailboxes.queue(started.mailbox);
                if queue.with_waiter(started.ticket, |_| ()).is_none() && self.rng.chance(70) {
                    continue;
                }
            }
            self.server.on_completion(completion);
            self.check_and_interleave();
        }
    }

    pub(super) fn reregister(&mut self) {
        self.server.reregister(|_, socket, interest| {
            socket.0.borrow_mut().register(interest.is_writable());
            Ok(())
        });
    }

    /// Advances the sequence number, checks the output and runs concurrent actions. It is called after every
    /// action of the reactor.
    pub(super) fn check_and_interleave(&mut self) {
        self.advance_sequence();
        self.check_output();
        self.interleave();
    }

    /// Collects the submitted jobs and lets the oracle check the output.
    pub(super) fn check_output(&mut self) {
        self.jobs.extend(self.server.pool.take_pending());
        for client in 0..self.clients.len() {
            let output = self.clients[client].pipe.borrow_mut().take_unchecked();
            for line in self.oracle.receive(client, &output) {
                self.trace(|| format!("{} < {line}", label(client)));
            }
            self.update_connection_state(client);
        }
    }

    pub(super) fn update_connection_state(&mut self, client: usize) {
        if self.oracle.models[client].is_removed {
            return;
        }
        let id = self.clients[client].id;
        let connection = self.server.clients.look(id);
        let is_removed = connection.is_none();
        let dropped = self.clients[client].pipe.borrow().is_dropped();
        if let Some(connection) = connection {
            let has_output = connection.has_output();
            self.oracle.set_blocked(client, has_output);
            self.oracle.record_slow(client, has_output || self.clients[client].is_partially_sent());
        }
        if dropped {
            self.oracle.server_closed(client);
        }
        let is_known = self.jobs.iter().any(|job| job.owner == Owner::Client(id))
            || self.done.iter().any(|completion| owner_of(completion) == Owner::Client(id));
        if is_removed && dropped && !is_known {
            self.oracle.client_removed(client);
        }
    }

    /// Advances the sequence number and samples the state of every mailbox.
    pub(super) fn advance_sequence(&mut self) {
        self.jobs.extend(self.server.pool.take_pending());
        self.sequence += 1;
        (self.oracle.now.sequence, self.oracle.now.time) = (self.sequence, self.now);
        for mailbox in 0..MAILBOXES {
            let contents = self.server.mailboxes.contents(mailbox).expect("whole");
            let state = State { version: contents.version, count: contents.count };
            let before = self.oracle.mailboxes[mailbox as usize].current();
            if before != state {
                self.trace(|| format!("mailbox {mailbox}: v={} n={}", state.version, state.count));
            }
            self.oracle.mailboxes[mailbox as usize].sample(self.sequence, state, contents.room);
        }
        let in_hand = self.server.mailboxes.queue(JOBS).inspect(|queue| queue.in_hand_count());
        let count = self.oracle.mailboxes[JOBS as usize].current().count;
        self.oracle.jobs.sample(self.sequence, count.saturating_sub(in_hand));
    }
}
