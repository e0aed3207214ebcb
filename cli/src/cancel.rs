//! Cancels a request that waits: the protocol has no other way than to close the connection.

use std::io;
use std::net::Shutdown;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::thread;

use dipc::client::Client;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

/// Milliseconds in which the server answers a cancelled request, if it can.
const ANSWER_MS: u8 = 200;

/// Milliseconds after which the user is told what a request waits for.
const SLOW_MS: u16 = 1000;

/// Runs `request`, and cancels it when `cause` is ready. Calls `on_wait` if the answer takes long. Returns
/// the result of the request, and whether it was cancelled.
///
/// First only the sending half is closed: then the server answers a waiting `take` at once, either with a
/// message or with the certainty that no message was removed. If no answer comes, the connection is closed.
pub(crate) fn run<'a, R>(
    client: &'a mut Client,
    cause: PollFd,
    on_wait: impl FnOnce() + Send,
    request: impl FnOnce(&'a mut Client) -> R,
) -> io::Result<(R, bool)> {
    let socket = UnixStream::from(client.as_fd().try_clone_to_owned()?);
    let (requesting, answered) = UnixStream::pair()?;
    thread::scope(|scope| {
        let listener = thread::Builder::new().spawn_scoped(scope, || {
            let answer = PollFd::new(answered.as_fd(), PollFlags::POLLIN);
            let mut ready = wait_for([cause.clone(), answer.clone()], PollTimeout::from(SLOW_MS));
            if ready == [false; 2] {
                on_wait();
                ready = wait_for([cause, answer.clone()], PollTimeout::NONE);
            }
            let is_cancelled = ready[0];
            if is_cancelled {
                // Both fail only if the connection is closed already.
                let _ = socket.shutdown(Shutdown::Write);
                if !wait_for([answer], PollTimeout::from(ANSWER_MS))[0] {
                    let _ = socket.shutdown(Shutdown::Both);
                }
            }
            is_cancelled
        })?;
        let result = request(client);
        drop(requesting);
        Ok((result, listener.join().is_ok_and(|is_cancelled| is_cancelled)))
    })
}

/// Waits until one of the descriptors is ready, or for the timeout. Returns which of them are ready.
fn wait_for<const N: usize>(mut sources: [PollFd; N], timeout: PollTimeout) -> [bool; N] {
    while poll(&mut sources, timeout).is_err() {
        // Interrupted by a signal: the only error that can occur here.
    }
    sources.map(|source| source.any() == Some(true))
}
