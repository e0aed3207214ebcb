//! The input of a chat: lines from the line editor or from a pipe.

use std::collections::VecDeque;
use std::fs;
use std::io::{self, ErrorKind, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;

use dipc::client::Client;
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use crate::failure::Failure;
use crate::stdio;

/// A source of lines that can be polled together with the client's socket.
pub(super) struct Typed {
    source: fs::File,
    bytes: VecDeque<u8>,
    /// Number of bytes in the last line so far, including those that were not kept.
    partial: usize,
    /// Number of bytes to keep of a line. Must be more than the server accepts, so that it refuses the line.
    line_max: usize,
    ended: bool,
    /// Readable after SIGTERM or SIGHUP, which end the input so that the terminal's settings are restored.
    /// None: there is no line editor.
    stop: Option<UnixStream>,
}

impl Typed {
    pub(super) fn new(source: OwnedFd, line_max: usize, stop: Option<UnixStream>) -> Self {
        Typed { source: source.into(), bytes: VecDeque::new(), partial: 0, line_max, ended: false, stop }
    }

    pub(super) fn has_ended(&self) -> bool {
        self.ended
    }

    /// Waits for input or for data from the server. Returns whether there is input. The input also ends when
    /// standard output has no reader.
    pub(super) fn is_ready(&mut self, client: &Client) -> Result<bool, Failure> {
        let (stdout, stop) = (io::stdout(), self.stop.as_ref().map(|stop| stop.as_fd()));
        let fds = [Some(self.source.as_fd()), Some(client.as_fd()), stop].into_iter().flatten();
        let mut sources: Vec<_> = fds.map(|fd| PollFd::new(fd, PollFlags::POLLIN)).collect();
        sources.push(stdio::without_reader(&stdout));
        match poll(&mut sources, PollTimeout::NONE) {
            Ok(_) => {
                self.ended |= sources[2..].iter().any(|end| end.any() == Some(true));
                Ok(!self.ended && sources[0].any().unwrap_or(true))
            }
            Err(Errno::EINTR) => Ok(false),
            Err(error) => Err(Failure::local("poll", error)),
        }
    }

    pub(super) fn read(&mut self) -> Result<(), Failure> {
        let mut chunk = [0; 4096];
        // Not through a BufReader: poll does not see bytes in its buffer.
        match self.source.read(&mut chunk) {
            Ok(len) => {
                for byte in &chunk[..len] {
                    if *byte == b'\n' || self.partial < self.line_max {
                        self.bytes.push_back(*byte);
                    }
                    self.partial = if *byte == b'\n' { 0 } else { self.partial.saturating_add(1) };
                }
                self.ended = len == 0;
                Ok(())
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => Ok(()),
            Err(error) => Err(Failure::local("standard input", error)),
        }
    }

    /// The next line. At the end of the input, a line without a newline counts too.
    pub(super) fn line(&mut self) -> Option<String> {
        let end = self.bytes.iter().position(|&byte| byte == b'\n');
        let line: Vec<u8> = match end {
            Some(end) => self.bytes.drain(..=end).collect(),
            None if self.ended && !self.bytes.is_empty() => self.bytes.drain(..).collect(),
            None => return None,
        };
        Some(String::from_utf8_lossy(&line).trim_end_matches(['\r', '\n']).to_owned())
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn of_a_line_that_is_too_long_only_its_beginning_is_kept() {
        let (reader, mut writer) = io::pipe().expect("a pipe");
        let mut typed = Typed::new(reader.into(), 10, None);
        for _ in 0..100 {
            writer.write_all(&[b'x'; 1000]).expect("written");
            typed.read().expect("read");
            assert!(typed.bytes.len() <= 10 && typed.line().is_none());
        }
        writer.write_all(b"\nshort\n").expect("written");
        typed.read().expect("read");
        assert_eq!([typed.line(), typed.line()], [Some("x".repeat(10)), Some("short".to_owned())]);
    }
}
