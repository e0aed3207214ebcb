//! A naive wait-for graph over time: which client used or waited for which mailbox, and when.

use std::collections::BTreeSet;

/// One use of a mailbox by a client, and the time of this use.
#[derive(Clone, Copy, Debug)]
struct Edge {
    client: usize,
    mailbox: u32,
    /// The sequence number at which the use ended. `None` while it continues.
    until: Option<u64>,
    /// The number of the request, counted over all clients.
    request: u64,
    /// Whether the request is a `lock`.
    locks: bool,
    /// Whether other requests may have waited for this one.
    holds: bool,
    /// Whether this request may have waited.
    waits: bool,
}

/// All edges since the oldest pending request.
#[derive(Debug, Default)]
pub(super) struct WaitGraph(Vec<Edge>);

impl WaitGraph {
    /// A client has sent a request, which is a `lock` if `locks` is true. `holds` says whether other requests
    /// may wait for it.
    pub(super) fn add_request(
        &mut self,
        client: usize,
        request: u64,
        mailboxes: &[u32],
        locks: bool,
        holds: bool,
    ) {
        for &mailbox in mailboxes {
            let edge = Edge { client, mailbox, until: None, request, locks, holds, waits: true };
            self.0.push(edge);
        }
    }

    /// A request has its reply. If it `locked` its mailboxes, the holding edges continue.
    pub(super) fn finish_request(&mut self, request: u64, locked: bool, sequence: u64) {
        for at in 0..self.0.len() {
            let edge = &mut self.0[at];
            if edge.request == request && edge.until.is_none() && edge.waits {
                edge.until = Some(sequence);
                if locked {
                    let held = Edge { until: None, waits: false, ..*edge };
                    self.0.push(held);
                }
            }
        }
    }

    /// A lock has ended.
    pub(super) fn end_lock(&mut self, client: usize, mailbox: u32, sequence: u64) {
        let matches = |edge: &&mut Edge| (edge.client, edge.mailbox) == (client, mailbox) && !edge.waits;
        self.0.iter_mut().filter(matches).for_each(|edge| edge.until = edge.until.or(Some(sequence)));
    }

    /// The server has removed a client.
    pub(super) fn remove_client(&mut self, client: usize, sequence: u64) {
        let matches = |edge: &&mut Edge| edge.client == client;
        self.0.iter_mut().filter(matches).for_each(|edge| edge.until = edge.until.or(Some(sequence)));
    }

    /// Forgets the edges that ended before `sequence`.
    pub(super) fn prune_before(&mut self, sequence: u64) {
        self.0.retain(|edge| edge.until.is_none_or(|until| until >= sequence));
    }

    /// Whether another client used a mailbox at any time since `since`.
    pub(super) fn had_other_client(&self, client: usize, mailbox: u32, since: u64) -> bool {
        let matches = |edge: &Edge| edge.client != client && edge.mailbox == mailbox;
        self.0.iter().any(|edge| matches(edge) && edge.until.is_none_or(|until| until >= since))
    }

    /// Whether another client may have held a lock of a mailbox, or waited for one, at any time since
    /// `since`.
    pub(super) fn had_other_lock(&self, client: usize, mailbox: u32, since: u64) -> bool {
        let matches = |edge: &Edge| edge.client != client && edge.mailbox == mailbox && edge.locks;
        self.0.iter().any(|edge| matches(edge) && edge.until.is_none_or(|until| until >= since))
    }

    /// Whether a request for these mailboxes may have completed a cycle of waits.
    pub(super) fn may_have_closed_cycle(
        &self,
        client: usize,
        request: u64,
        mailboxes: &[u32],
        since: u64,
    ) -> bool {
        let active = || self.0.iter().filter(|edge| edge.until.is_none_or(|until| until >= since));
        let mut visited: BTreeSet<u32> = mailboxes.iter().copied().collect();
        let mut to_visit: Vec<(u32, bool)> = visited.iter().map(|mailbox| (*mailbox, true)).collect();
        while let Some((mailbox, is_first)) = to_visit.pop() {
            for holder in active().filter(|edge| edge.mailbox == mailbox && edge.holds) {
                if holder.client == client && !(is_first && holder.request == request) {
                    return true;
                }
                for waits in active().filter(|edge| edge.client == holder.client && edge.waits) {
                    if waits.client != client && visited.insert(waits.mailbox) {
                        to_visit.push((waits.mailbox, false));
                    }
                }
            }
        }
        // One of the requested mailboxes may be reached again through another client.
        let own_part = |edge: &&Edge| edge.client == client && edge.request == request && edge.holds;
        mailboxes.len() > 1
            && active().filter(own_part).any(|own| {
                active().any(|edge| edge.client != client && edge.mailbox == own.mailbox && edge.waits)
            })
    }
}
