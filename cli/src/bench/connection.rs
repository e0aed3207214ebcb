//! One connection under load: a batch of requests in one write, and all its answers before the next one.

use std::io::{self, ErrorKind, Read, Write};
use std::time::{Duration, Instant};

use mio::event::Event;
use socket2::Socket;

use super::plan::Plan;
use super::systems::Answer;
use super::tally::Tally;

pub struct Connection {
    number: usize,
    socket: Socket,
    /// What has arrived of the next answer.
    input: Vec<u8>,
    /// Numbers of requests; equal when no answer is awaited.
    sent: usize,
    answered: usize,
    /// When the batch that is being answered should have been sent.
    intended: Instant,
    /// The batch, and how much of it the socket has taken.
    batch: Vec<u8>,
    written: usize,
    /// Requests that were answered, and the longest wait for a batch.
    pub completed: u64,
    pub longest_wait: Duration,
}

impl Connection {
    /// Of a socket that does not block.
    pub fn new(number: usize, socket: Socket) -> Self {
        Connection {
            number,
            socket,
            input: Vec::new(),
            sent: 0,
            answered: 0,
            intended: Instant::now(),
            batch: Vec::new(),
            written: 0,
            completed: 0,
            longest_wait: Duration::ZERO,
        }
    }

    pub fn is_busy(&self) -> bool {
        self.answered < self.sent
    }

    /// Whether its next request has to follow the last one.
    pub fn is_within_pair(&self, plan: &Plan) -> bool {
        plan.is_second(self.sent)
    }

    /// Forgets the warm-up.
    pub fn restart(&mut self) {
        (self.completed, self.longest_wait) = (0, Duration::ZERO);
    }

    /// Sends a batch, as far as the budget goes. A pair is paid for at its first request, so that nobody keeps a lock.
    pub fn send(&mut self, plan: &Plan, budget: &mut u64, intended: Instant) -> io::Result<()> {
        (self.intended, self.written) = (intended, 0);
        self.batch.clear();
        for _ in 0..plan.pipeline {
            if !plan.is_second(self.sent) {
                if *budget == 0 {
                    break;
                }
                *budget = budget.saturating_sub(if plan.mix.is_paired() { 2 } else { 1 });
            }
            plan.encode(self.number, self.sent, &mut self.batch);
            self.sent += 1;
        }
        self.flush()
    }

    /// Takes the answers that have come. With the last one of a batch: how long it took, and until when.
    pub fn receive(
        &mut self,
        event: &Event,
        plan: &Plan,
        tally: &mut Tally,
        scratch: &mut [u8],
    ) -> io::Result<Option<(Duration, Instant)>> {
        let was_busy = self.is_busy();
        if event.is_readable() || event.is_read_closed() {
            self.read(event.is_read_closed(), plan, tally, scratch)?;
        }
        self.flush()?;
        if !was_busy || self.is_busy() {
            return Ok(None);
        }
        let now = Instant::now();
        let latency = now - self.intended;
        self.longest_wait = self.longest_wait.max(latency);
        Ok(Some((latency, now)))
    }

    fn flush(&mut self) -> io::Result<()> {
        while self.written < self.batch.len() {
            let Some(length) = unless_blocked(self.socket.write(&self.batch[self.written..]))? else { break };
            self.written += length;
        }
        Ok(())
    }

    /// A read that comes back short has emptied the socket, unless the end of the stream is behind it.
    fn read(&mut self, to_end: bool, plan: &Plan, tally: &mut Tally, scratch: &mut [u8]) -> io::Result<()> {
        while let Some(length) = unless_blocked(self.socket.read(scratch))? {
            if length == 0 {
                return Err(ErrorKind::UnexpectedEof.into());
            }
            self.input.extend_from_slice(&scratch[..length]);
            self.decode_answers(plan, tally)?;
            if length < scratch.len() && !to_end {
                break;
            }
        }
        Ok(())
    }

    fn decode_answers(&mut self, plan: &Plan, tally: &mut Tally) -> io::Result<()> {
        let mut decoded = 0;
        while let Some((answer, length)) = plan.system.decode(&self.input[decoded..])? {
            if !self.is_busy() {
                return unsolicited(answer, tally);
            }
            tally.count(answer, plan.request(self.number, self.answered), plan.size)?;
            self.answered += 1;
            self.completed += 1;
            decoded += length;
        }
        self.input.drain(..decoded);
        Ok(())
    }
}

/// A server may say why it closes a connection.
fn unsolicited(answer: Answer, tally: &mut Tally) -> io::Result<()> {
    match answer {
        Answer::Error(line) => {
            tally.count_error(line);
            Err(ErrorKind::ConnectionAborted.into())
        }
        answer => Err(super::systems::malformed(&format!("{answer:?} to no request"))),
    }
}

fn unless_blocked(result: io::Result<usize>) -> io::Result<Option<usize>> {
    match result {
        Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(None),
        result => result.map(Some),
    }
}
