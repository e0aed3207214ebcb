//! The body of a refused request: it is counted and discarded, so that data is never parsed as a request.

use super::lines::{End, Lines};
use super::{discard_max, usize_of};
use crate::protocol::{Eol, Limits, Refusal};

/// A refused body that is being discarded.
#[derive(Clone, Debug)]
pub(super) struct Discard {
    pub remaining: Remaining,
    pub refusal: Refusal,
    pub eol: Eol,
}

#[derive(Clone, Debug)]
pub(super) enum Remaining {
    /// This many bytes, then an end of line.
    Octets(u64),
    /// An end of line, after this many discarded bytes.
    Line(u64),
}

/// The result of [`Discard::advance`].
pub(super) enum Discarded {
    /// The end of line is incomplete.
    NotYet,
    /// This many bytes were discarded. More bytes follow.
    Some(usize),
    /// The whole body was discarded. The last call discarded `len` bytes.
    All { refusal: Refusal, eol: Eol, len: usize },
    /// The body does not end where its length says.
    WrongLength { eol: Eol },
    /// The body is longer than the limit [`discard_max`].
    TooMuch { eol: Eol },
}

impl Discard {
    /// Counts the front of `bytes` as discarded.
    pub(super) fn advance(&mut self, bytes: &[u8], lines: Lines, limits: &Limits) -> Discarded {
        let eol = self.eol;
        let len = match &mut self.remaining {
            Remaining::Octets(0) => match lines.end(bytes) {
                End::At(len) => len,
                End::NotYet => return Discarded::NotYet,
                End::Other => return Discarded::WrongLength { eol },
            },
            Remaining::Octets(octets) => {
                let skipped = usize_of(*octets).min(bytes.len());
                *octets -= skipped as u64;
                return Discarded::Some(skipped);
            }
            Remaining::Line(discarded) => {
                let end = lines.last(bytes, 0);
                // A CR at the end may be the first byte of an end of line.
                let left = usize::from(end.is_none() && lines.end_with_nul && bytes.ends_with(b"\r"));
                *discarded += (end.unwrap_or(bytes.len()) - left) as u64;
                if *discarded > discard_max(limits) {
                    return Discarded::TooMuch { eol };
                }
                if let (Some(_), Refusal::Size { sent, .. }) = (end, &mut self.refusal) {
                    *sent = Some(*discarded - (eol.bytes().len() as u64 - 1));
                }
                match end {
                    Some(at) => at + 1,
                    None if bytes.len() == left => return Discarded::NotYet,
                    None => return Discarded::Some(bytes.len() - left),
                }
            }
        };
        Discarded::All { refusal: self.refusal.clone(), eol, len }
    }
}
