//! A blocking client of dipc, the server of shared-memory mailboxes. It needs only the standard library,
//! and libc for [local readers](local), which the feature `local` contains.
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
//! // A mailbox is a queue: each message goes to exactly one taker.
//! client.put(2, "a job")?;
//! assert_eq!(client.take(2, Some(Duration::from_secs(5)))?.data, b"a job");
//!
//! // A job stays in its mailbox until it is done. If its worker dies, another worker gets it.
//! client.put(2, "another job")?;
//! let job = client.take_job(2)?;
//! println!("{}", String::from_utf8_lossy(job.data()));
//! job.done()?;
//!
//! // A name may stand in the place of a number.
//! client.set_mailbox_name(2, Some("jobs"))?;
//! client.put("jobs", "a third job")?;
//! assert_eq!(client.take(2, None)?.data, b"a third job");
//!
//! // A lock excludes all other clients until it is dropped or this process ends.
//! let mut lock = client.lock(&[1, 3])?;
//! let both = [lock.read(3)?.data, b"!".to_vec()].concat();
//! lock.write(1, both)?;
//! lock.unlock()?;
//!
//! // A watch delivers each new message as an event.
//! client.watch(&[0], None)?;
//! client.write(0, "it rains")?;
//! let event = client.event(Some(Duration::from_secs(5)))?;
//! assert!(matches!(event, Some(Event::Message { mailbox: 0, data, .. }) if data == b"it rains"));
//! # Ok::<(), dipc_client::Error>(())
//! ```
//!
//! A [`Client`] is one connection. Each method sends one request and waits for its reply. Events that arrive
//! before the reply are queued for [`Client::event`]. Methods take `&mut self`: programs with several threads
//! open one connection per thread.
//!
//! Mailboxes are numbered from 0. A [name](Client::set_mailbox_name) may stand in the place of a number. Each
//! `write` and each `put` increments the version of its mailbox. The protocol is specified in
//! `docs/protocol.md` of the server.
//!
//! The bytes that a server sends never make the client panic: malformed bytes are an [`Error::Protocol`].
//! Memory grows with the bytes received, not with the length that a header announces.
//!
//! # Reading order
//!
//! | module | content |
//! |---|---|
//! | `client` | [`Client`]: connecting, and the exchange of one request for one reply |
//! | `messages`, `jobs`, `locks`, `events`, `names`, `info`, `reconnect` | methods of [`Client`] by request |
//! | `mailbox`, `options` | the values that they take |
//! | `replies`, `stat`, `event_queue`, `job_guard`, `lock_guard`, `error` | the values that they return |
//! | `encoder`, `frame` | request to bytes, bytes to reply or event; both without I/O |
//! | `channel`, `socket`, `address` | bytes to and from the server |
//! | [`local`] | reads of the shared memory, without a server |

mod address;
mod channel;
mod client;
mod encoder;
mod error;
mod event_queue;
mod events;
mod frame;
mod info;
mod job_guard;
mod jobs;
#[cfg(all(feature = "local", target_os = "linux", target_pointer_width = "64"))]
pub mod local;
mod lock_guard;
mod locks;
mod mailbox;
mod messages;
mod names;
mod options;
mod reconnect;
mod replies;
mod socket;
mod stat;

pub use address::Address;
pub use client::Client;
pub use error::{Code, Error, Reason};
pub use event_queue::Event;
pub use job_guard::JobGuard;
pub use lock_guard::LockGuard;
pub use mailbox::{Mailbox, Mailboxes};
pub use options::{JobOptions, LockOptions, PutOptions, ReadOptions, WriteOptions};
pub use reconnect::Reconnected;
pub use replies::{Hello, Job, Message, Put};
pub use stat::{Line, Stat, Topic};

/// Compiles the example of the README.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
