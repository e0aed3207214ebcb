//! What each client does, and what it records.

use std::collections::BTreeSet;
use std::sync::atomic::Ordering;
use std::time::Instant;

use super::Shared;
use super::connection::Connection;

/// The mailboxes: two queues, a value with readers and watchers, a counter under a lock, an empty mailbox.
const QUEUE: u32 = 1;
const RECEIPTS: u32 = 2;
const VALUE: u32 = 3;
const COUNTER: u32 = 4;
pub(crate) const EMPTY: u32 = 5;

#[derive(Clone, Copy, Debug)]
pub(crate) enum Role {
    /// Adds messages to a mailbox.
    Putter(u32),
    Taker,
    /// Takes messages with `ttl=`, and ends them with `done`.
    Worker,
    Writer,
    Reader,
    /// Increments a number under a lock.
    Incrementer,
    Watcher,
    /// Waits for a message that never comes.
    Waiter,
    /// Measures the time without an answer.
    Pinger,
}

impl Role {
    pub(crate) const WAITERS: usize = 250;
    pub(crate) const CLIENTS: usize = 1000;

    /// The roles of all clients.
    pub(crate) fn all() -> impl Iterator<Item = Role> {
        let groups = [
            (Role::Putter(QUEUE), 100),
            (Role::Putter(RECEIPTS), 50),
            (Role::Taker, 150),
            (Role::Worker, 50),
            (Role::Writer, 100),
            (Role::Reader, 149),
            (Role::Incrementer, 50),
            (Role::Watcher, 100),
            (Role::Waiter, Role::WAITERS),
            (Role::Pinger, 1),
        ];
        assert_eq!(groups.iter().map(|(_, count)| count).sum::<usize>(), Role::CLIENTS);
        groups.into_iter().flat_map(|(role, count)| std::iter::repeat_n(role, count))
    }
}

/// Changes that were answered, and requests whose connections ended before the answer.
#[derive(Debug, Default)]
pub(crate) struct Record {
    /// Answered and unanswered messages of the queues.
    put: BTreeSet<(u32, String)>,
    maybe_put: BTreeSet<(u32, String)>,
    /// Messages that were taken, and those of `done`.
    taken: Vec<(u32, String)>,
    /// Number of unanswered `take`, and of unanswered `done`.
    maybe_taken: [u64; 2],
    writes: [u64; 2],
    increments: [u64; 2],
    /// Number of waits that ended with `ERR drain`.
    pub drained: u64,
}

impl Record {
    pub(crate) fn merge(mut self, mut other: Record) -> Record {
        self.put.append(&mut other.put);
        self.maybe_put.append(&mut other.maybe_put);
        self.taken.append(&mut other.taken);
        for (own, other) in [
            (&mut self.maybe_taken, other.maybe_taken),
            (&mut self.writes, other.writes),
            (&mut self.increments, other.increments),
        ] {
            own.iter_mut().zip(other).for_each(|(own, other)| *own += other);
        }
        self.drained += other.drained;
        self
    }

    /// Compares the answers with the mailboxes.
    pub(crate) fn compare(mut self, connection: &mut Connection) {
        for mailbox in [QUEUE, RECEIPTS] {
            while let Some(answer) = connection.ask(&format!("take {mailbox} wait=0\n"))
                && answer.header != "NO empty"
            {
                self.taken.push((mailbox, answer.data));
            }
        }
        let taken: BTreeSet<_> = self.taken.iter().cloned().collect();
        assert_eq!(taken.len(), self.taken.len(), "a message was taken twice");
        let invented: Vec<_> = taken
            .iter()
            .filter(|message| !self.put.contains(message) && !self.maybe_put.contains(message))
            .collect();
        assert!(invented.is_empty(), "{invented:?}");
        for (mailbox, unanswered) in [QUEUE, RECEIPTS].into_iter().zip(self.maybe_taken) {
            let lost =
                self.put.iter().filter(|message| message.0 == mailbox && !taken.contains(message)).count();
            assert!(lost as u64 <= unanswered, "mailbox {mailbox}: {lost} messages, {unanswered} unanswered");
        }
        let version = connection.ask(&format!("r {VALUE}\n")).expect("an answer").field("v");
        let counter = connection.ask(&format!("r {COUNTER}\n")).expect("an answer").data;
        for (what, [answered, unanswered], found) in [
            ("writes", self.writes, version),
            ("increments", self.increments, counter.parse().expect("a number")),
        ] {
            assert!(
                answered > 0 && answered <= found && found <= answered + unanswered,
                "{what}: {found}, {self:?}"
            );
        }
    }
}

/// Runs a client until the load is over. It connects again whenever its connection has ended.
pub(crate) fn run(role: Role, number: usize, shared: &Shared) -> Record {
    let mut client = Client {
        shared,
        number,
        sequence: 0,
        version: 0,
        answered: Instant::now(),
        record: Record::default(),
    };
    while !shared.is_over() {
        let mut connection = Connection::open(shared.port);
        while !shared.is_over() && client.step(role, &mut connection).is_some() {}
    }
    client.record
}

struct Client<'a> {
    shared: &'a Shared,
    number: usize,
    sequence: u64,
    /// The newest version that was seen.
    version: u64,
    /// The time of the last answer.
    answered: Instant,
    record: Record,
}

impl Client<'_> {
    /// One step of a role. `None`: the connection has ended.
    fn step(&mut self, role: Role, connection: &mut Connection) -> Option<()> {
        match role {
            Role::Putter(mailbox) => self.put(mailbox, connection),
            Role::Taker => self.take(connection),
            Role::Worker => self.work(connection),
            Role::Writer => self.write(connection),
            Role::Reader => self.read(connection),
            Role::Incrementer => self.increment(connection),
            Role::Watcher => self.watch(connection),
            Role::Waiter => self.wait(connection),
            Role::Pinger => self.ping(connection),
        }
    }

    fn ask(&self, connection: &mut Connection, request: &str) -> Option<super::connection::Answer> {
        let answer = connection.ask(request);
        if answer.is_some() {
            self.shared.record_answer();
        }
        answer
    }

    fn put(&mut self, mailbox: u32, connection: &mut Connection) -> Option<()> {
        self.sequence += 1;
        let message = format!("{}.{}", self.number, self.sequence);
        let answer = self.ask(connection, &format!("put {mailbox} wait=5\n{message}\n"));
        match answer.as_ref().map(|answer| answer.header.starts_with("OK ")) {
            Some(true) => _ = self.record.put.insert((mailbox, message)),
            Some(false) => {}
            None => _ = self.record.maybe_put.insert((mailbox, message)),
        }
        answer.map(drop)
    }

    fn take(&mut self, connection: &mut Connection) -> Option<()> {
        let Some(answer) = self.ask(connection, &format!("take {QUEUE} wait=5\n")) else {
            self.record.maybe_taken[0] += 1;
            return None;
        };
        if answer.header.starts_with("DATA") {
            self.record.taken.push((QUEUE, answer.data));
        }
        Some(())
    }

    /// A message is not lost if its `take` is not answered, only if its `done` is not.
    fn work(&mut self, connection: &mut Connection) -> Option<()> {
        let answer = self.ask(connection, &format!("take {RECEIPTS} ttl=60 wait=5\n"))?;
        if !answer.header.starts_with("DATA") {
            return Some(());
        }
        let Some(done) = self.ask(connection, &format!("done {RECEIPTS} v={}\n", answer.field("v"))) else {
            self.record.maybe_taken[1] += 1;
            return None;
        };
        assert!(done.header.starts_with("OK"), "{done:?}");
        self.record.taken.push((RECEIPTS, answer.data));
        Some(())
    }

    fn write(&mut self, connection: &mut Connection) -> Option<()> {
        let answer = self.ask(connection, &format!("w {VALUE}\nx\n"));
        self.record.writes[usize::from(answer.is_none())] += 1;
        self.expect_newer(answer?.field("v"));
        Some(())
    }

    fn read(&mut self, connection: &mut Connection) -> Option<()> {
        let version = self.ask(connection, &format!("r {VALUE}\n"))?.field("v");
        assert!(version >= self.version, "version {version} after {}", self.version);
        self.version = version;
        Some(())
    }

    fn increment(&mut self, connection: &mut Connection) -> Option<()> {
        let lock = self.ask(connection, &format!("lock {COUNTER} wait=5\n"))?;
        if !lock.header.starts_with("OK ") {
            return Some(());
        }
        // A later lock has a higher number, across servers.
        self.expect_newer(lock.field("grant"));
        let value = self.ask(connection, &format!("r {COUNTER}\n"))?.data;
        let next = value.parse::<u64>().unwrap_or(0) + 1;
        let written = self.ask(connection, &format!("w {COUNTER}\n{next}\n"));
        self.record.increments[usize::from(written.is_none())] += 1;
        written?;
        self.ask(connection, &format!("unlock {COUNTER}\n")).map(drop)
    }

    /// Watches from the last version on until the connection ends.
    fn watch(&mut self, connection: &mut Connection) -> Option<()> {
        self.ask(connection, &format!("watch {VALUE} after={}\n", self.version))?;
        loop {
            let event = connection.next()?;
            if event.is_drain() {
                return None;
            }
            self.shared.record_answer();
            let lost = if event.header.contains(" lost=") { event.field("lost") } else { 0 };
            assert_eq!(event.field("v"), self.version + lost + 1, "{event:?}");
            self.version = event.field("v");
        }
    }

    /// Waits until the server says that it stops.
    fn wait(&mut self, connection: &mut Connection) -> Option<()> {
        connection.send(&format!("take {EMPTY} wait=inf\n"))?;
        let answer = connection.next()?;
        assert_eq!(answer.header, "ERR drain : the server is stopping");
        self.record.drained += 1;
        assert!(connection.next().is_none());
        None
    }

    fn ping(&mut self, connection: &mut Connection) -> Option<()> {
        self.ask(connection, "ping\n")?;
        let silence = self.answered.elapsed().as_nanos() as u64;
        self.answered = Instant::now();
        self.shared.longest_of_one.fetch_max(silence, Ordering::Relaxed);
        Some(())
    }

    #[track_caller]
    fn expect_newer(&mut self, version: u64) {
        assert!(version > self.version, "version {version} after {}", self.version);
        self.version = version;
    }
}
