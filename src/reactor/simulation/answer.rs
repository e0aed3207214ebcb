//! What a client is told, cut from the bytes it gets.

/// One answer, or an event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// `OK`, `DATA`, `NO`, `ERR` or `EVENT`.
    pub word: String,
    /// Why not: the word behind `NO` and `ERR`.
    pub why: String,
    fields: Vec<(String, String)>,
    pub body: Vec<u8>,
    pub eol: &'static str,
}

impl Answer {
    /// Cuts an answer from the front; `None` when it is not all there.
    pub fn cut(bytes: &mut Vec<u8>) -> Option<Answer> {
        let end = bytes.iter().position(|byte| *byte == b'\n')?;
        let line = std::str::from_utf8(&bytes[..end]).expect("an answer's line is text");
        let (line, eol) = line.strip_suffix('\r').map_or((line, "\n"), |line| (line, "\r\n"));
        let mut words = line.split(" : ").next().unwrap_or_default().split(' ');
        let word = words.next().unwrap_or_default().to_string();
        let mut answer = Answer { word, why: String::new(), fields: Vec::new(), body: Vec::new(), eol };
        let mut used = end + 1;
        match answer.word.as_str() {
            "DATA" | "EVENT" => {
                let len: usize = words.next().and_then(|len| len.parse().ok()).expect("a length");
                if bytes.len() < used + len + eol.len() {
                    return None;
                }
                answer.body = bytes[used..used + len].to_vec();
                used += len;
                assert_eq!(&bytes[used..used + eol.len()], eol.as_bytes(), "behind the data of {line:?}");
                used += eol.len();
            }
            "NO" | "ERR" => answer.why = words.next().expect("a reason").to_string(),
            "OK" => {}
            other => panic!("an answer begins with {other:?}"),
        }
        let field = |word: &str| {
            let (key, value) = word.split_once('=').unwrap_or_else(|| panic!("{word:?} in {line:?}"));
            (key.to_string(), value.to_string())
        };
        answer.fields = words.map(field).collect();
        bytes.drain(..used);
        Some(answer)
    }

    /// The value of a key.
    pub fn text(&self, key: &str) -> Option<&str> {
        self.fields.iter().find(|(name, _)| name == key).map(|(_, value)| value.as_str())
    }

    /// The value of a key that is a number.
    pub fn number(&self, key: &str) -> Option<u64> {
        self.text(key).map(|value| value.parse().unwrap_or_else(|_| panic!("{key}={value}")))
    }

    /// The word, and why not.
    pub fn kind(&self) -> (&str, &str) {
        (&self.word, &self.why)
    }
}

impl std::fmt::Display for Answer {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "{}", self.word)?;
        if !self.why.is_empty() {
            write!(formatter, " {}", self.why)?;
        }
        self.fields.iter().try_for_each(|(key, value)| write!(formatter, " {key}={value}"))?;
        let shown = &self.body[..self.body.len().min(40)];
        write!(formatter, " {}", shown.escape_ascii())
    }
}
