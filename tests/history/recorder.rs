//! A client that records its requests, its answers and its locks.

use std::thread;
use std::time::Instant;

use dipc_testkit::client::{Client, field};
use dipc_testkit::process::text;
use dipc_testkit::rng::Rng;

use crate::operation::{Hold, NEVER, Operation, What};

/// The frequency of each kind of request to each mailbox, in hundredths. The mailboxes are so small that they
/// are full at times.
pub(crate) const MAILBOXES: [&[(u32, Kind)]; 5] = [
    &[(40, Kind::Read), (20, Kind::Write), (25, Kind::WriteIf), (15, Kind::Next)],
    &[(60, Kind::Put), (30, Kind::Take), (5, Kind::Read), (5, Kind::Next)],
    &[(40, Kind::PutDropping), (40, Kind::Next), (20, Kind::Read)],
    &[(60, Kind::Put), (30, Kind::Take), (10, Kind::Next)],
    &[
        (20, Kind::Read),
        (10, Kind::Write),
        (10, Kind::WriteIf),
        (20, Kind::Put),
        (10, Kind::PutDropping),
        (20, Kind::Take),
        (10, Kind::Next),
    ],
];

/// Steps after which puts and takes are exchanged, so that a list is full at times and empty at others.
const EXCHANGE_PERIOD: u64 = 30;

/// The mailbox where no client disconnects before it has its answer, so that each change is known.
pub(crate) const CALM: u32 = 1;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Read,
    Next,
    Write,
    WriteIf,
    Put,
    PutDropping,
    Take,
}

/// A random kind of request, with the probabilities in [`MAILBOXES`].
fn any_kind(rng: &mut Rng, mailbox: u32) -> Kind {
    let mut roll = rng.below(100) as u32;
    for (hundredths, kind) in MAILBOXES[mailbox as usize] {
        match roll.checked_sub(*hundredths) {
            Some(rest) => roll = rest,
            None => return *kind,
        }
    }
    unreachable!("the hundredths add up to 100")
}

/// The bytes of a message. The number determines all of them, so a torn copy is recognized. One message in
/// four is so long that its jobs go to the workers.
fn message(number: u64) -> Vec<u8> {
    let filling = (b'a' + (number % 26) as u8) as char;
    format!("{number} {}", filling.to_string().repeat((number * 7919 % 180_000) as usize)).into_bytes()
}

fn number_of(bytes: &[u8]) -> u64 {
    let number = text(bytes).split(' ').next().and_then(|word| word.parse().ok());
    let number = number.unwrap_or_else(|| panic!("not a message: {:?}", text(bytes)));
    assert_eq!(text(bytes), text(&message(number)), "a torn message");
    number
}

/// A recording client.
pub(crate) struct Recorder {
    number: usize,
    port: u16,
    start: Instant,
    rng: Rng,
    client: Client,
    messages: u64,
    /// The version that the last request named in `after=` or `if=`.
    named: u64,
    /// The last version that was seen of each mailbox.
    versions: [u64; MAILBOXES.len()],
    pub operations: Vec<Operation>,
    pub holds: Vec<Hold>,
}

impl Recorder {
    pub(crate) fn new(number: usize, port: u16, start: Instant, seed: u64) -> Self {
        let client = Client::tcp(port);
        let rng = Rng::new((seed << 16) + number as u64);
        let (operations, holds) = (Vec::new(), Vec::new());
        Recorder {
            number,
            port,
            start,
            rng,
            client,
            messages: 0,
            named: 0,
            versions: [0; MAILBOXES.len()],
            operations,
            holds,
        }
    }

    fn now(&self) -> u64 {
        self.start.elapsed().as_nanos() as u64
    }

    pub(crate) fn step(&mut self, step: u64) {
        let mailbox = self.rng.below(MAILBOXES.len() as u64) as u32;
        match self.rng.below(100) {
            0..6 => self.lock(),
            6..9 => self.hang_up_half_way(mailbox),
            9..14 if mailbox != CALM => self.hang_up_before_the_answer(mailbox),
            _ => {
                let kind = match any_kind(&mut self.rng, mailbox) {
                    Kind::Put if step / EXCHANGE_PERIOD % 2 == 1 => Kind::Take,
                    Kind::Take if step / EXCHANGE_PERIOD % 2 == 1 => Kind::Put,
                    kind => kind,
                };
                let wait = ["0", "0.02", "5"][self.rng.below(3) as usize];
                self.ask(mailbox, kind, wait);
            }
        }
    }

    fn ask(&mut self, mailbox: u32, kind: Kind, wait: &str) {
        // A long wait for a message that may never come would delay the test.
        let wait =
            if matches!(kind, Kind::Take | Kind::Put | Kind::Next) && wait == "5" { "0.1" } else { wait };
        let (number, request) = self.request(mailbox, kind, wait);
        let called = self.now();
        self.client.send(request);
        let (line, bytes) = self.answer();
        let returned = self.now();
        let what = self.what(mailbox, kind, number, &line, &bytes);
        self.operations.push(Operation { client: self.number, mailbox, called, returned, what });
    }

    /// A request, and the number of the message in it.
    fn request(&mut self, mailbox: u32, kind: Kind, wait: &str) -> (u64, Vec<u8>) {
        self.messages += 1;
        let number = self.number as u64 * 1_000_000 + self.messages;
        let message = message(number);
        let len = message.len();
        let back = if kind == Kind::Next { self.rng.below(3) } else { 0 };
        self.named = self.versions[mailbox as usize].saturating_sub(back);
        let named = self.named;
        let head = match kind {
            Kind::Read => format!("r {mailbox} wait={wait}\n"),
            Kind::Next => {
                format!("r {mailbox} after={named} wait={wait}\n")
            }
            Kind::Take => format!("take {mailbox} wait={wait}\n"),
            Kind::Write => format!("w {mailbox} {len} wait={wait}\n"),
            Kind::WriteIf => format!("w {mailbox} {len} if={named} wait={wait}\n"),
            Kind::Put => format!("put {mailbox} {len} wait={wait}\n"),
            Kind::PutDropping => format!("put {mailbox} {len} full=drop wait={wait}\n"),
        };
        let mut request = head.into_bytes();
        if !matches!(kind, Kind::Read | Kind::Next | Kind::Take) {
            request.extend_from_slice(&message);
            request.push(b'\n');
        }
        (number, request)
    }

    /// The next answer, and the bytes of a `DATA`.
    fn answer(&mut self) -> (String, Vec<u8>) {
        let line = self.client.line();
        let Some(rest) = line.strip_prefix("DATA ") else { return (line, Vec::new()) };
        let len: usize = rest.split(' ').next().expect("a length").parse().expect("a length");
        let bytes = self.client.bytes(len);
        self.client.expect("\n");
        (line, bytes)
    }

    fn what(&mut self, mailbox: u32, kind: Kind, number: u64, line: &str, bytes: &[u8]) -> What {
        let reason = line.split(' ').nth(1).unwrap_or("");
        let named = self.named;
        match (kind, line.split(' ').next().expect("a word")) {
            (Kind::Read | Kind::Next, "NO") => {
                assert_eq!(reason, "timeout");
                What::NothingNewer { version: field(line, "v") }
            }
            (Kind::WriteIf, "NO") if reason == "conflict" => {
                let version = field(line, "v");
                self.versions[mailbox as usize] = version;
                What::Conflict { only_at: named, version }
            }
            (Kind::Take, "NO") if reason == "empty" => What::Empty,
            (Kind::Put, "NO") if reason == "full" => What::Full,
            (_, "NO") => {
                assert_eq!(reason, "timeout", "{kind:?}");
                What::Nothing
            }
            (_, "OK" | "DATA") => {
                let version = field(line, "v");
                self.versions[mailbox as usize] = self.versions[mailbox as usize].max(version);
                match kind {
                    Kind::Write => What::Write { message: number, only_at: None, version: Some(version) },
                    Kind::WriteIf => {
                        What::Write { message: number, only_at: Some(named), version: Some(version) }
                    }
                    Kind::Put | Kind::PutDropping => {
                        let made = Some((version, field(line, "n")));
                        What::Put { message: number, drops: kind == Kind::PutDropping, made }
                    }
                    Kind::Take => What::Take { taken: Some((version, field(line, "n"), number_of(bytes))) },
                    Kind::Read => {
                        let count = field(line, "n");
                        What::Read { version, count, message: (count > 0).then(|| number_of(bytes)) }
                    }
                    Kind::Next => {
                        let lost = if line.contains(" lost=") { field(line, "lost") } else { 0 };
                        let (after, count) = (named, field(line, "n"));
                        What::Next { after, version, count, lost, message: number_of(bytes) }
                    }
                }
            }
            _ => panic!("{kind:?} was answered {line}"),
        }
    }

    /// Locks one or two mailboxes, sends requests to them, and unlocks or disconnects.
    fn lock(&mut self) {
        let mut boxes: Vec<u32> = (0..2).map(|_| self.rng.below(MAILBOXES.len() as u64) as u32).collect();
        boxes.dedup();
        let shared = self.rng.below(3) == 0;
        let list = boxes.iter().map(u32::to_string).collect::<Vec<_>>().join(",");
        let wait = ["0", "0.05", "5"][self.rng.below(3) as usize];
        let called = self.now();
        self.client.send(format!("lock {list}{} wait={wait}\n", if shared { " r" } else { "" }));
        let line = self.client.line();
        let from = self.now();
        if line.starts_with("NO ") {
            return assert_eq!(line, if wait == "0" { "NO locked" } else { "NO timeout" });
        }
        let grant = field(&line, "grant");
        for _ in 0..self.rng.below(6) {
            let mailbox = boxes[self.rng.below(boxes.len() as u64) as usize];
            let kind = if shared { Kind::Read } else { any_kind(&mut self.rng, mailbox) };
            self.ask(mailbox, kind, "5");
        }
        let until = self.now();
        for mailbox in boxes {
            self.holds.push(Hold { client: self.number, mailbox, grant, shared, called, from, until });
        }
        match self.rng.below(5) {
            0 => self.hang_up(),
            _ => self.client.ask(format!("unlock {list} grant={grant}\n"), "OK\n"),
        }
    }

    /// Sends the first half of a request, which must not be executed.
    fn hang_up_half_way(&mut self, mailbox: u32) {
        let kind = [Kind::Write, Kind::Put][self.rng.below(2) as usize];
        let (_, request) = self.request(mailbox, kind, "5");
        self.client.send(&request[..request.len() / 2]);
        self.hang_up();
    }

    /// Sends a request and disconnects. The request may be executed or not.
    fn hang_up_before_the_answer(&mut self, mailbox: u32) {
        let kind = any_kind(&mut self.rng, mailbox);
        let (message, request) = self.request(mailbox, kind, "5");
        let what = match kind {
            Kind::Read | Kind::Next => What::Nothing,
            Kind::Write | Kind::WriteIf => What::Write { message, only_at: None, version: None },
            Kind::Put | Kind::PutDropping => {
                What::Put { message, drops: kind == Kind::PutDropping, made: None }
            }
            Kind::Take => What::Take { taken: None },
        };
        let called = self.now();
        self.client.send(request);
        self.operations.push(Operation { client: self.number, mailbox, called, returned: NEVER, what });
        if self.rng.below(2) == 0 {
            thread::yield_now();
        }
        self.hang_up();
    }

    fn hang_up(&mut self) {
        let left = std::mem::replace(&mut self.client, Client::tcp(self.port));
        if self.rng.below(2) == 0 {
            left.reset();
        }
    }

    /// Takes all messages that are left.
    pub(crate) fn drain(&mut self) {
        for mailbox in 0..MAILBOXES.len() as u32 {
            self.ask(mailbox, Kind::Read, "5");
            while !matches!(self.operations.last().expect("asked").what, What::Empty) {
                self.ask(mailbox, Kind::Take, "0");
            }
        }
    }
}
