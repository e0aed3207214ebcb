//! A counter that several clients increment without a lock: each client reads it, then writes it only if the
//! version of the mailbox has not changed.
//!
//! ```text
//! cargo run -- 4 64 5000 8                                      # starts a server
//! cargo run --example counter -- dipc://localhost:5000
//! ```

use std::{env, thread};

use dipc_client::{Client, Error, Reason, WriteOptions};

const COUNTER: u32 = 0; // the mailbox

fn main() -> Result<(), Error> {
    let url = env::args().nth(1).or_else(|| env::var("DIPC_URL").ok());
    let url = url.unwrap_or_else(|| "dipc://localhost:5000".to_owned());

    Client::open(&url)?.write(COUNTER, "0")?;
    let count_to_25 = || {
        let mut client = Client::open(&url)?;
        (0..25).try_for_each(|_| increment(&mut client))
    };
    thread::scope(|scope| {
        let threads: Vec<_> = (0..4).map(|_| scope.spawn(count_to_25)).collect();
        threads.into_iter().try_for_each(|thread| thread.join().expect("the thread does not panic"))
    })?;
    let counter = Client::open(&url)?.read(COUNTER)?;
    println!("4 clients counted to {}", String::from_utf8_lossy(&counter.data));
    Ok(())
}

fn increment(client: &mut Client) -> Result<(), Error> {
    loop {
        let counter = client.read(COUNTER)?;
        let value: u64 = String::from_utf8_lossy(&counter.data).parse().expect("the mailbox holds a number");
        let options = WriteOptions { if_version: Some(counter.version), ..WriteOptions::default() };
        match client.write_with(COUNTER, (value + 1).to_string(), &options) {
            // Another client was faster: read again.
            Err(Error::NotDone { reason: Reason::Conflict, .. }) => {}
            result => return result.map(drop),
        }
    }
}
