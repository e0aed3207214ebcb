//! **dipc**: shared-memory mailboxes. Any process with a socket can read and write them. Requests are
//! admitted in order of arrival.
//!
//! ```text
//!       clients: telnet, nc, Python, ..                    dipcrm, signals
//!             │ tcp, unix                                      │ control socket
//!     ┌───────▼────────────────────────────────────────────────▼──┐
//!     │ reactor     one thread: every socket, every clock         │
//!     └───┬───────────────────────────────────────────────▲───────┘
//!         │ admitted jobs                                 │ completions, waker
//!     ┌───▼───────────────────────────────────────────────┴───────┐
//!     │ workers     a fixed pool: runs jobs, waits for no mailbox │
//!     └───┬───────────────────────────────────────────────────────┘
//!         │ grants
//!     ┌───▼───────────────────────────────────────────────────────┐
//!     │ mailboxes   the queue and the content of each             │
//!     └───────────────────────────────────────────────────────────┘
//! ```
//!
//! A module imports only modules below it in this diagram. The recommended order of reading starts with the
//! pure modules and ends with the modules that use the operating system:
//!
//! 1. [`protocol`]: bytes to requests, replies to bytes.
//! 2. `mailboxes`: `Admission` is the queue of one mailbox, `Block` its memory, `Segment` the memory of all
//!    mailboxes.
//! 3. `workers`: a `Job`, the interpreter `step`, the `Pool`.
//! 4. `reactor`: the loop, and the life of a connection.
//! 5. [`instance`]: how a server starts, goes to the background, takes over from another one, stops, is
//!    listed and is removed.
//! 6. [`options`]: the command lines of `dipc` and `dipcrm`. [`memory`]: the limit of the memory for clients.
//!
//! [`client`] is the crate `dipc-client`, for programs in Rust that talk to a server. It imports nothing of
//! the server.
//!
//! `docs/architecture.md` describes the steps of a request and the laws. `docs/protocol.md` is the contract
//! with clients.

pub mod instance;
pub mod memory;
pub mod options;
pub mod protocol;

pub(crate) mod mailboxes;
pub(crate) mod reactor;
pub(crate) mod workers;

mod sync;

#[doc(inline)]
pub use dipc_client as client;
