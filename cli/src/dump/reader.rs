//! Reads a dump: once to check it from its first byte to its last one, then in parts.

use std::collections::HashSet;
use std::fs::File;
use std::io::{self, BufRead, BufReader, ErrorKind, Read, Seek, SeekFrom};

use crc32fast::Hasher;

use super::format::{End, FORMAT, Format, Head, LINE_MAX, Line, Message, Totals, VERSION_MAX, parse};
use super::invalid;
use super::summary::Summary;
use crate::failure::Failure;

pub(crate) struct Reader {
    file: BufReader<File>,
    name: String,
    /// The position in the file.
    at: u64,
    /// The checksum of the bytes before the position. None: parts are skipped.
    crc32: Option<Hasher>,
}

/// A part of a dump.
pub(crate) enum Section {
    /// A mailbox. Its messages have been skipped.
    Mailbox(Summary),
    End(End),
}

impl Reader {
    /// Checks a whole dump. Returns a reader that is after the first lines, these lines, and the totals.
    pub(crate) fn check(file: File, name: &str) -> Result<(Self, Head, Totals), Failure> {
        let file = BufReader::with_capacity(super::BUFFER, file);
        let mut reader = Reader { file, name: name.to_owned(), at: 0, crc32: Some(Hasher::new()) };
        let head = reader.head()?;
        let start = reader.at;
        let totals = reader.check_mailboxes(&head)?;
        reader.crc32 = None;
        reader.seek(start)?;
        Ok((reader, head, totals))
    }

    fn head(&mut self) -> Result<Head, Failure> {
        let line = self.line()?;
        match line.as_deref().and_then(parse) {
            None => return Err(self.damaged("this is no dump of mailboxes")),
            Some(Format(format)) if format > FORMAT => {
                let text = format!(
                    "this dump has format {format}, and this program reads formats up to {FORMAT}: use a \
                     newer dipc-cli"
                );
                return Err(invalid(&self.name, text));
            }
            Some(Format(FORMAT)) => {}
            Some(_) => return Err(self.damaged("this format does not exist")),
        }
        let line = self.line()?;
        line.as_deref().and_then(parse).ok_or_else(|| self.damaged("the line of the server is damaged"))
    }

    /// Checks everything after the first lines.
    fn check_mailboxes(&mut self, head: &Head) -> Result<Totals, Failure> {
        let (mut totals, mut names, mut next) = (Totals::default(), HashSet::new(), 0);
        loop {
            let before = self.crc32.clone().unwrap_or_default();
            let end = match self.next_section()? {
                Section::End(end) => end,
                Section::Mailbox(Summary { mailbox, bytes, .. }) => {
                    if mailbox.number < next || mailbox.number >= head.boxes {
                        return Err(self.damaged("a mailbox is out of order"));
                    }
                    if mailbox.version > VERSION_MAX {
                        return Err(self.damaged("the version of a mailbox is too large"));
                    }
                    if mailbox.name.is_some_and(|name| !names.insert(name)) {
                        return Err(self.damaged("two mailboxes have the same name"));
                    }
                    next = mailbox.number + 1;
                    totals.mailboxes += 1;
                    totals.messages += mailbox.count;
                    totals.bytes += bytes;
                    continue;
                }
            };
            let mut crc32 = before;
            crc32.update(End::covered(&end.totals).as_bytes());
            if end.totals != totals || end.crc32 != crc32.finalize() {
                return Err(self.damaged("the checksum is wrong"));
            }
            let rest = self.file.fill_buf().map_err(|error| Failure::local(&self.name, error))?;
            return if rest.is_empty() { Ok(totals) } else { Err(self.damaged("bytes follow the end")) };
        }
    }

    /// The next part of the dump.
    pub(crate) fn next_section(&mut self) -> Result<Section, Failure> {
        let line = self.line()?;
        let mailbox = match line.as_deref().and_then(parse) {
            Some(Line::Mailbox(mailbox)) => mailbox,
            Some(Line::End(end)) => return Ok(Section::End(end)),
            None => return Err(self.damaged("the line of a mailbox is damaged")),
        };
        let (count, version) = (mailbox.count, mailbox.version);
        let mut summary = Summary::new(mailbox, self.at);
        let mut last = None;
        for before in 0..count {
            let message = self.message()?;
            if message.version > version || message.version <= last.unwrap_or(0) {
                return Err(self.damaged("a message is out of order"));
            }
            summary.add(message, last, before);
            last = Some(message.version);
            self.skip_data(message.len)?;
        }
        if last.is_some_and(|last| last < version) {
            (summary.last_hole, summary.before_hole) = (Some(version), count);
        }
        Ok(Section::Mailbox(summary))
    }

    /// The next message. Its data has to be read or skipped then.
    pub(crate) fn message(&mut self) -> Result<Message, Failure> {
        let line = self.line()?;
        line.as_deref().and_then(parse).ok_or_else(|| self.damaged("the line of a message is damaged"))
    }

    /// Passes the data of a message to `read`, which has to read all of it. The outer error of `read` is one
    /// of the file.
    pub(crate) fn read_data(
        &mut self,
        len: u64,
        read: impl FnOnce(&mut dyn Read) -> io::Result<Result<(), Failure>>,
    ) -> Result<(), Failure> {
        read(&mut self.file).map_err(|error| self.failed(error))??;
        self.end_data(len)
    }

    fn skip_data(&mut self, len: u64) -> Result<(), Failure> {
        if self.crc32.is_some() {
            self.hash(len)?;
        } else {
            let skipped = i64::try_from(len).map_err(io::Error::other);
            let skipped = skipped.and_then(|len| self.file.seek_relative(len));
            skipped.map_err(|error| self.failed(error))?;
        }
        self.end_data(len)
    }

    /// Reads the end of line after the data.
    fn end_data(&mut self, len: u64) -> Result<(), Failure> {
        let mut end = [0];
        self.file.read_exact(&mut end).map_err(|error| self.failed(error))?;
        self.at += len + 1;
        if let Some(crc32) = &mut self.crc32 {
            crc32.update(&end);
        }
        if end == *b"\n" { Ok(()) } else { Err(self.damaged("a message is damaged")) }
    }

    pub(crate) fn seek(&mut self, at: u64) -> Result<(), Failure> {
        self.file.seek(SeekFrom::Start(at)).map_err(|error| self.failed(error))?;
        self.at = at;
        Ok(())
    }

    pub(crate) fn at(&self) -> u64 {
        self.at
    }

    /// The next line. None: it is no text.
    fn line(&mut self) -> Result<Option<String>, Failure> {
        let mut line = Vec::new();
        let read = (&mut self.file).take(LINE_MAX as u64).read_until(b'\n', &mut line);
        read.map_err(|error| Failure::local(&self.name, error))?;
        if let Some(crc32) = &mut self.crc32 {
            crc32.update(&line);
        }
        self.at += line.len() as u64;
        match line.pop() {
            Some(b'\n') => Ok(String::from_utf8(line).ok()),
            _ if line.len() + 1 < LINE_MAX => Err(self.failed(ErrorKind::UnexpectedEof.into())),
            _ => Ok(None),
        }
    }

    /// Adds the next bytes to the checksum.
    fn hash(&mut self, len: u64) -> Result<(), Failure> {
        let mut left = len;
        while left > 0 {
            let chunk = match self.file.fill_buf() {
                Ok([]) => return Err(self.failed(ErrorKind::UnexpectedEof.into())),
                Ok(chunk) => &chunk[..left.min(chunk.len() as u64) as usize],
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) => return Err(self.failed(error)),
            };
            let used = chunk.len();
            if let Some(crc32) = &mut self.crc32 {
                crc32.update(chunk);
            }
            self.file.consume(used);
            left -= used as u64;
        }
        Ok(())
    }

    fn failed(&self, error: io::Error) -> Failure {
        match error.kind() {
            ErrorKind::UnexpectedEof => {
                invalid(&self.name, "incomplete: the file ends before its end".to_owned())
            }
            _ => Failure::local(&self.name, error),
        }
    }

    fn damaged(&self, what: &str) -> Failure {
        invalid(&self.name, format!("damaged before byte {}: {what}", self.at))
    }
}
