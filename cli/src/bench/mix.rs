//! Which requests the connections send. Everything is computed from the connection's number and the request's, once to
//! send it and once to know what its answer has to be, so that nobody has to remember a batch.

use clap::ValueEnum;

use super::systems::{Request, System};

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Mix {
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
    pub fn name(self) -> String {
        self.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default()
    }

    /// The two kinds of requests in it.
    pub fn kinds(self) -> [Request; 2] {
        match self {
            Mix::PutTake => [Request::Put, Request::Take],
            Mix::Lock => [Request::Lock, Request::Unlock],
            _ => [Request::Read, Request::Write],
        }
    }

    /// Which of the kinds the nth request of a connection is: 0 or 1.
    pub fn kind(self, connection: usize, n: usize) -> usize {
        self.reads().map_or(n % 2, |percent| (random(connection, n) >= percent).into())
    }

    /// The same when each connection only reads or only writes.
    pub fn role(self, connection: usize) -> Option<usize> {
        let percent = self.reads()? as usize;
        let readers = |connections: usize| connections * percent / 100;
        Some((readers(connection + 1) == readers(connection)).into())
    }

    /// Whether two requests belong together: who has sent the first must be let send the second.
    pub fn is_paired(self) -> bool {
        self.reads().is_none()
    }

    /// The mailbox of a connection's nth request. Connections take them in turn and begin with another one each, but put
    /// and take always in the same one, so that it is known how many messages it has to hold; a pair has one mailbox.
    pub fn mailbox(self, connection: usize, n: usize, mailboxes: usize) -> usize {
        let turn = match self {
            Mix::PutTake => 0,
            Mix::Lock => n / 2,
            _ => n,
        };
        (connection + turn) % mailboxes
    }

    /// What is asked of every mailbox before the load: a read has to find data of the right size.
    pub fn preparation(self, system: System) -> Request {
        match (self, system) {
            (Mix::PutTake, System::Redis) => Request::Clear,
            _ => Request::Write,
        }
    }

    /// How many of 100 are reads.
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

/// 0 to 99, always the same for the same request.
fn random(connection: usize, n: usize) -> u64 {
    let mixed = (((connection as u64) << 40) ^ n as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    let random = (mixed ^ (mixed >> 32)).wrapping_mul(0xBF58_476D_1CE4_E5B9) >> 32;
    (random * 100) >> 32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_many_read_as_is_said() {
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
