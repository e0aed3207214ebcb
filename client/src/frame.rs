//! [`Frame`]: one reply or event, decoded from bytes. No I/O.
//!
//! A frame is a header line, `KIND [WORD] [KEY=VALUE ..] [ : TEXT]`. The word of `DATA` and `EVENT` is a
//! length in bytes; that many bytes and an LF follow the line.

use super::Error;

/// The longest header line in bytes, including its LF. No header line of a dipc server is longer.
const LINE_MAX: usize = 64 * 1024;

/// The largest data of a frame in bytes: the largest size of a mailbox.
const DATA_MAX: u64 = u32::MAX as u64;

/// The first word of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FrameKind {
    Ok,
    Data,
    Event,
    No,
    Err,
}

/// A reply or an event.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Frame {
    pub kind: FrameKind,
    /// The second word: the reason of a `NO`, the code of an `ERR`, the length of a `DATA` or `EVENT`. Empty
    /// for `OK`.
    pub word: String,
    /// The `key=value` pairs.
    fields: Vec<(String, String)>,
    /// The explanation of an `ERR`, for people.
    pub text: String,
    /// The bytes of a `DATA` or `EVENT`.
    pub data: Vec<u8>,
}

impl Frame {
    /// Removes a frame from the front of `received`. `Ok(None)` when the frame is not yet complete.
    pub(crate) fn decode(received: &mut Vec<u8>) -> Result<Option<Self>, Error> {
        let Some(line_len) = received.iter().take(LINE_MAX).position(|&byte| byte == b'\n') else {
            return match received.len() < LINE_MAX {
                true => Ok(None),
                false => Err(malformed(received)),
            };
        };
        let (mut frame, data_len) = parse_header(&received[..line_len]).ok_or_else(|| malformed(received))?;
        let start = line_len + 1;
        let Some(data_len) = data_len else {
            received.drain(..start);
            return Ok(Some(frame));
        };
        let end = start + data_len;
        match received.get(end) {
            None => Ok(None),
            Some(b'\n') => {
                frame.data = received[start..end].to_vec();
                received.drain(..=end);
                Ok(Some(frame))
            }
            Some(_) => Err(Error::Protocol("a frame is longer than its length says".to_owned())),
        }
    }

    /// `Some` if this is an `OK`.
    pub(crate) fn ok(self) -> Option<()> {
        (self.kind == FrameKind::Ok).then_some(())
    }

    /// The value of this field as a number, if this is an `OK`.
    pub(crate) fn ok_number(&self, name: &str) -> Option<u64> {
        self.number(name).filter(|_| self.kind == FrameKind::Ok)
    }

    /// The data as text, if this is a `DATA`. Invalid UTF-8 is replaced.
    pub(crate) fn into_text(self) -> Option<String> {
        (self.kind == FrameKind::Data).then(|| String::from_utf8_lossy(&self.data).into_owned())
    }

    /// The value of this field.
    pub(crate) fn field(&self, name: &str) -> Option<&str> {
        self.fields.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// The value of this field, if it is a number.
    pub(crate) fn number(&self, name: &str) -> Option<u64> {
        self.field(name)?.parse().ok()
    }

    /// The value of this field, if it is a list of numbers: `1,0,7`.
    pub(crate) fn numbers(&self, name: &str) -> Option<Vec<u64>> {
        self.field(name)?.split(',').map(|number| number.parse().ok()).collect()
    }
}

/// A frame without its data, and the length of the data of a `DATA` or `EVENT`.
fn parse_header(line: &[u8]) -> Option<(Frame, Option<usize>)> {
    let line = std::str::from_utf8(line).ok()?;
    let (line, text) = line.split_once(" : ").unwrap_or((line, ""));
    let mut words = line.split(' ');
    let kind = match words.next()? {
        "OK" => FrameKind::Ok,
        "DATA" => FrameKind::Data,
        "EVENT" => FrameKind::Event,
        "NO" => FrameKind::No,
        "ERR" => FrameKind::Err,
        _ => return None,
    };
    let word = if kind == FrameKind::Ok { "" } else { words.next()? };
    let data_len = match kind {
        FrameKind::Data | FrameKind::Event => {
            Some(word.parse::<u64>().ok().filter(|&len| len <= DATA_MAX)?.try_into().ok()?)
        }
        _ => None,
    };
    let field = |word: &str| word.split_once('=').map(|(key, value)| (key.to_owned(), value.to_owned()));
    let fields = words.map(field).collect::<Option<_>>()?;
    Some((Frame { kind, word: word.to_owned(), fields, text: text.to_owned(), data: Vec::new() }, data_len))
}

/// The error for a header line that does not parse. It shows the start of the line.
fn malformed(received: &[u8]) -> Error {
    let line = received.split(|&byte| byte == b'\n').next().unwrap_or_default();
    Error::Protocol(format!("\"{}\"", line[..line.len().min(60)].escape_ascii()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decode(bytes: &[u8]) -> Result<Option<Frame>, Error> {
        Frame::decode(&mut bytes.to_vec())
    }

    #[test]
    fn a_frame_is_decoded_when_it_is_complete() {
        let bytes = b"DATA 3 v=7 n=2 new=x\na\nb\nOK\n";
        for len in 0..25 {
            assert_eq!(decode(&bytes[..len]).expect("no error"), None, "{len}");
        }
        let mut received = bytes.to_vec();
        let frame = Frame::decode(&mut received).expect("no error").expect("complete");
        assert_eq!((frame.kind, frame.number("v"), frame.number("n")), (FrameKind::Data, Some(7), Some(2)));
        assert_eq!((frame.data.as_slice(), received.as_slice()), (b"a\nb".as_slice(), b"OK\n".as_slice()));
        let refused = decode(b"ERR box max=3 : mailboxes : 0 to 3\n").expect("no error").expect("complete");
        assert_eq!((refused.word.as_str(), refused.text.as_str()), ("box", "mailboxes : 0 to 3"));
        let watching = decode(b"OK v=1,0,7\n").expect("no error").expect("complete");
        assert_eq!((watching.number("v"), watching.numbers("v")), (None, Some(vec![1, 0, 7])));
    }

    #[test]
    fn malformed_frames_are_errors() {
        let too_long = [b"OK ", "x=1 ".repeat(LINE_MAX).as_bytes()].concat();
        let malformed: [&[u8]; 9] = [
            b"\n",
            b"HTTP/1.1 200 OK\n",
            b"DATA\n",
            b"DATA x\n",
            b"DATA -1\n",
            b"DATA 99999999999999999999\n",
            b"DATA 1 v=1\nab",
            b"OK v\n",
            b"OK \xff=1\n",
        ];
        for bytes in malformed.into_iter().chain([too_long.as_slice()]) {
            assert!(matches!(decode(bytes), Err(Error::Protocol(_))), "{}", bytes.escape_ascii());
        }
        // The largest length is accepted; no memory is reserved for it.
        assert_eq!(decode(b"DATA 4294967295\nabc").expect("no error"), None);
    }
}
