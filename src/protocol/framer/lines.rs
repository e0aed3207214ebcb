//! The ends of lines: LF, CR LF, and on a telnet connection CR NUL.

use crate::protocol::Eol;

/// How the lines of a connection end.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Lines {
    /// The client has sent a telnet command: CR NUL ends a line, too. A telnet client that sends each key as
    /// it is typed sends CR NUL for Enter. Source: RFC 854.
    pub end_with_nul: bool,
}

/// What `bytes` start with.
pub(super) enum End {
    /// An end of line of this many bytes.
    At(usize),
    NotYet,
    Other,
}

impl Lines {
    /// The end of a line that answers no header line.
    pub(super) fn eol(self) -> Eol {
        if self.end_with_nul { Eol::CrLf } else { Eol::Lf }
    }

    /// Whether `bytes` start with an end of line.
    pub(super) fn end(self, bytes: &[u8]) -> End {
        match bytes {
            [b'\n', ..] => End::At(1),
            [b'\r', b'\n', ..] => End::At(2),
            [b'\r', 0, ..] if self.end_with_nul => End::At(2),
            [] | [b'\r'] => End::NotYet,
            _ => End::Other,
        }
    }

    /// The position of the last byte of the first end of line. Bytes before `from` are not searched.
    pub(super) fn last(self, bytes: &[u8], from: usize) -> Option<usize> {
        if !self.end_with_nul {
            return bytes[from..].iter().position(|&b| b == b'\n').map(|at| from + at);
        }
        let ends = |at: &usize| match bytes[*at] {
            b'\n' => true,
            0 => *at > 0 && bytes[at - 1] == b'\r',
            _ => false,
        };
        (from..bytes.len()).find(ends)
    }
}

/// Removes the CR of a line that ended in CR LF or CR NUL.
pub(super) fn strip(line: &[u8]) -> (&[u8], Eol) {
    match line.split_last() {
        Some((b'\r', line)) => (line, Eol::CrLf),
        _ => (line, Eol::Lf),
    }
}
