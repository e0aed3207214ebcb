//! One answer or event: from its bytes to its parts, sans-IO.

use super::Error;

/// Bytes of an answer's first line at most; whoever sends more is not dipc.
const LINE_MAX: usize = 64 * 1024;

/// Bytes of data in an answer at most: no mailbox can be larger.
const DATA_MAX: u64 = u32::MAX as u64;

/// The first word of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FrameKind {
    Ok,
    Data,
    Event,
    No,
    Err,
}

/// What the server has said, taken to pieces.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Frame {
    pub kind: FrameKind,
    /// The reason of a `NO`, the code of an `ERR`.
    pub word: String,
    fields: Vec<(String, String)>,
    /// What an `ERR` says to people.
    pub text: String,
    pub data: Vec<u8>,
}

impl Frame {
    /// Cuts an answer off the front of `received`; `None` when it is not there in whole.
    pub fn decode(received: &mut Vec<u8>) -> Result<Option<Self>, Error> {
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

    /// Whether it is an `OK`, where nothing else is told.
    pub fn ok(self) -> Option<()> {
        (self.kind == FrameKind::Ok).then_some(())
    }

    /// The number of this name in an `OK`.
    pub fn ok_number(&self, name: &str) -> Option<u64> {
        self.number(name).filter(|_| self.kind == FrameKind::Ok)
    }

    /// The text in a `DATA`.
    pub fn into_text(self) -> Option<String> {
        (self.kind == FrameKind::Data).then(|| String::from_utf8_lossy(&self.data).into_owned())
    }

    /// The field of this name.
    pub fn field(&self, name: &str) -> Option<&str> {
        self.fields.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// The field of this name, when it is a number.
    pub fn number(&self, name: &str) -> Option<u64> {
        self.field(name)?.parse().ok()
    }

    /// The field of this name, when it is a list of numbers.
    pub fn numbers(&self, name: &str) -> Option<Vec<u64>> {
        self.field(name)?.split(',').map(|number| number.parse().ok()).collect()
    }
}

/// An answer without its data, and the length of that if there is some.
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

fn malformed(received: &[u8]) -> Error {
    let line = received.split(|&byte| byte == b'\n').next().unwrap_or_default();
    Error::Protocol(format!("\"{}\"", line[..line.len().min(60)].escape_ascii()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cut(bytes: &[u8]) -> Result<Option<Frame>, Error> {
        Frame::decode(&mut bytes.to_vec())
    }

    #[test]
    fn an_answer_is_cut_when_it_is_there_in_whole() {
        let bytes = b"DATA 3 v=7 n=2 new=x\na\nb\nOK\n";
        for len in 0..25 {
            assert_eq!(cut(&bytes[..len]).expect("no error"), None, "{len}");
        }
        let mut received = bytes.to_vec();
        let frame = Frame::decode(&mut received).expect("no error").expect("whole");
        assert_eq!((frame.kind, frame.number("v"), frame.number("n")), (FrameKind::Data, Some(7), Some(2)));
        assert_eq!((frame.data.as_slice(), received.as_slice()), (b"a\nb".as_slice(), b"OK\n".as_slice()));
        let refused = cut(b"ERR box max=3 : mailboxes : 0 to 3\n").expect("no error").expect("whole");
        assert_eq!((refused.word.as_str(), refused.text.as_str()), ("box", "mailboxes : 0 to 3"));
        let watching = cut(b"OK v=1,0,7\n").expect("no error").expect("whole");
        assert_eq!((watching.number("v"), watching.numbers("v")), (None, Some(vec![1, 0, 7])));
    }

    #[test]
    fn what_no_server_of_ours_says_is_an_error() {
        let too_long = [b"OK ", "x=1 ".repeat(LINE_MAX).as_bytes()].concat();
        let strange: [&[u8]; 9] = [
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
        for bytes in strange.into_iter().chain([too_long.as_slice()]) {
            assert!(matches!(cut(bytes), Err(Error::Protocol(_))), "{}", bytes.escape_ascii());
        }
        // As large as it says, and nothing is reserved for it.
        assert_eq!(cut(b"DATA 4294967295\nabc").expect("no error"), None);
    }
}
