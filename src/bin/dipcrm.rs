//! `dipcrm PORT`: stops a server and removes all it has left.

use std::process::ExitCode;

use clap::Parser;
use dipc::options::RemoveOptions;

fn main() -> ExitCode {
    dipc::instance::remove(&RemoveOptions::parse())
}
