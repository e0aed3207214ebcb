//! Inspects a dipc server before anything is overwritten: what it is, whether the requests of the run fit,
//! and whether its mailboxes hold messages.

use dipc::client::{Client, Hello, Topic};

use super::mix::Mix;
use super::options::BenchOptions;
use crate::failure::Failure;

/// Maximum size of a message's header in a mailbox, in bytes.
const MESSAGE_HEADER: usize = 8;

/// Fails if the peer is not dipc, or if the run is not possible or not permitted there.
pub(super) fn inspect(dipc: &mut Client, options: &BenchOptions) -> Result<(), Failure> {
    check_limits(&dipc.hello(None)?, options).map_err(Failure::Usage)?;
    let mailboxes = if options.overwrite { 0 } else { options.mailboxes };
    for mailbox in 0..mailboxes {
        let messages = dipc.stat(Topic::Mailbox(mailbox as u32))?.number("messages");
        if messages != Some(0) {
            return Err(holds_messages(&format!("mailbox {mailbox}")));
        }
    }
    Ok(())
}

/// The failure of a run without `--overwrite`.
pub(super) fn holds_messages(what: &str) -> Failure {
    Failure::Usage(format!("{what} holds messages: --overwrite replaces them"))
}

fn check_limits(hello: &Hello, options: &BenchOptions) -> Result<(), String> {
    if options.mailboxes > hello.mailboxes as usize {
        let last = hello.mailboxes.saturating_sub(1);
        return Err(format!("no mailbox {}; this server has 0 to {last}", options.mailboxes - 1));
    }
    let limit = hello.packet.min(hello.size);
    if options.size as u64 > limit {
        let name = if hello.packet <= hello.size { "PACKET_KB" } else { "SIZE_KB" };
        return Err(format!(
            "message too large ({} bytes); the server's {name} allows {limit}",
            options.size
        ));
    }
    // Without room for a message of every connection, all connections might wait forever to put, and none
    // would take.
    let messages = options.connections.div_ceil(options.mailboxes) + 1;
    let (needed, size) = ((messages * (options.size + MESSAGE_HEADER)) as u64, hello.size);
    if options.mix.contains(&Mix::PutTake) && needed > size {
        return Err(format!(
            "put-take needs {needed} bytes in each mailbox, which has {size}: \
             lower -c or -d, or raise --mailboxes"
        ));
    }
    Ok(())
}
