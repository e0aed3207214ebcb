//! Checks of events, and of the replies to `unlock`, `watch` and `unwatch`.

use super::super::client_model::PendingRequest;
use super::super::reply::ParsedReply;
use super::super::request::ClientRequest;
use super::Oracle;

impl Oracle {
    pub(super) fn check_other_reply(&mut self, client: usize, pending: &PendingRequest, reply: &ParsedReply) {
        match &pending.request {
            ClientRequest::Unlock { mailboxes, grant } => {
                let model = &self.models[client];
                let has = |mailbox: &u32| {
                    model.locks.get(mailbox).is_some_and(|lock| grant.is_none_or(|grant| grant == lock.grant))
                };
                let is_valid = match mailboxes {
                    Some(list) => list.iter().all(has),
                    None => grant.is_none() || model.locks.keys().any(has),
                };
                let unsure = model.has_lost_lock_since(pending.sent.sequence);
                assert!(is_valid || unsure, "OK to {:?} with {:?}", pending.request, model.locks);
                let ended = self.remove_locks(client, mailboxes.as_deref(), *grant);
                self.record_unlocked(client, &ended);
            }
            ClientRequest::Watch { mailboxes, after } => {
                let versions =
                    reply.field("v").expect("versions").split(',').map(|v| v.parse().expect("a version"));
                let versions: Vec<u64> = versions.collect();
                assert_eq!(versions.len(), mailboxes.len());
                for (mailbox, version) in mailboxes.iter().zip(versions) {
                    let floor = pending.floors[*mailbox as usize].version;
                    assert!(
                        after.map_or(version >= floor, |after| after == version),
                        "{reply} after version {floor}"
                    );
                    self.models[client].watches.insert(*mailbox, version);
                }
            }
            ClientRequest::Unwatch { mailboxes } => {
                let watches = &mut self.models[client].watches;
                match mailboxes {
                    Some(list) => list.iter().for_each(|mailbox| _ = watches.remove(mailbox)),
                    None => watches.clear(),
                }
            }
            other => panic!("{reply} to {other:?}"),
        }
    }

    pub(super) fn check_event(&mut self, client: usize, event: &ParsedReply) {
        let mailbox = event.number("box").expect("a mailbox") as u32;
        let version = event.number("v").expect("a version");
        if event.field("lost") == Some("lock") {
            return self.check_lost_lock(client, mailbox, event);
        }
        if event.field("lost") == Some("take") {
            return self.check_lost_take(client, version, event);
        }
        let Some(seen) = self.models[client].watches.get_mut(&mailbox) else {
            panic!("{event} to client {client}, which does not watch the mailbox")
        };
        let lost = event.number("lost").unwrap_or(0);
        assert_eq!(version, *seen + 1 + lost, "{event} after version {seen}");
        *seen = version;
        self.mailboxes[mailbox as usize].record_view(version, None, &event.body);
        for (other, model) in self.models.iter().enumerate().filter(|(other, _)| *other != client) {
            let lock = model.certainly_holds(mailbox, self.now.time).filter(|lock| !lock.shared);
            assert!(
                lock.is_none_or(|lock| version <= lock.state.version),
                "{event} while client {other} has locked the mailbox"
            );
        }
    }

    pub(super) fn check_lost_lock(&mut self, client: usize, mailbox: u32, event: &ParsedReply) {
        let model = &mut self.models[client];
        assert!(
            model.locks.contains_key(&mailbox),
            "{event} to client {client}, which had not locked the mailbox"
        );
        let from = model.earliest_lease_end_of(mailbox);
        assert!(
            self.now.time >= from,
            "{event} is too early: expected from {from:?}, received at {:?}",
            self.now.time
        );
        model.locks.remove(&mailbox);
        model.lost_locks.insert(mailbox, self.now);
        model.last_lock_loss = Some(self.now);
        self.wait_graph.end_lock(client, mailbox, self.now.sequence);
    }
}
