//! What a client is answered, and its bytes.

use super::request::{Eol, Refusal};

/// One answer.
#[derive(Debug)]
pub enum Reply<'a> {
    /// `OK`: done, nothing to tell.
    Ok,
    /// `OK v=`: written.
    Written {
        /// The version that this write made.
        version: u64,
    },
    /// `DATA len v= n=`: a message, in the one or two parts it is stored in.
    Message {
        /// The bytes wanted.
        parts: [&'a [u8]; 2],
        /// The newest version of the mailbox.
        version: u64,
        /// How many messages it holds.
        count: u64,
    },
    /// `DATA len`: lines for a person. Each `\n` becomes the client's own end of line.
    Text(&'a str),
    /// `OK proto=1 ..`: what `hello` tells.
    Hello {
        /// How many mailboxes there are.
        mailboxes: u32,
        /// Bytes that each holds.
        capacity: u64,
        /// Bytes that one request carries.
        packet: u64,
    },
    /// `NO timeout`: waited in vain; a reader is told the version.
    Timeout {
        /// The newest version, for a read.
        version: Option<u64>,
    },
    /// `NO conflict v=`: the version is another one.
    Conflict {
        /// The newest version.
        version: u64,
    },
    /// `ERR ..`
    Refused(&'a Refusal),
}

impl Reply<'_> {
    /// Appends the answer's bytes, its lines ended by `eol`.
    pub fn encode(&self, eol: Eol, out: &mut Vec<u8>) {
        match self {
            Reply::Ok => out.extend_from_slice(b"OK"),
            Reply::Written { version } => push_field(out, b"OK v=", *version),
            Reply::Message { parts: [front, back], version, count } => {
                out.reserve(front.len() + back.len() + 64);
                push_field(out, b"DATA ", (front.len() + back.len()) as u64);
                push_field(out, b" v=", *version);
                push_field(out, b" n=", *count);
                out.extend_from_slice(eol.bytes());
                out.extend_from_slice(front);
                out.extend_from_slice(back);
            }
            Reply::Text(text) => {
                let lines = text.matches('\n').count();
                push_field(out, b"DATA ", (text.len() + lines * (eol.bytes().len() - 1)) as u64);
                out.extend_from_slice(eol.bytes());
                for line in text.split_inclusive('\n') {
                    out.extend_from_slice(line.trim_end_matches('\n').as_bytes());
                    if line.ends_with('\n') {
                        out.extend_from_slice(eol.bytes());
                    }
                }
            }
            Reply::Hello { mailboxes, capacity, packet } => {
                out.extend_from_slice(
                    concat!("OK proto=1 server=dipc/", env!("CARGO_PKG_VERSION")).as_bytes(),
                );
                push_field(out, b" boxes=", u64::from(*mailboxes));
                push_field(out, b" size=", *capacity);
                push_field(out, b" packet=", *packet);
                out.extend_from_slice(b" feat=if,off,len,wait");
            }
            Reply::Timeout { version } => {
                out.extend_from_slice(b"NO timeout");
                if let Some(version) = version {
                    push_field(out, b" v=", *version);
                }
            }
            Reply::Conflict { version } => push_field(out, b"NO conflict v=", *version),
            Reply::Refused(refusal) => {
                out.extend_from_slice(b"ERR ");
                out.extend_from_slice(refusal.code().as_bytes());
                if let Some(max) = refusal.max() {
                    push_field(out, b" max=", max);
                }
                out.extend_from_slice(b" : ");
                out.extend_from_slice(refusal.to_string().as_bytes());
            }
        }
        out.extend_from_slice(eol.bytes());
    }
}

fn push_field(out: &mut Vec<u8>, name: &[u8], value: u64) {
    out.extend_from_slice(name);
    push_decimal(out, value);
}

/// Appends `value` in decimal, without the detour of the formatting machinery.
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

    fn encoded(reply: Reply, eol: Eol) -> String {
        let mut out = Vec::new();
        reply.encode(eol, &mut out);
        String::from_utf8(out).expect("text")
    }

    #[test]
    fn each_answer_is_written_as_the_protocol_says() {
        let message = Reply::Message { parts: [b"he", b"llo"], version: 7, count: 1 };
        assert_eq!(encoded(message, Eol::Lf), "DATA 5 v=7 n=1\nhello\n");
        assert_eq!(encoded(Reply::Written { version: u64::MAX }, Eol::CrLf), "OK v=18446744073709551615\r\n");
        assert_eq!(encoded(Reply::Timeout { version: None }, Eol::Lf), "NO timeout\n");
        assert_eq!(encoded(Reply::Timeout { version: Some(0) }, Eol::Lf), "NO timeout v=0\n");
        assert_eq!(encoded(Reply::Conflict { version: 3 }, Eol::Lf), "NO conflict v=3\n");
        let refusal = Refusal::Mailbox { max: 3 };
        let expected = "ERR box max=3 : mailboxes are numbered 0 to 3\n";
        assert_eq!(encoded(Reply::Refused(&refusal), Eol::Lf), expected);
    }

    #[test]
    fn text_is_as_long_as_its_length_says() {
        assert_eq!(encoded(Reply::Text("a 1\nb 2\n"), Eol::Lf), "DATA 8\na 1\nb 2\n\n");
        assert_eq!(encoded(Reply::Text("a 1\nb 2\n"), Eol::CrLf), "DATA 10\r\na 1\r\nb 2\r\n\r\n");
    }

    #[test]
    fn decimals_are_the_standard_ones() {
        for value in [0, 9, 10, 99, 100, 12345, u64::MAX] {
            let mut out = Vec::new();
            push_decimal(&mut out, value);
            assert_eq!(out, value.to_string().as_bytes());
        }
    }
}
