//! The end of a run: all clients disconnect, and the server must be empty.

use super::*;

impl World {
    /// Lets all clients read without sending new requests until all locks have expired. Then one client takes
    /// the remaining messages, all clients disconnect, and the server must have removed the state of all
    /// clients.
    pub(crate) fn finish(&mut self) {
        self.drain_for(MAX_HOLD + DEFAULT_WAIT + Duration::from_secs(5));
        self.connect();
        let last_client = self.clients.len() - 1;
        self.clients[last_client].read_percent = 100;
        (0..JOBS).for_each(|mailbox| self.empty(last_client, mailbox));
        // The others give back what they have in hand.
        self.close_clients(|client| client != last_client);
        self.empty(last_client, JOBS);
        self.close_clients(|_| true);
        self.check_nothing_left();
    }

    /// Lets a client take all messages of a mailbox.
    fn empty(&mut self, client: usize, mailbox: u32) {
        for round in 0.. {
            assert!(round < ROUNDS_MAX, "mailbox {mailbox} does not become empty");
            let wait = Wait::For(Duration::ZERO);
            self.send_requests(client, [ClientRequest::Take { mailbox, ttl: None, wait }]);
            self.drain_for(Duration::from_secs(1));
            let model = &self.oracle.models[client];
            assert!(model.is_open() && model.outstanding.is_empty(), "the last client has no reply");
            if self.oracle.mailboxes[mailbox as usize].current().count == 0 {
                break;
            }
        }
    }

    fn close_clients(&mut self, matches: impl Fn(usize) -> bool) {
        for client in self.open_clients().into_iter().filter(|client| matches(*client)) {
            self.close_client(client);
        }
        self.drain_for(Duration::from_secs(90));
    }

    pub(super) fn drain_for(&mut self, time: Duration) {
        let until = self.now + time;
        loop {
            for round in 0.. {
                assert!(round < ROUNDS_MAX, "the clients do not stop making progress");
                self.run_until_quiescent();
                let mut progressed = false;
                for client in 0..self.clients.len() {
                    self.send(client);
                    progressed |= self.has_event(client);
                    if self.clients[client].can_read() {
                        progressed |= self.clients[client].pipe.borrow_mut().receive();
                    }
                }
                if !progressed {
                    break;
                }
            }
            if self.now >= until {
                return;
            }
            let next = self.server.next_deadline().map(|at| at.saturating_duration_since(self.start));
            self.now = next.map_or(until, |next| next.clamp(self.now, until));
        }
    }

    pub(super) fn check_nothing_left(&mut self) {
        let server = &self.server;
        assert_eq!(server.clients.len(), 0, "connections are left");
        assert_eq!(server.tables(), (0, 0), "locks or watches are left");
        assert!(server.is_quiet(), "a job is left");
        assert!(!server.has_work_left() && !server.clients.has_ready(), "work is left");
        for mailbox in 0..MAILBOXES {
            let inspect = |queue: &crate::mailboxes::Admission<Box<Job>>| {
                (queue.holders(), queue.waiting(), queue.waiting_for_condition(), queue.overtakes())
            };
            assert_eq!(
                server.mailboxes.queue(mailbox).inspect(inspect),
                (None, 0, 0, 0),
                "mailbox {mailbox}"
            );
            let in_hand = server.mailboxes.queue(mailbox).inspect(|queue| queue.in_hand_count());
            assert_eq!(in_hand, 0, "messages of mailbox {mailbox} are in hand");
            if mailbox != JOBS {
                let history = &self.oracle.mailboxes[mailbox as usize];
                history.replay(history.current());
            }
        }
        self.oracle.jobs.check_none_lost();
    }

    pub(super) fn trace(&self, what: impl FnOnce() -> String) {
        let mut trace = self.trace.borrow_mut();
        if trace.len() == TRACE_MAX {
            trace.pop_front();
        }
        trace.push_back(format!("{:>6} {:>12.6} {}", self.sequence, self.now.as_secs_f64(), what()));
    }
}
