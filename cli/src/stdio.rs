//! The standard streams: whether they were open when this program started, and whether standard output still
//! has a reader.
//!
//! The Rust runtime opens /dev/null in place of a closed stream: reads from it find the end of the input, and
//! writes to it succeed. So the modes of the streams are recorded before the runtime starts.

use std::io::{self, Error, ErrorKind, Stdout};
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicI32, Ordering};

use dipc::client::Client;
use nix::errno::Errno;
use nix::libc;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use crate::cancel;
use crate::failure::Failure;

/// The file status flags of descriptors 0 to 2 when this program started. Negative: the descriptor was
/// closed.
static FLAGS: [AtomicI32; 3] = [const { AtomicI32::new(0) }; 3];

/// Runs [`record_flags`] before the Rust runtime starts.
#[used]
#[allow(unsafe_code, reason = "there is no safe way to run code before the runtime starts")]
// SAFETY: the section is a list of functions that the C library calls before `main`. Source: gABI,
// "Initialization and Termination Functions".
#[unsafe(link_section = ".init_array")]
static RECORD_FLAGS: extern "C" fn() = record_flags;

#[allow(unsafe_code, reason = "a closed descriptor has no safe representation")]
extern "C" fn record_flags() {
    for (descriptor, flags) in (0..).zip(&FLAGS) {
        // SAFETY: F_GETFL has no argument and changes nothing. On a closed descriptor it fails with EBADF.
        flags.store(unsafe { libc::fcntl(descriptor, libc::F_GETFL) }, Ordering::Relaxed);
    }
}

/// Fails if standard output or standard error cannot be written. Without this check, a command could
/// change the server's data and lose its result.
pub(crate) fn require_output() -> Result<(), Failure> {
    require(1, "standard output", "not open for writing", libc::O_RDONLY)?;
    require(2, "standard error", "not open for writing", libc::O_RDONLY)
}

/// Fails if standard input cannot be read. Without this check, a closed input would count as an empty
/// message.
pub(crate) fn require_input() -> Result<(), Failure> {
    require(0, "standard input", "not open for reading", libc::O_WRONLY)
}

fn require(descriptor: usize, name: &str, why: &str, unusable: i32) -> Result<(), Failure> {
    let flags = FLAGS[descriptor].load(Ordering::Relaxed);
    match flags < 0 || flags & libc::O_ACCMODE == unusable {
        true => Err(Failure::local(name, Error::new(ErrorKind::InvalidInput, why))),
        false => Ok(()),
    }
}

/// Standard output, for `poll`: it is ready only when its reader has gone.
pub(crate) fn without_reader(stdout: &Stdout) -> PollFd<'_> {
    PollFd::new(stdout.as_fd(), PollFlags::empty())
}

/// Runs a request whose answer is printed. Waits until standard output can be written. Cancels the request
/// when the reader of standard output has gone. Returns the result. None: the request was cancelled, or was
/// not sent because standard output had no reader.
pub(crate) fn request<R>(
    client: &mut Client,
    request: impl FnOnce(&mut Client) -> Result<R, dipc::client::Error>,
) -> Result<Option<R>, Failure> {
    if !wait_for_room(client)? {
        return Ok(None);
    }
    let failed = |error| Failure::local("standard output", error);
    match cancel::run(client, without_reader(&io::stdout()), || {}, request).map_err(failed)? {
        (Err(_), true) => Ok(None),
        (result, _) => Ok(Some(result?)),
    }
}

/// Waits until standard output can be written without blocking. Returns false if standard output
/// has no reader. Returns true at once if the connection has ended.
fn wait_for_room(client: &Client) -> Result<bool, Failure> {
    let stdout = io::stdout();
    let mut sources =
        [PollFd::new(stdout.as_fd(), PollFlags::POLLOUT), PollFd::new(client.as_fd(), PollFlags::empty())];
    loop {
        match poll(&mut sources, PollTimeout::NONE) {
            Ok(_) => return Ok(!sources[0].revents().is_some_and(is_end)),
            Err(Errno::EINTR) => {}
            Err(error) => return Err(Failure::local("poll", error)),
        }
    }
}

/// Whether `poll` reports that nothing will read this descriptor any more.
fn is_end(events: PollFlags) -> bool {
    events.intersects(PollFlags::POLLERR | PollFlags::POLLHUP | PollFlags::POLLNVAL)
}
