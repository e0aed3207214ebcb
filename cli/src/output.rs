//! Output: bytes unchanged on a pipe, escaped text on a terminal, or JSON.

use std::borrow::Cow;
use std::io::{self, IsTerminal, Write};

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use dipc::client::{Event, Job, Message, Stat, Topic};
use serde_json::{Map, Value, json};

use crate::charset;
use crate::failure::Failure;

/// How results are printed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Output {
    pub json: bool,
    /// Whether versions are printed to standard error.
    pub verbose: bool,
    pub is_terminal: bool,
    /// Whether every message ends with a newline, on a pipe too, because more output follows.
    pub whole_lines: bool,
}

impl Output {
    pub(crate) fn new(json: bool) -> Self {
        Output { json, verbose: false, is_terminal: io::stdout().is_terminal(), whole_lines: false }
    }

    /// Whether standard output is a terminal with cursor control.
    pub(crate) fn can_move(&self) -> bool {
        self.is_terminal && std::env::var_os("TERM").is_none_or(|term| term != "dumb")
    }

    /// With `--verbose`, prints the version of a mailbox and the number of its messages to standard error.
    /// JSON contains both already.
    pub(crate) fn print_info(&self, version: u64, count: Option<u64>) {
        if self.verbose && !self.json {
            let messages = count.map(|count| format!(", messages {count}")).unwrap_or_default();
            self.print_note(&format!("version {version}{messages}"));
        }
    }

    /// Prints only the version of a message.
    pub(crate) fn print_version(&self, mailbox: u32, message: &Message) -> Result<(), Failure> {
        let Message { version, count, lost, .. } = message;
        if self.json {
            let value = json!({ "mailbox": mailbox, "version": version, "count": count, "lost": lost });
            return self.print_json(value);
        }
        if *lost > 0 {
            self.print_lost(mailbox, *lost);
        }
        self.print_bytes(format!("{version}\n").as_bytes())
    }

    /// Prints a message: on a pipe exactly its bytes.
    pub(crate) fn print_message(&self, mailbox: u32, message: &Message) -> Result<(), Failure> {
        let Message { data, version, count, lost } = message;
        if self.json {
            let mut value = json!({ "mailbox": mailbox, "version": version, "count": count, "lost": lost });
            put_data(&mut value, data);
            return self.print_json(value);
        }
        if *lost > 0 {
            self.print_lost(mailbox, *lost);
        }
        if self.is_terminal && data.is_empty() {
            self.print_note(if *count == 0 { "the mailbox is empty" } else { "the message is empty" });
            return Ok(());
        }
        self.print_data(data, self.whole_lines)
    }

    /// Prints the version of a message in hand like [`Self::print_info`], and how often the message was
    /// handed out.
    pub(crate) fn print_job_info(&self, version: u64, count: u64, tries: u64) {
        if self.verbose && !self.json {
            self.print_note(&job_info(version, count, tries));
        }
    }

    /// Prints a message in hand, and to standard error its version, which `done` and `back` need.
    pub(crate) fn print_job(&self, job: &Job) -> Result<(), Failure> {
        let Job { mailbox, data, version, count, tries } = job;
        if self.json {
            let mut value = json!({ "mailbox": mailbox, "version": version, "count": count, "tries": tries });
            put_data(&mut value, data);
            return self.print_json(value);
        }
        self.print_note(&job_info(*version, *count, *tries));
        self.print_data(data, self.whole_lines)
    }

    /// Prints a message of a watch, always with a newline. `with_number` says whether the number of the
    /// mailbox is printed before the message.
    pub(crate) fn print_event(
        &self,
        (mailbox, with_number): (u32, bool),
        version: u64,
        data: &[u8],
        lost: u64,
    ) -> Result<(), Failure> {
        if self.json {
            let mut value = json!({ "mailbox": mailbox, "version": version, "lost": lost });
            put_data(&mut value, data);
            return self.print_json(value);
        }
        if lost > 0 {
            self.print_lost(mailbox, lost);
        }
        match with_number {
            true => self.print_data(&[format!("{mailbox}: ").as_bytes(), data].concat(), true),
            false => self.print_data(data, true),
        }
    }

    /// Prints a line for each field: its name and its number.
    pub(crate) fn print_fields(&self, fields: &[(&str, u64)]) -> Result<(), Failure> {
        if self.json {
            return self.print_json(
                fields.iter().map(|&(name, number)| (name.to_owned(), Value::from(number))).collect(),
            );
        }
        self.print_text(&fields.iter().map(|(name, number)| format!("{name} {number}\n")).collect::<String>())
    }

    pub(crate) fn print_stat(&self, topic: Topic, stat: &Stat) -> Result<(), Failure> {
        if self.json { self.print_json(stat_value(topic, stat)) } else { self.print_text(stat.text()) }
    }

    pub(crate) fn print_json(&self, value: Value) -> Result<(), Failure> {
        self.print_bytes(format!("{value}\n").as_bytes())
    }

    pub(crate) fn print_text(&self, text: &str) -> Result<(), Failure> {
        if text.is_empty() { Ok(()) } else { self.print_data(text.as_bytes(), true) }
    }

    fn print_data(&self, data: &[u8], whole_lines: bool) -> Result<(), Failure> {
        let shown = if self.is_terminal { Cow::from(escape(data).into_bytes()) } else { Cow::from(data) };
        let end: &[u8] =
            if (self.is_terminal || whole_lines) && !shown.ends_with(b"\n") { b"\n" } else { b"" };
        self.print_bytes(&[&shown, end].concat())
    }

    pub(crate) fn print_bytes(&self, bytes: &[u8]) -> Result<(), Failure> {
        let mut stdout = io::stdout().lock();
        stdout.write_all(bytes).and_then(|()| stdout.flush()).map_err(Failure::Output)
    }

    fn print_lost(&self, mailbox: u32, lost: u64) {
        let (messages, are) = if lost == 1 { ("message", "is") } else { ("messages", "are") };
        self.print_note(&format!("{lost} {messages} of mailbox {mailbox} {are} lost"));
    }

    /// Prints a note to stderr, as JSON if the output is JSON.
    pub(crate) fn print_note(&self, text: &str) {
        // An error of stderr cannot be reported anywhere.
        let _ = match self.json {
            true => writeln!(io::stderr(), "{}", json!({ "note": text })),
            false => writeln!(io::stderr(), "dipc-cli: {}", escape(text.as_bytes())),
        };
    }

    /// Prints the loss of a lock or of a message in hand. Other events are ignored.
    pub(crate) fn print_loss(&self, event: &Event) {
        match event {
            Event::LockLost { mailbox, .. } => {
                self.print_note(&format!("the lock of mailbox {mailbox} is lost"));
            }
            Event::JobLost { mailbox, version, .. } => self.print_note(&format!(
                "message {version} of mailbox {mailbox} is no longer in hand: it was given back"
            )),
            Event::Message { .. } => {}
        }
    }

    pub(crate) fn print_error(&self, failure: &Failure) {
        match (failure.is_silent(), self.json) {
            (true, _) => {}
            (false, true) => {
                let _ = writeln!(io::stderr(), "{}", failure.json());
            }
            (false, false) => self.print_note(&failure.to_string()),
        }
    }
}

/// Text for a terminal. Characters that move the cursor, change the terminal's settings or reverse the text
/// are escaped. Characters that the terminal's encoding may lack are replaced.
pub(crate) fn escape(data: &[u8]) -> String {
    let shown = escape_controls(data);
    match charset::is_utf8() {
        true => shown,
        false => shown.replace(|character: char| !character.is_ascii(), "?"),
    }
}

fn escape_controls(data: &[u8]) -> String {
    let mut shown = String::new();
    for character in String::from_utf8_lossy(data).chars() {
        match character {
            '\n' | '\t' => shown.push(character),
            '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}' => {
                shown.extend(character.escape_unicode())
            }
            _ if character.is_control() && u32::from(character) < 256 => {
                shown.push_str(&format!("\\x{:02x}", u32::from(character)))
            }
            _ => shown.push(character),
        }
    }
    shown
}

/// The version of a message in hand, the number of messages in its mailbox, and how often the message was
/// handed out.
fn job_info(version: u64, count: u64, tries: u64) -> String {
    format!("version {version}, messages {count}, tries {tries}")
}

fn put_data(value: &mut Value, data: &[u8]) {
    match std::str::from_utf8(data) {
        Ok(text) => value["data"] = text.into(),
        Err(_) => value["base64"] = BASE64_STANDARD.encode(data).into(),
    }
}

/// The answer to `stat` as JSON: an object of counters, or a list with an object for each connection, lock
/// or name.
fn stat_value(topic: Topic, stat: &Stat) -> Value {
    let row = |first: Option<(&str, &str)>, line: dipc::client::Line| {
        let pairs = first.into_iter().chain(line.fields());
        pairs.map(|(key, word)| (key.to_owned(), field(key, word))).collect::<Map<_, _>>()
    };
    match topic {
        Topic::Connections => {
            stat.lines().map(|line| Value::from(row(Some(("connection", line.name)), line))).collect()
        }
        Topic::Locks => {
            stat.lines().map(|line| Value::from(row(Some(("mailbox", line.name)), line))).collect()
        }
        Topic::Names => {
            let name = |line: dipc::client::Line| json!({ "mailbox": scalar(line.name), "name": line.rest });
            stat.lines().map(name).collect()
        }
        Topic::Server | Topic::Mailbox(_) => {
            let (locks, counters): (Vec<_>, Vec<_>) = stat.lines().partition(|line| line.name == "lock");
            let mut value: Map<_, _> =
                counters.iter().map(|line| (line.name.to_owned(), scalar(line.rest))).collect();
            if matches!(topic, Topic::Mailbox(_)) {
                let locks = locks.into_iter().map(|line| Value::from(row(None, line)));
                value.insert("locks".to_owned(), locks.collect());
            }
            value.into()
        }
    }
}

/// The value of a `key=value` pair. A name stays text even if it is all digits; locks and watches are lists,
/// even if empty.
fn field(key: &str, word: &str) -> Value {
    match key {
        "locks" | "watches" => word.split(',').filter_map(|number| number.parse::<u64>().ok()).collect(),
        "name" if word != "-" => word.into(),
        _ => scalar(word),
    }
}

/// A number, null for `-`, or text.
fn scalar(word: &str) -> Value {
    match (word.parse::<u64>(), word.parse::<f64>()) {
        (Ok(number), _) => number.into(),
        (_, Ok(number)) if word.starts_with(|first: char| first.is_ascii_digit()) => number.into(),
        _ if word == "-" => Value::Null,
        _ => word.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_characters_are_escaped() {
        assert_eq!(escape_controls(b"a\tb\nc"), "a\tb\nc");
        assert_eq!(escape_controls(b"\x1b[2J\x07\r\x7f"), "\\x1b[2J\\x07\\x0d\\x7f");
        assert_eq!(
            escape_controls("\u{9b}2J \u{202e}gr\u{fc}\u{df}".as_bytes()),
            "\\x9b2J \\u{202e}gr\u{fc}\u{df}"
        );
        assert_eq!(escape_controls(b"\xff"), "\u{fffd}");
    }
}
