//! Who had to do with which mailbox when: the naive graph of who may have waited for whom.

use std::collections::BTreeSet;

/// A client and a mailbox, as long as it has to do with it.
#[derive(Clone, Copy, Debug)]
struct Touch {
    client: usize,
    mailbox: u32,
    /// `None` while it lasts.
    until: Option<u64>,
    /// Which request of all.
    request: u64,
    /// Others may have waited for this.
    holds: bool,
    /// This may have waited.
    waits: bool,
}

/// All of them.
#[derive(Debug, Default)]
pub struct Touches(Vec<Touch>);

impl Touches {
    /// A client asks.
    pub fn begin(&mut self, client: usize, request: u64, mailboxes: &[u32], locks: bool) {
        for &mailbox in mailboxes {
            let touch = Touch { client, mailbox, until: None, request, holds: locks, waits: true };
            self.0.push(touch);
        }
    }

    /// A request waits no more; a lock that was given is held on.
    pub fn answered(&mut self, request: u64, locked: bool, tick: u64) {
        for at in 0..self.0.len() {
            let touch = &mut self.0[at];
            if touch.request == request && touch.until.is_none() && touch.waits {
                touch.until = Some(tick);
                if locked {
                    let held = Touch { until: None, waits: false, ..*touch };
                    self.0.push(held);
                }
            }
        }
    }

    /// A lock has ended.
    pub fn unlocked(&mut self, client: usize, mailbox: u32, tick: u64) {
        let is_it = |touch: &&mut Touch| (touch.client, touch.mailbox) == (client, mailbox) && !touch.waits;
        self.0.iter_mut().filter(is_it).for_each(|touch| touch.until = touch.until.or(Some(tick)));
    }

    /// The server knows nothing of a client any more.
    pub fn forgotten(&mut self, client: usize, tick: u64) {
        let of = |touch: &&mut Touch| touch.client == client;
        self.0.iter_mut().filter(of).for_each(|touch| touch.until = touch.until.or(Some(tick)));
    }

    /// Nobody asks about what ended before `tick`.
    pub fn forget_before(&mut self, tick: u64) {
        self.0.retain(|touch| touch.until.is_none_or(|until| until >= tick));
    }

    /// Whether anybody else had to do with a mailbox since.
    pub fn was_anybody_else(&self, client: usize, mailbox: u32, since: u64) -> bool {
        let also = |touch: &Touch| touch.client != client && touch.mailbox == mailbox;
        self.0.iter().any(|touch| also(touch) && touch.until.is_none_or(|until| until >= since))
    }

    /// Whether a client may have waited for itself through others, by a request for these mailboxes.
    pub fn may_close_cycle(&self, client: usize, request: u64, mailboxes: &[u32], since: u64) -> bool {
        let live = || self.0.iter().filter(|touch| touch.until.is_none_or(|until| until >= since));
        let mut visited: BTreeSet<u32> = mailboxes.iter().copied().collect();
        let mut to_visit: Vec<(u32, bool)> = visited.iter().map(|mailbox| (*mailbox, true)).collect();
        while let Some((mailbox, is_first)) = to_visit.pop() {
            for holder in live().filter(|touch| touch.mailbox == mailbox && touch.holds) {
                if holder.client == client && !(is_first && holder.request == request) {
                    return true;
                }
                for waits in live().filter(|touch| touch.client == holder.client && touch.waits) {
                    if waits.client != client && visited.insert(waits.mailbox) {
                        to_visit.push((waits.mailbox, false));
                    }
                }
            }
        }
        // A mailbox that was there from the start may be reached again from others.
        let own_part = |touch: &&Touch| touch.client == client && touch.request == request && touch.holds;
        mailboxes.len() > 1
            && live().filter(own_part).any(|own| {
                live().any(|touch| touch.client != client && touch.mailbox == own.mailbox && touch.waits)
            })
    }
}
