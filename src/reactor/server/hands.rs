//! Messages in hand that their client gives back without a request: because the connection has ended, or was
//! silent for too long.

use super::super::transport::Transport;
use super::Server;
use crate::mailboxes::Released;
use crate::protocol::Reply;
use crate::workers::{ConnectionId, Receipt};

impl<T: Transport> Server<T> {
    /// Gives back a message that a client has in hand, unless the message is gone. Submits the jobs that this
    /// admits.
    pub(super) fn give_back(&mut self, receipt: Receipt) {
        let Receipt { mailbox, version, .. } = receipt;
        let mut released = Released::default();
        let queue = self.mailboxes.queue(mailbox);
        if queue.give_back(version, &mut released) {
            self.counters.given_back += 1;
        }
        self.submit_released(mailbox, released);
    }

    /// Gives back a message of a client that was silent for too long, and tells the client. Further messages
    /// whose time is over follow, because the deadline of the client has passed.
    pub(super) fn expire_receipts(&mut self, id: ConnectionId) {
        let now = self.now;
        let Some(mut client) = self.clients.get(id) else { return };
        let Some(extras) = &mut client.extras else { return };
        let Some(receipt) = extras.pop_expired_receipt(now) else { return };
        drop(client);
        self.give_back(receipt);
        let Receipt { mailbox, version, eol, .. } = receipt;
        let mut event = Vec::new();
        Reply::TakeLost { mailbox, version }.encode(eol, &mut event);
        self.push_event(id, event);
    }
}
