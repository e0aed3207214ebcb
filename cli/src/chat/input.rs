//! The input of a chat: lines from the line editor or from a pipe.

use std::collections::VecDeque;
use std::fs;
use std::io::{ErrorKind, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;

use dipc::client::Client;
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use crate::failure::Failure;

/// A source of lines that can be polled together with the client's socket.
pub(super) struct Input {
    source: fs::File,
    bytes: VecDeque<u8>,
    ended: bool,
    /// Readable after SIGTERM or SIGHUP, which end the input so that the terminal's settings are restored.
    /// None: there is no line editor.
    stop: Option<UnixStream>,
}

impl Input {
    pub(super) fn new(source: OwnedFd, stop: Option<UnixStream>) -> Self {
        Input { source: source.into(), bytes: VecDeque::new(), ended: false, stop }
    }

    pub(super) fn has_ended(&self) -> bool {
        self.ended
    }

    /// Waits for input or for data from the server. Returns whether there is input.
    pub(super) fn is_ready(&mut self, client: &Client) -> Result<bool, Failure> {
        let stop = self.stop.as_ref().map(|stop| stop.as_fd());
        let fds = [Some(self.source.as_fd()), Some(client.as_fd()), stop].into_iter().flatten();
        let mut sources: Vec<_> = fds.map(|fd| PollFd::new(fd, PollFlags::POLLIN)).collect();
        match poll(&mut sources, PollTimeout::NONE) {
            Ok(_) => {
                self.ended |= sources.get(2).is_some_and(|stop| stop.any() == Some(true));
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
                self.bytes.extend(&chunk[..len]);
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
