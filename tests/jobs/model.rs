//! Random requests of several clients, one after the other. Every answer is compared with a naive model.

use dipc_testkit::client::Client;
use dipc_testkit::rng::Rng;
use dipc_testkit::server::Server;

const CLIENTS: u64 = 4;
const CAPACITY: usize = 1024;
const STEPS: usize = 20_000;

const NOT_IN_HAND: &str = "ERR lease : this connection does not have that message in hand, or no longer\n";

struct Message {
    version: u64,
    text: String,
    /// The client that has the message in hand.
    holder: Option<usize>,
    tries: u64,
    is_done: bool,
}

#[derive(Default)]
struct Model {
    version: u64,
    /// From the oldest message that is left on: messages, and holes.
    messages: Vec<Message>,
}

impl Model {
    fn count(&self) -> usize {
        self.messages.iter().filter(|message| !message.is_done).count()
    }

    fn used(&self) -> usize {
        self.messages.iter().map(|message| message.text.len() + 4).sum()
    }

    fn fits(&self, text: &str) -> bool {
        self.used() + text.len() <= CAPACITY
    }

    fn push(&mut self, text: String) {
        self.version += 1;
        let (version, holder, tries, is_done) = (self.version, None, 0, false);
        self.messages.push(Message { version, text, holder, tries, is_done });
    }

    fn remove(&mut self, at: usize) {
        self.messages[at].is_done = true;
        while self.messages.first().is_some_and(|message| message.is_done) {
            self.messages.remove(0);
        }
    }

    fn in_hand(&self, client: usize, version: u64) -> Option<usize> {
        let is_it = |message: &Message| {
            !message.is_done && message.version == version && message.holder == Some(client)
        };
        self.messages.iter().position(is_it)
    }

    fn next(&self) -> Option<usize> {
        self.messages.iter().position(|message| !message.is_done && message.holder.is_none())
    }

    fn put(&mut self, text: String, drops: bool) -> String {
        while drops && !self.fits(&text) {
            let oldest = self.messages.iter().position(|message| !message.is_done).expect("there is one");
            self.remove(oldest);
        }
        if !self.fits(&text) {
            return "NO full\n".into();
        }
        self.push(text);
        format!("OK v={} n={}\n", self.version, self.count())
    }

    fn write(&mut self, text: String) -> String {
        self.messages.clear();
        self.push(text);
        format!("OK v={}\n", self.version)
    }

    fn take(&mut self) -> String {
        let Some(at) = self.next() else { return "NO empty\n".into() };
        let (version, text) = (self.messages[at].version, self.messages[at].text.clone());
        self.remove(at);
        format!("DATA {} v={version} n={}\n{text}\n", text.len(), self.count())
    }

    fn hand_out(&mut self, client: usize) -> String {
        let Some(at) = self.next() else { return "NO empty\n".into() };
        let count = self.count();
        let message = &mut self.messages[at];
        message.holder = Some(client);
        message.tries += 1;
        let Message { version, text, tries, .. } = message;
        format!("DATA {} v={version} n={count} tries={tries}\n{text}\n", text.len())
    }

    fn done(&mut self, client: usize, version: u64) -> String {
        let Some(at) = self.in_hand(client, version) else { return NOT_IN_HAND.into() };
        self.remove(at);
        format!("OK n={}\n", self.count())
    }

    fn back(&mut self, client: usize, version: u64) -> String {
        let Some(at) = self.in_hand(client, version) else { return NOT_IN_HAND.into() };
        self.messages[at].holder = None;
        "OK\n".into()
    }

    fn end(&mut self, client: usize) {
        self.messages.iter_mut().filter(|message| message.holder == Some(client)).for_each(|message| {
            message.holder = None;
        });
    }

    fn read(&self) -> String {
        let newest = self.messages.iter().rev().find(|message| !message.is_done);
        let text = newest.map_or("", |message| &message.text);
        format!("DATA {} v={} n={}\n{text}\n", text.len(), self.version, self.count())
    }

    fn read_after(&self, after: u64) -> String {
        let found = self.messages.iter().find(|message| !message.is_done && message.version > after);
        let Some(Message { version, text, .. }) = found else {
            return format!("NO timeout v={}\n", self.version);
        };
        let lost = version - after - 1;
        let lost = if lost > 0 { format!(" lost={lost}") } else { String::new() };
        format!("DATA {} v={version} n={}{lost}\n{text}\n", text.len(), self.count())
    }
}

/// One step: a request and its answer. `None`: the client disconnects.
fn step(rng: &mut Rng, model: &mut Model, client: usize) -> Option<(String, String)> {
    let text = "x".repeat(rng.below(60) as usize);
    let text = format!("{}{text}", model.version + 1);
    Some(match rng.below(100) {
        0..25 => (format!("put 0 wait=0\n{text}\n"), model.put(text, false)),
        25..30 => (format!("put 0 full=drop\n{text}\n"), model.put(text, true)),
        30 => (format!("w 0\n{text}\n"), model.write(text)),
        31..55 => ("take 0 ttl=3600 wait=0\n".into(), model.hand_out(client)),
        55..62 => ("take 0 wait=0\n".into(), model.take()),
        62..76 => {
            let version = version_in_hand(rng, model, client);
            (format!("done 0 v={version}\n"), model.done(client, version))
        }
        76..84 => {
            let version = version_in_hand(rng, model, client);
            (format!("back 0 v={version}\n"), model.back(client, version))
        }
        84..90 => ("r 0\n".into(), model.read()),
        90..98 => {
            let after = model.version.saturating_sub(rng.below(31));
            (format!("r 0 after={after} wait=0\n"), model.read_after(after))
        }
        _ => return None,
    })
}

/// Mostly a version that the client has in hand.
fn version_in_hand(rng: &mut Rng, model: &Model, client: usize) -> u64 {
    let held: Vec<u64> = model
        .messages
        .iter()
        .filter(|message| !message.is_done && message.holder == Some(client))
        .map(|message| message.version)
        .collect();
    match held.is_empty() || rng.below(10) == 0 {
        true => model.version.saturating_sub(rng.below(10)),
        false => held[rng.below(held.len() as u64) as usize],
    }
}

#[test]
fn every_answer_is_that_of_a_naive_model() {
    let server = Server::start("1 1 0 1");
    let mut rng = Rng::new(7);
    let mut model = Model::default();
    let mut clients: Vec<Client> = (0..CLIENTS).map(|_| server.connect()).collect();
    for number in 0..STEPS {
        let client = rng.below(CLIENTS) as usize;
        match step(&mut rng, &mut model, client) {
            Some((request, answer)) => {
                clients[client].send(&request);
                let found = clients[client].bytes(answer.len());
                assert_eq!(
                    String::from_utf8_lossy(&found),
                    answer,
                    "the answer to {request:?} of client {client}, step {number}"
                );
            }
            None => {
                model.end(client);
                let leaving = std::mem::replace(&mut clients[client], server.connect());
                leaving.reset();
                let in_hand =
                    model.messages.iter().filter(|message| !message.is_done && message.holder.is_some());
                let in_hand = in_hand.count() as u64;
                server.wait_for_stat_box(0, "in_hand", |count| count == in_hand);
            }
        }
    }
}
