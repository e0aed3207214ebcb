//! Transcripts in a document.

use std::fmt::Display;

/// `file:line: what is wrong`
pub(crate) type Failure = String;

pub(crate) struct Transcript {
    pub arguments: String,
    pub steps: Vec<Step>,
}

pub(crate) struct Step {
    pub line: usize,
    pub client: u32,
    pub action: Action,
}

#[derive(Debug, PartialEq)]
pub(crate) enum Action {
    Send(Vec<u8>),
    HalfClose,
    /// One piece: exactly this line. Several: a line with these pieces at its start, in its middle and at its
    /// end.
    Expect(Vec<Vec<u8>>),
    /// Any lines, up to the next expected one.
    Skip,
    ExpectEnd,
}

/// A fenced block of a document.
pub(crate) struct Block<'a> {
    /// The line of its fence.
    pub start: usize,
    pub info: &'a str,
    /// Its lines with their numbers.
    pub lines: Vec<(usize, &'a str)>,
}

pub(crate) fn blocks<'a>(name: &str, document: &'a str) -> Result<Vec<Block<'a>>, Failure> {
    let mut blocks = Vec::new();
    let mut lines = (1..).zip(document.lines());
    while let Some((start, line)) = lines.next() {
        let Some(info) = line.strip_prefix("```") else { continue };
        let mut block = Block { start, info, lines: Vec::new() };
        loop {
            match lines.next() {
                Some((_, "```")) => break,
                Some(line) => block.lines.push(line),
                None => return Err(failure(name, start, "this block has no end")),
            }
        }
        blocks.push(block);
    }
    Ok(blocks)
}

pub(crate) fn parse(name: &str, document: &str) -> Result<Vec<Transcript>, Failure> {
    let mut transcripts = Vec::new();
    for block in blocks(name, document)? {
        if let Some(arguments) = block.info.strip_prefix("dipc ") {
            transcripts.push(transcript(name, arguments, &block)?);
        } else if let Some((line, _)) = block.lines.iter().find(|(_, line)| line.starts_with("S: ")) {
            return Err(failure(name, *line, "a transcript that is not run"));
        }
    }
    Ok(transcripts)
}

pub(crate) fn transcript(name: &str, arguments: &str, block: &Block) -> Result<Transcript, Failure> {
    let words: Vec<&str> = arguments.split_whitespace().collect();
    let [mailboxes, size, packet, options @ ..] = &words[..] else {
        return Err(failure(name, block.start, "MAILBOXES SIZE_KB PACKET_KB"));
    };
    let arguments = format!("{mailboxes} {size} 0 {packet} {}", options.join(" "));
    Ok(Transcript { arguments, steps: steps(name, block)? })
}

pub(crate) fn steps(name: &str, block: &Block) -> Result<Vec<Step>, Failure> {
    let mut steps = Vec::new();
    for &(line, shown) in block.lines.iter().filter(|(_, shown)| !shown.starts_with('#')) {
        let Some((client, action)) = action(shown) else {
            return Err(failure(name, line, "not a line of a transcript"));
        };
        steps.push(Step { line, client, action });
    }
    if !steps.iter().any(|step| matches!(step.action, Action::Expect(_) | Action::ExpectEnd)) {
        return Err(failure(name, block.start, "nothing is expected of the server"));
    }
    Ok(steps)
}

/// A line, as in `C: r 0` or `S2- `: the number of its client, and its action.
pub(crate) fn action(shown: &str) -> Option<(u32, Action)> {
    let at = shown.find([':', '|', '-', '~'])?;
    let (side, client) = shown[..at].split_at_checked(1)?;
    let client = if client.is_empty() { 1 } else { client.parse().ok()? };
    let rest = &shown[at + 1..];
    let rest = rest.strip_prefix(' ').unwrap_or(rest);
    let action = match (side, &shown[at..=at]) {
        ("C", ":") => Action::Send(line(rest)?),
        ("C", "|") => Action::Send(bytes(rest)?),
        ("C", "-") if rest.is_empty() => Action::HalfClose,
        ("S", ":") => Action::Expect(vec![line(rest)?]),
        ("S", "|") => Action::Expect(vec![bytes(rest)?]),
        ("S", "~") if rest == ".." => Action::Skip,
        ("S", "~") => Action::Expect(format!("{rest}\\n").split("..").map(bytes).collect::<Option<_>>()?),
        ("S", "-") if rest.is_empty() => Action::ExpectEnd,
        _ => return None,
    };
    Some((client, action))
}

pub(crate) fn line(shown: &str) -> Option<Vec<u8>> {
    let mut line = bytes(shown)?;
    line.push(b'\n');
    Some(line)
}

/// The bytes that are shown: `\r`, `\n`, `\\`, `\xff`, and `x\*9` for nine times x.
pub(crate) fn bytes(shown: &str) -> Option<Vec<u8>> {
    let mut pieces = shown.split('\\');
    let mut bytes = pieces.next()?.as_bytes().to_vec();
    while let Some(piece) = pieces.next() {
        let rest = match piece.chars().next() {
            None => {
                bytes.push(b'\\');
                pieces.next()?
            }
            Some('r') => {
                bytes.push(b'\r');
                &piece[1..]
            }
            Some('n') => {
                bytes.push(b'\n');
                &piece[1..]
            }
            Some('x') => {
                bytes.push(u8::from_str_radix(piece.get(1..3)?, 16).ok()?);
                &piece[3..]
            }
            Some('*') => {
                let end = piece[1..].find(|c: char| !c.is_ascii_digit()).map_or(piece.len(), |at| at + 1);
                let times: usize = piece[1..end].parse().ok()?;
                let last = *bytes.last()?;
                bytes.resize(bytes.len() + times.checked_sub(1)?, last);
                &piece[end..]
            }
            Some(_) => return None,
        };
        bytes.extend_from_slice(rest.as_bytes());
    }
    Some(bytes)
}

pub(crate) fn failure(name: &str, line: usize, what: impl Display) -> Failure {
    format!("{name}:{line}: {what}")
}
