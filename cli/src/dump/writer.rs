//! Writes a dump, and computes its checksum.

use std::io::{self, Read, Write};

use crc32fast::Hasher;

use super::format::{End, FORMAT, Format, Head, Mailbox, Message, Totals};

pub(super) struct Writer<W> {
    output: W,
    crc32: Hasher,
    totals: Totals,
}

impl<W: Write> Writer<W> {
    pub(super) fn new(output: W, head: &Head) -> io::Result<Self> {
        let mut writer = Writer { output, crc32: Hasher::new(), totals: Totals::default() };
        writeln!(writer, "{}", Format(FORMAT))?;
        writeln!(writer, "{head}")?;
        Ok(writer)
    }

    pub(super) fn totals(&self) -> &Totals {
        &self.totals
    }

    /// Begins a mailbox. As many messages as it says have to follow.
    pub(super) fn mailbox(&mut self, mailbox: &Mailbox) -> io::Result<()> {
        self.totals.mailboxes += 1;
        writeln!(self, "{mailbox}")
    }

    /// Begins a message. Its bytes and [`Writer::end_message`] have to follow.
    pub(super) fn message(&mut self, message: Message) -> io::Result<()> {
        self.totals.messages += 1;
        self.totals.bytes += message.len;
        writeln!(self, "{message}")
    }

    pub(super) fn end_message(&mut self) -> io::Result<()> {
        self.write_all(b"\n")
    }

    /// Ends the dump. Returns the output.
    pub(super) fn end(mut self) -> io::Result<W> {
        let covered = End::covered(&self.totals);
        self.write_all(covered.as_bytes())?;
        let end = End { totals: self.totals, crc32: self.crc32.clone().finalize() };
        writeln!(self.output, "{}", &end.to_string()[covered.len()..])?;
        self.output.flush()?;
        Ok(self.output)
    }
}

impl<W: Write> Write for Writer<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let len = self.output.write(bytes)?;
        self.crc32.update(&bytes[..len]);
        Ok(len)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.output.flush()
    }
}

/// Copies exactly `len` bytes. The outer error is one of the source, the inner one that of the output.
pub(crate) fn copy_exactly(
    source: &mut impl Read,
    output: &mut impl Write,
    len: u64,
) -> io::Result<io::Result<()>> {
    let mut chunk = [0; 16 * 1024];
    let mut left = len;
    while left > 0 {
        let part = &mut chunk[..left.min(16 * 1024) as usize];
        source.read_exact(part)?;
        if let Err(error) = output.write_all(part) {
            return Ok(Err(error));
        }
        left -= part.len() as u64;
    }
    Ok(Ok(()))
}
