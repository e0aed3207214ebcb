//! Large messages are sent from the memory of their mailbox, under the grant of the read. What the socket
//! does not take at once is copied, and then the grant ends.

use std::io::IoSlice;
use std::sync::Arc;

use super::super::connection::Flushed;
use super::super::transport::Transport;
use super::super::watches::Fanout;
use super::Server;
use super::watching::{EVENT_BYTE, SEND_EVENT};
use crate::workers::{Acquire, Completion, ConnectionId, Job, SENT_MIN, execute_and_send};

impl<T: Transport> Server<T> {
    /// Answers the current request of a client, an admitted read of a large message. Returns the job if the
    /// connection is still open.
    pub(super) fn send_message(
        &mut self,
        id: ConnectionId,
        mut job: Box<Job>,
        acquire: Acquire,
    ) -> Option<Box<Job>> {
        let Some(mut client) = self.clients.get(id) else {
            self.abandon(job);
            return None;
        };
        let mailboxes = Arc::clone(&self.mailboxes);
        let mut admitted = Vec::new();
        let mut on_admitted = |next| admitted.push(next);
        let mut flushed = Ok(());
        let mut send = |output: &mut Vec<u8>, [front, back]: [&[u8]; 2], end: &[u8]| {
            let len = front.len() + back.len();
            self.budgets.receiving.charge(len);
            self.budgets.sending.charge(len);
            // What the socket has not taken precedes the answers to the rest of the batch.
            if len < SENT_MIN || client.has_output() || flushed.is_err() {
                [front, back, end].iter().for_each(|part| output.extend_from_slice(part));
                return;
            }
            flushed = client.send_message(output, [front, back], end, self.now).map(drop);
            self.counters.sent_uncopied += 1;
        };
        execute_and_send(&mut job, &mailboxes, acquire, &mut send, &mut on_admitted);
        drop(client);
        admitted.into_iter().for_each(|next| self.submit_next(next));
        if let Err(error) = flushed {
            self.abandon(job);
            self.fail(id, &error);
            return None;
        }
        if self.budgets.sending.is_spent() && job.current().is_some() && !job.holds_grant() {
            // The rest of the batch is left for the next tick.
            self.backlog.completions.push_back(Completion::Done(job));
            return None;
        }
        Some(job)
    }

    /// Sends the next message of a mailbox, a large one, to its watchers, up to the budget of this tick. If a
    /// socket takes only a part of the event, the event is copied, and sent to the other watchers as a small
    /// one is.
    pub(super) fn send_to_watchers(&mut self, mailbox: u32, mut job: Box<Job>) {
        let (Some(from), Some(acquire)) = (self.watches.end_read(mailbox), job.acquire()) else {
            return self.abandon(job);
        };
        let mailboxes = Arc::clone(&self.mailboxes);
        let mut admitted = Vec::new();
        let mut receivers = Vec::new();
        let mut partial = None;
        let mut send = |event: &mut Vec<u8>, [front, back]: [&[u8]; 2], end: &[u8]| {
            let slices = [event, front, back, end].map(IoSlice::new);
            let len = slices.iter().map(|slice| slice.len()).sum();
            while partial.is_none()
                && !self.budgets.events.is_spent()
                && let Some(slot) = self.watches.any_at(from)
            {
                self.budgets.events.charge(SEND_EVENT + len * EVENT_BYTE);
                self.watches.disarm(from, slot);
                let Some(id) = self.clients.in_slot(slot) else { continue };
                let Some(mut client) = self.clients.get(id).filter(|client| !client.is_closing()) else {
                    continue;
                };
                let flushed = match client.has_output() {
                    true => Ok(Flushed::WouldBlock),
                    false => client.write_event(&slices).map(|written| match written {
                        0 => Flushed::WouldBlock,
                        _ if written == len => Flushed::All,
                        _ => {
                            partial = Some((id, written));
                            Flushed::Partial
                        }
                    }),
                };
                self.counters.sent_uncopied +=
                    u64::from(matches!(flushed, Ok(Flushed::All | Flushed::Partial)));
                receivers.push((id, flushed));
            }
            match partial.is_some() || self.watches.any_at(from).is_some() {
                true => [front, back, end].iter().for_each(|part| event.extend_from_slice(part)),
                false => event.clear(),
            }
        };
        execute_and_send(&mut job, &mailboxes, acquire, &mut send, &mut |next| admitted.push(next));
        admitted.into_iter().for_each(|next| self.submit_next(next));
        let Some((_, to)) = job.cursor.filter(|_| !receivers.is_empty()) else {
            return self.on_watch_read(mailbox, job);
        };
        let fanout = Fanout { from, to, bytes: Arc::new(std::mem::take(&mut job.output)) };
        self.pools.return_job(job);
        self.watches.begin_fanout(fanout.clone());
        if let Some((id, written)) = partial
            && let Some(mut client) = self.clients.get(id)
        {
            client.keep_event(&fanout.bytes, written, self.now);
        }
        receivers.into_iter().for_each(|(id, flushed)| self.end_event(id, &fanout, flushed));
    }
}
