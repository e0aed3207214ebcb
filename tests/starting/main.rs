//! The start of an instance: the output of `dipc`, its exit codes, and its files.

mod failing;
mod in_use;
mod options;
mod place;
mod ready;
mod warnings;
