//! The classic port: finds out which protocol a connection speaks, and cuts requests from datagrams or
//! frames. Sans-IO, like [`Framer`](super::Framer).
//!
//! ```text
//!                ┌── a line that only the text protocol has ──► the text protocol
//!   Undecided ───┼── first byte 0 ──► Frames
//!                └── any other line, or silence ──► Datagrams
//! ```
//!
//! A *datagram* has no length. It ends with its line if it is an `r`, a `q` or `help`, with a packet of full
//! size that is padded, with the input, or with a silence. So the requests of datagrams depend on when the
//! bytes arrive. A *frame* is a datagram with a length before it: 32 bits, big-endian. The requests of frames
//! do not depend on how the bytes are split into packets.

use super::arguments::echo;
use super::datagram::{self, Datagram, Keys, Parsed, complete_line, first_end_of_line, is_unfinished};
use super::framer::{CTRL_D, discard_max, is_foreign};
use super::header::HEADER_MAX;
use super::request::{Eol, Framed, Limits, MailboxRequest, Refusal, Request, SizeLimit, Wait};
use super::style::{Classic, Envelope, Style};
use super::telnet::{self, Command, IAC, NEGOTIATION_LEN};

/// How many bytes a frame may have beyond the packet size: room for its first line.
pub const FRAME_EXTRA: u64 = 64;

/// Number of bytes of the length of a frame.
const LENGTH_LEN: usize = 4;

/// Largest number of bytes of an answer over UDP.
const UDP_MAX: usize = 65_507;

/// The first byte of a TLS connection.
const TLS: u8 = 0x16;

/// The verbs that only the text protocol has.
const TEXT_VERBS: [&[u8]; 13] = [
    b"hello", b"ping", b"stat", b"put", b"take", b"lock", b"unlock", b"watch", b"unwatch", b"done", b"back",
    b"name", b"version",
];

/// The keys of an `r` of the text protocol.
const READ_KEYS: [&[u8]; 4] = [b"after=", b"wait=", b"off=", b"len="];

/// The state of framing of one connection at the classic port.
#[derive(Clone, Debug, Default)]
pub struct ClassicFramer {
    state: State,
    /// The mailbox of a write that had no data. If the next datagram is no request, it is the data.
    awaits_data: Option<u32>,
    /// A datagram had no end of line at its end, so the client needs none at the end of data.
    has_bare_end: bool,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
enum State {
    #[default]
    Undecided,
    Datagrams,
    /// The rest of a datagram that is too large, of which this many bytes were discarded.
    Discarding(u64),
    Frames,
    Closed,
}

/// The result of [`ClassicFramer::cut`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// So many bytes were used, and at least so many are missing; see [`Framer::cut`](super::Framer::cut).
    Requests(usize, usize),
    /// The connection speaks the text protocol. No bytes were used.
    Text,
}

impl ClassicFramer {
    /// Cuts complete requests from the front of `bytes`; see [`Framing::cut`](super::Framing::cut).
    pub(super) fn cut(
        &mut self,
        bytes: &[u8],
        limits: &Limits,
        max: usize,
        found: &mut Vec<Framed>,
        is_all: bool,
    ) -> Found {
        let mut used = 0;
        while found.len() < max && used < bytes.len() {
            let rest = &bytes[used..];
            let cut = match self.state {
                State::Undecided => match decide(rest, limits, false) {
                    None => return Found::Requests(used, 1),
                    Some(Decision::Text) => return Found::Text,
                    Some(Decision::State(state)) => {
                        self.state = state;
                        continue;
                    }
                    Some(Decision::Foreign) => self.request(Request::Foreign, rest.len()),
                },
                State::Datagrams => self.cut_datagram(rest, limits, is_all),
                State::Discarding(_) => self.discard(rest, limits),
                State::Frames => self.cut_frame(rest, limits),
                State::Closed => return Found::Requests(bytes.len(), 0),
            };
            match cut {
                Cut::NotYet(missing) => return Found::Requests(used, missing),
                Cut::Skip(len) => used += len,
                Cut::Request(mut framed, len) => {
                    framed.move_body(used);
                    found.push(framed);
                    used += len;
                }
            }
        }
        Found::Requests(used, usize::from(used == bytes.len()))
    }

    /// Makes the remaining bytes a request, because the client is silent or has ended its input.
    pub(super) fn complete(&mut self, bytes: &[u8], limits: &Limits) -> Whole {
        if self.state == State::Undecided {
            match decide(bytes, limits, true) {
                Some(Decision::Text) => return Whole::Text,
                Some(Decision::State(state)) => self.state = state,
                Some(Decision::Foreign) => {
                    self.state = State::Closed;
                    let request = Request::Foreign;
                    return Whole::Request(Some(Framed { request, style: plain(), body: 0..0 }));
                }
                None => {}
            }
        }
        let request = match self.state {
            State::Datagrams => {
                let is_packet = bytes.len() as u64 == limits.packet;
                let padding = padding(bytes, limits).filter(|_| is_packet);
                self.datagram(bytes, padding.map_or(Envelope::None, Envelope::Padding), limits)
            }
            State::Discarding(sent) => {
                self.state = State::Datagrams;
                Some(self.refuse(limits.too_large(Some(sent), false)))
            }
            State::Undecided | State::Frames | State::Closed => None,
        };
        Whole::Request(request)
    }

    /// Whether a silence completes the buffered bytes, and how long it must be.
    pub(super) fn silence(&self, bytes: &[u8], limits: &Limits) -> Silence {
        match self.state {
            State::Frames | State::Closed => Silence::Never,
            State::Discarding(_) => Silence::Short,
            State::Undecided | State::Datagrams if is_unfinished(bytes, limits) => Silence::Long,
            State::Undecided | State::Datagrams => Silence::Short,
        }
    }

    /// Whether the remaining bytes are a part of a frame, which must not stall.
    pub(super) fn awaits_octets(&self, bytes: &[u8]) -> bool {
        self.state == State::Frames && !bytes.is_empty()
    }

    /// Whether a datagram that is too large is being discarded.
    pub(super) fn is_discarding(&self) -> bool {
        matches!(self.state, State::Discarding(_))
    }

    // ---- datagrams ----

    fn cut_datagram(&mut self, bytes: &[u8], limits: &Limits, is_all: bool) -> Cut {
        let is_between = |byte: &u8| matches!(byte, 0 | b'\r' | b'\n');
        let skipped = bytes.iter().position(|byte| !is_between(byte)).unwrap_or(bytes.len());
        if skipped > 0 && self.awaits_data.is_none() {
            return Cut::Skip(skipped);
        }
        if bytes[0] == IAC {
            return self.telnet_option(bytes);
        }
        if is_all && let Some(padding) = padding(bytes, limits) {
            let packet = &bytes[..limits.packet as usize];
            return match self.datagram(packet, Envelope::Padding(padding), limits) {
                Some(framed) => Cut::Request(framed, packet.len()),
                None => Cut::Skip(packet.len()),
            };
        }
        if let Some(len) = complete_line(bytes, limits) {
            return match self.datagram(&bytes[..len], Envelope::None, limits) {
                Some(framed) => Cut::Request(framed, len),
                None => Cut::Skip(len),
            };
        }
        if bytes.len() as u64 > limits.packet.max(limits.body_max() + FRAME_EXTRA) {
            self.state = State::Discarding(0);
            return self.discard(bytes, limits);
        }
        Cut::NotYet(1)
    }

    /// The request of a whole datagram. `None` if it has nothing but NUL and blanks.
    fn datagram(&mut self, bytes: &[u8], envelope: Envelope, limits: &Limits) -> Option<Framed> {
        let text = text_of(bytes, envelope)?;
        self.has_bare_end |= !text.ends_with(b"\n");
        Some(self.parse(text, envelope, limits))
    }

    fn discard(&mut self, bytes: &[u8], limits: &Limits) -> Cut {
        let State::Discarding(discarded) = &mut self.state else { return Cut::NotYet(1) };
        *discarded += bytes.len() as u64;
        match *discarded > discard_max(limits) + limits.packet {
            true => Cut::Request(self.refuse(limits.too_large(None, true)), bytes.len()),
            false => Cut::Skip(bytes.len()),
        }
    }

    fn telnet_option(&mut self, bytes: &[u8]) -> Cut {
        match telnet::command(bytes) {
            Command::NotYet(missing) => Cut::NotYet(missing),
            Command::Skip(len) => Cut::Skip(len),
            Command::Answer(answer) => self.request(Request::Telnet(answer), NEGOTIATION_LEN),
            Command::TooLong => self.request(Request::Foreign, bytes.len()),
        }
    }

    // ---- frames ----

    fn cut_frame(&mut self, bytes: &[u8], limits: &Limits) -> Cut {
        let Some((length, rest)) = bytes.split_first_chunk::<LENGTH_LEN>() else {
            return Cut::NotYet(LENGTH_LEN - bytes.len());
        };
        let length = u64::from(u32::from_be_bytes(*length));
        let max = limits.packet + FRAME_EXTRA;
        if length > max {
            let (sent, limit) = (Some(length), SizeLimit::Packet);
            let framed = self.refuse_frame(Refusal::Size { sent, max, limit, close: true });
            return Cut::Request(framed, bytes.len());
        }
        let length = length as usize;
        let Some(datagram) = rest.get(..length) else {
            return Cut::NotYet(length - rest.len());
        };
        self.has_bare_end |= !datagram.ends_with(b"\n");
        let mut framed = match datagram.is_empty() {
            true => self.refuse_frame(Refusal::Syntax("a frame has a request: r 3, w 3 or q".into())),
            false => self.parse(datagram, Envelope::Length, limits),
        };
        framed.move_body(LENGTH_LEN);
        Cut::Request(framed, LENGTH_LEN + length)
    }

    fn refuse_frame(&mut self, refusal: Refusal) -> Framed {
        let framed = self.refuse(refusal);
        Framed { style: with_envelope(framed.style, Envelope::Length), ..framed }
    }

    // ---- requests ----

    /// The request of a datagram without NUL and padding.
    fn parse(&mut self, bytes: &[u8], envelope: Envelope, limits: &Limits) -> Framed {
        let awaited = self.awaits_data.take();
        let parsed = datagram::parse(bytes, limits, envelope == Envelope::Length);
        let (request, data, eol) = match (parsed, awaited) {
            (Parsed::Request(Datagram { request, data, eol }), _) => (request, data, eol),
            (Parsed::NoRequest, Some(mailbox)) => {
                let eol = bytes.ends_with(b"\n").then_some(Eol::Lf);
                let request = match bytes.len() as u64 > limits.body_max() {
                    true => Request::Refused(limits.too_large(Some(bytes.len() as u64), false)),
                    false => datagram::write(mailbox, None),
                };
                (request, 0..bytes.len(), eol)
            }
            (Parsed::NoRequest, None) => {
                (Request::Refused(unknown_verb(bytes)), 0..0, first_end_of_line(bytes))
            }
        };
        let is_data = awaited.is_some() && data.start == 0;
        if let Request::Mailbox(MailboxRequest::Write { mailbox, .. }) = request
            && data.is_empty()
            && !is_data
        {
            self.awaits_data = Some(mailbox);
        }
        if request.closes() {
            self.state = State::Closed;
        }
        let ends_data = eol.is_some() && !self.has_bare_end;
        let packet = u32::try_from(limits.packet).unwrap_or(u32::MAX);
        let style = Style::Classic(Classic { packet, eol, ends_data, envelope });
        Framed { request, style, body: data }
    }

    fn request(&mut self, request: Request, len: usize) -> Cut {
        if request.closes() {
            self.state = State::Closed;
        }
        Cut::Request(Framed { request, style: plain(), body: 0..0 }, len)
    }

    fn refuse(&mut self, refusal: Refusal) -> Framed {
        if refusal.closes() {
            self.state = State::Closed;
        }
        Framed { request: Request::Refused(refusal), style: plain(), body: 0..0 }
    }
}

/// The result of looking at the first bytes.
enum Cut {
    NotYet(usize),
    Skip(usize),
    Request(Framed, usize),
}

/// The result of [`ClassicFramer::complete`].
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Whole {
    /// The request. All bytes were used. `None` if they were nothing but NUL and blanks.
    Request(Option<Framed>),
    /// The connection speaks the text protocol. No bytes were used.
    Text,
}

/// The silence that completes the buffered bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Silence {
    /// No silence completes them.
    Never,
    /// The time of `--quiet-ms`.
    Short,
    /// A second, or the time of `--quiet-ms` if it is longer: more bytes probably follow.
    Long,
}

enum Decision {
    Text,
    Foreign,
    State(State),
}

/// Finds out which protocol a connection speaks. `None`: more bytes are needed. `is_whole` says that no more
/// bytes will follow soon.
fn decide(bytes: &[u8], limits: &Limits, is_whole: bool) -> Option<Decision> {
    match *bytes.first()? {
        0 => return Some(Decision::State(State::Frames)),
        TLS => return Some(Decision::Foreign),
        IAC => return Some(Decision::State(State::Datagrams)),
        _ if is_foreign(bytes) => return Some(Decision::Foreign),
        _ => {}
    }
    let front = &bytes[..bytes.len().min(HEADER_MAX)];
    let end = front.iter().position(|&byte| byte == b'\n');
    let is_long = bytes.len() >= HEADER_MAX || bytes.len() as u64 >= limits.packet;
    if end.is_none() && !is_long && !is_whole {
        return None;
    }
    let line = &front[..end.unwrap_or(front.len())];
    Some(match is_text(line.trim_ascii_end()) {
        true => Decision::Text,
        false => Decision::State(State::Datagrams),
    })
}

/// Whether only the text protocol has this line.
fn is_text(line: &[u8]) -> bool {
    let mut words = line.split(|&byte| byte == b' ').filter(|word| !word.is_empty());
    let Some(verb) = words.next() else { return false };
    let is_read = matches!(verb, b"r" | b"read");
    let has_key = |word: &[u8]| READ_KEYS.iter().any(|key| word.starts_with(key));
    TEXT_VERBS.contains(&verb) || is_read && words.next().is_some() && words.any(has_key)
}

/// A datagram without padding and without what follows a NUL. `None` if it has nothing but blanks then.
fn text_of(bytes: &[u8], envelope: Envelope) -> Option<&[u8]> {
    let text = match bytes.iter().position(|&byte| byte == 0) {
        Some(end) => &bytes[..end],
        None => bytes,
    };
    let text = if envelope == Envelope::Padding(b' ') { text.trim_ascii_end() } else { text };
    (!text.iter().all(|byte| matches!(byte, b' ' | b'\t'))).then_some(text)
}

/// The byte that fills packets of fixed size, if `bytes` are nothing but such packets.
fn padding(bytes: &[u8], limits: &Limits) -> Option<u8> {
    let last = bytes.last().copied().filter(|byte| matches!(byte, 0 | b' '))?;
    let mut packets = bytes.chunks(usize::try_from(limits.packet).ok()?);
    let is_filled = |packet: &[u8]| packet.len() as u64 == limits.packet && packet.ends_with(&[last]);
    packets.all(is_filled).then_some(last)
}

fn unknown_verb(bytes: &[u8]) -> Refusal {
    if bytes.first() == Some(&CTRL_D) {
        return Refusal::Syntax("Ctrl-D does not leave, q does".into());
    }
    let word = bytes.split(u8::is_ascii_whitespace).find(|word| !word.is_empty());
    Refusal::Verb(echo(word.unwrap_or_default()))
}

/// The style of an answer that belongs to no first line.
fn plain() -> Style {
    Style::Classic(Classic { packet: 0, eol: None, ends_data: false, envelope: Envelope::None })
}

fn with_envelope(style: Style, envelope: Envelope) -> Style {
    match style {
        Style::Classic(classic) => Style::Classic(Classic { envelope, ..classic }),
        Style::Text(_) => style,
    }
}

/// A packet of UDP.
#[derive(Debug, PartialEq, Eq)]
pub struct Packet {
    /// Its request. Its body is a range of the packet.
    pub framed: Framed,
    /// The word of `id=`, which comes first in the answer.
    pub id: Vec<u8>,
}

/// Parses a packet of UDP: a datagram with the keys `if=V` and `id=WORD`. `None` if it gets no answer: it has
/// nothing but NUL and blanks, or it is an answer itself. Requests do not wait.
pub fn parse_packet(bytes: &[u8], limits: &Limits) -> Option<Packet> {
    if [&b"OK "[..], b"NO ", b"ERR "].iter().any(|answer| bytes.starts_with(answer)) {
        return None;
    }
    let is_full = bytes.len() as u64 == limits.packet;
    let padding = padding(bytes, limits).filter(|_| is_full);
    let envelope = padding.map_or(Envelope::None, Envelope::Padding);
    let text = text_of(bytes, envelope)?;
    let (parsed, Keys { id, .. }) = datagram::parse_with_keys(text, limits, false, true);
    let (mut request, body, eol) = match parsed {
        Parsed::Request(Datagram { request, data, eol }) => (request, data, eol),
        Parsed::NoRequest => (Request::Refused(unknown_verb(text)), 0..0, first_end_of_line(text)),
    };
    match &mut request {
        Request::Mailbox(MailboxRequest::Read { wait, .. } | MailboxRequest::Write { wait, .. }) => {
            *wait = Wait::For(std::time::Duration::ZERO);
        }
        // There is no connection to be closed, so `q` is answered like a `ping`.
        Request::Quit => request = Request::Ping,
        _ => {}
    }
    let packet = u32::try_from(limits.packet).unwrap_or(u32::MAX).min(UDP_MAX as u32);
    let ends_data = eol.is_some() && text.ends_with(b"\n");
    let style = Style::Classic(Classic { packet, eol, ends_data, envelope });
    let id = id.map_or(Vec::new(), |id| text[id].to_vec());
    Some(Packet { framed: Framed { request, style, body }, id })
}

/// The answer to a packet: `id=WORD`, then the answer. An answer that fits into no packet is refused.
pub fn packet_answer(id: &[u8], answer: Vec<u8>) -> Vec<u8> {
    let prefix = if id.is_empty() { Vec::new() } else { [b"id=", id, b" "].concat() };
    if prefix.len() + answer.len() <= UDP_MAX {
        return if prefix.is_empty() { answer } else { [prefix, answer].concat() };
    }
    let refusal = format!("ERR size max={UDP_MAX} : the answer is longer than a packet\n").into_bytes();
    if prefix.len() + refusal.len() <= UDP_MAX { [prefix, refusal].concat() } else { refusal }
}

#[cfg(test)]
mod tests;
