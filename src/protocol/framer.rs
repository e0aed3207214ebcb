//! Cuts complete requests from the bytes of one connection. Sans-IO: it stores no bytes, only its state.
//!
//! The caller keeps the bytes that are not part of a complete request, and passes them again with more bytes
//! appended. The law: *the requests do not depend on how the bytes are split into packets*, and no request
//! follows one that [closes](Request::closes) the connection.
//!
//! ```text
//!            ┌──────── complete request ──────────┐
//!            ▼                                    │
//!   ┌──── Open ── header of a refused w or put ───┼──► Discarding ── its end ──► Open
//!   │        └─────── request that closes ────────┴──────────┴─────────────────► Closed
//!   └─ blank lines, telnet options: skipped
//! ```

mod discard;
mod lines;

use std::ops::Range;

use super::arguments::{decimal, mailbox};
use super::header::{self, Body, HEADER_MAX, Header};
use super::request::{Eol, Framed, Limits, MailboxRequest, Refusal, Request, Wait};
use super::telnet::{self, Command, IAC, NEGOTIATION_LEN};
use discard::{Discard, Discarded, Remaining};
use lines::{End, Lines, strip};

/// Largest number of bytes of a refused body that are discarded. The packet size applies instead if it is
/// larger. A longer body closes the connection.
pub const DISCARD_MAX: u64 = 1024 * 1024;

/// Number of consecutive invalid lines that closes a connection.
pub const BAD_LINES_MAX: u8 = 8;

/// A cut ends after this many bytes besides the data of the requests, because long lists of mailboxes take
/// long to parse.
pub const HEADERS_MAX: usize = 4 * 1024;

/// Largest number of bytes in a header line that the fast path parses, with the end of the line.
const FAST_HEADER_MAX: usize = 32;

/// What a terminal sends for Ctrl-D.
pub(super) const CTRL_D: u8 = 4;

/// First words of other protocols: HTTP from a browser or a proxy, SSH.
const FOREIGN: [&[u8]; 13] = [
    b"GET ",
    b"POST ",
    b"PUT ",
    b"HEAD ",
    b"DELETE ",
    b"OPTIONS ",
    b"PATCH ",
    b"CONNECT ",
    b"TRACE ",
    b"PRI ",
    b"Host:",
    b"host:",
    b"SSH-",
];

/// The state of framing of one connection.
#[derive(Clone, Debug, Default)]
pub struct Framer {
    state: State,
    /// Number of bytes of an incomplete request with a line body that were searched for the end of the body.
    /// These bytes are not searched again.
    searched: usize,
    bad_lines: u8,
    /// The last request was a write whose data was one line.
    is_after_line: bool,
    lines: Lines,
}

#[derive(Clone, Debug, Default)]
enum State {
    #[default]
    Open,
    /// Boxed, because this state is rare and idle connections are to be small.
    Discarding(Box<Discard>),
    Closed,
}

/// The header of the most frequent requests: lines of exactly the form `r 3` or `w 3 100`.
#[derive(Clone, Copy, Debug)]
enum FastHeader {
    Read { mailbox: u32 },
    Write { mailbox: u32, len: u64 },
}

impl FastHeader {
    /// Parses such a line with the same result as [`header::parse`], without splitting the line into words
    /// and keys. Returns `None` for any other line.
    #[inline]
    fn parse(line: &[u8], limits: &Limits) -> Option<Self> {
        match line {
            [b'r', b' ', word @ ..] => Some(FastHeader::Read { mailbox: mailbox(word, limits)? }),
            [b'w', b' ', words @ ..] => {
                let (word, len) = words.split_at(words.iter().position(|&b| b == b' ')?);
                let len = decimal(&len[1..]).filter(|&len| len <= limits.body_max())?;
                Some(FastHeader::Write { mailbox: mailbox(word, limits)?, len })
            }
            _ => None,
        }
    }

    #[inline]
    fn request(self) -> Request {
        let wait = Wait::Default;
        match self {
            FastHeader::Read { mailbox } => {
                Request::Mailbox(MailboxRequest::Read { mailbox, after: None, offset: 0, len: None, wait })
            }
            FastHeader::Write { mailbox, .. } => {
                Request::Mailbox(MailboxRequest::Write { mailbox, expected: None, offset: None, wait })
            }
        }
    }
}

/// The result of looking at the first bytes.
#[derive(Debug, PartialEq, Eq)]
enum Cut {
    /// No complete request yet: at least this many bytes are missing.
    NotYet(usize),
    /// Skip this many bytes.
    Skip(usize),
    /// A request, and its number of bytes.
    Request(Framed, usize),
    /// The previous request has closed the connection.
    Closed,
}

impl Framer {
    /// Cuts complete requests from the front of `bytes` until `found` holds `max` requests, until their
    /// header lines have [`HEADERS_MAX`] bytes, or until the next request must wait for the others. `bytes`
    /// start where the last cut ended. Returns the number of used bytes, and the smallest number of bytes
    /// that the next request can lack. The second number is 0 if the cut did not end at an incomplete
    /// request.
    pub fn cut(
        &mut self,
        bytes: &[u8],
        limits: &Limits,
        max: usize,
        found: &mut Vec<Framed>,
    ) -> (usize, usize) {
        let (mut used, mut headers) = (0, 0);
        while found.len() < max && headers < HEADERS_MAX {
            if let Some((header, eol, body, len)) = self.fast_path(&bytes[used..], limits) {
                // Constructed in place: copying a value right after storing its fields stalls on store
                // forwarding.
                headers += len - body.len();
                let body = used + body.start..used + body.end;
                found.push(Framed { request: header.request(), style: eol.into(), body });
                used += len;
                continue;
            }
            if !self.may_follow(found.last(), &bytes[used..], limits) {
                return (used, 0);
            }
            match self.next(&bytes[used..], limits) {
                Cut::NotYet(missing) => return (used, missing),
                Cut::Skip(len) => used += len,
                Cut::Closed => return (bytes.len(), 0),
                Cut::Request(mut framed, len) => {
                    headers += len - framed.body.len();
                    framed.move_body(used);
                    found.push(framed);
                    used += len;
                }
            }
        }
        (used, 0)
    }

    /// Whether the next request may be part of the same cut. A name is resolved when its request becomes
    /// next, so no request follows one that changes names, and a request with a name follows only requests
    /// for the same mailbox.
    fn may_follow(&self, last: Option<&Framed>, bytes: &[u8], limits: &Limits) -> bool {
        let Some(last) = last else { return true };
        if last.request.renames() {
            return false;
        }
        if !limits.names.has_any() || !matches!(self.state, State::Open) {
            return true;
        }
        let Some(word) = header::name_in(bytes) else { return true };
        match &last.request {
            Request::Mailbox(request) => limits.names.find(word) == Some(request.mailbox()),
            _ => false,
        }
    }

    /// Cuts a complete request with a frequent header line, with the same result as [`Framer::next`] but
    /// faster.
    #[inline]
    fn fast_path(&mut self, bytes: &[u8], limits: &Limits) -> Option<(FastHeader, Eol, Range<usize>, usize)> {
        if !matches!(self.state, State::Open) || self.lines.end_with_nul {
            return None;
        }
        let front = &bytes[..bytes.len().min(FAST_HEADER_MAX)];
        let at = front.iter().position(|&b| b == b'\n')?;
        let (line, eol) = strip(&bytes[..at]);
        let header = FastHeader::parse(line, limits)?;
        let start = at + 1;
        let (body, end) = match header {
            FastHeader::Read { .. } => (0..0, start),
            FastHeader::Write { len, .. } => {
                let end = start + usize_of(len);
                let End::At(length) = self.lines.end(bytes.get(end..)?) else { return None };
                (start..end, end + length)
            }
        };
        (self.bad_lines, self.searched, self.is_after_line) = (0, 0, false);
        Some((header, eol, body, end))
    }

    /// Looks at the front of `bytes`, and updates the state.
    fn next(&mut self, bytes: &[u8], limits: &Limits) -> Cut {
        let cut = match &mut self.state {
            State::Closed => Cut::Closed,
            _ if bytes.is_empty() => Cut::NotYet(1),
            State::Discarding(discard) => {
                let discarded = discard.advance(bytes, self.lines, limits);
                self.discard(discarded, bytes, limits)
            }
            State::Open => self.cut_request(bytes, limits),
        };
        match &cut {
            Cut::NotYet(missing) => debug_assert!(*missing > 0),
            Cut::Skip(len) | Cut::Request(_, len) => {
                debug_assert!(*len <= bytes.len());
                self.searched = 0;
            }
            Cut::Closed => {}
        }
        cut
    }

    /// Whether [`Framer::complete`] may succeed. False while a body is shorter than its header says.
    pub fn may_complete(&self, bytes: &[u8], limits: &Limits) -> bool {
        match (&self.state, self.first_line(bytes, limits)) {
            (State::Open, Some((Header { body: Body::Length(len), .. }, start))) => {
                (bytes.len() - start) as u64 >= len
            }
            _ => true,
        }
    }

    /// Cuts the last request after a time of silence, if it lacks only its end of line. `ended` has the
    /// remaining bytes and an appended `\n`. Returns `None` and changes nothing if there is no such request.
    pub fn complete(&mut self, ended: &[u8], limits: &Limits) -> Option<Framed> {
        if let State::Discarding(discard) = &self.state
            && matches!(discard.remaining, Remaining::Line(0))
        {
            return None;
        }
        let mut framer = self.clone();
        let mut at = 0;
        loop {
            match framer.next(&ended[at..], limits) {
                Cut::Skip(len) => at += len,
                Cut::Request(mut framed, len) if at + len == ended.len() => {
                    if framed.body.is_empty() && framer.has_line_body(&ended[at..], limits) {
                        return None;
                    }
                    framed.move_body(at);
                    *self = framer;
                    return Some(framed);
                }
                _ => return None,
            }
        }
    }

    /// Whether the remaining bytes are part of a request whose header has the length of its body. Such a body
    /// must not stall.
    pub fn awaits_octets(&self, bytes: &[u8], limits: &Limits) -> bool {
        match &self.state {
            State::Discarding(discard) => matches!(discard.remaining, Remaining::Octets(_)),
            State::Open => {
                matches!(self.first_line(bytes, limits), Some((Header { body: Body::Length(_), .. }, _)))
            }
            State::Closed => false,
        }
    }

    /// The `w` or `put` at the start of `bytes`, if all of its header and only a part of its data is there.
    /// The range of its body ends behind `bytes`. The caller may receive the rest of the data, and a few
    /// bytes after it, without passing them to [`Framer::cut`]. Then it calls [`Framer::end_data`].
    pub fn incomplete(&self, bytes: &[u8], limits: &Limits) -> Option<Framed> {
        let State::Open = self.state else { return None };
        let front = &bytes[..bytes.len().min(HEADER_MAX + 2)];
        let at = self.lines.last(front, 0)?;
        let (line, eol) = strip(&front[..at]);
        let Header { request: Ok(request), body: Body::Length(len) } = header::parse(line, limits)? else {
            return None;
        };
        let body = at + 1..at + 1 + usize_of(len);
        let is_incomplete = line.len() <= HEADER_MAX && body.end > bytes.len();
        is_incomplete.then(|| Framed { request, style: eol.into(), body })
    }

    /// Ends the data of a request that [`Framer::incomplete`] has returned. `after` has the bytes after it.
    /// Returns the length of the end of line that they begin with, or `None` if they do not, or not yet: the
    /// caller then passes all bytes of the request to [`Framer::cut`].
    pub fn end_data(&mut self, after: &[u8]) -> Option<usize> {
        let End::At(len) = self.lines.end(after) else { return None };
        (self.bad_lines, self.searched, self.is_after_line) = (0, 0, false);
        Some(len)
    }

    /// Whether a refused body is being discarded. The bytes of the caller then begin within a request.
    pub fn is_discarding(&self) -> bool {
        matches!(self.state, State::Discarding(_))
    }

    /// The header at the start of `bytes`, and the offset after it.
    fn first_line(&self, bytes: &[u8], limits: &Limits) -> Option<(Header, usize)> {
        let front = &bytes[..bytes.len().min(HEADER_MAX + 2)];
        let at = self.lines.last(front, 0)?;
        Some((header::parse(strip(&front[..at]).0, limits)?, at + 1))
    }

    fn has_line_body(&self, bytes: &[u8], limits: &Limits) -> bool {
        matches!(self.first_line(bytes, limits), Some((Header { body: Body::Line, .. }, _)))
    }

    fn cut_request(&mut self, bytes: &[u8], limits: &Limits) -> Cut {
        match bytes[0] {
            IAC => return self.telnet_option(bytes),
            b'\r' if bytes.len() == 1 => return Cut::NotYet(1),
            b'\n' | b'\r' => match self.lines.end(bytes) {
                End::At(len) => return Cut::Skip(len),
                _ => return self.refuse_bytes(),
            },
            b' '..=b'~' => {}
            CTRL_D => {
                let refusal = Refusal::Syntax("Ctrl-D does not leave, q does".into());
                return self.answer(Request::Refused(refusal), self.lines.eol(), 1);
            }
            _ => return self.refuse_bytes(),
        }
        if is_foreign(bytes) {
            return self.answer(Request::Foreign, Eol::Lf, bytes.len());
        }
        let front = &bytes[..bytes.len().min(HEADER_MAX + 2)];
        match self.lines.last(front, 0) {
            Some(at) => {
                let (line, eol) = strip(&front[..at]);
                if line.len() > HEADER_MAX {
                    return self.too_long();
                }
                self.header(bytes, line, eol, at + 1, limits)
            }
            None if front.len() == HEADER_MAX + 2 => self.too_long(),
            None => Cut::NotYet(1),
        }
    }

    fn header(&mut self, bytes: &[u8], line: &[u8], eol: Eol, start: usize, limits: &Limits) -> Cut {
        let Some(Header { request, body }) = header::parse(line, limits) else {
            return Cut::Skip(start);
        };
        let request = match (request, body) {
            (Ok(request), Body::None) => return self.answer(request, eol, start),
            (Err(Refusal::Verb(word)), Body::None) if self.is_after_line => {
                let hint = "data of several lines needs its length, as in w 3 LEN, or the classic port";
                let refusal = Refusal::Verb(format!("{word}: {hint}"));
                return self.answer(Request::Refused(refusal), eol, start);
            }
            (Err(refusal), Body::None) => return self.answer(Request::Refused(refusal), eol, start),
            (_, Body::Length(len)) if len > discard_max(limits) => {
                let refusal = limits.too_large(Some(len), true);
                return self.answer(Request::Refused(refusal), eol, start);
            }
            (Err(refusal), Body::Length(len)) => {
                return self.skip_body(Remaining::Octets(len), refusal, eol, start);
            }
            (Err(refusal), Body::Line) => return self.skip_body(Remaining::Line(0), refusal, eol, start),
            (Ok(request), _) => request,
        };
        match body {
            Body::Length(len) => self.octets(bytes, request, eol, start, usize_of(len)),
            _ => self.line(bytes, request, eol, start, limits),
        }
    }

    fn octets(&mut self, bytes: &[u8], request: Request, eol: Eol, start: usize, len: usize) -> Cut {
        let end = start + len;
        if bytes.len() <= end {
            return Cut::NotYet(end + 1 - bytes.len());
        }
        match self.lines.end(&bytes[end..]) {
            End::At(length) => self.answer_with(request, eol, start..end, end + length),
            End::NotYet => Cut::NotYet(1),
            End::Other => self.refuse_length(eol, bytes.len()),
        }
    }

    fn line(&mut self, bytes: &[u8], request: Request, eol: Eol, start: usize, limits: &Limits) -> Cut {
        // Two bytes more than the maximum are enough: they contain the end of the line, or the body is too
        // long.
        let enough = start + usize_of(limits.body_max()) + 2;
        let front = &bytes[..bytes.len().min(enough)];
        let from = start.max(self.searched);
        match self.lines.last(front, from) {
            Some(at) if strip(&front[start..at]).0.len() as u64 <= limits.body_max() => {
                let end = start + strip(&front[start..at]).0.len();
                let cut = self.answer_with(request, eol, start..end, at + 1);
                self.is_after_line = true;
                cut
            }
            None if front.len() < enough => {
                self.searched = front.len();
                Cut::NotYet(1)
            }
            _ => {
                let refusal = limits.too_large(None, false);
                self.skip_body(Remaining::Line(0), refusal, eol, start)
            }
        }
    }

    fn skip_body(&mut self, remaining: Remaining, refusal: Refusal, eol: Eol, len: usize) -> Cut {
        self.state = State::Discarding(Box::new(Discard { remaining, refusal, eol }));
        Cut::Skip(len)
    }

    /// Ends or continues the discarding of a body.
    fn discard(&mut self, discarded: Discarded, bytes: &[u8], limits: &Limits) -> Cut {
        match discarded {
            Discarded::NotYet => Cut::NotYet(1),
            Discarded::Some(len) => Cut::Skip(len),
            Discarded::All { refusal, eol, len } => {
                self.state = State::Open;
                self.answer(Request::Refused(refusal), eol, len)
            }
            Discarded::WrongLength { eol } => self.refuse_length(eol, bytes.len()),
            Discarded::TooMuch { eol } => {
                let refusal = limits.too_large(None, true);
                self.answer(Request::Refused(refusal), eol, bytes.len())
            }
        }
    }

    /// Refuses or skips a negotiation of telnet. From then on CR NUL ends a line, too.
    fn telnet_option(&mut self, bytes: &[u8]) -> Cut {
        self.lines.end_with_nul = true;
        match telnet::command(bytes) {
            Command::NotYet(missing) => Cut::NotYet(missing),
            Command::Skip(len) => Cut::Skip(len),
            Command::Answer(answer) => self.answer(Request::Telnet(answer), Eol::Lf, NEGOTIATION_LEN),
            Command::TooLong => self.too_long(),
        }
    }

    fn answer(&mut self, request: Request, eol: Eol, len: usize) -> Cut {
        self.answer_with(request, eol, 0..0, len)
    }

    /// The only function that returns a request, counts invalid lines and closes the connection.
    fn answer_with(&mut self, request: Request, eol: Eol, body: Range<usize>, len: usize) -> Cut {
        let bad = matches!(request, Request::Refused(Refusal::Syntax(_) | Refusal::Verb(_)));
        self.bad_lines = if bad { self.bad_lines + 1 } else { 0 };
        self.is_after_line = false;
        let request = if self.bad_lines == BAD_LINES_MAX {
            Request::Refused(Refusal::Frame("eight bad lines in a row"))
        } else {
            request
        };
        if request.closes() {
            self.state = State::Closed;
        }
        Cut::Request(Framed { request, style: eol.into(), body }, len)
    }

    fn refuse_bytes(&mut self) -> Cut {
        let refusal = Refusal::Frame("a request starts with a verb in plain text, try help");
        self.answer(Request::Refused(refusal), Eol::Lf, 1)
    }

    fn too_long(&mut self) -> Cut {
        let refusal = Refusal::Frame("a header line has at most 1024 bytes");
        self.answer(Request::Refused(refusal), Eol::Lf, HEADER_MAX)
    }

    fn refuse_length(&mut self, eol: Eol, len: usize) -> Cut {
        let refusal = Refusal::Frame("the data is not as long as its length says, counted in bytes");
        self.answer(Request::Refused(refusal), eol, len)
    }
}

pub(super) fn discard_max(limits: &Limits) -> u64 {
    limits.packet.max(DISCARD_MAX)
}

/// Whether the bytes begin a request of another protocol: a word of [`FOREIGN`], or an array of RESP.
pub(super) fn is_foreign(bytes: &[u8]) -> bool {
    let resp = matches!(bytes, [b'*', b'0'..=b'9', ..]);
    resp || FOREIGN.iter().any(|word| bytes.starts_with(word))
}

/// Converts a length that was checked against the packet size or [`DISCARD_MAX`].
fn usize_of(len: u64) -> usize {
    usize::try_from(len).expect("a checked length fits into memory")
}

#[cfg(test)]
mod tests;
