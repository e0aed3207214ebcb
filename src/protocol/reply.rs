//! Answers and events, and their encoding.

use super::header::FEATURES;
use super::request::{Eol, Refusal, Text};
use super::style::{Classic, Envelope, Style};

/// Largest number of bytes in a line of fields: four numbers of 20 digits, their names, and an end of line.
const LINE_MAX: usize = 104;

/// Number of bytes of the length of a frame.
const LENGTH_LEN: usize = 4;

/// One answer, or an event.
#[derive(Debug)]
pub enum Reply<'a> {
    /// `OK`: done.
    Ok,
    /// `OK v=`: written.
    Written {
        /// The version of the written message.
        version: u64,
    },
    /// `OK v= n=`: added.
    Put {
        /// The version of the added message.
        version: u64,
        /// Number of messages in the mailbox, including this one.
        count: u64,
    },
    /// `OK n=`: a message in hand was removed.
    Done {
        /// Number of messages that are left in the mailbox.
        count: u64,
    },
    /// `OK grant=`: locked.
    Locked {
        /// The fencing token of the lock.
        grant: u64,
    },
    /// `OK v=1,0,7`: watching. Events follow for messages newer than these versions.
    Watching {
        /// The version of each mailbox, in the order of the request.
        versions: &'a [u64],
    },
    /// `DATA len v= n= [lost=]`: a message, in one or two parts as stored.
    Message {
        /// The requested bytes.
        parts: [&'a [u8]; 2],
        /// The version of the message; that of the mailbox if there is no message.
        version: u64,
        /// Number of messages in the mailbox.
        count: u64,
        /// Number of removed messages between the version in the request and this message; `lost=` is omitted
        /// if 0.
        lost: u64,
    },
    /// `DATA len v= n= tries=`: a message that was handed out, in one or two parts as stored.
    HandedOut {
        /// All bytes of the message.
        parts: [&'a [u8]; 2],
        /// The version of the message.
        version: u64,
        /// Number of messages in the mailbox, including those in hand.
        count: u64,
        /// How often the message was handed out.
        tries: u32,
    },
    /// `DATA len`: lines of text. Each `\n` becomes the client's end of line.
    Text(&'a str),
    /// `DATA len [more=N]`: some lines of a long text.
    Part {
        /// The lines.
        text: &'a str,
        /// Where the next part begins, if there is one.
        more: Option<u64>,
    },
    /// `OK name=`: the name of a mailbox, `-` if it has none.
    Named {
        /// The name.
        name: Option<&'a str>,
    },
    /// `NO conflict box=`: another mailbox has the name.
    NameTaken {
        /// The other mailbox.
        mailbox: u32,
    },
    /// `OK proto=1 ..`: the answer to `hello`.
    Hello {
        /// Number of mailboxes.
        mailboxes: u32,
        /// Bytes that each mailbox can hold.
        capacity: u64,
        /// Largest number of bytes of data in one request.
        packet: u64,
        /// A random number that identifies the segment. Versions of a segment with another number are not
        /// comparable.
        life: u64,
    },
    /// `NO timeout`: the wait has timed out.
    Timeout {
        /// The newest version, for a read.
        version: Option<u64>,
    },
    /// `NO conflict v=`: not written, because the version is not the expected one.
    Conflict {
        /// The newest version.
        version: u64,
    },
    /// `NO ahead v=`: the client knows a version that the mailbox has not reached. That version is from
    /// another segment.
    Ahead {
        /// The newest version of each mailbox of the request.
        versions: &'a [u64],
    },
    /// `NO ..`: not done for another reason.
    NotDone(Reason),
    /// `ERR ..`
    Refused(&'a Refusal),
    /// `EVENT len box= v= [lost=]`: a message of a watched mailbox, in one or two parts as stored.
    Event {
        /// The mailbox.
        mailbox: u32,
        /// All bytes of the message.
        parts: [&'a [u8]; 2],
        /// The version of the message.
        version: u64,
        /// Number of removed messages between the previous event and this message; `lost=` is omitted if 0.
        lost: u64,
    },
    /// A line of the classic protocol.
    Say(Text),
    /// The answer to a negotiation of telnet, without an end of line.
    Telnet([u8; 3]),
    /// `EVENT 0 box= v= lost=lock [by=max-hold]`: the lease of a connected client has expired.
    LockLost {
        /// The mailbox that was locked.
        mailbox: u32,
        /// Whether the lock has expired because it was held for the longest time that the server allows.
        by_max_hold: bool,
        /// The newest version.
        version: u64,
    },
    /// `EVENT 0 box= v= lost=take`: a message was given back, because its connection was silent for too long.
    TakeLost {
        /// The mailbox of the message.
        mailbox: u32,
        /// The version of the message.
        version: u64,
    },
}

/// Why a valid request was not done, without further fields.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// There is no message to take.
    Empty,
    /// There is no room for the message.
    Full,
    /// Another connection holds the mailbox.
    Locked,
    /// There are several messages; a patch needs a single one.
    Multi,
}

impl Reason {
    /// The word after `NO`.
    pub fn word(self) -> &'static str {
        match self {
            Reason::Empty => "empty",
            Reason::Full => "full",
            Reason::Locked => "locked",
            Reason::Multi => "multi",
        }
    }
}

impl Reply<'_> {
    /// Appends the encoded answer.
    pub fn encode(&self, style: impl Into<Style>, out: &mut Vec<u8>) {
        match style.into() {
            Style::Text(eol) => self.encode_text(eol, out),
            Style::Classic(classic) => self.encode_classic(classic, out),
        }
    }

    /// Appends the bytes before the message of this answer, and returns the bytes after it. The message
    /// itself is not copied. An answer without a message is appended whole, and so is one that is filled up
    /// to the packet size.
    pub fn encode_around(&self, style: Style, out: &mut Vec<u8>) -> &'static [u8] {
        match (self, style) {
            (Reply::Message { parts, version, count, lost }, Style::Text(eol)) => {
                out.extend_from_slice(data_line(eol, parts, *version, *count, *lost).as_bytes());
                eol.bytes()
            }
            (Reply::Event { mailbox, parts, version, lost }, Style::Text(eol)) => {
                out.extend_from_slice(event_line(eol, *mailbox, parts, *version, *lost).as_bytes());
                eol.bytes()
            }
            (Reply::Message { parts, .. }, Style::Classic(classic)) if style.padded_len() == 0 => {
                begin_classic(classic, parts, out)
            }
            _ => {
                self.encode(style, out);
                &[]
            }
        }
    }

    fn encode_classic(&self, classic: Classic, out: &mut Vec<u8>) {
        let Classic { packet, eol, envelope, .. } = classic;
        let start = out.len();
        match self {
            Reply::Message { parts, .. } => {
                let end = begin_classic(classic, parts, out);
                parts.iter().for_each(|part| out.extend_from_slice(part));
                out.extend_from_slice(end);
            }
            _ if envelope == Envelope::Length => {
                out.extend_from_slice(&[0; LENGTH_LEN]);
                self.encode_text(eol.unwrap_or(Eol::Lf), out);
                let len = length(out.len() - start - LENGTH_LEN);
                out[start..start + LENGTH_LEN].copy_from_slice(&len);
            }
            _ => self.encode_text(eol.unwrap_or(Eol::Lf), out),
        }
        if let Envelope::Padding(byte) = envelope {
            out.resize(out.len().max(start + packet as usize), byte);
        }
    }

    #[inline]
    fn encode_text(&self, eol: Eol, out: &mut Vec<u8>) {
        match self {
            Reply::Ok => out.extend_from_slice(b"OK"),
            Reply::Telnet(answer) => return out.extend_from_slice(answer),
            Reply::Say(text) => out.extend_from_slice(text.as_str().as_bytes()),
            Reply::Written { version } => {
                let mut line = Line::ending(eol);
                line.field(b"OK v=", *version);
                return out.extend_from_slice(line.as_bytes());
            }
            Reply::Put { version, count } => {
                let mut line = Line::ending(eol);
                line.field(b" n=", *count);
                line.field(b"OK v=", *version);
                return out.extend_from_slice(line.as_bytes());
            }
            Reply::Done { count } => push_field(out, b"OK n=", *count),
            Reply::Locked { grant } => push_field(out, b"OK grant=", *grant),
            Reply::Watching { versions } => push_list(out, b"OK v=", versions),
            Reply::Message { parts, version, count, lost } => {
                push_message(out, &data_line(eol, parts, *version, *count, *lost), parts);
            }
            Reply::HandedOut { parts, version, count, tries } => {
                let mut line = Line::ending(eol);
                line.field(b" tries=", u64::from(*tries));
                line.field(b" n=", *count);
                line.field(b" v=", *version);
                line.field(b"DATA ", len(parts));
                push_message(out, &line, parts);
            }
            Reply::Text(text) => push_text(out, text, None, eol),
            Reply::Part { text, more } => push_text(out, text, *more, eol),
            Reply::Named { name } => {
                out.extend_from_slice(b"OK name=");
                out.extend_from_slice(name.unwrap_or("-").as_bytes());
            }
            Reply::NameTaken { mailbox } => push_field(out, b"NO conflict box=", u64::from(*mailbox)),
            Reply::Hello { mailboxes, capacity, packet, life } => {
                out.extend_from_slice(
                    concat!("OK proto=1 server=dipc/", env!("CARGO_PKG_VERSION")).as_bytes(),
                );
                push_field(out, b" boxes=", u64::from(*mailboxes));
                push_field(out, b" size=", *capacity);
                push_field(out, b" packet=", *packet);
                push_field(out, b" life=", *life);
                out.extend_from_slice(b" feat=");
                out.extend_from_slice(FEATURES.as_bytes());
            }
            Reply::Timeout { version } => {
                out.extend_from_slice(b"NO timeout");
                if let Some(version) = version {
                    push_field(out, b" v=", *version);
                }
            }
            Reply::Ahead { versions } => push_list(out, b"NO ahead v=", versions),
            Reply::Conflict { version } => push_field(out, b"NO conflict v=", *version),
            Reply::NotDone(reason) => {
                out.extend_from_slice(b"NO ");
                out.extend_from_slice(reason.word().as_bytes());
            }
            Reply::Refused(refusal) => {
                out.extend_from_slice(b"ERR ");
                out.extend_from_slice(refusal.code().as_bytes());
                if let Some(max) = refusal.max() {
                    push_field(out, b" max=", max);
                }
                if let Some(limit) = refusal.limit() {
                    out.extend_from_slice(b" limit=");
                    out.extend_from_slice(limit.as_bytes());
                }
                out.extend_from_slice(b" : ");
                out.extend_from_slice(refusal.to_string().as_bytes());
            }
            Reply::Event { mailbox, parts, version, lost } => {
                push_message(out, &event_line(eol, *mailbox, parts, *version, *lost), parts);
            }
            Reply::LockLost { mailbox, version, by_max_hold } => {
                push_field(out, b"EVENT 0 box=", u64::from(*mailbox));
                push_field(out, b" v=", *version);
                out.extend_from_slice(b" lost=lock");
                if *by_max_hold {
                    out.extend_from_slice(b" by=max-hold");
                }
                out.extend_from_slice(eol.bytes());
            }
            Reply::TakeLost { mailbox, version } => {
                push_field(out, b"EVENT 0 box=", u64::from(*mailbox));
                push_field(out, b" v=", *version);
                out.extend_from_slice(b" lost=take");
                out.extend_from_slice(eol.bytes());
            }
        }
        push_eol(out, eol);
    }
}

fn len([front, back]: &[&[u8]; 2]) -> u64 {
    (front.len() + back.len()) as u64
}

/// The header line of a message.
#[inline]
fn data_line(eol: Eol, parts: &[&[u8]; 2], version: u64, count: u64, lost: u64) -> Line {
    let mut line = Line::ending(eol);
    line.lost(lost);
    line.field(b" n=", count);
    line.field(b" v=", version);
    line.field(b"DATA ", len(parts));
    line
}

/// The header line of an event.
#[inline]
fn event_line(eol: Eol, mailbox: u32, parts: &[&[u8]; 2], version: u64, lost: u64) -> Line {
    let mut line = Line::ending(eol);
    line.lost(lost);
    line.field(b" v=", version);
    line.field(b" box=", u64::from(mailbox));
    line.field(b"EVENT ", len(parts));
    line
}

/// Appends what precedes a message in the classic protocol. Returns what follows the message.
fn begin_classic(classic: Classic, parts: &[&[u8]; 2], out: &mut Vec<u8>) -> &'static [u8] {
    let Classic { eol, ends_data, envelope, .. } = classic;
    let end = match parts {
        // A client waits for the answer, so there must be one.
        [[], []] => eol.unwrap_or(Eol::Lf).bytes(),
        [.., [.., b'\n']] | [[.., b'\n'], []] => &[],
        _ => eol.filter(|_| ends_data).map_or(&[][..], Eol::bytes),
    };
    if envelope == Envelope::Length {
        out.extend_from_slice(&length(parts[0].len() + parts[1].len() + end.len()));
    }
    end
}

/// The length of a frame.
fn length(len: usize) -> [u8; LENGTH_LEN] {
    u32::try_from(len).unwrap_or(u32::MAX).to_be_bytes()
}

/// A line of fields. It is written from its end to its start, because the conversion of a number produces the
/// last digit first.
struct Line {
    bytes: [u8; LINE_MAX],
    start: usize,
}

impl Line {
    fn ending(eol: Eol) -> Self {
        let mut line = Line { bytes: [0; LINE_MAX], start: LINE_MAX };
        match eol {
            Eol::Lf => line.text(b"\n"),
            Eol::CrLf => line.text(b"\r\n"),
        }
        line
    }

    fn as_bytes(&self) -> &[u8] {
        &self.bytes[self.start..]
    }

    /// Prepends `name` and `value`.
    fn field<const LEN: usize>(&mut self, name: &[u8; LEN], mut value: u64) {
        loop {
            self.start -= 1;
            self.bytes[self.start] = b'0' + (value % 10) as u8;
            value /= 10;
            if value == 0 {
                break;
            }
        }
        self.text(name);
    }

    fn lost(&mut self, lost: u64) {
        if lost > 0 {
            self.field(b" lost=", lost);
        }
    }

    /// Prepends `text`.
    fn text<const LEN: usize>(&mut self, text: &[u8; LEN]) {
        self.start -= LEN;
        self.bytes[self.start..self.start + LEN].copy_from_slice(text);
    }
}

/// Appends `name`, then the numbers with commas between them.
fn push_list(out: &mut Vec<u8>, name: &[u8], numbers: &[u64]) {
    let mut before = name;
    for number in numbers {
        push_field(out, before, *number);
        before = b",";
    }
}

/// Appends lines of text.
fn push_text(out: &mut Vec<u8>, text: &str, more: Option<u64>, eol: Eol) {
    let lines = text.matches('\n').count();
    push_field(out, b"DATA ", (text.len() + lines * (eol.bytes().len() - 1)) as u64);
    if let Some(more) = more {
        push_field(out, b" more=", more);
    }
    out.extend_from_slice(eol.bytes());
    for line in text.split_inclusive('\n') {
        out.extend_from_slice(line.trim_end_matches('\n').as_bytes());
        if line.ends_with('\n') {
            out.extend_from_slice(eol.bytes());
        }
    }
}

/// Appends a header line and a message. `out` grows at most once.
fn push_message(out: &mut Vec<u8>, line: &Line, [front, back]: &[&[u8]; 2]) {
    let line = line.as_bytes();
    // Includes the end of line after the message.
    out.reserve(line.len() + front.len() + back.len() + 2);
    out.extend_from_slice(line);
    out.extend_from_slice(front);
    if !back.is_empty() {
        out.extend_from_slice(back);
    }
}

fn push_eol(out: &mut Vec<u8>, eol: Eol) {
    match eol {
        Eol::Lf => out.push(b'\n'),
        Eol::CrLf => out.extend_from_slice(b"\r\n"),
    }
}

fn push_field(out: &mut Vec<u8>, name: &[u8], value: u64) {
    out.extend_from_slice(name);
    push_decimal(out, value);
}

/// Appends `value` in decimal. This is faster than `write!`.
pub fn push_decimal(out: &mut Vec<u8>, mut value: u64) {
    let mut digits = [0u8; 20];
    let mut at = digits.len();
    loop {
        at -= 1;
        digits[at] = b'0' + (value % 10) as u8;
        value /= 10;
        if value == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[at..]);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::SizeLimit;

    fn encoded(reply: &Reply, eol: Eol) -> String {
        let mut out = Vec::new();
        reply.encode(eol, &mut out);
        String::from_utf8(out).expect("UTF-8")
    }

    /// Encoded replies, with `~` for an end of line.
    const GOLDEN: &[(Reply, &str)] = &[
        (Reply::Ok, "OK~"),
        (Reply::Written { version: u64::MAX }, "OK v=18446744073709551615~"),
        (Reply::Put { version: 9, count: 3 }, "OK v=9 n=3~"),
        (Reply::Done { count: 3 }, "OK n=3~"),
        (Reply::Locked { grant: 17 }, "OK grant=17~"),
        (Reply::Watching { versions: &[1] }, "OK v=1~"),
        (Reply::Watching { versions: &[1, 0, 7] }, "OK v=1,0,7~"),
        (Reply::Message { parts: [b"he", b"llo"], version: 7, count: 1, lost: 0 }, "DATA 5 v=7 n=1~hello~"),
        (
            Reply::Message { parts: [b"a\n", b"b"], version: 7, count: 2, lost: 4 },
            "DATA 3 v=7 n=2 lost=4~a\nb~",
        ),
        (Reply::Message { parts: [b"", b""], version: 0, count: 0, lost: 0 }, "DATA 0 v=0 n=0~~"),
        (
            Reply::Message { parts: [b"", b""], version: u64::MAX, count: u64::MAX, lost: u64::MAX },
            "DATA 0 v=18446744073709551615 n=18446744073709551615 lost=18446744073709551615~~",
        ),
        (
            Reply::HandedOut { parts: [b"he", b"llo"], version: 7, count: 2, tries: 3 },
            "DATA 5 v=7 n=2 tries=3~hello~",
        ),
        (Reply::Named { name: Some("jobs") }, "OK name=jobs~"),
        (Reply::Named { name: None }, "OK name=-~"),
        (Reply::NameTaken { mailbox: 3 }, "NO conflict box=3~"),
        (Reply::Text("a 1"), "DATA 3~a 1~"),
        (Reply::Part { text: "a 1", more: None }, "DATA 3~a 1~"),
        (Reply::Part { text: "a 1", more: Some(u64::MAX) }, "DATA 3 more=18446744073709551615~a 1~"),
        (
            Reply::Hello { mailboxes: 4, capacity: 65536, packet: 8192, life: 17 },
            concat!(
                "OK proto=1 server=dipc/",
                env!("CARGO_PKG_VERSION"),
                " boxes=4 size=65536 packet=8192 life=17",
                " feat=after,full,grant,if,jobs,len,lock,names,off,put,take,ttl,version,wait,watch~"
            ),
        ),
        (Reply::Timeout { version: None }, "NO timeout~"),
        (Reply::Timeout { version: Some(0) }, "NO timeout v=0~"),
        (Reply::Ahead { versions: &[3] }, "NO ahead v=3~"),
        (Reply::Ahead { versions: &[3, 0] }, "NO ahead v=3,0~"),
        (Reply::Conflict { version: 3 }, "NO conflict v=3~"),
        (Reply::NotDone(Reason::Empty), "NO empty~"),
        (Reply::NotDone(Reason::Full), "NO full~"),
        (Reply::NotDone(Reason::Locked), "NO locked~"),
        (Reply::NotDone(Reason::Multi), "NO multi~"),
        (
            Reply::Refused(&Refusal::Mailbox { given: Some(9), max: 3 }),
            "ERR box max=3 : no mailbox 9; this server has 0 to 3~",
        ),
        (
            Reply::Refused(&Refusal::Mailbox { given: None, max: 3 }),
            "ERR box max=3 : mailboxes are numbered 0 to 3~",
        ),
        (
            Reply::Refused(&Refusal::Size { sent: Some(12), max: 9, limit: SizeLimit::Packet, close: true }),
            "ERR size max=9 : message too large (12 bytes); the server's PACKET_KB allows 9~",
        ),
        (
            Reply::Refused(&Refusal::Size { sent: None, max: 9, limit: SizeLimit::Mailbox, close: true }),
            "ERR size max=9 : message too large; the server's SIZE_KB allows 9~",
        ),
        (Reply::Refused(&Refusal::Busy { max: 2 }), "ERR busy max=2 : too many clients, try again~"),
        (
            Reply::Refused(&Refusal::Memory),
            "ERR busy limit=client-memory : the clients use as much memory as --client-memory allows, try \
             again~",
        ),
        (Reply::Refused(&Refusal::Lease), "ERR lease : this lock has expired or was never yours~"),
        (
            Reply::Refused(&Refusal::Deadlock),
            "ERR deadlock : the holder of this lock is waiting for one of yours~",
        ),
        (Reply::Refused(&Refusal::Denied("no upgrade")), "ERR denied : no upgrade~"),
        (Reply::Refused(&Refusal::Frame("no length")), "ERR frame : no length~"),
        (Reply::Refused(&Refusal::Drain), "ERR drain : the server is stopping~"),
        (Reply::Refused(&Refusal::Internal), "ERR internal : this mailbox is damaged~"),
        (
            Reply::Event { mailbox: 2, parts: [b"he", b"llo"], version: 5, lost: 0 },
            "EVENT 5 box=2 v=5~hello~",
        ),
        (
            Reply::Event { mailbox: 2, parts: [b"a\n", b"b"], version: 9, lost: 3 },
            "EVENT 3 box=2 v=9 lost=3~a\nb~",
        ),
        (Reply::Event { mailbox: 0, parts: [b"", b""], version: 1, lost: 0 }, "EVENT 0 box=0 v=1~~"),
        (Reply::LockLost { mailbox: 3, version: 8, by_max_hold: false }, "EVENT 0 box=3 v=8 lost=lock~~"),
        (
            Reply::LockLost { mailbox: 3, version: 8, by_max_hold: true },
            "EVENT 0 box=3 v=8 lost=lock by=max-hold~~",
        ),
        (Reply::TakeLost { mailbox: 3, version: 8 }, "EVENT 0 box=3 v=8 lost=take~~"),
    ];

    #[test]
    fn each_reply_is_encoded_as_documented() {
        for (reply, bytes) in GOLDEN {
            assert_eq!(encoded(reply, Eol::Lf), bytes.replace('~', "\n"), "{reply:?}");
            assert_eq!(encoded(reply, Eol::CrLf), bytes.replace('~', "\r\n"), "{reply:?}");
        }
        for refusal in [Refusal::Syntax("text".into()), Refusal::Verb("text".into())] {
            let expected = format!("ERR {} : {refusal}\n", refusal.code());
            assert_eq!(encoded(&Reply::Refused(&refusal), Eol::Lf), expected);
        }
    }

    #[test]
    fn a_message_is_encoded_with_a_single_allocation() {
        let reply = Reply::Message { parts: [&[b'x'; 100], &[b'y'; 50]], version: 7, count: 1, lost: 0 };
        let mut out = Vec::new();
        reply.encode(Eol::CrLf, &mut out);
        assert_eq!(out.capacity(), out.len());
    }

    #[test]
    fn text_has_the_length_in_its_header() {
        assert_eq!(encoded(&Reply::Text("a 1\nb 2\n"), Eol::Lf), "DATA 8\na 1\nb 2\n\n");
        assert_eq!(encoded(&Reply::Text("a 1\nb 2\n"), Eol::CrLf), "DATA 10\r\na 1\r\nb 2\r\n\r\n");
    }

    #[test]
    fn decimals_are_formatted_as_by_the_standard_library() {
        for value in [0, 9, 10, 99, 100, 12345, u64::MAX] {
            let mut out = Vec::new();
            push_decimal(&mut out, value);
            assert_eq!(out, value.to_string().as_bytes());
        }
    }
}
