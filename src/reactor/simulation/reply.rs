//! Replies and events, parsed from the bytes that a client receives.

/// One reply or one event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ParsedReply {
    /// The first word: `OK`, `DATA`, `NO`, `ERR` or `EVENT`.
    pub word: String,
    /// The word after `NO` or `ERR`. Empty for other replies.
    pub reason: String,
    fields: Vec<(String, String)>,
    pub body: Vec<u8>,
    pub eol: &'static str,
}

impl ParsedReply {
    /// Parses the first reply and removes its bytes. Returns `None` if the reply is incomplete.
    pub(super) fn parse_front(bytes: &mut Vec<u8>) -> Option<ParsedReply> {
        let end = bytes.iter().position(|byte| *byte == b'\n')?;
        let line = std::str::from_utf8(&bytes[..end]).expect("the line of a reply is text");
        let (line, eol) = line.strip_suffix('\r').map_or((line, "\n"), |line| (line, "\r\n"));
        let mut words = line.split(" : ").next().unwrap_or_default().split(' ');
        let word = words.next().unwrap_or_default().to_string();
        let mut reply =
            ParsedReply { word, reason: String::new(), fields: Vec::new(), body: Vec::new(), eol };
        let mut used = end + 1;
        match reply.word.as_str() {
            "DATA" | "EVENT" => {
                let len: usize = words.next().and_then(|len| len.parse().ok()).expect("a length");
                if bytes.len() < used + len + eol.len() {
                    return None;
                }
                reply.body = bytes[used..used + len].to_vec();
                used += len;
                assert_eq!(
                    &bytes[used..used + eol.len()],
                    eol.as_bytes(),
                    "the end of line after the data of {line:?}"
                );
                used += eol.len();
            }
            "NO" | "ERR" => reply.reason = words.next().expect("a reason").to_string(),
            "OK" => {}
            other => panic!("a reply begins with {other:?}"),
        }
        let field = |word: &str| {
            let (key, value) = word.split_once('=').unwrap_or_else(|| panic!("{word:?} in {line:?}"));
            (key.to_string(), value.to_string())
        };
        reply.fields = words.map(field).collect();
        bytes.drain(..used);
        Some(reply)
    }

    /// The value of a field.
    pub(super) fn field(&self, key: &str) -> Option<&str> {
        self.fields.iter().find(|(name, _)| name == key).map(|(_, value)| value.as_str())
    }

    /// The value of a numeric field.
    pub(super) fn number(&self, key: &str) -> Option<u64> {
        self.field(key).map(|value| value.parse().unwrap_or_else(|_| panic!("{key}={value}")))
    }

    /// The first word and the reason.
    pub(super) fn kind(&self) -> (&str, &str) {
        (&self.word, &self.reason)
    }
}

impl std::fmt::Display for ParsedReply {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "{}", self.word)?;
        if !self.reason.is_empty() {
            write!(formatter, " {}", self.reason)?;
        }
        self.fields.iter().try_for_each(|(key, value)| write!(formatter, " {key}={value}"))?;
        let shown = &self.body[..self.body.len().min(40)];
        write!(formatter, " {}", shown.escape_ascii())
    }
}
