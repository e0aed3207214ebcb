//! Which protocol a connection speaks, and its framer.

pub use super::classic::Silence;
use super::classic::{ClassicFramer, Found, Whole};
use super::framer::Framer;
use super::request::{Framed, Limits};

/// The framer of one connection.
#[derive(Clone, Debug)]
pub enum Framing {
    /// The text protocol.
    Text(Framer),
    /// A connection to the classic port. Boxed, because most connections speak the text protocol, and idle
    /// connections are to be small.
    Classic(Box<ClassicFramer>),
}

/// The result of [`Framing::complete`].
#[derive(Debug, PartialEq, Eq)]
pub enum Completed {
    /// The bytes are this request.
    Request(Framed),
    /// The bytes mean nothing, and were used.
    Dropped,
    /// The bytes are no whole request.
    NotYet,
}

impl Default for Framing {
    fn default() -> Self {
        Framing::Text(Framer::default())
    }
}

impl Framing {
    /// The framing of a new connection to the classic port.
    pub fn classic() -> Self {
        Framing::Classic(Box::default())
    }

    /// Cuts complete requests from the front of `bytes`; see [`Framer::cut`]. `is_all` says that the socket
    /// has no further bytes: at the classic port a packet of fixed size has no other end.
    #[inline]
    pub fn cut(
        &mut self,
        bytes: &[u8],
        limits: &Limits,
        max: usize,
        found: &mut Vec<Framed>,
        is_all: bool,
    ) -> (usize, usize) {
        let framer = match self {
            Framing::Text(framer) => framer,
            Framing::Classic(classic) => match classic.cut(bytes, limits, max, found, is_all) {
                Found::Requests(used, missing) => return (used, missing),
                Found::Text => self.become_text(),
            },
        };
        framer.cut(bytes, limits, max, found)
    }

    /// Makes the remaining bytes a request, after a silence or at the end of the input. `ended` has the
    /// remaining bytes and an appended `\n`.
    pub fn complete(&mut self, ended: &[u8], limits: &Limits) -> Completed {
        let framer = match self {
            Framing::Text(framer) => framer,
            Framing::Classic(classic) => match classic.complete(&ended[..ended.len() - 1], limits) {
                Whole::Request(request) => return request.map_or(Completed::Dropped, Completed::Request),
                Whole::Text => self.become_text(),
            },
        };
        let rest = &ended[..ended.len() - 1];
        match framer.may_complete(rest, limits) {
            true => framer.complete(ended, limits).map_or(Completed::NotYet, Completed::Request),
            false => Completed::NotYet,
        }
    }

    /// The silence that completes the buffered bytes. `is_first` says whether they begin with the first byte
    /// since the last answer.
    pub fn silence(&self, bytes: &[u8], is_first: bool, limits: &Limits) -> Silence {
        match self {
            Framing::Text(_) if is_first => Silence::Short,
            Framing::Text(_) => Silence::Never,
            Framing::Classic(classic) => classic.silence(bytes, limits),
        }
    }

    /// Whether the remaining bytes are part of a request whose length is known. Such a request must not
    /// stall.
    pub fn awaits_octets(&self, bytes: &[u8], limits: &Limits) -> bool {
        match self {
            Framing::Text(framer) => framer.awaits_octets(bytes, limits),
            Framing::Classic(classic) => classic.awaits_octets(bytes),
        }
    }

    /// See [`Framer::incomplete`]. A request of the classic protocol is always cut whole.
    pub fn incomplete(&self, bytes: &[u8], limits: &Limits) -> Option<Framed> {
        match self {
            Framing::Text(framer) => framer.incomplete(bytes, limits),
            Framing::Classic(_) => None,
        }
    }

    /// See [`Framer::end_data`].
    pub fn end_data(&mut self, after: &[u8]) -> Option<usize> {
        match self {
            Framing::Text(framer) => framer.end_data(after),
            Framing::Classic(_) => None,
        }
    }

    /// Whether a refused request is being discarded. The bytes of the caller then begin within a request.
    #[inline]
    pub fn is_discarding(&self) -> bool {
        match self {
            Framing::Text(framer) => framer.is_discarding(),
            Framing::Classic(classic) => classic.is_discarding(),
        }
    }

    fn become_text(&mut self) -> &mut Framer {
        *self = Framing::default();
        match self {
            Framing::Text(framer) => framer,
            Framing::Classic(_) => unreachable!("the default is text"),
        }
    }
}
