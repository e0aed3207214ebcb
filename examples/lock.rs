//! A lock and its fencing token: a storage refuses the write of a client whose lock has expired.
//!
//! ```text
//! cargo run -- 4 64 5000 8                                      # starts a server
//! cargo run --example lock -- dipc://localhost:5000
//! ```

use std::{env, time::Duration};

use dipc_client::{Client, Error, LockOptions};

const MAILBOX: u32 = 3; // the lock protects the storage, not a message in this mailbox

/// A storage outside dipc, for example a database. It remembers the highest token that it has seen.
#[derive(Default)]
struct Storage {
    highest_token: u64,
}

impl Storage {
    fn write(&mut self, token: u64, text: &str) {
        let accepted = token >= self.highest_token;
        self.highest_token = token.max(self.highest_token);
        println!("{text:?} with token {token}: {}", if accepted { "written" } else { "refused" });
    }
}

fn main() -> Result<(), Error> {
    let url = env::args().nth(1).or_else(|| env::var("DIPC_URL").ok());
    let url = url.unwrap_or_else(|| "dipc://localhost:5000".to_owned());
    let (mut slow, mut fast, mut storage) = (Client::open(&url)?, Client::open(&url)?, Storage::default());

    // The lease: this lock ends when its client sends no request for 0.1 s.
    let lease = LockOptions { ttl: Some(Duration::from_millis(100)), ..LockOptions::default() };
    let slow_lock = slow.lock_with(&[MAILBOX], &lease)?;

    // The second client waits in the queue of the mailbox until the lease has expired.
    let fast_lock = fast.lock(&[MAILBOX])?;
    storage.write(fast_lock.fencing_token(), "new");
    fast_lock.unlock()?; // the end of its scope and the end of this process unlock, too

    storage.write(slow_lock.fencing_token(), "old"); // too late, and refused
    Ok(())
}
