//! Helpers of the tests of dipc. The tests run the real programs, and do not call functions of the crate.
//!
//! - [`program`]: the paths of the built programs
//! - [`process`]: a program run to its end, and information of the system about a process
//! - [`server`]: a `dipc` in the foreground that ends with its test
//! - [`instance`]: a `dipc` in the background, its directory, and `dipcrm`
//! - [`cli`]: `dipc-cli` connected to a server
//! - [`client`]: a connection that sends and expects bytes
//! - [`terminal`]: `dipc-cli` on a pseudo-terminal
//! - [`descriptors`]: limits of open descriptors
//! - [`directory`], [`mount`], [`port`]: temporary directories, mounted file systems, reserved ports
//! - [`rng`]: pseudo-random numbers
//! - [`wait`]: waiting for a condition
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
pub mod waiter;
