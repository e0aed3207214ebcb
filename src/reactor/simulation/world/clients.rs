//! Actions of the virtual clients.

use super::super::super::connection::ListenerKind;
use super::*;

impl World {
    /// A random action of a random client.
    pub(super) fn client_action(&mut self) {
        let open = self.open_clients();
        if open.len() < 2 || open.len() < CLIENTS_MAX && self.rng.chance(4) {
            return self.connect();
        }
        let client = *self.rng.choose(&open);
        match self.rng.below(100) {
            0..50 => self.send_random_requests(client),
            50..80 => _ = self.send(client),
            80..98 => self.maybe_read(client),
            _ => self.close_client(client),
        }
    }

    pub(super) fn connect(&mut self) {
        let pipe = Pipe::new(self.rng.chance(40), self.rng.fork());
        self.connect_through(pipe);
    }

    /// Connects a client whose socket holds `capacity` bytes of output. Returns its number.
    pub(crate) fn connect_with_capacity(&mut self, capacity: usize) -> usize {
        self.connect_through(Pipe::with_client_capacity(capacity))
    }

    pub(super) fn connect_through(&mut self, pipe: Pipe) -> usize {
        let listener = if pipe.is_unix() { ListenerKind::Unix } else { ListenerKind::Tcp };
        let pipe = Rc::new(RefCell::new(pipe));
        // New connections are added after closed ones are removed.
        let id = self.server.add_client(PipeSocket(Rc::clone(&pipe)), listener);
        let number = self.oracle.add_client();
        self.trace(|| format!("{} connects, slot {}", label(number), id.slot));
        self.clients.push(Client::new(number, id, pipe, &mut self.rng));
        number
    }

    pub(super) fn send_random_requests(&mut self, client: usize) {
        if !self.clients[client].may_send() {
            return;
        }
        let count = *self.rng.choose(&[1, 1, 1, 2, 3]);
        for _ in 0..count {
            let hints = self.oracle.hints(client);
            let request = self.clients[client].random_request(&hints, &mut self.rng);
            // Sometimes the request is repeated, so that a run of requests for one mailbox is sent.
            let is_access = matches!(
                request,
                ClientRequest::Read { .. } | ClientRequest::Write { .. } | ClientRequest::Put { .. }
            );
            let repeats = if is_access && self.rng.chance(15) { 1 + self.rng.below(3) } else { 0 };
            for _ in 0..=repeats {
                self.clients[client].queue_request(request.clone(), &mut self.rng);
            }
        }
        self.send(client);
    }

    /// Sends exactly these requests.
    pub(crate) fn send_requests(&mut self, client: usize, requests: impl IntoIterator<Item = ClientRequest>) {
        for request in requests {
            self.clients[client].queue_request(request, &mut self.rng);
        }
        while self.clients[client].has_unsent() && self.send(client) {}
    }

    /// A client reads until no more output arrives.
    pub(crate) fn read_all(&mut self, client: usize) {
        while self.clients[client].pipe.borrow_mut().receive() {
            self.run_until_quiescent();
        }
    }

    /// Advances the clock.
    pub(crate) fn advance_time(&mut self, time: Duration) {
        self.now += time;
        self.advance_sequence();
    }

    /// Sends as many bytes as the pipe accepts. Returns whether any bytes were sent.
    pub(super) fn send(&mut self, client: usize) -> bool {
        // A TCP socket gives a reader all bytes that have arrived.
        let arrives_together = !self.clients[client].pipe.borrow().is_unix();
        self.oracle.begin_burst(arrives_together);
        let (is_any, sent) = self.clients[client].send();
        for composed in sent {
            self.trace(|| {
                let bytes = composed.request.encode("~", false);
                format!("{} > {}", label(client), &bytes[..bytes.len().min(70)].escape_ascii())
            });
            self.advance_sequence();
            self.oracle.request_sent(client, composed);
        }
        self.update_connection_state(client);
        is_any
    }

    pub(super) fn maybe_read(&mut self, client: usize) {
        if self.clients[client].can_read() && self.rng.chance(self.clients[client].read_percent) {
            self.clients[client].pipe.borrow_mut().receive();
        }
        if self.rng.chance(1) {
            self.clients[client].read_percent = *self.rng.choose(&[100, 50, 0]);
        }
    }

    pub(super) fn close_client(&mut self, client: usize) {
        let end = *self.rng.choose(&[ClientEnd::HalfClosed, ClientEnd::Closed, ClientEnd::Reset]);
        let (end, last) = self.clients[client].close(end);
        self.advance_sequence();
        if let Some(last) = last {
            self.oracle.request_sent(client, last);
        }
        self.oracle.client_closed(client, end);
        self.trace(|| format!("{} closes: {end:?}", label(client)));
    }

    /// The clients whose connections are fully open.
    pub(super) fn open_clients(&self) -> Vec<usize> {
        let is_open = |client: &usize| {
            let pipe = self.clients[*client].pipe.borrow();
            pipe.client_end() == ClientEnd::Open && !pipe.is_dropped()
        };
        (0..self.clients.len()).filter(is_open).collect()
    }
}
