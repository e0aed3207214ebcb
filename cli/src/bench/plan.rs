//! The encoded requests of one mix, prepared before the load begins.

use super::mix::Mix;
use super::options::BenchOptions;
use super::systems::{Request, System};

pub(super) struct Plan {
    pub system: System,
    pub mix: Mix,
    pub size: usize,
    pub pipeline: usize,
    /// Whether each connection only reads or only writes.
    has_roles: bool,
    /// For each mailbox the encoded requests of both kinds, without their data.
    heads: Vec<[Vec<u8>; 2]>,
    data: Vec<u8>,
}

impl Plan {
    /// `options` must be valid.
    pub(super) fn new(options: &BenchOptions, mix: Mix) -> Self {
        let &BenchOptions { system, size, pipeline, fairness: has_roles, .. } = options;
        let head =
            |kind, mailbox| system.head(kind, mailbox, size).expect("a mix of this system").into_bytes();
        let heads = (0..options.mailboxes).map(|mailbox| mix.kinds().map(|kind| head(kind, mailbox)));
        Plan { system, mix, size, pipeline, has_roles, heads: heads.collect(), data: system.data(size) }
    }

    /// The nth request of a connection.
    pub(super) fn request(&self, connection: usize, n: usize) -> Request {
        self.mix.kinds()[self.kind(connection, n)]
    }

    /// Whether the nth request is the second one of a pair.
    pub(super) fn is_second(&self, n: usize) -> bool {
        self.mix.is_paired() && n % 2 == 1
    }

    pub(super) fn encode(&self, connection: usize, n: usize, batch: &mut Vec<u8>) {
        let mailbox = self.mix.mailbox(connection, n, self.heads.len());
        batch.extend_from_slice(&self.heads[mailbox][self.kind(connection, n)]);
        if self.request(connection, n).has_data() {
            batch.extend_from_slice(&self.data);
        }
    }

    fn kind(&self, connection: usize, n: usize) -> usize {
        let role = self.mix.role(connection).filter(|_| self.has_roles);
        role.unwrap_or_else(|| self.mix.kind(connection, n))
    }
}
