//! How the answer to a request is encoded.

use super::request::Eol;

/// The encoding of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Style {
    /// The text protocol: a line, and after `DATA` the data. The lines end like the header line of the
    /// request.
    Text(Eol),
    /// The classic protocol: the bare data of a message, or a line.
    Classic(Classic),
}

/// The encoding of an answer of the classic protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Classic {
    /// The packet size, to which a padded answer is filled up.
    pub packet: u32,
    /// The end of the first line of the request, if it had one.
    pub eol: Option<Eol>,
    /// Whether an end of line is added to data that has none at its end.
    pub ends_data: bool,
    /// What surrounds the answer.
    pub envelope: Envelope,
}

/// What surrounds an answer of the classic protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Envelope {
    /// Nothing.
    None,
    /// The answer is filled up to the packet size with this byte, as the request was.
    Padding(u8),
    /// The length of the answer comes first: 32 bits, big-endian.
    Length,
}

const _: () = assert!(size_of::<Style>() <= 8, "each request of a batch has a style");

impl Style {
    /// How lines of the answer end.
    pub fn eol(self) -> Eol {
        match self {
            Style::Text(eol) => eol,
            Style::Classic(classic) => classic.eol.unwrap_or(Eol::Lf),
        }
    }

    /// The number of bytes to which the answer is filled up.
    pub fn padded_len(self) -> usize {
        match self {
            Style::Classic(Classic { packet, envelope: Envelope::Padding(_), .. }) => packet as usize,
            _ => 0,
        }
    }
}

impl From<Eol> for Style {
    fn from(eol: Eol) -> Self {
        Style::Text(eol)
    }
}
