//! The names of the mailboxes in a segment.

use std::sync::atomic::{Ordering, fence};

use super::header::{Header, NAME_SIZE};
use super::map::Map;

/// Number of tries to read a name that changes meanwhile.
const TRIES: usize = 8;

/// The number of the mailbox with this name.
pub(super) fn find(map: &Map, header: &Header, name: &[u8]) -> Option<u32> {
    if name.is_empty() || name.len() as u64 > NAME_SIZE {
        return None;
    }
    (0..header.mailboxes).find(|&mailbox| has_name(map, header, mailbox, name))
}

fn has_name(map: &Map, header: &Header, mailbox: u32, name: &[u8]) -> bool {
    let word = map.u64(header.names_at() + mailbox as usize * size_of::<u64>());
    let names = header.names_at() + header.mailboxes as usize * size_of::<u64>();
    for _ in 0..TRIES {
        // Two names, and the lowest bit of the word chooses one. A change writes the other one first.
        let chosen = word.load(Ordering::Acquire);
        if chosen == 0 {
            return false;
        }
        let at = names + (2 * mailbox as usize + (chosen & 1) as usize) * NAME_SIZE as usize;
        let byte = |index: usize| map.u8(at + index).load(Ordering::Relaxed);
        let is_equal = (0..name.len()).all(|index| byte(index) == name[index])
            && (name.len() == NAME_SIZE as usize || byte(name.len()) == 0);
        fence(Ordering::Acquire);
        if word.load(Ordering::Relaxed) == chosen {
            return is_equal;
        }
    }
    false
}
