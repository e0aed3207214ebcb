//! A client of dipc: blocking, one connection, nothing but the standard library.
//!
//! ```no_run
//! use std::time::Duration;
//! use dipc_client::{Client, Event};
//!
//! let mut client = Client::open("dipc://localhost:5000")?;
//! let version = client.write(3, "any bytes")?;
//! let message = client.read(3)?;
//! assert_eq!((message.data.as_slice(), message.version), (b"any bytes".as_slice(), version));
//!
//! client.put(2, "a job")?;
//! assert_eq!(client.take(2, Some(Duration::from_secs(5)))?.data, b"a job");
//!
//! let mut lock = client.lock(&[1, 3])?; // nobody else is in 1 or 3
//! let both = [lock.read(3)?.data, b"!".to_vec()].concat();
//! lock.write(1, both)?;
//! lock.unlock()?; // so would the end of its scope, or of this process
//!
//! client.watch(&[0], None)?;
//! client.write(0, "it rains")?;
//! let event = client.event(Some(Duration::from_secs(5)))?;
//! assert!(matches!(event, Some(Event::Message { mailbox: 0, data, .. }) if data == b"it rains"));
//! # Ok::<(), dipc_client::Error>(())
//! ```
//!
//! A [`Client`] is one connection, and for one thread at a time. Every request waits for its answer; events that come in
//! between are kept for [`Client::event`]. Whatever a server sends, it ends in an [`Error`] and never in a panic, and no
//! answer is believed to be longer than a mailbox can be.
//!
//! The module knows nothing of the server's own: it speaks `docs/protocol.md`, as any other client does.

mod address;
mod channel;
mod client;
mod encoder;
mod error;
mod event_queue;
mod events;
mod frame;
mod info;
mod lock_guard;
mod locks;
mod messages;
mod options;
mod replies;
mod socket;
mod stat;

pub use address::Address;
pub use client::Client;
pub use error::{Code, Error, Reason};
pub use event_queue::Event;
pub use lock_guard::LockGuard;
pub use options::{LockOptions, PutOptions, ReadOptions, WriteOptions};
pub use replies::{Hello, Message, Put};
pub use stat::{Line, Stat, Topic};
