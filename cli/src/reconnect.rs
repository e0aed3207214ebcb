//! Connecting again after the server has been restarted, so that a watch, a chat or `top` goes on.

use std::time::{Duration, Instant};

use dipc::client::{Client, Code, Error, Mailbox};

use crate::failure::Failure;
use crate::output::Output;

/// Time between two tries.
const PAUSE: Duration = Duration::from_millis(200);

/// Longest time of a try.
const TRY_TIMEOUT: Duration = Duration::from_secs(1);

/// How long a command tries to connect again.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Retry(pub Duration);

impl Retry {
    /// Connects again if `failure` is the end of the connection. Returns whether the client is connected. It
    /// is not if `pause` returns false, which waits for the given time and says whether to try again. Returns
    /// the failure if it is another one, or if no server has answered in time.
    pub(crate) fn reconnect(
        self,
        client: &mut Client,
        failure: Failure,
        out: &Output,
        mut pause: impl FnMut(Duration) -> Result<bool, Failure>,
    ) -> Result<bool, Failure> {
        if self.0.is_zero() || !matches!(&failure, Failure::Client(error) if is_end(error)) {
            return Err(failure);
        }
        out.print_error(&failure);
        out.print_note("connecting again");
        let deadline = Instant::now().checked_add(self.0);
        loop {
            match client.reconnect(Some(TRY_TIMEOUT)) {
                Ok(reconnected) => {
                    out.print_note(match reconnected.is_new {
                        true => "connected again; the mailboxes are new",
                        false => "connected again",
                    });
                    return Ok(true);
                }
                Err(error) if is_end(&error) => {}
                Err(_) => return Err(failure),
            }
            if deadline.is_some_and(|deadline| deadline <= Instant::now()) {
                return Err(failure);
            }
            if !pause(PAUSE)? {
                return Ok(false);
            }
        }
    }
}

/// The numbers of these mailboxes. After a restart with new mailboxes the numbers of names may be others.
pub(crate) fn numbers_of(client: &mut Client, mailboxes: &[Mailbox]) -> Result<Vec<u32>, Failure> {
    mailboxes.iter().map(|mailbox| Ok(client.mailbox_number(mailbox)?)).collect()
}

/// Whether the connection has ended, and a later connection may work.
fn is_end(error: &Error) -> bool {
    matches!(error, Error::Io(_) | Error::Refused { code: Code::Drain | Code::Busy, .. })
}
