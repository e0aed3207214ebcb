//! Local readers: they see what a request would see, never a mixture of two messages, and nothing that a lock
//! or an unacknowledged take hides.
//!
//! The environment variable `DIPC_LOCAL_READS` is the number of reads of each reader in `torture.rs`, and
//! `DIPC_LOCAL_STRIDE` the distance of the instructions at which `stepping.rs` stops a reader: 1 stops it at
//! each.
#![allow(missing_docs)]

mod history;
mod holding;
mod lifetime;
mod message;
mod reading;
mod stepping;
mod torture;
mod waiting;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use dipc::client::local::{Copied, Local, Miss};
use dipc_testkit::instance::{BaseDirectory, Instance};

/// A server in a directory of its own.
struct Scene {
    base: BaseDirectory,
    server: Instance,
}

impl Scene {
    /// Starts a server with these arguments, such as `4 64 0 64`.
    #[track_caller]
    fn new(arguments: &str) -> Self {
        let base = BaseDirectory::new();
        let server = base.start(arguments);
        Scene { base, server }
    }

    #[track_caller]
    fn local(&self) -> Local {
        Local::open_in(self.base.path(), self.server.port).expect("opened")
    }
}

/// The newest message: its bytes, its version, and the number of messages.
fn read(local: &Local, mailbox: u32) -> Result<(Vec<u8>, u64, u64), Miss> {
    let mut bytes = Vec::new();
    let Copied { version, count, .. } = local.read(mailbox, &mut bytes)?;
    Ok((bytes, version, count))
}

/// Tells threads to end: when it is dropped, also by a failure of the test.
#[derive(Default)]
struct Over(Arc<AtomicBool>);

impl Over {
    /// The end that other threads look at.
    fn flag(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.0)
    }
}

impl Drop for Over {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}
