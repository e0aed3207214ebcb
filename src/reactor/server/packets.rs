//! Requests over UDP. Each packet is a request, and gets one packet as its answer. A request does not wait
//! for a lock, so it is answered soon.

use std::net::SocketAddr;

use slab::Slab;

use super::super::budget::MICROSECOND;
use super::super::transport::Transport;
use super::{Server, limits};
use crate::protocol::{packet_answer, parse_packet};
use crate::workers::{Enqueued, Job, Owner, Step, WaitReason, enqueue, step, time_out};

/// Largest number of packets that are being answered. Further packets are dropped.
const PACKETS_MAX: usize = 1024;

/// Cost of receiving and answering a packet.
const PACKET: usize = 4 * MICROSECOND;

/// The packets that are being answered, and the answers that are to be sent.
#[derive(Debug, Default)]
pub(super) struct Packets {
    senders: Slab<Sender>,
    answers: Vec<(Vec<u8>, SocketAddr)>,
}

/// The sender of a packet, which gets the answer. A sender stays in its slot until the job of the packet has
/// come back, so a slot needs no generation.
#[derive(Debug)]
struct Sender {
    address: SocketAddr,
    /// The word of `id=`.
    id: Vec<u8>,
}

impl Packets {
    /// Whether no packet is being answered.
    pub(super) fn is_empty(&self) -> bool {
        self.senders.is_empty() && self.answers.is_empty()
    }
}

impl<T: Transport> Server<T> {
    /// Handles a packet. Returns whether more packets may be handled in this tick.
    pub(in crate::reactor) fn on_packet(&mut self, bytes: &[u8], from: SocketAddr) -> bool {
        self.budgets.receiving.charge(PACKET);
        let has_budget = !self.budgets.receiving.is_spent();
        let Some(packet) = parse_packet(bytes, &limits(&self.mailboxes)) else { return has_budget };
        if self.packets.senders.len() == PACKETS_MAX || !self.free_for_packet(2 * bytes.len()) {
            self.counters.packets_dropped += 1;
            return has_budget;
        }
        self.counters.packets += 1;
        let slot = self.packets.senders.insert(Sender { address: from, id: packet.id });
        let mut job = self.pools.job(Owner::Packet(slot as u32));
        job.input.extend_from_slice(bytes);
        job.requests.push(packet.framed);
        self.drive_packet(job);
        has_budget
    }

    /// Moves the job of a packet forward until the pool or a queue has it, or until it is answered.
    pub(super) fn drive_packet(&mut self, mut job: Box<Job>) {
        loop {
            match step(&mut job, &self.mailboxes) {
                Step::Execute(_) | Step::Send(_) => return self.pool.submit(job),
                Step::Acquire(acquire) => match enqueue(job, &self.mailboxes, acquire) {
                    Enqueued::Granted(granted) => job = granted,
                    Enqueued::Waiting(_) => return,
                    Enqueued::Locked(refused) => {
                        job = refused;
                        time_out(&mut job, &self.mailboxes, WaitReason::Queue);
                    }
                },
                Step::Memory(_) => self.refuse_for_memory(&mut job),
                Step::Finished | Step::Write => return self.answer_packet(job),
                Step::Await { .. } | Step::Local => unreachable!("no request of a packet waits or is local"),
            }
        }
    }

    fn answer_packet(&mut self, mut job: Box<Job>) {
        let Owner::Packet(slot) = job.owner else { return };
        let Sender { address, id } = self.packets.senders.remove(slot as usize);
        self.packets.answers.push((packet_answer(&id, std::mem::take(&mut job.output)), address));
        self.record_wait(&mut job);
        self.counters.requests.merge(&mut job.tally);
        self.pools.return_job(job);
    }

    /// Passes the answers that are to be sent to `send`, which returns whether the system has taken the
    /// packet.
    pub(in crate::reactor) fn send_packets(&mut self, send: impl Fn(&[u8], SocketAddr) -> bool) {
        for (answer, address) in self.packets.answers.drain(..) {
            self.counters.packets_dropped += u64::from(!send(&answer, address));
        }
    }
}
