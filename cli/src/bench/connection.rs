//! One connection under load. It sends a batch of requests in one write, and receives all answers before the
//! next batch.

use std::io::{self, ErrorKind, Read, Write};
use std::time::{Duration, Instant};

use mio::event::Event;
use socket2::Socket;

use super::plan::Plan;
use super::systems::Answer;
use super::tally::Tally;

pub(super) struct Connection {
    number: usize,
    socket: Socket,
    /// Received bytes that are not decoded yet.
    input: Vec<u8>,
    /// Numbers of requests sent and answered since the start.
    sent: usize,
    answered: usize,
    /// The scheduled time of the current batch, or the time when it was sent if there is no schedule.
    intended: Instant,
    /// The current batch, and how many of its bytes the socket has accepted.
    batch: Vec<u8>,
    written: usize,
    /// Answered requests, and the longest latency of a batch, both since the warm-up.
    pub completed: u64,
    pub longest_wait: Duration,
}

impl Connection {
    /// `socket` is nonblocking.
    pub(super) fn new(number: usize, socket: Socket) -> Self {
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

    pub(super) fn is_busy(&self) -> bool {
        self.answered < self.sent
    }

    /// Whether the next request is the second one of a pair.
    pub(super) fn is_within_pair(&self, plan: &Plan) -> bool {
        plan.is_second(self.sent)
    }

    /// Resets the counters after the warm-up.
    pub(super) fn restart(&mut self) {
        (self.completed, self.longest_wait) = (0, Duration::ZERO);
    }

    /// Sends a batch, as far as the budget of requests allows. The first request of a pair takes the budget
    /// of both, so that every lock is unlocked.
    pub(super) fn send(&mut self, plan: &Plan, budget: &mut u64, intended: Instant) -> io::Result<()> {
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

    /// Receives answers. With the last answer of a batch, returns the batch's latency and the current time.
    pub(super) fn receive(
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

    /// Reads until the socket is empty. A short read has emptied it, unless the end of the stream follows.
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

/// An answer without a request. The server may send an error before it closes a connection.
fn unsolicited(answer: Answer, tally: &mut Tally) -> io::Result<()> {
    match answer {
        Answer::Error(line) => {
            tally.count_error(line);
            Err(ErrorKind::ConnectionAborted.into())
        }
        answer => Err(super::systems::malformed(&format!("{answer:?} without a request"))),
    }
}

fn unless_blocked(result: io::Result<usize>) -> io::Result<Option<usize>> {
    match result {
        Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(None),
        result => result.map(Some),
    }
}
