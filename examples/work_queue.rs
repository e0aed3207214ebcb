//! A work queue: one producer, three workers, and each job goes to one worker at a time. A job is removed
//! when its worker is done with it. If the worker fails, another one gets the job.
//!
//! ```text
//! cargo run -- 4 64 5000 8                                      # starts a server
//! cargo run --example work_queue -- dipc://localhost:5000
//! ```

use std::{env, thread};

use dipc_client::{Client, Error};

const QUEUE: u32 = 2; // the mailbox
const WORKERS: usize = 3;

fn main() -> Result<(), Error> {
    let url = env::args().nth(1).or_else(|| env::var("DIPC_URL").ok());
    let url: &str = &url.unwrap_or_else(|| "dipc://localhost:5000".to_owned());

    let mut producer = Client::open(url)?;
    thread::scope(|scope| {
        let start = |name| scope.spawn(move || work(url, name));
        let workers: Vec<_> = (1..=WORKERS).map(start).collect();
        for number in 1..=9 {
            producer.put(QUEUE, format!("job {number}"))?; // waits while the mailbox is full
        }
        for _ in 0..WORKERS {
            producer.put(QUEUE, "")?; // an empty message ends one worker
        }
        workers.into_iter().try_for_each(|worker| worker.join().expect("the worker does not panic"))
    })
}

fn work(url: &str, name: usize) -> Result<(), Error> {
    let mut client = Client::open(url)?;
    loop {
        let job = client.take_job(QUEUE)?; // waits for a job, at most 30 s; a dropped job is given back
        let text = String::from_utf8_lossy(job.data()).into_owned();
        if !text.is_empty() {
            println!("worker {name}: {text}");
        }
        job.done()?;
        if text.is_empty() {
            return Ok(());
        }
    }
}
