//! Ctrl-C at the prompt: it ends the running command, and not the prompt.

use std::io::{self, Read};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use dipc::client::Client;
use nix::poll::{PollFd, PollFlags};
use signal_hook::consts::SIGINT;
use signal_hook::flag;
use signal_hook::low_level::pipe;

use crate::cancel;

/// The handler of SIGINT. By default SIGINT ends this program. While SIGINT is captured, it becomes a
/// readable byte.
pub(crate) struct Interrupts {
    read: UnixStream,
    terminates: Arc<AtomicBool>,
}

/// While this value exists, SIGINT makes `read` readable and has no other effect.
pub(crate) struct Captured<'a> {
    pub read: &'a UnixStream,
    terminates: &'a AtomicBool,
}

impl Interrupts {
    pub(crate) fn new() -> io::Result<Self> {
        let (read, write) = UnixStream::pair()?;
        read.set_nonblocking(true)?;
        let terminates = Arc::new(AtomicBool::new(true));
        flag::register_conditional_default(SIGINT, terminates.clone())?;
        pipe::register(SIGINT, write)?;
        Ok(Interrupts { read, terminates })
    }

    pub(crate) fn capture(&self) -> Captured<'_> {
        self.terminates.store(false, Ordering::Relaxed);
        Captured { read: &self.read, terminates: &self.terminates }
    }

    /// Runs `request`. Calls `on_wait` if the answer takes long. Returns the result, and whether Ctrl-C
    /// cancelled the request, which closes the connection.
    pub(crate) fn run_interruptible<'a, R>(
        &self,
        client: &'a mut Client,
        on_wait: impl FnOnce() + Send,
        request: impl FnOnce(&'a mut Client) -> R,
    ) -> io::Result<(R, bool)> {
        let captured = self.capture();
        cancel::run(client, PollFd::new(captured.read.as_fd(), PollFlags::POLLIN), on_wait, request)
    }
}

impl Drop for Captured<'_> {
    fn drop(&mut self) {
        // Discards an interrupt of this command, so that it does not end the next one.
        let _ = self.read.read(&mut [0; 64]);
        self.terminates.store(true, Ordering::Relaxed);
    }
}
