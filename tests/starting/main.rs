//! The start of an instance: what `dipc` prints, how it exits, and what it leaves behind.

mod failing;
mod in_use;
mod options;
mod place;
mod ready;
