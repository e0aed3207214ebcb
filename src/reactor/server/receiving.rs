//! The data of a large message is received into its mailbox, under the exclusive grant of its request. All of
//! it has arrived at the socket, so the mailbox does not wait for the client.

use std::sync::Arc;

use super::super::connection::DataError;
use super::super::transport::Transport;
use super::Server;
use crate::mailboxes::Released;
use crate::protocol::Framed;
use crate::workers::{ConnectionId, Owner, execute_and_receive};

impl<T: Transport> Server<T> {
    /// Executes a request whose data has arrived at the socket, and answers it. Returns false if the data
    /// must be received into memory: the mailbox is not free, the request may be covered by a lock of the
    /// client, or the data is not as long as the request says.
    pub(super) fn receive_message(&mut self, id: ConnectionId, framed: Framed) -> bool {
        let Some(mut client) = self.clients.get(id) else { return true };
        let body = framed.body.clone();
        let mut job = self.pools.job(Owner::Client(id));
        job.requests.push(framed);
        let acquire = job.acquire().filter(|_| !client.holds_any());
        let admitted = acquire.and_then(|acquire| {
            let grant = self.mailboxes.queue(acquire.mailbox).try_admit(acquire.mode, acquire.purpose)?;
            Some((acquire.mailbox, grant))
        });
        let Some((mailbox, mut grant)) = admitted else {
            self.pools.return_job(job);
            return false;
        };
        let mailboxes = Arc::clone(&self.mailboxes);
        self.budgets.receiving.charge(body.len());
        job.tally.overtakes += u64::from(grant.overtaken());
        let stored = client.receive_data(body, &mut self.pools, self.now, |data| {
            execute_and_receive(&mut job, &mailboxes, &mut grant, data)
        });
        if let Ok(true) = stored {
            client.begin(&mut job, self.now);
        }
        drop(client);
        let mut released = Released::default();
        mailboxes.release(mailbox, grant, &mut released);
        self.submit_released(mailbox, released);
        match stored {
            Ok(true) => {
                self.counters.received_uncopied += 1;
                self.drive(id, job);
            }
            Ok(false) | Err(DataError::Unended) => {
                self.pools.return_job(job);
                return false;
            }
            Err(DataError::Io(error)) => {
                self.pools.return_job(job);
                self.fail(id, &error);
            }
        }
        true
    }
}
