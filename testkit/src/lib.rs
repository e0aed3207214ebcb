//! What the tests of dipc share. The tests talk to the real programs, and not to the crate's functions.
//!
//! - [`program`]: where the built programs are
//! - [`process`]: a program run to its end, and what the system says about a process
//! - [`server`]: a `dipc` in the foreground that ends with its test
//! - [`instance`]: a `dipc` in the background, its directory, and `dipcrm`
//! - [`cli`]: `dipc-cli` connected to a server
//! - [`client`]: a connection that sends and expects bytes
//! - [`terminal`]: `dipc-cli` on a pseudo-terminal
//! - [`descriptors`]: limits of open descriptors
//! - [`directory`], [`mount`], [`port`], [`rng`], [`wait`]: what they are called
//!
//! Every wait ends after [`wait::HANG`] at the latest, and then the test fails.

pub mod cli;
pub mod client;
pub mod descriptors;
pub mod directory;
pub mod instance;
pub mod mount;
pub mod port;
pub mod process;
pub mod program;
pub mod rng;
pub mod server;
pub mod terminal;
pub mod wait;
