//! Input of bounded size: a message from standard input or from a file, and the lines of a pipe.

use std::fs::File;
use std::io::{self, BufRead, ErrorKind, Read};
use std::path::Path;

use dipc::client::{Client, Code, Error};

use crate::failure::Failure;
use crate::stdio;

/// The longest line of commands has a text of the packet size after this many bytes.
const COMMAND_MAX: usize = 4096;

/// Reads the data of a message to its end, from standard input.
pub(crate) fn standard_input(client: &mut Client) -> Result<Vec<u8>, Failure> {
    stdio::require_input()?;
    let packet = packet(client)?;
    message("standard input", io::stdin().lock(), packet)
}

/// Reads the data of a message to its end, from a file.
pub(crate) fn file(client: &mut Client, path: &Path) -> Result<Vec<u8>, Failure> {
    let name = path.display().to_string();
    let file = File::open(path).map_err(|error| Failure::local(&name, error))?;
    message(&name, file, packet(client)?)
}

/// Maximum number of bytes in a message that the server accepts.
pub(crate) fn packet(client: &mut Client) -> Result<usize, Failure> {
    Ok(client.hello(None)?.packet.try_into().unwrap_or(usize::MAX))
}

/// Reads at most one byte more than the server accepts. The source may be endless.
fn message(name: &str, source: impl Read, packet: usize) -> Result<Vec<u8>, Failure> {
    let mut data = Vec::new();
    let read = source.take((packet as u64).saturating_add(1)).read_to_end(&mut data);
    read.map_err(|error| Failure::local(name, error))?;
    if data.len() > packet { Err(too_large(packet)) } else { Ok(data) }
}

pub(crate) fn too_large(packet: usize) -> Failure {
    let text = format!("message too large; the server's PACKET_KB allows {packet} bytes");
    Error::Refused { code: Code::Size, text, max: Some(packet as u64) }.into()
}

/// The lines of a pipe. A line that is too long is discarded up to its end.
pub(crate) struct PipeLines<R> {
    source: R,
    packet: usize,
}

impl<R: BufRead> PipeLines<R> {
    pub(crate) fn new(source: R, client: &mut Client) -> Result<Self, Failure> {
        Ok(PipeLines { source, packet: packet(client)? })
    }

    /// The next line, without its end. None: the end of the input.
    pub(crate) fn next(&mut self) -> Result<Option<Vec<u8>>, Failure> {
        let line = self.read().map_err(|error| Failure::local("standard input", error))?;
        line.map(|line| line.ok_or_else(|| too_large(self.packet))).transpose()
    }

    /// Reads a line. The inner None is a line that is too long.
    fn read(&mut self) -> io::Result<Option<Option<Vec<u8>>>> {
        let (mut line, mut is_too_long, mut is_empty) = (Vec::new(), false, true);
        loop {
            let chunk = match self.source.fill_buf() {
                Ok(chunk) => chunk,
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            };
            let end = chunk.iter().position(|&byte| byte == b'\n');
            let part = &chunk[..end.unwrap_or(chunk.len())];
            is_too_long |= line.len() + part.len() > self.packet.saturating_add(COMMAND_MAX);
            if is_too_long {
                line = Vec::new();
            } else {
                line.extend_from_slice(part);
            }
            let (read, is_last) =
                (part.len() + usize::from(end.is_some()), end.is_some() || chunk.is_empty());
            is_empty &= read == 0;
            self.source.consume(read);
            if is_last {
                if line.ends_with(b"\r") {
                    line.pop();
                }
                return Ok((!is_empty).then(|| (!is_too_long).then_some(line)));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_that_is_too_long_is_discarded_up_to_its_end() {
        let longest = "x".repeat(COMMAND_MAX + 10);
        let text = format!("a\r\n\n{longest}\n{longest}y\nb");
        let mut lines = PipeLines { source: io::BufReader::with_capacity(7, text.as_bytes()), packet: 10 };
        let mut next = || lines.read().expect("bytes").map(|line| line.map(|line| line.len()));
        let lengths = [next(), next(), next(), next(), next(), next()];
        let longest = Some(Some(longest.len()));
        assert_eq!(lengths, [Some(Some(1)), Some(Some(0)), longest, Some(None), Some(Some(1)), None]);
    }

    #[test]
    fn a_message_is_read_up_to_the_packet_size_and_not_beyond() {
        let read = |length| message("x", io::repeat(b'x').take(length), 10).map(|data| data.len());
        assert_eq!((read(0).ok(), read(10).ok()), (Some(0), Some(10)));
        // An endless input is refused too.
        for length in [11, u64::MAX] {
            assert!(matches!(read(length), Err(Failure::Client(Error::Refused { code: Code::Size, .. }))));
        }
    }
}
