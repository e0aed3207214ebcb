//! Publish and subscribe: every subscriber receives every message.
//!
//! ```text
//! cargo run -- 4 64 5000 8                                      # starts a server
//! cargo run --example publish_subscribe -- dipc://localhost:5000
//! ```

use std::{env, thread};

use dipc_client::{Client, Error, Event, PutOptions};

const TOPIC: u32 = 1; // the mailbox

fn main() -> Result<(), Error> {
    let url = env::args().nth(1).or_else(|| env::var("DIPC_URL").ok());
    let url = url.unwrap_or_else(|| "dipc://localhost:5000".to_owned());

    let mut subscribers = Vec::new();
    for name in ["anna", "ben"] {
        let mut client = Client::open(&url)?;
        client.watch(&[TOPIC], None)?; // all messages from now on
        subscribers.push(thread::spawn(move || receive(name, &mut client)));
    }
    let mut publisher = Client::open(&url)?;
    let log = PutOptions { drop: true, ..PutOptions::default() }; // a full mailbox drops its oldest messages
    for text in ["it rains", "it snows", "the sun shines"] {
        publisher.put_with(TOPIC, text, &log)?;
    }
    subscribers.into_iter().try_for_each(|thread| thread.join().expect("the thread does not panic"))
}

fn receive(name: &str, client: &mut Client) -> Result<(), Error> {
    for event in client.events().take(3) {
        // `lost` counts the messages that were dropped because this subscriber was too slow.
        if let Event::Message { version, data, lost, .. } = event? {
            println!("{name}: message {version}, {} ({lost} lost)", String::from_utf8_lossy(&data));
        }
    }
    Ok(())
}
