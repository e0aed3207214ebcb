//! The mix of requests. A request is a function of its connection's number and its own number. It is computed
//! once to encode the request and once to check the answer, so sent requests need not be stored.

use clap::ValueEnum;

use super::systems::{Request, System};

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Mix {
    /// Only reads
    R,
    /// Only writes
    W,
    /// 90 % reads
    Rw90,
    /// 50 % reads
    Rw50,
    /// A put, then a take, from each connection
    PutTake,
    /// A lock, then its unlock, from each connection
    Lock,
}

impl Mix {
    pub(crate) fn name(self) -> String {
        self.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default()
    }

    /// The two kinds of requests in the mix.
    pub(crate) fn kinds(self) -> [Request; 2] {
        match self {
            Mix::PutTake => [Request::Put, Request::Take],
            Mix::Lock => [Request::Lock, Request::Unlock],
            _ => [Request::Read, Request::Write],
        }
    }

    /// The kind of a connection's nth request: 0 or 1.
    pub(crate) fn kind(self, connection: usize, n: usize) -> usize {
        self.reads().map_or(n % 2, |percent| (random(connection, n) >= percent).into())
    }

    /// The kind of all requests of a connection, if each connection only reads or only writes. None: requests
    /// are paired.
    pub(crate) fn role(self, connection: usize) -> Option<usize> {
        let percent = self.reads()? as usize;
        let readers = |connections: usize| connections * percent / 100;
        Some((readers(connection + 1) == readers(connection)).into())
    }

    /// Whether requests are paired: after the first one of a pair, the second has to be sent.
    pub(crate) fn is_paired(self) -> bool {
        self.reads().is_none()
    }

    /// The mailbox of a connection's nth request. A connection uses all mailboxes in turn. The number of
    /// the first one is the connection's number modulo the number of mailboxes. All puts and takes of a
    /// connection use one mailbox, which bounds the number of messages in it. The lock and the unlock of a
    /// pair have the same mailbox.
    pub(crate) fn mailbox(self, connection: usize, n: usize, mailboxes: usize) -> usize {
        let step = match self {
            Mix::PutTake => 0,
            Mix::Lock => n / 2,
            _ => n,
        };
        (connection + step) % mailboxes
    }

    /// The request that prepares every mailbox: reads have to find data of the right size.
    pub(crate) fn preparation(self, system: System) -> Request {
        match (self, system) {
            (Mix::PutTake, System::Redis) => Request::Clear,
            _ => Request::Write,
        }
    }

    /// The request that shows whether a mailbox holds messages of someone else.
    pub(crate) fn look(self, system: System) -> Request {
        match (self, system) {
            (Mix::PutTake, System::Redis) => Request::Oldest,
            _ => Request::Read,
        }
    }

    /// Percentage of reads. None: requests are paired.
    fn reads(self) -> Option<u64> {
        match self {
            Mix::R => Some(100),
            Mix::W => Some(0),
            Mix::Rw90 => Some(90),
            Mix::Rw50 => Some(50),
            Mix::PutTake | Mix::Lock => None,
        }
    }
}

/// A pseudo-random number from 0 to 99, a function of the request.
fn random(connection: usize, n: usize) -> u64 {
    let mixed = (((connection as u64) << 40) ^ n as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    let random = (mixed ^ (mixed >> 32)).wrapping_mul(0xBF58_476D_1CE4_E5B9) >> 32;
    (random * 100) >> 32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_share_of_reads_is_kept() {
        for (mix, writes) in [(Mix::R, 0), (Mix::W, 10_000), (Mix::Rw90, 1000), (Mix::Rw50, 5000)] {
            let requests: usize = (0..10_000).map(|n| mix.kind(n % 10, n / 10)).sum();
            assert!(requests.abs_diff(writes) < 200 && (requests > 0) == (writes > 0), "{mix:?} {requests}");
            let connections: usize = (0..10_000).filter_map(|connection| mix.role(connection)).sum();
            assert_eq!(connections, writes, "{mix:?}");
        }
    }

    #[test]
    fn a_pair_is_two_requests_in_one_mailbox() {
        for mix in [Mix::PutTake, Mix::Lock] {
            for n in [0, 2, 4] {
                assert_eq!((mix.kind(3, n), mix.kind(3, n + 1)), (0, 1));
                assert_eq!(mix.mailbox(3, n, 5), mix.mailbox(3, n + 1, 5));
            }
        }
    }
}
