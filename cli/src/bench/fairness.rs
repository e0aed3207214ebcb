//! Fairness among the clients of one mailbox: the distribution of requests, and the longest waits.

use std::time::Duration;

use super::load::Load;
use super::mix::Mix;

pub(super) struct Fairness {
    /// Jain's index of the clients' requests: 1 if all have the same number, 1/n if one has all.
    pub jain: f64,
    /// The smallest and the largest number of requests of a client.
    pub fewest: u64,
    pub most: u64,
    /// The longest wait for a batch: of all clients, of readers, and of writers. None: no such clients.
    pub all: Option<Duration>,
    pub readers: Option<Duration>,
    pub writers: Option<Duration>,
    /// Overtakes that the mailbox counts. None: unknown, or the system is not dipc.
    pub overtakes: Option<u64>,
}

impl Fairness {
    pub(super) fn of(load: &Load, mix: Mix, overtakes: Option<u64>) -> Self {
        let completed: Vec<u64> = load.connections().map(|(_, connection)| connection.completed).collect();
        let longest = |matches_role: &dyn Fn(usize) -> bool| {
            let clients = load.connections().filter(|(number, _)| matches_role(*number));
            clients.map(|(_, connection)| connection.longest_wait).max()
        };
        Fairness {
            jain: jain(&completed),
            fewest: completed.iter().copied().min().unwrap_or(0),
            most: completed.iter().copied().max().unwrap_or(0),
            all: longest(&|_| true),
            readers: longest(&|number| mix.role(number) == Some(0)),
            writers: longest(&|number| mix.role(number) == Some(1)),
            overtakes,
        }
    }
}

fn jain(shares: &[u64]) -> f64 {
    let sum: f64 = shares.iter().map(|share| *share as f64).sum();
    let squares: f64 = shares.iter().map(|share| (*share as f64).powi(2)).sum();
    if squares == 0.0 { 1.0 } else { sum * sum / (shares.len() as f64 * squares) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn jains_index_is_computed() {
        assert_eq!(jain(&[5, 5, 5, 5]), 1.0);
        assert_eq!(jain(&[5, 0, 0, 0]), 0.25);
        assert_eq!(jain(&[1, 2, 3]), 36.0 / 42.0);
        assert_eq!(jain(&[]), 1.0);
    }
}
